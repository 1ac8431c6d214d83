//! What stands on an open journal, but for the HTTP door, which stands on all of this.
//!
//! # Order
//! Streams are made and every address is bound before anything is opened: a node that cannot have one of its addresses
//! serves nobody for a moment. Then, from the ground up: schemas and resources, what follows them, the doors.

use std::net::SocketAddr;
use std::sync::Arc;

use ::mesh::names::{Name, NodeId};
use door::Port;
use door_nats::Sockets;
use door_slimctl::{SlimControl, SlimNode};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::catalogue::{self, CatalogueParts, Services};
use crate::config::Config;
use crate::error::StartError;
use crate::federation::{Federation, Ground};
use crate::hub::{self, Hub, HubParts};
use crate::live::Live;
use crate::mesh::{JoinParts, Joined, Mesh, MeshParts, join};
use crate::metrics::Metrics;
use crate::nats::{self, NatsAddresses, NatsDoor, NatsParts};
use crate::node::{create_streams, listen};
use crate::ports::Ports;
use crate::recorded::Recorder;
use crate::reload::{Reloadable, Reloader};
use crate::resources::Resources;
use crate::schemas::Schemas;
use crate::slim::{self, Slim, SlimParts};
use crate::slimctl::{self, SlimControlParts};
use crate::slimnode;
use crate::tls::Certificate;
use crate::views::DeclaredViews;

/// See the module.
pub(crate) struct Rooms {
    pub(crate) listener: Option<(TcpListener, SocketAddr)>,
    pub(crate) reloader: Reloader,
    pub(crate) doors: Doors,
    pub(crate) joined: Option<Joined>,
    pub(crate) views: Arc<DeclaredViews>,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) federation: Arc<Federation>,
    pub(crate) ports: Ports,
}

/// The open doors, but for the HTTP door, and the links to other nodes.
#[derive(Default)]
pub(crate) struct Doors {
    pub(crate) nats: Option<NatsDoor>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) services: Option<Arc<Services>>,
    pub(crate) slim: Option<Arc<Slim>>,
    pub(crate) control: Option<Arc<SlimControl>>,
    pub(crate) led: Option<Arc<SlimNode>>,
    pub(crate) mesh: Option<Arc<Mesh>>,
}

impl Doors {
    /// Disconnects all clients, and waits for what is in flight. Links to other nodes stay: what clients said last goes
    /// over them.
    pub(crate) async fn close(self, lame_duck: bool) {
        let Doors { nats, hub, services, slim, control, led, mesh: _ } = self;
        let nats = async {
            if let Some(nats) = nats {
                nats.close(lame_duck).await;
            }
        };
        let hub = async {
            if let Some(hub) = hub {
                hub.close().await;
            }
        };
        let services = async {
            if let Some(services) = services {
                services.close().await;
            }
        };
        let slim = async {
            if let Some(led) = led {
                led.close().await;
            }
            if let Some(slim) = slim {
                slim.close().await;
            }
            if let Some(control) = control {
                control.close().await;
            }
        };
        tokio::join!(nats, hub, services, slim);
    }
}

