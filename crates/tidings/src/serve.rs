//! `tidings serve`: runs a node until it is told to stop.
//!
//! Turns flags, environment and files into the node's configuration, says on standard output where
//! the node is, and logs on standard error. The node itself is the crate `host`.

mod logs;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use host::config::{
    ConsulLayer, DnsLayer, Engine, HubLayer, Layer, LimitsLayer, Listen, LogFormat, MeshFields, MeshLayer, NatsLayer,
    SlimLayer, SlimMembership, SlimPeer, SlimPlace, Sync, TlsLayer,
};
use host::units::Size;
use host::{Config, Ended, FileFault, Node, StartError};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};

/// What is logged where nothing is said.
const LOG_DEFAULT: &str = "info";

/// Flags of `tidings serve`. Each can be said in the environment and in a configuration file too; a flag is
/// stronger than the environment, and the environment than a file.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// A configuration file, or a directory of *.yaml files
    #[arg(long, value_name = "FILE|DIR", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// The node's name [default: this machine's]
    #[arg(long, value_name = "NAME", env = "TIDINGS_NODE")]
    node: Option<String>,
    /// Where the data is [default: ./tidings-data]
    #[arg(long, value_name = "DIR", env = "TIDINGS_DATA")]
    data: Option<PathBuf>,
    /// What keeps the journal: disk, memory, or the servers of a NATS cluster as nats://host:4222[,host2…] [default: disk]
    #[arg(long, value_name = "ENGINE", env = "TIDINGS_ENGINE")]
    engine: Option<Engine>,
    /// Copies of each stream, where the engine is a NATS cluster: 1, 3 or 5 [default: 1]
    #[arg(long, value_name = "N", env = "TIDINGS_REPLICAS")]
    replicas: Option<u8>,
    /// What lets the node in at the engine's servers: a NATS .creds file, or a file with user:password or a token
    #[arg(long, value_name = "FILE", env = "TIDINGS_ENGINE_CREDS")]
    engine_creds: Option<PathBuf>,
    /// When a message counts as recorded: 'always' once it is on disk, or an interval such as 10ms at which the disk
    /// is synced [default: always]
    #[arg(long, value_name = "always|SPAN", env = "TIDINGS_SYNC")]
    sync: Option<Sync>,
    /// The HTTP door [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_HTTP", help_heading = "Doors")]
    http: Option<Listen>,
    /// The NATS door [default: 127.0.0.1:4222]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_NATS", help_heading = "Doors")]
    nats: Option<Listen>,
    /// The NATS door's WebSocket listener [default: off]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_NATS_WEBSOCKET", help_heading = "Doors")]
    nats_websocket: Option<Listen>,
    /// NATS monitoring [default: 127.0.0.1:8222; off where the NATS door is]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_MONITOR", help_heading = "Doors")]
    monitor: Option<Listen>,
    /// The hub door, for messengers, repeaters and hubs [default: 127.0.0.1:7100]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_HUB", help_heading = "Doors")]
    hub: Option<Listen>,
    /// The repeater's own listener, as 127.0.0.1:7101 [default: off]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_REPEATER", help_heading = "Doors")]
    repeater: Option<Listen>,
    /// Deliver events in the hub door as often as the original does, doubled ones too
    #[arg(long, env = "TIDINGS_STRICT_COMPAT", value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", help_heading = "Doors")]
    strict_compat: Option<bool>,
    /// The Consul door: the catalogue of services, keys and sessions over HTTP [default: 127.0.0.1:8500]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_CONSUL", help_heading = "Doors")]
    consul: Option<Listen>,
    /// Subscriptions to the catalogue over gRPC [default: 127.0.0.1:8502; off where the Consul door is]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_CONSUL_GRPC", help_heading = "Doors")]
    consul_grpc: Option<Listen>,
    /// The datacenter that the catalogue is [default: dc1]
    #[arg(long, value_name = "NAME", env = "TIDINGS_DATACENTER", help_heading = "Doors")]
    datacenter: Option<String>,
    /// The DNS door: services and nodes by name, over UDP and TCP [default: 127.0.0.1:8600]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_DNS", help_heading = "Doors")]
    dns: Option<Listen>,
    /// The SLIM door, over gRPC and WebSocket [default: 127.0.0.1:46357]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_SLIM", help_heading = "Doors")]
    slim: Option<Listen>,
    /// A replica of this node in a SLIM domain, of this make or the original's; can be given several times
    #[arg(
        long,
        value_name = "NODE=[https://]HOST:PORT",
        env = "TIDINGS_SLIM_PEER",
        value_delimiter = ',',
        help_heading = "Doors"
    )]
    slim_peer: Vec<SlimPeer>,
    /// Where original SLIM nodes register with this controller, as 127.0.0.1:50052 [default: off]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_SLIM_SOUTH", help_heading = "Mesh")]
    slim_south: Option<Listen>,
    /// Where slimctl asks this controller and changes its segments, as 127.0.0.1:50051 [default: off]
    #[arg(long, value_name = "ADDR|off", env = "TIDINGS_SLIM_NORTH", help_heading = "Mesh")]
    slim_north: Option<Listen>,
    /// An original SLIM control plane that leads this node, as [https://]HOST:PORT; can be given several times, to be
    /// tried in turn. --domain and --domain-secret-file are this node's domain there
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TIDINGS_SLIM_CONTROLLER",
        value_delimiter = ',',
        help_heading = "Mesh"
    )]
    slim_controller: Vec<SlimPlace>,
    /// Where SLIM nodes of other domains reach this one
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_SLIM_EXTERNAL", help_heading = "Mesh")]
    slim_external: Option<String>,
    /// The file of authorities that certificates of SLIM nodes and controllers must come from [default: the system's]
    #[arg(long, value_name = "FILE", env = "TIDINGS_SLIM_CA", help_heading = "Security")]
    slim_ca: Option<PathBuf>,
    /// The file with what is shown to SLIM nodes and controllers that ask: Bearer TOKEN or Basic USER:PASSWORD
    #[arg(long, value_name = "FILE", env = "TIDINGS_SLIM_CREDENTIALS", help_heading = "Security")]
    slim_credentials: Option<PathBuf>,
    /// Where other nodes of the mesh connect [default: 127.0.0.1:7200 in a mesh; off otherwise]
    #[arg(long, value_name = "ADDR", env = "TIDINGS_MESH", help_heading = "Mesh")]
    mesh: Option<Listen>,
    /// The domain that this node belongs to [default: default]
    #[arg(long, value_name = "NAME", env = "TIDINGS_DOMAIN", help_heading = "Mesh")]
    domain: Option<String>,
    /// Let this node lead a mesh: domains, topology and segments are declared at it
    #[arg(long, env = "TIDINGS_CONTROLLER", value_parser = BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", help_heading = "Mesh")]
    controller: Option<bool>,
    /// Where a controller of the mesh is; can be given several times
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_JOIN", value_delimiter = ',', help_heading = "Mesh")]
    join: Vec<String>,
    /// The file with the secret of this node's domain, which proves to the controller that it belongs there
    #[arg(long, value_name = "FILE", env = "TIDINGS_DOMAIN_SECRET_FILE", help_heading = "Mesh")]
    domain_secret_file: Option<PathBuf>,
    /// Where nodes of the own domain reach this one, if not where it listens
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_MESH_ADVERTISE", help_heading = "Mesh")]
    mesh_advertise: Option<String>,
    /// Where nodes of other domains reach this one; without it, it dials them
    #[arg(long, value_name = "HOST:PORT", env = "TIDINGS_MESH_EXTERNAL", help_heading = "Mesh")]
    mesh_external: Option<String>,
    /// Let anyone who can reach a door use it, beyond loopback too
    #[arg(long, env = "TIDINGS_OPEN", value_parser = BoolishValueParser::new(), help_heading = "Security")]
    open: bool,
    /// The file of bearer tokens; with it, every request needs one
    #[arg(long, value_name = "FILE", env = "TIDINGS_TOKENS", help_heading = "Security")]
    tokens: Option<PathBuf>,
    /// The folder of schemas that payloads are checked by: *.yaml and *.json
    #[arg(long, value_name = "DIR", env = "TIDINGS_SCHEMAS")]
    schemas: Option<PathBuf>,
    /// The folder of resources, such as groups, peers and subscriptions: *.yaml, *.yml and *.json
    #[arg(long, value_name = "DIR", env = "TIDINGS_RESOURCES")]
    resources: Option<PathBuf>,
    /// Write the effective configuration, declared and derived, to this file whenever it changes
    #[arg(long, value_name = "FILE", env = "TIDINGS_EFFECTIVE")]
    effective: Option<PathBuf>,
    /// The certificate chain, as PEM; doors then speak TLS
    #[arg(long, value_name = "FILE", env = "TIDINGS_TLS_CERT", help_heading = "Security")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "TIDINGS_TLS_KEY", help_heading = "Security")]
    tls_key: Option<PathBuf>,
    /// Largest payload of a message [default: 1MiB]
    #[arg(long, value_name = "BYTES", env = "TIDINGS_PAYLOAD_MAX", help_heading = "Limits")]
    payload_max: Option<Size>,
    /// What is logged: off, error, warn, info, debug, trace, or per part as in info,host=debug [default: info]
    #[arg(long, value_name = "LEVEL", env = "TIDINGS_LOG", help_heading = "Logs")]
    log: Option<String>,
    /// How it is logged: human, json, or nats for lines as nats-server writes them [default: human]
    #[arg(long, value_name = "FORMAT", env = "TIDINGS_LOG_FORMAT", help_heading = "Logs")]
    log_format: Option<LogFormat>,
    /// Where it is logged instead of standard error; appended to
    #[arg(long, value_name = "FILE", env = "TIDINGS_LOG_FILE", help_heading = "Logs")]
    log_file: Option<PathBuf>,
}

