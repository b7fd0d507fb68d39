//! The way that connections take on a reload: over the link, one message each, while the successor serves already.
//!
//! A message has the connection's [record](super::record), the name of its listener (two bytes of length before it), and
//! the bytes that were read ahead; where those are many, they are in a file in memory that comes along. The descriptors
//! are the connection's socket and that file.
//!
//! Sending is a thread's own work: a worker with requests that run can't wait for the successor. Should that take none
//! for too long, or be gone, those that wait come back: they go on here.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::{mpsc as unbounded, oneshot, watch};

use super::link::{self, Message};
use super::record::{Ahead, Moment, Record, SIZE};
use super::{Carried, Carrier};

/// Bytes read ahead that a message carries itself.
const INLINE: usize = 8 * 1024;

/// How long a successor may take none of them before it is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that is no connection.
#[derive(Debug, thiserror::Error)]
pub enum PassageError {
    /// The record is unknown, or isn't one.
    #[error("a connection came in a format that this version can't read: {0}")]
    Record(#[from] super::record::RecordError),
    /// Something is missing.
    #[error("a connection came incomplete")]
    Incomplete,
    /// What was read ahead can't be had.
    #[error("what was read ahead of a connection can't be read: {0}")]
    Ahead(#[from] io::Error),
}

/// The way to the successor.
#[derive(Debug)]
pub struct Passage {
    queue: Mutex<Option<mpsc::Sender<Carried>>>,
    broken: Arc<AtomicBool>,
    waiting: watch::Sender<usize>,
}

/// What comes of what is sent on its way.
#[derive(Debug)]
pub struct Crossing {
    /// Ends once all have crossed or come back, after [`Passage::close`].
    pub all_crossed: oneshot::Receiver<()>,
    /// Those that come back, and why. To be told to [`Passage::settle`] once they have been seen to.
    pub back: unbounded::UnboundedReceiver<(Vec<Carried>, io::Error)>,
}

impl Passage {
    /// Opens it on a link.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn open(link: OwnedFd) -> io::Result<(Arc<Self>, Crossing)> {
        Self::open_with(link, PATIENCE)
    }

    fn open_with(link: OwnedFd, patience: Duration) -> io::Result<(Arc<Self>, Crossing)> {
        let (queue, queued) = mpsc::channel::<Carried>();
        let broken = Arc::new(AtomicBool::new(false));
        let (crossed, all_crossed) = oneshot::channel();
        let (give_back, back) = unbounded::unbounded_channel();
        let waiting = watch::channel(0).0;
        let (is_broken, now_waiting) = (Arc::clone(&broken), waiting.clone());
        let send_all = move || {
            while let Ok(connection) = queued.recv() {
                let sent = if is_broken.load(Ordering::Acquire) {
                    Err(io::ErrorKind::BrokenPipe.into()) // who came just too late to see that
                } else {
                    send(&link, &connection, patience)
                };
                match sent {
                    Ok(()) => settle(&now_waiting, 1),
                    Err(error) => {
                        is_broken.store(true, Ordering::Release);
                        let rest = std::iter::once(connection).chain(queued.try_iter()).collect();
                        let _ = give_back.send((rest, error));
                    }
                }
            }
            drop(crossed);
        };
        thread::Builder::new().name("passage".to_owned()).spawn(send_all)?;
        Ok((Arc::new(Self { queue: Mutex::new(Some(queue)), broken, waiting }), Crossing { all_crossed, back }))
    }

    /// How many are on their way, neither across nor settled. Told only when there are none any more.
    #[must_use]
    pub fn waiting(&self) -> watch::Receiver<usize> {
        self.waiting.subscribe()
    }

    /// So many of those that came back have been seen to.
    pub fn settle(&self, number: usize) {
        settle(&self.waiting, number);
    }

    /// Nobody will come any more.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Carrier for Passage {
    fn carry(&self, connections: Vec<Carried>) -> Vec<Carried> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref().filter(|_| !self.broken.load(Ordering::Acquire)) else { return connections };
        let number = connections.len();
        self.waiting.send_if_modified(|waiting| {
            *waiting += number;
            false
        });
        connections.into_iter().filter_map(|connection| queue.send(connection).err().map(|refused| refused.0)).collect()
    }
}

fn settle(waiting: &watch::Sender<usize>, number: usize) {
    waiting.send_if_modified(|waiting| {
        *waiting = waiting.saturating_sub(number);
        *waiting == 0
    });
}

fn send(link: &OwnedFd, connection: &Carried, patience: Duration) -> io::Result<()> {
    let (message, file) = encode(connection)?;
    let mut descriptors = vec![connection.socket.as_fd()];
    descriptors.extend(file.as_ref().map(AsFd::as_fd));
    let deadline = Instant::now() + patience;
    loop {
        match link::send(link.as_fd(), &message, &descriptors) {
            // ETOOMANYREFS: as many descriptors are on their way as LimitNOFILE= allows; the successor takes them off.
            Err(error)
                if (error.kind() == io::ErrorKind::WouldBlock
                    || rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::TOOMANYREFS))
                    && Instant::now() < deadline =>
            {
                let limit = Duration::from_millis(100).try_into().ok();
                let _ = poll(&mut [PollFd::new(link, PollFlags::OUT)], limit.as_ref());
            }
            other => return other,
        }
    }
}

