//! Older processes that finish their last requests while this one is the service.
//!
//! The service manager knows only this process: `KillMode=mixed` sends SIGTERM to it alone, and kills what is left once
//! it has gone. So it passes the word on, and waits for them. When it is succeeded itself, the successor gets the links.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_local};

use super::Carried;
use super::link::{Link, Message};
use super::passage::{self, PassageError};

/// The processes that are older than this one and haven't ended yet. Belongs to one thread.
#[derive(Clone, Debug)]
pub struct Elders {
    all: Rc<RefCell<Vec<Elder>>>,
    left: Rc<watch::Sender<usize>>,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

/// A connection that an older process has handed over, or why it is lost.
pub type Arrival = Result<Carried, PassageError>;

#[derive(Debug)]
struct Elder {
    link: Rc<Link>,
    watch: AbortHandle,
}

impl Elders {
    /// None yet. What they hand over is sent to `arrivals`.
    #[must_use]
    pub fn new(arrivals: mpsc::UnboundedSender<Arrival>) -> Self {
        Self { all: Rc::default(), left: Rc::new(watch::channel(0).0), arrivals }
    }

    /// Watches over processes until they end. To be called within a [`tokio::task::LocalSet`].
    pub fn adopt(&self, links: Vec<Link>) {
        for link in links.into_iter().map(Rc::new) {
            let (elders, this) = (self.clone(), Rc::clone(&link));
            let watch = spawn_local(async move {
                while let Ok(Some((message, descriptors))) = this.receive().await {
                    if let Message::Connection(bytes) = message {
                        let _ = elders.arrivals.send(passage::arrive(&bytes, descriptors));
                    }
                }
                elders.all.borrow_mut().retain(|elder| !Rc::ptr_eq(&elder.link, &this));
                elders.count();
            });
            self.all.borrow_mut().push(Elder { link, watch: watch.abort_handle() });
        }
        self.count();
    }

    fn count(&self) {
        let now = self.all.borrow().len();
        self.left.send_if_modified(|left| std::mem::replace(left, now) != now);
    }

    /// How many there are.
    #[must_use]
    pub fn left(&self) -> watch::Receiver<usize> {
        self.left.subscribe()
    }

    /// Tells them that the service ends, within a time or without a limit.
    pub fn stop(&self, within: Option<Duration>) {
        self.tell(&Message::Stop(within));
    }

    /// Tells them to end at once.
    pub fn hammer(&self) {
        self.tell(&Message::Hammer);
    }

    fn tell(&self, message: &Message) {
        for elder in self.all.borrow().iter() {
            let (link, message) = (Rc::clone(&elder.link), message.clone());
            spawn_local(async move { link.send(&message, &[]).await });
        }
    }

    /// Gives them up. Returns the links, for the process that will watch over them.
    #[must_use]
    pub fn give_away(&self) -> Vec<OwnedFd> {
        let all = std::mem::take(&mut *self.all.borrow_mut());
        self.count();
        let give = |elder: Elder| {
            // At once: what is said from now on is the other process's to hear.
            elder.watch.abort();
            elder.link.socket().ok()
        };
        all.into_iter().filter_map(give).collect()
    }
}
