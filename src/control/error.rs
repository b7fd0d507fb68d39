//! Why a server couldn't start, or couldn't go on.

use std::fmt;
use std::io;

use super::address::{Address, AddressError};
use crate::server::ServerError;
use crate::status::ControlError;
use crate::systemd::activation::ActivationError;

/// EINVAL of errno(3): the word for a start that failed for no errno of its own.
const EINVAL: u32 = 22;

/// Why a server couldn't start, or couldn't go on; or why another one couldn't be asked. Each says what to do about it.
///
/// It is also what `{:?}` says, so that a `main` which returns it prints a sentence.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What systemd has passed can't be served on: the text names the directive to look at.
    #[error("{0}")]
    Passed(String),
    /// What was given to [`bind`](crate::Server::bind) is no address.
    #[error("listener {name:?}: {error}")]
    Address {
        /// The listener's name.
        name: String,
        /// What is wrong with it.
        error: AddressError,
    },
    /// A listener couldn't be bound.
    #[error("cannot listen on {address} (listener {name:?}): {error}; {cure}")]
    Bind {
        /// The listener's name.
        name: String,
        /// Where it should have been.
        address: Address,
        /// The system's words.
        error: io::Error,
        /// What to do about it.
        cure: String,
    },
    /// There is nothing to listen on.
    #[error(
        "there is nothing to listen on: systemd has passed no socket, and nothing says where to listen instead ([listen.NAME] \
         bind in outlive's configuration, Server::bind in a program)"
    )]
    NothingToListenOn,
    /// An application was registered for a listener that there isn't.
    #[error("an application was given for listener {name:?}, but there is none of that name: there are {there}")]
    NoSuchListener {
        /// The listener's name.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// A worker couldn't be started, or has ended by itself.
    #[error("{reason}")]
    Worker {
        /// Why, and what to do.
        reason: String,
        /// The system's words, if it was the system.
        error: Option<io::Error>,
    },
    /// A system call failed that shouldn't: signals, threads, descriptors.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    /// The process that has started this one as its successor is gone, or speaks another language.
    #[error("cannot follow the process that has started this one: {0}")]
    Predecessor(io::Error),
    /// The service that runs couldn't be asked, or didn't do what it was asked for: see [`Control`](crate::Control).
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The program couldn't get ready: see [`fail`](crate::Server::fail).
    #[error("{0}")]
    Program(String),
}

impl Error {
    /// The errno(3) behind it, for systemd's `ERRNO=`; EINVAL where there is none.
    #[must_use]
    pub fn errno(&self) -> u32 {
        let error = match self {
            Self::Bind { error, .. } | Self::System(error) | Self::Predecessor(error) => Some(error),
            Self::Worker { error, .. } => error.as_ref(),
            _ => None,
        };
        let code = error.and_then(io::Error::raw_os_error);
        code.and_then(|code| u32::try_from(code).ok()).unwrap_or(EINVAL)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    pub(crate) fn passed(error: &ActivationError) -> Self {
        Self::Passed(error.to_string())
    }

    pub(crate) fn server(error: ServerError) -> Self {
        let reason = error.to_string();
        match error {
            ServerError::Thread { error, .. } => Self::Worker { reason, error: Some(error) },
            ServerError::Lost { .. } => Self::Worker { reason, error: None },
        }
    }
}
