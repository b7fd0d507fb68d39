//! Servers for many connections that misbehave as often as they are told to, and otherwise do what they should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};

use crate::rehearsal::{Outcome, Rehearsal};

/// How often a server misbehaves in a test.
pub const TIMES: u64 = 7;

/// A server that has one way to misbehave.
#[derive(Clone)]
pub struct Misdeeds<Deed> {
    deed: Deed,
    left: Arc<AtomicI64>,
    done: Arc<AtomicU64>,
}

impl<Deed: Copy + Send + 'static> Misdeeds<Deed> {
    /// Serves each connection by `serve`, on a thread of its own until the test's process ends.
    pub fn start<Serving>(deed: Deed, serve: fn(Self, TcpStream) -> Serving) -> (Self, SocketAddr)
    where
        Serving: Future<Output = ()> + Send + 'static,
    {
        let server = Self { deed, left: Arc::default(), done: Arc::default() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(serving.clone(), stream));
                }
            })
        });
        (server, address)
    }

    /// What is to be done to this request: the misdeed, or nothing that isn't right.
    pub fn next(&self) -> Option<Deed> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.left.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Some(self.deed)
    }

    /// Rehearses while the server misbehaves [`TIMES`] times.
    pub fn rehearse(self, rehearsal: Rehearsal) -> Outcome {
        let misbehaving = self.clone();
        let outcome =
            rehearsal.each_round(move |_| _ = misbehaving.left.fetch_add(TIMES as i64, Ordering::SeqCst)).run();
        assert_eq!(self.done.load(Ordering::SeqCst), TIMES, "{}", outcome.summary);
        outcome
    }
}
