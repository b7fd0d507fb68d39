//! Text into a TOML table, and what the parser says of it in words for someone who doesn't know TOML.
//!
//! The parser goes on after an error, but one wrong line can make it lose its way or complain of what only follows from
//! it. So lines that are no TOML at all are blanked before the text is read again, and of what is left, the errors that
//! follow from an earlier one are dropped.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::Diagnostic;
use super::source::{Place, Source};

/// A file with more such lines is no configuration at all.
const MOST_BLANKED: usize = 20;
/// Nor is one with more errors.
const MOST_TOLD: usize = 100;

/// A text that the parser can find its way through.
pub(super) struct Repaired {
    /// As long as the file's own text, so that places in it are places in the file.
    pub(super) text: String,
    blanked: Vec<Range<usize>>,
}

/// What is wrong with a file's syntax.
pub(super) struct Syntax {
    pub(super) errors: Vec<Diagnostic>,
    /// Lines whose values are the parser's guess: what else is found wrong with them may not be.
    pub(super) guessed: BTreeSet<usize>,
    /// Whether the rest can be read as it was meant.
    pub(super) readable: bool,
}

/// An error in our words, and how far it reaches.
struct Reading {
    span: Range<usize>,
    what: String,
    cure: String,
    reach: Reach,
    /// Whether it is a key that was there before.
    twice: bool,
}

#[derive(PartialEq, Eq)]
enum Reach {
    /// One value, for which the parser has a guess.
    Value,
    /// A line, after which the parser loses its way.
    Line,
    /// All that follows.
    Rest,
}

/// Blanks the lines that are no TOML at all.
pub(super) fn repair(source: &Source) -> Repaired {
    let mut repaired = Repaired { text: source.text.clone(), blanked: Vec::new() };
    while repaired.blanked.len() < MOST_BLANKED {
        let (_, errors) = DeTable::parse_recoverable(&repaired.text);
        let mut readings = in_order(errors).map(|error| reading(&repaired.text, &error));
        // What comes after an error of the last kind may well be TOML.
        let first = readings.find(|reading| reading.reach != Reach::Value);
        let Some(Reading { span, reach: Reach::Line, .. }) = first else {
            break;
        };
        if span.is_empty() {
            break;
        }
        repaired.text.replace_range(span.clone(), &format!("#{}", " ".repeat(span.len() - 1)));
        repaired.blanked.push(span);
    }
    repaired
}

/// Puts the errors into words: those of the lines that were blanked, and those of what was left.
pub(super) fn explain(source: &Arc<Source>, repaired: &Repaired, table: &DeTable<'_>, errors: Vec<Error>) -> Syntax {
    let blanked = repaired.blanked.iter().map(|span| no_pair(&source.text, span.clone()));
    let mut syntax = Syntax { errors: Vec::new(), guessed: BTreeSet::new(), readable: true };
    for reading in blanked.chain(in_order(errors).map(|error| reading(&repaired.text, &error))) {
        let place = Place::new(source, reading.span);
        if !syntax.guessed.insert(place.line()) {
            continue;
        }
        let first = reading.twice.then(|| first_of(&repaired.text, table, place.span())).flatten();
        let error = Diagnostic::error(&place, reading.what).cure(reading.cure);
        syntax.errors.push(match first {
            Some(first) => error.related(&Place::new(source, first), "the first"),
            None => error,
        });
        if reading.reach == Reach::Rest || syntax.errors.len() == MOST_TOLD {
            syntax.readable = false;
            break;
        }
    }
    syntax
}

fn in_order(mut errors: Vec<Error>) -> impl Iterator<Item = Error> {
    errors.sort_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
    errors.into_iter()
}

/// What the parser calls its errors, and what we do.
fn reading(text: &str, error: &Error) -> Reading {
    let span = error.span().unwrap_or(text.len()..text.len());
    let span = text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end);
    let message = error.message();
    let is = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    if is(&["string values must be quoted", "missing value", "missing opening quote"])
        || is(&["invalid float", "invalid integer", "invalid date", "invalid mantissa", "unexpected leading zero"])
    {
        return unquoted(text, span);
    }
    if is(&["key with no value", "missing value for key", "invalid unquoted key", "invalid key-value pair"]) {
        return no_pair(text, span);
    }
    if is(&["duplicate key"]) {
        return twice(text, span);
    }
    if is(&["missing escaped value"]) {
        let span = span.start.saturating_sub(1)..text.ceil_char_boundary(span.start + 1);
        let cure = "write `\\\\` for a backslash as such, or put the string in single quotes";
        return Reading::value(span, "in double quotes, a backslash begins a special character", cure);
    }
    let (what, cure) = if is(&["invalid boolean"]) {
        ("case matters", "write `true` or `false`")
    } else if is(&["unexpected key or value"]) && text[span.start..].starts_with(',') {
        ("no comma can stand here", "leave it out: each key has a line of its own")
    } else if is(&["unexpected key or value", "unexpected content"]) {
        ("nothing can follow here on the same line", "put it on a line of its own")
    } else {
        return breaking(span, message);
    };
    Reading::value(span, what, cure)
}

