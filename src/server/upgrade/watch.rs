//! A connection's task while the application has the connection: it waits for it to return.

use tokio::task::spawn_local;

use super::Connection;
use super::handlers::Resume;
use super::lent::{Lent, Returned};
use crate::server::connection::linger;
use crate::server::departure::depart_upgraded;
use crate::server::io::Io;
use crate::server::registry::{Entry, Local};

/// Waits until the application has no more use for the connection, or it has left for the next process.
///
/// No deadline applies: what it means that nothing is sent is the application's to know.
pub(in crate::server) async fn over(local: &Local, entry: &Entry) {
    let Some(mut returning) = entry.returning() else { return };
    let upgraded = local.upgraded(entry);
    entry.expire_at(None);
    while let Some(returned) = returning.recv().await {
        match returned {
            Returned::Dropped(io) => {
                drop(upgraded);
                return linger(&io, local, entry).await;
            }
            Returned::Leaving { io, mut parcel, answer } => {
                parcel.route = entry.upgraded_by().unwrap_or_default();
                match depart_upgraded(io, &parcel, local, entry).await {
                    Some(io) => drop(answer.send(Some(Lent::new(io)))), // if nobody waits for it, it returns
                    None => return drop(answer.send(None)),
                }
            }
        }
    }
}

/// Lets an application go on with a connection of the process before.
pub(in crate::server) async fn resume(resume: Resume, io: Io, local: &Local, entry: &Entry) {
    local.home(entry).set_upgraded();
    entry.set_upgraded_by(resume.route());
    spawn_local(resume.run(Connection::new(Lent::new(io))));
    over(local, entry).await;
}
