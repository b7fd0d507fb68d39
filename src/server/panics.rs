//! A handler's panic ends its own request and nothing else.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

/// What a panic said of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// The message given to `panic!`.
    pub(crate) message: String,
    /// `src/app.rs:12`.
    pub(crate) location: String,
}

thread_local! {
    /// Whether this thread is inside a handler, whose panic is caught and journaled.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Makes panics inside a handler leave their message for the journal instead of standard error. All others are left to
/// the hook that was there before.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let location = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
                LAST.set(Some(Panic { message: words(info.payload()), location }));
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs `step`, and catches its panic.
pub(crate) fn catch<T>(step: impl FnOnce() -> T) -> Result<T, Panic> {
    let before = GUARDED.replace(true);
    // What a panicking step leaves behind is dropped by the callers: they never poll the same future again.
    let result = panic::catch_unwind(AssertUnwindSafe(step));
    GUARDED.set(before);
    result.map_err(|payload| LAST.take().unwrap_or_else(|| Panic { message: words(&*payload), ..Panic::default() }))
}

/// Panics once more with a panic that was caught on another thread, so that it is caught here.
pub(crate) fn again(panic: Panic) -> ! {
    LAST.set(Some(panic));
    panic::resume_unwind(Box::new("caught before"))
}

/// Polls `future`, and catches its panic; after that it must not be polled again.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Panic>> {
    match catch(|| future.poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_leaves_its_words_and_its_place() {
        install_hook();
        let mut future = pin!(async {
            tokio::task::yield_now().await;
            assert_eq!(1, 2, "no {}", "luck");
        });
        let caught = poll_fn(|cx| poll(future.as_mut(), cx)).await;
        let panic = caught.map(|never: ()| never).expect_err("caught");
        assert!(panic.message.contains("no luck"), "{}", panic.message);
        assert!(panic.location.starts_with("src/server/panics.rs:"), "{}", panic.location);
        assert_eq!(catch(|| 3), Ok(3));
    }
}
