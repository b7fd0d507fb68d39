//! Why a server doesn't start.

use std::net::TcpListener;

use outlive::{Address, Error, Server};

use crate::support::fake_systemd::{FakeSystemd, is_service};
use crate::{exit, hello};

#[tokio::test]
async fn an_address_that_is_none() {
    let error = Server::new().bind("http", "localhost:http").serve(hello).await.unwrap_err();
    assert!(matches!(&error, Error::Address { name, .. } if name == "http"), "{error}");
    assert_eq!(
        error.to_string(),
        "listener \"http\": \"localhost:http\" is no address to listen on: write 127.0.0.1:8080, [::1]:8080, or \
         unix:/run/app.sock"
    );
    assert_eq!(format!("{error:?}"), error.to_string(), "a main that returns it prints a sentence");
}

#[tokio::test]
async fn an_address_that_is_taken() {
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap();
    let error = Server::new().bind("http", address).serve(hello).await.unwrap_err();
    assert!(matches!(&error, Error::Bind { address: Address::Tcp(taken), .. } if *taken == address), "{error}");
    assert_eq!(error.errno(), rustix::io::Errno::ADDRINUSE.raw_os_error().unsigned_abs());
    assert!(error.to_string().contains("ss -ltnp"), "{error}");
}

#[tokio::test]
async fn nothing_to_listen_on() {
    let error = Server::new().serve(hello).await.unwrap_err();
    assert!(matches!(error, Error::NothingToListenOn), "{error}");
}

#[tokio::test]
async fn an_application_for_a_listener_that_is_not_there() {
    let server = Server::new().bind("http", "127.0.0.1:0").app("admin", hello);
    let error = server.serve(hello).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "an application was given for listener \"admin\", but there is none of that name: there are http"
    );
}

#[tokio::test]
async fn run_within_a_runtime() {
    let error = Server::new().bind("http", "127.0.0.1:0").run(hello).unwrap_err();
    assert!(error.to_string().contains("await Server::serve"), "{error}");
}

/// systemd is told why, whether `serve` finds out or the program before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_fails_before_it_serves() {
    if is_service() {
        exit(Err(Server::new().fail("the database does not answer")));
    }
    let systemd = FakeSystemd::with_http();
    let mut service = systemd.service("").test("errors::the_program_fails_before_it_serves").spawn();
    assert_eq!(service.wait_for_exit().code(), Some(2), "{}", service.story());
    service.wait_for("STATUS=Cannot start: the database does not answer");
    assert!(service.said().contains("the database does not answer"));
}

/// A socket that can't be served on, in a program that has threads already.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_wrong_kind() {
    if is_service() {
        exit(Server::new().serve(hello).await);
    }
    let systemd = FakeSystemd::new().udp("http");
    let mut service = systemd.service("").test("errors::a_socket_of_the_wrong_kind").spawn();
    assert_eq!(service.wait_for_exit().code(), Some(2), "{}", service.story());
    assert!(service.said().contains("use ListenStream= in the .socket unit"), "{}", service.said());
}
