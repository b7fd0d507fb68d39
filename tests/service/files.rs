//! Files, by the whole program: larger than any buffer, and the connection lives on.

use std::fs;

use http_body_util::Empty;
use hyper::Request;

use crate::support::client::Connection;
use crate::support::fake_systemd::FakeSystemd;

/// More than the buffers of both sockets hold.
const SIZE: usize = 20 << 20;

#[tokio::test]
async fn a_large_one_whole_then_a_part_of_it_over_one_connection() {
    let systemd = FakeSystemd::with_http();
    fs::create_dir(systemd.path("www")).unwrap();
    let content: Vec<u8> = (0..SIZE).map(|index| u8::try_from(index % 251).unwrap()).collect();
    fs::write(systemd.path("www/large.bin"), &content).unwrap();
    let root = systemd.path("www");
    let config = format!("[[route]]\npath = \"/static/{{*file}}\"\nfiles = \"{}\"\n", root.display());
    let _service = systemd.start(&config);

    let mut client = Connection::open(systemd.http()).await.unwrap();
    let whole = client.get("/static/large.bin").await.unwrap();
    assert_eq!((whole.status.as_u16(), whole.body.len()), (200, SIZE));
    assert!(whole.body == content, "every byte of it");

    let range = Request::get("/static/large.bin").header("Host", "localhost").header("Range", "bytes=250-1000000");
    let part = client.send(range.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(part.status, 206);
    assert_eq!(part.fields["content-range"], format!("bytes 250-1000000/{SIZE}"));
    assert!(part.body == content[250..=1_000_000], "every byte of it");

    let outside = Request::get("/static/../outlive.toml").header("Host", "localhost");
    assert_eq!(client.send(outside.body(Empty::new()).unwrap()).await.unwrap().status, 400);
}
