//! HTTP clients.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Why a request got no whole answer.
pub type Failure = Box<dyn Error + Send + Sync>;

/// How long a client waits for anything before it says that it waited in vain.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection over which one request after the other can be sent.
pub struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    local: Option<SocketAddr>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If the server refuses, or doesn't answer for [`PATIENCE`].
    pub async fn open(server: SocketAddr) -> Result<Self, Failure> {
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(server)).await??;
        let local = stream.local_addr()?;
        Ok(Self { local: Some(local), ..Self::over(stream).await? })
    }

    /// Speaks HTTP over a stream.
    ///
    /// # Errors
    ///
    /// None known: hyper sends nothing yet.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Failure> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, local: None })
    }

    /// The client's own address, on TCP.
    #[track_caller]
    pub fn local(&self) -> SocketAddr {
        self.local.unwrap()
    }

    /// Sends a request without a body and reads the whole answer.
    ///
    /// # Errors
    ///
    /// If there is no whole answer within [`PATIENCE`], or the connection was closed.
    pub async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, Failure> {
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status, fields: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }

    /// Asks for a path.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.send(Request::get(path).header("Host", "localhost").body(Empty::new())?).await
    }
}

/// Asks for a path over a connection of its own.
///
/// # Errors
///
/// As [`Connection::open`] and [`Connection::send`].
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer, Failure> {
    Connection::open(server).await?.get(path).await
}
