//! A running node: journal, port and doors, from start to a clean stop.
//!
//! # Order
//! Start: configuration and secrets are read, the journal is opened (which takes the data
//! directory), missing streams are created, doors begin to listen, `ports.json` appears.
//! Stop: not ready, doors stop accepting, requests in flight finish (at most [`STOP_DEADLINE`]), the
//! journal closes, `ports.json` goes.
//!
//! The node owns its executor; nothing here is `async` to its caller.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use door::{Access, Fabric, Limits, Port};
use door_http::limits::CONNECTIONS_MAX;
use event::Pattern;
use journal::{Journal, StreamConfig, StreamError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{Config, EVENTS_STREAM, Engine, Listen};
use crate::engine::{self, Opened};
use crate::error::StartError;
use crate::federation::Federation;
use crate::http::{HttpDoor, HttpParts};
use crate::live::Live;
use crate::metered::Metered;
use crate::metrics::Metrics;
use crate::nats::NatsParts;
use crate::ports::{Ports, PortsFile, remove_stale};
use crate::reload::Reloader;
use crate::rooms::{Doors, Rooms};
use crate::signals::{Signal, Signals};
use crate::tls::{Certificate, HTTP_PROTOCOLS};
use crate::tokens::read_tokens;
use crate::views::DeclaredViews;

/// How long requests in flight may take to finish when the node stops.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How long the journal may take to come to rest: a snapshot of its state, and a few syncs.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Most threads that serve connections. The journal has its own; more only cost memory.
const WORKERS_MAX: usize = 8;

/// Most threads for blocking calls: files of secrets and plugins, large signatures.
const BLOCKING_MAX: usize = 16;

/// Connections that wait to be taken, at most: what ten thousand clients that return at once need;
/// the operating system may allow fewer.
const BACKLOG: u32 = 4096;

/// Files that may be open besides connections: segments, indexes, listeners.
const FILES_BESIDES: usize = 512;

/// A running node.
pub struct Node {
    config: Config,
    ports: Ports,
    journal: Arc<dyn Journal>,
    http: Option<HttpDoor>,
    doors: Doors,
    views: Arc<DeclaredViews>,
    federation: Arc<Federation>,
    reloader: Reloader,
    ports_file: Option<PortsFile>,
    runtime: Runtime,
    /// The data directory, where the engine does not hold it itself.
    _hold: Option<Box<dyn Any + Send>>,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything came to rest.
    Clean,
    /// It was told a second time to stop, or the journal did not come to rest in time.
    Hurried,
}

impl Node {
    /// Starts a node that listens to no signals; when this returns, it is ready. Must not be called
    /// inside an executor.
    ///
    /// # Errors
    /// [`StartError`]; whatever was opened by then is closed again.
    pub fn start(config: Config) -> Result<Node, StartError> {
        Node::start_on(runtime()?, config)
    }

    /// Runs a node until SIGTERM or SIGINT tells it to stop, or SIGUSR2 to stop with notice; SIGHUP makes it read tokens and
    /// certificates again. `ready` is called once it is ready.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn run(config: Config, ready: impl FnOnce(&Node)) -> Result<Ended, StartError> {
        let runtime = runtime()?;
        make_room_for_connections();
        let mut signals = {
            let _entered = runtime.enter();
            Signals::install().map_err(|error| StartError::System { doing: "catch signals", error })?
        };
        let node = Node::start_on(runtime, config)?;
        ready(&node);
        let lame_duck = loop {
            match node.runtime.block_on(signals.next()) {
                Signal::Reload => node.reload(),
                Signal::Stop => break false,
                Signal::LameDuck => break true,
            }
        };
        info!("stopping; a second signal stops at once");
        Ok(node.stop_unless(lame_duck, async move { signals.stop().await }))
    }

    fn start_on(runtime: Runtime, config: Config) -> Result<Node, StartError> {
        let access = config.tokens.as_deref().map_or_else(|| Ok(Access::open()), read_tokens)?;
        let certificate = config.tls.clone().map(Certificate::read).transpose()?;
        let tls =
            certificate.as_ref().map(|certificate| certificate.server_config(None, HTTP_PROTOCOLS)).transpose()?;
        let nats = NatsParts::read(&config, certificate.as_ref())?;

        let live = Arc::new(Live::default());
        let metrics = Metrics::new(&config.node, Arc::clone(&live));
        let Opened { journal, hold } = engine::open(&config, &runtime)?;
        let journal: Arc<dyn Journal> = Arc::new(Metered::new(journal, metrics.appends()));
        remove_stale(&config.data);
        let limits = Limits { payload_bytes_max: config.limits.payload_bytes_max, ..Limits::default() };
        let port = Port::new(Arc::clone(&journal), Arc::clone(&live) as Arc<dyn Fabric>, access, limits);
        if matches!(config.engine, Engine::Nats(_)) {
            port.set_shared();
        }
        let rooms = match Rooms::open(&runtime, &config, (&port, live), &metrics, certificate, nats) {
            Ok(rooms) => rooms,
            Err(error) => {
                runtime.block_on(close(&*journal));
                return Err(error);
            }
        };
        let Rooms { listener, reloader, doors, joined, views, schemas, resources, federation, mut ports } = rooms;
        let http = listener.map(|(listener, address)| {
            ports.http = Some(address);
            let parts = HttpParts {
                port,
                journal: Arc::clone(&journal),
                metrics,
                schemas,
                resources,
                federation: Arc::clone(&federation),
                hub: doors.hub.clone(),
                services: doors.services.clone(),
                slim: doors.slim.clone(),
                control: doors.control.clone(),
                led: doors.led.clone(),
                asker: joined.map(|joined| joined.asker),
                views: Arc::clone(&views),
                tls,
                local: address.ip().is_loopback(),
            };
            HttpDoor::open(&runtime, listener, parts)
        });
        let ports_file = write_ports(&config, &ports);
        Ok(Node { config, ports, journal, http, doors, views, federation, reloader, ports_file, runtime, _hold: hold })
    }

    /// What the node was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its doors listen.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Reads tokens and certificates again, soon.
    pub fn reload(&self) {
        self.reloader.ask();
    }

    /// Stops the node; returns when everything has come to rest.
    pub fn stop(self) -> Ended {
        self.stop_unless(false, std::future::pending())
    }

    /// `lame_duck`: clients are given as long as they are promised to leave, whatever the deadline.
    fn stop_unless(mut self, lame_duck: bool, hurry: impl Future<Output = ()>) -> Ended {
        let (http, doors) = (self.http.take(), std::mem::take(&mut self.doors));
        let journal = Arc::clone(&self.journal);
        let (federation, views) = (Arc::clone(&self.federation), Arc::clone(&self.views));
        let deadline = STOP_DEADLINE + self.config.nats.lame_duck.filter(|_| lame_duck).unwrap_or_default();
        let rest = async move {
            let http = async {
                if let Some(http) = http {
                    http.close().await;
                }
            };
            let mesh = doors.mesh.clone();
            if timeout(deadline, async { tokio::join!(http, doors.close(lame_duck)) }).await.is_err() {
                warn!("requests in flight did not finish within {deadline:?}; they are cut off");
            }
            if let Some(mesh) = mesh {
                mesh.close();
            }
            federation.close().await;
            views.close().await;
            close(&*journal).await
        };
        let ended = self.runtime.block_on(async move {
            tokio::select! {
                ended = rest => ended,
                () = hurry => Ended::Hurried,
            }
        });
        drop(self.ports_file.take());
        self.runtime.shutdown_background();
        ended
    }
}

