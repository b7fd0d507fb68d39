//! The server in this process, spoken to over real sockets: what it answers to good, odd and bad clients, and how it
//! ends.

#[path = "support/in_process.rs"]
mod in_process;

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use in_process::{PATIENCE, closed, options, plan, serve, until};
use outlive::journal::DrainSummary;
use outlive::server::app::{App, Observer};
use outlive::server::body::RequestBody;
use outlive::server::drain::{Plan, drain};
use outlive::server::exchange::{Exchange, Outcome};
use outlive::server::limits::Limits;
use outlive::server::{Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Answers by path, as the tests need it.
#[derive(Clone, Default)]
struct TestApp {
    started: Option<mpsc::UnboundedSender<String>>,
}

impl App for TestApp {
    type Body = Full<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>>>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl TestApp {
    async fn answer(self, request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
        let exchange = Arc::clone(request.body().exchange().unwrap());
        let path = request.uri().path().to_owned();
        exchange.set_route(path.clone().into());
        if let Some(started) = &self.started {
            let _ = started.send(path.clone());
        }
        let body: Bytes = match path.as_str() {
            "/panic" => panic!("as asked"),
            "/never" => pending().await,
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(700)).await;
                "slow".into()
            }
            "/echo" => match request.into_body().collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => error.to_string().into(),
            },
            "/large" => vec![b'x'; 32 << 20].into(),
            "/peer" => exchange.connection.peer.to_string().into(),
            _ => "hello".into(),
        };
        Ok(Response::new(Full::new(body)))
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(String, Option<u16>, Outcome)>>);

impl Observer for Seen {
    fn received(&self, _: &Exchange, _: &http::HeaderMap) {}

    fn answering(&self, _: &Exchange, _: StatusCode, _: &mut http::HeaderMap) {}

    fn ended(&self, exchange: &Exchange, status: Option<StatusCode>, outcome: Outcome) {
        let mut seen = self.0.lock().unwrap();
        seen.push((exchange.uri.path().to_owned(), status.map(|status| status.as_u16()), outcome));
    }
}

struct Running {
    server: Server,
    address: SocketAddr,
    seen: Arc<Seen>,
    started: mpsc::UnboundedReceiver<String>,
}

async fn start_with(workers: usize, max_connections: usize, limits: Limits) -> Running {
    let seen = Arc::new(Seen::default());
    let (sender, started) = mpsc::unbounded_channel();
    let observer = Some(Arc::clone(&seen) as Arc<dyn Observer>);
    let options = Options { max_connections, limits, observer, ..options(workers) };
    let (server, address) = serve(TestApp { started: Some(sender) }, options).await;
    Running { server, address, seen, started }
}

async fn start() -> Running {
    start_with(2, 1000, Limits::default()).await
}

impl Running {
    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until the application has been called with `path`.
    async fn called(&mut self, path: &str) {
        timeout(PATIENCE, async { while self.started.recv().await.expect("the server runs") != path {} })
            .await
            .unwrap_or_else(|_| panic!("{path} was never called"));
    }

    async fn drain(&mut self, window: Duration, settle: Option<Duration>) -> DrainSummary {
        drain(&mut self.server, Plan { settle, ..plan(window) }).await
    }
}

struct Client(TcpStream);

/// An answer as it came over the wire.
#[derive(Debug)]
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn says_close(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
    }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.answer().await
    }

    /// Reads one answer with a Content-Length, no byte more.
    async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(
                    self.0.read(&mut byte).await.unwrap(),
                    1,
                    "closed after {:?}",
                    String::from_utf8_lossy(&head)
                );
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            Answer { head, body }
        })
        .await
        .expect("no answer in time")
    }
}

