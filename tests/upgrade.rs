//! Upgraded connections, with two servers in this process: what the application has of them, how a drain ends them, and
//! how they go on in the next process.

#[path = "support/in_process.rs"]
mod in_process;

use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use in_process::{PATIENCE, closed, options, plan, serve, until};
use outlive::handover::parcel::Parcel;
use outlive::handover::record::Standing;
use outlive::handover::{Carried, Carrier};
use outlive::journal::DrainSummary;
use outlive::server::app::App;
use outlive::server::body::RequestBody;
use outlive::server::drain::{Plan, Way, drain};
use outlive::server::limits::Limits;
use outlive::server::upgrade::{Connection, Handlers, Leave, Refusal, STATE_AT_MOST};
use outlive::server::{Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const GREETING: &str = "GET /echo HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: lines\r\n\r\n";

/// Answers every line with the number of lines so far and the line, in capitals.
///
/// `/echo` is told of the end and says goodbye; `/deaf` isn't; `/move` hands its connections over, and those that it
/// must keep go on; `/away` and what is beneath it give their connections to other threads; `/quit` ends it at once;
/// `/plain` doesn't upgrade.
#[derive(Clone)]
struct Lines {
    refused: mpsc::UnboundedSender<Refusal>,
}

impl App for Lines {
    type Body = Empty<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Empty<Bytes>>, Infallible>>>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl Lines {
    async fn answer(self, mut request: Request<RequestBody>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let exchange = Arc::clone(request.body().exchange().unwrap());
        let path = request.uri().path().to_owned();
        exchange.set_route(path.clone().into());
        let mut answer = Response::new(Empty::new());
        if path == "/plain" {
            return Ok(answer);
        }
        let leave = request.extensions().get::<Leave>().cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        let refused = self.refused.clone();
        let go_on = async move {
            let Ok(upgraded) = upgrade.await else { return };
            let session = Session::new(upgraded.try_into().expect("a connection of this server's"));
            match path.as_str() {
                "/echo" => session.until(&leave.expect("a request for an upgrade")).await.bid_farewell().await,
                "/quit" => session.bid_farewell().await,
                "/move" | "/away/move" => session.move_on(&refused).await,
                _ => session.serve_on().await,
            }
        };
        if request.uri().path().starts_with("/away") {
            std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(go_on));
        } else {
            tokio::spawn(go_on);
        }
        if request.method() != Method::CONNECT {
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("upgrade"));
            answer.headers_mut().insert(UPGRADE, http::HeaderValue::from_static("lines"));
        }
        Ok(answer)
    }
}

struct Session {
    connection: Connection,
    lines: u8,
    /// A line's beginning.
    begun: Vec<u8>,
}

impl Session {
    fn new(connection: Connection) -> Self {
        Self { connection, lines: 0, begun: Vec::new() }
    }

    fn resume(connection: Connection, state: &Bytes) -> Self {
        Self { connection, lines: state[0], begun: Vec::new() }
    }

