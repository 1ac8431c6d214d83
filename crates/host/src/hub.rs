//! The hub door, joined to this node: its sockets, the links and targets that resources declare, its end.
//!
//! # Invariants
//! - Of a resource that cannot be used (a token's file that is not there, a certificate that is none) the reason
//!   is told. A target is left out then; a link stays, since what it owes must. The others are in force.
//! - Files are read beside the asynchronous tasks, at every change of resources and when told to reload.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use door::Port;
use door_hub::{Bearer, Counts, Format, HubDoor, Link, Options, Sockets, Target};
use parking_lot::Mutex;
use plan::{Declared, HubLinkSpec, HubTls, RepeaterTargetSpec};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Config, Listen};
use crate::error::StartError;
use crate::file::read_token;
use crate::node::listen;
use crate::scrape::{Encoded, counter, counters, gauges};
use crate::tls::Certificate;

/// Where the door listens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HubAddresses {
    pub(crate) hub: Option<SocketAddr>,
    pub(crate) repeater: Option<SocketAddr>,
}

/// The open door, with what is declared of it.
pub(crate) struct Hub {
    door: HubDoor,
    declared: watch::Receiver<Arc<Declared>>,
    /// What is in force, so that what did not change is left alone.
    in_force: Mutex<InForce>,
    end: CancellationToken,
}

/// The door as it was told, with its sockets, before anything is served.
pub(crate) struct HubParts {
    sockets: Sockets,
    addresses: HubAddresses,
    options: Options,
}

/// What is in force: links, targets, and each link as it could last be used.
type InForce = (Vec<HubLinkSpec>, Vec<RepeaterTargetSpec>, BTreeMap<String, Link>);

