//! From a parsed request to its answer: the hyper service that stands around every application.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::response::Parts as Head;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep, timeout};

use super::app::{App, BoxError};
use super::body::{Leftover, RequestBody};
use super::exchange::{Exchange, Outcome};
use super::panics;
use super::registry::{Entry, InFlight, Local};
use super::upgrade::Leave;
use crate::journal::{self, Event};

/// How much of a body that the application didn't want is read so that the connection can live on. More costs more
/// than a new connection.
const DISCARD_BYTES: u64 = 256 * 1024;

/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Which protocol a connection speaks: the two treat unread bodies and the end of a connection differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The service of one connection.
pub(crate) struct ConnectionService<A> {
    app: A,
    local: Rc<Local>,
    entry: Rc<Entry>,
    protocol: Protocol,
}

// Nothing in it is ever pinned, whatever the application is made of.
impl<A> Unpin for ConnectionService<A> {}

impl<A> ConnectionService<A> {
    pub(crate) fn new(app: A, local: Rc<Local>, entry: Rc<Entry>, protocol: Protocol) -> Self {
        Self { app, local, entry, protocol }
    }
}

impl<A: App> hyper::service::Service<Request<Incoming>> for ConnectionService<A> {
    type Response = Response<AnswerBody<A::Body>>;
    type Error = Infallible;
    type Future = Exchanging<A::Future, A::Body>;

    fn call(&self, mut request: Request<Incoming>) -> Exchanging<A::Future, A::Body> {
        let upgradeable = self.protocol == Protocol::Http1 && request.extensions().get::<OnUpgrade>().is_some();
        if upgradeable {
            request.extensions_mut().insert(Leave::of(self.local.home(&self.entry)));
        }
        let observer = self.local.observer.as_deref();
        // Only an observer wants to know it to the microsecond, and reading the clock is not for nothing.
        let began = if observer.is_some() { Instant::now() } else { self.local.recently() };
        let connection = Arc::clone(&self.entry.info);
        let exchange = Exchange::beginning(connection, request.method().clone(), request.uri().clone(), began);
        let exchange = Arc::new(exchange);
        let flight = InFlight::begin(&self.local, &self.entry, Arc::clone(&exchange));
        if let Some(observer) = observer {
            observer.received(&exchange, request.headers());
        }
        let too_many = request.headers().len() > self.local.limits.head_fields;

        // HTTP/2 streams end by themselves: what isn't read of one is nothing to the next.
        let leftover = (self.protocol == Protocol::Http1 && !request.body().is_end_stream())
            .then(|| Arc::new(Mutex::new(None)) as Leftover);
        let expects = leftover.is_some() && request.headers().contains_key(EXPECT);
        let request = request.map(|body| RequestBody::new(body, leftover.clone(), exchange));
        // Asked at once: a request is large, and every place that it is kept in on the way costs a copy.
        let asked = if too_many {
            Asked::Not { why: Some(NoAnswer::TooManyFields) }
        } else {
            match panics::catch(|| Asked::Answering { answer: self.app.call(request) }) {
                Ok(asked) => asked,
                Err(panic) => Asked::Not { why: Some(NoAnswer::Panicked(panic)) },
            }
        };
        Exchanging {
            asked,
            discarding: None,
            timer: None,
            flight: Some(flight),
            leftover,
            expects,
            upgradeable,
            protocol: self.protocol,
        }
    }
}

/// The rest of a body that nobody wanted is being read, and then the answer can go out; whether something is left.
type Discarding<B> = Pin<Box<dyn Future<Output = (Head, Inner<B>, bool)>>>;

