//! Sockets, streams, buffers: the dull part.
//!
//! Each link has one task that reads; what waits for it is taken by whoever writes its stream. One task for the whole
//! door looks after time, one after the inbox.

mod accept;
mod carrier;
mod dial;
mod grpc;
mod inbox;
mod outbound;
mod own;
mod receiver;
mod remote;
mod shared;
mod socket;
mod subscriptions;
mod ws;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::Port;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counts::Counts;
use crate::limits::{PRESSED_PAUSE, PRESSED_PAUSE_ALONE};
use crate::options::Options;
use carrier::Carrier;
pub use inbox::{INBOX_PREFIX, inbox_of, inbox_pattern};
pub use remote::{Changed, Dial, Link, Listed, Reins, Route};
use shared::Shared;

/// How often links are looked at that take nothing.
const LOOK: Duration = Duration::from_secs(1);
/// How long a paused sender sleeps at a time.
const NAP: Duration = Duration::from_millis(1);

/// The open door. Must be opened inside an executor.
pub struct SlimDoor {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends what accepts.
    accepting: CancellationToken,
    /// Nothing accepts any more.
    accepted: CancellationToken,
}

impl SlimDoor {
    /// Opens the door.
    ///
    /// # Errors
    /// Where the socket does not say its address.
    pub fn open(listener: TcpListener, port: Port, options: Options) -> io::Result<SlimDoor> {
        let address = listener.local_addr()?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared::new(port, options, tasks.clone(), stopping));
        let (accepting, accepted) = (CancellationToken::new(), CancellationToken::new());
        let taking = accept::listen(listener, Arc::clone(&shared), accepting.clone());
        let done = accepted.clone();
        tasks.spawn(async move {
            taking.await;
            done.cancel();
        });
        dial::replicas(&shared);
        tasks.spawn(watch(Arc::clone(&shared)));
        tasks.spawn(inbox::deliver(Arc::clone(&shared)));
        Ok(SlimDoor { shared, address, accepting, accepted })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.shared.totals.counts()
    }

    /// By which a controller leads this node.
    pub fn reins(&self) -> Reins {
        Reins::new(&self.shared)
    }

    /// The links, for listings: `{"node", "links": [{"id","address","token","transport","link","kind","node","tagged",
    /// "subscriptions","published","delivered","dropped","waitingBytes"}]}`.
    pub fn status(&self) -> serde_json::Value {
        self.shared.status()
    }

    /// Ends all links, and returns when everything has come to rest. What was counted can still be asked.
    pub async fn close(&self) {
        // A stock client dials again at once, and gives up for ever where somebody accepts and is gone then.
        self.accepting.cancel();
        self.accepted.cancelled().await;
        self.shared.stopping.cancel();
        for link in self.shared.all() {
            link.out.end((14, String::from("the node stops")));
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// Ends links that take nothing while bytes wait for them.
async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.stopping.cancelled() => return,
        }
        for link in shared.all() {
            if link.out.stuck().is_some_and(|stuck| stuck > shared.options.write_deadline) {
                link.out.end((14, String::from("the link takes nothing")));
            }
        }
    }
}

/// Has sent what receivers took, and lets those catch up that do not keep up and make progress: for a moment, or, where
/// nobody else waits, for as long as they can be said to.
async fn pace(carrier: &mut Carrier) {
    let (pressed, all) = carrier.flush();
    if pressed == 0 {
        return;
    }
    let most = if pressed == all { PRESSED_PAUSE_ALONE } else { PRESSED_PAUSE };
    let began = Instant::now();
    while began.elapsed() < most && carrier.is_pressed() && !carrier.connection.out.is_over() {
        tokio::time::sleep(NAP).await;
    }
}
