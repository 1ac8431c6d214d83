//! The doors to the catalogue, joined to this node: their sockets, their counts, their end.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use door::Port;
use door_consul::ConsulDoor;
use door_dns::{DnsDoor, DnsSockets};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::Keeper;
use super::meters::Counts;
use crate::config::{Config, DnsConfig, Listen};
use crate::error::StartError;
use crate::file::read_token;
use crate::node::listen;
use crate::tls::Certificate;

/// How often a free port is looked for that is free over UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// Where the doors listen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CatalogueAddresses {
    pub(crate) consul: Option<SocketAddr>,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) dns: Option<SocketAddr>,
}

/// The sockets of the doors, before anything is served.
pub(crate) struct CatalogueParts {
    consul: Option<TcpListener>,
    grpc: Option<TcpListener>,
    dns: Option<DnsSockets>,
    addresses: CatalogueAddresses,
    consul_options: door_consul::Options,
    dns_options: door_dns::Options,
    datacenter: String,
}

/// The catalogue with its doors.
pub(crate) struct Services {
    keeper: Keeper,
    consul: Option<ConsulDoor>,
    dns: Option<DnsDoor>,
}

/// Binds the doors' addresses; `None` where all are off.
pub(crate) fn bind(
    config: &Config,
    certificate: Option<&Arc<Certificate>>,
) -> Result<Option<CatalogueParts>, StartError> {
    let (consul, consul_at) = listen("consul", config.consul.listen)?.unzip();
    let (grpc, grpc_at) = listen("consul-grpc", config.consul.grpc)?.unzip();
    let (dns, dns_at) = listen_dns(config.dns.listen)?.unzip();
    if consul.is_none() && dns.is_none() {
        return Ok(None);
    }
    Ok(Some(CatalogueParts {
        consul,
        grpc,
        dns,
        addresses: CatalogueAddresses { consul: consul_at, grpc: grpc_at, dns: dns_at },
        consul_options: consul_options(config, consul_at, certificate)?,
        dns_options: dns_options(&config.dns)?,
        datacenter: config.consul.datacenter.clone(),
    }))
}

/// Both sockets of DNS at one port.
fn listen_dns(at: Listen) -> Result<Option<(DnsSockets, SocketAddr)>, StartError> {
    let Listen::At(address) = at else { return Ok(None) };
    let mut attempts = 0;
    loop {
        let Some((tcp, bound)) = listen("dns", at)? else { return Ok(None) };
        attempts += 1;
        match UdpSocket::bind(bound) {
            Ok(udp) => return Ok(Some((DnsSockets { udp, tcp }, bound))),
            // Any port will do; another may be free over both.
            Err(_) if address.port() == 0 && attempts < PORT_ATTEMPTS => {}
            Err(error) => return Err(StartError::Listen { door: "dns", address, error }),
        }
    }
}

fn consul_options(
    config: &Config,
    at: Option<SocketAddr>,
    certificate: Option<&Arc<Certificate>>,
) -> Result<door_consul::Options, StartError> {
    let (consul, standard) = (&config.consul, door_consul::Options::default());
    let tls = |protocols: &[&[u8]]| -> Result<Option<door_consul::Tls>, StartError> {
        let Some(certificate) = certificate else { return Ok(None) };
        let config = certificate.server_config(None, protocols)?;
        Ok(Some(Arc::new(move || Arc::clone(&config))))
    };
    Ok(door_consul::Options {
        node: config.node.clone(),
        datacenter: consul.datacenter.clone(),
        leader: at.unwrap_or(standard.leader),
        connections_max: consul.connections_max.unwrap_or(standard.connections_max),
        per_address_max: consul.connections_per_address_max.unwrap_or(standard.per_address_max),
        tls: tls(&[b"h2".as_slice(), b"http/1.1".as_slice()])?,
        grpc_tls: tls(&[b"h2".as_slice()])?,
        ..standard
    })
}

fn dns_options(config: &DnsConfig) -> Result<door_dns::Options, StartError> {
    let token = config.token_file.as_deref().map(read_token).transpose();
    Ok(door_dns::Options {
        domain: format!("{}.", config.domain),
        only_passing: config.only_passing,
        node_ttl: config.node_ttl,
        service_ttl: config.service_ttl.iter().map(|(name, ttl)| (name.clone(), *ttl)).collect(),
        meta_txt: config.node_meta_txt,
        token: token.map_err(|reason| StartError::invalid("dns.token_file", format!("cannot be used: {reason}")))?,
        ..door_dns::Options::default()
    })
}

impl Services {
    /// Folds the catalogue, and serves from then on.
    pub(crate) fn open(
        runtime: &Runtime,
        parts: Option<CatalogueParts>,
        port: &Port,
        node: &str,
    ) -> Result<(Option<Arc<Self>>, CatalogueAddresses), StartError> {
        let Some(parts) = parts else { return Ok((None, CatalogueAddresses::default())) };
        let keeper = runtime.block_on(Keeper::open(port, &parts.datacenter, node))?;
        let _entered = runtime.enter();
        let failed = |doing: &'static str| move |error| StartError::System { doing, error };
        let catalogue = keeper.catalogue();
        let consul = parts.consul.map(|http| {
            let sockets = door_consul::Sockets { http, grpc: parts.grpc };
            ConsulDoor::open(sockets, catalogue.clone(), parts.consul_options)
        });
        let consul = consul.transpose().map_err(failed("open the Consul door"))?;
        let dns = parts.dns.map(|sockets| DnsDoor::open(sockets, catalogue.clone(), parts.dns_options)).transpose();
        let dns = dns.map_err(failed("open the DNS door"))?;
        keeper.begin(runtime, parts.addresses.consul.or(parts.addresses.dns).map(|at| at.ip()));
        Ok((Some(Arc::new(Services { keeper, consul, dns })), parts.addresses))
    }

    /// What there is to count.
    pub(crate) fn counts(&self) -> Counts {
        let catalogue = self.keeper.catalogue();
        let (instances, services, nodes) = catalogue.read(|state| state.sizes());
        Counts {
            instances: instances as u64,
            services: services as u64,
            nodes: nodes as u64,
            position: catalogue.read(catalog::State::position),
            unfit: catalogue.unfit(),
            waited_for: catalogue.waited_for() as u64,
            consul: self.consul.as_ref().map(ConsulDoor::counts),
            dns: self.dns.as_ref().map(DnsDoor::counts),
        }
    }

    /// Ends the doors, and then what keeps the catalogue.
    pub(crate) async fn close(&self) {
        let consul = async {
            if let Some(consul) = &self.consul {
                consul.close().await;
            }
        };
        let dns = async {
            if let Some(dns) = &self.dns {
                dns.close().await;
            }
        };
        tokio::join!(consul, dns);
        self.keeper.close().await;
    }
}
