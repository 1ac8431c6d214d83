//! A view of users kept in PostgreSQL: an empty table filled, then a steady stream of changes.
//!
//! The database is started for the row, in a folder of its own, with its own defaults: each commit is on disk. It
//! refuses to run as root, and then runs as the user that its package made.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Bench;
use crate::bench::spread::Spread;
use crate::http::Connection;
use crate::node::{Launch, Node};

/// Users, and so rows.
const USERS: usize = 100_000;
const USERS_QUICK: usize = 10_000;
/// Events of one request.
const BATCH: usize = 1_000;
/// What filling the table is held to.
const FILL_MAX: Duration = Duration::from_secs(10);
/// Changes a second, and for how long.
const RATE: usize = 5_000;
const STEADY: Duration = Duration::from_secs(10);
/// Events of one request of the steady stream.
const STEADY_BATCH: usize = 50;
/// How far behind the table may be when the last change was answered, and still count as keeping up.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let users = bench.count(USERS, USERS_QUICK);
    let [mut fill, mut behind, mut rate, mut cpu] = [(); 4].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let database = Database::start()?;
        let folder = bench.folder.join("sync");
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let launch = Launch::new(&bench.binary, &folder);
        let node = launch.start()?;
        let measured = round(bench, users, &node, &database);
        let (filled, late, reached, used) = measured.map_err(|said| format!("{said}\nlog:\n{}", launch.log_tail()))?;
        fill.add(filled.as_secs_f64());
        behind.add(late.as_secs_f64());
        rate.add(reached);
        cpu.add(used);
        node.stop()?;
    }
    fill.print_time(&format!("{users} users into an empty table"), Some(FILL_MAX));
    rate.print_rate("changes published, one after the other's time", Some(RATE as f64 * 0.98));
    behind.print_time("from the last answer until the table has it", Some(BEHIND_MAX));
    cpu.print_percent("processor of the one that keeps it, meanwhile", None);
    Ok(())
}

type Measured = (Duration, Duration, f64, f64);