/// Raises this process's limit of open files as far as it may: each connection is one.
fn make_room_for_connections() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        warn!(%error, "cannot raise the limit of open files");
    }
    let wanted = (CONNECTIONS_MAX + FILES_BESIDES) as u64;
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < wanted => {
            warn!("{files} files may be open, {wanted} are needed for {CONNECTIONS_MAX} connections; see ulimit -n");
        }
        _ => {}
    }
}

fn runtime() -> Result<Runtime, StartError> {
    let workers = available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_name("door")
        .enable_all()
        .build()
        .map_err(|error| StartError::System { doing: "start the threads", error })
}

async fn close(journal: &dyn Journal) -> Ended {
    match timeout(CLOSE_DEADLINE, journal.close()).await {
        Ok(()) => Ended::Clean,
        Err(_) => {
            warn!("the journal did not come to rest within {CLOSE_DEADLINE:?}; it recovers at the next start");
            Ended::Hurried
        }
    }
}

/// Binds a door's address, unless it is off.
pub(crate) fn listen(door: &'static str, listen: Listen) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Listen::At(address) = listen else {
        return Ok(None);
    };
    let failed = |error: io::Error| StartError::Listen { door, address, error };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(failed)?;
    // A port whose last connections are not yet forgotten can be listened on again.
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

/// Creates what is missing: the default stream, unless another captures its subjects, and the
/// configured ones. One that exists is left as it is: it may have been changed since, on purpose.
pub(crate) async fn create_streams(journal: &dyn Journal, config: &Config) -> Result<(), StartError> {
    let configured = &config.streams;
    for stream in configured {
        create_stream(journal, stream.clone()).await?;
    }
    let (name, subjects) = EVENTS_STREAM;
    if !config.default_stream || configured.iter().any(|stream| stream.name == name) {
        return Ok(());
    }
    let refused = |reason: String| StartError::Stream { stream: name.to_owned(), reason };
    let pattern = Pattern::parse(subjects).map_err(|error| refused(error.to_string()))?;
    let mut events = StreamConfig::new(name, [pattern]);
    events.description = String::from("Every event that names no other subject");
    match journal.stream_info(name).await {
        Ok(_) => Ok(()),
        Err(StreamError::NotFound(_)) => match journal.stream_create(events).await {
            Ok(_) => Ok(()),
            Err(error @ StreamError::Overlap { .. }) => {
                warn!(%error, "the default stream is not created");
                Ok(())
            }
            Err(error) => Err(refused(error.to_string())),
        },
        Err(error) => Err(refused(error.to_string())),
    }
}

async fn create_stream(journal: &dyn Journal, config: StreamConfig) -> Result<(), StartError> {
    let name = config.name.clone();
    let refused = |error: StreamError| StartError::Stream { stream: name.clone(), reason: error.to_string() };
    match journal.stream_info(&name).await {
        Ok(found) if found.config.subjects == config.subjects => Ok(()),
        Ok(_) => {
            warn!(
                stream = name,
                "the stream exists with other subjects than the configuration gives; it is left as is"
            );
            Ok(())
        }
        Err(StreamError::NotFound(_)) => journal.stream_create(config).await.map(|_| ()).map_err(refused),
        Err(error) => Err(refused(error)),
    }
}

/// Writes `ports.json`. A node whose directory cannot be written still serves what it holds.
fn write_ports(config: &Config, ports: &Ports) -> Option<PortsFile> {
    match PortsFile::write(&config.data, ports) {
        Ok(file) => Some(file),
        Err(error) => {
            warn!(%error, "cannot write ports.json in {}", config.data.display());
            None
        }
    }
}
