//! A node with its Consul and DNS doors, as this program uses it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::http::{Connection, Response};
use crate::node::{Launch, Node};

/// A running node.
pub struct Site {
    /// The process.
    pub node: Node,
    /// Where its Consul door listens.
    pub consul: SocketAddr,
    /// Where it takes subscriptions over gRPC.
    pub grpc: SocketAddr,
    /// Where its DNS door listens.
    pub dns: SocketAddr,
    launch: Launch,
}

impl Site {
    /// Starts a node on an empty folder, and waits until it is ready.
    pub fn start(binary: &Path, folder: &Path) -> Result<Site, String> {
        let folder: PathBuf = folder.join("node");
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut launch = Launch::new(binary, &folder);
        launch.wrapper.push("env".to_string());
        let doors = [("CONSUL", "127.0.0.1:0"), ("CONSUL_GRPC", "127.0.0.1:0"), ("DNS", "127.0.0.1:0")];
        let rest = [("NODE", "bench"), ("MONITOR", "off"), ("LOG", "warn")];
        launch.wrapper.extend(doors.into_iter().chain(rest).map(|(name, value)| format!("TIDINGS_{name}={value}")));
        Site::launched(launch)
    }

    fn launched(launch: Launch) -> Result<Site, String> {
        let node = launch.start()?;
        let ports = std::fs::read(launch.data.join("ports.json")).map_err(|error| error.to_string())?;
        let ports: Value = serde_json::from_slice(&ports).map_err(|error| error.to_string())?;
        let door = |name: &str| {
            let address = ports[name].as_str().and_then(|address| address.parse().ok());
            address.ok_or_else(|| format!("the node has no {name} door: {ports}"))
        };
        Ok(Site { consul: door("consul")?, grpc: door("consul_grpc")?, dns: door("dns")?, node, launch })
    }

    /// The same node, stopped and started again on the same data.
    pub fn again(self) -> Result<Site, String> {
        self.node.stop()?;
        Site::launched(self.launch)
    }

    /// A connection to its Consul door.
    pub fn connect(&self) -> Result<Connection, String> {
        Connection::open(self.consul).map_err(|error| self.told(&error.to_string()))
    }

    /// Its metrics whose names contain a word, added up.
    pub fn metric(&self, word: &str) -> Result<f64, String> {
        let text = self.node.connect()?.get("/metrics").map_err(|error| self.told(&error.to_string()))?.text();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(word));
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        if values.is_empty() {
            Err(self.told(&format!("there is no metric with '{word}'")))
        } else {
            Ok(values.iter().sum())
        }
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> Result<f64, String> {
        self.node.resident().map(|bytes| bytes as f64).ok_or_else(|| self.told("its memory cannot be read"))
    }

    /// What went wrong, with the node's log.
    pub fn told(&self, said: &str) -> String {
        format!("{said}\nlog:\n{}", self.launch.log_tail())
    }
}

/// The body that registers an instance on a node of its own, with a mark that says which change it is.
pub fn registration(service: &str, number: usize, mark: u64) -> Vec<u8> {
    let [high, low] = [number / 250, number % 250 + 1];
    let address = format!("10.{}.{}.{low}", high / 250, high % 250);
    json!({
        "Node": format!("node-{number:06}"), "Address": address,
        "Service": {
            "ID": format!("{service}-{number}"), "Service": service, "Port": 8080, "Tags": ["v1"],
            "Meta": {"mark": format!("{mark:08}")},
        },
        "Check": {
            "CheckID": format!("service:{service}-{number}"), "Name": "alive", "Status": "passing",
            "ServiceID": format!("{service}-{number}"),
        },
    })
    .to_string()
    .into_bytes()
}

/// Registers an instance.
pub fn register(conn: &mut Connection, body: &[u8]) -> Result<(), String> {
    let answer = conn.request("PUT", "/v1/catalog/register", &[], body).map_err(|error| error.to_string())?;
    done(&answer)
}

/// Whether a write was answered as done.
pub fn done(answer: &Response) -> Result<(), String> {
    if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
}
