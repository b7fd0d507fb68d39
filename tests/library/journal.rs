//! What the program itself has to say, where the journal is.

use http::Request;
use outlive::{Body, Server};

use crate::support::fake_journald::FakeJournald;
use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{end, exit, get, program};

/// The entry that an operator looks for.
const MAIL_SENT: &str = "0e4ba5aea1c94a1ba2d1a8bd2b2a4b2f";

/// Says what it does, and what it can't say.
async fn mail(request: Request<Body>) -> &'static str {
    let to = request.uri().query().unwrap_or_default().to_owned();
    outlive::log(|| panic!("as asked"));
    outlive::log(move || tracing::warn!(MESSAGE_ID = MAIL_SENT, TO = to, "a mail to {to} is sent"));
    "sent\n"
}

async fn journaled(test: &str) {
    let (systemd, journald) = (FakeSystemd::with_http(), FakeJournald::new());
    let service = systemd.service("").test(test).journald(&journald).start();
    get(systemd.http(), "/?ann").await;
    let entry = journald.wait_for_id(MAIL_SENT);
    let field = |name| entry.field(name).to_owned();
    assert_eq!(["MESSAGE", "TO", "PRIORITY"].map(field), ["a mail to ann is sent", "ann", "4"]);
    end(service);
}

#[tokio::test]
async fn entries_go_to_journald_with_their_fields() {
    if is_service() {
        exit(Server::new().journal().serve(mail).await);
    }
    journaled("journal::entries_go_to_journald_with_their_fields").await;
}

/// The journal's other target.
#[tokio::test]
async fn or_to_a_terminal() {
    if is_service() {
        exit(Server::new().journal().serve(mail).await);
    }
    let systemd = FakeSystemd::with_http();
    let service = program(&systemd, "journal::or_to_a_terminal");
    get(systemd.http(), "/?ben").await;
    let line = service.wait_for_line("a mail to ben is sent");
    assert!(line.contains(" WARN "), "{line}");
    end(service);
}

/// Without the journal, it goes where all goes that the program has to say.
#[test]
fn or_at_once_to_the_programs_own_subscriber() {
    let (sender, said) = std::sync::mpsc::channel();
    outlive::log(move || sender.send(std::thread::current().id()).unwrap());
    assert_eq!(said.try_recv(), Ok(std::thread::current().id()));
}

/// journald has the failure by its id; whoever sits at a terminal has what `main` returns, and no more.
#[tokio::test]
async fn a_failed_start_is_said_once() {
    const TEST: &str = "journal::a_failed_start_is_said_once";
    if is_service() {
        exit(Err(Server::new().journal().fail("the database does not answer")));
    }
    let systemd = FakeSystemd::new();
    let mut service = systemd.service("").test(TEST).spawn();
    assert_eq!(service.wait_for_exit().code(), Some(2), "{}", service.story());
    assert_eq!(service.said().matches("the database does not answer").count(), 1, "{}", service.said());

    let journald = FakeJournald::new();
    let mut service = systemd.service("").test(TEST).journald(&journald).spawn();
    let entry = journald.wait_for_id(outlive::journal::message_id::START_FAILED);
    assert_eq!(entry.field("MESSAGE"), "Cannot start: the database does not answer");
    service.wait_for_exit();
}
