//! The language of man pages, man(7).

use std::fmt::Write as _;

/// A man page that is being written.
pub struct Page(String);

impl Page {
    /// Begins one: `outlive`, `1`, `User Commands`, and its one-line description.
    pub fn new(name: &str, section: u8, manual: &str, about: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(
            ".\\\" Made from the code by tests/documents.\n.TH {} {section} \"\" \"outlive {version}\" \"{manual}\"\n\
             .\\\" Left-aligned, and no word is broken: they may be keys and paths.\n.ad l\n.nh\n",
            name.to_uppercase(),
        );
        let mut page = Self(head);
        page.heading("NAME");
        page.line(&format!("{} \\- {}", escaped(name), escaped(about)));
        page
    }

    pub fn heading(&mut self, text: &str) {
        self.line(&format!(".SH \"{}\"", escaped(text).replace('"', "\\(dq")));
    }

    /// A paragraph of text: `` `words` `` and options come out bold.
    pub fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.text(text);
    }

    /// Text with paragraphs, separated by empty lines.
    pub fn paragraphs(&mut self, text: &str) {
        for paragraph in text.split("\n\n") {
            self.paragraph(paragraph);
        }
    }

    /// A term and what it means.
    pub fn item(&mut self, term: &str, text: &str) {
        self.terms(&[term], text);
    }

    /// Terms, and what they mean together.
    pub fn terms(&mut self, terms: &[&str], text: &str) {
        for (index, term) in terms.iter().enumerate() {
            self.line(if index == 0 { ".TP" } else { ".TQ" });
            let text = format!("\\fB{}\\fR", escaped(term));
            self.line(&text);
        }
        let mut paragraphs = text.split("\n\n");
        self.text(paragraphs.next().unwrap_or_default());
        for paragraph in paragraphs {
            self.line(".IP");
            self.text(paragraph);
        }
    }

    /// An option, its value's name, and what it means.
    pub fn option(&mut self, names: &[String], value: Option<&str>, text: &str) {
        let names: Vec<_> = names.iter().map(|name| format!("\\fB{}\\fR", escaped(name))).collect();
        let value = value.map_or_else(String::new, |value| format!(" \\fI{}\\fR", escaped(value)));
        self.line(".TP");
        self.line(&format!("{}{value}", names.join(", ")));
        let mut paragraphs = text.split("\n\n");
        self.text(paragraphs.next().unwrap_or_default());
        for paragraph in paragraphs {
            self.line(".IP");
            self.text(paragraph);
        }
    }

    /// Lines as they stand.
    pub fn example(&mut self, lines: &str) {
        self.line(".PP\n.RS 4\n.EX");
        for line in lines.lines() {
            // An empty line is no paragraph's end here.
            self.line(&escaped(line));
        }
        self.line(".EE\n.RE");
    }

    /// What follows belongs to the item before.
    pub fn indent(&mut self) {
        self.line(".RS");
    }

    pub fn outdent(&mut self) {
        self.line(".RE");
    }

    pub fn finish(self) -> String {
        self.0
    }

    fn text(&mut self, text: &str) {
        let mut words = text.split_whitespace().map(marked);
        // A sentence a line: what changes in the text changes little in the page.
        let mut line = String::new();
        while let Some(word) = words.next() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
            if word.ends_with(['.', ':']) {
                self.line(&std::mem::take(&mut line));
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
    }
}

/// Nothing in it is taken for a request or an escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti").replace('^', "\\(ha");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// A word in bold if it is code, an option or a reference to a man page.
fn marked(word: &str) -> String {
    let word = escaped(word);
    // What is code may have spaces in it, and so begin in one word and end in another.
    let mut parts = word.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push_str(if index % 2 == 0 { "\\fB" } else { "\\fR" });
        text.push_str(part);
    }
    if text.starts_with("\\-\\-") && text.len() > 6 {
        let end = text.find([',', '.', ')', ';', ':']).unwrap_or(text.len());
        return format!("\\fB{}\\fR{}", &text[..end], &text[end..]);
    }
    text
}