/// Errors after which nobody knows what belongs where.
fn breaking(span: Range<usize>, message: &str) -> Reading {
    let is = |start| message.starts_with(start);
    let (what, cure) = if is("unclosed table") || is("unclosed array table") {
        ("a section's closing bracket is missing".to_owned(), "write `[section]`, or `[[route]]`")
    } else if is("unclosed") || is("missing key for inline table") || is("missing comma") || is("extra assignment") {
        let cure = "put a comma between two values, and close each `{` with `}` and each `[` with `]`";
        ("a comma or a closing bracket is missing before this".to_owned(), cure)
    } else if message.contains("string, expected `\"`") || message.contains("string, expected `'`") {
        ("a string is not closed".to_owned(), "put a quote at its end, like the one at its beginning")
    } else {
        (format!("this is no TOML: {message}"), "see https://toml.io for how it is written")
    };
    Reading { span, what, cure: cure.to_owned(), reach: Reach::Rest, twice: false }
}

impl Reading {
    fn value(span: Range<usize>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { span, what: what.into(), cure: cure.into(), reach: Reach::Value, twice: false }
    }
}

/// A value that is neither a number nor in quotes.
fn unquoted(text: &str, span: Range<usize>) -> Reading {
    let span = whole_word(text, span);
    let word = text[span.clone()].trim_end();
    let span = span.start..span.start + word.len();
    if word.is_empty() {
        return Reading::value(span, "a value is missing after `=`", "write one, or leave the key out");
    }
    if let Some(inner) = word.strip_prefix(['“', '”', '„', '‘', '’']) {
        let inner = inner.trim_end_matches(['“', '”', '‘', '’']);
        return Reading::value(span, "these quotes are typographic", format!("write straight ones: \"{inner}\""));
    }
    if let Some((value, comment)) = word.split_once("//") {
        let cure = format!("write `{} #{comment}`", value.trim_end());
        return Reading::value(span, "a comment doesn't begin with `//`", cure);
    }
    if let Some(value) = word.strip_suffix(';') {
        return Reading::value(span, "a line doesn't end in `;`", format!("write {}", in_quotes(value)));
    }
    Reading::value(span, format!("`{word}` needs quotes"), format!("write {}", in_quotes(word)))
}

/// As a TOML value, with quotes if it needs them.
fn in_quotes(word: &str) -> String {
    let quoted = toml::de::DeValue::parse(word).is_ok();
    if quoted { format!("`{word}`") } else { format!("\"{}\"", word.trim_matches(['"', '\''])) }
}

/// The parser marks only what it stumbled over: `.0.1:80` of `127.0.0.1:80`.
fn whole_word(text: &str, span: Range<usize>) -> Range<usize> {
    let before = text[..span.start].char_indices().rev();
    let edge = |c: char| c.is_whitespace() || "=,[{".contains(c);
    let start = before.take_while(|(_, c)| !edge(*c)).last().map_or(span.start, |(at, _)| at);
    start..span.end
}

/// A line that is neither a section's header nor a key with its value.
fn no_pair(text: &str, span: Range<usize>) -> Reading {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let start = start + line.len() - line.trim_start().len();
    let line = line.trim();
    let cure = if line.starts_with("//") || line.starts_with(';') || line.starts_with("--") {
        "begin a comment with `#`".to_owned()
    } else {
        match line.split_once(':') {
            Some((key, value)) if !line.contains('=') => format!("write `{} = {}`", key.trim(), value.trim()),
            _ => "write `key = value`, `[section]` or `[[route]]`".to_owned(),
        }
    };
    let what = "this is neither a key with a value nor a section".to_owned();
    Reading { span: start..start + line.len(), what, cure, reach: Reach::Line, twice: false }
}

/// A key or a section that was there before.
fn twice(text: &str, span: Range<usize>) -> Reading {
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default().trim();
    if line.starts_with('[') {
        let cure = match &text[span.clone()] {
            "route" => "write `[[route]]` each time, with two brackets on each side",
            _ => "put its keys together below the first",
        };
        return Reading { twice: true, ..Reading::value(span, format!("the section {line} is given twice"), cure) };
    }
    let what = format!("`{}` is given twice", &text[span.clone()]);
    Reading { twice: true, ..Reading::value(span, what, "keep one of them") }
}

/// Where the key that stands at `second` stood first: the nearest one of its name before it, within its own table.
fn first_of(text: &str, table: &DeTable<'_>, second: Range<usize>) -> Option<Range<usize>> {
    let key = text.get(second.clone())?;
    let own = table.keys().filter(|candidate| candidate.get_ref() == key).map(|candidate| candidate.span());
    let below = table.values().filter_map(|value| first_in(text, value.get_ref(), value.span(), second.clone()));
    own.chain(below).filter(|span| span.end <= second.start).max_by_key(|span| span.start)
}

fn first_in(text: &str, value: &DeValue<'_>, span: Range<usize>, second: Range<usize>) -> Option<Range<usize>> {
    match value {
        // A table in braces that was closed before has nothing to do with it.
        DeValue::Table(_) if text.get(span.clone())?.starts_with('{') && !span.contains(&second.start) => None,
        DeValue::Table(table) => first_of(text, table, second),
        DeValue::Array(items) => {
            let items = items.iter().filter_map(|item| first_in(text, item.get_ref(), item.span(), second.clone()));
            items.max_by_key(|span| span.start)
        }
        _ => None,
    }
}
