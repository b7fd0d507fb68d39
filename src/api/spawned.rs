//! An application whose futures run on a runtime of the program's own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::app::Call;
use crate::server::app::{App, BoxError};
use crate::server::body::RequestBody as Body;
use crate::server::panics;

/// Sends each request over to the runtime, and its answer back.
#[derive(Clone)]
pub(super) struct Spawned<C> {
    pub(super) call: C,
    pub(super) runtime: Handle,
}

/// Ends the task of a request that nobody waits for any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<C: Call<Body: Send, Error: Send, Future: Send>> App for Spawned<C> {
    type Body = C::Body;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<C::Body>, BoxError>>>>;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let answer = self.call.call(request);
        let guarded = async move {
            let mut answer = pin!(answer);
            poll_fn(|cx| panics::poll(answer.as_mut(), cx)).await
        };
        let mut task = AbortOnDrop(self.runtime.spawn(guarded));
        Box::pin(async move {
            match (&mut task.0).await {
                Ok(Ok(answer)) => answer.map_err(Into::into),
                // To be caught once more, and reported with its request.
                Ok(Err(panic)) => panics::again(panic),
                Err(_) => Err("the runtime that it was to run on has ended".into()),
            }
        })
    }
}
