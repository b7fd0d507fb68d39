//! The builder.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::app::{Direct, IntoApp, IntoSendApp};
use super::drain::Drain;
use super::each::{AnyApp, Each, Extend};
use super::reload::Reload;
use super::spawned::Spawned;
use crate::control::{
    self, Address, AddressError, ControlSocketAt, DrainTeller, Draining, Ended, Error, Hooks, Origin, Reporter, Setup,
    Signal, Tasks, When,
};
use crate::server::app::{App, Observer};
use crate::server::exchange::ConnectionInfo;
use crate::server::gauges::Gauges;
use crate::server::limits::Limits;
use crate::server::upgrade::{Connection, Handlers};
use crate::status::InUse;

/// A server, before it serves: made with [`new`](Self::new), told what to do, and set going with
/// [`serve`](Self::serve).
///
/// ```no_run
/// async fn hello(_: http::Request<outlive::Body>) -> &'static str {
///     "hello\n"
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<outlive::Ended, outlive::Error> {
/// outlive::Server::new()
///     .bind("http", "127.0.0.1:8080") // or what systemd passes under that name
///     .drain(outlive::Drain::window(std::time::Duration::from_secs(5)))
///     .on(outlive::Signal::Usr1, || println!("somebody is curious"))
///     .serve(hello)
///     .await
/// # }
/// ```
#[must_use = "it serves once `serve` is called and awaited"]
pub struct Server {
    setup: Setup,
    origin: Origin,
    notify: bool,
    others: Vec<(Arc<str>, Box<dyn AnyApp>)>,
    extend: Vec<Extend>,
    /// The first thing that was wrong, which `serve` is to say.
    wrong: Option<Error>,
}

impl Server {
    /// A server with everything that systemd offers taken up, and nothing to listen on but what systemd passes.
    ///
    /// To be called early in `main`: this takes what systemd has passed to the process, for good, and a process that was
    /// started by a [reload](Reload) hears here whom it follows. The first server of a process gets all of that. If the
    /// process has but one thread yet, the variables that announced it (`LISTEN_FDS` and its like, see
    /// sd_listen_fds(3)) are removed from the environment.
    ///
    /// It also raises the soft limit of open descriptors (`RLIMIT_NOFILE`) to the hard one.
    pub fn new() -> Self {
        let origin = Origin::take();
        let setup = Setup {
            listeners: Default::default(),
            served: Vec::new(),
            workers: None,
            max_connections: None,
            limits: Limits::default(),
            window: None,
            settle: None,
            reload: Some(Reload::new().into_setup()),
            handover: true,
            watchdog: true,
            control: ControlSocketAt::Usual,
            observer: None,
            handlers: Handlers::new(),
            serves: "requests".to_owned(),
            notes: Vec::new(),
            configuration: InUse::default(),
            gauges: Arc::new(Gauges::before_workers(origin.generation())),
            hooks: Hooks::default(),
            when_ready: Vec::new(),
            draining: DrainTeller::new(),
            tasks: Tasks::new(),
        };
        Self { setup, origin, notify: true, others: Vec::new(), extend: Vec::new(), wrong: None }
    }

    /// Listens at `address`, unless systemd (or a process that this one follows) passes a socket of that name
    /// (`FileDescriptorName=`) or at that address. May be called for several names.
    ///
    /// An address is what [`Address`] says: a text like `127.0.0.1:8080` or `unix:/run/app.sock`, a `SocketAddr`, a path.
    /// What is wrong with it is said by [`serve`](Self::serve).
    pub fn bind<A>(mut self, name: impl Into<String>, address: A) -> Self
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        let name = name.into();
        match address.try_into() {
            Ok(address) => drop(self.setup.listeners.insert(name, address)),
            Err(error) => self.is_wrong(Error::Address { name, error: error.into() }),
        }
        self
    }

    /// Serves another application on the listener of that name than on the others.
    ///
    /// Its requests cost one allocation more.
    pub fn app<K>(
        mut self,
        listener: impl Into<String>,
        app: impl IntoApp<K, Call: super::app::Call<Body: Send>>,
    ) -> Self {
        let listener = listener.into();
        self.others.push((listener.as_str().into(), Box::new(Direct(app.into_call()))));
        self.setup.served.push(listener);
        self
    }

    /// How the server ends: [`Drain::auto`] unless said otherwise.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.setup.window = drain.window;
        self.setup.settle = drain.settle;
        self
    }

    /// How another process takes over: as [`Reload::new`] says unless said otherwise.
    pub fn reload(mut self, reload: Reload) -> Self {
        self.setup.reload = Some(reload.into_setup());
        self
    }

    /// SIGHUP starts no successor. Its [hooks](Self::on) are called all the same.
    pub fn without_reload(mut self) -> Self {
        self.setup.reload = None;
        self
    }

    /// Connections end with the process, after `Connection: close` where the client can be told: they go on neither
    /// after a restart nor after a reload.
    pub fn without_handover(mut self) -> Self {
        self.setup.handover = false;
        self
    }

    /// systemd is told nothing: neither that the server is ready nor how it is. Then it keeps no connections for the next
    /// process either. For a program that speaks to systemd by itself, or is only a part of a service.
    pub fn without_notify(mut self) -> Self {
        self.notify = false;
        self
    }

    /// The watchdog (`WatchdogSec=`) is fed by somebody else.
    pub fn without_watchdog(mut self) -> Self {
        self.setup.watchdog = false;
        self
    }

    /// Answers [`Control`](crate::Control) at that path, instead of `control` in the unit's `RuntimeDirectory=`, or
    /// `$XDG_RUNTIME_DIR/NAME/control` where there is none: the program's file is called `NAME`.
    pub fn control_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.setup.control = ControlSocketAt::Path(path.into());
        self
    }

    /// Answers nobody's questions: there is no [`Control`](crate::Control) of this server.
    pub fn without_control_socket(mut self) -> Self {
        self.setup.control = ControlSocketAt::Nowhere;
        self
    }

    /// What clients may ask for, in sizes and times.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// Most connections at a time; further ones wait in the kernel's backlog. Unless said otherwise, as many as
    /// `RLIMIT_NOFILE` allows, less what is needed for everything else.
    pub fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.setup.max_connections = Some(connections);
        self
    }

    /// So many workers, each a thread of its own with its own connections. Unless said otherwise, one for each processor
    /// that the process may use.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.setup.workers = Some(workers);
        self
    }

    /// Calls `hook` whenever the signal has come, before what it [does by itself](Signal). Several are called in their
    /// order.
    ///
    /// Hooks are called on the server's own thread, which hears no further signal meanwhile: they should be short.
    pub fn on(mut self, signal: Signal, hook: impl FnMut() + Send + 'static) -> Self {
        self.setup.hooks.add(signal, When::Before, Box::new(hook));
        self
    }

    /// Calls `hook` whenever the signal has come, after what it [does by itself](Signal) has been set going: the drain,
    /// the start of the successor.
    pub fn after(mut self, signal: Signal, hook: impl FnMut() + Send + 'static) -> Self {
        self.setup.hooks.add(signal, When::After, Box::new(hook));
        self
    }

    /// Calls `hook` once every worker accepts connections, and this process is the service.
    pub fn when_ready(mut self, hook: impl FnOnce() + Send + 'static) -> Self {
        self.setup.when_ready.push(Box::new(hook));
        self
    }

    /// Adds something about its connection to the extensions of each request.
    ///
    /// With this line, axum's `ConnectInfo<SocketAddr>` works in handlers as it does in `axum::serve`:
    ///
    /// ```
    /// # struct ConnectInfo<T>(T);
    /// # impl<T> Clone for ConnectInfo<T> { fn clone(&self) -> Self { todo!() } }
    /// # let server =
    /// outlive::Server::new().extension(|connection| connection.peer.address().map(ConnectInfo));
    /// ```
    ///
    /// `None` adds nothing. (A request without any needs no room for them, which is why this has to be asked for;
    /// [`Body::connection`](crate::Body::connection) is always there.)
    pub fn extension<T>(mut self, make: impl Fn(&ConnectionInfo) -> Option<T> + Send + Sync + 'static) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        self.extend.push(Arc::new(move |connection, extensions| {
            if let Some(extension) = make(connection) {
                extensions.insert(extension);
            }
        }));
        self
    }

    /// Goes on with upgraded connections, WebSockets say, that the process before has
    /// [handed over](Connection::hand_over) under that name: `handler` is called with each of them, and with the state that
    /// was sent along. Names and states are a promise from one version of the program to the next.
    ///
    /// ```
    /// # let server =
    /// outlive::Server::new().upgraded("echo", async |connection, _state| {
    ///     let (mut read, mut write) = tokio::io::split(connection);
    ///     let _ = tokio::io::copy(&mut read, &mut write).await;
    /// });
    /// ```
    ///
    /// It runs on the thread of a worker, where it mustn't block; a panic ends its own connection. A connection that has no
    /// handler is closed, and the log says so. See [`upgrade`](crate::upgrade) for all of it.
    pub fn upgraded<F, R>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(Connection, Bytes) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.setup.handlers = self.setup.handlers.on(name, handler);
        self
    }

    /// Tells `observer` of each request and of how it ended: for an access log.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.setup.observer = Some(observer);
        self
    }

    /// What is served, in a few words for `systemctl status` and the log: `12 routes`. Unless said otherwise, `requests`.
    pub fn describe(mut self, what: impl Into<String>) -> Self {
        self.setup.serves = what.into();
        self
    }

    /// What an operator should know beside that, in `systemctl status`, as long as it serves.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.setup.notes.push(note.into());
        self
    }

    /// Writes to the journal what happens: to journald with all fields if standard error is connected to it
    /// (`JOURNAL_STREAM` of systemd.exec(5)), or else as lines to standard error. Without this, it goes to the program's
    /// own `tracing` subscriber, if there is one.
    ///
    /// What the program itself has to say can go there as well, by [`log`](crate::log). Why a server can't start is
    /// returned, and so no line says it a second time; only journald gets it, with its id.
    #[cfg(feature = "journal")]
    pub fn journal(self) -> Self {
        crate::journal::start(crate::journal::Target::detect());
        self
    }

    /// What tells handlers and tasks that a drain has begun.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.setup.draining.draining()
    }

    /// What keeps a drain waiting for background tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.setup.tasks.clone()
    }

    /// The server's numbers, live.
    #[must_use]
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.setup.gauges)
    }

    /// Whether another process has started this one, to be succeeded by it. That one goes on if this one can't serve.
    #[must_use]
    pub fn is_successor(&self) -> bool {
        self.origin.is_successor()
    }

    /// Which configuration is served, for `outlive status` and the log. Unless said otherwise, it is built in.
    pub fn configuration(mut self, in_use: InUse) -> Self {
        self.setup.configuration = in_use;
        self
    }

    fn is_wrong(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    /// Serves `app` until the process is to end, or another one has taken over.
    ///
    /// This can be awaited on any runtime. The server doesn't use it: it has a thread of its own for itself and one for
    /// each worker, on which the application's futures run. They can use tokio as anywhere, but
    /// `tokio::task::block_in_place`. [`serve_with`](Self::serve_with) is the other way.
    ///
    /// Dropping the future ends the server, with the requests that run.
    ///
    /// # Errors
    ///
    /// Why it can't start, or go on. systemd has been told by then, and so has the process that this one was to follow.
    pub async fn serve<K>(self, app: impl IntoApp<K>) -> Result<Ended, Error> {
        self.serve_any(Direct(app.into_call())).await
    }

    /// Serves `app`, whose futures run on `runtime`, each as a task of its own: for applications that need to be where
    /// their state lives, or that would hold up a worker.
    ///
    /// Connections, HTTP and answers' bodies are the workers' business all the same. The way there and back costs about half
    /// as much processor time again as a small request does otherwise: `benches/README.md` has the figures.
    ///
    /// ```no_run
    /// # async fn hello(_: http::Request<outlive::Body>) -> &'static str { "hello\n" }
    /// # #[tokio::main]
    /// # async fn main() -> Result<outlive::Ended, outlive::Error> {
    /// let runtime = tokio::runtime::Handle::current();
    /// outlive::Server::new().bind("http", "127.0.0.1:8080").serve_with(runtime, hello).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub async fn serve_with<K>(self, runtime: Handle, app: impl IntoSendApp<K>) -> Result<Ended, Error> {
        self.serve_any(Spawned { call: app.into_call(), runtime }).await
    }

    /// Serves `app` as [`serve`](Self::serve) does, without a runtime around it: the calling thread becomes the server's
    /// own.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve); and if this is called within a runtime.
    pub fn run<K>(self, app: impl IntoApp<K>) -> Result<Ended, Error> {
        let ready = self.get_ready(Direct(app.into_call()))?;
        if Handle::try_current().is_ok() {
            let error = std::io::Error::other("Server::run was called within a runtime: await Server::serve there");
            return ready.reporter.report(Err(error.into()));
        }
        ready.run()
    }

    async fn serve_any<A: App + Send>(self, app: A) -> Result<Ended, Error> {
        let ready = self.get_ready(app)?;
        let guard = EndOnDrop(Some(ready.setup.draining.draining()));
        let (done, ended) = oneshot::channel();
        let run = move || drop(done.send(ready.run()));
        thread::Builder::new().name("outlive".to_owned()).spawn(run)?;
        let ended = ended.await;
        guard.disarm();
        let panicked = || Error::Worker { reason: "the server's own thread has panicked".to_owned(), error: None };
        ended.unwrap_or_else(|_| Err(panicked()))
    }

    fn get_ready<A: App + Send>(mut self, app: A) -> Result<Ready<Each<A>>, Error> {
        if self.notify {
            self.origin.notify();
        }
        let reporter = self.origin.reporter();
        if let Some(wrong) = self.wrong {
            return reporter.report(Err(wrong));
        }
        let app = Each { main: app, others: self.others, extend: self.extend };
        Ok(Ready { app, setup: self.setup, origin: self.origin, reporter })
    }

    /// Says that the program can't serve, and why: to journald and systemd, and to the process that goes on if this one
    /// is its successor. For what goes wrong before [`serve`](Self::serve): a configuration that can't be read, a database
    /// that doesn't answer. To say it at a terminal is up to whoever gets what is returned, as `main` does with its own.
    ///
    /// ```no_run
    /// # fn load() -> Result<(), std::io::Error> { Ok(()) }
    /// let server = outlive::Server::new();
    /// let configuration = match load() {
    ///     Ok(configuration) => configuration,
    ///     Err(error) => return Err(server.fail(format!("configuration: {error}"))),
    /// };
    /// # Ok::<(), outlive::Error>(())
    /// ```
    pub fn fail(mut self, reason: impl Into<String>) -> Error {
        if self.notify {
            self.origin.notify();
        }
        let error = Error::Program(reason.into());
        self.origin.reporter().failed(&error.to_string(), error.errno());
        error
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// A server that has all it needs.
struct Ready<A> {
    app: A,
    setup: Setup,
    origin: Origin,
    reporter: Reporter,
}

impl<A: App + Send> Ready<A> {
    /// Serves, on this thread.
    fn run(self) -> Result<Ended, Error> {
        let Self { app, setup, origin, reporter } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        let ended = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(control::run(app, setup, origin)));
        reporter.report(ended)
    }
}

impl Reporter {
    fn report<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.failed(&error.to_string(), error.errno()))
    }
}

/// Ends a server that nobody waits for any more.
struct EndOnDrop(Option<Draining>);

impl EndOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(draining) = self.0.take() {
            draining.begin();
            draining.begin(); // at once
        }
    }
}
