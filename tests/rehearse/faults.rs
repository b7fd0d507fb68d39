//! Small HTTP/1.1 servers that fail in exactly one way, as often as they are told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// What is answered by default.
pub const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// One way to treat a request that has been read.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// This answer.
    Answer(&'static str),
    /// This answer, or none, and then the connection's end.
    Close(&'static str),
    /// This answer, or none, and then a reset.
    Reset(&'static str),
    /// No answer for so long, then a good one.
    Late(Duration),
}

/// Which requests a misdeed is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Any,
    /// The first on its connection.
    First,
    /// A later one.
    Later,
}

/// A server that answers well, but for the misdeeds that it is told to do.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// How many misdeeds are still to do.
    left: AtomicI64,
    done: AtomicU64,
    deed: Deed,
    victim: Victim,
    connections: Mutex<Vec<TcpStream>>,
    good_answers: AtomicU64,
    /// Requests read while it stalled.
    felt_stall: AtomicU64,
    stalling: AtomicBool,
    /// Held for writing while it stalls.
    stall: RwLock<()>,
    /// The listener, while there is one.
    listener: Mutex<Option<TcpListener>>,
}

impl Server {
    /// Starts one that answers well until it is told otherwise.
    pub fn start(victim: Victim, deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Shared {
            left: AtomicI64::new(0),
            done: AtomicU64::new(0),
            deed,
            victim,
            connections: Mutex::default(),
            good_answers: AtomicU64::new(0),
            felt_stall: AtomicU64::new(0),
            stalling: AtomicBool::new(false),
            stall: RwLock::new(()),
            listener: Mutex::new(None),
        };
        let server = Self { address: listener.local_addr().unwrap(), shared: Arc::new(shared) };
        server.serve(listener);
        server
    }

    /// Starts one that never fails by itself.
    pub fn good() -> Self {
        Self::start(Victim::Any, Deed::Answer(GOOD))
    }

    /// From now on, do the misdeed to so many requests.
    pub fn misbehave(&self, times: u64) {
        self.shared.left.fetch_add(times.try_into().unwrap(), Ordering::SeqCst);
    }

    /// How often the misdeed was done.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// How many good answers were given.
    pub fn good_answers(&self) -> u64 {
        self.shared.good_answers.load(Ordering::SeqCst)
    }

    /// How many requests were read during stalls.
    pub fn felt_stall(&self) -> u64 {
        self.shared.felt_stall.load(Ordering::SeqCst)
    }

    /// Closes all connections at once; how many there were.
    pub fn close_all(&self) -> u64 {
        let connections = std::mem::take(&mut *self.shared.connections.lock().unwrap());
        connections.iter().map(|stream| u64::from(stream.shutdown(Shutdown::Both).is_ok())).sum()
    }

    /// Answers nobody for a while.
    pub fn stall(&self, time: Duration) {
        let _nobody = self.shared.stall.write().unwrap();
        self.shared.stalling.store(true, Ordering::SeqCst);
        std::thread::sleep(time);
        self.shared.stalling.store(false, Ordering::SeqCst);
    }

    /// Does not listen for a while, and then again on the same address.
    pub fn refuse(&self, time: Duration) {
        let listener = self.shared.listener.lock().unwrap().take().unwrap();
        // Also wakes the thread that accepts.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        drop(listener);
        std::thread::sleep(time);
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        *self.shared.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = Arc::clone(&shared);
                shared.connections.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || shared.connection(stream));
            }
        });
    }
}

impl Shared {
    fn connection(&self, mut stream: TcpStream) {
        let peer = stream.peer_addr().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for number in 0.. {
            if !read_request(&mut reader) {
                break;
            }
            self.felt_stall.fetch_add(u64::from(self.stalling.load(Ordering::SeqCst)), Ordering::SeqCst);
            drop(self.stall.read().unwrap());
            if !self.treat(&mut stream, number == 0) {
                break;
            }
        }
        // The other descriptor of the same socket must go too, or the client would not see the end.
        self.connections.lock().unwrap().retain(|other| other.peer_addr().is_ok_and(|other| other != peer));
    }

    /// Answers one request; whether the connection goes on.
    fn treat(&self, stream: &mut TcpStream, first: bool) -> bool {
        let eligible = self.victim == Victim::Any || first == (self.victim == Victim::First);
        if !eligible || self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            if eligible {
                self.left.fetch_add(1, Ordering::SeqCst);
            }
            self.good_answers.fetch_add(1, Ordering::SeqCst);
            return stream.write_all(GOOD.as_bytes()).is_ok();
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        match self.deed {
            Deed::Answer(text) => stream.write_all(text.as_bytes()).is_ok(),
            Deed::Close(text) => {
                stream.write_all(text.as_bytes()).unwrap();
                stream.shutdown(Shutdown::Both).unwrap();
                false
            }
            Deed::Reset(text) => {
                stream.write_all(text.as_bytes()).unwrap();
                if !text.is_empty() {
                    // The reset throws away what the client has not read yet.
                    std::thread::sleep(Duration::from_millis(50));
                }
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                false
            }
            Deed::Late(time) => {
                std::thread::sleep(time);
                stream.write_all(GOOD.as_bytes()).is_ok()
            }
        }
    }
}

/// Reads a request with its body; false at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> bool {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return false;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
    }
}
