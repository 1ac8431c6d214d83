//! Sockets, buffers, upgrades, dials: the dull part.
//!
//! Each connection has one task, which reads and hands frames to the session, and sends what others could not
//! send at once. One task for the whole door looks after time.

mod accept;
mod carrier;
mod dial;
mod http;
mod kept;
mod links;
mod outbound;
mod plain;
mod receiver;
mod replay;
mod shared;
mod targets;
mod time;
mod wishes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::Port;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counts::Counts;
use crate::options::{Link, Options, Target};
use http::Role;
use outbound::Closed;
use shared::Shared;

/// The sockets that the door listens on, bound by the host.
pub struct Sockets {
    /// Messengers, repeaters and hubs: 7100.
    pub hub: TcpListener,
    /// The repeater's own role: 7101.
    pub repeater: Option<TcpListener>,
}

/// The open door. Must be opened inside an executor.
pub struct HubDoor {
    shared: Arc<Shared>,
    address: SocketAddr,
    repeater: Option<SocketAddr>,
    /// Ends what accepts and looks after time.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// A number that nobody guesses.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // Where the system gives no entropy nothing is safe; masks guard against old proxies alone.
    let _filled = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

impl HubDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(sockets: Sockets, port: Port, options: Options) -> io::Result<HubDoor> {
        let Sockets { hub, repeater } = sockets;
        let address = hub.local_addr()?;
        let repeater_address = repeater.as_ref().map(TcpListener::local_addr).transpose()?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared::new(port, options, tasks.clone()));
        tasks.spawn(accept::listen(hub, Arc::clone(&shared), Role::Hub, stopping.clone()));
        if let Some(listener) = repeater {
            tasks.spawn(accept::listen(listener, Arc::clone(&shared), Role::Repeater, stopping.clone()));
        }
        tasks.spawn(time::watch(Arc::clone(&shared), stopping.clone()));
        tasks.spawn(links::drive(Arc::clone(&shared), stopping.clone()));
        tasks.spawn(kept::owe(Arc::clone(&shared), stopping.clone()));
        Ok(HubDoor { shared, address, repeater: repeater_address, stopping, tasks })
    }

    /// Where messengers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where other repeaters connect.
    pub fn repeater_address(&self) -> Option<SocketAddr> {
        self.repeater
    }

    /// Has these links to other hubs, and no others but those asked for by `/interconnect`.
    pub fn set_links(&self, links: Vec<Link>) {
        self.shared.links.set(&self.shared, links);
    }

    /// Pushes to these targets, and to no others. Has effect where the repeater's role is on, which is
    /// with any target or a socket of its own.
    pub fn set_targets(&self, targets: Vec<Target>) {
        self.shared.targets.set(&self.shared, targets);
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Connections, links and targets, for listings:
    /// `{"node", "connections": [{"id","kind","address","peer","dialled","token","rooms":[…],"waitingBytes",
    /// "waitingEvents","events","delivered","since"}], "links": [{"name","address","state","peer","error","owed"}],
    /// "targets": [{"name","address","format","state","waiting","pushed","dropped","error"}]}`.
    pub fn status(&self) -> serde_json::Value {
        http::listing(&self.shared)
    }

    /// Says whenever somebody came, went or changed rooms; the number has no other meaning.
    pub fn roster(&self) -> watch::Receiver<u64> {
        self.shared.roster.subscribe()
    }

    /// Why the door is not well; `None`: it is. A connection that is about to be given up does not count,
    /// events that have waited for the journal do.
    pub fn ailment(&self) -> Option<String> {
        self.shared.ailment()
    }

    /// Disconnects everyone, and returns when everything has come to rest. What was counted can still be asked.
    pub async fn close(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.stopping.cancel();
        self.shared.targets.set(&self.shared, Vec::new());
        let connections: Vec<_> = self.shared.connections.lock().values().cloned().collect();
        for connection in connections {
            connection.goodbye(1001, Closed::Shutdown);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
