//! outlive.toml(5), made from the configuration that packages install, which explains every key there is.

use outlive::config::{EMBEDDED_DEFAULT, known_keys};

use crate::committed::is_up_to_date;
use crate::roff::Page;

const ABOUT: &str = "the configuration of outlive";

/// Comment lines, then the lines that they explain.
struct Block {
    comment: String,
    code: Vec<String>,
}

#[test]
fn the_reference_is_up_to_date() {
    let mut page = Page::new("outlive.toml", 5, "File Formats", ABOUT);
    page.heading("SYNOPSIS");
    page.paragraph("`/etc/outlive/outlive.toml`");
    page.paragraph("`/etc/outlive/outlive.toml.d/*.toml`");
    page.heading("DESCRIPTION");
    page.paragraph(
        "A file in TOML (https://toml.io). What is set here is the default, unless it is called an example. An unknown \
         key is an error: `outlive check` names the file, the line, and the key that may have been meant.",
    );
    let mut blocks = blocks();
    // The file's own title, and how to read its comments.
    blocks.remove(0);
    blocks[0].comment = blocks[0].comment.split_once("`outlive check`").unwrap().1.to_owned();
    blocks[0].comment.insert_str(0, "`outlive check`");
    let mut at_top = true;
    for block in &blocks {
        let Some(first) = block.code.first() else {
            if at_route(block) {
                page.heading("[[route]]");
            }
            page.paragraphs(&block.comment);
            continue;
        };
        if first.starts_with("[[") {
            page.paragraphs(&block.comment);
            page.example(&block.code.join("\n"));
        } else if first.starts_with('[') {
            page.heading(first);
            page.paragraphs(&block.comment);
            at_top = false;
        } else {
            if at_top {
                page.heading("TOP LEVEL");
                at_top = false;
            }
            let keys: Vec<_> = block.code.iter().map(String::as_str).collect();
            page.terms(&keys, &block.comment);
        }
    }
    page.heading("FILES");
    page.item("/usr/share/doc/outlive/examples", "Configurations, and drop-ins for the units, to copy from.");
    page.heading("SEE ALSO");
    page.paragraph("outlive(1)");
    let text = page.finish();
    for path in known_keys() {
        let key = path.rsplit('.').next().unwrap();
        assert!(text.contains(&key.replace('-', "\\-")), "{path} is not explained");
    }
    is_up_to_date("usr/share/man/man5/outlive.toml.5", &text);
}

fn at_route(block: &Block) -> bool {
    block.comment.starts_with("Routes")
}

/// The file's blocks, with what is commented out taken for what it is: code.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for text in EMBEDDED_DEFAULT.split("\n\n") {
        let mut block = Block { comment: String::new(), code: Vec::new() };
        for line in text.lines() {
            match line.strip_prefix('#') {
                Some("") => block.comment.push_str("\n\n"),
                Some(comment) if comment.starts_with(' ') => {
                    if block.comment.is_empty() || block.comment.ends_with('\n') {
                        block.comment.push_str(comment.trim());
                    } else if comment.starts_with(" `") && block.comment.starts_with("Routes") {
                        block.comment.push_str(&format!("\n\n{}", comment.trim()));
                    } else {
                        block.comment.push_str(comment);
                    }
                }
                Some(code) => block.code.push(code.to_owned()),
                None => block.code.push(line.to_owned()),
            }
        }
        // A comment above the header of a section is that section's.
        blocks.extend(split_paragraphs(block));
    }
    blocks
}

/// A comment alone with paragraphs becomes blocks of their own.
fn split_paragraphs(block: Block) -> Vec<Block> {
    if !block.code.is_empty() || at_route(&block) {
        return vec![block];
    }
    block.comment.split("\n\n").map(|comment| Block { comment: comment.to_owned(), code: Vec::new() }).collect()
}
