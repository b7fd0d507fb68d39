//! Reading one table: each key is asked for by name, and what nobody asked for is unknown.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::{Located, Place, Source};

/// What reading brings to light besides the values.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) unknown: Vec<UnknownKey>,
    /// Every key that was asked for: `drain.window`, `listen.NAME.bind`, `route.respond.status`.
    pub(super) keys: BTreeSet<String>,
    /// Whether tables that are missing are read as if they were empty, for the sake of `keys`.
    pub(super) listing: bool,
}

static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);

/// A key that nobody asked for.
pub(super) struct UnknownKey {
    pub(super) key: Located<String>,
    /// The table that it stands in: `drain`, `listen.NAME`; empty: the top level.
    pub(super) path: String,
    pub(super) title: String,
    /// Whether it is a `[section]` rather than a `key = value`.
    pub(super) is_section: bool,
    /// The keys that were asked for there.
    pub(super) known: Vec<&'static str>,
}

/// A value that cannot be used.
pub(super) struct Wrong {
    /// What is wrong, to follow the key: "must be a string".
    pub(super) what: String,
    pub(super) cure: Option<String>,
    /// Where, if it is not the whole value.
    pub(super) span: Option<Range<usize>>,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cure: None, span: None }
    }

    pub(super) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    pub(super) fn at(mut self, span: Range<usize>) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

/// A value as it stands in the file.
pub(super) type Value<'s> = Spanned<DeValue<'s>>;

/// One table that is being read.
pub(super) struct Section<'s> {
    source: &'s Arc<Source>,
    findings: &'s mut Findings,
    table: &'s DeTable<'s>,
    place: Place,
    path: String,
    title: String,
    asked: Vec<&'static str>,
}

impl<'s> Section<'s> {
    /// Reads the table at the top level of a file.
    pub(super) fn read_root<T>(
        source: &'s Arc<Source>,
        findings: &'s mut Findings,
        table: &'s DeTable<'s>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let place = Place::new(source, 0..0);
        let title = "at the top level".to_owned();
        Section { source, findings, table, place, path: String::new(), title, asked: Vec::new() }.finish(read)
    }

