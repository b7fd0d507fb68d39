//! Text that may have come from anywhere, for one line of a terminal.

/// Escapes what could break a line, or do something to the terminal that shows it.
pub(crate) fn visible(text: &str) -> String {
    let bidirectional = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || bidirectional(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_a_line_or_does_anything_to_a_terminal() {
        assert_eq!(visible("as it is: \u{e9}, \u{20ac}"), "as it is: \u{e9}, \u{20ac}");
        assert_eq!(visible("a\nb\r\tc\x1b[31m\u{9b}\u{202e}\x7f"), "a\\nb\\r\\tc\\u{1b}[31m\\u{9b}\\u{202e}\\u{7f}");
    }
}
