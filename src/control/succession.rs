//! The moment in which the service changes its process, on both sides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;

use super::line::Stage;
use super::reload::Wish;
use super::signals::{Heard, Signals};
use super::{Error, snapshot};
use crate::handover::elders::Elders;
use crate::handover::link::{Link, Message};
use crate::handover::predecessor::{Predecessor, Takeover};
use crate::handover::successor::Successor;
use crate::journal::{self, Event};
use crate::server::Server;
use crate::server::drain::{self, Window};
use crate::server::gauges::Gauges;
use crate::systemd::notify::{Notification, Notifier};

/// How long to wait for systemd to take notice, before the change is made all the same.
const NOTICE: Duration = Duration::from_secs(10);

/// How long a client that asked for a reload may take to hear of the outcome.
pub(super) const ANSWERED: Duration = Duration::from_secs(1);

/// Waits to become the service. `None`: the process before goes on, and this one is to end.
pub(super) async fn wait_for_it(
    predecessor: Predecessor,
    signals: &mut Signals,
    server: &mut Server,
) -> Result<Option<Takeover>, Error> {
    let mut succeed = std::pin::pin!(predecessor.succeed());
    loop {
        tokio::select! {
            takeover = &mut succeed => return Ok(takeover?),
            lost = server.lost() => return Err(super::report_lost(lost)),
            heard = signals.next() => if matches!(heard, Heard::End(_) | Heard::Hammer(_)) { return Ok(None) },
        }
    }
}

/// Ends a process that served for a moment and never became the service.
pub(super) async fn step_back(server: &mut Server) {
    if server.gauges().connections() > 0 {
        let (_hammer, hammer) = mpsc::unbounded_channel();
        let plan = drain::Plan {
            cause: "reload given up",
            began: Instant::now(),
            window: watch::channel(Some(drain::WINDOW_ALONE)).1,
            settle: Some(Duration::ZERO),
            hammer,
            succeeded: true,
            closed: None,
            way: drain::Way::Closed,
            pending: Vec::new(),
            last_exit: None,
        };
        drain::drain(server, plan).await;
    }
}

/// Makes another process the service. On failure this one still is.
pub(super) async fn give_way(
    successor: Successor,
    elders: &Elders,
    notifier: &Notifier,
    status: String,
) -> Result<Link, String> {
    let pid = successor.pid().as_raw_nonzero().get().unsigned_abs();
    // systemd listens to the main process only, so this one must say it. What it knows of the successor's next message
    // is that it comes later.
    notifier.send(Notification::MainPid { pid, status });
    notifier.silence();
    let told = notifier.clone();
    let _ = tokio::task::spawn_blocking(move || told.flush(NOTICE)).await;
    let links = elders.give_away();
    match successor.succeed(&links).await {
        Ok(link) => Ok(link),
        Err(error) => {
            notifier.speak();
            elders.adopt(links.into_iter().filter_map(|link| Link::new(link).ok()).collect());
            Err(format!("process {pid} has ended in the moment of taking over ({error})"))
        }
    }
}

/// What ends the last requests of a process that was succeeded.
pub(super) struct Linger {
    pub(super) signals: Signals,
    pub(super) link: Link,
    pub(super) hammer: mpsc::UnboundedSender<&'static str>,
    /// How long the process may go on, from `began`.
    pub(super) window: watch::Sender<Window>,
    pub(super) began: Instant,
    /// The drain's window, for when the service ends meanwhile.
    pub(super) stop_window: watch::Receiver<Window>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Linger {
    /// Hears signals, and what the successor says.
    pub(super) async fn watch(mut self) {
        let mut linked = true;
        let mut told = false;
        loop {
            tokio::select! {
                said = self.link.receive(), if linked => match said {
                    Ok(Some((Message::Stop(within), _))) => self.shorten(within),
                    Ok(Some((Message::Hammer, _))) => drop(self.hammer.send("the service's hammer")),
                    Ok(Some(_)) => {}
                    // It is gone; the requests here have nothing to do with that.
                    Ok(None) | Err(_) => linked = false,
                },
                heard = self.signals.next() => match heard {
                    Heard::End(_) if !told => {
                        told = true;
                        let window = *self.stop_window.borrow();
                        self.shorten(window);
                    }
                    Heard::End(cause) | Heard::Hammer(cause) => drop(self.hammer.send(cause)),
                    Heard::Snapshot => snapshot(&self.gauges, &self.stage.borrow()),
                    Heard::Reload => Wish::of_signal().refuse("another process is the service now: reload that one"),
                },
            }
        }
    }

    fn shorten(&self, within: Window) {
        let Some(within) = within else { return };
        let end = self.began.elapsed() + within;
        self.window.send_if_modified(|window| {
            let sooner = window.is_none_or(|window| end < window);
            if sooner {
                *window = Some(end);
            }
            sooner
        });
    }
}

/// Tells older processes that the service ends, and again if its window changes.
pub(super) fn stop_elders(elders: &Elders, mut window: watch::Receiver<Window>) {
    let (elders, began) = (elders.clone(), Instant::now());
    spawn_local(async move {
        loop {
            let left = window.borrow_and_update().map(|window| window.saturating_sub(began.elapsed()));
            elders.stop(left);
            if window.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Says how a reload went, to the journal and to whoever asked for it, once it is over on this side: then every new
/// connection is the successor's. Ends when that has been heard.
pub(super) async fn announce(wish: Wish, pid: u32, generation: u64, closed: oneshot::Receiver<()>) {
    let took = wish.since.elapsed();
    let _ = closed.await; // the drain may be over before that
    journal::log(Event::ReloadDone { pid, generation, took });
    let text = format!("process {pid} (generation {generation}) has taken over within {}", journal::human(took));
    wish.grant(text).await;
}