/// Binds the door's addresses, unless it is off.
pub(crate) fn bind(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Option<HubParts>, StartError> {
    let Some((hub, at)) = listen("hub", config.hub.listen)? else {
        if let Listen::At(_) = config.hub.repeater {
            return Err(StartError::invalid("hub.repeater", "is a part of the hub door, which is off"));
        }
        return Ok(None);
    };
    let (repeater, repeater_at) = listen("repeater", config.hub.repeater)?.unzip();
    let addresses = HubAddresses { hub: Some(at), repeater: repeater_at };
    Ok(Some(HubParts { sockets: Sockets { hub, repeater }, addresses, options: options(config, certificate)? }))
}

/// What the configuration says of the door.
fn options(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Options, StartError> {
    let (hub, standard) = (&config.hub, Options::default());
    let named = |names: &Vec<String>| Some(names.clone()).filter(|names| !names.is_empty());
    let tls = match certificate {
        None => None,
        Some(certificate) => {
            let config = certificate.server_config(None, &[])?;
            let present: door_hub::Tls = Arc::new(move || Arc::clone(&config));
            Some(present)
        }
    };
    let ping_interval = hub.ping_interval.unwrap_or(standard.ping_interval);
    Ok(Options {
        node: config.node.clone(),
        strict_compat: hub.strict,
        payload_bytes_max: hub.frame_bytes_max.unwrap_or(config.limits.payload_bytes_max),
        connections_max: hub.connections_max.unwrap_or(standard.connections_max),
        rooms_max: hub.rooms_max.unwrap_or(standard.rooms_max),
        pending_bytes_max: hub.pending_bytes_max.unwrap_or(standard.pending_bytes_max),
        pending_messages_max: hub
            .pending_max
            .map_or(standard.pending_messages_max, |most| u32::try_from(most).unwrap_or(u32::MAX)),
        write_deadline: hub.write_deadline.unwrap_or(standard.write_deadline),
        ping_interval,
        // The original's own relation: two pings without an answer.
        read_deadline: ping_interval.saturating_mul(2),
        hubs: named(&hub.hubs),
        repeaters: named(&hub.repeaters),
        origins: hub.origins.clone(),
        tls,
        // Authorities of the system, where it has any; a link to wss without them says so.
        client_tls: link::client_config(&link::ClientFiles::default()).ok(),
        ..standard
    })
}

impl Hub {
    /// Serves from now on, with the links and targets that are declared.
    pub(crate) fn open(
        runtime: &Runtime,
        parts: Option<HubParts>,
        port: &Port,
        declared: watch::Receiver<Arc<Declared>>,
    ) -> Result<(Option<Arc<Self>>, HubAddresses), StartError> {
        let Some(HubParts { sockets, addresses, options }) = parts else {
            return Ok((None, HubAddresses::default()));
        };
        let _entered = runtime.enter();
        let door = HubDoor::open(sockets, port.clone(), options)
            .map_err(|error| StartError::System { doing: "open the hub door", error })?;
        let hub = Arc::new(Hub { door, declared, in_force: Mutex::default(), end: CancellationToken::new() });
        runtime.spawn(follow(Arc::clone(&hub)));
        Ok((Some(hub), addresses))
    }

    /// Files whose change is to be noticed.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let declared = self.declared.borrow();
        let links = declared.hub_links().values().map(|link| (&link.token_file, &link.tls));
        let targets = declared.repeater_targets().values().map(|target| (&target.token_file, &target.tls));
        let files = links.chain(targets).flat_map(|(token, tls)| [token, &tls.ca_file, &tls.cert_file, &tls.key_file]);
        files.filter(|file| !file.is_empty()).map(PathBuf::from).collect()
    }

    /// Reads the files of links and targets again. Blocks: not for the executor's threads.
    pub(crate) fn reload(&self) {
        let declared = Arc::clone(&self.declared.borrow());
        self.take_up(&declared, true);
    }

    /// Puts what is declared in force. Blocks on files.
    fn take_up(&self, declared: &Declared, anew: bool) {
        let wanted = (
            declared.hub_links().values().cloned().collect::<Vec<_>>(),
            declared.repeater_targets().values().cloned().collect::<Vec<_>>(),
        );
        let mut in_force = self.in_force.lock();
        let in_force = &mut *in_force;
        if anew || in_force.0 != wanted.0 {
            let links = declared.hub_links().iter();
            self.door.set_links(links.map(|(name, spec)| Self::link(&mut in_force.2, name, spec)).collect());
        }
        if anew || in_force.1 != wanted.1 {
            let targets = declared.repeater_targets().iter();
            let targets = targets.filter_map(|(name, spec)| told("RepeaterTarget", name, target_of(name, spec)));
            self.door.set_targets(targets.collect());
        }
        (in_force.0, in_force.1) = wanted;
        let links = declared.hub_links();
        in_force.2.retain(|name, _| links.contains_key(name));
    }

    /// A link as it is declared. One whose files cannot be read is there as it last was, or without them: a link
    /// that is not there would owe nothing, and lose what it owes.
    fn link(known: &mut BTreeMap<String, Link>, name: &str, spec: &HubLinkSpec) -> Link {
        match told("HubLink", name, link_of(name, spec)) {
            Some(link) => {
                known.insert(name.to_owned(), link.clone());
                link
            }
            None => {
                let (address, rooms) = (spec.address.clone(), spec.rooms.clone());
                let bare = || Link::new(name, address.clone());
                Link { address: address.clone(), rooms, ..known.get(name).cloned().unwrap_or_else(bare) }
            }
        }
    }

    /// Says whenever somebody came, went or changed rooms.
    pub(crate) fn roster(&self) -> watch::Receiver<u64> {
        self.door.roster()
    }

    /// What the door counted.
    pub(crate) fn counts(&self) -> Counts {
        self.door.counts()
    }

    /// Disconnects everyone, and waits for what is in flight.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        self.door.close().await;
    }
}

impl door_http::Hub for Hub {
    fn status(&self) -> Value {
        self.door.status()
    }

    fn ailment(&self) -> Option<String> {
        self.door.ailment()
    }
}

async fn follow(hub: Arc<Hub>) {
    let mut declared = hub.declared.clone();
    declared.mark_changed();
    loop {
        tokio::select! {
            () = hub.end.cancelled() => return,
            changed = declared.changed() => if changed.is_err() {
                return;
            },
        }
        let (hub, now) = (Arc::clone(&hub), Arc::clone(&declared.borrow_and_update()));
        if let Err(error) = tokio::task::spawn_blocking(move || hub.take_up(&now, false)).await {
            warn!(%error, "the links and targets of the hub door are not taken up");
        }
    }
}

