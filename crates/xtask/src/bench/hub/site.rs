//! A node with its hub door, as this program uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api;
use crate::http;
use crate::node::{Launch, Node};
use crate::tree::list;

/// How long something may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(5);

/// A running node.
pub struct Site {
    /// Its name.
    pub name: String,
    /// The process.
    pub node: Node,
    /// Where its hub door listens.
    pub hub: SocketAddr,
    launch: Launch,
}

impl Site {
    /// Starts a node on an empty folder, and waits until it is ready.
    pub fn start(binary: &Path, folder: &Path, name: &str) -> Result<Site, String> {
        let folder: PathBuf = folder.join(name);
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut launch = Launch::new(binary, &folder);
        let variables = [("NODE", name), ("HUB", "127.0.0.1:0"), ("MONITOR", "off"), ("LOG", "warn")];
        launch.wrapper.push("env".to_string());
        launch.wrapper.extend(variables.map(|(variable, value)| format!("TIDINGS_{variable}={value}")));
        let node = launch.start()?;
        let ports = std::fs::read(launch.data.join("ports.json")).map_err(|error| error.to_string())?;
        let ports: Value = serde_json::from_slice(&ports).map_err(|error| error.to_string())?;
        let hub = ports["hub"].as_str().and_then(|hub| hub.parse().ok());
        let hub = hub.ok_or_else(|| format!("the node has no hub door: {ports}"))?;
        Ok(Site { name: name.to_string(), node, hub, launch })
    }

    /// What the door says of itself.
    pub fn status(&self) -> Result<Value, String> {
        let answer = http::once(self.hub, "GET", "/status", b"").map_err(|error| self.told(&error.to_string()))?;
        match answer.status {
            200 => Ok(answer.json()),
            status => Err(self.told(&format!("/status: {status} {}", answer.text()))),
        }
    }

    /// Declares links to hubs.
    pub fn link(&self, to: &[&Site]) -> Result<(), String> {
        let links = to.iter().map(|site| {
            json!({
                "apiVersion": "tidings.dev/v1", "kind": "HubLink", "metadata": {"name": site.name},
                "spec": {"address": format!("ws://{}", site.hub)},
            })
        });
        let body = json!({ "resources": links.collect::<Vec<Value>>() });
        api::done(&mut self.node.connect()?, "POST", "/v1/resources", &body).map_err(|said| self.told(&said))?;
        Ok(())
    }

    /// Waits until it is connected with so many hubs.
    pub fn until_linked(&self, hubs: usize) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let status = self.status()?;
            if list(&status["info"]["nexus"]["hubs"]).count() == hubs {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.told(&format!("not connected with {hubs} hubs: {}", status["info"]["nexus"]["hubs"])));
            }
            thread::sleep(LOOK);
        }
    }

    /// Its metrics of the hub door that are not zero.
    pub fn counts(&self) -> Result<BTreeMap<String, f64>, String> {
        let mut conn = self.node.connect()?;
        let text = conn.get("/metrics").map_err(|error| self.told(&error.to_string()))?.text();
        let lines = text.lines().filter(|line| line.starts_with("tidings_hub_"));
        let values = lines.filter_map(|line| line.rsplit_once(' ')).filter_map(|(name, value)| {
            value.parse().ok().filter(|value| *value != 0.0).map(|value| (name.to_string(), value))
        });
        Ok(values.collect())
    }

    /// What went wrong, with the node's log.
    pub fn told(&self, said: &str) -> String {
        format!("{}: {said}\nlog:\n{}", self.name, self.launch.log_tail())
    }
}
