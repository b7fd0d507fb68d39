//! Whatever stands in a file, reading it ends in settings or in errors that can be shown, never in a panic.

use std::sync::{Arc, LazyLock};

use outlive::config::{EMBEDDED_DEFAULT, from_str, load};
use outlive::route::Router;
use outlive::server::gauges::Gauges;
use proptest::prelude::*;

/// Texts to start from: the shipped file with everything on, and all the broken ones.
static SEEDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut seeds = vec![EMBEDDED_DEFAULT.replace("\n#", "\n").replace("\n ", "\n# ")];
    for entry in std::fs::read_dir("tests/config/broken").expect("the cases can be listed") {
        let bytes = std::fs::read(entry.expect("a case can be listed").path()).expect("a case can be read");
        seeds.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    seeds
});

/// What is put into them.
const TOKENS: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\\",
    "\\u",
    "“",
    "é",
    "\u{feff}",
    "\u{1b}",
    "\u{202e}",
    "route",
    "path",
    "host",
    "respond",
    "listen",
    "//",
    ":",
    "*",
    "/{*x}",
    "{{",
    "-1",
    "0",
    "1e9",
    "99999999999999999999",
    "0x",
    "1979-05-27",
    "true",
    "inf",
    "s",
    "min",
    "KiB",
    "unix:",
    "a = ",
];

/// Cuts a stretch out, puts a token in, or doubles a stretch; places are taken modulo the text's length.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize, usize),
    Put(usize, usize),
    Double(usize, usize),
}

impl Change {
    fn apply(&self, text: &mut String) {
        let place = |text: &str, at: usize| text.floor_char_boundary(at % (text.len() + 1));
        match *self {
            Self::Cut(at, length) => {
                let start = place(text, at);
                let end = text.ceil_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, "");
            }
            Self::Put(at, token) => {
                let start = place(text, at);
                text.insert_str(start, TOKENS[token % TOKENS.len()]);
            }
            Self::Double(at, length) => {
                let start = place(text, at);
                let end = text.ceil_char_boundary((start + length).min(text.len()));
                let copy = text[start..end].to_owned();
                text.insert_str(end, &copy);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), 1_usize..40).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, token)| Change::Put(at, token)),
        (any::<usize>(), 1_usize..200).prop_map(|(at, length)| Change::Double(at, length)),
    ]
}

/// Reads and shows everything there is to show.
fn read(text: &str) -> Result<(), TestCaseError> {
    match from_str(text, "fuzz.toml") {
        Ok(config) => {
            let _ = config.summary();
            // What is found valid can be served.
            let router = Router::new(&config.routes, &Arc::new(Gauges::new(1, 1)));
            prop_assert!(router.is_ok(), "{:?}", router.err());
            for warning in &config.warnings {
                let _ = (warning.to_string(), warning.coloured(), warning.headline());
            }
        }
        Err(error) => {
            prop_assert!(!error.errors().is_empty(), "refused for no reason");
            let _ = (error.to_string(), error.coloured(), error.headline());
            for error in error.errors() {
                prop_assert!(error.line().is_none_or(|line| line <= text.split('\n').count()));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_configurations(seed in any::<usize>(), changes in prop::collection::vec(change(), 1..8)) {
        let mut text = SEEDS[seed % SEEDS.len()].clone();
        for change in &changes {
            change.apply(&mut text);
        }
        read(&text)?;
    }

    #[test]
    fn tokens_in_any_order(tokens in prop::collection::vec(0..TOKENS.len(), 0..40)) {
        let text: String = tokens.iter().map(|token| TOKENS[*token]).collect();
        read(&text)?;
    }

    #[test]
    fn routes_with_any_paths(
        routes in prop::collection::vec((prop::collection::vec(0_usize..13, 0..6), 0_usize..5), 1..6),
    ) {
        const PARTS: [&str; 13] = ["/", "/", "a", "/b", "{", "}", "/{x}", "/{*x}", "{{", "}}", "-", "%2F", "/{y}"];
        const DOES: [&str; 5] = [
            "respond = {}",
            "health = {}",
            "methods = ['GET']\nrespond = {}",
            "methods = ['POST', 'HEAD']\nrespond = {}",
            "host = '*.a'\nfiles = '/usr'",
        ];
        let route = |(parts, does): &(Vec<usize>, usize)| {
            let path: String = parts.iter().map(|part| PARTS[*part]).collect();
            format!("[[route]]\npath = '/{}'\n{}\n", path.trim_start_matches('/'), DOES[*does])
        };
        read(&routes.iter().map(route).collect::<String>())?;
    }

    #[test]
    fn any_value_for_any_text_key(text in any::<String>()) {
        let quoted = format!("{text:?}");
        read(&format!("[drain]\nwindow = {quoted}\n[limits]\nhead_size = {quoted}\n[listen.http]\nbind = {quoted}\n\
            [listen.{quoted}]\n[log]\naccess = {quoted}\nheaders = [{quoted}]\n[[route]]\nhost = {quoted}\n\
            path = {quoted}\nmethods = [{quoted}]\nrespond = {{ headers = {{ {quoted} = {quoted} }} }}\n"))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), &bytes).expect("a file can be written");
        if let Err(error) = load(Some(file.path())) {
            let _ = (error.to_string(), error.coloured(), error.headline());
        }
    }
}