/// Says why a resource cannot be used.
fn told<T>(kind: &str, name: &str, made: Result<T, String>) -> Option<T> {
    made.inspect_err(|reason| warn!(kind, name, reason, "the resource cannot be used; the others are in force")).ok()
}

fn link_of(name: &str, spec: &HubLinkSpec) -> Result<Link, String> {
    Ok(Link {
        name: name.to_owned(),
        address: spec.address.clone(),
        token: token(&spec.token_file)?,
        rooms: spec.rooms.clone(),
        tls: client_tls(&spec.tls)?,
    })
}

fn target_of(name: &str, spec: &RepeaterTargetSpec) -> Result<Target, String> {
    let http = spec.address.starts_with("http:") || spec.address.starts_with("https:");
    Ok(Target {
        name: name.to_owned(),
        address: spec.address.clone(),
        rooms: spec.rooms.clone(),
        format: if http { Format::Http } else { Format::WebSocket },
        attempts_max: spec.retry.max_attempts,
        backoff: spec.retry.backoff,
        backoff_max: spec.retry.max_backoff,
        timeout: spec.timeout,
        idle: spec.idle,
        token: token(&spec.token_file)?,
        tls: client_tls(&spec.tls)?,
    })
}

/// The token in a file; `None` where none is named.
fn token(file: &str) -> Result<Option<Bearer>, String> {
    let file = Some(file).filter(|file| !file.is_empty());
    file.map(|file| read_token(Path::new(file)).map(Bearer)).transpose()
}

/// What trusts the other side; `None` where nothing is said.
fn client_tls(tls: &HubTls) -> Result<Option<Arc<ClientConfig>>, String> {
    if *tls == HubTls::default() {
        return Ok(None);
    }
    let given = |file: &str| Some(file).filter(|file| !file.is_empty()).map(PathBuf::from);
    let identity = given(&tls.cert_file).zip(given(&tls.key_file));
    let files = link::ClientFiles { authorities: given(&tls.ca_file), identity };
    link::client_config(&files).map(Some).map_err(|error| error.to_string())
}

/// What the door counted, as a scrape shows it.
#[derive(Debug)]
pub(crate) struct HubCounts(pub(crate) Counts);

impl Collector for HubCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let (counts, encoder) = (&self.0, &mut encoder);
        let now = &counts.connections;
        let kinds = [
            ("messenger", now.messengers),
            ("repeater", now.repeaters),
            ("hub", now.hubs),
            ("peer", now.peers),
            ("target", now.targets),
        ];
        gauges(encoder, "tidings_hub_connections", "Connections now", "kind", &kinds)?;
        let links = [("declared", counts.links), ("up", counts.links_up)];
        gauges(encoder, "tidings_hub_links", "Links to other hubs", "state", &links)?;
        counter(encoder, "tidings_hub_connected", "Connections taken and dialled", counts.connected)?;
        counter(encoder, "tidings_hub_refused", "Requests to connect that were refused", counts.refused)?;
        counter(encoder, "tidings_hub_events", "Events that came in", counts.events_in)?;
        counter(encoder, "tidings_hub_events_bytes", "Bytes of their payloads", counts.bytes_in)?;
        counter(encoder, "tidings_hub_deliveries", "Events handed to connections", counts.deliveries)?;
        counter(encoder, "tidings_hub_deliveries_bytes", "Bytes of them", counts.bytes_out)?;
        counter(encoder, "tidings_hub_duplicates", "Events that came again over a link", counts.duplicates)?;
        counter(encoder, "tidings_hub_pushed", "Events that targets took", counts.pushed)?;
        counter(encoder, "tidings_hub_push_retries", "Pushes that were tried again", counts.push_retries)?;
        counters(encoder, "tidings_hub_dropped", "Events not delivered, by reason", &counts.dropped)?;
        let help = "Connections that ended, by reason";
        counters(encoder, "tidings_hub_disconnected", help, &counts.disconnected)
    }
}
