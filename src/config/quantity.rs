//! Times and sizes as they are written: `2min 30s`, `64KiB`.
//!
//! Times are spelled as systemd spells them, which no common library does in full: humantime reads `1 30s` as 130
//! seconds where systemd reads 31, and has other names for months.

use std::fmt;
use std::time::Duration;

const NANOS: u128 = 1;
const MICROS: u128 = 1_000 * NANOS;
const MILLIS: u128 = 1_000 * MICROS;
const SECONDS: u128 = 1_000 * MILLIS;
const MINUTES: u128 = 60 * SECONDS;
const HOURS: u128 = 60 * MINUTES;
const DAYS: u128 = 24 * HOURS;
const WEEKS: u128 = 7 * DAYS;
/// A twelfth of a year, as for systemd.
const MONTHS: u128 = 2_629_800 * SECONDS;
/// 365.25 days, as for systemd.
const YEARS: u128 = 31_557_600 * SECONDS;

/// The units of systemd.time(7); case matters.
const TIME_UNITS: &[(&[&str], u128)] = &[
    (&["ns", "nsec"], NANOS),
    (&["us", "usec", "µs", "μs"], MICROS),
    (&["ms", "msec"], MILLIS),
    (&["s", "sec", "second", "seconds"], SECONDS),
    (&["min", "m", "minute", "minutes"], MINUTES),
    (&["h", "hr", "hour", "hours"], HOURS),
    (&["d", "day", "days"], DAYS),
    (&["w", "week", "weeks"], WEEKS),
    (&["M", "month", "months"], MONTHS),
    (&["y", "year", "years"], YEARS),
];

const SIZE_UNITS: &[(&[&str], u128)] = &[
    (&["B"], 1),
    (&["KiB", "K"], 1 << 10),
    (&["MiB", "M"], 1 << 20),
    (&["GiB", "G"], 1 << 30),
    (&["TiB", "T"], 1 << 40),
];

/// Why a time or a size could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
    /// A number was expected.
    #[error("has `{0}` where a number should be")]
    NoNumber(String),
    /// A number stands without its unit.
    #[error("has no unit after `{0}`")]
    NoUnit(String),
    /// A unit that doesn't exist.
    #[error("has an unknown unit `{0}`")]
    UnknownUnit(String),
    /// A size is one number with one unit.
    #[error("goes on with `{0}` after the first number")]
    SecondNumber(String),
    /// Too large to be counted.
    #[error("is too large")]
    TooLarge,
}

/// Reads a time span as systemd.time(7) has it: numbers with units, added up: `500ms`, `1.5s`, `2min 30s`.
///
/// Unlike there, a number needs its unit, and `infinity` is not one of them.
///
/// # Errors
/// If it is no such time, or longer than [`Duration::MAX`].
///
/// ```
/// use std::time::Duration;
/// assert_eq!(outlive::config::quantity::parse_duration("2min 30s"), Ok(Duration::from_secs(150)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    loop {
        let (number, unit, after) = split_term(rest)?;
        if unit.is_empty() {
            return Err(QuantityError::NoUnit(number.to_owned()));
        }
        nanos = nanos.checked_add(multiply(number, factor(unit, TIME_UNITS)?)?).ok_or(QuantityError::TooLarge)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let seconds = u64::try_from(nanos / SECONDS).map_err(|_| QuantityError::TooLarge)?;
    let rest = u32::try_from(nanos % SECONDS).map_err(|_| QuantityError::TooLarge)?;
    Ok(Duration::new(seconds, rest))
}

/// Reads a size, in bytes: `64KiB`, `1.5MiB`, `512`. As for systemd, `K`, `M`, `G` and `T` are powers of 1024 too. `kB`
/// and `MB` are none: some mean 1000 by that and some 1024.
///
/// # Errors
/// If it is no such size, or larger than [`u64::MAX`].
///
/// ```
/// assert_eq!(outlive::config::quantity::parse_size("64KiB"), Ok(65_536));
/// ```
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit, after) = split_term(text.trim())?;
    let each = if unit.is_empty() { 1 } else { factor(unit, SIZE_UNITS)? };
    if !after.is_empty() {
        return Err(QuantityError::SecondNumber(after.to_owned()));
    }
    u64::try_from(multiply(number, each)?).map_err(|_| QuantityError::TooLarge)
}

/// Splits `2min 30s` into `2`, `min` and `30s`; the unit may be missing.
fn split_term(text: &str) -> Result<(&str, &str, &str), QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    let number = leading(text, |c| c.is_ascii_digit() || c == '.');
    if number.is_empty() {
        return Err(QuantityError::NoNumber(leading(text, |c| !c.is_whitespace()).to_owned()));
    }
    let rest = text[number.len()..].trim_start();
    let unit = leading(rest, |c| !c.is_whitespace() && !c.is_ascii_digit());
    Ok((number, unit, rest[unit.len()..].trim_start()))
}