    /// Reads some bytes, and answers the lines among them; says whether there are more to come.
    async fn step(&mut self) -> bool {
        let mut bytes = [0; 16];
        let Ok(read @ 1..) = self.connection.read(&mut bytes).await else { return false };
        self.begun.extend_from_slice(&bytes[..read]);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            self.lines += 1;
            let line: Vec<_> = self.begun.drain(..=end).collect();
            let answer = format!("{} {}", self.lines, String::from_utf8(line).unwrap().to_uppercase());
            if self.connection.write_all(answer.as_bytes()).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn serve_on(mut self) {
        while self.step().await {}
    }

    async fn until(mut self, leave: &Leave) -> Self {
        loop {
            tokio::select! {
                more = self.step() => if !more { return self },
                () = leave.due() => return self,
            }
        }
    }

    async fn bid_farewell(mut self) {
        let _ = self.connection.write_all(b"goodbye\n").await;
    }

    async fn move_on(self, refused: &mpsc::UnboundedSender<Refusal>) {
        let early = self.connection.hand_over("lines", b"").await.expect_err("nothing has ended yet");
        let _ = refused.send(early.reason);
        let session = Self::new(early.into_connection().unwrap());
        let leave = session.connection.leave();
        let Self { connection, lines, begun } = session.until(&leave).await;
        let too_long = connection.hand_over("lines", &[0; STATE_AT_MOST + 1]).await.expect_err("too long");
        let _ = refused.send(too_long.reason);
        let mut connection = too_long.into_connection().unwrap();
        connection.unread(&begun);
        if let Err(stays) = connection.hand_over("lines", &[lines]).await {
            let _ = refused.send(stays.reason);
            Self { connection: stays.into_connection().unwrap(), lines, begun: Vec::new() }.serve_on().await;
        }
    }
}

fn handlers() -> Handlers {
    Handlers::new()
        .on("lines", async |connection, state| {
            assert_eq!(&*connection.info().listener, "http");
            Session::resume(connection, &state).serve_on().await;
        })
        .on("panic", async |_, _| panic!("as asked"))
}

struct Running {
    server: Server,
    address: SocketAddr,
    refused: mpsc::UnboundedReceiver<Refusal>,
}

async fn start_with(max_connections: usize, limits: Limits, known: bool) -> Running {
    let (sender, refused) = mpsc::unbounded_channel();
    let handlers = if known { handlers() } else { Handlers::new() };
    let options = Options { max_connections, limits, handlers, ..options(2) };
    let (server, address) = serve(Lines { refused: sender }, options).await;
    Running { server, address, refused }
}

async fn start() -> Running {
    start_with(1000, Limits::default(), true).await
}

/// A way to the next process that ends here.
#[derive(Debug, Default)]
struct Held {
    connections: Mutex<Vec<Carried>>,
    /// Takes nobody.
    closed: bool,
}

impl Carrier for Held {
    fn carry(&self, mut connections: Vec<Carried>) -> Vec<Carried> {
        if !self.closed {
            self.connections.lock().unwrap().append(&mut connections);
        }
        connections
    }
}

impl Running {
    async fn upgraded(&self, path: &str) -> Client {
        let mut client = Client(TcpStream::connect(self.address).await.unwrap());
        client.send(&GREETING.replace("/echo", path)).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nconnection: upgrade\r\n"), "{head}");
        client
    }

