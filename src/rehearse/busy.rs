//! Busy clients: a kept-alive connection each, used again and again with short think times, half GET and half POST.

use std::rc::Rc;
use std::time::Instant;

use super::client::{Pace, Run};
use super::tally::Kind;

/// One busy client, until the run is over.
pub(super) async fn client(run: Rc<Run>, number: u32) {
    let mut pace = Pace::new(number);
    let mut connection = None;
    let mut post = number % 2 == 1;
    while run.pause(pace.think()).await {
        let request = if post && run.plan.post > 0 { &run.post } else { &run.get };
        run.ask(Kind::Busy, &mut connection, None, request, Instant::now()).await;
        post = !post;
    }
}
