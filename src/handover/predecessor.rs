//! A reload, as the successor sees it: from its first moment until it is the service.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::link::{self, Hello, Link, Message};
use super::{adopt, record};

/// The process that has started this one, and still is the service.
#[derive(Debug)]
pub struct Predecessor {
    socket: Arc<OwnedFd>,
    hello: Hello,
}

impl Predecessor {
    /// Hears what this process follows, takes the standard error that it is given, and makes room for as many connections
    /// as the old process has, `most` at most.
    ///
    /// To be called first thing, before any thread is started.
    ///
    /// # Errors
    ///
    /// If the old process is gone or says something else.
    pub fn greet(socket: OwnedFd, most: usize) -> io::Result<Self> {
        let Some((Message::Hello(hello), mut descriptors)) = link::receive(socket.as_fd())? else {
            return Err(io::Error::other("the process that has started this one is gone"));
        };
        // Until now it led to the old process, which thus knows what the dynamic loader has to complain of.
        if let Some(stderr) = descriptors.pop() {
            rustix::stdio::dup2_stderr(&stderr)?;
        }
        adopt::make_room_for(hello.connections, most);
        Ok(Self { socket: Arc::new(socket), hello })
    }

    /// What this process follows.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// A way to say that this process can't serve.
    #[must_use]
    pub fn complaints(&self) -> Complaints {
        Complaints { socket: Arc::clone(&self.socket) }
    }

    /// Says that every worker accepts, and waits to become the service. `None`: the old process goes on instead, or is
    /// gone.
    ///
    /// # Errors
    ///
    /// Those of the link.
    pub async fn succeed(self) -> io::Result<Option<Takeover>> {
        let link = Link::new(self.socket.try_clone()?)?;
        if link.send(&Message::Ready(record::VERSION), &[]).await.is_err() {
            return Ok(None);
        }
        loop {
            match link.receive().await? {
                Some((Message::Main, elders)) => return Ok(Some(Takeover { link, elders })),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

/// This process is the service now.
#[derive(Debug)]
pub struct Takeover {
    link: Link,
    elders: Vec<OwnedFd>,
}

impl Takeover {
    /// Says that all is taken over. Returns the links to every older process that hasn't ended yet.
    pub async fn taken(self) -> Vec<Link> {
        // If it is gone by now, that is seen soon enough.
        let _ = self.link.send(&Message::Taken, &[]).await;
        let elders = self.elders.into_iter().filter_map(|socket| Link::new(socket).ok());
        std::iter::once(self.link).chain(elders).collect()
    }
}

/// A way to tell the old process that this one can't serve.
#[derive(Clone, Debug)]
pub struct Complaints {
    socket: Arc<OwnedFd>,
}

impl Complaints {
    /// Says so, and why.
    pub fn failed(&self, reason: &str) {
        // If it is gone, there is nobody left to tell.
        let _ = link::send(self.socket.as_fd(), &Message::Failed(reason.to_owned()), &[]);
    }
}