impl ServeArgs {
    fn into_layer(self) -> Layer {
        Layer {
            node: self.node,
            data: self.data,
            engine: self.engine,
            replicas: self.replicas,
            engine_creds: self.engine_creds,
            sync: self.sync,
            http: self.http,
            nats: NatsLayer::listening(self.nats, self.monitor, self.nats_websocket),
            hub: HubLayer::listening(self.hub, self.repeater, self.strict_compat),
            consul: ConsulLayer::listening(self.consul, self.consul_grpc, self.datacenter),
            dns: DnsLayer::listening(self.dns),
            slim: SlimLayer::listening(self.slim, self.slim_south, self.slim_north)
                .with_peers(self.slim_peer)
                .with_membership(SlimMembership {
                    controllers: self.slim_controller,
                    external: self.slim_external,
                    secret_file: None,
                    authorities: self.slim_ca,
                    credentials_file: self.slim_credentials,
                }),
            mesh: MeshLayer::from(MeshFields {
                listen: self.mesh,
                domain: self.domain,
                advertise: self.mesh_advertise,
                external: self.mesh_external,
                controller: self.controller,
                join: Some(self.join).filter(|join| !join.is_empty()),
                secret_file: self.domain_secret_file,
            }),
            open: self.open.then_some(true),
            tokens: self.tokens,
            tls: TlsLayer { certificate: self.tls_cert, key: self.tls_key },
            limits: LimitsLayer { payload_max: self.payload_max },
            log: self.log,
            log_format: self.log_format,
            log_file: self.log_file,
            schemas: self.schemas,
            resources: self.resources,
            effective: self.effective,
            streams: Vec::new(),
            default_stream: None,
        }
    }
}

