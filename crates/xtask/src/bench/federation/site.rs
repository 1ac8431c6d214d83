//! A node of a federation as this program uses it: its resources, its facts, its stream.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::{Value, json};

use crate::api;
use crate::http::Connection;
use crate::node::{Launch, Node};
use crate::tree::list;

/// The group of every row.
pub const GROUP: &str = "bench";
/// The stream that keeps its facts.
pub const STREAM: &str = "FED_bench";
/// The type of every fact.
const KIND: &str = "bench.link.observed";
/// What every node of the group signs with.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// How long a fact holds: longer than any run.
const TTL: &str = "24h";
/// Connections that state facts at the same time.
const CONNECTIONS: usize = 64;
/// How long something may make no progress.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(5);
/// Messages of a page that is read to check a stream.
const PAGE_MESSAGES: usize = 10_000;

/// A running node.
pub struct Site {
    /// Its name.
    pub name: String,
    /// The process.
    pub node: Node,
    launch: Launch,
    folder: PathBuf,
}

impl Site {
    /// Starts a node with its data in a folder, and waits until it is ready.
    pub fn start(binary: &Path, folder: &Path, name: &str) -> Result<Site, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        super::write(&folder.join("secret"), SECRET)?;
        let mut launch = Launch::new(binary, folder);
        launch.wrapper = vec!["env".to_string(), format!("TIDINGS_NODE={name}")];
        let node = launch.start()?;
        Ok(Site { name: name.to_string(), node, launch, folder: folder.to_path_buf() })
    }

    /// Its group, as a resource.
    pub fn group(&self) -> Result<Value, String> {
        let secret = self.folder.join("secret");
        let secret = secret.to_str().ok_or("the folder's name is no UTF-8")?;
        Ok(json!({
            "apiVersion": "tidings.dev/v1", "kind": "EventGroup", "metadata": {"name": GROUP},
            "spec": {"nodeName": self.name, "auth": {"mode": "hmac", "secretFile": secret}},
        }))
    }

    /// Declares resources.
    pub fn declare(&self, resources: &[Value]) -> Result<(), String> {
        let body = json!({ "resources": resources });
        let mut conn = self.node.connect()?;
        api::done(&mut conn, "POST", "/v1/resources", &body).map_err(|said| self.told(&said))?;
        let begun = Instant::now();
        while !self.stands(&mut conn, resources)? {
            if begun.elapsed() > PATIENCE {
                return Err(self.told("what was declared does not stand"));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Whether the group is open and its peers are known.
    fn stands(&self, conn: &mut Connection, resources: &[Value]) -> Result<bool, String> {
        let mut get = |path: &str| conn.get(path).map_err(|error| self.told(&error.to_string()));
        let known = get("/v1/federation/peers")?.json();
        let peers: BTreeSet<&str> = list(&known["peers"]).filter_map(|peer| peer["peer"].as_str()).collect();
        let wanted = resources.iter().filter(|resource| resource["kind"] == "EventPeer");
        let all = wanted.filter_map(|peer| peer["spec"]["nodeName"].as_str()).all(|name| peers.contains(name));
        Ok(all && get(&format!("/v1/streams/{STREAM}"))?.status == 200)
    }

    /// Where peers push to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.node.http)
    }

    /// How many facts its stream has; none where the stream is not there yet.
    pub fn recorded(&self, conn: &mut Connection) -> Result<usize, String> {
        let response = conn.get(&format!("/v1/streams/{STREAM}")).map_err(|error| self.told(&error.to_string()))?;
        match response.status {
            200 => {
                let count = response.json()["state"]["messages"].as_u64().unwrap_or_default();
                usize::try_from(count).map_err(|error| error.to_string())
            }
            404 => Ok(0),
            status => Err(self.told(&format!("{status} {}", response.text()))),
        }
    }

    /// Waits until its stream has so many facts. Fails where none is added for a while, or there are more.
    pub fn until(&self, count: usize) -> Result<(), String> {
        let mut conn = self.node.connect()?;
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let now = self.recorded(&mut conn)?;
            if now >= count {
                return if now == count { Ok(()) } else { Err(self.told(&format!("{now} facts, not {count}"))) };
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                return Err(self.told(&format!("{now} of {count} facts, and no more come")));
            }
            thread::sleep(LOOK);
        }
    }

    /// Facts stated over many connections, their ids a prefix and a number.
    pub fn load(&self, prefix: &str, count: usize) -> Result<(), String> {
        let one = |number: usize| -> Result<(), String> {
            let mut conn = self.node.connect()?;
            (number..count).step_by(CONNECTIONS).try_for_each(|n| emit(&mut conn, &format!("{prefix}{n}")))
        };
        let done: Result<(), String> = thread::scope(|scope| {
            let one = &one;
            let tasks: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || one(number))).collect();
            tasks.into_iter().try_for_each(|task| task.join().unwrap_or_else(|_| Err("a thread panicked".to_string())))
        });
        done.map_err(|said| self.told(&said))
    }

    /// Checks that its stream has every one of these facts once, and nothing else.
    pub fn check(&self, mut wanted: BTreeSet<String>) -> Result<(), String> {
        let (mut conn, mut from) = (self.node.connect()?, 1);
        loop {
            let path = format!("/v1/streams/{STREAM}/messages?from={from}&limit={PAGE_MESSAGES}");
            let page = api::done(&mut conn, "GET", &path, &Value::Null)?;
            for message in list(&page["messages"]) {
                let id = message["event"]["id"].as_str().unwrap_or_default();
                if !wanted.remove(id) {
                    return Err(self.told(&format!("'{id}' is there twice, or was never stated")));
                }
            }
            let (next, last) = (page["next"].as_u64().unwrap_or_default(), page["last"].as_u64().unwrap_or_default());
            if next > last || next <= from {
                break;
            }
            from = next;
        }
        match wanted.first() {
            None => Ok(()),
            Some(id) => Err(self.told(&format!("{} facts are missing, such as '{id}'", wanted.len()))),
        }
    }

    /// What went wrong, with what the node says of its peers and its log.
    pub fn told(&self, said: &str) -> String {
        let peers = self.node.connect().and_then(|mut conn| {
            conn.get("/v1/federation/peers").map(|response| response.text()).map_err(|error| error.to_string())
        });
        let peers = peers.unwrap_or_else(|error| error);
        format!("{}: {said}\npeers: {peers}\nlog:\n{}", self.name, self.launch.log_tail())
    }
}

