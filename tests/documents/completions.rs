//! Completions for bash, zsh and fish.

use clap::Command;
use clap_complete::{Generator, Shell, generate};

use crate::committed::is_up_to_date;

#[test]
fn they_are_up_to_date() {
    check(Shell::Bash, "usr/share/bash-completion/completions/outlive");
    check(Shell::Zsh, "usr/share/zsh/vendor-completions/_outlive");
    check(Shell::Fish, "usr/share/fish/vendor_completions.d/outlive.fish");
}

fn check(shell: impl Generator, path: &str) {
    let mut text = Vec::new();
    generate(shell, &mut command(), "outlive", &mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("launch-successor"), "{path} offers what is for the service itself");
    // Some lines are made with blanks at their ends.
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    is_up_to_date(path, &format!("{}\n", lines.join("\n")));
}

/// The command line without what `--help` hides too.
fn command() -> Command {
    let whole = outlive::cli::command();
    let mut visible = Command::new("outlive").version(env!("CARGO_PKG_VERSION")).args(whole.get_arguments());
    for sub in whole.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        visible = visible.subcommand(sub);
    }
    visible
}
