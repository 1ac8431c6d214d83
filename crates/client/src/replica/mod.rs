//! A view kept in a database: the latest facts of a node's view as rows of a table, in SQLite or PostgreSQL.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::replica::ReplicaError> {
//! use client::replica::{Column, Replica, ReplicaSpec};
//!
//! let columns = vec![Column::new("user_id").from("$key"), Column::new("username"), Column::new("display_name")];
//! let replica = Replica::start(ReplicaSpec::new("users", "sqlite:users.db", "user_cache", columns))?;
//! replica.caught_up().await;
//! // From here on the table is what the view says, a moment ago.
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!           list of the endpoint
//!                   │
//!   start ──▶ position in the table ── remembered ──────────────────▶ changes ─▶ transaction ─▶ changes …
//!                   │ none, forgotten, or time to reconcile              ▲
//!                   ▼                                                    │
//!               snapshot ─▶ temporary table ─▶ one transaction: what is not there goes, what differs is put
//! ```
//!
//! What holds:
//! - rows and position change in one transaction (`tidings_positions` beside the table). A crash anywhere leaves both
//!   as they were, or both as they are to be: applying is exactly once in effect.
//! - what the table holds is what the view held at one position. It never steps back.
//! - while the node or the database is away, what is in the table stays, [`Replica::state`] says so, and it is tried
//!   again; then what was missed is caught up with.
//! - a row that lacks something, or that the database refuses, is counted and told, and stalls nothing.
//!
//! What it is not: a way to write to the view. The table is the replica's own.

mod error;
mod http;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod run;
mod source;
mod spec;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use error::ReplicaError;
pub use spec::{Column, Endpoint, Kind, ReplicaSpec};

use run::Runner;

/// How a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaState {
    /// It connects, for the first time.
    Connecting,
    /// A snapshot comes in; the table is as it was.
    Loading {
        /// Rows that came.
        rows: u64,
        /// Rows that there are.
        of: u64,
    },
    /// The table follows the view.
    Following {
        /// The position that the table is exact at.
        position: u64,
    },
    /// The node or the database is away, or refuses. The table is as it was then.
    Away {
        /// Why.
        reason: ReplicaError,
        /// Since when.
        since: Instant,
    },
    /// It was closed, or its spec cannot be used.
    Ended(Option<ReplicaError>),
}

/// What a replica did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Changes that came, rows of snapshots too.
    pub received: u64,
    /// Rows that were put, and were not so before.
    pub put: u64,
    /// Rows that went.
    pub removed: u64,
    /// Rows that lacked something, and were left out.
    pub unfit: u64,
    /// Rows that the database refused.
    pub refused: u64,
    /// Why, of the last row that was unfit or refused.
    pub reason: Option<String>,
    /// Transactions.
    pub transactions: u64,
    /// Snapshots that were taken over.
    pub snapshots: u64,
    /// Rows of lists that were put.
    pub listed: u64,
    /// Times that the node or the database was away.
    pub away: u64,
}

/// What the task and its handle share.
pub(crate) struct Shared {
    state: watch::Sender<ReplicaState>,
    counts: Mutex<ReplicaCounts>,
}

impl Shared {
    fn set(&self, state: ReplicaState) {
        self.state.send_replace(state);
    }

    fn count(&self, count: impl FnOnce(&mut ReplicaCounts)) {
        count(&mut self.counts.lock());
    }
}

/// A view that is kept in a database, until this is closed or dropped.
pub struct Replica {
    shared: Arc<Shared>,
    end: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Replica {
    /// Begins to keep a view. Must be called inside an executor.
    ///
    /// # Errors
    /// [`ReplicaError::Spec`] where the spec cannot be used. That the node or the database is away is no error: it
    /// is tried again.
    pub fn start(spec: ReplicaSpec) -> Result<Self, ReplicaError> {
        let (end, ended) = watch::channel(false);
        let shared = Arc::new(Shared { state: watch::channel(ReplicaState::Connecting).0, counts: Mutex::default() });
        let runner = Runner::new(spec, Arc::clone(&shared), ended)?;
        let task = tokio::spawn(runner.run());
        Ok(Replica { shared, end, task: Some(task) })
    }

    /// How it stands.
    pub fn state(&self) -> ReplicaState {
        self.shared.state.borrow().clone()
    }

    /// How it stands, now and whenever that changes.
    pub fn states(&self) -> watch::Receiver<ReplicaState> {
        self.shared.state.subscribe()
    }

    /// What it did so far.
    pub fn counts(&self) -> ReplicaCounts {
        self.shared.counts.lock().clone()
    }

    /// Waits until the table follows the view, or never will: how it stands then.
    pub async fn caught_up(&self) -> ReplicaState {
        let settled = |state: &ReplicaState| matches!(state, ReplicaState::Following { .. } | ReplicaState::Ended(_));
        let mut states = self.states();
        let found = states.wait_for(settled).await.map(|state| state.clone());
        found.unwrap_or(ReplicaState::Ended(None))
    }

    /// Ends, behind the transaction that is open.
    pub async fn close(mut self) -> ReplicaCounts {
        self.end.send_replace(true);
        if let Some(task) = self.task.take() {
            // One that broke has ended too.
            let _ended = task.await;
        }
        self.counts()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}
