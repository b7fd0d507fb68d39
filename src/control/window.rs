//! How long a drain may take.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::journal::{self, Event};
use crate::server::drain::{self, Window};
use crate::systemd::unit;

/// Knows how long a drain may take.
pub(super) struct WindowKeeper {
    sender: Arc<watch::Sender<Window>>,
    receiver: watch::Receiver<Window>,
    ask_systemd: bool,
    asking: RefCell<Option<JoinHandle<()>>>,
}

impl WindowKeeper {
    pub(super) fn new(configured: Window, under_systemd: bool) -> Self {
        let alone = if under_systemd { drain::WINDOW_UNKNOWN } else { drain::WINDOW_ALONE };
        let (sender, receiver) = watch::channel(Some(configured.unwrap_or(alone)));
        Self {
            sender: Arc::new(sender),
            receiver,
            ask_systemd: under_systemd && configured.is_none(),
            asking: RefCell::default(),
        }
    }

    /// The window as it is known, and as it will be once systemd has answered.
    pub(super) fn watch(&self) -> watch::Receiver<Window> {
        self.receiver.clone()
    }

    /// Asks systemd, off the path of everything else: the answer may have changed with a drop-in since the last time.
    pub(super) fn refresh(&self) {
        if !self.ask_systemd {
            return;
        }
        let sender = Arc::clone(&self.sender);
        let asking = tokio::spawn(async move {
            match unit::stop_timeout().await {
                Ok(timeout) => {
                    let window = drain::window_within(timeout);
                    sender.send_if_modified(|now| std::mem::replace(now, window) != window);
                }
                Err(error) => {
                    let assumed = *sender.borrow();
                    journal::log(Event::WindowUnknown { reason: error.to_string(), assumed });
                }
            }
        });
        self.asking.replace(Some(asking));
    }

    /// Waits until systemd has answered the last question, or `limit` is over.
    ///
    /// To be called before the process ends: for a moment between fork and exec the child that asks holds copies of the
    /// listening sockets, and a socket unit that is restarted just then would find its address in use.
    pub(super) async fn answered(&self, limit: Duration) {
        let asking = self.asking.take();
        if let Some(asking) = asking {
            let _ = timeout(limit, asking).await;
        }
    }
}
