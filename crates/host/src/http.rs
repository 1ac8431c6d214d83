//! The HTTP door, joined to this node: its socket, its task, its end.

use std::sync::Arc;

use door::Port;
use door_http::{Metrics as Gathered, MetricsText, NoHub, NoMesh, Options, router, serve};
use door_slimctl::{SlimControl, SlimNode};
use journal::Journal;
use prometheus_client::collector::Collector;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::catalogue::{CatalogueCounts, Services};
use crate::config::EVENTS_STREAM;
use crate::federation::Federation;
use crate::hub::{Hub, HubCounts};
use crate::mesh::Asker;
use crate::metrics::Metrics;
use crate::resources::Resources;
use crate::schemas::Schemas;
use crate::slim::{Slim, SlimCounts};
use crate::slimctl::SlimControlCounts;
use crate::views::DeclaredViews;

/// What the door is made of.
pub(crate) struct HttpParts {
    pub(crate) port: Port,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: Metrics,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) federation: Arc<Federation>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) services: Option<Arc<Services>>,
    pub(crate) slim: Option<Arc<Slim>>,
    /// Nodes of SLIM's make that this one leads.
    pub(crate) control: Option<Arc<SlimControl>>,
    /// This node under a controller of that make.
    pub(crate) led: Option<Arc<SlimNode>>,
    /// Who answers for the mesh, where this node is in one.
    pub(crate) asker: Option<Arc<Asker>>,
    pub(crate) views: Arc<DeclaredViews>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether the door listens on loopback alone.
    pub(crate) local: bool,
}

/// The open door.
pub(crate) struct HttpDoor {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpDoor {
    /// Serves from now on.
    pub(crate) fn open(runtime: &Runtime, listener: TcpListener, parts: HttpParts) -> Self {
        let HttpParts {
            port,
            journal,
            metrics,
            schemas,
            resources,
            federation,
            hub,
            services,
            slim,
            control,
            led,
            asker,
            views,
            tls,
            local,
        } = parts;
        let shutdown = CancellationToken::new();
        let options = Options {
            event_stream: String::from(EVENTS_STREAM.0),
            metrics: Arc::new(Gatherer {
                journal,
                metrics,
                hub: hub.clone(),
                services,
                slim,
                control,
                led,
                mesh: asker.clone(),
                views: Arc::clone(&views),
            }),
            schemas,
            resources,
            federation,
            hub: match hub {
                Some(hub) => hub,
                None => Arc::new(NoHub),
            },
            mesh: match asker {
                Some(asker) => asker,
                None => Arc::new(NoMesh),
            },
            views: views.views(),
            shutdown: shutdown.clone(),
            local,
            ..Options::default()
        };
        let task = runtime.spawn(serve(listener, tls, router(port, options), shutdown.clone()));
        HttpDoor { shutdown, task }
    }

    /// Accepts nothing more, and waits for what is in flight.
    pub(crate) async fn close(self) {
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            error!(%error, "the HTTP door broke");
        }
    }
}

struct Gatherer {
    journal: Arc<dyn Journal>,
    metrics: Metrics,
    hub: Option<Arc<Hub>>,
    services: Option<Arc<Services>>,
    slim: Option<Arc<Slim>>,
    control: Option<Arc<SlimControl>>,
    led: Option<Arc<SlimNode>>,
    mesh: Option<Arc<Asker>>,
    views: Arc<DeclaredViews>,
}

impl Gathered for Gatherer {
    fn text(&self) -> MetricsText<'_> {
        let mut doors: Vec<Box<dyn Collector>> = vec![Box::new(self.views.counts())];
        if let Some(hub) = &self.hub {
            doors.push(Box::new(HubCounts(hub.counts())));
        }
        if let Some(services) = &self.services {
            doors.push(Box::new(CatalogueCounts(services.counts())));
        }
        if let Some(slim) = &self.slim {
            doors.push(Box::new(SlimCounts(slim.counts())));
        }
        if let Some(control) = &self.control {
            doors.push(Box::new(SlimControlCounts::of_nodes(control.counts())));
        }
        if let Some(led) = &self.led {
            doors.push(Box::new(SlimControlCounts::of_this(led.counts())));
        }
        if let Some(mesh) = &self.mesh {
            doors.push(Box::new(mesh.counts()));
        }
        Box::pin(self.metrics.render(&*self.journal, doors))
    }
}
