//! `ports.json`: where a running node's doors listen, for programs that start it with port 0.
//!
//! ```json
//! {"node":"alpha","pid":4242,"engine":"disk","tls":false,"http":"127.0.0.1:7070","nats":"127.0.0.1:4222","monitor":"127.0.0.1:8222","hub":"127.0.0.1:7100"}
//! ```
//!
//! A door that is closed is left out. The file appears whole, when every door listens, and is
//! removed at a clean stop; after a crash it stays until the next start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Engine;

/// Name of the file in the data directory.
pub const PORTS_FILE: &str = "ports.json";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The node's name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// What keeps its journal.
    pub engine: String,
    /// Whether its doors speak TLS.
    pub tls: bool,
    /// The HTTP door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// The NATS door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<SocketAddr>,
    /// The NATS door, over WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<SocketAddr>,
    /// NATS monitoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<SocketAddr>,
    /// The hub door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<SocketAddr>,
    /// The repeater's own listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeater: Option<SocketAddr>,
    /// The Consul door's HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul: Option<SocketAddr>,
    /// The Consul door's subscriptions over gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consul_grpc: Option<SocketAddr>,
    /// The DNS door, over UDP and TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<SocketAddr>,
    /// The SLIM door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim: Option<SocketAddr>,
    /// Where original SLIM nodes register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim_south: Option<SocketAddr>,
    /// Where the original's command line asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim_north: Option<SocketAddr>,
    /// Where other nodes of the mesh connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<SocketAddr>,
}

impl Ports {
    pub(crate) fn new(node: &str, engine: &Engine, tls: bool) -> Self {
        let (node, engine, pid) = (node.to_owned(), engine.to_string(), std::process::id());
        let (http, nats, websocket, monitor, hub, repeater) = (None, None, None, None, None, None);
        let (consul, consul_grpc, dns, slim, mesh) = (None, None, None, None, None);
        let (slim_south, slim_north) = (None, None);
        Ports {
            node,
            pid,
            engine,
            tls,
            http,
            nats,
            websocket,
            monitor,
            hub,
            repeater,
            consul,
            consul_grpc,
            dns,
            slim,
            slim_south,
            slim_north,
            mesh,
        }
    }
}

/// The file while the node runs. Removed when this is dropped, if it is still this process's.
#[derive(Debug)]
pub(crate) struct PortsFile {
    path: PathBuf,
    pid: u32,
}

impl PortsFile {
    /// Writes the file: whole, or not at all.
    pub(crate) fn write(data: &Path, ports: &Ports) -> io::Result<Self> {
        let path = data.join(PORTS_FILE);
        let text = serde_json::to_string(ports).map_err(io::Error::other)?;
        let draft = data.join(format!("{PORTS_FILE}.{}", ports.pid));
        fs::write(&draft, text + "\n")?;
        fs::rename(&draft, &path)?;
        Ok(PortsFile { path, pid: ports.pid })
    }
}

/// Removes what an earlier run that crashed left behind, so that nobody takes it for this run's.
pub(crate) fn remove_stale(data: &Path) {
    // Not being there is what is wanted; what cannot be removed is replaced later.
    let _absent = fs::remove_file(data.join(PORTS_FILE));
}

/// Reads the file of a running node.
///
/// # Errors
/// Where there is none, or it is not one.
pub fn read_ports(data: &Path) -> io::Result<Ports> {
    serde_json::from_str(&fs::read_to_string(data.join(PORTS_FILE))?).map_err(io::Error::other)
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        let data = self.path.parent().unwrap_or(Path::new(""));
        if read_ports(data).is_ok_and(|ports| ports.pid == self.pid) {
            // Left behind, it is replaced by the next start.
            let _left_behind = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_the_node_runs_and_names_only_open_doors() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports { pid: 7, ..Ports::new("n", &Engine::Disk, false) };
        let file = PortsFile::write(dir.path(), &ports).unwrap();
        assert_eq!(read_ports(dir.path()).unwrap(), ports);
        let text = fs::read_to_string(dir.path().join(PORTS_FILE)).unwrap();
        assert!(!text.contains("http"), "{text}");
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_file_of_a_later_process_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports { pid: 7, ..Ports::new("n", &Engine::Disk, false) };
        let file = PortsFile::write(dir.path(), &ports).unwrap();
        let later = PortsFile::write(dir.path(), &Ports { pid: 8, ..ports }).unwrap();
        drop(file);
        assert_eq!(read_ports(dir.path()).unwrap().pid, 8);
        drop(later);
    }
}
