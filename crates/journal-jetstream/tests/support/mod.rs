//! NATS servers for tests: one, or a cluster, started here, with an account for each test, so that
//! tests share servers and see nothing of one another.
//!
//! The binary is named by `TIDINGS_NATS_SERVER`, or found on the path. Nothing is downloaded. Servers
//! end with the process that started them, however it ends: a guard waits for the end of its input.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Accounts of a server or cluster: one for each test of a file, and some to spare.
const ACCOUNTS: usize = 160;

/// How long a cluster may take to have a leader.
const READY_MAX: Duration = Duration::from_secs(60);

/// A server's place.
pub struct Place {
    pub client: u16,
    pub monitor: u16,
    pub cluster: u16,
    pub dir: PathBuf,
}

/// Servers of one test file.
pub struct Servers {
    pub places: Vec<Place>,
    binary: PathBuf,
    guards: Vec<Child>,
    taken: AtomicUsize,
    _dir: tempfile::TempDir,
}

/// The server's binary, or why there is none.
pub fn binary() -> Result<PathBuf, &'static str> {
    if let Some(path) = env::var_os("TIDINGS_NATS_SERVER") {
        return Ok(path.into());
    }
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&paths).map(|dir| dir.join("nats-server")).find(|path| path.is_file());
    found.ok_or("there is no nats-server on the path, and TIDINGS_NATS_SERVER names none")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

impl Servers {
    /// Starts so many servers.
    pub fn start(count: usize) -> Result<Servers, &'static str> {
        let binary = binary()?;
        let dir = tempfile::tempdir().expect("a directory");
        let place = |number: usize| Place {
            client: free_port(),
            monitor: free_port(),
            cluster: free_port(),
            dir: dir.path().join(format!("n{number}")),
        };
        let places: Vec<Place> = (0..count).map(place).collect();
        let mut servers = Servers { places, binary, guards: Vec::new(), taken: AtomicUsize::new(0), _dir: dir };
        for number in 0..count {
            let config = servers.config(number);
            let place = &servers.places[number];
            fs::create_dir_all(&place.dir).expect("a directory");
            fs::write(place.dir.join("nats.conf"), config).expect("a file");
            let guard = servers.spawn(number);
            servers.guards.push(guard);
        }
        servers.wait_ready();
        Ok(servers)
    }

    fn config(&self, number: usize) -> String {
        let place = &self.places[number];
        let mut text = format!(
            "server_name: n{number}\nlisten: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\", max_mem: 4G, max_file: 20G }}\n",
            place.client,
            place.monitor,
            place.dir.display()
        );
        if self.places.len() > 1 {
            let routes: Vec<String> =
                self.places.iter().map(|place| format!("nats://127.0.0.1:{}", place.cluster)).collect();
            let listen = place.cluster;
            writeln!(text, "cluster {{ name: C, listen: \"127.0.0.1:{listen}\", routes: [{}] }}", routes.join(", "))
                .expect("text");
        }
        writeln!(text, "accounts {{").expect("text");
        for account in 0..ACCOUNTS {
            writeln!(text, "  A{account} {{ jetstream: enabled, users: [{{ user: u{account}, password: p }}] }}")
                .expect("text");
        }
        text.push_str("}\n");
        text
    }

    fn spawn(&self, number: usize) -> Child {
        let dir = &self.places[number].dir;
        let script = "\"$1\" -c \"$2\" >\"$3\" 2>&1 & echo $! >\"$4\"; cat >/dev/null; kill -9 $(cat \"$4\")";
        Command::new("sh")
            .args(["-c", script, "guard"])
            .arg(&self.binary)
            .args([dir.join("nats.conf"), dir.join("log"), dir.join("pid")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server")
    }

    fn wait_ready(&self) {
        let since = Instant::now();
        while !self.places.iter().all(|place| healthy(place.monitor)) {
            assert!(since.elapsed() < READY_MAX, "the servers do not become ready: {}", log(&self.places[0].dir));
            sleep(Duration::from_millis(50));
        }
    }

    /// The servers' address, as a user of the next account.
    pub fn next_account(&self) -> String {
        let account = self.taken.fetch_add(1, Ordering::Relaxed);
        assert!(account < ACCOUNTS, "more accounts are needed");
        self.address(account)
    }

    pub fn address(&self, account: usize) -> String {
        let servers: Vec<String> =
            self.places.iter().map(|place| format!("nats://u{account}:p@127.0.0.1:{}", place.client)).collect();
        servers.join(",")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for mut guard in self.guards.drain(..) {
            drop(guard.stdin.take());
            let _ended = guard.wait();
        }
    }
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.0 200"))
}
