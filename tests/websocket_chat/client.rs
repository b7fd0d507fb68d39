//! A member of the chat, in blocking calls.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket};

use crate::support::wait::SOON;

/// Nobody says a number higher than this one, with which everybody ends.
pub const LAST: u64 = u64::MAX;

pub struct Member {
    socket: WebSocket<TcpStream>,
    name: String,
    /// The last number that each other was heard to say.
    heard: BTreeMap<String, u64>,
    said: u64,
}

impl Member {
    #[track_caller]
    pub fn join(server: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{server}/chat?{name}"), stream).unwrap();
        Self { socket, name: name.to_owned(), heard: BTreeMap::new(), said: 0 }
    }

    /// Says the next number, and listens until it is heard.
    #[track_caller]
    pub fn talk(&mut self) {
        self.said += 1;
        self.say(&self.said.to_string());
        self.listen_for_oneself(self.said);
    }

    /// Says that this was all.
    #[track_caller]
    pub fn end(&mut self) {
        self.say(&LAST.to_string());
    }

    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    /// What is said next, and by whom.
    #[track_caller]
    pub fn listen(&mut self) -> (String, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(line)) => {
                    let (name, text) = line.split_once(": ").unwrap();
                    return (name.to_owned(), text.to_owned());
                }
                Ok(Message::Pong(_)) => {}
                other => panic!("{} hears {other:?}", self.name),
            }
        }
    }

    #[track_caller]
    fn listen_for_oneself(&mut self, number: u64) {
        let name = self.name.clone();
        while self.heard.get(&name) != Some(&number) {
            self.listen_to_numbers();
        }
    }

    /// Listens until all of them have said that this was all.
    #[track_caller]
    pub fn listen_to_the_end(&mut self, names: &[String]) {
        while !names.iter().all(|name| self.heard.get(name) == Some(&LAST)) {
            self.listen_to_numbers();
        }
    }

    /// Hears somebody's next number, which must follow the one before.
    #[track_caller]
    fn listen_to_numbers(&mut self) {
        let (name, number) = self.listen();
        let number: u64 = number.parse().unwrap();
        let before = self.heard.insert(name.clone(), number);
        if let Some(before) = before.filter(|_| number != LAST) {
            assert_eq!(number, before + 1, "{} hears {name}", self.name);
        }
    }

    /// How many numbers this one has said and heard.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Waits for the end of a connection whose server is no more.
    #[track_caller]
    pub fn lost(&mut self) {
        match self.socket.read() {
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {}
            other => panic!("{} hears {other:?}", self.name),
        }
    }

    /// Waits for the server's end of the conversation.
    #[track_caller]
    pub fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame,
                Ok(_) => {}
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
    }
}

/// A text in so many frames, masked with zeros.
pub fn frames(parts: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let (first, last) = (index == 0, index + 1 == parts.len());
        all.extend([u8::from(last) << 7 | u8::from(first), 0x80 | u8::try_from(part.len()).unwrap(), 0, 0, 0, 0]);
        all.extend(part.as_bytes());
    }
    all
}
