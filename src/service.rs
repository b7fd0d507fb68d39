//! `outlive serve`: from a configuration to a server that is set up by it.
//!
//! What this uses of the library is what every program can use. Its own are the configuration, the routes, the access log
//! and what it says of them in the journal.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination as _};

use crate::cli::{CONFIGURATION, complain, print_config_error};
use crate::config::last_good::LastGood;
use crate::config::settings::Config;
use crate::config::{self, ConfigError, counted};
use crate::route::Router;
use crate::route::access_log::AccessLog;
use crate::{Body, Drain, InUse, Reload, Server, connected_to_journal, entries};

/// Serves what the configuration says, to the end.
pub(crate) fn serve(path: Option<&Path>, control: Option<PathBuf>) -> ExitCode {
    let server = Server::new().journal();
    // Whoever reads the journal, or asked for a reload, is told by the library; whoever sits at a terminal, here.
    let at_terminal = !connected_to_journal() && !server.is_successor();
    let (config, in_use) = match configuration(path, &server) {
        Ok(loaded) => loaded,
        Err(error) => {
            if at_terminal {
                print_config_error(&error);
            }
            // The headline first: it is all that STATUS= has room for.
            let _ = server.fail(format!("{}\n{error}", error.headline()));
            return ExitCode::from(CONFIGURATION);
        }
    };
    let ended = match Router::new(&config.routes, &server.gauges()) {
        Ok(router) => {
            let answer = move |request: http::Request<Body>| {
                let exchange = request.body().exchange().cloned().unwrap_or_default();
                router.call(request, exchange)
            };
            set_up(server, control, config, in_use).run(answer)
        }
        Err(error) => Err(server.fail(error.to_string())),
    };
    match ended {
        Ok(ended) => ended.report(),
        Err(error) if at_terminal => complain(&format!("error: {error}")),
        Err(_) => ExitCode::FAILURE,
    }
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
        .describe(counted(config.routes.len(), "route"))
        .configuration(in_use)
}

/// Keeps the configuration that is served now, unless it was kept before.
fn keep(last_good: &LastGood, texts: &config::Texts) {
    if let Err(error) = last_good.keep(texts) {
        entries::last_good_lacking(format!(
            "The configuration can't be kept in StateDirectory= for a start with a broken one: {error}"
        ));
    }
}

/// Loads the configuration, or else the last good one.
fn configuration(path: Option<&Path>, server: &Server) -> Result<(Config, InUse), ConfigError> {
    let error = match config::load(path) {
        Ok(config) => {
            for warning in &config.warnings {
                entries::configuration_warning(warning.headline());
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
    Err(error)
}

/// The last good configuration, if it may take the place of a broken one.
fn fall_back(last_good: &LastGood, error: &ConfigError) -> Option<(Config, InUse)> {
    if error.strict() == Some(true) {
        return None;
    }
    let kept = match last_good.load() {
        Ok(kept) => kept,
        Err(why) => {
            entries::last_good_lacking(format!(
                "The last good configuration can't take the place of the broken one: {why}"
            ));
            return None;
        }
    };
    // The file may be too broken to say so itself.
    if error.strict().unwrap_or(kept.config.strict) {
        return None;
    }
    let problem = format!("{}\n{error}", error.headline());
    entries::last_good_served(problem, kept.since.clone());
    let in_use = InUse::files(kept.config.sources.clone()).instead_of_broken(error.headline(), kept.since);
    Some((kept.config, in_use))
}
