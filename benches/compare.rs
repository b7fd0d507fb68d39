//! outlive beside nginx, in one run on one machine: `cargo bench --bench compare`.
//!
//! Each server has core 0 for itself, the load has core 1; the two take turns, round by round, and every figure is the
//! median over the rounds. What counts are the ratios: absolute figures depend on the machine and its neighbours.
//! Needs Debian's `nginx-light`, `wrk` and `util-linux` (`tests/run` installs them). Writes `target/compare.md`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const SECONDS_A_ROUND: u32 = 3;
const CONNECTIONS: u32 = 64;
const IDLE: usize = 10_000;
const STARTS: usize = 21;
/// Longer than it takes either server to come to rest after the last answer.
const REST: Duration = Duration::from_secs(3);

const OUTLIVE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18_091);
const NGINX: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18_092);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    raise_descriptor_limit();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compare");
    fs::create_dir_all(&folder)?;
    let mut table = String::from("| | outlive | nginx | ratio |\n|---|---:|---:|---:|\n");

    let outlive = Server::outlive(&folder)?;
    let nginx = Server::nginx(&folder)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        // The order changes with each round, so that neither always comes first.
        for first in [round % 2 == 0, round % 2 != 0] {
            if first { ours.push(load(&outlive)?) } else { theirs.push(load(&nginx)?) }
        }
        eprintln!(
            "round {round} of {ROUNDS}: {:.0} and {:.0} requests/s",
            ours[round - 1].rate,
            theirs[round - 1].rate
        );
    }
    for (name, digits, figure) in [
        ("requests/s, 64 keep-alive connections, one core", 0, (|load| load.rate) as fn(&Load) -> f64),
        ("µs of processor time a request", 2, |load| load.cpu_us),
        ("p99, ms", 2, |load| load.p99_ms),
    ] {
        let values = |loads: &[Load]| median(loads.iter().map(figure));
        // Round by round, because the machine's speed changes with its neighbours.
        let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)));
        row(&mut table, name, values(&ours), values(&theirs), ratio, digits);
    }

    let mut figures = Vec::new();
    for server in [&outlive, &nginx] {
        let before = server.resident_kib()?;
        let clients = idle_clients(server.address)?;
        std::thread::sleep(REST);
        figures.push((server.resident_kib()? - before) / IDLE as f64);
        drop(clients);
    }
    let ratio = figures[0] / figures[1];
    row(&mut table, "KiB resident a connection, 10 000 idle", figures[0], figures[1], ratio, 2);
    drop((outlive, nginx));

    let (ours, theirs) = starts(&folder)?;
    let ratio = ours.first_answer / theirs;
    row(&mut table, "ms from exec to the first answer", ours.first_answer, theirs, ratio, 1);
    table.push_str(&format!("| ms from exec to READY=1 | {:.1} | | |\n", ours.ready));

    let report = format!(
        "{} cores, {}; medians of {ROUNDS} rounds of {SECONDS_A_ROUND} s, {STARTS} starts.\n\n{table}",
        std::thread::available_parallelism()?,
        processor(),
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../compare.md");
    fs::write(&path, &report)?;
    println!("{report}");
    Ok(())
}

