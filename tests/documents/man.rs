//! outlive(1) and outlive-rehearse(1), made from the command line as clap knows it, and what only a page has to say.

use clap::{Arg, Command};

use crate::committed::is_up_to_date;
use crate::roff::Page;

const MANUAL: &str = "User Commands";

const DESCRIPTION: &str = "\
outlive serves HTTP on sockets that systemd opens and keeps. Neither a restart, nor a reload, nor an upgrade of its \
package loses a request or closes a connection.

`systemctl restart outlive` drains: requests that run are finished while everyone else is still served, then every \
kept-alive HTTP/1.1 connection is handed over through systemd's descriptor store (FileDescriptorStoreMax= in \
systemd.service(5)), and the next process goes on with it. Who connects in between waits in the kernel's queue. The time \
for all of that is the unit's TimeoutStopSec=, drop-ins included.

`systemctl reload outlive` starts the program and the configuration that are on disk now beside the process that runs, \
and moves each connection to it as it comes free. It waits for the outcome: if the new process does not come to serve, \
the reload fails and says why, and the old process goes on.

`systemctl stop outlive` finishes the requests that run and closes the connections. The port stays open until \
outlive.socket is stopped too: the next connection starts the service again.

Outside of systemd, outlive binds the addresses that its configuration names.";

const UNITS: [(&str, &str); 2] = [
    (
        "outlive.socket",
        "The listening sockets: 127.0.0.1:8080 until an administrator says otherwise. Change them with `systemctl edit \
         outlive.socket`, then `systemctl restart outlive.socket`. FileDescriptorName= is the name of the listener, \
         [listen.NAME] in outlive.toml(5). Recipes for ports 80 and 443, for several sockets and for user units are in \
         /usr/share/doc/outlive/install.md.",
    ),
    (
        "outlive.service",
        "The service, in a sandbox and with a dynamic user. The first connection starts it. Change it with `systemctl \
         edit outlive.service`; what a reload cannot apply takes effect with `systemctl restart outlive`, which loses \
         nothing either.",
    ),
];

const JOURNAL: &str = "\
Every event has a MESSAGE_ID, and `journalctl -x -u outlive` explains each: what happened, what it means for clients, \
what to do. Requests are entries with fields of their own (METHOD, PATH, ROUTE, STATUS, DURATION_USEC, BYTES, PEER, \
REQUEST_ID): `journalctl -u outlive -o json`.";

#[test]
fn the_page_of_the_program_is_up_to_date() {
    let command = built();
    let mut page = Page::new("outlive", 1, MANUAL, &about(&command));
    page.heading("SYNOPSIS");
    for sub in visible(&command) {
        page.paragraph(&usage(sub));
    }
    page.heading("DESCRIPTION");
    page.paragraphs(DESCRIPTION);
    page.heading("COMMANDS");
    for sub in visible(&command) {
        let text = sub.get_long_about().or(sub.get_about()).unwrap().to_string();
        if sub.get_name() == "rehearse" {
            page.item("outlive rehearse", &format!("{} See outlive-rehearse(1).", sentence(&about(sub))));
            continue;
        }
        page.item(&format!("outlive {}", sub.get_name()), &sentence(&text));
        let own: Vec<_> =
            arguments(sub).filter(|argument| !argument.is_global_set() && !is_built_in(argument)).collect();
        if !own.is_empty() {
            page.indent();
            own.into_iter().for_each(|argument| option(&mut page, argument));
            page.outdent();
        }
    }
    page.heading("OPTIONS");
    arguments(&command).for_each(|argument| option(&mut page, argument));
    sections(&mut page, &command.get_after_help().unwrap().to_string());
    page.heading("UNITS");
    UNITS.into_iter().for_each(|(unit, text)| page.item(unit, text));
    page.heading("JOURNAL");
    page.paragraph(JOURNAL);
    page.heading("SEE ALSO");
    page.paragraph(
        "outlive-rehearse(1), outlive.toml(5), systemctl(1), journalctl(1), systemd.socket(5), systemd.service(5), \
         sd_listen_fds(3)",
    );
    is_up_to_date("usr/share/man/man1/outlive.1", &page.finish());
}

