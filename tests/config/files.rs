//! Which files are read, how they add up, and what is wrong with them as files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outlive::config::settings::{Access, Action, Address};
use outlive::config::{Config, load};
use tempfile::TempDir;

/// A folder with an `outlive.toml`, and files by their names below it.
fn folder(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }
    let main = folder.path().join("outlive.toml");
    (folder, main)
}

fn accepted(files: &[(&str, &str)]) -> Config {
    let (_folder, main) = folder(files);
    load(Some(&main)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(files: &[(&str, &str)]) -> String {
    let (folder, main) = folder(files);
    let error = load(Some(&main)).expect_err("it must be refused");
    error.to_string().replace(folder.path().to_str().expect("temporary folders have plain names"), "")
}

fn body(config: &Config, index: usize) -> &[u8] {
    match &config.routes[index].action {
        Action::Respond { body, .. } => body,
        other => panic!("{other:?} has no body"),
    }
}

#[test]
fn drop_ins_win_key_by_key_in_the_order_of_their_names() {
    let config = accepted(&[
        ("outlive.toml", "workers = 2\n[drain]\nwindow = '10s'\nsettle = '1s'\n[listen.http]\nbind = '127.0.0.1:80'"),
        ("outlive.toml.d/20-b.toml", "[drain]\nwindow = '30s'\n[listen.admin]\nbind = '127.0.0.1:81'"),
        ("outlive.toml.d/10-a.toml", "workers = 'auto'\n[drain]\nwindow = '20s'\n[log]\naccess = 'all'"),
        ("outlive.toml.d/README", "not read: = = ="),
        ("outlive.toml.d/30.toml.bak", "not read either: = = ="),
        ("outlive.toml.d/.40.toml", "nor this: = = ="),
    ]);
    assert_eq!(config.workers, None);
    assert_eq!(config.drain.window, Some(Duration::from_secs(30)));
    assert_eq!(config.drain.settle, Some(Duration::from_secs(1)));
    assert_eq!(config.log.access, Access::All);
    assert_eq!(config.listeners.keys().collect::<Vec<_>>(), ["admin", "http"]);
    let names: Vec<_> = config.sources.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["outlive.toml", "10-a.toml", "20-b.toml"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_drop_in_gives_a_listener_another_address() {
    let config = accepted(&[
        ("outlive.toml", "[listen.http]\nbind = '127.0.0.1:80'"),
        ("outlive.toml.d/a.toml", "[listen.http]\nbind = 'unix:/run/a.sock'\n[log]\n"),
        ("outlive.toml.d/b.toml", "[listen.http]\n"),
    ]);
    assert_eq!(config.listeners["http"].bind, Some(Address::Unix("/run/a.sock".into())));
}

#[test]
fn routes_of_drop_ins_are_added_and_take_the_place_of_the_same_ones() {
    let config = accepted(&[
        (
            "outlive.toml",
            "[[route]]\npath = '/a'\nrespond = { body = 'a' }\n[[route]]\npath = '/b'\nrespond = { body = 'b' }\n",
        ),
        (
            "outlive.toml.d/x.toml",
            "[[route]]\npath = '/c'\nrespond = { body = 'c' }\n[[route]]\npath = '/a'\nrespond = { body = 'A' }\n\
             [[route]]\nhost = 'x.example'\npath = '/b'\nrespond = { body = 'B' }\n",
        ),
    ]);
    let paths: Vec<_> = config.routes.iter().map(|route| (route.host.as_deref(), route.path.as_str())).collect();
    assert_eq!(paths, [(None, "/b"), (None, "/c"), (None, "/a"), (Some("x.example"), "/b")]);
    assert_eq!([body(&config, 0), body(&config, 2)], [b"b", b"A"]);
    assert_eq!(config.summary(), "4 routes on 0 listeners");
}

#[test]
fn a_route_of_a_drop_in_leaves_those_with_other_methods() {
    let route = |methods: &str, body: &str| {
        format!("[[route]]\npath = '/x'\nmethods = {methods}\nrespond = {{ body = '{body}' }}\n")
    };
    let main = route("['GET']", "get") + &route("['POST']", "post") + &route("['PUT']", "put");
    let drop_in = route("['HEAD', 'POST']", "new");
    let config = accepted(&[("outlive.toml", &main), ("outlive.toml.d/x.toml", &drop_in)]);
    assert_eq!(config.routes.len(), 2);
    assert_eq!([body(&config, 0), body(&config, 1)], [b"put", b"new"]);
}

#[test]
fn a_route_that_stands_twice_in_a_drop_in_is_a_slip() {
    let shown = refused(&[
        ("outlive.toml", "[[route]]\npath = '/a'\nrespond = {}"),
        ("outlive.toml.d/x.toml", "[[route]]\npath = '/a'\nrespond = {}\n[[route]]\npath = '/a'\nrespond = {}"),
    ]);
    assert!(shown.starts_with("error: two routes answer `/a`\n --> /outlive.toml.d/x.toml:5:8\n"), "{shown}");
}

#[test]
fn an_empty_array_drops_the_routes_of_earlier_files() {
    let config = accepted(&[
        ("outlive.toml", "[[route]]\npath = '/a'\nrespond = {}"),
        ("outlive.toml.d/1.toml", "route = []"),
        ("outlive.toml.d/2.toml", "[[route]]\npath = '/b'\nrespond = {}"),
    ]);
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].path, "/b");
}

#[test]
fn a_conflict_between_two_files_names_both() {
    let shown = refused(&[
        ("outlive.toml", "[drain]\nwindow = '10s'\n[[route]]\npath = '/users/{id}'\nrespond = {}"),
        ("outlive.toml.d/x.toml", "[drain]\nsettle = '20s'\n[[route]]\npath = '/users/{name}'\nrespond = {}"),
    ]);
    let expected = "\
error: `settle` is 20s, longer than the whole window of 10s
 --> /outlive.toml.d/x.toml:2:10
  |
2 | settle = '20s'
  |          ^^^^^
  |
 ::: /outlive.toml:2:10
  |
2 | window = '10s'
  |          ----- the window
  |
  = help: settling is a drain's first part: make it shorter, or the window longer

error: two routes answer `/users/{name}`
 --> /outlive.toml.d/x.toml:4:8
  |
4 | path = '/users/{name}'
  |        ^^^^^^^^^^^^^^^
  |
 ::: /outlive.toml:4:8
  |
4 | path = '/users/{id}'
  |        ------------- the other
  |
  = help: give their parameters the same names and each route its own `methods`, or keep one of them

2 problems in /outlive.toml.d/x.toml";
    assert_eq!(shown, expected);
}

#[test]
fn problems_of_all_files_are_told_in_the_order_of_the_files() {
    let shown = refused(&[
        ("outlive.toml", "[log]\nacces = 'all'\n[drain]\nwindow = '0s'"),
        ("outlive.toml.d/2.toml", "[drain]\nwindow = 'x"),
        ("outlive.toml.d/1.toml", "workers = -1"),
    ]);
    let titles: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(
        titles,
        [
            "unknown key `acces` in [log]",
            "`window` must be between 1ms and 7d, or \"auto\"",
            "`workers` must be between 1 and 1024, or \"auto\"",
            "a string is not closed",
        ]
    );
    assert!(shown.ends_with("4 problems in 3 files"), "{shown}");
}

#[test]
fn what_an_unreadable_file_may_say_is_not_guessed_at() {
    // The second file might set the window that makes all well: only its own error counts.
    let shown = refused(&[
        ("outlive.toml", "[drain]\nwindow = '10s'\nsettle = '20s'"),
        ("outlive.toml.d/1.toml", "[drain\nwindow = '1min'"),
    ]);
    assert!(shown.ends_with("1 problem in /outlive.toml.d/1.toml"), "{shown}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let expected = "\
error: /outlive.toml doesn't exist
 |
 = help: create it, or correct its path

1 problem in /outlive.toml";
    assert_eq!(refused(&[]), expected);
    assert_eq!(refused(&[("outlive.toml.d/a.toml", "workers = 1")]), expected);
}

#[test]
fn folders_and_files_in_each_others_place_are_named() {
    let shown = refused(&[("outlive.toml/x", ""), ("outlive.toml.d/1.toml/x", ""), ("outlive.toml.d/2.toml", "")]);
    assert!(shown.contains("error: /outlive.toml is a folder\n"), "{shown}");
    assert!(shown.contains("error: /outlive.toml.d/1.toml is a folder\n"), "{shown}");
    let shown = refused(&[("outlive.toml", ""), ("outlive.toml.d", "")]);
    assert!(shown.contains("error: /outlive.toml.d is no folder, or lies below a file\n"), "{shown}");
}

#[test]
fn a_link_to_nothing_is_no_missing_file() {
    let (folder, main) = folder(&[("outlive.toml", ""), ("outlive.toml.d/2.toml", "")]);
    symlink("/nonexistent/x.toml", folder.path().join("outlive.toml.d/1.toml")).expect("a link can be made");
    let error = load(Some(&main)).expect_err("a dangling link must be refused").to_string();
    assert!(error.contains("1.toml doesn't exist\n"), "{error}");
    // As for systemd, a link to /dev/null masks.
    fs::remove_file(folder.path().join("outlive.toml.d/1.toml")).expect("a link can be removed");
    symlink("/dev/null", folder.path().join("outlive.toml.d/1.toml")).expect("a link can be made");
    assert_eq!(load(Some(&main)).map(|config| config.sources.len()).ok(), Some(3));
}

#[test]
fn a_file_without_end_is_refused() {
    let error = load(Some(Path::new("/dev/zero"))).expect_err("/dev/zero must be refused").to_string();
    assert!(error.starts_with("error: /dev/zero is longer than 16MiB\n"), "{error}");
}

#[test]
fn a_drop_in_named_as_for_systemd_gets_a_warning() {
    let config = accepted(&[("outlive.toml", ""), ("outlive.toml.d/10-local.conf", "workers = 1")]);
    assert_eq!(config.workers, None);
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(warning.headline().ends_with("10-local.conf: isn't read: its name doesn't end in .toml"));
}

#[test]
fn what_may_not_be_read_is_named_with_the_cure() {
    let (folder, main) = folder(&[
        ("outlive.toml", "[[route]]\npath='/x/{*file}'\nfiles='WWW'\n[[route]]\npath='/y'\nrespond={body_file='BODY'}"),
        ("outlive.toml.d/secret.toml", ""),
        ("www/index.html", ""),
        ("body", ""),
    ]);
    let below = |name: &str| folder.path().join(name);
    let forbid = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
    };
    let text = fs::read_to_string(&main).expect("the file can be read");
    let text = text.replace("WWW", below("www").to_str().expect("a plain name"));
    let text = text.replace("BODY", below("body").to_str().expect("a plain name"));
    fs::write(&main, text).expect("the file can be written");
    forbid(folder.path(), 0o755);
    for name in ["outlive.toml.d/secret.toml", "www", "body"] {
        forbid(&below(name), 0);
    }
    let shown = as_nobody(&main);
    let titles: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let at = folder.path().display();
    assert_eq!(
        titles,
        [
            format!("`files` names {at}/www, which may not be read"),
            format!("`body_file` names {at}/body, which may not be read"),
            format!("{at}/outlive.toml.d/secret.toml may not be read"),
        ]
    );
    assert!(shown.contains("  = help: let the user that outlive runs as read it"), "{shown}");

    forbid(&below("outlive.toml.d"), 0);
    let shown = as_nobody(&main);
    assert!(shown.contains(&format!("error: {at}/outlive.toml.d may not be read\n")), "{shown}");
    forbid(&below("outlive.toml.d"), 0o755);
}

/// What is said to a user without rights. Only a thread of its own changes who it is.
fn as_nobody(main: &Path) -> String {
    const NOBODY: u32 = 65_534;
    let main = main.to_owned();
    let thread = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may become nobody");
        }
        load(Some(&main)).expect_err("it must be refused").to_string()
    });
    thread.join().expect("the thread doesn't panic")
}
