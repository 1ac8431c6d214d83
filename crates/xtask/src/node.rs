//! The finished binary, started and watched from outside: its addresses from `ports.json`, its
//! readiness from `/readyz`, its memory from `/proc`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Connection};
use crate::tree::{list, root};

/// How long a start may take before it is taken for a failure.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a refusal may take.
const REFUSAL_MAX: Duration = Duration::from_secs(10);
/// How long a clean stop may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often a start is looked at. Bounds the error of a measured start.
const LOOK: Duration = Duration::from_micros(500);

/// Ticks of a processor second in `/proc/PID/stat`: Linux shows 100 to every program.
const TICKS_PER_SECOND: u64 = 100;

/// A running node.
pub struct Node {
    child: Child,
    /// Where its HTTP door listens.
    pub http: SocketAddr,
    /// From being started to being ready.
    pub start: Duration,
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Where its output goes; appended to.
    pub log: PathBuf,
    /// Where its NATS door listens, or `off`.
    pub nats: String,
    /// What stands behind the usual arguments.
    pub arguments: Vec<String>,
    /// What stands before the binary: a program and its arguments that end in running what follows.
    pub wrapper: Vec<String>,
    /// The data directory as seen from here, where that is another path.
    pub seen: Option<PathBuf>,
}

impl Launch {
    /// A launch with its data and log in a folder.
    pub fn new(binary: &Path, folder: &Path) -> Self {
        Launch {
            binary: binary.to_path_buf(),
            data: folder.join("data"),
            log: folder.join("node.log"),
            nats: "off".to_string(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            seen: None,
        }
    }

    fn command(&self) -> io::Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&self.binary),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        command.args(["serve", "--http", "127.0.0.1:0", "--nats", &self.nats, "--data"]).arg(&self.data);
        command.args(&self.arguments);
        // By the environment, so that a wrapper can say otherwise.
        command
            .env("TIDINGS_HUB", "off")
            .env("TIDINGS_CONSUL", "off")
            .env("TIDINGS_DNS", "off")
            .env("TIDINGS_SLIM", "off");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Starts a node and waits until it is ready.
    pub fn start(&self) -> Result<Node, String> {
        let ports = self.seen.as_ref().unwrap_or(&self.data).join("ports.json");
        // A killed node leaves it behind; what appears now is the new one's.
        let _absent = fs::remove_file(&ports);
        let begun = Instant::now();
        let mut child = self.command().and_then(|mut command| command.spawn()).map_err(|e| e.to_string())?;
        loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the node ended at its start with {status}:\n{}", self.log_tail()));
            }
            if let Some(http) = read_ports(&ports).filter(|http| is_ready(*http)) {
                return Ok(Node { child, http, start: begun.elapsed() });
            }
            if begun.elapsed() > START_MAX {
                let _gone = child.kill().and_then(|()| child.wait());
                return Err(format!("the node was not ready within {START_MAX:?}:\n{}", self.log_tail()));
            }
            thread::sleep(LOOK);
        }
    }

    /// Starts a node that is to be refused; answers how it ended and what it said.
    pub fn refused(&self) -> Result<(ExitStatus, String), String> {
        let mut child = self.command().and_then(|mut command| command.spawn()).map_err(|e| e.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < REFUSAL_MAX {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Ok((status, self.log_tail()));
            }
            thread::sleep(LOOK);
        }
        let _gone = child.kill().and_then(|()| child.wait());
        Err(format!("the node was to be refused, and runs:\n{}", self.log_tail()))
    }

    /// The end of the node's output.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Processor time that all threads of a process have used, user and system.
pub fn processor_time(process: u32) -> Result<Duration, String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).map_err(|error| error.to_string())?;
    // The name may hold blanks; what is behind its parenthesis does not. utime and stime are fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn read_ports(path: &Path) -> Option<SocketAddr> {
    let ports: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    ports["http"].as_str()?.parse().ok()
}

fn is_ready(http: SocketAddr) -> bool {
    http::once(http, "GET", "/readyz", b"").is_ok_and(|response| response.status == 200)
}

impl Node {
    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|error| error.to_string())
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Result<ExitStatus, String> {
        let ask = format!("kill -TERM {}", self.child.id());
        Command::new("sh").args(["-c", &ask]).status().map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the node did not stop within {STOP_MAX:?}"))
    }

    /// A connection to its HTTP door.
    pub fn connect(&self) -> Result<Connection, String> {
        Connection::open(self.http).map_err(|error| format!("cannot connect to the node: {error}"))
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    }

    /// Processor time that all its threads have used, user and system.
    pub fn cpu(&self) -> Result<Duration, String> {
        processor_time(self.child.id())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A node outlives no test, whatever became of it.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Builds the binary and says where it is; one that `TIDINGS_BINARY` names is taken as it is.
pub fn build(release: bool) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("TIDINGS_BINARY") {
        return Ok(PathBuf::from(given));
    }
    build_package("tidings", "tidings", release)
}

/// Builds a binary of a package and says where it is.
pub fn build_package(package: &str, name: &str, release: bool) -> Result<PathBuf, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", package, "--message-format", "json-render-diagnostics"]);
    if release {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(root()).stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(format!("{package} does not build"));
    }
    let printed = String::from_utf8_lossy(&built.stdout);
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mine = messages.filter(|message| {
        let kinds = &message["target"]["kind"];
        message["target"]["name"] == name && list(kinds).any(|kind| kind == "bin")
    });
    let binary = mine.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    binary.ok_or_else(|| format!("cargo built no binary named {name}"))
}

/// A fresh folder for one run, below the target directory.
pub fn scratch(name: &str) -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = root().join(target).join("xtask").join(format!("{name}-{}", std::process::id()));
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
