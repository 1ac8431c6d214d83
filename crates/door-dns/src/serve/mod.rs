//! Sockets: the dull part.
//!
//! UDP has a few threads of its own that wait in the system for packets, answer, and send: a task for each packet
//! would cost more than the answer. TCP has a task for each connection.

mod find;
mod tcp;
mod udp;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use door::Catalogue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Carrier, answer};
use crate::counts::{Counts, Tally, one};
use crate::limits;
use crate::options::Options;
use crate::zone::Zone;
use find::Finder;

/// The sockets that the door listens on, bound by the host.
pub struct DnsSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For connections.
    pub tcp: TcpListener,
}

/// The open door. Must be opened inside an executor.
pub struct DnsDoor {
    shared: Arc<Shared>,
    address: SocketAddr,
    tcp_address: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    finder: Finder,
    zone: Zone,
    options: Options,
    tally: Tally,
    stopping: AtomicBool,
}

impl Shared {
    fn answer(&self, packet: &[u8], carrier: Carrier, seed: u64) -> Option<Vec<u8>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let answer = answer(packet, carrier, &self.zone, now, seed, |want| self.finder.find(want, seed));
        match &answer {
            Some(answer) => self.tally.answer(answer),
            None => one(&self.tally.dropped),
        }
        answer
    }
}

/// A seed that another process does not have.
fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

impl DnsDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where the domain is none, a socket does not say its address, or a thread cannot be had.
    pub fn open(sockets: DnsSockets, catalogue: Catalogue, options: Options) -> io::Result<DnsDoor> {
        let DnsSockets { udp, tcp } = sockets;
        let (address, tcp_address) = (udp.local_addr()?, tcp.local_addr()?);
        let zone = Zone::new(&options, catalogue.datacenter(), catalogue.node())
            .map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            finder: Finder::new(catalogue, options.token.clone()),
            zone,
            options,
            tally: Tally::default(),
            stopping: AtomicBool::new(false),
        });
        udp.set_nonblocking(false)?;
        udp.set_read_timeout(Some(limits::STOP_LOOK))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for number in 0..shared.options.threads.unwrap_or(processors).clamp(1, limits::THREADS_MAX) {
            let (socket, thread, token) = (udp.try_clone()?, Arc::clone(&shared), tasks.token());
            std::thread::Builder::new().name(format!("dns-{number}")).spawn(move || {
                udp::listen(&socket, &thread, seed());
                drop(token);
            })?;
        }
        tasks.spawn(tcp::listen(tcp, Arc::clone(&shared), tasks.clone(), closing.clone()));
        Ok(DnsDoor { shared, address, tcp_address, closing, tasks })
    }

    /// Where it takes datagrams.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes connections.
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp_address
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// Ends every thread and connection, and returns when all have come to rest.
    pub async fn close(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for DnsDoor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.closing.cancel();
    }
}
