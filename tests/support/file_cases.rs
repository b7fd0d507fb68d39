//! What must hold of `files`, whichever way paths are resolved: `tests/files.rs` and
//! `tests/files_without_openat2.rs` run all of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use outlive::route::Router;
use outlive::server::body::RequestBody;
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

use super::support::{Answer, ask, begin, files, get, route, router};

/// What no answer may ever have in it.
const SECRET: &str = "secret from outside";

/// A folder that is served, beside one that isn't.
struct Site {
    folder: TempDir,
    router: Router,
}

impl Site {
    /// Serves the folder `www` under `/static/`; `secret` beside it and `outside/secret` must stay out of reach.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("www")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        for secret in ["secret", "outside/secret", "outside/index.html"] {
            fs::write(folder.path().join(secret), SECRET).unwrap();
        }
        let router = router(&[route(None, "/static/{*file}", files(&folder.path().join("www")))]).unwrap();
        Self { folder, router }
    }

    /// A path in the folder that is served.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("www").join(path)
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(path)).unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.router, &format!("/static/{path}")).await
    }

    async fn ask(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
        ask(&self.router, method, &format!("/static/{path}"), fields).await
    }

    /// The status, and the body where it is a 200.
    async fn found(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).await;
        let body = if answer.status == StatusCode::OK { answer.text().to_owned() } else { String::new() };
        (answer.status.as_u16(), body)
    }
}

pub async fn types() {
    let site = Site::new();
    for (name, kind) in [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b.css", "text/css; charset=utf-8"),
        ("a/b.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "application/javascript"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.tar.gz", "application/gzip"),
        ("a.unknown", "application/octet-stream"),
        ("plain", "application/octet-stream"),
    ] {
        site.write(name, name);
        let answer = site.get(name).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, name));
        assert_eq!(answer.field("content-type"), kind, "{name}");
        assert_eq!(answer.field("content-length"), name.len().to_string());
        assert_eq!(answer.field("accept-ranges"), "bytes");
        assert_eq!(answer.route.as_deref(), Some("/static/{*file}"));
    }
    let none = site.get("none").await;
    assert_eq!((none.status, none.text()), (StatusCode::NOT_FOUND, "not found\n"));
    assert_eq!(site.ask(Method::POST, "a.txt", &[]).await.field("allow"), "GET, HEAD, OPTIONS");
}

