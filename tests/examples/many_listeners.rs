//! `examples/many_listeners.rs`.

use rustix::process::Signal;

use crate::demonstration::Demonstration;
use crate::support::client::get;
use crate::support::example::example;

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_application() {
    let program = example("many_listeners");
    let mut example = Demonstration::start(&program, &[("ADMIN", "127.0.0.1:0")]);
    let (everyone, admin) = (example.address("http"), example.address("admin"));

    assert_eq!(get(everyone, "/").await.unwrap().text(), "hello: you came in by \"http\"\n");
    assert_eq!(get(everyone, "/healthz").await.unwrap().text(), "hello: you came in by \"http\"\n");
    assert_eq!(get(admin, "/healthz").await.unwrap().text(), "serving\n");
    let counters = get(admin, "/counters").await.unwrap();
    assert!(counters.text().starts_with("generation 1, "), "{counters:?}");
    assert_eq!(get(admin, "/").await.unwrap().status, 404);

    example.signal(Signal::TERM);
    assert_eq!(example.wait().code(), Some(0));
}
