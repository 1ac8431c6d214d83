//! Nodes of a mesh, as this program uses them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api;
use crate::bench::nats::wire::Wire;
use crate::node::{Launch, Node};

/// How long something may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A running node of a mesh.
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// The process.
    pub node: Node,
    /// Where its NATS door listens.
    pub nats: SocketAddr,
    /// Where its links come in.
    pub mesh: SocketAddr,
    launch: Launch,
}

/// Nodes of one mesh; the first is the controller.
pub struct Mesh {
    /// The nodes.
    pub sites: Vec<Site>,
}

/// A port that nobody listens on just now.
fn free() -> Result<SocketAddr, String> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    socket.local_addr().map_err(|error| error.to_string())
}

impl Site {
    /// Starts a node called `name` of a domain on an empty folder; without `join` it is the controller.
    fn start(binary: &Path, folder: &Path, domain: &str, name: &str, join: Option<SocketAddr>) -> Result<Site, String> {
        let folder: PathBuf = folder.join(name);
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mesh = free()?;
        let mut launch = Launch::new(binary, &folder);
        let nats = free()?;
        launch.nats = nats.to_string();
        launch
            .arguments
            .extend(["--node", name, "--domain", domain, "--log", "warn", "--monitor", "off"].map(String::from));
        let secret = secret(folder.parent().unwrap_or(&folder), domain)?;
        let listen = mesh.to_string();
        for (flag, value) in [("--mesh", &listen), ("--mesh-external", &listen), ("--domain-secret-file", &secret)] {
            launch.arguments.extend([flag.to_string(), value.clone()]);
        }
        match join {
            Some(join) => launch.arguments.extend(["--join".to_string(), join.to_string()]),
            None => launch.arguments.push("--controller".to_string()),
        }
        let node = launch.start()?;
        Ok(Site { name: name.to_string(), domain: domain.to_string(), node, nats, mesh, launch })
    }

    /// Kills the process as a failure would; the folder stays.
    pub fn kill(self) -> Result<Launch, String> {
        self.node.kill()?;
        Ok(self.launch)
    }

    /// A NATS connection.
    pub fn wire(&self) -> Result<Wire, String> {
        Wire::open(self.nats).map_err(|said| self.told(&said))
    }

    /// An answer of the HTTP door.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        api::done(&mut self.node.connect()?, method, path, body).map_err(|said| self.told(&said))
    }

    /// What went wrong, with the node's log.
    pub fn told(&self, said: &str) -> String {
        format!("{}: {said}\nlog:\n{}", self.name, self.launch.log_tail())
    }
}

/// The file of a domain's secret, made where it is not there.
fn secret(folder: &Path, domain: &str) -> Result<String, String> {
    let file = folder.join(format!("{domain}.secret"));
    fs::write(&file, format!("secret-of-the-domain-{domain}-which-is-long-enough\n"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file.to_string_lossy().into_owned())
}

/// A resource as it is declared.
pub fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "tidings.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

impl Mesh {
    /// Starts nodes `(domain, name)`, and links their domains in a chain, in this order.
    pub fn chain(binary: &Path, folder: &Path, nodes: &[(&str, &str)]) -> Result<Mesh, String> {
        let Some(((domain, name), others)) = nodes.split_first() else { return Err("no nodes".to_string()) };
        let first = Site::start(binary, folder, domain, name, None)?;
        let join = first.mesh;
        let mut mesh = Mesh { sites: vec![first] };
        let mut domains: Vec<&str> = nodes.iter().map(|(domain, _)| *domain).collect();
        domains.dedup();
        let mut declared = Vec::new();
        for domain in &domains {
            declared.push(resource("Domain", domain, &json!({"secretFile": secret(folder, domain)?})));
        }
        let links = domains.windows(2).map(|pair| json!({"domain": pair[0], "neighbors": [pair[1]]}));
        declared.push(resource("Topology", "chain", &json!({"links": links.collect::<Vec<_>>()})));
        mesh.sites[0].ask("POST", "/v1/resources", &json!({ "resources": declared }))?;
        for (domain, name) in others {
            mesh.sites.push(Site::start(binary, folder, domain, name, Some(join))?);
        }
        Ok(mesh)
    }

    /// Starts a node of a launch again.
    pub fn again(
        &mut self,
        launch: &Launch,
        name: &str,
        domain: &str,
        at: (SocketAddr, SocketAddr),
    ) -> Result<(), String> {
        let node = launch.start()?;
        let (name, domain, launch) = (name.to_string(), domain.to_string(), launch.clone());
        self.sites.push(Site { name, domain, node, nats: at.0, mesh: at.1, launch });
        Ok(())
    }

    /// Waits until what is published to a subject at one node is heard at another; the messages that this took are
    /// gone when it returns. `wire` listens to the subject.
    pub fn until_heard(&self, from: &Site, wire: &mut Wire, subject: &str) -> Result<(), String> {
        let begun = Instant::now();
        let mut publisher = from.wire()?;
        loop {
            publisher.send(format!("PUB {subject} 5\r\nprobe\r\n").as_bytes())?;
            publisher.flush()?;
            if wire.fill_for(Duration::from_millis(20))? {
                break;
            }
            if begun.elapsed() > PATIENCE {
                let logs: Vec<String> = self.sites.iter().map(|site| site.told("")).collect();
                return Err(format!("nothing of '{subject}' is heard of {}\n{}", from.name, logs.join("\n")));
            }
            thread::sleep(LOOK);
        }
        // The last of those under way come within a moment.
        while wire.fill_for(Duration::from_millis(100))? {}
        while wire.buffered()?.is_some() {}
        Ok(())
    }

    /// Waits for something to be so.
    pub fn until(&self, what: &str, mut so: impl FnMut() -> Result<bool, String>) -> Result<Duration, String> {
        let begun = Instant::now();
        while !so()? {
            if begun.elapsed() > PATIENCE {
                let logs: Vec<String> = self.sites.iter().map(|site| site.told("")).collect();
                return Err(format!("not within {PATIENCE:?}: {what}\n{}", logs.join("\n")));
            }
            thread::sleep(LOOK);
        }
        Ok(begun.elapsed())
    }
}