pub async fn names_in_any_spelling() {
    let site = Site::new();
    for (name, path) in [
        ("with space.txt", "with%20space.txt"),
        ("ümläut.txt", "%c3%bcml%C3%A4ut.txt"),
        ("ümläut.txt", "ümläut.txt"),
        ("100%.txt", "100%25.txt"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c.txt", "a%3Fb%23c.txt"),
        ("a:b.txt", "a:b.txt"),
        ("a/b.txt", "a//b.txt"),
        ("..a", "%2e.a?"),
        ("a..b", "a..b"),
    ] {
        site.write(name, name);
        let served = !name.starts_with('.');
        let expected = if served { (200, name.to_owned()) } else { (404, String::new()) };
        assert_eq!(site.found(path).await, expected, "{path}");
    }
    assert_eq!(site.found("%ff%fe").await.0, 404);
    assert_eq!(site.found(&"a".repeat(300)).await.0, 404);
    assert_eq!(site.found(&"a/".repeat(3000)).await.0, 404);
}

pub async fn conditions() {
    let site = Site::new();
    site.write("a.txt", "contents");
    let first = site.get("a.txt").await;
    let (tag, modified) = (first.field("etag").to_owned(), first.field("last-modified").to_owned());
    let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for (name, value, status) in [
        ("if-none-match", tag.as_str(), 304),
        ("if-none-match", &format!("\"other\", W/{tag}"), 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", &modified, 304),
        ("if-modified-since", &later, 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("if-modified-since", "yesterday", 200),
        ("if-match", &tag, 200),
        ("if-match", "\"other\"", 412),
        ("if-unmodified-since", &modified, 200),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = site.ask(method.clone(), "a.txt", &[(name, value)]).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {name}: {value}");
            if status == 304 {
                assert!(answer.body.is_empty());
                assert_eq!(answer.field("etag"), tag);
                assert_eq!(answer.field("vary"), "accept-encoding");
            }
        }
    }
    // A new version has a new tag.
    site.write("a.txt", "contents, changed");
    assert_eq!(site.ask(Method::GET, "a.txt", &[("if-none-match", &tag)]).await.text(), "contents, changed");
}

pub async fn ranges() {
    let site = Site::new();
    site.write("digits", "0123456789");
    site.write("empty", "");
    for (path, range, status, body, content_range) in [
        ("digits", "bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("digits", "bytes=8-", 206, "89", "bytes 8-9/10"),
        ("digits", "bytes=8-100", 206, "89", "bytes 8-9/10"),
        ("digits", "bytes=-2", 206, "89", "bytes 8-9/10"),
        ("digits", "bytes=-10", 206, "0123456789", "bytes 0-9/10"),
        ("digits", "bytes=010-99999999999999999999", 416, "", "bytes */10"),
        ("digits", "bytes=-0", 416, "", "bytes */10"),
        // More than there is at the end, several at once, another unit, nonsense: the whole file.
        ("digits", "bytes=-11", 200, "0123456789", ""),
        ("digits", "bytes=0-1,3-4", 200, "0123456789", ""),
        ("digits", "lines=0-1", 200, "0123456789", ""),
        ("digits", "bytes=3-1", 200, "0123456789", ""),
        ("digits", "bytes=x", 200, "0123456789", ""),
        ("empty", "bytes=0-", 200, "", ""),
        ("empty", "bytes=-1", 200, "", ""),
    ] {
        let answer = site.ask(Method::GET, path, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, body), "{path} {range}");
        assert_eq!(answer.field("content-range"), content_range, "{path} {range}");
    }
    let head = site.ask(Method::HEAD, "digits", &[("range", "bytes=0-3")]).await;
    assert_eq!((head.status.as_u16(), head.field("content-length")), (200, "10"), "HEAD has no ranges");
}

pub async fn resumed_downloads_of_changed_files() {
    let site = Site::new();
    site.write("digits", "0123456789");
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(site.path("digits")).unwrap().set_modified(old).unwrap();
    let first = site.get("digits").await;
    let (tag, modified) = (first.field("etag").to_owned(), first.field("last-modified").to_owned());
    let resume = |condition: String| {
        let site = &site;
        async move {
            let answer = site.ask(Method::GET, "digits", &[("range", "bytes=5-"), ("if-range", &condition)]).await;
            (answer.status.as_u16(), answer.text().to_owned())
        }
    };
    let part = (206, "56789".to_owned());
    assert_eq!(resume(tag.clone()).await, part);
    assert_eq!(resume(modified.clone()).await, part);
    site.write("digits", "abcdefghij");
    let whole = (200, "abcdefghij".to_owned());
    assert_eq!(resume(tag.clone()).await, whole);
    assert_eq!(resume(modified).await, whole);
    // Shorter than the part that is asked for: not 416.
    site.write("digits", "abc");
    assert_eq!(resume(tag).await, (200, "abc".to_owned()));
}

pub async fn head_is_get_without_the_body() {
    let site = Site::new();
    site.write("a/index.html", "index");
    site.write("a/b.txt", "b");
    site.write("a/b.txt.gz", "compressed");
    fs::create_dir_all(site.path("c/index.html")).unwrap();
    for path in ["a/", "a", "a/b.txt", "c/", "none"] {
        let fields = [("accept-encoding", "gzip")];
        let (get, head) = (site.ask(Method::GET, path, &fields).await, site.ask(Method::HEAD, path, &fields).await);
        assert_eq!(get.status, head.status, "{path}");
        assert!(head.body.is_empty());
        let mut headers = head.headers.clone();
        if !get.headers.contains_key("content-length") {
            assert_eq!(headers.remove("content-length").unwrap(), get.body.len().to_string().as_str());
        }
        assert_eq!(get.headers, headers, "{path}");
    }
}

pub async fn precompressed() {
    let site = Site::new();
    site.write("a.js", "plain");
    for (extension, contents) in [("br", "brotli"), ("zst", "zstandard"), ("gz", "gzipped")] {
        site.write(&format!("a.js.{extension}"), contents);
    }
    site.write("only.js", "only plain");
    site.write("folder/index.html", "plain index");
    site.write("folder/index.html.gz", "gzipped index");
    for (path, accept, body, encoding) in [
        ("a.js", "", "plain", ""),
        ("a.js", "gzip", "gzipped", "gzip"),
        ("a.js", "br", "brotli", "br"),
        ("a.js", "zstd", "zstandard", "zstd"),
        ("a.js", "gzip;q=0.1, br;q=0.5", "brotli", "br"),
        ("a.js", "gzip;q=0", "plain", ""),
        ("a.js", "identity", "plain", ""),
        ("a.js", "compress", "plain", ""),
        ("only.js", "gzip, br, zstd", "only plain", ""),
        ("folder/", "gzip, br, zstd", "gzipped index", "gzip"),
    ] {
        let answer = site.ask(Method::GET, path, &[("accept-encoding", accept)]).await;
        assert_eq!((answer.text(), answer.field("content-encoding")), (body, encoding), "{path} {accept}");
        assert_eq!(answer.field("vary"), "accept-encoding");
        let kind = if path.ends_with('/') { "text/html; charset=utf-8" } else { "text/javascript; charset=utf-8" };
        assert_eq!(answer.field("content-type"), kind);
    }
    // Each has a tag of its own.
    let tag = |accept: &'static str| {
        let site = &site;
        async move { site.ask(Method::GET, "a.js", &[("accept-encoding", accept)]).await.field("etag").to_owned() }
    };
    assert_ne!(tag("").await, tag("gzip").await);
    // One that can't be served is as good as none.
    fs::create_dir(site.path("only.js.br")).unwrap();
    site.link("only.js.gz", "../secret");
    let answer = site.ask(Method::GET, "only.js", &[("accept-encoding", "gzip, br")]).await;
    assert_eq!((answer.text(), answer.field("content-encoding")), ("only plain", ""));
}

pub async fn folders() {
    let site = Site::new();
    site.write("index.html", "root index");
    site.write("a/b/index.html", "index of b");
    site.write("a/file.txt", "file");
    site.write("c:d/index.html", "index of c:d");
    for (path, status, body) in [
        ("", 200, "root index"),
        ("a/b/", 200, "index of b"),
        ("a/", 404, ""),
        ("a/file.txt/", 404, ""),
        ("a/file.txt/x", 404, ""),
        ("none/", 404, ""),
    ] {
        assert_eq!(site.found(path).await, (status, body.to_owned()), "{path}");
    }
    // Relative, so that the prefix stays, whoever has put what before it.
    for (target, location) in [
        ("/static", "./static/"),
        ("/static?a=/b", "./static/?a=/b"),
        ("/static/a/b", "./b/"),
        ("/static/a/b?c=d&e", "./b/?c=d&e"),
        ("/static//a//b", "./b/"),
        ("//static", "./static/"),
        ("/static/c:d", "./c:d/"),
        ("/static/%61", "./%61/"),
        ("http://localhost/static/a/b", "./b/"),
    ] {
        let answer = get(&site.router, target).await;
        assert_eq!((answer.status, answer.field("location")), (StatusCode::TEMPORARY_REDIRECT, location), "{target}");
    }
}

pub async fn redirects_stay_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["evil.com", "\\evil.com", "a/evil.com", "http:/evil.com"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let router = router(&[
        route(None, "/{*file}", files(folder.path())),
        route(None, "/u/{user}/{*file}", files(folder.path())),
    ])
    .unwrap();
    for target in [
        "//evil.com",
        "///evil.com",
        "//evil.com?x",
        "/\\evil.com",
        "/%5cevil.com",
        "//a/evil.com",
        "/http:/evil.com",
        "/http://evil.com",
        "/u/\\x/evil.com",
        "//u//x//evil.com",
        "/%2fevil.com",
        "/%0d%0aevil.com",
    ] {
        let answer = get(&router, target).await;
        match answer.status.as_u16() {
            307 => assert!(answer.field("location").starts_with("./evil.com/"), "{target}: {answer:?}"),
            status => assert!(matches!(status, 400 | 404), "{target}: {answer:?}"),
        }
    }
}

pub async fn hidden_files() {
    let site = Site::new();
    for name in [
        ".env",
        ".git/config",
        "a/.htpasswd",
        ".well-known/acme-challenge/token",
        ".well-known/.hidden",
        "a/.well-known/x",
        ".well-known-not/x",
        "...",
    ] {
        site.write(name, name);
    }
    for path in [
        ".env",
        "%2eenv",
        ".git/config",
        "a/.htpasswd",
        "a//.htpasswd",
        ".git",
        ".git/",
        ".well-known/.hidden",
        "a/.well-known/x",
        ".well-known-not/x",
        "...",
        "%2e%2e%2e",
    ] {
        assert_eq!(site.found(path).await.0, 404, "{path}");
    }
    let token = ".well-known/acme-challenge/token";
    assert_eq!(site.found(token).await, (200, token.to_owned()));
    // A link that the operator has made may lead to a hidden file: deployments work that way.
    site.link("current", ".releases/1");
    site.write(".releases/1/index.html", "release 1");
    assert_eq!(site.found("current/").await.1, "release 1");
}

pub async fn traversal() {
    let site = Site::new();
    site.write("a/b.txt", "b");
    for path in [
        "../secret",
        "a/../../secret",
        "%2e%2e/secret",
        ".%2e/secret",
        "%2e%2e%2fsecret",
        "..%2fsecret",
        "..%5csecret",
        "..\\secret",
        "a/..%2f..%2fsecret",
        "%252e%252e/secret",
        "%252e%252e%252fsecret",
        "a/%2e%2e/%2e%2e/secret",
        "....//secret",
        "..;/secret",
        "..%00/secret",
        "..%c0%afsecret",
        "%c0%ae%c0%ae/secret",
        "..%ef%bc%8fsecret",
        "%2e%2e",
        "..",
        ".",
        "a/..",
        "a%2fb.txt",
        "a%5cb.txt",
        "a/b.txt%00",
        "a/b.txt%00.png",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "proc/self/environ",
    ] {
        let (status, body) = site.found(path).await;
        assert!(matches!(status, 400 | 404), "{path}: {status} {body}");
    }
    let absolute = site.folder.path().join("secret");
    assert_eq!(site.found(absolute.to_str().unwrap()).await.0, 404);
}

pub async fn links() {
    let site = Site::new();
    site.write("a/file.txt", "inside");
    site.write("a/b/index.html", "inside");
    let outside = site.folder.path().join("outside");
    let inside = site.path("a");
    for (name, target) in [
        ("relative", PathBuf::from("a/file.txt")),
        ("a/up", PathBuf::from("../a/b/../file.txt")),
        ("chain", PathBuf::from("relative")),
        ("folder", PathBuf::from("a/b")),
        ("absolute", inside.join("file.txt")),
        ("absolute-folder", inside.join("b")),
        ("absolute-chain", site.path("absolute")),
        ("to-root", site.path("")),
        ("out", PathBuf::from("../secret")),
        ("out-absolute", outside.join("secret")),
        ("out-folder", PathBuf::from("../outside")),
        ("out-folder-absolute", outside.clone()),
        ("out-chain", PathBuf::from("out")),
        ("out-and-in", PathBuf::from("../www/a/file.txt")),
        ("magic", PathBuf::from("/proc/self/root").join(outside.strip_prefix("/").unwrap())),
        ("magic-cwd", PathBuf::from("/proc/self/cwd")),
        ("passwd", PathBuf::from("/etc/passwd")),
        ("null", PathBuf::from("/dev/null")),
        ("loop", PathBuf::from("loop")),
        ("dangling", PathBuf::from("none")),
    ] {
        site.link(name, target);
    }
    for path in [
        "relative",
        "a/up",
        "chain",
        "folder/",
        "absolute",
        "absolute-folder/",
        "absolute-folder/index.html",
        "absolute-chain",
        "to-root/a/file.txt",
        "to-root/to-root/absolute",
    ] {
        assert_eq!(site.found(path).await, (200, "inside".to_owned()), "{path}");
    }
    // A relative link that leaves the folder and comes back is taken as the operator means it, like an absolute one.
    assert_eq!(site.found("out-and-in").await, (200, "inside".to_owned()));
    for path in [
        "out",
        "out-absolute",
        "out-folder",
        "out-folder/",
        "out-folder/secret",
        "out-folder-absolute/",
        "out-folder-absolute/secret",
        "out-chain",
        "magic/secret",
        "magic-cwd/",
        "magic-cwd/Cargo.toml",
        "passwd",
        "null",
        "loop",
        "loop/x",
        "dangling",
    ] {
        assert_eq!(site.found(path).await, (404, String::new()), "{path}");
    }
}

pub async fn what_is_no_regular_file() {
    let site = Site::new();
    let fifo = site.path("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    site.link("to-fifo", "fifo");
    fs::create_dir(site.path("folder")).unwrap();
    fs::rename(&fifo, site.path("folder/index.html")).unwrap();
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for path in ["fifo", "to-fifo", "socket", "folder/"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = site.ask(method.clone(), path, &[]);
            let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("nobody waits at a fifo");
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

/// Swaps what a name stands for, as fast as it can, while requests run.
async fn race(site: &Site, name: &str, path: &str, inside: &str, outside: impl AsRef<Path>) {
    const REQUESTS: usize = 1_500;
    let stop = Arc::new(AtomicBool::new(false));
    let (name, spare) = (site.path(name), site.path("spare"));
    let targets = [PathBuf::from(inside), outside.as_ref().to_owned()];
    let flipper = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut flips = 0;
            while !stop.load(Ordering::Relaxed) {
                symlink(&targets[flips % 2], &spare).unwrap();
                fs::rename(&spare, &name).unwrap();
                flips += 1;
            }
            flips
        }
    });
    let (mut served, mut refused) = (0, 0);
    for _ in 0..REQUESTS {
        match site.found(path).await {
            (200, body) => {
                assert_eq!(body, "inside");
                served += 1;
            }
            (404, _) => refused += 1,
            (status, _) => panic!("{status}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let flips = flipper.join().unwrap();
    // Without both, this has tried nothing.
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused, {flips} flips");
}

pub async fn races() {
    let site = Site::new();
    site.write("a/secret", "inside");
    site.write("b/secret", "inside");
    let secret = site.folder.path().join("outside/secret");
    race(&site, "file", "file", "a/secret", "../outside/secret").await;
    race(&site, "file", "file", "a/secret", &secret).await;
    race(&site, "folder", "folder/secret", "a", "../outside").await;
    // Where canonicalize has a say, too.
    let absolute = site.path("b");
    race(&site, "folder", "folder/secret", absolute.to_str().unwrap(), secret.parent().unwrap()).await;
}

pub async fn files_that_change_while_they_are_sent() {
    const LENGTH: usize = 1024 * 1024;
    let site = Site::new();
    let begin = |name: &str| {
        let target = format!("/static/{name}");
        let request = Request::builder().uri(target).header("host", "a").body(RequestBody::empty()).unwrap();
        begin(&site.router, request)
    };

    site.write("shrinks", vec![b'a'; LENGTH]);
    let (_, answer) = begin("shrinks").await;
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    fs::File::options().write(true).open(site.path("shrinks")).unwrap().set_len(10).unwrap();
    let error = body.collect().await.expect_err("an answer that is too short must not look whole");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);

    site.write("grows", vec![b'a'; LENGTH]);
    let (_, answer) = begin("grows").await;
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    site.write("grows", vec![b'a'; 2 * LENGTH]);
    assert_eq!(first + body.collect().await.unwrap().to_bytes().len(), LENGTH);
}

pub async fn the_folder_itself_may_be_a_link_that_moves_on() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("current");
    for release in ["1", "2"] {
        fs::create_dir(folder.path().join(release)).unwrap();
        fs::write(folder.path().join(release).join("release"), release).unwrap();
        symlink(folder.path().join(release).join("release"), folder.path().join(release).join("link")).unwrap();
    }
    symlink("1", &current).unwrap();
    let router = router(&[route(None, "/{*file}", files(&current))]).unwrap();
    assert_eq!(get(&router, "/release").await.text(), "1");
    assert_eq!(get(&router, "/link").await.text(), "1");
    symlink("2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), &current).unwrap();
    assert_eq!(get(&router, "/release").await.text(), "2");
    assert_eq!(get(&router, "/link").await.text(), "2");
    // Gone altogether: that's no 404.
    fs::remove_file(&current).unwrap();
    assert_eq!(get(&router, "/release").await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

/// Paths made of what has led out of other servers' folders, in any order; the same ones each time.
pub async fn made_up_paths() {
    const PIECES: [&str; 30] = [
        "/",
        "//",
        ".",
        "..",
        "...",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%",
        "%25",
        "%252e",
        "a",
        "b.txt",
        "secret",
        "out",
        "in",
        "outside",
        "www",
        "file.txt",
        ";",
        "%c0%ae",
        "%0a",
        "~",
        ":",
        "%20",
        "index.html",
        "?",
    ];
    const PATHS: usize = 4_000;
    let site = Site::new();
    site.write("a/b.txt", "inside");
    site.write("a/index.html", "inside");
    site.link("out", "../outside");
    site.link("a/out", site.folder.path());
    site.link("in", site.path("a"));
    let (mut state, mut served) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for _ in 0..PATHS {
        let mut path = String::new();
        for _ in 0..=state % 7 {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push_str(PIECES[usize::try_from(state % PIECES.len() as u64).unwrap()]);
        }
        let answer = site.get(&path).await;
        match answer.status.as_u16() {
            200 => {
                assert_eq!(answer.text(), "inside", "{path}");
                served += 1;
            }
            307 => assert!(answer.field("location").starts_with("./"), "{path}"),
            status => assert!(matches!(status, 400 | 404), "{path}: {status}"),
        }
    }
    assert!(served > 0, "none of the paths has led anywhere");
}

/// Each case as a test of its own, run by `$run`.
macro_rules! file_cases {
    ($run:path) => {
        file_cases! { $run:
            types names_in_any_spelling conditions ranges resumed_downloads_of_changed_files
            head_is_get_without_the_body precompressed folders redirects_stay_on_the_host hidden_files traversal links
            what_is_no_regular_file races files_that_change_while_they_are_sent
            the_folder_itself_may_be_a_link_that_moves_on made_up_paths
        }
    };
    ($run:path: $($case:ident)*) => {
        $(#[test]
        fn $case() {
            $run(file_cases::$case);
        })*
    };
}
