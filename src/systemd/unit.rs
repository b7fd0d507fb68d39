//! What the unit that runs this process says of the time to stop, and whether it is to start again.
//!
//! systemd alone knows `TimeoutStopSec=` with all drop-ins applied, and which job it is at; it tells over D-Bus. systemd's
//! own `busctl` asks: it is wherever systemd is, and it costs no D-Bus library for one question in a process's life. (The answer of
//! `systemctl show` is written for people; this one is a plain number.)

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

const MANAGER: &str = "org.freedesktop.systemd1";

/// How long to wait for systemd's answer: more than a busy manager needs, less than any sensible `TimeoutStopSec=`.
const PATIENCE: Duration = Duration::from_secs(5);

/// `TimeoutStopSec=` as systemd applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopTimeout {
    /// SIGKILL comes so long after SIGTERM.
    After(Duration),
    /// SIGKILL never comes: `TimeoutStopSec=infinity`.
    Never,
}

/// What became of a question to systemd.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The process isn't run by a service unit.
    #[error(
        "no service unit runs this process (/proc/self/cgroup says {cgroup:?}); say how long a drain may take ([drain] window, or Drain::window in a program)"
    )]
    NoUnit {
        /// The control group found.
        cgroup: String,
    },
    /// `busctl` couldn't be run, or said no.
    #[error(
        "busctl could not tell TimeoutStopUSec of {unit}: {reason}; say how long a drain may take ([drain] window, or Drain::window in a program)"
    )]
    Ask {
        /// The unit asked for.
        unit: String,
        /// What went wrong.
        reason: String,
    },
}

/// Asks systemd for the `TimeoutStopSec=` of the unit that runs this process, drop-ins included.
///
/// # Errors
///
/// Outside a service unit, without `busctl`, or when systemd doesn't answer within five seconds.
pub async fn stop_timeout() -> Result<StopTimeout, UnitError> {
    let unit = Unit::of_this_process()?;
    let service = "org.freedesktop.systemd1.Service";
    let answer = ask(&unit, &["get-property", MANAGER, &unit.object_path(), service, "TimeoutStopUSec"]).await?;
    parse(&answer).ok_or_else(|| unit.fail(format!("its answer was {:?}", answer.trim())))
}

/// Asks systemd whether it is to leave the unit stopped: not for a restart, and not where no job is the reason for the
/// end, as when a signal was sent by hand.
///
/// # Errors
///
/// As [`stop_timeout`].
pub async fn is_to_stay_stopped() -> Result<bool, UnitError> {
    let unit = Unit::of_this_process()?;
    let manager = "org.freedesktop.systemd1.Manager";
    let jobs = ask(&unit, &["call", MANAGER, "/org/freedesktop/systemd1", manager, "ListJobs"]).await?;
    Ok(unit.job_in(&jobs) == Some("stop"))
}

/// Whether a unit of systemd's runs this process, and not just something else that takes notifications: a container's
/// runtime, another supervisor. (Where a unit's control group can't be seen, as with `ProtectControlGroups=private`,
/// there is still `SYSTEMD_EXEC_PID` of systemd.exec(5). A successor has that of the process which it `succeeds`.)
#[must_use]
pub fn runs_this_process(succeeds: bool) -> bool {
    let started = std::env::var("SYSTEMD_EXEC_PID").ok().and_then(|pid| pid.parse().ok());
    Unit::of_this_process().is_ok() || started.is_some_and(|pid: u32| succeeds || pid == std::process::id())
}

