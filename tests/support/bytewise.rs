//! A client that does to its connection exactly what the test says, and looks at every byte that comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::wait::SOON;

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    /// Bytes that came after an answer that was read.
    rest: Vec<u8>,
}

trait Stream: Read + Write + Send {
    fn patience(&self, limit: Duration);
}

impl Stream for TcpStream {
    fn patience(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Stream for UnixStream {
    fn patience(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Whether it says that the connection will be closed.
    pub fn is_last(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nconnection: close")
    }

    /// The generation of the process that has answered `/live`.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        let live: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        live["generation"].as_u64().unwrap()
    }
}

impl Client {
    #[track_caller]
    pub fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.patience(SOON);
        Self { stream: Box::new(stream), rest: Vec::new() }
    }

    /// A connection that has been answered, and lies idle.
    #[track_caller]
    pub fn idle(address: SocketAddr) -> Self {
        let mut client = Self::tcp(address);
        client.get("/live?live");
        client
    }

    /// A connection that has asked for a path, and waits for the answer.
    #[track_caller]
    pub fn asking(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::tcp(address);
        client.ask(path);
        client
    }

    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.patience(SOON);
        Self { stream: Box::new(stream), rest: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).unwrap();
    }

    /// As [`Self::send`], but the connection may have ended.
    pub fn try_send(&mut self, bytes: &str) -> Result<(), String> {
        self.stream.write_all(bytes.as_bytes()).map_err(|error| error.to_string())
    }

    /// As [`Self::get`], but the connection may have ended.
    pub fn try_get(&mut self, path: &str) -> Result<Answer, String> {
        self.try_send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))?;
        self.try_answer()
    }

    /// Asks for a path, without reading the answer.
    #[track_caller]
    pub fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// Asks for a path, and reads the answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(path);
        self.answer()
    }

    /// Reads an answer, if there is one before the connection ends.
    pub fn try_answer(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(answer) = self.take_answer() {
                return Ok(answer);
            }
            let mut more = [0; 4096];
            match self.stream.read(&mut more) {
                Ok(0) => return Err(format!("closed after {:?}", String::from_utf8_lossy(&self.rest))),
                Ok(read) => self.rest.extend_from_slice(&more[..read]),
                Err(error) => return Err(format!("{error} after {:?}", String::from_utf8_lossy(&self.rest))),
            }
        }
    }

    /// Reads an answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|error| panic!("{error}"))
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let end = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        let fields = head.to_ascii_lowercase();
        let length: usize = fields.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
        let body = self.rest.get(end..end + length)?;
        let body = String::from_utf8_lossy(body).into_owned();
        self.rest.drain(..end + length);
        Some(Answer { head, body })
    }

    /// Asserts that the server ends the connection, and has nothing more to say.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let error = self.try_answer().expect_err("the end");
        assert!(error == "closed after \"\"" || error.contains("reset"), "{error}");
    }
}