fn row(table: &mut String, name: &str, ours: f64, theirs: f64, ratio: f64, digits: usize) {
    table.push_str(&format!("| {name} | {ours:.digits$} | {theirs:.digits$} | {ratio:.2} |\n"));
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server under test, pinned to core 0; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn outlive(folder: &Path) -> Outcome<Self> {
        let config = folder.join("outlive.toml");
        fs::write(
            &config,
            format!(
                "workers = 1\nmax_connections = 20000\n[listen.http]\nbind = \"{OUTLIVE}\"\n[limits]\n\
                 idle_timeout = \"10min\"\n[[route]]\npath = \"/\"\nrespond = {{ body = \"hello\\n\" }}\n"
            ),
        )?;
        let mut command = pinned(env!("CARGO_BIN_EXE_outlive"));
        command.arg("--config").arg(config);
        Self::start(command, OUTLIVE)
    }

    fn nginx(folder: &Path) -> Outcome<Self> {
        let config = folder.join("nginx.conf");
        let here = folder.display();
        fs::write(
            &config,
            format!(
                "daemon off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/nginx.log;\n\
                 events {{ worker_connections 20000; }}\n\
                 http {{ access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;\n\
                 client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;\n\
                 uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
                 server {{ listen {NGINX} backlog=4096; location / {{ default_type 'text/plain; charset=utf-8';\n\
                 return 200 \"hello\\n\"; }} }} }}\n"
            ),
        )?;
        let mut command = pinned("nginx");
        command.arg("-c").arg(config);
        Self::start(command, NGINX)
    }

    fn start(mut command: Command, address: SocketAddr) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.map_err(|error| format!("cannot start {command:?}: {error}"))?, address };
        first_answer(address)?;
        Ok(server)
    }

    /// The process and its children.
    fn pids(&self) -> Outcome<Vec<String>> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(std::iter::once(pid.to_string()).chain(children.split_whitespace().map(str::to_owned)).collect())
    }

    /// The time that they have had on a processor: proc_pid_stat(5), fields 14 and 15.
    fn processor_time(&self) -> Outcome<Duration> {
        let mut ticks = 0;
        for pid in self.pids()? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
            ticks += rest.split(' ').skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>();
        }
        Ok(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
    }

    fn resident_kib(&self) -> Outcome<f64> {
        let mut sum = 0.0;
        for pid in self.pids()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
            sum += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: nginx's master has to end its worker. By its own pid.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Core 0 is the servers'.
fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

struct Load {
    rate: f64,
    cpu_us: f64,
    p99_ms: f64,
}

/// One round of load from core 1.
fn load(server: &Server) -> Outcome<Load> {
    let before = server.processor_time()?;
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "--latency"])
        .args([format!("-c{CONNECTIONS}"), format!("-d{SECONDS_A_ROUND}s"), format!("http://{}/", server.address)])
        .output()
        .map_err(|error| format!("wrk is missing? {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("errors under load:\n{text}").into());
    }
    let find = |key: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .map(str::trim)
            .ok_or(format!("no {key} in:\n{text}"))
    };
    let p99 = find("99%")?;
    let (number, factor) = match p99 {
        _ if p99.ends_with("us") => (p99.trim_end_matches("us"), 0.001),
        _ if p99.ends_with("ms") => (p99.trim_end_matches("ms"), 1.0),
        _ => (p99.trim_end_matches('s'), 1000.0),
    };
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).ok_or("no count")?.0;
    let cpu_us = (server.processor_time()? - before).as_secs_f64() * 1e6 / requests.parse::<f64>()?;
    Ok(Load { rate: find("Requests/sec:")?.parse()?, cpu_us, p99_ms: number.parse::<f64>()? * factor })
}

/// Ten thousand connections, each of which has had one answer.
fn idle_clients(address: SocketAddr) -> Outcome<Vec<TcpStream>> {
    let mut clients = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = TcpStream::connect(address)?;
        ask(&mut client)?;
        clients.push(client);
    }
    Ok(clients)
}

fn ask(client: &mut TcpStream) -> std::io::Result<()> {
    client.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"hello\n") {
        match client.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(())
}

/// Tries until there is an answer.
fn first_answer(address: SocketAddr) -> Outcome<()> {
    let began = Instant::now();
    loop {
        if TcpStream::connect(address).and_then(|mut client| ask(&mut client)).is_ok() {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(10) {
            return Err(format!("no answer from {address}").into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

struct Starts {
    ready: f64,
    first_answer: f64,
}

fn starts(folder: &Path) -> Outcome<(Starts, f64)> {
    let notify = folder.join("notify");
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut ready, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut command = pinned(env!("CARGO_BIN_EXE_outlive"));
        command.arg("--config").arg(folder.join("outlive.toml")).env("NOTIFY_SOCKET", &notify);
        command.stderr(Stdio::null());
        let began = Instant::now();
        let server = Server { child: command.spawn()?, address: OUTLIVE };
        let mut buffer = [0; 4096];
        loop {
            let read = socket.recv(&mut buffer)?;
            if String::from_utf8_lossy(&buffer[..read]).contains("READY=1") {
                break;
            }
        }
        ready.push(began.elapsed().as_secs_f64() * 1e3);
        drop(server);

        let began = Instant::now();
        let server = Server::outlive(folder)?;
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        drop(server);
        let began = Instant::now();
        let server = Server::nginx(folder)?;
        theirs.push(began.elapsed().as_secs_f64() * 1e3);
        drop(server);
    }
    let ready = median(ready.into_iter());
    Ok((Starts { ready, first_answer: median(ours.into_iter()) }, median(theirs.into_iter())))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    name.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