async fn ask(unit: &Unit, question: &[&str]) -> Result<String, UnitError> {
    let mut command = Command::new("busctl");
    command
        .arg(if unit.user { "--user" } else { "--system" })
        .args(question)
        // Those are for this process, not for its children.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| unit.fail(format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(|error| unit.fail(error.to_string()))?;
    if !output.status.success() {
        return Err(unit.fail(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads busctl's `t 30000000`: microseconds, of which the highest number means infinity.
fn parse(answer: &str) -> Option<StopTimeout> {
    match answer.trim().strip_prefix("t ")?.parse().ok()? {
        u64::MAX => Some(StopTimeout::Never),
        usec => Some(StopTimeout::After(Duration::from_micros(usec))),
    }
}

/// A service unit, of the system's manager or a user's.
#[derive(Debug, PartialEq, Eq)]
struct Unit {
    name: String,
    user: bool,
}

impl Unit {
    fn of_this_process() -> Result<Self, UnitError> {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::from_cgroup(&cgroup).ok_or_else(|| UnitError::NoUnit { cgroup: cgroup.trim().to_owned() })
    }

    fn fail(&self, reason: String) -> UnitError {
        UnitError::Ask { unit: self.name.clone(), reason }
    }

    /// The type of the unit's job in busctl's `a(usssoo) 1 23 "a.service" "stop" "running" "/…/job/23" "/…/unit/…"`.
    fn job_in<'answer>(&self, answer: &'answer str) -> Option<&'answer str> {
        let (_, rest) = answer.split_once(&format!(" \"{}\" \"", self.name))?;
        rest.split('"').next()
    }

    /// Reads /proc/PID/cgroup, see cgroups(7): the innermost part that is a service names the unit.
    fn from_cgroup(text: &str) -> Option<Self> {
        // Version 2 has one line, "0::PATH"; on a mixed hierarchy systemd's own is the one named "name=systemd". In a
        // container on a host with the latter, both are there, and only one of them says where in the container.
        let of = |kind: &str| text.lines().find(|line| line.contains(kind)).and_then(Self::from_hierarchy);
        of(":name=systemd:").or_else(|| of("0::"))
    }

    fn from_hierarchy(line: &str) -> Option<Self> {
        let parts: Vec<&str> = line.splitn(3, ':').nth(2)?.split('/').collect();
        let at = parts.iter().rposition(|part| part.ends_with(".service"))?;
        let manager = |part: &&str| part.starts_with("user@") && part.ends_with(".service");
        if manager(&parts[at]) {
            return None;
        }
        Some(Self { name: parts[at].to_owned(), user: parts[..at].iter().any(manager) })
    }

    /// The unit's D-Bus object path: every byte but letters and digits written as `_` and two hexadecimal digits.
    fn object_path(&self) -> String {
        let mut path = String::from("/org/freedesktop/systemd1/unit/");
        for (index, byte) in self.name.bytes().enumerate() {
            if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("_{byte:02x}"));
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, user: bool) -> Option<Unit> {
        Some(Unit { name: name.to_owned(), user })
    }

    #[test]
    fn the_innermost_service_of_the_control_group_is_the_unit() {
        for (text, expected) in [
            ("0::/system.slice/outlive.service\n", unit("outlive.service", false)),
            ("0::/system.slice/system-web.slice/web@1.service/inner\n", unit("web@1.service", false)),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/o.service\n", unit("o.service", true)),
            ("1:name=systemd:/system.slice/outlive.service\n0::/\n", unit("outlive.service", false)),
            ("1:name=systemd:/\n0::/system.slice/outlive.service\n", unit("outlive.service", false)),
            ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", None),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("", None),
        ] {
            assert_eq!(Unit::from_cgroup(text), expected, "{text}");
        }
    }

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        let path = |name: &str| Unit { name: name.to_owned(), user: false }.object_path();
        assert_eq!(path("outlive.service"), "/org/freedesktop/systemd1/unit/outlive_2eservice");
        assert_eq!(path("9web@a-b.service"), "/org/freedesktop/systemd1/unit/_39web_40a_2db_2eservice");
    }

    #[test]
    fn the_job_is_that_of_the_unit() {
        let jobs = "a(usssoo) 2 9 \"b.service\" \"stop\" \"running\" \"/j/9\" \"/u/b\" \
                    10 \"a.service\" \"restart\" \"waiting\" \"/j/10\" \"/u/a\"\n";
        let job = |name: &str| Unit { name: name.to_owned(), user: false }.job_in(jobs);
        assert_eq!([job("a.service"), job("b.service"), job("c.service")], [Some("restart"), Some("stop"), None]);
        assert_eq!(Unit { name: "a.service".to_owned(), user: false }.job_in("a(usssoo) 0\n"), None);
    }

    #[test]
    fn answers_are_microseconds_or_infinity() {
        assert_eq!(parse("t 90000000\n"), Some(StopTimeout::After(Duration::from_secs(90))));
        assert_eq!(parse("t 18446744073709551615\n"), Some(StopTimeout::Never));
        assert_eq!(parse("s \"1min\"\n"), None);
    }
}
