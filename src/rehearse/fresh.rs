//! Fresh clients: a new connection for every request, on a schedule that waits for nobody.
//!
//! A client that waits for an answer before it asks again hides a stall: it sees one slow answer where an open stream of
//! visitors would have seen hundreds ("coordinated omission"). So every slot of the schedule gets its own request.

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::Run;
use super::tally::Kind;

/// The most requests of one client that are under way at once: bounds descriptors, and the load on a server that is down.
pub(super) const MOST_UNDER_WAY: usize = 32;

/// One fresh client, until the run is over. The clients' schedules are spread evenly over the period.
pub(super) async fn client(run: Rc<Run>, number: u32) {
    let every = run.plan.fresh_every;
    if !run.pause(every * number / run.plan.fresh.max(1)).await {
        return;
    }
    let room = Rc::new(Semaphore::new(MOST_UNDER_WAY));
    let mut under_way = JoinSet::new();
    let mut schedule = tokio::time::interval(every);
    schedule.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        schedule.tick().await;
        if run.is_over() {
            break;
        }
        // Due when the timer fired: if this process was late, that is not the server's latency.
        under_way.spawn_local(request(Rc::clone(&run), Rc::clone(&room), Instant::now()));
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn request(run: Rc<Run>, room: Rc<Semaphore>, due: Instant) {
    let Ok(_permit) = room.acquire().await else { return };
    let mut connection = None;
    run.ask(Kind::Fresh, &mut connection, None, &run.last_get, due).await;
}
