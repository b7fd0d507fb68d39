//! Cgroups for containers on a host without systemd, where nothing else gives them any.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Makes a cgroup in each hierarchy that systemd-nspawn uses, below the test's own.
pub fn make(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut made = Vec::new();
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): the mount point is the fifth field; type, source and options follow " - ".
        let Some((mount, (kind, options))) = line.split_once(" - ").and_then(|(before, after)| {
            Some((before.split(' ').nth(4)?, (after.split(' ').next()?, after.split(' ').nth(2)?)))
        }) else {
            continue;
        };
        let hierarchy = match kind {
            "cgroup2" => "0::",
            "cgroup" if options.split(',').any(|option| option == "name=systemd") => ":name=systemd:",
            _ => continue,
        };
        let Some((_, own)) = ours.lines().find_map(|line| line.split_once(hierarchy)) else { continue };
        let cgroup = Path::new(mount).join(own.trim_start_matches('/')).join(name);
        fs::create_dir(&cgroup).unwrap_or_else(|error| panic!("cannot make the cgroup {}: {error}", cgroup.display()));
        made.push(cgroup);
    }
    assert!(!made.is_empty(), "real-systemd tests need cgroup v2, mounted anywhere");
    made
}

/// Removes a cgroup and those below it, once the last process is gone.
pub fn remove(cgroup: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let below = fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path());
        below.filter(|path| path.is_dir()).for_each(|path| remove(&path));
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            _ => return,
        }
    }
}