    async fn drain(&mut self, window: Duration, carrier: Option<Arc<dyn Carrier>>) -> DrainSummary {
        let way = carrier.map_or(Way::Closed, |carrier| {
            let (found, is_found) = oneshot::channel();
            found.send(carrier).unwrap();
            Way::Awaited(is_found)
        });
        drain(&mut self.server, Plan { settle: Some(Duration::ZERO), way, ..plan(window) }).await
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        timeout(PATIENCE, async {
            while !text.ends_with(end.as_bytes()) {
                let mut byte = [0];
                let read = self.0.read(&mut byte).await.unwrap();
                assert_eq!(read, 1, "closed after {:?}", String::from_utf8_lossy(&text));
                text.push(byte[0]);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {end:?}"));
        String::from_utf8(text).unwrap()
    }

    async fn head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    async fn line(&mut self) -> String {
        self.read_until("\n").await
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.line().await
    }
}

#[tokio::test]
async fn the_application_has_the_connection_until_it_drops_it() {
    let running = start().await;
    let mut client = Client(TcpStream::connect(running.address).await.unwrap());
    // What follows the request at once is the application's too.
    client.send(&format!("{GREETING}one\ntw")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.line().await, "1 ONE\n");
    assert_eq!(client.ask("o\n").await, "2 TWO\n");
    assert_eq!((running.server.gauges().connections(), running.server.gauges().upgraded()), (1, 1));
    let census = running.server.census().take(PATIENCE).await;
    assert_eq!((census.upgraded, census.busy, census.idle, census.fresh), (1, 0, 0, 0));
    client.0.shutdown().await.unwrap();
    assert_eq!(client.line().await, "goodbye\n");
    closed(&mut client.0).await;
    until(&running.server, |gauges| gauges.connections() == 0 && gauges.upgraded() == 0).await;
}

#[tokio::test]
async fn connect_upgrades_as_well() {
    let running = start().await;
    let mut client = Client(TcpStream::connect(running.address).await.unwrap());
    client.send("CONNECT example.com:1 HTTP/1.1\r\nHost: example.com:1\r\n\r\nline\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.line().await, "1 LINE\n");
    assert_eq!(running.server.gauges().upgraded(), 1);
}

#[tokio::test]
async fn a_client_that_still_sends_reads_the_last_word() {
    let mut running = start().await;
    let mut client = running.upgraded("/quit").await;
    // More than the application will ever read: to close the socket with that in it would reset the connection.
    client.send(&"more\n".repeat(2000)).await;
    assert_eq!(client.line().await, "goodbye\n");
    closed(&mut client.0).await;
    running.drain(PATIENCE, None).await;
}

#[tokio::test]
async fn a_request_that_is_not_granted_its_upgrade_changes_nothing() {
    let running = start().await;
    let mut client = Client(TcpStream::connect(running.address).await.unwrap());
    for _ in 0..3 {
        client.send(&GREETING.replace("/echo", "/plain")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(running.server.gauges().upgraded(), 0);
    }
    client
        .send(&GREETING.replace("/echo", "/plain").replace("Connection: upgrade", "Connection: upgrade, close"))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    closed(&mut client.0).await;
    until(&running.server, |gauges| gauges.connections() == 0 && gauges.upgraded() == 0).await;
}

#[tokio::test]
async fn timeouts_are_not_for_upgraded_connections() {
    let short = Duration::from_millis(100);
    let mut limits = Limits::default();
    (limits.idle_timeout, limits.head_timeout) = (short, short);
    let running = start_with(1000, limits, true).await;
    let mut quiet = running.upgraded("/echo").await;
    quiet.send("half a li").await;
    // By then, the same time has passed for the one above, and a sweep has looked at both.
    for _ in 0..2 {
        let mut idle = Client(TcpStream::connect(running.address).await.unwrap());
        idle.send(&GREETING.replace("/echo", "/plain")).await;
        idle.head().await;
        closed(&mut idle.0).await;
    }
    assert_eq!(quiet.ask("ne\n").await, "1 HALF A LINE\n");
}

#[tokio::test]
async fn the_limit_of_connections_counts_them() {
    let running = start_with(1, Limits::default(), true).await;
    let first = running.upgraded("/away").await;
    let mut second = Client(TcpStream::connect(running.address).await.unwrap());
    second.send(GREETING).await;
    until(&running.server, |gauges| gauges.upgraded() == 1).await;
    assert!(timeout(Duration::from_millis(300), second.0.read_u8()).await.is_err(), "beyond the limit");
    drop(first);
    assert!(second.head().await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_drain_tells_them_and_waits() {
    let mut running = start().await;
    let mut client = running.upgraded("/echo").await;
    client.send("half").await;
    let (summary, goodbye) = tokio::join!(running.drain(PATIENCE, None), async {
        let goodbye = client.line().await;
        closed(&mut client.0).await;
        goodbye
    });
    assert_eq!(goodbye, "goodbye\n");
    assert_eq!((summary.cut, summary.handed_over), (0, 0));
    assert!(summary.close < Duration::from_secs(5), "{summary:?}");
}

#[tokio::test]
async fn a_drain_cuts_those_that_do_not_heed_it_and_names_their_routes() {
    for path in ["/deaf", "/away"] {
        let mut running = start().await;
        let mut client = running.upgraded(path).await;
        assert_eq!(client.ask("one\n").await, "1 ONE\n");
        let (summary, two) = tokio::join!(running.drain(Duration::from_millis(500), None), client.ask("two\n"));
        assert_eq!(two, "2 TWO\n");
        assert_eq!((summary.cut, summary.cut_routes), (1, format!("{path} (1)")));
        let mut byte = [0];
        let read = timeout(PATIENCE, client.0.read(&mut byte)).await.expect("still open");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}

/// Lets `client` leave in the middle of a line, and go on in another server.
async fn cross(running: &mut Running, known: bool) -> (Running, outlive::server::Adopted) {
    let held = Arc::new(Held::default());
    let summary = running.drain(PATIENCE, Some(Arc::<Held>::clone(&held))).await;
    assert_eq!((summary.cut, summary.handed_over), (0, 1), "{summary:?}");
    let next = start_with(1000, Limits::default(), known).await;
    let carried = std::mem::take(&mut *held.connections.lock().unwrap());
    let adopted = next.server.adopt(carried).await;
    (next, adopted)
}

#[tokio::test]
async fn they_go_on_in_the_next_process() {
    for path in ["/move", "/away/move"] {
        goes_on(path).await;
    }
}

async fn goes_on(path: &str) {
    let mut running = start().await;
    let mut client = running.upgraded(path).await;
    assert_eq!(running.refused.recv().await, Some(Refusal::TooEarly));
    assert_eq!(client.ask("one\n").await, "1 ONE\n");
    client.send("two\nthr").await;
    assert_eq!(client.line().await, "2 TWO\n");
    let (next, adopted) = cross(&mut running, true).await;
    assert_eq!(running.refused.recv().await, Some(Refusal::StateTooLong { bytes: STATE_AT_MOST + 1 }));
    assert_eq!((adopted.whole, adopted.total()), (1, 1));
    assert_eq!(client.ask("ee\n").await, "3 THREE\n");
    let gauges = next.server.gauges();
    assert_eq!((gauges.connections(), gauges.upgraded()), (1, 1));
    client.0.shutdown().await.unwrap();
    closed(&mut client.0).await;
    until(&next.server, |gauges| gauges.connections() == 0 && gauges.upgraded() == 0).await;
}

#[tokio::test]
async fn their_route_goes_along() {
    let mut running = start().await;
    let mut client = running.upgraded("/move").await;
    assert_eq!(client.ask("one\n").await, "1 ONE\n");
    let (mut next, _) = cross(&mut running, true).await;
    assert_eq!(client.ask("two\n").await, "2 TWO\n");
    let summary = next.drain(Duration::from_millis(200), None).await;
    assert_eq!((summary.cut, &*summary.cut_routes), (1, "/move (1)"));
}

#[tokio::test]
async fn without_a_handler_they_are_closed_and_counted() {
    let mut running = start().await;
    let mut client = running.upgraded("/move").await;
    let (next, adopted) = cross(&mut running, false).await;
    assert_eq!((adopted.whole, adopted.unhandled, adopted.total()), (0, 1, 1));
    closed(&mut client.0).await;
    assert_eq!(next.server.gauges().connections(), 0);
}

#[tokio::test]
async fn what_cannot_leave_comes_back() {
    let refusing: Arc<dyn Carrier> = Arc::new(Held { closed: true, ..Held::default() });
    for carrier in [None, Some(refusing)] {
        let mut running = start().await;
        let mut client = running.upgraded("/move").await;
        client.send("one\ntw").await;
        assert_eq!(client.line().await, "1 ONE\n");
        let mut refused = std::mem::replace(&mut running.refused, mpsc::unbounded_channel().1);
        let (summary, ()) = tokio::join!(running.drain(PATIENCE, carrier), async {
            while refused.recv().await.expect("the application runs") != Refusal::NoWay {}
            assert_eq!(client.ask("o\n").await, "2 TWO\n");
            client.0.shutdown().await.unwrap();
            closed(&mut client.0).await;
        });
        assert_eq!((summary.cut, summary.handed_over), (0, 0));
    }
}

#[tokio::test]
async fn a_handlers_panic_ends_its_own_connection() {
    let next = start().await;
    let mut running = start().await;
    let mut client = running.upgraded("/move").await;
    let held = Arc::new(Held::default());
    running.drain(PATIENCE, Some(Arc::<Held>::clone(&held))).await;
    let mut carried = std::mem::take(&mut *held.connections.lock().unwrap());
    let parcel = Parcel { handler: "panic".into(), route: "".into(), state: Bytes::new() };
    carried[0].ahead = parcel.encode(b"");
    next.server.adopt(carried).await;
    closed(&mut client.0).await;
    until(&next.server, |gauges| gauges.connections() == 0).await;
    let mut other = next.upgraded("/echo").await;
    assert_eq!(other.ask("a\n").await, "1 A\n");
}

/// Whoever has written what a process finds, it is read or refused.
#[tokio::test]
async fn what_is_no_parcel_is_closed_and_counted() {
    let next = start().await;
    let parcel = Parcel { handler: "lines".into(), route: "/".into(), state: Bytes::from_static(b"\x07") };
    let good = parcel.encode(b"rest\n");
    let mut broken: Vec<Vec<u8>> = (0..good.len() - 5).map(|length| good[..length].to_vec()).collect();
    broken.extend([vec![0xff; 8], vec![0xff; 300], [&[1, 0, 0, 0, 0, 0, 0, 0, 0xff][..], b"rest"].concat()]);
    let number = broken.len();
    let (connections, clients): (Vec<_>, Vec<_>) = broken.into_iter().map(|ahead| carried(ahead.into())).unzip();
    let adopted = next.server.adopt(connections).await;
    assert_eq!((adopted.unhandled, adopted.total()), (number, number));
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    let (connection, mut client) = carried(good);
    assert_eq!(next.server.adopt(vec![connection]).await.whole, 1);
    let mut answer = [0; 7];
    tokio::task::spawn_blocking(move || client.read_exact(&mut answer).map(|()| assert_eq!(&answer, b"8 REST\n")))
        .await
        .unwrap()
        .unwrap();
}

/// An upgraded connection, and its client's end.
fn carried(ahead: Bytes) -> (Carried, UnixStream) {
    let (socket, client) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (standing, listener, since) = (Standing::Upgraded, "http".into(), Instant::now());
    (Carried { socket: socket.into(), standing, listener, peer: None, since, requests: 1, ahead }, client)
}
