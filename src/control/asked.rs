//! What is asked over the control socket.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::setup::ControlSocketAt;
use super::succession::ANSWERED;
use crate::journal::{self, Event};
use crate::status::Facts;
use crate::status::socket::{self, ControlSocket, ReloadRequest};

/// Who asks over the control socket.
pub(super) struct Asked {
    pub(super) requests: mpsc::UnboundedReceiver<ReloadRequest>,
    answering: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Asked {
    /// Answers `outlive status` and `outlive reload` from now on. Without it the service is only less comfortable.
    pub(super) fn answer(at: ControlSocketAt, succeeding: bool, facts: &Arc<Facts>) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let path = match at {
            ControlSocketAt::Usual => socket::path(),
            ControlSocketAt::Path(path) => Some(path),
            ControlSocketAt::Nowhere => None,
        };
        let answering = path.and_then(|path| match ControlSocket::open(&path, succeeding) {
            Ok(control) => {
                let (end, ended) = oneshot::channel();
                Some((end, tokio::spawn(control.serve(Arc::clone(facts), requests, ended))))
            }
            Err(error) => {
                complain(path, &error);
                None
            }
        });
        Self { requests: asked, answering }
    }

    /// Refuses all reloads from now on. What is returned is to be awaited at the end: it gives everyone an answer who has
    /// asked by then.
    pub(super) fn refuse(self, why: &'static str) -> impl Future<Output = ()> {
        let Self { mut requests, answering } = self;
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let _ = request.answer.send(Err(why.to_owned()));
            }
        });
        async move {
            if let Some((end, answering)) = answering {
                drop(end);
                let _ = tokio::time::timeout(ANSWERED, answering).await;
            }
        }
    }
}

fn complain(path: PathBuf, error: &std::io::Error) {
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another service answers there".to_owned(),
        _ => error.to_string(),
    };
    journal::log(Event::Inconvenience {
        text: format!(
            "Nobody answers for this process when its status or a reload is asked for, because {} can't be opened \
             ({why}): choose another place (--control of outlive, Server::control_socket in a program)",
            path.display(),
        ),
    });
}
