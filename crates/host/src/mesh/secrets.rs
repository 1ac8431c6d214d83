//! The secrets of domains, as long as the node runs: read again when their files change, or when it is asked to.
//!
//! A secret that cannot be read leaves the one before in force, and is told. At a node the control channel that stands
//! stays, and the next is proven by the new secret; at a controller the channels that were proven by another end, so
//! that their nodes prove themselves anew. Links between nodes have keys of their own, and stay.

use std::path::PathBuf;
use std::sync::Arc;

use link::mesh::LinkKey;
use mesh::names::Name;
use parking_lot::RwLock;
use plan::Declared;
use tokio::sync::watch;
use tracing::{error, info};

use super::controller::{Governor, Secret, domain_key, read_secret};

/// See the module.
pub(crate) struct Secrets {
    domain: Name,
    /// That of this node's own domain; `None`: it was made here.
    file: Option<PathBuf>,
    own: RwLock<Secret>,
    governor: Option<Arc<Governor>>,
    declared: watch::Receiver<Arc<Declared>>,
}

impl Secrets {
    /// Of a node of this domain, whose secret is this now.
    pub(super) fn new(
        domain: Name,
        (file, own): (Option<PathBuf>, Secret),
        governor: Option<Arc<Governor>>,
        declared: watch::Receiver<Arc<Declared>>,
    ) -> Arc<Self> {
        Arc::new(Secrets { domain, file, own: RwLock::new(own), governor, declared })
    }

    /// The key by which this node proves its domain.
    pub(super) fn key(&self) -> LinkKey {
        domain_key(&self.own.read(), self.domain.as_str())
    }

    /// Reads the files again. Blocks.
    pub(crate) fn reload(&self) {
        let mut fresh = None;
        if let Some(file) = &self.file {
            match read_secret(file) {
                Ok(secret) if secret == *self.own.read() => {}
                Ok(secret) => {
                    *self.own.write() = Arc::clone(&secret);
                    fresh = Some(secret);
                    info!(file = %file.display(), "the secret of this node's domain is another one");
                }
                Err(why) => {
                    error!(why, "the secret of this node's domain cannot be read again; the old stays in force")
                }
            }
        }
        if let Some(governor) = &self.governor {
            governor.reload(fresh);
        }
    }

    /// The files, as they are declared now.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let declared = self.governor.as_ref().map(|_| Arc::clone(&self.declared.borrow()));
        let domains = declared.iter().flat_map(|declared| declared.domains().values());
        let files = domains.map(|domain| PathBuf::from(&domain.secret_file));
        self.file.iter().cloned().chain(files).collect()
    }
}
