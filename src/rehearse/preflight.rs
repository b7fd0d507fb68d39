//! One request of each kind before the first round: a server that does not answer at all is a mistake to report at once,
//! and the status that it answers with is the one that it should keep.

use std::rc::Rc;

use super::answer::Answer;
use super::class::Failure;
use super::client::{Request, Run, judge};
use super::http2;
use super::websocket;

/// The target does not answer as the rehearsal needs, before anything was done to it.
#[derive(Debug, thiserror::Error)]
#[error("before the first round, {request} failed ({class}): {}{hint}", .class.gist())]
pub struct PreflightError {
    /// The method or protocol, and the URL.
    request: String,
    class: Failure,
    hint: &'static str,
}

/// Checks that everything that the plan asks for is answered.
pub(super) async fn check(run: &Rc<Run>) -> Result<(), PreflightError> {
    let plan = &run.plan;
    let url = &plan.target.url;
    let failed =
        |what: &'static str, hint| move |class| PreflightError { request: format!("{what} {url}"), class, hint };
    let posts = plan.post > 0 && plan.busy + plan.http2 > 0;
    if plan.busy + plan.fresh + plan.idle + plan.half > 0 {
        ask(run, &run.get).await.map_err(failed("GET", ""))?;
        run.last_get.usual_status.set(run.get.usual_status.get());
    }
    if posts && plan.busy > 0 {
        ask(run, &run.post).await.map_err(failed("POST", "; with --post 0 there are none"))?;
    }
    if plan.http2 > 0 {
        learn(http2::preflight(run, false).await, &run.get).map_err(failed("HTTP/2 GET", ""))?;
    }
    if posts && plan.http2 > 0 {
        learn(http2::preflight(run, true).await, &run.post).map_err(failed("HTTP/2 POST", ""))?;
    }
    if let Some(target) = plan.websocket.as_ref().filter(|_| plan.websockets > 0) {
        let echoed = tokio::time::timeout(plan.timeout, websocket::preflight(run, target)).await;
        let echoed = echoed.unwrap_or(Err(Failure::Timeout));
        let request = format!("WebSocket echo {}", target.url);
        echoed.map_err(|class| PreflightError { request, class, hint: "" })?;
    }
    Ok(())
}

async fn ask(run: &Run, request: &Request) -> Result<(), Failure> {
    let mut slot = Some(run.open(None).await?);
    let (answer, _) = run.exchange(&mut slot, request, &request.bytes).await?;
    learn(Ok(answer), request)
}

/// Takes the answer's status as the usual one, unless it is a failure by itself.
fn learn(answer: Result<Answer, Failure>, request: &Request) -> Result<(), Failure> {
    let answer = answer?;
    judge(answer, answer.status)?;
    request.usual_status.set(answer.status);
    Ok(())
}
