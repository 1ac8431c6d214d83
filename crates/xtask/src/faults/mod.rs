//! What goes wrong around a node, done to the finished binary: each must be refused in words, lose
//! nothing that was acknowledged but what it damaged and names, and be over when its cause is.

mod damage;
mod mounts;
mod room;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{self, Way};
use crate::check::Tally;
use crate::http::Connection;
use crate::node::{self, Launch, Node};

/// The stream that is filled.
pub const STREAM: &str = "FAULTS";

/// How long a node may take to notice that a cause is gone.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// Refusals one after the other that are no passing squeeze.
const REFUSALS: u64 = 50;
/// Most messages that are sent until the disk must have been found full.
const UNTIL_FULL: usize = 200_000;

/// Why a fault could not be tried, or what was wrong.
pub enum Trouble {
    /// This machine does not let us.
    Cannot(String),
    /// The node did wrong.
    Wrong(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Trouble::Wrong(reason)
    }
}

/// How a fault went.
pub type Outcome = Result<(), Trouble>;

type Fault = fn(&Site) -> Outcome;

const FAULTS: &[(&str, Fault)] = &[
    ("a second node on the same directory is refused by name", room::second_node),
    ("a full disk refuses, loses nothing, and is forgotten when there is room", room::full_disk),
    ("a read-only directory is refused, and serves again when it is writable", room::read_only),
    ("a flipped byte costs the record it hit, which is named", damage::flipped_byte),
    ("a cut tail costs at most the record it hit", damage::cut_tail),
    ("rubbish behind the tail costs nothing", damage::rubbish_tail),
    ("a deleted index is made anew", damage::deleted_index),
];

/// Where one fault is tried.
pub struct Site {
    /// The binary.
    pub binary: PathBuf,
    /// A folder of its own.
    pub folder: PathBuf,
}

impl Site {
    /// A launch in the folder.
    pub fn launch(&self) -> Launch {
        Launch::new(&self.binary, &self.folder)
    }
}

/// Tries all faults.
pub fn run_all(binary: &Path, tally: &mut Tally) -> Result<(), String> {
    let folder = node::scratch("faults")?;
    for (number, (name, fault)) in FAULTS.iter().enumerate() {
        let site = Site { binary: binary.to_path_buf(), folder: folder.join(number.to_string()) };
        fs::create_dir_all(&site.folder).map_err(|error| error.to_string())?;
        match fault(&site) {
            Ok(()) => tally.note(name, Ok(())),
            Err(Trouble::Cannot(reason)) => tally.skip(name, &reason),
            Err(Trouble::Wrong(reason)) => {
                let log = site.launch().log_tail();
                tally.note(name, Err(format!("{reason}\nthe node said:\n{log}\nkept in {}", site.folder.display())));
                continue;
            }
        }
        let _left_behind = fs::remove_dir_all(&site.folder);
    }
    let _kept_where_something_failed = fs::remove_dir(&folder);
    Ok(())
}

/// What was acknowledged: positions from 1, payloads in their order.
#[derive(Debug, Default)]
pub struct Acked {
    /// Payload of each position.
    pub payloads: Vec<String>,
}

impl Acked {
    /// The payload of a number: unique, so that it can be found in a file.
    pub fn payload(number: usize) -> String {
        format!("fault-{number:06}-{}", "x".repeat(200 + number % 700))
    }

    /// Declares the stream and publishes so many messages.
    pub fn fill(node: &Node, count: usize) -> Result<Self, String> {
        let mut acked = Acked::default();
        let mut conn = node.connect()?;
        api::create_stream(&mut conn, STREAM, &["faults.>"])?;
        for _ in 0..count {
            acked.publish(&mut conn)??;
        }
        Ok(acked)
    }

    /// Publishes the next message. Outer: the connection; inner: the node's refusal.
    pub fn publish(&mut self, conn: &mut Connection) -> Result<Result<(), String>, String> {
        let number = self.payloads.len();
        let payload = Acked::payload(number);
        let subject = format!("faults.{}", number % 10);
        let response = api::send(conn, Way::Publish, &subject, &format!("id-{number}"), payload.as_bytes());
        let response = response.map_err(|error| format!("message {number}: {error}"))?;
        if !matches!(response.status, 200 | 201) {
            return Ok(Err(format!("{} {}", response.status, response.text())));
        }
        let receipt = api::receipt(&response)?;
        if receipt.seq != number as u64 + 1 {
            return Err(format!("message {number} was acknowledged at {}", receipt.seq));
        }
        self.payloads.push(payload);
        Ok(Ok(()))
    }

    /// Reads everything back; answers the positions that the node names as damaged.
    pub fn verify(&self, node: &Node, may_lack: &[u64]) -> Result<Vec<u64>, String> {
        let mut conn = node.connect()?;
        let (recorded, mut damaged) = api::read_all(&mut conn, STREAM, 1)?;
        let mut recorded = recorded.iter().peekable();
        for (seq, payload) in (1..).zip(&self.payloads) {
            match recorded.next_if(|message| message.seq == seq) {
                Some(message) if message.payload == payload.as_bytes() => {}
                Some(_) => return Err(format!("{STREAM}:{seq} has other bytes than were sent")),
                None if may_lack.contains(&seq) => {}
                None => return Err(format!("{STREAM}:{seq} was acknowledged and is lost")),
            }
        }
        damaged.sort_unstable();
        damaged.dedup();
        match recorded.next() {
            Some(strange) => Err(format!("{STREAM}:{} was never acknowledged", strange.seq)),
            None => Ok(damaged),
        }
    }

    /// Publishes until the node refuses and goes on refusing; answers what it says.
    pub fn until_full(&mut self, node: &Node) -> Result<String, String> {
        let (mut conn, mut refused) = (node.connect()?, 0);
        while self.payloads.len() < UNTIL_FULL {
            match self.publish(&mut conn)? {
                Ok(()) => refused = 0,
                Err(refusal) if refused == REFUSALS => return Ok(refusal),
                Err(_) => refused += 1,
            }
        }
        Err(format!("{UNTIL_FULL} messages went onto a full disk"))
    }

    /// Publishes a few more and reads everything back: the node is as it was before.
    pub fn goes_on(&mut self, node: &Node, may_lack: &[u64]) -> Result<(), String> {
        let mut conn = node.connect()?;
        for _ in 0..20 {
            self.publish(&mut conn)?.map_err(|refusal| format!("refused when the cause was gone: {refusal}"))?;
        }
        self.verify(node, may_lack).map(drop)
    }
}

/// What the node says of its readiness.
pub fn readiness(node: &Node) -> Result<(u16, String), String> {
    let response = node.connect()?.get("/readyz").map_err(|error| error.to_string())?;
    Ok((response.status, response.text()))
}

/// Waits until the node calls itself ready again, without asking anything else of it.
pub fn becomes_ready(node: &Node) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match readiness(node)? {
            (200, _) => return Ok(()),
            (_, said) if begun.elapsed() > RECOVERY_MAX => {
                return Err(format!("not ready {RECOVERY_MAX:?} after the cause was gone: {said}"));
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The last position of the stream.
pub fn last(node: &Node) -> Result<u64, String> {
    let info = api::done(&mut node.connect()?, "GET", &format!("/v1/streams/{STREAM}"), &Value::Null)?;
    info["state"]["last_seq"].as_u64().ok_or_else(|| format!("no last position in {info}"))
}

/// All files below a folder, as paths and contents.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

/// Where some bytes begin in others.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
