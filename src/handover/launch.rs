//! Between the old process and its successor: two short lives of this same program.
//!
//! The service manager must see the successor as its own child, or it cannot tell how it ends, and the next restart
//! kills it instead of letting it drain. So the old process starts this program once (the *parent*), which starts it
//! once more (the *successor*) and exits: that makes the successor a child of the nearest process that adopts orphans,
//! the service manager. It then takes its descriptors from the [link], and becomes the program on disk.
//!
//! No thread runs in either of them, and nothing is forked from the old process but by posix_spawn(3), which copies
//! none of its memory. Nor does `main` run: the library is linked into programs that know nothing of all this, and whose
//! beginning may not be repeated. Both lives are begun and ended by a function that the dynamic loader calls before
//! `main`, as it does all of the `.init_array` section (ELF specification, "Initialization and Termination Functions").

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};

use super::link::{self, Message};
use crate::systemd::activation::{FIRST, LINK};

/// The program as it runs now, even if another one has taken its place on disk.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Bytes of an ELF file that say what it is for: elf(5).
const HEAD: u64 = 20;

/// Says which life this is; unset in all other processes.
pub(super) const LIFE: &str = "OUTLIVE_LAUNCH";

/// Its value in the first life.
pub(super) const PARENT: &str = "parent";

/// Its value in the second one.
const ORPHAN: &str = "orphan";

// SAFETY: the section holds pointers to functions that are called before `main`, with the C convention, and this is one.
// It uses nothing of the standard library that needs `main` to have been entered: the environment, files, processes.
#[allow(unsafe_code)]
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Some(life) = std::env::var_os(LIFE) else { return };
    // Whoever may set the environment of a program that runs with another's rights may not say what it becomes.
    if rustix::process::getuid() != rustix::process::geteuid()
        || rustix::process::getgid() != rustix::process::getegid()
    {
        return;
    }
    let begun = match (arguments(), life.as_bytes()) {
        (Err(error), _) => Err(error),
        (Ok(program), b"parent") => beget(&program),
        (Ok(program), b"orphan") => Err(become_program(&program)),
        (Ok(_), _) => return,
    };
    let status = match begun {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    };
    std::process::exit(status);
}

/// The arguments of this process. Not all C libraries tell the standard library before `main`.
fn arguments() -> io::Result<Vec<OsString>> {
    let all = std::fs::read("/proc/self/cmdline")?;
    let all = all.strip_suffix(b"\0").unwrap_or(&all).split(|byte| *byte == 0);
    Ok(all.skip(1).map(|argument| OsStr::from_bytes(argument).to_owned()).collect())
}

/// First life: starts the second one, and makes an orphan of it by returning.
fn beget(program: &[OsString]) -> io::Result<()> {
    let spawned = Command::new(THIS_PROGRAM).env(LIFE, ORPHAN).args(program).spawn();
    spawned.map(drop).map_err(|error| io::Error::new(error.kind(), format!("cannot start a process: {error}")))
}

/// Second life: takes what the [link] on standard input gives, and becomes the program. Returns only if it can't.
fn become_program(program: &[OsString]) -> io::Error {
    match prepare(program) {
        Ok(mut command) => {
            let error = command.exec();
            cannot_run(command.get_program(), &error)
        }
        Err(error) => error,
    }
}

fn cannot_run(program: &OsStr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display()))
}

/// Whether a program is one for this machine. exec(3) would take anything else for a shell script.
fn check(program: &Path) -> io::Result<()> {
    let head = |path: &Path| {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head).map(|_| head)
    };
    let theirs = head(program)?;
    if theirs.starts_with(b"#!") || describe(&theirs) == describe(&head(Path::new(THIS_PROGRAM))?) {
        return Ok(());
    }
    Err(io::Error::other("it is no program for this machine (Exec format error)"))
}

/// Magic number, word size, byte order and machine of an ELF file, elf(5).
fn describe(head: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((head.get(..6)?, head.get(18..20)?))
}

fn prepare(program: &[OsString]) -> io::Result<Command> {
    let link = io::stdin().as_fd().try_clone_to_owned()?;
    let this = std::process::id();
    link::send(link.as_fd(), &Message::Pid(this), &[])?;
    let (names, from, listeners) = receive_listeners(&link)?;
    if let [path, ..] = program {
        check(Path::new(path)).map_err(|error| cannot_run(path, &error))?;
    }
    match link::receive(link.as_fd())? {
        Some((Message::Go, _)) => {}
        _ => return Err(io::Error::other("the old process has changed its mind")),
    }
    let [program, arguments @ ..] = program else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let names: Vec<_> = names.iter().map(String::as_str).chain([LINK]).collect();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove(LIFE)
        .env("LISTEN_PID", this.to_string())
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    // They name the process that a word of systemd's is meant for. What was meant for the old one is for this one now.
    for variable in ["WATCHDOG_PID", "SYSTEMD_EXEC_PID"] {
        if std::env::var(variable).is_ok_and(|pid| pid == from.to_string()) {
            command.env(variable, this.to_string());
        }
    }
    let passed = (FIRST..).zip(listeners.into_iter().chain([link]));
    let mappings = passed.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    io::stderr().flush()?;
    Ok(command)
}

fn receive_listeners(link: &OwnedFd) -> io::Result<(Vec<String>, u32, Vec<OwnedFd>)> {
    let mut listeners = Vec::new();
    loop {
        let Some((Message::Launch { names, from }, mut more)) = link::receive(link.as_fd())? else {
            return Err(io::Error::other("the old process has said nothing of listeners"));
        };
        let last = more.len() < link::MOST_DESCRIPTORS;
        listeners.append(&mut more);
        if listeners.len() == names.len() {
            return Ok((names, from, listeners));
        }
        if last {
            let what = format!("{} of {} listeners have arrived: look at LimitNOFILE=", listeners.len(), names.len());
            return Err(io::Error::other(what));
        }
    }
}
