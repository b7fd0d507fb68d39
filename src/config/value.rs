//! TOML values into what they stand for.

use std::ops::RangeInclusive;
use std::time::Duration;

use strsim::jaro_winkler;
use toml::de::DeValue;

use super::quantity::{QuantityError, Size, Time, parse_duration, parse_size};
use super::section::{Value, Wrong, kind};

/// A string.
pub(super) fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Wrong> {
    value.get_ref().as_str().ok_or_else(|| {
        let wrong = Wrong::new(format!("must be a string, not {}", kind(value)));
        match value.get_ref() {
            DeValue::Integer(number) => wrong.cure(format!("put it in quotes: `\"{number}\"`")),
            _ => wrong,
        }
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Wrong> {
    value.get_ref().as_bool().ok_or_else(|| {
        let wrong = Wrong::new(format!("must be true or false, not {}", kind(value)));
        if value.get_ref().is_str() { wrong.cure("write `true` or `false`, without quotes") } else { wrong }
    })
}

/// An integer within a range.
pub(super) fn integer(value: &Value<'_>, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let Some(number) = value.get_ref().as_integer() else {
        let wrong = Wrong::new(format!("must be an integer, not {}", kind(value)));
        return Err(match value.get_ref().as_str().map(str::parse::<u64>) {
            Some(Ok(number)) => wrong.cure(format!("write it without quotes: `{number}`")),
            _ => wrong,
        });
    };
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Wrong::new(format!("must be between {} and {}", range.start(), range.end())))
}

/// A word that stands for no value, such as `"auto"`, or a value.
pub(super) fn unless<T>(
    word: &str,
    value: &Value<'_>,
    convert: impl FnOnce(&Value<'_>) -> Result<T, Wrong>,
) -> Result<Option<T>, Wrong> {
    match value.get_ref().as_str() {
        Some(text) if text == word => Ok(None),
        Some(text) if nearest(text, [word]).is_some() => {
            Err(Wrong::new(format!("is `{text}`, which means nothing here")).cure(format!("did you mean \"{word}\"?")))
        }
        _ => convert(value).map(Some).map_err(|mut wrong| {
            match wrong.what.split_once(", not ") {
                Some((must, kind)) => wrong.what = format!("{must} or \"{word}\", not {kind}"),
                None if wrong.what.starts_with("must be") => wrong.what.push_str(&format!(", or \"{word}\"")),
                None => {}
            }
            wrong
        }),
    }
}

/// A time such as `"2min 30s"`, within a range.
pub(super) fn duration(value: &Value<'_>, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let needs_unit = |number: &str| {
        Wrong::new("needs a unit").cure(format!("write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"))
    };
    let text = match value.get_ref() {
        DeValue::String(text) => text,
        DeValue::Integer(number) => return Err(needs_unit(number.as_str())),
        DeValue::Float(number) => return Err(needs_unit(number.as_str())),
        _ => return Err(Wrong::new(format!("must be a time such as \"30s\", not {}", kind(value)))),
    };
    let time = parse_duration(text).map_err(|error| {
        if matches!(&error, QuantityError::NoUnit(number) if number == text) {
            return needs_unit(text);
        }
        Wrong::new(error.to_string()).cure("write it like \"500ms\", \"30s\", \"1.5h\" or \"2min 30s\"")
    })?;
    if range.contains(&time) {
        return Ok(time);
    }
    Err(Wrong::new(format!("must be between {} and {}", Time(*range.start()), Time(*range.end()))))
}

/// A size such as `"64KiB"`, or an integer that counts bytes, within a range.
pub(super) fn size(value: &Value<'_>, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let outside = || Wrong::new(format!("must be between {} and {}", Size(*range.start()), Size(*range.end())));
    let size = match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| outside())?,
        DeValue::String(text) => parse_size(text).map_err(|error| {
            let cure = match &error {
                QuantityError::UnknownUnit(unit) => match unit.to_ascii_uppercase().as_str() {
                    "KB" | "KIB" | "K" => "write \"KiB\" for 1024 bytes",
                    "MB" | "MIB" => "write \"MiB\" for 1024 KiB",
                    "GB" | "GIB" => "write \"GiB\" for 1024 MiB",
                    _ => "the units are B, KiB, MiB, GiB and TiB",
                },
                _ => "write it like \"64KiB\", \"1.5MiB\" or 65536",
            };
            Wrong::new(error.to_string()).cure(cure)
        })?,
        _ => return Err(Wrong::new(format!("must be a size such as \"64KiB\", not {}", kind(value)))),
    };
    if range.contains(&size) { Ok(size) } else { Err(outside()) }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let names: Vec<_> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let Some(text) = value.get_ref().as_str() else {
        return Err(Wrong::new(format!("must be {}, not {}", either(&names), kind(value))));
    };
    words.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let wrong = Wrong::new(format!("must be {}", either(&names)));
        match nearest(text, words.iter().map(|(name, _)| *name)) {
            Some(name) => wrong.cure(format!("did you mean \"{name}\"?")),
            None => wrong,
        }
    })
}

/// `a, b or c`.
pub(super) fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The candidate that was likely meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    /// Below it, words have little more than a few letters in common.
    const LIKELY: f64 = 0.8;
    let word = word.to_ascii_lowercase().replace('-', "_");
    let rated = candidates.into_iter().map(|candidate| (jaro_winkler(&word, candidate), candidate));
    rated.filter(|(likeness, _)| *likeness >= LIKELY).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}