/// Runs a node until it is told to stop.
pub fn run(mut args: ServeArgs) -> miette::Result<ExitCode> {
    let file = match args.config.take() {
        Some(path) => host::file::read_config(&path).map_err(explain)?,
        None => Layer::default(),
    };
    let layer = args.into_layer().over(file);
    let format = layer.log_format.unwrap_or_default();
    logs::start(layer.log.as_deref().unwrap_or(LOG_DEFAULT), format, layer.log_file.as_deref())?;
    let ended = Config::from_layers(layer).and_then(|config| {
        Node::run(config, |node| {
            if format == LogFormat::Nats {
                return logs::say_where(node);
            }
            // Nobody reads standard output: the node serves all the same.
            let _unread = io::stdout().write_all(welcome(node).as_bytes());
        })
    });
    if format == LogFormat::Nats
        && let Err(error) = &ended
    {
        logs::fatal(error);
    }
    Ok(match ended.map_err(explain)? {
        Ended::Clean => ExitCode::SUCCESS,
        Ended::Hurried => ExitCode::FAILURE,
    })
}

fn welcome(node: &Node) -> String {
    let (config, ports) = (node.config(), node.ports());
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let engine = match (&config.engine, config.sync) {
        (Engine::Nats(address), _) => {
            format!("{address}, {} replicas; the servers' sync_interval says when they sync", config.replicas)
        }
        (Engine::Memory, _) => String::from("memory: everything is gone when the node stops"),
        (Engine::Disk, Sync::Always) => String::from("disk, synced before every receipt"),
        (Engine::Disk, Sync::Interval(span)) => {
            format!("disk, synced every {span:?}: a power cut may cost what came since")
        }
    };
    let head = format!(
        "Tidings {} is ready.\n  node    {}\n  data    {}\n  engine  {engine}\n",
        env!("CARGO_PKG_VERSION"),
        config.node,
        data.display()
    );
    let nats = match (ports.nats, ports.monitor) {
        (None, _) => String::from("off"),
        (Some(nats), None) => format!("nats://{nats}"),
        (Some(nats), Some(monitor)) => format!("nats://{nats} (monitoring http://{monitor})"),
    };
    let hub = match (ports.hub, ports.repeater) {
        (None, None) => String::from("off"),
        (None, Some(repeater)) => format!("off (repeater ws://{repeater})"),
        (Some(hub), None) => format!("ws://{hub}"),
        (Some(hub), Some(repeater)) => format!("ws://{hub} (repeater ws://{repeater})"),
    };
    let at = |scheme: &str, address: Option<SocketAddr>| {
        address.map_or_else(|| String::from("off"), |address| format!("{scheme}://{address}"))
    };
    let scheme = if ports.tls { "https" } else { "http" };
    let consul = match ports.consul_grpc {
        None => at(scheme, ports.consul),
        Some(grpc) => format!("{} (gRPC {grpc})", at(scheme, ports.consul)),
    };
    let (dns, slim) = (at("dns", ports.dns), at(if ports.tls { "https" } else { "http" }, ports.slim));
    let head = head
        + &format!("  nats    {nats}\n  hub     {hub}\n  consul  {consul}\n  dns     {dns}\n  slim    {slim}\n")
        + &ports.mesh.map_or_else(String::new, |mesh| {
            let role = if config.mesh.controller { ", a controller" } else { "" };
            format!("  mesh    {mesh}, domain {}{role}\n", config.mesh.domain)
        });
    let Some(http) = ports.http else {
        return head + "  http    off\n";
    };
    let url = format!("{}://{http}", if ports.tls { "https" } else { "http" });
    let standard = url == format!("http://127.0.0.1:{}", host::config::HTTP_PORT);
    let server = if standard { String::new() } else { format!(" --server {url}") };
    let (access, token, header) = match config.tokens {
        Some(_) => ("tokens", " --token-file FILE", " -H \"authorization: Bearer $TOKEN\""),
        None => ("open to anyone who reaches it", "", ""),
    };
    head + &format!(
        "  http    {url} ({access})\n\n\
         Try next, in another terminal:\n  \
           tidings event tail{server}{token}\n  \
           tidings event emit --type hello.world --payload text=hi{server}{token}\n  \
           curl -i{header} {url}/v1/events -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /curl' \
         -H 'ce-type: hello.world' -H 'content-type: text/plain' -d hi\n"
    )
}

