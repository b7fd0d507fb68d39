//! A user's own service, as `examples/user_unit` and README have it: a program of a few lines under `systemctl --user`.

use std::fs;
use std::path::{Path, PathBuf};

use outlive::journal::message_id;

use crate::on_every_systemd;
use crate::support::OUTLIVE;
use crate::support::client::get;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::example::Example;
use crate::support::rehearsal::nothing_is_lost;
use crate::support::running::Text as _;

on_every_systemd!(a_users_service_keeps_its_connections);

const LOAD: &str =
    "--url http://127.0.0.1:8080/ --connections 8 --fresh 4 --idle 100 --half 10 --rounds 1 --every 10ms";

/// A next version of it, which can ask for a reload, but not serve.
const BROKEN: &str = r#"#!/bin/sh
[ "${1-}" != reload ] || exec ~/hello.good reload
echo "the database does not answer" >&2
exit 1
"#;

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/user_unit").join(file)
}

/// Somebody who has no privileges, and is logged in.
struct User(Container);

impl User {
    fn log_in(host: Container) -> Self {
        // As a unit: logind looks at the control group of whoever asks.
        host.run("useradd --create-home --uid 1000 dev && systemd-run --quiet --wait loginctl enable-linger dev");
        host.run("systemctl start user@1000.service");
        Self(host)
    }

    /// A command as at a terminal of the user's.
    fn command(command: &str) -> String {
        let session = "env HOME=/home/dev XDG_RUNTIME_DIR=/run/user/1000";
        format!("setpriv --reuid=dev --regid=dev --init-groups {session} {command}")
    }

    fn run(&self, command: &str) -> String {
        self.0.run(&Self::command(command))
    }

    /// Installs the program and the units as README has it.
    fn install(&self) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hello");
        Example::build("axum").rebuild(&example("src/main.rs"), &program);
        self.0.install(&program, "/home/dev/.cargo/bin/hello");
        for unit in ["hello.socket", "hello.service"] {
            self.0
                .write(&format!("/home/dev/.config/systemd/user/{unit}"), &fs::read_to_string(example(unit)).unwrap());
        }
        self.0.run("chown -R dev:dev /home/dev");
        self.run("systemctl --user daemon-reload");
        self.run("systemctl --user enable --quiet --now hello.socket");
    }

    fn main_pid(&self) -> String {
        self.run("systemctl --user show --property=MainPID --value hello.service")
    }
}

fn a_users_service_keeps_its_connections(suite: Suite) {
    let user = User::log_in(Container::boot(suite));
    user.0.install(OUTLIVE.as_ref(), "/usr/bin/outlive");
    user.install();
    // The last one stops a process that systemd hasn't started.
    let mut processes = Vec::new();
    for verb in ["restart", "reload", "restart"] {
        nothing_is_lost(&user.0, LOAD, &User::command(&format!("systemctl --user {verb} hello.service")));
        // A rehearsal doesn't tell who answers.
        let answer = user.0.in_network(async || get(SERVICE, "/").await).unwrap();
        assert_eq!(answer.text(), format!("hello from process {}\n", user.main_pid()));
        processes.push(answer.text().to_owned());
    }
    processes.dedup();
    assert_eq!(processes.len(), 3, "{processes:?}");
    let unit = "_SYSTEMD_USER_UNIT=hello.service";
    for entry in user.0.journal(&format!("{unit} + USER_UNIT=hello.service")) {
        println!("{}", entry.get("MESSAGE").unwrap_or_default());
        assert!(entry.number("PRIORITY") > 4, "{entry:?}");
    }
    // Of whichever unit: journald can't tell that of a process that has just ended.
    let drained = user.0.journal(&format!("MESSAGE_ID={}", message_id::DRAIN_ENDED));
    let handed_over: Vec<_> = drained.iter().map(|entry| entry.number("HANDED_OVER")).collect();
    assert!(handed_over.len() == 3 && handed_over.iter().all(|number| *number > 100), "{drained:#?}");
    a_reload_that_fails_says_so(&user);
    user.run("systemctl --user stop hello.socket hello.service");
    assert_eq!(user.run("systemctl --user show --property=Result --value hello.service"), "success");
}

/// Whoever types it is told, and nothing has changed.
fn a_reload_that_fails_says_so(user: &User) {
    let before = user.main_pid();
    user.0.run("mv /home/dev/.cargo/bin/hello /home/dev/hello.good");
    user.0.write("/home/dev/hello", BROKEN);
    user.0.run("install -m 755 /home/dev/hello /home/dev/.cargo/bin/hello");

    let output = user.0.output(&User::command("systemctl --user reload hello.service"));

    assert_eq!(output.status.code(), Some(1), "{}", output.text());
    let answer = user.0.in_network(async || get(SERVICE, "/").await).unwrap();
    assert_eq!(answer.text(), format!("hello from process {before}\n"));
    let mut failures = user.0.follow_journal(&format!("MESSAGE_ID={}", message_id::RELOAD_FAILED));
    let failed = failures.wait_for("the failure", |_| true);
    assert!(failed.field("MESSAGE").contains("the database does not answer"), "{failed:?}");
}
