//! SLIM's control protocols, spoken with original programs.
//!
//! | room | what it is |
//! |---|---|
//! | [`proto`] | the messages, by the numbers of their fields; pure data |
//! | `names` | names as they are sent and as patterns; pure |
//! | `proof` | the tokens by which a node proves its domain; pure |
//! | `grpc` | HTTP/2 connections, calls and frames |
//! | `node` | a node's side of its control channel: this node under a controller of that make |
//! | `south` | the controller's side of a node's control channel: original nodes join this mesh |
//! | `north` | what operators ask and change: the original's command line |
//!
//! It carries no message of applications, and decides nothing: who may be linked with whom is the controller's, which
//! the host joins by [`Board`].
//!
//! # Invariants
//! - A node is told a plan by its desired links and routes as a whole, and nothing before it proved its domain.
//! - What is told to the controller of a node's links is what the node listed, held against its plan: a link that
//!   nobody planned is not told.
//! - Nothing that a stranger sends panics, or costs more than its limits.
//!
//! Source: agntcy/slim, its `.proto` files and what its node and control plane do.

mod board;
mod counts;
mod grpc;
pub mod limits;
mod names;
mod node;
mod north;
mod options;
mod parts;
mod proof;
pub mod proto;
mod south;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use counts::Totals;

pub use board::{Answer, Board, Channel, Fault, View};
pub use counts::Counts;
pub use node::{Dial, Identity, Leads, Led, Place, Shown};
pub use options::{Options, Tls};
pub use proof::{Unproven, make, verify};

/// The open door.
pub struct SlimControl {
    stopping: CancellationToken,
    tasks: TaskTracker,
    totals: Arc<Totals>,
}

impl SlimControl {
    /// Serves nodes and operators from now on, each where there is a listener. Must be called inside an executor.
    ///
    /// # Errors
    /// Where a socket does not say its address.
    pub fn open(
        south: Option<TcpListener>,
        north: Option<TcpListener>,
        board: Arc<dyn Board>,
        options: Options,
    ) -> io::Result<(SlimControl, [Option<SocketAddr>; 2])> {
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let address = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let addresses = [address(&south)?, address(&north)?];
        let totals = Arc::default();
        let nodes = Arc::new(south::Nodes::new(board, tasks.clone(), stopping.clone(), Arc::clone(&totals)));
        let server = grpc::Server { options, tasks: tasks.clone(), stopping: stopping.clone() };
        if let Some(listener) = south {
            tasks.spawn(server.clone().listen(listener, Arc::clone(&nodes) as Arc<dyn grpc::Calls>));
        }
        if let Some(listener) = north {
            tasks.spawn(server.listen(listener, Arc::new(north::Desk::new(nodes))));
        }
        Ok((SlimControl { stopping, tasks, totals }, addresses))
    }

    /// What was counted of the nodes that this one leads.
    pub fn counts(&self) -> Counts {
        self.totals.counts()
    }

    /// Ends all connections, and returns when everything has come to rest.
    pub async fn close(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// This node under a controller of SLIM's make.
pub struct SlimNode {
    stopping: CancellationToken,
    tasks: TaskTracker,
    totals: Arc<Totals>,
}

impl SlimNode {
    /// Registers with a controller, and stays registered, from now on. Must be called inside an executor.
    pub fn open(led: Arc<dyn Led>, who: Identity) -> SlimNode {
        let (stopping, tasks, totals) = (CancellationToken::new(), TaskTracker::new(), Arc::default());
        tasks.spawn(node::follow(led, who, Arc::clone(&totals), stopping.clone()));
        SlimNode { stopping, tasks, totals }
    }

    /// What was counted of this node under its controller.
    pub fn counts(&self) -> Counts {
        self.totals.counts()
    }

    /// Takes leave of the controller, so that others take over at once.
    pub async fn close(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