/// A start error as a person reads it: what, where in which file, and what to do.
fn explain(error: StartError) -> Report {
    let advice = error.advice();
    match error {
        StartError::File(FileFault { path, line, column, reason, text: Some(text) }) => {
            let at = offset(&text, line, column);
            let label = LabeledSpan::at_offset(at, "here");
            let what = format!("{}:{line}: {reason}", path.display());
            let source = NamedSource::new(path.display().to_string(), text);
            Report::new(MietteDiagnostic::new(what).with_label(label)).with_source_code(source)
        }
        error => {
            let mut said = MietteDiagnostic::new(error.to_string());
            said.help = advice;
            Report::new(said)
        }
    }
}

/// Where a line and column, both from 1, lie in a text, in bytes.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let skip = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
    let line: &str = match text.split_inclusive('\n').nth(skip(line)) {
        Some(line) => line,
        None => return text.len(),
    };
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    start + line.char_indices().nth(skip(column)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_file_is_found_in_its_bytes() {
        let text = "a: é\nbc: 1\n";
        for (line, column, expected) in [(1, 1, 0), (1, 4, 3), (2, 2, 7), (0, 0, 0), (9, 1, 12), (2, 99, 6)] {
            assert_eq!(offset(text, line, column), expected, "{line}:{column}");
        }
    }
}
