//! Configurations that are refused: each `broken/NN-name.toml` with what is said of it in `NN-name.txt`, word for word.

use std::fs;
use std::path::{Path, PathBuf};

use outlive::config::{ConfigError, from_str, load};

#[test]
fn each_is_refused_in_the_words_written_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    for path in cases {
        let shown = refused(&path).to_string() + "\n";
        let expectation = path.with_extension("txt");
        if update {
            fs::write(&expectation, &shown).expect("the expectation can be written");
        }
        let expected = fs::read_to_string(&expectation)
            .unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes it", expectation.display()));
        assert_eq!(shown, expected, "{}: read what is said now; UPDATE=1 writes it down", path.display());
    }
}

#[test]
fn each_error_says_where_and_what_in_one_line() {
    for path in cases() {
        for error in refused(&path).errors() {
            let (Some(line), Some(column)) = (error.line(), error.column()) else {
                panic!("{}: an error without a place: {error}", path.display());
            };
            let expected = format!("{}:{line}:{column}: {}", path.display(), error.what());
            assert_eq!(error.headline(), expected);
            assert!(!error.headline().contains('\n'));
        }
    }
}

#[test]
fn a_headline_counts_the_other_problems() {
    let headline = |text| from_str(text, "x.toml").map(drop).map_err(|error| error.headline());
    assert_eq!(headline("a = 1"), Err("x.toml:1:1: unknown key `a` at the top level".into()));
    assert_eq!(headline("a=1\nb=1"), Err("x.toml:1:1: unknown key `a` at the top level (and 1 more problem)".into()));
    assert_eq!(
        headline("a=1\nb=1\nc=1"),
        Err("x.toml:1:1: unknown key `a` at the top level (and 2 more problems)".into())
    );
}

#[test]
fn a_file_that_is_something_else_altogether_doesnt_flood_the_terminal() {
    let keys: String = (0..10_000).map(|number| format!("key{number} = 1\n")).collect();
    let error = from_str(&keys, "x.toml").expect_err("unknown keys are refused");
    assert_eq!(error.errors().len(), 10_000);
    assert!(error.to_string().ends_with("10000 problems in x.toml; the first 50 are shown"));
    let words: String = (0..10_000).map(|number| format!("key{number} = word\n")).collect();
    let error = from_str(&words, "x.toml").expect_err("words without quotes are refused");
    assert!(error.to_string().lines().count() < 500);
    let prose = "Dear Sir or Madam,\n".repeat(10_000);
    let error = from_str(&prose, "x.toml").expect_err("a letter is refused");
    assert!(error.to_string().lines().count() < 500);
}

#[test]
fn colours_are_added_only_where_asked_for() {
    let error = from_str("workers = 0", "x.toml").expect_err("zero workers are refused");
    assert!(!error.to_string().contains('\x1b'));
    assert!(error.coloured().contains("\x1b["));
}

#[test]
fn a_file_cannot_send_control_characters_to_the_terminal() {
    let texts = [
        "workers = \"\x1b]0;owned\x07\"",
        "\"k\\u001b[31m\\nerror: \" = 1\n[log]\nheaders = [\"\\u001b[2J\"]",
        "[log]\naccess = \"\u{9b}31m\u{202e}\" # \u{9b}",
        "slow = \u{9b}31m",
        "\u{9b}31m",
    ];
    for text in texts {
        let error = from_str(text, "x\x1b[2J\n.toml").expect_err("control characters are refused");
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert_eq!(error.to_string().find(harmful), None, "{error}");
        assert_eq!(error.headline().find(char::is_control), None, "{:?}", error.headline());
    }
}

/// Relative to the package, as its tests run there: messages name files as they were named.
fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/config/broken").expect("the cases can be listed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a case can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

fn refused(path: &Path) -> ConfigError {
    match load(Some(path)) {
        Ok(config) => panic!("{} was accepted: {config:?}", path.display()),
        Err(error) => error,
    }
}