#[tokio::test]
async fn keep_alive_pipelining_and_head() {
    let running = start().await;
    let mut client = running.connect().await;
    assert_eq!(client.get("/").await.body, b"hello");
    assert_eq!(client.get("/").await.body, b"hello");
    client
        .send(
            "GET /a HTTP/1.1\r\nHost: t\r\n\r\nGET /slow HTTP/1.1\r\nHost: t\r\n\r\nGET /b HTTP/1.1\r\nHost: t\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.body, b"hello");
    assert_eq!(client.answer().await.body, b"slow");
    assert_eq!(client.answer().await.body, b"hello");
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.0.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.contains("content-length: 5") && head.contains("\r\ndate: "), "{head}");
    assert_eq!(client.get("/peer").await.body, client.0.local_addr().unwrap().to_string().into_bytes());
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let running = start().await;
    let mut client = running.connect().await;
    client.send("GET /a HTTP/1.1\r\nHost: t\r\n\r\nGET /b HT").await;
    assert_eq!(client.answer().await.body, b"hello");
    client.send("TP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.answer().await.body, b"hello");
}

#[tokio::test]
async fn a_parked_connection_goes_on() {
    let running = start().await;
    let mut client = running.connect().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.body, b"hello");
        // Longer than it takes to be parked, and no condition to wait for: parking is invisible from outside.
        tokio::time::sleep(Duration::from_millis(1600)).await;
    }
    // A head in pieces wakes it as well.
    for piece in ["G", "ET / HT", "TP/1.1\r\nHost: t\r\n", "\r\n"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.answer().await.body, b"hello");
}

#[tokio::test]
async fn bodies_that_nobody_wants_leave_the_connection_usable() {
    let running = start().await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n").await;
    client.send(vec![b'x'; 50_000]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send(vec![b'x'; 50_000]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (200, false));
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert!(!client.answer().await.says_close());
    assert_eq!(client.get("/").await.body, b"hello");
}

#[tokio::test]
async fn a_body_too_long_to_discard_ends_the_connection_after_a_clean_answer() {
    let running = start().await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n").await;
    client.send(vec![b'x'; 1 << 20]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (200, true));
    // Not reset while the client is still sending, for a moment at least.
    client.send(vec![b'x'; 100_000]).await;
    closed(&mut client.0).await;
}

#[tokio::test]
async fn expect_continue_is_answered_only_if_the_body_is_wanted() {
    let running = start().await;
    let mut client = running.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    let interim = client.answer().await;
    assert!(interim.head.starts_with("HTTP/1.1 100 "), "{}", interim.head);
    client.send("abc").await;
    assert_eq!(client.answer().await.body, b"abc");
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (200, true));
    closed(&mut client.0).await;
}

#[tokio::test]
async fn heads_beyond_the_limits_get_431() {
    let running = start().await;
    let mut many = running.connect().await;
    let fields: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    many.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n")).await;
    assert_eq!(many.answer().await.status(), 431);
    let mut long = running.connect().await;
    long.send(format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "y".repeat(70_000))).await;
    assert_eq!(long.answer().await.status(), 431);
    let mut fitting = running.connect().await;
    fitting.send(format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "y".repeat(60_000))).await;
    assert_eq!(fitting.answer().await.status(), 200);
    let mut nonsense = running.connect().await;
    nonsense.send("nonsense\r\n\r\n").await;
    assert_eq!(nonsense.answer().await.status(), 400);
}

fn hasty() -> Limits {
    let mut limits = Limits::default();
    limits.head_timeout = Duration::from_millis(600);
    limits.idle_timeout = Duration::from_millis(900);
    limits.request_timeout = Duration::from_millis(500);
    limits.send_timeout = Duration::from_millis(800);
    limits
}

