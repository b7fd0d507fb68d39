//! A user's own service, as `examples/user_unit` and README have it: a program of a few lines under `systemctl --user`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use outlive::journal::message_id;

use crate::on_every_systemd;
use crate::support::client::Connection;
use crate::support::container::{Container, SERVICE, Suite};
use crate::support::example::Example;
use crate::support::running::Running;
use crate::support::wait::{SOON, until};

on_every_systemd!(a_users_service_keeps_its_connections);

/// Connections that are kept.
const CLIENTS: usize = 100;

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

    /// Starts a command as at a terminal of the user's.
    fn start(&self, command: &str) -> Running {
        let session = "env HOME=/home/dev XDG_RUNTIME_DIR=/run/user/1000";
        self.0.start(&format!("cd /home/dev && setpriv --reuid=dev --regid=dev --init-groups {session} {command}"))
    }

    fn run(&self, command: &str) -> String {
        self.start(command).finish()
    }

    /// Installs the program and the units as README has it.
    fn install(&self) {
        let program = self.0.path("/home/dev/.cargo/bin/hello");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        Example::build("axum").rebuild(&example("src/main.rs"), &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
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

/// Asks on each connection, and asserts that all are answered by one process.
async fn ask(clients: &mut [Connection]) -> String {
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.get("/").await.expect("its connection goes on").text().to_owned());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

fn a_users_service_keeps_its_connections(suite: Suite) {
    let user = User::log_in(Container::boot(suite));
    user.install();
    user.0.in_network(async || {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Connection::open(SERVICE).await.unwrap());
        }
        let answered_by = |pid: &str| format!("hello from process {pid}\n");
        let first = ask(&mut clients).await;
        assert_eq!(first, answered_by(&user.main_pid()));

        user.start("systemctl --user restart hello.service").finished().await;
        let second = ask(&mut clients).await;
        let restarted = user.main_pid();
        assert_eq!(second, answered_by(&restarted));
        assert_ne!(second, first);

        user.start("systemctl --user reload hello.service").finished().await;
        let reloaded = until(SOON, "a successor", || {
            Some(user.main_pid()).filter(|pid| *pid != restarted).ok_or_else(String::new)
        });
        assert_eq!(ask(&mut clients).await, answered_by(&reloaded));

        // A restart after a reload is one of systemd's own child.
        user.start("systemctl --user restart hello.service").finished().await;
        assert_eq!(ask(&mut clients).await, answered_by(&user.main_pid()));
    });
    let unit = "_SYSTEMD_USER_UNIT=hello.service";
    for entry in user.0.journal(&format!("{unit} + USER_UNIT=hello.service")) {
        println!("{}", entry.get("MESSAGE").unwrap_or_default());
        assert!(entry.number("PRIORITY") > 4, "{entry:?}");
    }
    assert_eq!(user.0.journal(&format!("{unit} MESSAGE_ID={}", message_id::HANDOVER_ADOPTED)).len(), 2);
    user.run("systemctl --user stop hello.socket hello.service");
    assert_eq!(user.run("systemctl --user show --property=Result --value hello.service"), "success");
}