fn factor(unit: &str, units: &[(&[&str], u128)]) -> Result<u128, QuantityError> {
    let known = units.iter().find(|(names, _)| names.contains(&unit));
    known.map(|(_, each)| *each).ok_or_else(|| QuantityError::UnknownUnit(unit.to_owned()))
}

fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    text.split_once(|c| !belongs(c)).map_or(text, |(start, _)| start)
}

/// `number`: digits, with at most one point between them.
fn multiply(number: &str, each: u128) -> Result<u128, QuantityError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(QuantityError::NoNumber(number.to_owned()));
    }
    let whole = whole.parse::<u128>().ok().and_then(|whole| whole.checked_mul(each)).ok_or(QuantityError::TooLarge)?;
    // What lies beyond nine places counts less than a nanosecond, or a byte, of any unit but the longest.
    let fraction = &fraction[..fraction.len().min(9)];
    let numerator = fraction.parse::<u128>().map_err(|_| QuantityError::TooLarge)?;
    let part = numerator * each / 10_u128.pow(fraction.len() as u32);
    whole.checked_add(part).ok_or(QuantityError::TooLarge)
}

/// Shows a time as [`parse_duration`] reads it, in as few units as it takes.
pub(super) struct Time(pub(super) Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        let mut space = "";
        for (name, each) in
            [("d", DAYS), ("h", HOURS), ("min", MINUTES), ("s", SECONDS), ("ms", MILLIS), ("us", MICROS), ("ns", NANOS)]
        {
            if left >= each {
                write!(f, "{space}{}{name}", left / each)?;
                left %= each;
                space = " ";
            }
        }
        Ok(())
    }
}

/// Shows a size as [`parse_size`] reads it, in the largest unit that leaves no fraction.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, each) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= each && self.0.is_multiple_of(each) {
                return write!(f, "{}{name}", self.0 / each);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_systemd_reads_them() {
        let cases = [
            ("0s", Duration::ZERO),
            ("500ms", Duration::from_millis(500)),
            ("1.5s", Duration::from_millis(1500)),
            ("2min 30s", Duration::from_secs(150)),
            ("2min30s", Duration::from_secs(150)),
            ("2 h", Duration::from_secs(7200)),
            ("1h30min5s", Duration::from_secs(5405)),
            ("300ms20s 5day", Duration::new(432_020, 300_000_000)),
            ("1.000000001s", Duration::new(1, 1)),
            ("10µs", Duration::from_micros(10)),
            ("10μs", Duration::from_micros(10)),
            ("1m", Duration::from_secs(60)),
            ("1M", Duration::from_secs(2_629_800)),
            (" 1y  12month ", Duration::from_secs(63_115_200)),
            ("18446744073709551615s 999999999ns", Duration::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_says_why() {
        let cases = [
            ("", "is empty"),
            ("  ", "is empty"),
            ("30", "has no unit after `30`"),
            ("1 30s", "has no unit after `1`"),
            ("30 sek", "has an unknown unit `sek`"),
            ("1S", "has an unknown unit `S`"),
            ("1s, 2s", "has an unknown unit `s,`"),
            ("-1s", "has `-1s` where a number should be"),
            ("ms", "has `ms` where a number should be"),
            ("infinity", "has `infinity` where a number should be"),
            (".5s", "has `.5` where a number should be"),
            ("1.s", "has `1.` where a number should be"),
            ("1.2.3s", "has `1.2.3` where a number should be"),
            ("18446744073709551615s 1s", "is too large"),
            ("18446744073709551615s 500ms 500ms", "is too large"),
            ("99999999999999999999999999999999999999999s", "is too large"),
            ("340282366920938463463374607431768211455y", "is too large"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let cases = [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64K", 65_536),
            ("1.5MiB", 1_572_864),
            ("2GiB", 2 << 30),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_size("1MB"), Err(QuantityError::UnknownUnit("MB".into())));
        assert_eq!(parse_size("64kb"), Err(QuantityError::UnknownUnit("kb".into())));
        assert_eq!(parse_size("18446744073709551616"), Err(QuantityError::TooLarge));
        assert_eq!(parse_size("1 000 000"), Err(QuantityError::SecondNumber("000 000".into())));
        assert_eq!(parse_size("KiB"), Err(QuantityError::NoNumber("KiB".into())));
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for text in ["0s", "1ms", "2min 30s", "7d", "1h 1us", "1s 500ms"] {
            assert_eq!(parse_duration(text).map(|time| Time(time).to_string()).as_deref(), Ok(text));
        }
        for text in ["0", "1000", "8KiB", "1MiB", "1025KiB"] {
            assert_eq!(parse_size(text).map(|size| Size(size).to_string()).as_deref(), Ok(text));
        }
    }
}
