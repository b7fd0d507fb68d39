//! Commands in the documentation, which tests run as they stand.

use std::fs;

use crate::built::top;

/// The first block of commands (```` ```sh ````) below a heading.
#[track_caller]
pub fn commands(file: &str, heading: &str) -> String {
    let text = fs::read_to_string(top().join(file)).unwrap();
    let section = text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("{file} has no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).and_then(|block| block.split("```").next());
    block.unwrap_or_else(|| panic!("{file} has no commands below {heading}")).to_owned()
}