fn round(bench: &Bench, users: usize, node: &Node, database: &Database) -> Result<Measured, String> {
    let mut conn = node.connect()?;
    let spec = json!({"stream": "EVENTS", "key": {"attribute": "subject"}, "version": {"path": "n"}});
    let view = json!({"apiVersion": "tidings.dev/v1", "kind": "View", "metadata": {"name": "users"}, "spec": spec});
    post(&mut conn, "/v1/resources", "application/json", &view)?;
    for first in (0..users).step_by(BATCH) {
        publish(&mut conn, first..(first + BATCH).min(users), users, 0)?;
    }
    until("the view is folded", || Ok(position(&mut conn)? >= users as u64))?;
    let begun = Instant::now();
    let status = keeper(bench, node, database).arg("--once").status().map_err(|error| error.to_string())?;
    let filled = begun.elapsed();
    let found = database.sql("SELECT count(*) FROM user_cache")?;
    if !status.success() || found != users.to_string() {
        return Err(format!("the table has {found} rows of {users}, {status}"));
    }
    let mut child = Keeper(keeper(bench, node, database).spawn().map_err(|error| error.to_string())?);
    thread::sleep(Duration::from_secs(1));
    let used = crate::node::processor_time(child.0.id())?;
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < STEADY {
        publish(&mut conn, sent..sent + STEADY_BATCH, users, 1 + sent)?;
        sent += STEADY_BATCH;
        let due = Duration::from_secs_f64(sent as f64 / RATE as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let (took, last) = (begun.elapsed(), (users + sent) as u64);
    let begun = Instant::now();
    until("the table has the last change", || {
        let at = database.sql("SELECT position FROM tidings_positions")?;
        Ok(at.parse::<u64>().is_ok_and(|at| at >= last))
    })?;
    let late = begun.elapsed();
    let used = crate::node::processor_time(child.0.id())?.saturating_sub(used);
    child.end();
    let wrong = database.sql(&format!("SELECT count(*) FROM user_cache WHERE n = 0 AND user_id < 'u{sent:07}'"))?;
    if sent <= users && wrong != "0" {
        return Err(format!("{wrong} rows were not changed"));
    }
    Ok((filled, late, sent as f64 / took.as_secs_f64(), used.as_secs_f64() / took.as_secs_f64() * 100.0))
}

/// The process that keeps the table, ended with the round.
struct Keeper(Child);

impl Keeper {
    fn end(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn keeper(bench: &Bench, node: &Node, database: &Database) -> Command {
    let mut command = Command::new(&bench.binary);
    command.args(["view", "sync", "--view", "users", "--table", "user_cache", "--to", &database.url()]);
    command.args(["--server", &format!("http://{}", node.http), "--version", "n"]);
    let columns = ["user_id=$key", "username:text:required:unique", "display_name", "n:integer"];
    command.args(columns.iter().flat_map(|column| ["--column", column]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Publishes changes of users, by number; beyond the last it begins anew.
fn publish(conn: &mut Connection, numbers: std::ops::Range<usize>, users: usize, n: usize) -> Result<(), String> {
    let event = |number: usize| {
        let user = number % users;
        json!({
            "specversion": "1.0", "id": format!("{n}-{number}"), "source": "/bench", "type": "user.changed",
            "subject": format!("u{user:07}"), "datacontenttype": "application/json",
            "data": {"username": format!("name{user}"), "display_name": format!("User number {user}"), "n": n},
        })
    };
    let events: Vec<Value> = numbers.map(event).collect();
    post(conn, "/v1/events", "application/cloudevents-batch+json", &Value::from(events))
}

fn post(conn: &mut Connection, path: &str, media_type: &str, body: &Value) -> Result<(), String> {
    let headers = [("content-type", media_type)];
    let answer = conn.request("POST", path, &headers, body.to_string().as_bytes());
    let answer = answer.map_err(|error| error.to_string())?;
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
}

fn position(conn: &mut Connection) -> Result<u64, String> {
    let listed = conn.get("/v1/views").map_err(|error| error.to_string())?.json();
    let users = listed["views"].as_array().and_then(|views| views.iter().find(|view| view["name"] == "users"));
    Ok(users.and_then(|view| view["position"].as_u64()).unwrap_or_default())
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {PATIENCE:?}"));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// A PostgreSQL server.
struct Database {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Database {
    fn start() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("PostgreSQL: {error}");
        let programs = programs().ok_or("there is no PostgreSQL here (on Debian: apt install postgresql)")?;
        let folder = std::env::temp_dir().join(format!("tidings-bench-postgres-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(failed)?;
        if let Some((user, group)) = other_user() {
            chown(&folder, Some(user), Some(group)).map_err(failed)?;
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).map_err(failed)?.port();
        let mut database = Database { programs, folder, port, server: None };
        let data = database.folder.join("data");
        let mut make = database.command("initdb");
        make.arg("-D").arg(&data).args(["-U", "app", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8"]);
        let made = make.output().map_err(failed)?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let mut serve = database.command("postgres");
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"]);
        serve.arg(&database.folder).stdout(Stdio::null()).stderr(Stdio::null());
        database.server = Some(serve.spawn().map_err(failed)?);
        until("PostgreSQL is ready", || Ok(database.sql("SELECT 1").is_ok()))?;
        Ok(database)
    }

    fn url(&self) -> String {
        format!("postgres://app@127.0.0.1:{}/postgres", self.port)
    }

    /// A program of its package, as the user that it may run as.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        if let Some((user, group)) = other_user() {
            command.uid(user).gid(group);
        }
        command
    }

    /// The one value that a statement gives.
    fn sql(&self, text: &str) -> Result<String, String> {
        let done = self.command("psql").args(["-XAtq", &self.url(), "-c", text]).output();
        let done = done.map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(format!("psql: {}", String::from_utf8_lossy(&done.stderr)));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_string())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Fast: it has nothing to keep. SIGKILL would leave its children.
            let stop = self.command("pg_ctl").args(["stop", "-m", "fast", "-D"]).arg(self.folder.join("data")).output();
            let _gone = stop.and_then(|_| server.wait());
        }
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

/// Where the newest server's programs are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let version = |path: &PathBuf| -> Option<u32> { path.parent()?.file_name()?.to_str()?.parse().ok() };
    versions.filter(|path| path.join("postgres").is_file()).max_by_key(version)
}

/// The user and group of the database's package, where this runs as root.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let known = fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = known.lines().find_map(|line| line.strip_prefix("postgres:"))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
