//! The text of a file, and places in it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub(super) use crate::visible::visible;

/// A file's name, as it can be shown, and its text.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(name: &str, text: String) -> Arc<Self> {
        Arc::new(Self { name: visible(name), text })
    }

    /// The text as it can be shown, every place in it where it was.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        // Others are taken care of where lines are drawn. These control characters and the dot have two bytes each.
        let c1 = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
        if self.text.contains(c1) { self.text.replace(c1, "·").into() } else { self.text.as_str().into() }
    }
}

/// The text is left out: it would bury everything else.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the files of a configuration say, word for word, in the order read. None: the embedded default counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts(Vec<(String, String)>);

impl Texts {
    /// Files by their names.
    #[must_use]
    pub fn new(files: Vec<(String, String)>) -> Self {
        Self(files)
    }

    /// Each file's name and text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

/// The texts are left out: they would bury everything else.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

/// A stretch of a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    span: Range<usize>,
}

impl Place {
    /// A place at `span`, in bytes. What lies outside the text or within a character is moved to the nearest place that
    /// doesn't.
    pub(super) fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let text = &source.text;
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end).max(start);
        Self { source: Arc::clone(source), span: start..end }
    }

    /// In bytes; always within the text, at characters' boundaries.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// The character in its line, counted from 1.
    pub(super) fn column(&self) -> usize {
        self.before().rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }

    fn before(&self) -> &str {
        &self.source.text[..self.span.start]
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}