/// A peer, as a resource.
pub fn peer(name: &str, endpoint: &str, batch: &str) -> Value {
    json!({
        "apiVersion": "tidings.dev/v1", "kind": "EventPeer", "metadata": {"name": name},
        "spec": {"groupRef": GROUP, "nodeName": name, "endpoint": endpoint, "batch": batch},
    })
}

/// States one fact; it is on disk when this answers.
pub fn emit(conn: &mut Connection, id: &str) -> Result<(), String> {
    let body = format!(
        "{{\"id\":\"{id}\",\"type\":\"{KIND}\",\"subject\":\"10.88.60.9/32\",\"ttl\":\"{TTL}\",\
         \"payload\":{{\"address\":\"10.88.60.9/32\",\"mac\":\"aa:bb:cc:dd:ee:ff\"}}}}"
    );
    let path = format!("/v1/federation/{GROUP}/events");
    let headers = [("content-type", "application/json")];
    let response = conn.request("POST", &path, &headers, body.as_bytes()).map_err(|error| format!("emit: {error}"))?;
    match (response.status, response.json()["duplicate"].as_bool()) {
        (200 | 201, Some(false)) => Ok(()),
        (status, _) => Err(format!("emit was answered {status} {}", response.text())),
    }
}

/// Pushes one fact as a peer does, signed; it is on disk when this answers.
pub fn push(conn: &mut Connection, id: &str) -> Result<(), String> {
    let body = format!(
        "{{\"id\":\"{id}\",\"group\":\"{GROUP}\",\"sourceNode\":\"elsewhere\",\"type\":\"{KIND}\",\
         \"subject\":\"10.88.60.9/32\",\"dedupeKey\":\"{id}\",\"payload\":{{\"address\":\"10.88.60.9/32\"}},\
         \"observedAt\":\"2026-01-01T00:00:00Z\",\"expiresAt\":\"2199-01-01T00:00:00Z\"}}"
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{now}\n{body}").as_bytes());
    let signature: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = [
        ("content-type", "application/json"),
        ("x-routerd-timestamp", now.as_str()),
        ("x-routerd-signature", signature.as_str()),
    ];
    let response = conn.request("POST", "/v1/events", &headers, body.as_bytes()).map_err(|e| format!("push: {e}"))?;
    match (response.status, response.json()["duplicate"].as_bool()) {
        (200, Some(false)) => Ok(()),
        (status, _) => Err(format!("a push was answered {status} {}", response.text())),
    }
}

/// The ids of facts that [`Site::load`] stated.
pub fn ids(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}
