//! A container with packages in it, and what may be said of it whatever was done to it.

use std::fs;

use crate::built::{Packages, current, newer};
use crate::support::container::{Container, Suite};
use crate::support::rehearsal::{Rehearsal, Results};

/// Where packages lie, below the folder that README's commands are typed in.
pub const PACKAGES: &str = "/root/target/packages";

/// A copy of the program, for rehearsals of upgrades of the program.
pub const REHEARSE: &str = "/usr/local/bin/rehearse";

/// Boots a container with both versions of the packages lying in it, none of them installed.
pub fn boot(suite: Suite) -> Container {
    let (current, newer) = (current(), newer());
    let host = Container::boot(suite);
    host.run(&format!("mkdir -p {PACKAGES} {PACKAGES}/newer"));
    for (packages, folder) in [(current, PACKAGES.to_owned()), (newer, format!("{PACKAGES}/newer"))] {
        for file in [&packages.deb, &packages.rpm] {
            fs::copy(file, host.path(&format!("{folder}/{}", name(file)))).unwrap();
        }
    }
    host
}

fn name(file: &std::path::Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

/// Where the container has a version's .deb.
pub fn deb(packages: &Packages) -> String {
    path_of(packages, &packages.deb)
}

/// Where the container has a version's .rpm.
pub fn rpm(packages: &Packages) -> String {
    path_of(packages, &packages.rpm)
}

fn path_of(packages: &Packages, file: &std::path::Path) -> String {
    let folder = if packages.version == newer().version { "/newer" } else { "" };
    format!("{PACKAGES}{folder}/{}", name(file))
}

/// Nothing has failed, and what runs is what is on disk.
#[track_caller]
pub fn all_is_well(host: &Container) {
    assert_eq!(host.run("systemctl --failed --plain --no-legend"), "");
    if host.property("outlive.service", "ActiveState") == "active" {
        host.run(RUNS_WHAT_IS_INSTALLED);
    }
}

/// A shell command that fails unless the running program is the installed one.
pub const RUNS_WHAT_IS_INSTALLED: &str =
    "cmp /proc/$(systemctl show --property=MainPID --value outlive.service)/exe /usr/bin/outlive";

/// Puts a route into the configuration, as an administrator would, and into effect.
pub fn edit_configuration(host: &Container) {
    // Clients that have sent half a request wait for an upgrade, which takes long where the machine is busy.
    host.write("/etc/outlive/outlive.toml.d/patience.toml", "[limits]\nhead_timeout = \"2min\"\n");
    let path = host.path("/etc/outlive/outlive.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}{EDIT}")).unwrap();
    host.run("outlive check && systemctl reload-or-restart outlive.service");
}

/// The route.
pub const EDIT: &str = "\n# An edit.\n[[route]]\npath = \"/hello\"\nrespond = { body = \"hello\\n\" }\n";

/// Runs a command again and again under load: nothing may be lost, and no connection closed.
#[track_caller]
pub fn rehearse(host: &Container, load: &str, command: &str) -> Results {
    let results = Rehearsal::start_with(host, REHEARSE, load, command).finish();
    results.assert_nothing_lost();
    results
}
