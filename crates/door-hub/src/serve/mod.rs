//! Sockets, buffers, upgrades, dials: the dull part.

use std::io;
use std::net::SocketAddr;

use door::Port;
use tokio::net::TcpListener;

use crate::counts::Counts;
use crate::options::{Link, Options, Target};

/// The sockets that the door listens on, bound by the host.
pub struct Sockets {
    /// Messengers, repeaters and hubs: 7100.
    pub hub: TcpListener,
    /// The repeater's own role: 7101.
    pub repeater: Option<TcpListener>,
}

/// The open door. Must be opened inside an executor.
pub struct HubDoor {
    address: SocketAddr,
}

impl HubDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(sockets: Sockets, _port: Port, _options: Options) -> io::Result<HubDoor> {
        Ok(HubDoor { address: sockets.hub.local_addr()? })
    }

    /// Where messengers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has these links to other hubs, and no others but those asked for by `/interconnect`.
    pub fn set_links(&self, _links: Vec<Link>) {}

    /// Pushes to these targets, and to no others. Has effect where the repeater's role is on, which is
    /// with any target or a socket of its own.
    pub fn set_targets(&self, _targets: Vec<Target>) {}

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Connections, links and targets, for listings:
    /// `{"node", "connections": [{"id","kind","address","rooms":[…],"waitingBytes","events","delivered","since"}],
    /// "links": [{"name","address","state","peer","error","custody"}],
    /// "targets": [{"name","address","format","state","waiting","pushed","dropped","error"}]}`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Why the door is not well; `None`: it is. A connection that is about to be given up does not count,
    /// events that have waited for the journal do.
    pub fn ailment(&self) -> Option<String> {
        None
    }

    /// Disconnects everyone, and returns when everything has come to rest.
    pub async fn close(&self) {}
}