#[test]
fn the_page_of_rehearse_is_up_to_date() {
    let command = built();
    let rehearse = command.find_subcommand("rehearse").unwrap();
    let mut page = Page::new("outlive-rehearse", 1, MANUAL, &about(rehearse));
    page.heading("SYNOPSIS");
    page.paragraph(&usage(rehearse));
    page.heading("DESCRIPTION");
    page.paragraphs(&rehearse.get_long_about().unwrap().to_string());
    page.heading("OPTIONS");
    // Options of every command mean nothing to this one.
    let own = arguments(rehearse).filter(|argument| !argument.is_global_set());
    own.for_each(|argument| option(&mut page, argument));
    sections(&mut page, &rehearse.get_after_long_help().unwrap().to_string());
    page.heading("EXAMPLES");
    page.paragraph("Twenty restarts, and a report to look at:");
    page.example(
        "outlive rehearse --url http://127.0.0.1:8080/ --report report.html -- \\\n    systemctl restart outlive",
    );
    page.paragraph("An upgrade, a single time:");
    page.example(
        "outlive rehearse --url http://127.0.0.1:8080/ --rounds 1 -- \\\n    apt-get install --yes ./outlive_0.2.0_amd64.deb",
    );
    page.heading("SEE ALSO");
    page.paragraph("outlive(1)");
    is_up_to_date("usr/share/man/man1/outlive-rehearse.1", &page.finish());
}

fn built() -> Command {
    let mut command = outlive::cli::command();
    command.build();
    command
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn about(command: &Command) -> String {
    command.get_about().unwrap().to_string()
}

/// `outlive check [OPTIONS]`
fn usage(command: &Command) -> String {
    let text = command.clone().render_usage().to_string();
    format!("`{}`", text.trim_start_matches("Usage: "))
}

/// Text that clap shows without its full stop.
fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

fn is_built_in(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !argument.is_hide_set())
}

fn option(page: &mut Page, argument: &Arg) {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let mut names: Vec<_> = short.into_iter().chain(long).collect();
    let mut value = argument.get_value_names().map(|names| names[0].to_string());
    if argument.is_positional() {
        names = vec!["--".to_owned()];
        value = value.map(|value| format!("{value}..."));
    } else if !argument.get_action().takes_values() {
        value = None;
    }
    let help = argument.get_long_help().or(argument.get_help()).unwrap().to_string();
    // The first paragraph is a headline.
    let (headline, rest) = help.split_once("\n\n").unwrap_or((help.as_str(), ""));
    let mut text = sentence(headline);
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if value.is_some() && !defaults.is_empty() {
        text.push_str(&format!(" Default: {}.", defaults.join(" ")));
    }
    if !rest.is_empty() {
        text.push_str(&format!("\n\n{rest}"));
    }
    page.option(&names, value.as_deref(), &text);
}

/// What stands below the options in `--help`: headings with a colon, terms with a wide gap before their meaning.
fn sections(page: &mut Page, text: &str) {
    let mut item: Option<(String, String)> = None;
    for line in text.lines().chain([""]) {
        let indent = line.len() - line.trim_start().len();
        if indent > 4
            && let Some((_, text)) = &mut item
        {
            *text = format!("{text} {}", line.trim());
            continue;
        }
        if let Some((term, text)) = item.take() {
            page.item(&term, &sentence(&text));
        }
        match line.trim().split_once("  ") {
            Some((term, text)) => item = Some((term.to_owned(), text.trim().to_owned())),
            None if line.is_empty() => {}
            None if indent > 0 => page.paragraph(line),
            None => heading(page, line.trim_end_matches(':')),
        }
    }
}

/// `Classes (each has one)`
fn heading(page: &mut Page, line: &str) {
    let (heading, remark) = line.split_once(" (").unwrap_or((line, ""));
    page.heading(&heading.to_uppercase());
    if let Some(remark) = remark.strip_suffix(')') {
        let (first, rest) = remark.split_at(1);
        page.paragraph(&sentence(&format!("{}{rest}", first.to_uppercase())));
    }
}
