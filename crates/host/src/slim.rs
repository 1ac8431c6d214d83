//! The SLIM door, joined to this node: its socket, its options, its end.

use std::net::SocketAddr;
use std::sync::Arc;

use door::Port;
pub use door_slim::inbox_of;
use door_slim::{Counts, Options, Present, Presented, Reins, Replica, SlimDoor};
use door_slimctl::Shown;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::config::{Config, SlimPlace};
use crate::error::StartError;
use crate::node::listen;
use crate::scrape::{Encoded, counter, counters, gauge};
use crate::slimnode::Papers;
use crate::tls::Certificate;

/// The door as it was told, with its socket, before anything is served.
pub(crate) struct SlimParts {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

/// The open door.
pub(crate) struct Slim {
    door: SlimDoor,
}

/// Binds the door's address, unless it is off.
pub(crate) fn bind(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Option<SlimParts>, StartError> {
    let Some((listener, address)) = listen("slim", config.slim.listen)? else {
        return Ok(None);
    };
    Ok(Some(SlimParts { listener, address, options: options(config, certificate)? }))
}

/// What the configuration says of the door.
fn options(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<Options, StartError> {
    let (slim, standard) = (&config.slim, Options::default());
    let tls = match certificate {
        None => None,
        Some(certificate) => {
            let config = certificate.server_config(None, &[])?;
            let present: door_slim::Tls = Arc::new(move || Arc::clone(&config));
            Some(present)
        }
    };
    Ok(Options {
        node: config.node.clone(),
        domain: slim.domain.clone(),
        replicas: slim
            .peers
            .iter()
            .map(|peer| {
                let SlimPlace { address, tls } = peer.address.clone();
                Replica { node: peer.node.clone(), address, tls }
            })
            .collect(),
        led: !slim.membership.controllers.is_empty(),
        present: Some(present(Arc::new(Papers::new(&slim.membership)))),
        require_header_mac: slim.strict,
        enforce_pqc: slim.enforce_pqc,
        message_bytes_max: slim
            .message_bytes_max
            .map_or(standard.message_bytes_max, |most| most.min(standard.message_bytes_max)),
        connections_max: slim.connections_max.unwrap_or(standard.connections_max),
        subscriptions_max: slim.names_max.unwrap_or(standard.subscriptions_max),
        pending_bytes_max: slim.pending_bytes_max.unwrap_or(standard.pending_bytes_max),
        tls,
        ..standard
    })
}

/// What the door shows to those whom it dials.
fn present(papers: Arc<Papers>) -> Present {
    Arc::new(move |tls| {
        let papers = Arc::clone(&papers);
        Box::pin(async move {
            let Shown { tls, authorization } = papers.shown(tls).await?;
            Ok(Presented { tls, authorization })
        })
    })
}

impl Slim {
    /// Serves from now on.
    pub(crate) fn open(
        runtime: &Runtime,
        parts: Option<SlimParts>,
        port: &Port,
    ) -> Result<(Option<Arc<Self>>, Option<SocketAddr>), StartError> {
        let Some(SlimParts { listener, address, options }) = parts else {
            return Ok((None, None));
        };
        let _entered = runtime.enter();
        let door = SlimDoor::open(listener, port.clone(), options)
            .map_err(|error| StartError::System { doing: "open the SLIM door", error })?;
        Ok((Some(Arc::new(Slim { door })), Some(address)))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// By which a controller leads the door.
    pub(crate) fn reins(&self) -> Reins {
        self.door.reins()
    }

    /// What the door counted.
    pub(crate) fn counts(&self) -> Counts {
        self.door.counts()
    }

    /// Ends all links, and waits for what is in flight.
    pub(crate) async fn close(&self) {
        self.door.close().await;
    }
}

/// What the door counted, as a scrape shows it.
#[derive(Debug)]
pub(crate) struct SlimCounts(pub(crate) Counts);

impl Collector for SlimCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let (counts, encoder) = (&self.0, &mut encoder);
        gauge(encoder, "tidings_slim_links", "Links of the SLIM door now", counts.links)?;
        gauge(encoder, "tidings_slim_subscriptions", "Names subscribed at it now", counts.subscriptions)?;
        counter(encoder, "tidings_slim_negotiated", "Links that were negotiated", counts.negotiated)?;
        counter(encoder, "tidings_slim_refused", "Connections and links that were refused", counts.refused)?;
        counter(encoder, "tidings_slim_published", "Messages that came in", counts.published)?;
        counter(encoder, "tidings_slim_published_bytes", "Bytes of them", counts.bytes_in)?;
        counter(encoder, "tidings_slim_deliveries", "Messages handed to links", counts.delivered)?;
        counter(encoder, "tidings_slim_deliveries_bytes", "Bytes of them", counts.bytes_out)?;
        counter(
            encoder,
            "tidings_slim_unroutable",
            "Messages that nobody took, and whose sender was told",
            counts.unroutable,
        )?;
        counter(encoder, "tidings_slim_kept", "Messages kept in an inbox", counts.kept)?;
        counter(encoder, "tidings_slim_inbox_delivered", "Kept messages that were delivered", counts.inbox_delivered)?;
        counters(encoder, "tidings_slim_dropped", "Messages not handed on, by reason", &counts.dropped)
    }
}