#[tokio::test]
async fn a_head_that_never_ends_gets_408_however_it_begins() {
    let running = start_with(1, 100, hasty()).await;
    let mut first = running.connect().await;
    first.send("GET / HT").await;
    assert_eq!(first.answer().await.status(), 408);
    closed(&mut first.0).await;

    let mut second = running.connect().await;
    second.get("/").await;
    second.send("GET / HT").await;
    assert_eq!(second.answer().await.status(), 408);

    // Read together with the end of the request before.
    let mut pipelined = running.connect().await;
    pipelined.send("GET / HTTP/1.1\r\nHost: t\r\n\r\nGET / HT").await;
    assert_eq!(pipelined.answer().await.status(), 200);
    assert_eq!(pipelined.answer().await.status(), 408);

    // One byte now and then doesn't help.
    let mut dripping = running.connect().await;
    let began = Instant::now();
    for byte in "GET / HTTP/1.1\r\nHost: t\r\nX-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyy".bytes() {
        if dripping.0.write_all(&[byte]).await.is_err() || began.elapsed() > Duration::from_secs(2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dripping.answer().await.status(), 408);
}

#[tokio::test]
async fn idle_connections_are_closed_in_good_order() {
    let running = start_with(1, 100, hasty()).await;
    let mut fresh = running.connect().await;
    let mut used = running.connect().await;
    used.get("/").await;
    let began = Instant::now();
    closed(&mut fresh.0).await;
    closed(&mut used.0).await;
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_handler_that_takes_too_long_gets_503_and_a_body_that_does_408() {
    let running = start_with(1, 100, hasty()).await;
    let mut client = running.connect().await;
    assert_eq!(client.get("/never").await.status(), 503);
    assert_eq!(client.get("/").await.status(), 200);
    client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (408, true));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let running = start_with(1, 100, hasty()).await;
    let mut client = running.connect().await;
    client.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n").await;
    until(&running.server, |gauges| gauges.accepted() == 1).await;
    until(&running.server, |gauges| gauges.connections() == 0).await;
    // A whole request before that was fine.
    assert_eq!(running.connect().await.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_panic_is_a_500_and_nothing_else() {
    let running = start().await;
    let mut client = running.connect().await;
    assert_eq!(client.get("/panic").await.status(), 500);
    assert_eq!(client.get("/").await.status(), 200);
    let seen = running.seen.0.lock().unwrap().clone();
    assert_eq!(seen[0], ("/panic".to_owned(), Some(500), Outcome::Complete));
}

#[tokio::test]
async fn sixty_four_connections_are_spread_over_two_workers() {
    let running = start().await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = running.connect().await;
        assert_eq!(client.get("/").await.status(), 200);
        clients.push(client);
    }
    let by_worker = running.server.gauges().connections_by_worker();
    assert_eq!(by_worker.iter().sum::<usize>(), 64);
    assert!(by_worker.iter().all(|one| (26..=38).contains(one)), "{by_worker:?} is worse than 60/40");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let running = start_with(2, 3, Limits::default()).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        let mut client = running.connect().await;
        client.get("/").await;
        first.push(client);
    }
    let mut fourth = running.connect().await; // by the kernel
    fourth.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(timeout(Duration::from_millis(300), fourth.0.readable()).await.is_err(), "served beyond the limit");
    drop(first.pop());
    assert_eq!(fourth.answer().await.status(), 200);
}

#[tokio::test]
async fn http2_with_prior_knowledge_shares_the_port() {
    let running = start().await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = || Request::builder().uri("http://test/").body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request()).await.unwrap();
    assert_eq!((response.version(), response.status()), (http::Version::HTTP_2, StatusCode::OK));
    let mut crowded = request();
    for n in 0..101 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        crowded.headers_mut().insert(name, http::HeaderValue::from_static("y"));
    }
    assert_eq!(sender.send_request(crowded).await.unwrap().status(), 431);
    let large = Request::builder().uri("http://test/large").body(Full::<Bytes>::default()).unwrap();
    let body = sender.send_request(large).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 32 << 20);
    drop(sender);
    timeout(PATIENCE, driver).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_preface_in_pieces_is_still_a_preface_and_its_beginning_can_be_a_request() {
    let running = start().await;
    let mut client = running.connect().await;
    for piece in ["PRI * HTTP/2.0\r", "\n\r\nSM\r\n\r", "\n"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await; // SETTINGS
    let mut frame = [0; 9];
    client.0.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS is the server's first frame");

    let mut odd = running.connect().await;
    odd.send("PR").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    odd.send("OPFIND / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(odd.answer().await.status(), 200);
}

#[tokio::test]
async fn a_drain_settles_and_serves_everybody_meanwhile() {
    let mut running = start().await;
    let mut slow = running.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n").await;
    running.called("/slow").await;
    let mut idle = running.connect().await;
    idle.get("/").await;
    let address = running.address;
    let meanwhile = async {
        running_drain_has_begun(address).await;
        let mut fresh = Client(TcpStream::connect(address).await.unwrap());
        let answer = fresh.get("/").await;
        (answer.status(), answer.says_close())
    };
    let (summary, meanwhile, slow_answer) =
        tokio::join!(running.drain(Duration::from_secs(10), None), meanwhile, slow.answer());
    assert_eq!(meanwhile, (200, false));
    assert_eq!((slow_answer.body.as_slice(), slow_answer.status()), (b"slow".as_slice(), 200));
    assert_eq!((summary.cut, summary.cut_routes.as_str()), (0, ""));
    assert!(summary.settle >= Duration::from_millis(300), "{summary:?}");
    assert!(summary.close < Duration::from_secs(2), "{summary:?}");
    closed(&mut idle.0).await;
}

/// Gives the drain, which runs in the same task, its turn.
async fn running_drain_has_begun(_: SocketAddr) {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn without_settling_a_drain_accepts_no_more_and_ends_answers_with_close() {
    let mut running = start().await;
    let mut slow = running.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n").await;
    running.called("/slow").await;
    let address = running.address;
    let waits_in_the_backlog = async {
        running_drain_has_begun(address).await;
        let mut fresh = Client(TcpStream::connect(address).await.unwrap());
        fresh.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        timeout(Duration::from_millis(300), fresh.0.readable()).await.is_err()
    };
    let (summary, waits, answer) =
        tokio::join!(running.drain(Duration::from_secs(10), Some(Duration::ZERO)), waits_in_the_backlog, slow.answer());
    assert!(waits, "accepted while closing");
    assert_eq!((answer.status(), answer.says_close()), (200, true));
    closed(&mut slow.0).await;
    assert_eq!(summary.cut, 0);
    assert_eq!(summary.finished, 1);
}

#[tokio::test]
async fn a_request_that_has_arrived_is_served_even_as_the_drain_closes() {
    for _ in 0..50 {
        let mut running = start().await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = running.connect().await;
            client.get("/").await;
            clients.push(client);
        }
        // Half heads and whole requests, written before the drain begins: in the kernel's buffers, or in hyper's.
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(if index % 2 == 0 { "GET / HTTP/1.1\r\nHost: t\r\n\r\n" } else { "GET / HT" }).await;
        }
        let clients = async {
            for (index, client) in clients.iter_mut().enumerate() {
                if index % 2 == 1 {
                    client.send("TP/1.1\r\nHost: t\r\n\r\n").await;
                }
                assert_eq!(client.answer().await.body, b"hello");
            }
        };
        let ((), summary) = tokio::join!(clients, running.drain(Duration::from_secs(10), Some(Duration::ZERO)));
        assert_eq!(summary.cut, 0);
    }
}

#[tokio::test]
async fn what_does_not_finish_in_the_window_is_cut_counted_and_named() {
    let mut running = start().await;
    let mut clients = Vec::new();
    for path in ["/never", "/never", "/large"] {
        let mut client = running.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
        running.called(path).await;
        clients.push(client);
    }
    let began = Instant::now();
    let summary = running.drain(Duration::from_millis(500), None).await;
    assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < Duration::from_secs(2));
    assert_eq!(summary.cut, 3);
    assert_eq!(summary.cut_routes, "/large (1), /never (2)");
    let seen = running.seen.0.lock().unwrap().clone();
    let cut: Vec<_> = seen.iter().filter(|(path, _, outcome)| path == "/never" && *outcome == Outcome::Cut).collect();
    assert_eq!(cut.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn the_hammer_ends_a_drain_at_once() {
    let mut running = start().await;
    let mut never = running.connect().await;
    never.send("GET /never HTTP/1.1\r\nHost: t\r\n\r\n").await;
    running.called("/never").await;
    let (hammer, fallen) = mpsc::unbounded_channel();
    let began = Instant::now();
    let strike = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        hammer.send("SIGUSR2").unwrap();
    };
    let (summary, ()) =
        tokio::join!(drain(&mut running.server, Plan { hammer: fallen, ..plan(Duration::from_secs(60)) }), strike);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!((summary.cut, summary.cut_routes.as_str()), (1, "/never (1)"));
}

#[tokio::test]
async fn an_http2_client_that_never_answers_does_not_hold_up_the_end() {
    let mut running = start().await;
    let mut silent = running.connect().await;
    silent.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    silent.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await; // SETTINGS, and never an ACK or a PONG
    let mut frame = [0; 9];
    silent.0.read_exact(&mut frame).await.unwrap();
    let began = Instant::now();
    let summary = running.drain(Duration::from_secs(30), None).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(summary.cut, 0);
    // It was told, at least.
    let mut rest = Vec::new();
    timeout(PATIENCE, silent.0.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.windows(4).any(|bytes| bytes[3] == 7), "no GOAWAY in {rest:?}");
}

#[tokio::test]
async fn an_http2_request_finishes_in_a_drain() {
    let mut running = start().await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::builder().uri("http://test/slow").body(Full::<Bytes>::default()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    running.called("/slow").await;
    let summary = running.drain(Duration::from_secs(10), Some(Duration::ZERO)).await;
    assert_eq!((summary.cut, summary.finished), (0, 1));
    let body = answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "slow");
    timeout(PATIENCE, driver).await.unwrap().unwrap().unwrap();
}
