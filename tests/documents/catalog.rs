//! The message catalog, against the ids and fields of the journal's events.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::committed::packaged;

/// What the library says, and what the service does.
const EVENTS: &str = concat!(include_str!("../../src/journal/event.rs"), include_str!("../../src/entries.rs"));

/// Paragraphs of an entry: what happened, what it means for clients, what to do.
const PARAGRAPHS: usize = 3;

/// Characters in a line: `journalctl -x` puts three before each.
const WIDTH: usize = 120;

struct Entry {
    /// The comment above it: the id's name.
    name: String,
    headers: BTreeMap<String, String>,
    text: String,
}

#[test]
fn every_id_of_the_code_has_an_entry_and_every_entry_an_id() {
    let (ids, entries) = (ids(), entries());
    for (name, id) in &ids {
        let entry = entries.get(id).unwrap_or_else(|| panic!("{name}, {id}, is not explained in outlive.catalog"));
        assert_eq!(entry.name, *name, "the comment above {id}");
    }
    for (id, entry) in &entries {
        assert!(ids.values().any(|known| known == id), "{}, {id}: no event has this id", entry.name);
    }
}

#[test]
fn every_id_is_used() {
    let mut source = String::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        source.push_str(&fs::read_to_string(file).unwrap());
    }
    for name in ids().keys() {
        let uses = source.matches(&format!("message_id::{name},")).count();
        assert!(uses > 0, "message_id::{name} is never logged");
    }
}

#[test]
fn every_entry_says_what_it_means_and_what_to_do() {
    for (id, entry) in entries() {
        let name = &entry.name;
        let subject = entry.headers.get("Subject").unwrap_or_else(|| panic!("{name}: no Subject:"));
        assert!(subject.len() < 80 && !subject.ends_with('.'), "{name}: {subject}");
        assert_eq!(entry.headers.get("Defined-By").map(String::as_str), Some("outlive"), "{name}");
        assert!(entry.headers.contains_key("Documentation"), "{name}");
        assert_eq!(entry.text.split("\n\n").count(), PARAGRAPHS, "{name}, {id}: what happened, for clients, to do");
        let longest = entry.text.lines().map(str::len).max().unwrap_or_default();
        assert!(longest <= WIDTH, "{name}: a line of {longest}");
    }
}

#[test]
fn every_field_that_an_entry_quotes_is_logged_with_it() {
    for (id, entry) in entries() {
        let fields = fields_of(&entry.name);
        for quoted in entry.text.split('@').skip(1).step_by(2) {
            assert!(fields.iter().any(|field| field == quoted), "{}, {id} has no {quoted}: {fields:?}", entry.name);
        }
        assert_eq!(entry.text.matches('@').count() % 2, 0, "{}", entry.name);
    }
}

/// `NAME` and id of each event.
fn ids() -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, id) = line.trim().strip_prefix("pub const ")?.split_once(": &str = \"")?;
        let id = id.strip_suffix("\";")?;
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| (name.to_owned(), id.to_owned()))
    };
    let ids: BTreeMap<_, _> = EVENTS.lines().filter_map(line).collect();
    assert!(ids.len() > 20, "the ids are no longer where this test looks: {ids:?}");
    ids
}

/// The fields that every place sets which logs an id.
fn fields_of(name: &str) -> Vec<String> {
    let mut common: Option<Vec<String>> = None;
    let id = format!("message_id::{name},");
    for (start, _) in EVENTS.match_indices(&id) {
        let (before, after) = (&EVENTS[..start], &EVENTS[start + id.len()..]);
        let mut fields = fields_at(after);
        if !before.ends_with("MESSAGE_ID = ") {
            // A macro sets the id, and the fields that several events have in common.
            let (_, shared) =
                before.rsplit_once("MESSAGE_ID = $id,").unwrap_or_else(|| panic!("{name} is in no entry"));
            fields.extend(fields_at(shared));
        }
        common = Some(match common {
            None => fields,
            Some(common) => common.into_iter().filter(|field| fields.contains(field)).collect(),
        });
    }
    common.unwrap_or_default()
}

/// `FIELD = value,` lines, from the next line on.
fn fields_at(text: &str) -> Vec<String> {
    text.lines().skip(1).map_while(|line| Some(line.trim().split_once(" = ")?.0.to_owned())).collect()
}

/// The catalog, by id. See <https://systemd.io/CATALOG/>.
fn entries() -> BTreeMap<String, Entry> {
    let text = fs::read_to_string(packaged("usr/lib/systemd/catalog/outlive.catalog")).unwrap();
    let mut entries = BTreeMap::new();
    for block in text.split("\n# ").skip(1) {
        let Some((name, block)) = block.split_once("\n-- ") else { continue };
        let (id, block) = block.split_once('\n').unwrap();
        let (headers, text) = block.split_once("\n\n").unwrap_or((block, ""));
        let header = |line: &str| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let headers = headers.lines().filter_map(header).collect();
        let entry = Entry { name: name.to_owned(), headers, text: text.trim_end().to_owned() };
        assert!(entries.insert(id.to_owned(), entry).is_none(), "{id} is explained twice");
    }
    entries
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}