fn encode(connection: &Carried) -> io::Result<(Message, Option<File>)> {
    let record = Record {
        standing: connection.standing,
        protocol: connection.standing.protocol(),
        listener: 0,
        peer: connection.peer,
        since: Moment::from(connection.since),
        requests: connection.requests,
        ahead: Ahead { at: 0, length: u32::try_from(connection.ahead.len()).map_err(io::Error::other)? },
    };
    let name = connection.listener.as_bytes();
    let mut bytes = record.encode().to_vec();
    bytes.extend_from_slice(&u16::try_from(name.len()).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend_from_slice(name);
    if connection.ahead.len() <= INLINE {
        bytes.extend_from_slice(&connection.ahead);
        return Ok((Message::Connection(bytes), None));
    }
    let mut file = File::from(memfd_create("outlive-ahead", MemfdFlags::CLOEXEC)?);
    file.write_all(&connection.ahead)?;
    Ok((Message::Connection(bytes), Some(file)))
}

/// Makes a connection again of what has come.
///
/// # Errors
///
/// What is wrong with it; its descriptors are closed then.
pub fn arrive(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Carried, PassageError> {
    let (record, rest) = bytes.split_first_chunk::<SIZE>().ok_or(PassageError::Incomplete)?;
    let record = Record::decode(record)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(PassageError::Incomplete)?;
    let (name, inline) =
        rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(PassageError::Incomplete)?;
    let listener = std::str::from_utf8(name).map_err(|_| PassageError::Incomplete)?;
    let mut descriptors = descriptors.into_iter();
    let socket = descriptors.next().ok_or(PassageError::Incomplete)?;
    let length = usize::try_from(record.ahead.length).map_err(|_| PassageError::Incomplete)?;
    let ahead = if length <= INLINE {
        Bytes::copy_from_slice(inline.get(..length).ok_or(PassageError::Incomplete)?)
    } else {
        let file = File::from(descriptors.next().ok_or(PassageError::Incomplete)?);
        let mut ahead = vec![0; length];
        file.read_exact_at(&mut ahead, record.ahead.at)?;
        ahead.into()
    };
    Ok(Carried {
        socket,
        standing: record.standing,
        listener: listener.into(),
        peer: record.peer,
        since: record.since.instant(),
        requests: record.requests,
        ahead,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::super::record::Standing;
    use super::*;

    fn carried(ahead: &[u8]) -> Carried {
        Carried {
            socket: UnixStream::pair().unwrap().0.into(),
            standing: if ahead.is_empty() { Standing::Idle } else { Standing::Head },
            listener: "http".into(),
            peer: Some("[::1]:80".parse().unwrap()),
            since: Instant::now(),
            requests: 7,
            ahead: Bytes::copy_from_slice(ahead),
        }
    }

    #[test]
    fn a_connection_crosses_whole() {
        for length in [0, 1, INLINE, INLINE + 1, 200_000] {
            let (here, there) = link::pair().unwrap();
            let ahead: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let (passage, _crossing) = Passage::open(here).unwrap();
            assert!(passage.carry(vec![carried(&ahead)]).is_empty());
            let Some((Message::Connection(bytes), descriptors)) = link::receive(there.as_fd()).unwrap() else {
                panic!("another message");
            };
            let arrived = arrive(&bytes, descriptors).unwrap();
            assert_eq!((&*arrived.listener, arrived.requests), ("http", 7));
            assert_eq!(arrived.peer, Some("[::1]:80".parse().unwrap()));
            assert!(arrived.ahead == ahead, "{length} bytes");
        }
    }

    #[test]
    fn without_a_successor_connections_come_back_and_then_stay() {
        let (here, there) = link::pair().unwrap();
        drop(there);
        let (passage, mut crossing) = Passage::open(here).unwrap();
        passage.carry(vec![carried(b"")]);
        assert_eq!(*passage.waiting().borrow(), 1);
        let (back, _) = crossing.back.blocking_recv().unwrap();
        assert_eq!(back.len(), 1);
        passage.settle(back.len());
        assert_eq!(*passage.waiting().borrow(), 0);
        assert_eq!(passage.carry(vec![carried(b""), carried(b"")]).len(), 2);
        passage.close();
        let _ = crossing.all_crossed.blocking_recv();
    }

    /// One that has stopped: what the kernel's queue has room for is on its way, and the rest comes back.
    #[test]
    fn from_a_successor_that_takes_none_connections_come_back() {
        const ALL: usize = 2000;
        let (here, there) = link::pair().unwrap();
        rustix::io::ioctl_fionbio(&here, true).unwrap();
        let (passage, mut crossing) = Passage::open_with(here, Duration::from_millis(100)).unwrap();
        assert!(passage.carry((0..ALL).map(|_| carried(b"")).collect()).is_empty());
        let (back, error) = crossing.back.blocking_recv().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let sent = std::iter::from_fn(|| {
            rustix::io::ioctl_fionbio(&there, true).unwrap();
            link::receive(there.as_fd()).ok().flatten()
        });
        assert_eq!(sent.count() + back.len(), ALL);
        assert_eq!(*passage.waiting().borrow(), back.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), sockets in 0..3_usize) {
            let descriptors = (0..sockets).map(|_| UnixStream::pair().unwrap().0.into()).collect();
            let _ = arrive(&bytes, descriptors);
        }

        #[test]
        fn changed_bytes_are_no_panic(at in 0..90_usize, to in any::<u8>()) {
            let (Message::Connection(mut bytes), _) = encode(&carried(b"GET / HT")).unwrap() else { panic!() };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let _ = arrive(&bytes, vec![UnixStream::pair().unwrap().0.into()]);
        }
    }
}