pin_project! {
    /// What the application was asked.
    #[project = AskedProjected]
    enum Asked<F> {
        Answering { #[pin] answer: F },
        Not { why: Option<NoAnswer> },
    }
}

pin_project! {
    /// An exchange, until its answer begins.
    pub(crate) struct Exchanging<F, B> {
        #[pin]
        asked: Asked<F>,
        // Boxed, as is everything else that most requests have no use for.
        discarding: Option<Discarding<B>>,
        timer: Option<Pin<Box<Sleep>>>,
        flight: Option<InFlight>,
        leftover: Option<Leftover>,
        expects: bool,
        upgradeable: bool,
        protocol: Protocol,
    }
}

impl<F, B, E> Future for Exchanging<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + 'static,
    E: Into<BoxError>,
{
    type Output = Result<Response<AnswerBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(flight) = this.flight else { unreachable!("it is not polled again once it has answered") };
        let (mut head, inner, unread) = if let Some(discarding) = this.discarding {
            ready!(discarding.as_mut().poll(cx))
        } else {
            let polled = match this.asked.as_mut().project() {
                AskedProjected::Answering { answer } => match panics::catch(|| answer.poll(cx)) {
                    Ok(Poll::Ready(Ok(response))) => Ok(response),
                    Ok(Poll::Ready(Err(error))) => Err(NoAnswer::Failed(error.into())),
                    Err(panic) => Err(NoAnswer::Panicked(panic)),
                    // Most answers are there at once, and cost no timer.
                    Ok(Poll::Pending) => {
                        let limit = flight.local.limits.request_timeout;
                        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                        ready!(timer.as_mut().poll(cx));
                        Err(NoAnswer::TimedOut)
                    }
                },
                AskedProjected::Not { why } => match why.take() {
                    Some(why) => Err(why),
                    None => unreachable!("there is one answer"),
                },
            };
            let (head, inner) = match polled {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    (head, Inner::App { body })
                }
                Err(no_answer) => no_answer.into_response(&flight.exchange()).into_parts(),
            };
            // And with it the request's body, if the application hasn't dropped that before.
            this.asked.set(Asked::Not { why: None });
            let rest = this.leftover.as_ref().and_then(|leftover| leftover.lock().ok()?.take());
            match rest {
                // The client waits to be told to send its body, and nobody wants it.
                Some(_) if *this.expects && !flight.exchange().body_touched() => (head, inner, true),
                Some(rest) => {
                    let discarding = this.discarding.insert(Box::pin(discard(rest, head, inner)));
                    ready!(discarding.as_mut().poll(cx))
                }
                None => (head, inner, false),
            }
        };
        let upgraded = *this.upgradeable && switches(&flight.exchange().method, head.status);
        if upgraded && let Some(home) = flight.entry.traffic.home() {
            home.set_upgraded();
        }
        let leaving = (unread || flight.local.is_last(&flight.entry)) && !upgraded;
        if leaving && *this.protocol == Protocol::Http1 {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if unread {
            flight.entry.misaligned.set(true);
        }
        let Some(flight) = this.flight.take() else { unreachable!("it was there a moment ago") };
        Poll::Ready(Ok(answer(head, inner, flight, this.leftover.take())))
    }
}

/// Why an application has not answered.
enum NoAnswer {
    Panicked(panics::Panic),
    Failed(BoxError),
    TimedOut,
    TooManyFields,
}

