//! What is wrong with a configuration, where, and how to cure it.

use std::collections::BTreeSet;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Place, visible};

/// More fill a terminal without helping anyone.
const MOST_SHOWN: usize = 50;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but likely does something else than was meant.
    Warning,
}

/// One thing that is wrong: what, where, and how to cure it.
///
/// `Display` shows it over several lines, with the line of the file that it is about and the place marked under it.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    severity: Severity,
    what: String,
    cure: Option<String>,
    file: String,
    place: Option<Place>,
    related: Option<(Place, &'static str)>,
}

impl Diagnostic {
    /// An error at a place.
    pub(super) fn error(place: &Place, what: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), ..Self::about_file(Severity::Error, &place.source.name, &what.into()) }
    }

    /// A warning at a place.
    pub(super) fn warning(place: &Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, what) }
    }

    /// About a file or folder as a whole; `what` follows its name.
    pub(super) fn about_file(severity: Severity, file: &str, what: &str) -> Self {
        Self { severity, what: visible(what), cure: None, file: visible(file), place: None, related: None }
    }

    /// Says how to cure it.
    pub(super) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(visible(&cure.into()));
        self
    }

    /// Shows a second place, with a few words of what it has to do with this.
    pub(super) fn related(mut self, place: &Place, label: &'static str) -> Self {
        self.related = Some((place.clone(), label));
        self
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line; to follow the file's name where there is no [`line`](Self::line).
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// How to cure it, if there is more to say than [`what`](Self::what) says.
    #[must_use]
    pub fn how_to_cure(&self) -> Option<&str> {
        self.cure.as_deref()
    }

    /// The file or folder that it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1; `None` if it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(Place::line)
    }

    /// The character in its line, counted from 1; `None` if it is about the file as a whole.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(Place::column)
    }

    /// `FILE:LINE:COLUMN: WHAT`, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let position = self.place.as_ref().map_or(String::new(), |at| format!(":{}:{}", at.line(), at.column()));
        format!("{}{position}: {}", self.file, self.what)
    }

    /// Like `Display`, with colours for a terminal.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = match &self.place {
            None => Group::with_title(level.primary_title(format!("{} {}", self.file, self.what))),
            Some(place) => self.snippets(Group::with_title(level.primary_title(&self.what)), place),
        };
        if let Some(cure) = &self.cure {
            group = group.element(Level::HELP.message(cure));
        }
        renderer.render(&[group])
    }

    fn snippets<'a>(&'a self, group: Group<'a>, place: &'a Place) -> Group<'a> {
        fn snippet<'a, T: Clone>(place: &'a Place) -> Snippet<'a, T> {
            Snippet::source(place.source.shown()).path(place.source.name.as_str())
        }
        let primary = snippet(place).annotation(AnnotationKind::Primary.span(place.span()));
        let Some((other, label)) = &self.related else {
            return group.element(primary);
        };
        let context = AnnotationKind::Context.span(other.span()).label(*label);
        if other.source.name == place.source.name {
            group.element(primary.annotation(context))
        } else {
            group.element(primary).element(snippet(other).annotation(context))
        }
    }

    /// Files in the order read, then places in the order written.
    fn order(&self, files: &[String]) -> (usize, usize) {
        let file = files.iter().position(|file| *file == self.file).unwrap_or(usize::MAX);
        (file, self.place.as_ref().map_or(0, |place| place.span().start))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
///
/// `Display` shows each [`Diagnostic`] over several lines, 50 at most, and how many there are.
#[derive(Debug)]
pub struct ConfigError {
    errors: Vec<Diagnostic>,
    strict: Option<bool>,
}

impl ConfigError {
    /// `files`: in the order read.
    pub(super) fn new(mut errors: Vec<Diagnostic>, files: &[String]) -> Self {
        errors.sort_by_key(|error| error.order(files));
        Self { errors, strict: None }
    }

    pub(super) fn with_strict(self, strict: Option<bool>) -> Self {
        Self { strict, ..self }
    }

    /// What the files say of `strict`, as far as they can be read.
    #[must_use]
    pub fn strict(&self) -> Option<bool> {
        self.strict
    }

    /// Everything that is wrong: files in the order read, places in the order written.
    #[must_use]
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// The first error and how many more there are, in one line: for `STATUS=`, say.
    #[must_use]
    pub fn headline(&self) -> String {
        let first = self.errors.first().map(Diagnostic::headline).unwrap_or_default();
        match self.errors.len() {
            0 | 1 => first,
            2 => format!("{first} (and 1 more problem)"),
            many => format!("{first} (and {} more problems)", many - 1),
        }
    }

    /// Like `Display`, with colours for a terminal.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut shown = String::new();
        for error in self.errors.iter().take(MOST_SHOWN) {
            shown.push_str(&error.render(renderer));
            shown.push_str("\n\n");
        }
        shown + &self.count()
    }

    fn count(&self) -> String {
        let files: BTreeSet<_> = self.errors.iter().map(Diagnostic::file).collect();
        let problems = counted(self.errors.len(), "problem");
        let rest =
            if self.errors.len() > MOST_SHOWN { format!("; the first {MOST_SHOWN} are shown") } else { String::new() };
        match files.len() {
            1 => format!("{problems} in {}{rest}", self.errors[0].file()),
            files => format!("{problems} in {}{rest}", counted(files, "file")),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for ConfigError {}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
