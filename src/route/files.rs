//! `files`: what lies in a folder.
//!
//! The path's end, as the route's catch-all matched it, says which file. It is looked at here before anything is opened:
//! no dotfiles, no other way to write a slash. tower-http's `ServeDir` then speaks HTTP (types, conditional requests,
//! precompressed variants, `index.html`), and [`Beneath`] opens what it asks for.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RANGE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use tower_http::services::fs::{DefaultServeDirFallback, ServeDir, ServeFileSystemResponseBody};

use super::beneath::Beneath;
use super::body::Body;
use super::range::Range;
use super::refusal;
use super::reply::Reply;

/// A folder that is served.
pub(super) struct Files {
    folder: ServeDir<DefaultServeDirFallback, Beneath>,
}

impl Files {
    /// # Errors
    ///
    /// If there is no such folder, or it may not be opened.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        // Paths are relative to the root, which the backend alone knows.
        let folder = ServeDir::with_backend("", Beneath::new(root)?)
            .precompressed_br()
            .precompressed_zstd()
            .precompressed_gzip();
        Ok(Self { folder })
    }

    /// Answers GET or HEAD. `rest` is what the route's catch-all matched, `None` if even the slash before it is missing.
    pub(super) fn answer(&self, head: &Parts, rest: Option<&str>) -> Reply {
        let Some(rest) = rest else { return Reply::now(add_slash(&head.uri)) };
        let Some(uri) = file_path(rest) else { return Reply::now(refusal::not_found()) };
        let range = Range::asked(head);
        let mut headers = head.headers.clone();
        headers.remove(RANGE);
        let (folder, original) = (self.folder.clone(), head.uri.clone());
        Reply::later(async move {
            let mut answer = ask(&folder, &uri, &headers, range.as_ref()).await;
            if range.is_some_and(|range| matches!(&answer, Ok(part) if range.refuted(part, SystemTime::now()))) {
                answer = ask(&folder, &uri, &headers, None).await;
            }
            match answer {
                Ok(answer) if answer.status().is_redirection() && answer.headers().contains_key(LOCATION) => {
                    add_slash(&original)
                }
                Ok(answer) => finish(answer),
                Err(error) => failed(&error, &original),
            }
        })
    }
}

type Served = Response<ServeFileSystemResponseBody>;

/// Asks for a file or a part of it. HEAD is asked as GET, so that it opens what GET would and cannot answer otherwise.
async fn ask(
    folder: &ServeDir<DefaultServeDirFallback, Beneath>,
    uri: &Uri,
    headers: &HeaderMap,
    range: Option<&Range>,
) -> io::Result<Served> {
    let mut request = Request::new(http_body_util::Empty::<Bytes>::new());
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    if let Some(range) = range {
        request.headers_mut().insert(RANGE, range.value.clone());
    }
    folder.clone().try_call(request).await
}

/// The path within the folder, for `ServeDir`, which takes it from a target in origin form.
///
/// `None` where it can mean no file that is served: a component that begins with a dot (but a first `.well-known`, as
/// RFC 8615 has it), or one that isn't UTF-8 or has a slash, a backslash or a NUL in it once unescaped.
fn file_path(rest: &str) -> Option<Uri> {
    let served = rest.split('/').enumerate().all(|(at, component)| {
        let Ok(name) = percent_encoding::percent_decode_str(component).decode_utf8() else { return false };
        let hidden = name.starts_with('.') && !(at == 0 && name == ".well-known");
        !hidden && !name.contains(['/', '\\', '\0'])
    });
    if served { format!("/{rest}").parse().ok() } else { None }
}

/// Sends the client to the same path with a slash at its end.
///
/// The location is relative, so it keeps whatever comes before: the route's own prefix, and one that a proxy in front
/// has taken off. Beginning with `./`, it can be taken neither for another host nor for a scheme.
fn add_slash(uri: &Uri) -> Response<Body> {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map_or(Cow::Borrowed(""), |query| format!("?{query}").into());
    let Ok(location) = HeaderValue::try_from(format!("./{name}/{query}")) else { return refusal::not_found() };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// `ServeDir`'s answer, with what it leaves open.
fn finish(answer: Served) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let headers = &mut head.headers;
    match head.status {
        StatusCode::NOT_FOUND => return refusal::not_found(),
        // What would be in a 200 for the sake of caches must be here too (RFC 9110, section 15.4.5).
        StatusCode::NOT_MODIFIED => {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        _ => {}
    }
    if let Some(kind) = headers.get_mut(CONTENT_TYPE)
        && let Some(utf8) = with_charset(kind)
    {
        *kind = utf8;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let remaining = length.or_else(|| body.size_hint().exact()).unwrap_or(0);
    Response::from_parts(head, if remaining == 0 { Body::empty() } else { Body::file(FileBody { body, remaining }) })
}

/// `text/…` in UTF-8: without a charset, browsers take it for Windows-1252.
fn with_charset(kind: &HeaderValue) -> Option<HeaderValue> {
    let kind = kind.to_str().ok().filter(|kind| kind.starts_with("text/") && !kind.contains(';'))?;
    HeaderValue::try_from(format!("{kind}; charset=utf-8")).ok()
}

fn failed(error: &io::Error, uri: &Uri) -> Response<Body> {
    if error.kind() == io::ErrorKind::NotFound {
        // Says why, to an operator who wonders what is wrong with a file that is there.
        tracing::debug!(path = uri.path(), %error, "no such file to serve");
        return refusal::not_found();
    }
    tracing::error!(path = uri.path(), %error, "cannot serve a file");
    refusal::internal_error()
}

/// A file's bytes: exactly as many as the answer's head has promised.
///
/// A file may grow or shrink while it is sent. What has grown is cut off; what has shrunk is an error, so that the client
/// sees a broken answer and not a short one that looks whole.
pub(super) struct FileBody {
    body: ServeFileSystemResponseBody,
    remaining: u64,
}

impl FileBody {
    pub(super) const fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Ok(self.take(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(error),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has shrunk while it was sent")),
        }))
    }

    fn take(&mut self, mut bytes: Bytes) -> Bytes {
        bytes.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= bytes.len() as u64;
        bytes
    }
}

impl std::fmt::Debug for FileBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