impl NoAnswer {
    fn into_response<B>(self, exchange: &Exchange) -> Response<Inner<B>> {
        match self {
            Self::Panicked(panic) => {
                report(exchange, panic);
                refuse(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Failed(error) => {
                let error = sources(&*error);
                journal::log(Event::HandlerFailed { route: exchange.label().to_string(), error });
                refuse(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::TimedOut if exchange.body_complete() => refuse(StatusCode::SERVICE_UNAVAILABLE),
            Self::TimedOut => refuse(StatusCode::REQUEST_TIMEOUT),
            Self::TooManyFields => refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        }
    }
}

/// Lets the observer see the answer's head, and makes its body account for itself.
fn answer<B: Body>(
    mut head: Head,
    inner: Inner<B>,
    mut flight: InFlight,
    leftover: Option<Leftover>,
) -> Response<AnswerBody<B>> {
    if let Some(observer) = &flight.local.observer {
        observer.answering(&flight.exchange(), head.status, &mut head.headers);
    }
    flight.status = Some(head.status);
    let length = match &inner {
        Inner::App { body } => body.size_hint().exact(),
        Inner::Own { body } => body.size_hint().exact(),
    };
    let length = length.or_else(|| head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
    Response::from_parts(head, AnswerBody { inner, flight: Some(flight), leftover, length })
}

/// Reads the rest of a body and throws it away; says whether something is left because that would take too long.
/// Keeps the answer meanwhile, so that the future of all other requests needn't have room for it.
async fn discard<B>(mut rest: Incoming, head: Head, inner: B) -> (Head, B, bool) {
    let mut bytes = 0;
    let read = timeout(DISCARD_TIME, async {
        while let Some(frame) = rest.frame().await {
            let Ok(frame) = frame else { return false };
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > DISCARD_BYTES {
                return false;
            }
        }
        true
    })
    .await;
    (head, inner, read != Ok(true))
}

fn refuse<B>(status: StatusCode) -> Response<Inner<B>> {
    let mut response = Response::new(Inner::Own { body: Full::from(format!("{status}\n")) });
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

/// An error with everything that it comes from.
fn sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn report(exchange: &Exchange, panic: panics::Panic) {
    journal::log(Event::HandlerPanicked {
        route: exchange.label().to_string(),
        message: panic.message,
        location: panic.location,
    });
}

pin_project! {
    /// The body of an answer: the application's own, or a few words of the server.
    #[project = InnerProjected]
    pub(crate) enum Inner<B> {
        App { #[pin] body: B },
        Own { body: Full<Bytes> },
    }
}

pin_project! {
    /// The body of an answer, which accounts for its request when it ends.
    pub(crate) struct AnswerBody<B> where B: Body {
        #[pin]
        inner: Inner<B>,
        flight: Option<InFlight>,
        leftover: Option<Leftover>,
        // Bytes that the body is known to have.
        length: Option<u64>,
    }

    impl<B> PinnedDrop for AnswerBody<B> where B: Body {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let Some(mut flight) = this.flight.take() else { return };
            // An answer may go on while its request's body is still being read. If that was dropped half-read, the
            // connection's next bytes are no request.
            if this.leftover.take().is_some_and(|left| left.lock().is_ok_and(|left| left.is_some())) {
                flight.misaligned();
            }
            // hyper polls a body to its end only where it has to.
            if flight.outcome == Outcome::Aborted && (this.inner.as_ref().ended() || is_headless(&flight)
                || *this.length == Some(flight.exchange().bytes()))
            {
                flight.outcome = Outcome::Complete;
            }
        }
    }
}

impl<B: Body> Inner<B> {
    fn ended(self: Pin<&Self>) -> bool {
        match &*self {
            Self::App { body } => body.is_end_stream(),
            Self::Own { body } => body.is_end_stream(),
        }
    }
}

/// Whether the answer has no body by definition: RFC 9110, section 6.4.1.
fn is_headless(flight: &InFlight) -> bool {
    let exchange = flight.exchange();
    let method = &exchange.method;
    let without = |status: StatusCode| {
        status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || switches(method, status)
    };
    *method == Method::HEAD || flight.status.is_some_and(without)
}

/// Whether what follows the answer is no longer HTTP: RFC 9110, sections 7.8 and 9.3.6.
fn switches(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = match this.inner.project() {
            InnerProjected::Own { body } => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into))
            }
            InnerProjected::App { body } => match panics::catch(|| body.poll_frame(cx)) {
                Ok(polled) => ready!(polled).map(|frame| frame.map_err(Into::into)),
                Err(panic) => {
                    let words = format!("the handler panicked while it sent the body: {}", panic.message);
                    if let Some(flight) = this.flight {
                        report(&flight.exchange(), panic);
                    }
                    Some(Err(words.into()))
                }
            },
        };
        if let Some(flight) = this.flight {
            match &frame {
                Some(Ok(frame)) => flight.exchange().add_bytes(frame.data_ref().map_or(0, |data| data.len() as u64)),
                Some(Err(_)) => flight.outcome = Outcome::Failed,
                None => flight.outcome = Outcome::Complete,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::App { body } => body.is_end_stream(),
            Inner::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::App { body } => body.size_hint(),
            Inner::Own { body } => body.size_hint(),
        }
    }
}
