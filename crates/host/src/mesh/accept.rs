//! Connections that come to this node: links that are planned, and nodes that look for their controller.
//!
//! # Invariants
//! - Who does not hold the key of what it asks for is not let in, and learns nothing.
//! - At most [`HANDSHAKES_MAX`] are at their handshake at a time; more are dropped at once, so that strangers who say
//!   nothing keep nobody out for longer than a handshake may take.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use link::mesh::limits::HANDSHAKES_MAX;
use link::mesh::{Admission, Hello, LinkKey, Opened, Purpose, accept};
use mesh::names::NodeId;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::body::Body;
use super::controller::Secret;
use super::data::carry;
use super::dial::peer;

/// How long after a failure to accept the next attempt is made: files may be free again by then.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes nodes that look for their controller.
pub(crate) trait Controls: Send + Sync {
    /// What to go on with for a node that came, and the secret that it must know; `None`: it is not awaited.
    fn admit(&self, hello: &Hello) -> Option<(Admission, Secret)>;

    /// A node came, and knows that secret.
    fn take(&self, opened: Opened, secret: Secret);
}

/// Who takes nodes that look for their controller, once somebody does.
pub(crate) type ControlSlot = Arc<OnceLock<Arc<dyn Controls>>>;

/// Accepts until the node stops.
pub(super) async fn listen(body: Arc<Body>, listener: TcpListener, controls: ControlSlot) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let came = tokio::select! {
            () = body.end.cancelled() => return,
            came = listener.accept() => came,
        };
        let socket = match came {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(%error, "no connection of a node can be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => drop(tokio::spawn(take(Arc::clone(&body), socket, Arc::clone(&controls), permit))),
            Err(_) => debug!("too many nodes are at their handshake"),
        }
    }
}

async fn take(body: Arc<Body>, socket: TcpStream, controls: ControlSlot, permit: OwnedSemaphorePermit) {
    let proven = Mutex::new(None);
    let keeper = |hello: &Hello| admit(&body, &controls, hello, &proven);
    let opened = match accept(socket, &keeper).await {
        Ok(opened) => opened,
        Err(error) => {
            body.counts.rejected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            debug!(%error, "a connection was not taken");
            return;
        }
    };
    drop(permit);
    if opened.hello.purpose == Purpose::Control {
        if let (Some(controls), Some(secret)) = (controls.get(), proven.into_inner()) {
            controls.take(opened, secret);
        }
        return;
    }
    // The plan may have changed since the greeting.
    let Some(plan) = body.planned(&opened.hello.link) else { return };
    let named = opened.told == opened.hello.from.as_bytes();
    let Some(peer) = peer(&opened.told, &plan).filter(|_| named) else {
        body.trouble(&plan.id, format!("{} came, and is not the node that the plan names", opened.hello.from));
        return;
    };
    info!(link = %plan.id, %peer, "a link is up");
    let end = body.end.child_token();
    let ended = carry(&body, opened, &plan, peer, false, &end).await;
    info!(link = %plan.id, why = %ended, "a link has ended");
}

fn admit(body: &Body, controls: &ControlSlot, hello: &Hello, proven: &Mutex<Option<Secret>>) -> Option<Admission> {
    let from = NodeId::parse(&hello.from).ok()?;
    if hello.purpose == Purpose::Control {
        let (admission, secret) = controls.get()?.admit(hello)?;
        *proven.lock() = Some(secret);
        return Some(admission);
    }
    let own = body.id.to_string();
    let meant = hello.to == own || hello.to == body.id.domain.as_str();
    let plan = body.planned(&hello.link).filter(|plan| meant && plan.domain == from.domain)?;
    Some(Admission { key: LinkKey::new(plan.key), payload: own.into_bytes() })
}
