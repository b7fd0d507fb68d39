//! Where the load goes: a URL that has been taken apart and whose host has been looked up.

use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;

/// Bad usage, found before anything was contacted. Exit status 64.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Not a URL.
    #[error("{url}: not a URL such as {scheme}://127.0.0.1:8080/: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// The scheme that is wanted.
        scheme: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS.
    #[error("{0}: TLS is not supported yet: rehearse against the cleartext port behind it, with {1}://")]
    Tls(String, &'static str),
    /// A name that cannot be looked up.
    #[error("{host}: cannot be looked up: {error}")]
    Unknown {
        /// The host.
        host: String,
        /// Why.
        error: std::io::Error,
    },
    /// A target on another machine.
    #[error("{0} is not on this machine: if it is yours and may be loaded, say so with --yes-it-is-mine")]
    NotLoopback(SocketAddr),
    /// Nothing to do.
    #[error("every kind of client is at 0: nothing would be measured")]
    NoClients,
    /// A period of nothing.
    #[error("--fresh-every, --timeout and --connect-timeout must be above 0")]
    Zero,
    /// More descriptors than may be had.
    #[error(
        "these clients need {needed} file descriptors, and no more than {most} may be had: use fewer clients, or start \
         it with a higher limit (ulimit -Hn, LimitNOFILE=)"
    )]
    Descriptors {
        /// How many the plan needs.
        needed: u64,
        /// The hard limit, which could not be raised.
        most: u64,
    },
    /// More connections than the local ports allow.
    #[error(
        "{needed} connections to one address need more local ports than net.ipv4.ip_local_port_range offers ({ports}), \
         and only a target in 127.0.0.0/8 can be given further sources"
    )]
    Ports {
        /// How many connections are open at once.
        needed: u64,
        /// How many ports the range has.
        ports: u64,
    },
}

/// One server's address, and how to ask it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As it was given.
    pub url: String,
    /// What is connected to.
    pub address: SocketAddr,
    /// The value of `Host`.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Takes `url` apart and looks its host up; a target that is not on this machine must be `mine`.
    pub(super) fn new(url: &str, scheme: &'static str, mine: bool) -> Result<Self, UsageError> {
        let bad = |reason: String| UsageError::Url { url: url.to_owned(), scheme, reason };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        match uri.scheme_str() {
            Some(given) if given == scheme => {}
            Some("https" | "wss") => return Err(UsageError::Tls(url.to_owned(), scheme)),
            _ => return Err(bad(format!("it must begin with {scheme}://"))),
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(bad("a user and password in it are not sent".to_owned()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(80);
        let unknown = |error| UsageError::Unknown { host: host.clone(), error };
        let addresses: Vec<SocketAddr> = (host.as_str(), port).to_socket_addrs().map_err(unknown)?.collect();
        if let Some(elsewhere) = addresses.iter().find(|address| !address.ip().is_loopback())
            && !mine
        {
            return Err(UsageError::NotLoopback(*elsewhere));
        }
        // IPv4 first: `localhost` is ::1 too, where many servers do not listen, and only 127.0.0.0/8 has many sources.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
        Ok(Self {
            url: url.to_owned(),
            address: address.ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))?,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::new("http://127.0.0.1:8080/a?b=c", "http", false).unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1:8080", "/a?b=c"));
        let target = Target::new("http://[::1]", "http", false).unwrap();
        assert_eq!((target.address, target.path.as_str()), ("[::1]:80".parse().unwrap(), "/"));
    }

    #[test]
    fn what_is_refused() {
        assert!(matches!(Target::new("https://127.0.0.1/", "http", false), Err(UsageError::Tls(..))));
        assert!(matches!(Target::new("http://192.0.2.1/", "http", false), Err(UsageError::NotLoopback(_))));
        assert!(Target::new("http://192.0.2.1/", "http", true).is_ok());
        for bad in ["", "127.0.0.1", "ftp://127.0.0.1/", "http:///x", "http://u:p@127.0.0.1/", "ws://127.0.0.1/"] {
            assert!(matches!(Target::new(bad, "http", false), Err(UsageError::Url { .. })), "{bad}");
        }
    }
}
