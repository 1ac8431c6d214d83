//! This node in the mesh: links to other nodes, what goes over them, and the plan that says which there are.
//!
//! `body` owns the machine; `dial` and `accept` make links, `data` takes what comes on them, `far` is where messages of
//! this node's clients enter. `mirror` keeps streams elsewhere, by `sending`; `custody` takes what others bring, which
//! `copies` keeps. `join` brings the node into its mesh: `member` follows a controller, `controller` is one, `lead` says
//! which of several; `ask` answers what people ask; `traces` notes the paths that traced messages took.

mod accept;
mod ask;
mod body;
mod controller;
mod copies;
mod custody;
mod data;
pub(crate) mod declared;
mod dial;
mod far;
mod join;
mod kept;
mod lead;
mod marks;
mod member;
mod meters;
mod mirror;
mod replies;
mod root;
mod said;
pub(crate) mod secrets;
mod sending;
pub(crate) mod stored;
mod traces;
mod way;
mod within;

use std::sync::{Arc, OnceLock};

use ::mesh::names::NodeId;
use journal::Journal;
use plan::Declared;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::entropy::seed;
use crate::error::StartError;
use crate::live::Live;

pub(crate) use accept::{ControlSlot, Controls};
pub(crate) use ask::Asker;
pub(crate) use body::Body;
pub(crate) use controller::{Governor, SECRET_BYTES_MIN, read_secret};
pub(crate) use far::AHEAD_ELSEWHERE;
pub(crate) use join::{JoinParts, Joined, join};

/// What the mesh stands on.
pub(crate) struct MeshParts {
    /// Who this node is.
    pub(crate) id: NodeId,
    /// Where links come in.
    pub(crate) listener: TcpListener,
    /// Who listens here.
    pub(crate) live: Arc<Live>,
}

/// This node in the mesh.
pub(crate) struct Mesh {
    body: Arc<Body>,
    controls: ControlSlot,
}

impl Mesh {
    /// Listens for links from now on. Without a plan there are none.
    pub(crate) fn open(runtime: &Runtime, parts: MeshParts) -> Result<Arc<Mesh>, StartError> {
        let MeshParts { id, listener, live } = parts;
        let [seed, _] = seed().map_err(|error| StartError::System { doing: "get random bytes", error })?;
        let (body, run) = Body::new(id, seed, Arc::clone(&live), custody::Custody::default());
        live.set_far(Arc::clone(&body) as Arc<dyn door::Far>, run.wished());
        let controls: ControlSlot = Arc::new(OnceLock::new());
        let _entered = runtime.enter();
        runtime.spawn(run.run(Arc::clone(&body)));
        runtime.spawn(accept::listen(Arc::clone(&body), listener, Arc::clone(&controls)));
        Ok(Arc::new(Mesh { body, controls }))
    }

    /// Has somebody take the nodes that look for their controller. Only the first call counts.
    pub(crate) fn set_controls(&self, controls: Arc<dyn Controls>) {
        let _kept = self.controls.set(controls);
    }

    /// The machine's body, to be asked.
    pub(crate) fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// Keeps streams of this node elsewhere, as declared, and what other domains bring here, in this journal.
    pub(crate) fn mirror(
        &self,
        runtime: &Runtime,
        journal: &Arc<dyn Journal>,
        declared: watch::Receiver<Arc<Declared>>,
    ) {
        self.body.custody.record_in(Arc::clone(journal));
        let (mirrors, body) = (Arc::clone(&self.body.mirrors), Arc::clone(&self.body));
        runtime.spawn(mirrors.follow(body, Arc::clone(journal), declared));
    }

    /// Ends every link.
    pub(crate) fn close(&self) {
        self.body.end.cancel();
    }
}

#[cfg(test)]
mod tests;