    /// Has the table read, then notes the keys that were not asked for: no reader can forget to.
    fn finish<T>(mut self, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let value = read(&mut self);
        for (key, value) in self.table {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let key = Located { value: key.get_ref().to_string(), place: self.at(key.span()) };
                let (path, title, known) = (self.path.clone(), self.title.clone(), self.asked.clone());
                let is_section = self.path.is_empty() && value.get_ref().is_table();
                self.findings.unknown.push(UnknownKey { key, path, title, is_section, known });
            }
        }
        value
    }

    /// The table's header.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A place in this table's file.
    pub(super) fn at(&self, span: Range<usize>) -> Place {
        Place::new(self.source, span)
    }

    /// Notes an error.
    pub(super) fn error(&mut self, error: Diagnostic) {
        self.findings.errors.push(error);
    }

    /// Notes a warning.
    pub(super) fn warn(&mut self, warning: Diagnostic) {
        self.findings.warnings.push(warning);
    }

    /// Whether a key is there, without asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key stands, without asking for it.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.table.get_key_value(key).map(|(key, _)| self.at(key.span()))
    }

    /// Asks for a key's value, and notes an error if it cannot be used.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&Value<'_>) -> Result<T, Wrong>,
    ) -> Option<Located<T>> {
        let value = self.ask(key)?;
        match convert(value) {
            Ok(converted) => Some(Located { value: converted, place: self.at(value.span()) }),
            Err(wrong) => {
                self.refuse(key, wrong.at(value.span()));
                None
            }
        }
    }

    /// Asks for an array, and notes an error for each item that cannot be used.
    pub(super) fn take_list<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&Value<'_>) -> Result<T, Wrong>,
    ) -> Option<Located<Vec<T>>> {
        let value = self.ask(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            let wrong = Wrong::new(format!("must be an array, not {}", kind(value)));
            let one = value.get_ref().as_str().unwrap_or("..");
            self.refuse(key, wrong.cure(format!("write `[\"{one}\"]`")).at(value.span()));
            return None;
        };
        let mut list = Vec::new();
        for item in items.iter() {
            match convert(item) {
                Ok(converted) => list.push(converted),
                Err(wrong) => self.refuse(key, wrong.at(item.span())),
            }
        }
        (list.len() == items.len()).then(|| Located { value: list, place: self.at(value.span()) })
    }

    /// Asks for a table below this one. `shape` shows how it is written.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        shape: &str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let title = if self.path.is_empty() { format!("in [{key}]") } else { format!("in `{key}`") };
        let Some(value) = self.ask(key) else {
            return self.findings.listing.then(|| self.below(&EMPTY, 0..0, key, title).finish(read));
        };
        match value.get_ref() {
            DeValue::Table(table) => Some(self.below(table, value.span(), key, title).finish(read)),
            _ => {
                let wrong = Wrong::new(format!("must be a table, not {}", kind(value)));
                self.refuse(key, wrong.cure(format!("write `{shape}`")).at(value.span()));
                None
            }
        }
    }

    /// Asks for tables with names of the operator's choice: `[KEY.NAME]`.
    pub(super) fn named_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Located<String>, &mut Section<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.ask(key) else {
            if self.findings.listing {
                let name = Located { value: "NAME".to_owned(), place: self.at(0..0) };
                self.below(&EMPTY, 0..0, &format!("{key}.NAME"), String::new()).finish(|section| read(&name, section));
            }
            return Vec::new();
        };
        let DeValue::Table(tables) = value.get_ref() else {
            let wrong = Wrong::new(format!("must be a table, not {}", kind(value)));
            self.refuse(key, wrong.cure(format!("write `[{key}.http]`, with a name of your choice")).at(value.span()));
            return Vec::new();
        };
        let mut read_tables = Vec::new();
        for (name, value) in tables {
            let name = Located { value: name.get_ref().to_string(), place: self.at(name.span()) };
            let DeValue::Table(table) = value.get_ref() else {
                let what = format!("`{}` stands in [{key}], where a name is missing", name.value);
                let cure = format!("write `[{key}.http]` above it, with a name of your choice");
                self.error(Diagnostic::error(&name.place, what).cure(cure));
                continue;
            };
            let title = format!("in [{key}.{}]", name.value);
            let section = self.below(table, value.span(), &format!("{key}.NAME"), title);
            read_tables.push(section.finish(|section| read(&name, section)));
        }
        read_tables
    }

    /// Asks for tables without names, `[[KEY]]`, in the order written. An empty array is not the same as none.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let Some(value) = self.ask(key) else {
            if self.findings.listing {
                self.below(&EMPTY, 0..0, key, String::new()).finish(&mut read);
            }
            return None;
        };
        let shape = format!("write `[[{key}]]`, with two brackets on each side");
        let DeValue::Array(items) = value.get_ref() else {
            let wrong = Wrong::new(format!("must be an array of tables, not {}", kind(value)));
            self.refuse(key, wrong.cure(shape).at(value.span()));
            return None;
        };
        let mut read_tables = Vec::new();
        for item in items.iter() {
            if let DeValue::Table(table) = item.get_ref() {
                let section = self.below(table, item.span(), key, format!("in [[{key}]]"));
                read_tables.push(section.finish(&mut read));
            } else {
                let wrong = Wrong::new(format!("must be an array of tables, and this is {}", kind(item)));
                self.refuse(key, wrong.cure(&shape).at(item.span()));
            }
        }
        Some(read_tables)
    }

    fn ask(&mut self, key: &'static str) -> Option<&'s Value<'s>> {
        self.asked.push(key);
        self.findings.keys.insert(join(&self.path, key));
        self.table.get(key)
    }

    fn refuse(&mut self, key: &str, wrong: Wrong) {
        let place = self.at(wrong.span.unwrap_or_default());
        let error = Diagnostic::error(&place, format!("`{key}` {}", wrong.what));
        self.error(match wrong.cure {
            Some(cure) => error.cure(cure),
            None => error,
        });
    }

    fn below<'b>(&'b mut self, table: &'b DeTable<'b>, span: Range<usize>, key: &str, title: String) -> Section<'b> {
        Section {
            source: self.source,
            place: self.at(span),
            findings: self.findings,
            table,
            path: join(&self.path, key),
            title,
            asked: Vec::new(),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What a value is, with its article.
pub(super) fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
