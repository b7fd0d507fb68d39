//! The descriptor store of a service: see FileDescriptorStoreMax= in systemd.service(5).

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::service::Notification;

/// What is kept for a service, from one process to the next.
#[derive(Default)]
pub struct Store(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    most: usize,
    descriptors: Vec<(String, OwnedFd)>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many descriptors it has room for: none unless this is called.
    pub fn keep_at_most(&self, most: usize) {
        self.lock().most = most;
    }

    /// Puts a descriptor in, in the service's place.
    pub fn put(&self, name: &str, descriptor: OwnedFd) {
        self.lock().descriptors.push((name.to_owned(), descriptor));
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<(String, OwnedFd)> {
        std::mem::take(&mut self.lock().descriptors)
    }

    /// The names of what is kept.
    pub fn names(&self) -> Vec<String> {
        self.lock().descriptors.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Copies of all that is kept, for the next process.
    pub fn duplicates(&self) -> Vec<(String, OwnedFd)> {
        let duplicate = |(name, kept): &(String, OwnedFd)| (name.clone(), kept.try_clone().unwrap());
        self.lock().descriptors.iter().map(duplicate).collect()
    }

    /// Does what a notification asks for. What it doesn't keep of its descriptors is closed, as systemd does.
    pub fn heed(&self, notification: &mut Notification) {
        let descriptors = std::mem::take(&mut notification.descriptors);
        let name = notification.get("FDNAME").unwrap_or("stored").to_owned();
        let mut kept = self.lock();
        if notification.get("FDSTORE") == Some("1") {
            assert_eq!(notification.get("FDPOLL"), Some("0"), "watched, it would be dropped too early");
            for descriptor in descriptors {
                if kept.descriptors.len() < kept.most {
                    kept.descriptors.push((name.clone(), descriptor));
                }
            }
        } else if notification.get("FDSTOREREMOVE") == Some("1") {
            kept.descriptors.retain(|(kept, _)| *kept != name);
        } else if notification.get("BARRIER") == Some("1") {
            assert_eq!(notification.lines.len(), 1, "alone, says sd_notify(3)");
        }
    }
}
