//! Clients that would keep a server from ending, if it let them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::client::Failure;

/// Small enough that an answer of some megabytes doesn't fit into it and the server's own buffer together.
const SMALL_RECEIVE_BUFFER: u32 = 4096;

/// What every HTTP/2 connection begins with: RFC 9113, section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113, section 6.5.
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Hostile clients of one server. They stay until they are dropped, each with its own way of not coming to an end.
pub struct Hostiles {
    server: SocketAddr,
    clients: JoinSet<()>,
}

impl Hostiles {
    /// None yet.
    pub fn of(server: SocketAddr) -> Self {
        Self { server, clients: JoinSet::new() }
    }

    /// One that asks for a path and reads no byte of the answer but the first.
    ///
    /// # Errors
    ///
    /// If it gets no connection, or not that byte.
    pub async fn never_reads(&mut self, path: &str) -> Result<(), Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SMALL_RECEIVE_BUFFER)?;
        let mut stream = socket.connect(self.server).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
        stream.read_u8().await?;
        self.stays(stream);
        Ok(())
    }

    /// One that asks for a path that takes its time.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn waits(&mut self, path: &str) -> Result<(), Failure> {
        self.sends(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await
    }

    /// One that sends the head of its request one byte a second.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn drips_head(&mut self) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.server).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ").await?;
        self.drips(stream);
        Ok(())
    }

    /// One that sends the body of its request one byte a second.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn drips_body(&mut self, path: &str) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.server).await?;
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        self.drips(stream);
        Ok(())
    }

    /// One that begins the head of a request and sends no more.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn stops_in_the_head(&mut self) -> Result<(), Failure> {
        self.sends(b"GET / HTTP/1.1\r\nHo").await
    }

    /// One that begins as HTTP/2 does, but might still turn out to be HTTP/1.1, and sends no more.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn stops_in_the_preface(&mut self) -> Result<(), Failure> {
        self.sends(&HTTP2_PREFACE[..5]).await
    }

    /// One that speaks HTTP/2, but answers neither SETTINGS nor PING.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn never_answers_http2(&mut self) -> Result<(), Failure> {
        self.sends(&[HTTP2_PREFACE, EMPTY_SETTINGS].concat()).await
    }

    /// One that asks for a path by HTTP/2, and answers neither SETTINGS nor PING.
    ///
    /// # Errors
    ///
    /// If it gets no connection.
    pub async fn asks_http2_for(&mut self, path: &str) -> Result<(), Failure> {
        // RFC 7541: GET and http are in the table (0x82, 0x86), :path and :authority have indexed names there.
        let mut fields = vec![0x82, 0x86, 0x04, u8::try_from(path.len())?];
        fields.extend(path.bytes());
        fields.extend(b"\x01\x09localhost");
        // RFC 9113, section 6.2: length, HEADERS, END_STREAM and END_HEADERS, stream 1.
        let mut bytes = [HTTP2_PREFACE, EMPTY_SETTINGS].concat();
        bytes.extend([0, 0, u8::try_from(fields.len())?, 1, 5, 0, 0, 0, 1]);
        bytes.extend(fields);
        self.sends(&bytes).await
    }

    /// One that sends something, and no more.
    async fn sends(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.server).await?;
        stream.write_all(bytes).await?;
        self.stays(stream);
        Ok(())
    }

    fn stays(&mut self, stream: TcpStream) {
        self.clients.spawn(async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
    }

    fn drips(&mut self, mut stream: TcpStream) {
        self.clients.spawn(async move {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}
