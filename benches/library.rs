//! What the library costs over plain hyper, in one run on one machine: `cargo bench --bench library`.
//!
//! The same handler, answered by hyper alone on one single-threaded runtime, by the library with one worker, by axum
//! alone, by axum on the library, and by the library with the handler on the program's own runtime. The servers take
//! turns on core 0, the load has core 1; every figure is the median over the rounds of the ratio to the round's own
//! plain one. wrk is hardly faster than any of the servers, and what waits for it now and then shows no difference: so a
//! busy neighbour takes half of core 0, and each server has all the work that it can do. Needs Debian's `wrk` and
//! `util-linux`. Writes `target/library.md`.
//!
//! `OUTLIVE_BENCH_SERVE=plain` (or another of the names) makes the program be that server, at `ADDR`: to be run under
//! `valgrind --tool=callgrind`, whose counts don't depend on the machine's neighbours.

use std::convert::Infallible;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

const ROUNDS: usize = 9;
const SECONDS_A_ROUND: u32 = 3;
const CONNECTIONS: u32 = 64;
const SERVE: &str = "OUTLIVE_BENCH_SERVE";
const NEIGHBOUR: &str = "neighbour";

/// The servers: a name, what it is, and which one it is compared to.
const SERVERS: [(&str, &str, &str); 5] = [
    ("plain", "hyper alone", "plain"),
    ("library", "the library", "plain"),
    ("axum", "axum alone", "axum"),
    ("library-axum", "axum on the library", "axum"),
    ("library-with", "the library, handlers on a runtime of the program's (`serve_with`)", "plain"),
];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    if let Ok(name) = std::env::var(SERVE) {
        return serve(&name);
    }
    let mut loads = vec![Vec::new(); SERVERS.len()];
    let _neighbour = Pinned::start(NEIGHBOUR, &[])?;
    let servers: Vec<_> = (18_101..).zip(SERVERS).map(|(port, (name, ..))| Server::start(name, port)).collect();
    let servers = servers.into_iter().collect::<Outcome<Vec<_>>>()?;
    for round in 0..ROUNDS {
        // Another one begins with each round.
        for turn in 0..servers.len() {
            let index = (round + turn) % servers.len();
            loads[index].push(load(&servers[index])?);
        }
        let rates: Vec<_> = loads.iter().map(|loads| format!("{:.0}", loads[round].rate)).collect();
        eprintln!("round {} of {ROUNDS}: {} requests/s", round + 1, rates.join(", "));
    }
    let mut table =
        String::from("| | requests/s | ratio | µs of processor time a request | ratio |\n|---|---:|---:|---:|---:|\n");
    for (index, (_, what, base)) in SERVERS.iter().enumerate() {
        let base = &loads[SERVERS.iter().position(|(name, ..)| name == base).unwrap_or(index)];
        let (rate, rates) = figure(&loads[index], base, |load| load.rate);
        let (cpu, cpus) = figure(&loads[index], base, |load| load.cpu_us);
        table.push_str(&format!("| {what} | {rate:.0} | {rates:.3} | {cpu:.2} | {cpus:.3} |\n"));
    }
    let report = format!(
        "Medians of {ROUNDS} rounds of {SECONDS_A_ROUND} s, {CONNECTIONS} connections, half of a core.\n\n{table}"
    );
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../library.md"), &report)?;
    println!("{report}");
    Ok(())
}

/// The median, and the median ratio to the round's own base.
fn figure(loads: &[Load], base: &[Load], figure: fn(&Load) -> f64) -> (f64, f64) {
    (median(loads.iter().map(figure)), median(loads.iter().zip(base).map(|(load, base)| figure(load) / figure(base))))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn hello() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

async fn answer_plain(_: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(hello())
}

async fn answer(_: Request<outlive::Body>) -> Response<Full<Bytes>> {
    hello()
}

fn router() -> axum::Router {
    axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }))
}

fn serve(name: &str) -> Outcome<()> {
    if name == NEIGHBOUR {
        loop {
            std::hint::spin_loop();
        }
    }
    let address: SocketAddr = std::env::var("ADDR")?.parse()?;
    let single = || tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let server = || {
        let server = outlive::Server::new().bind("http", address).workers(NonZeroUsize::MIN);
        server.without_control_socket().without_reload().without_handover()
    };
    match name {
        "plain" => single()?.block_on(plain(address))?,
        "axum" => single()?.block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await?;
            use axum::serve::ListenerExt as _;
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            axum::serve(listener, router()).await
        })?,
        "library" => _ = server().run(answer)?,
        "library-axum" => _ = server().run(router())?,
        "library-with" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let handle = runtime.handle().clone();
            runtime.block_on(server().serve_with(handle, answer))?;
        }
        other => return Err(format!("there is no server {other}").into()),
    }
    Ok(())
}

/// What one writes with hyper alone.
async fn plain(address: SocketAddr) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(answer_plain);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// This program as something else, on core 0; ended when dropped.
struct Pinned(Child);

impl Pinned {
    fn start(name: &str, environment: &[(&str, String)]) -> Outcome<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(std::env::current_exe()?);
        command.env(SERVE, name).envs(environment.iter().cloned());
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server under test.
struct Server {
    process: Pinned,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str, port: u16) -> Outcome<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let process = Pinned::start(name, &[("ADDR", address.to_string())])?;
        first_answer(address)?;
        Ok(Self { process, address })
    }

    /// The time that it has had on a processor: proc_pid_stat(5), fields 14 and 15.
    fn processor_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
        let ticks = rest.split(' ').skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>();
        Ok(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
    }
}

#[derive(Clone)]
struct Load {
    rate: f64,
    cpu_us: f64,
}

/// One round of load from core 1.
fn load(server: &Server) -> Outcome<Load> {
    let before = server.processor_time()?;
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1"])
        .args([format!("-c{CONNECTIONS}"), format!("-d{SECONDS_A_ROUND}s"), format!("http://{}/", server.address)])
        .output()
        .map_err(|error| format!("wrk is missing? {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("errors under load:\n{text}").into());
    }
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")).ok_or("no rate")?;
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).ok_or("no count")?.0;
    let cpu_us = (server.processor_time()? - before).as_secs_f64() * 1e6 / requests.parse::<f64>()?;
    Ok(Load { rate: rate.trim().parse()?, cpu_us })
}

/// Tries until there is an answer.
fn first_answer(address: SocketAddr) -> Outcome<()> {
    let began = Instant::now();
    let ask = || -> std::io::Result<()> {
        let mut client = TcpStream::connect(address)?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        client.read_exact(&mut [0; 15])
    };
    while ask().is_err() {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(format!("no answer from {address}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