/// Every address of the node, bound, before anything is served.
struct Bound {
    http: Option<(TcpListener, SocketAddr)>,
    nats: Option<(Sockets, NatsAddresses)>,
    hub: Option<HubParts>,
    catalogue: Option<CatalogueParts>,
    slim: Option<SlimParts>,
    control: SlimControlParts,
    mesh: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    /// Binds them all, on the executor that is entered.
    fn bind(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Bound, StartError> {
        Ok(Bound {
            http: listen("http", config.http)?,
            nats: nats::bind(&config.nats)?,
            hub: hub::bind(config, certificate)?,
            catalogue: catalogue::bind(config, certificate)?,
            slim: slim::bind(config, certificate)?,
            control: slimctl::bind(config, certificate)?,
            mesh: listen("mesh", config.mesh.listen)?,
        })
    }
}

impl Rooms {
    /// Opens all of it. What was opened before a failure ends with the executor.
    pub(crate) fn open(
        runtime: &Runtime,
        config: &Config,
        (port, live): (&Port, Arc<Live>),
        metrics: &Metrics,
        certificate: Option<Arc<Certificate>>,
        nats: NatsParts,
    ) -> Result<Rooms, StartError> {
        let journal = port.journal();
        let mut ports = Ports::new(&config.node, &config.engine, certificate.is_some());
        let bound = runtime.block_on(async {
            create_streams(&**journal, config).await?;
            Bound::bind(config, certificate.as_ref())
        })?;
        let recorder = Recorder::new(&config.node, Arc::clone(journal), port.clone());
        let schemas = Schemas::open(config.schemas.clone(), recorder.clone(), port.clone());
        let schemas = runtime.block_on(schemas)?;
        let domain = config.mesh.controller.then(|| Name::parse(&config.mesh.domain).ok()).flatten();
        let resources = runtime.block_on(Resources::open(config.resources.clone(), recorder, domain))?;
        let federation = runtime.block_on(Federation::open(ground(config, port, metrics, &resources)));
        let mut doors = Doors::default();
        let at;
        (doors.hub, at) = Hub::open(runtime, bound.hub, port, resources.watch())?;
        (ports.hub, ports.repeater) = (at.hub, at.repeater);
        let at;
        (doors.services, at) = Services::open(runtime, bound.catalogue, port, &config.node)?;
        (ports.consul, ports.consul_grpc, ports.dns) = (at.consul, at.grpc, at.dns);
        (doors.slim, ports.slim) = Slim::open(runtime, bound.slim, port)?;
        doors.led = slimnode::open(runtime, config, doors.slim.as_ref());
        let mut joined = None;
        if let Some((listener, address)) = bound.mesh {
            ports.mesh = Some(address);
            let mesh = Mesh::open(runtime, MeshParts { id: mesh_id(config)?, listener, live })?;
            let parts = JoinParts { config, address, port: port.clone(), resources: Arc::clone(&resources) };
            joined = Some(join(runtime, &mesh, parts)?);
            doors.mesh = Some(mesh);
        }
        doors.control = govern(runtime, config, bound.control, (port, &resources, joined.as_ref()), &mut ports)?;
        let views = views(runtime, config, port, &resources, doors.hub.clone());
        let reloader = Reloader::start(Reloadable {
            port: port.clone(),
            tokens: config.tokens.clone(),
            certificates: certificate.into_iter().chain(nats.certificates).collect(),
            schemas: Arc::clone(&schemas),
            resources: Arc::clone(&resources),
            federation: Arc::clone(&federation),
            hub: doors.hub.clone(),
            secrets: joined.as_ref().map(|joined| Arc::clone(&joined.secrets)),
        });
        let reloader =
            reloader.map_err(|error| StartError::System { doing: "start the thread that reloads files", error })?;
        if let Some((sockets, at)) = bound.nats {
            (ports.nats, ports.websocket, ports.monitor) = (at.clients, at.websocket, at.monitor);
            let lame_duck = config.nats.lame_duck_on_stop;
            doors.nats = Some(NatsDoor::open(runtime, sockets, port.clone(), nats.options, lame_duck)?);
        }
        let listener = bound.http;
        Ok(Rooms { listener, reloader, doors, joined, views, schemas, resources, federation, ports })
    }
}

/// The declared views, and the node's own.
fn views(
    runtime: &Runtime,
    config: &Config,
    port: &Port,
    resources: &Resources,
    hub: Option<Arc<Hub>>,
) -> Arc<DeclaredViews> {
    let _entered = runtime.enter();
    let views = DeclaredViews::open(port, &config.data, resources.watch());
    if let Some(hub) = hub {
        let told = hub.roster();
        views.show_presence(move || door_http::Hub::status(&*hub), told);
    }
    views
}

/// Opens SLIM's control protocols, where this node may lead.
fn govern(
    runtime: &Runtime,
    config: &Config,
    parts: SlimControlParts,
    (port, resources, joined): (&Port, &Arc<Resources>, Option<&Joined>),
    ports: &mut Ports,
) -> Result<Option<Arc<SlimControl>>, StartError> {
    let Some(governor) = joined.and_then(|joined| joined.governor.clone()) else {
        return Ok(None);
    };
    let (id, resources, data) = (mesh_id(config)?, Arc::clone(resources), config.data.clone());
    let board = slimctl::BoardParts { id, governor, resources, port: port.clone(), data };
    let (control, [south, north]) = slimctl::open(runtime, parts, board)?;
    (ports.slim_south, ports.slim_north) = (south, north);
    Ok(control)
}

/// Who this node is in its mesh.
fn mesh_id(config: &Config) -> Result<NodeId, StartError> {
    let name = |field, text: &str| Name::parse(text).map_err(|error| StartError::invalid(field, error.to_string()));
    Ok(NodeId { domain: name("mesh.domain", &config.mesh.domain)?, node: name("node", &config.node)? })
}

/// What facts between sites stand on.
fn ground(config: &Config, port: &Port, metrics: &Metrics, resources: &Resources) -> Ground {
    Ground {
        node: config.node.clone(),
        journal: Arc::clone(port.journal()),
        port: port.clone(),
        meters: metrics.federation(),
        effective: config.effective.clone(),
        declared: resources.watch(),
    }
}
