//! `outlive serve`: from a configuration to a server that is set up by it.
//!
//! What this uses of the library is what every program can use. Its own are the configuration, the routes, the access log
//! and what it says of them in the journal.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination as _};

use crate::cli::{CONFIGURATION, print_config_error};
use crate::config::last_good::LastGood;
use crate::config::settings::Config;
use crate::config::{self, ConfigError};
use crate::journal::{self, Event, Target, count};
use crate::route::Router;
use crate::route::access_log::AccessLog;
use crate::{Body, Drain, InUse, Reload, Server};

/// Serves what the configuration says, to the end.
pub(crate) fn serve(path: Option<&Path>, control: Option<PathBuf>) -> ExitCode {
    let server = Server::new().journal();
    let (config, in_use) = match configuration(path, &server) {
        Ok(loaded) => loaded,
        Err(reason) => {
            let _ = server.fail(reason);
            return ExitCode::from(CONFIGURATION);
        }
    };
    let router = match Router::new(&config.routes, &server.gauges()) {
        Ok(router) => router,
        Err(error) => {
            let _ = server.fail(error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let answer = move |request: http::Request<Body>| {
        let exchange = request.body().exchange().cloned().unwrap_or_default();
        router.call(request, exchange)
    };
    // Whatever is wrong has been said already, to whom it concerns.
    set_up(server, control, config, in_use).run(answer).map_or(ExitCode::FAILURE, |ended| ended.report())
}

/// Sets a server up as the configuration says.
fn set_up(mut server: Server, control: Option<PathBuf>, config: Config, in_use: InUse) -> Server {
    for (name, listen) in config.listeners {
        if let Some(address) = listen.bind {
            server = server.bind(name, address);
        }
    }
    if let Some(workers) = config.workers {
        server = server.workers(workers);
    }
    if let Some(connections) = config.max_connections {
        server = server.max_connections(connections);
    }
    if let Some(control) = control {
        server = server.control_socket(control);
    }
    if let Some(problem) = &in_use.broken {
        server = server.note(format!("last good configuration, because {problem}"));
    } else if let Some(last_good) = LastGood::from_env() {
        server = server.when_ready(move || keep(&last_good, &config.texts));
    }
    let mut drain = config.drain.window.map_or_else(Drain::auto, Drain::window);
    if let Some(settle) = config.drain.settle {
        drain = drain.settle(settle);
    }
    server
        .drain(drain)
        .reload(Reload::new().ready_timeout(config.reload.ready_timeout).linger(config.reload.linger))
        .limits(config.limits)
        .observe(AccessLog::new(config.log))
        .describe(count(config.routes.len(), "route"))
        .configuration(in_use)
}

/// Keeps the configuration that is served now, unless it was kept before.
fn keep(last_good: &LastGood, texts: &config::Texts) {
    if let Err(error) = last_good.keep(texts) {
        journal::log(Event::Inconvenience {
            text: format!("The configuration can't be kept in StateDirectory= for a start with a broken one: {error}"),
        });
    }
}

/// Loads the configuration, or else the last good one.
fn configuration(path: Option<&Path>, server: &Server) -> Result<(Config, InUse), String> {
    let error = match config::load(path) {
        Ok(config) => {
            for warning in &config.warnings {
                journal::log(Event::ConfigurationWarning { text: warning.headline() });
            }
            let in_use = InUse::files(config.sources.clone());
            return Ok((config, in_use));
        }
        Err(error) => error,
    };
    // A reload has a better way out: the old process goes on with what it has.
    if let Some(last_good) = LastGood::from_env().filter(|_| !server.is_successor())
        && let Some(kept) = fall_back(&last_good, &error)
    {
        return Ok(kept);
    }
    if Target::detect() == Target::Lines && !server.is_successor() {
        print_config_error(&error);
        return Err(error.headline());
    }
    // The headline first: it is all that STATUS= has room for.
    Err(format!("{}\n{error}", error.headline()))
}

/// The last good configuration, if it may take the place of a broken one.
fn fall_back(last_good: &LastGood, error: &ConfigError) -> Option<(Config, InUse)> {
    if error.strict() == Some(true) {
        return None;
    }
    let kept = match last_good.load() {
        Ok(kept) => kept,
        Err(why) => {
            let text = format!("The last good configuration can't take the place of the broken one: {why}");
            journal::log(Event::Inconvenience { text });
            return None;
        }
    };
    // The file may be too broken to say so itself.
    if error.strict().unwrap_or(kept.config.strict) {
        return None;
    }
    let problem = format!("{}\n{error}", error.headline());
    journal::log(Event::LastGoodServed { problem, since: kept.since.clone() });
    let in_use = InUse::files(kept.config.sources.clone()).instead_of_broken(error.headline(), kept.since);
    Some((kept.config, in_use))
}
