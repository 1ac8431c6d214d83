//! The real binary as a child process, and just enough HTTP to talk to it.

#![allow(dead_code, clippy::unwrap_used, missing_docs, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use host::ports::{Ports, read_ports};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test fails: generous, for busy machines.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the binary, with nothing of the caller's environment that it would listen to.
pub fn tidings(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
        command.env_remove(name);
    }
    // What every node would listen on, but for the one that is asked about it.
    command
        .env("TIDINGS_NATS", "off")
        .env("TIDINGS_HUB", "off")
        .env("TIDINGS_CONSUL", "off")
        .env("TIDINGS_DNS", "off")
        .env("TIDINGS_SLIM", "off");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `serve` where it must refuse; what it said on standard error, in one line.
pub fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    one_line(&String::from_utf8(output.stderr).unwrap())
}

/// A report without the frame that it is drawn in, so that line breaks do not matter.
pub fn one_line(report: &str) -> String {
    let plain = report.replace(['│', '╭', '─', '╰', '·', '▲', '×'], " ");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A node that runs.
pub struct Running {
    child: Child,
    pub data: PathBuf,
    pub ports: Ports,
    /// What it said on standard output up to being ready.
    pub welcome: Vec<String>,
    stderr: mpsc::Receiver<String>,
}

impl Running {
    /// Starts `serve` on a directory, HTTP on a free port, and waits until it is ready.
    pub fn start(data: &Path, args: &[&str]) -> Running {
        Running::start_with(tidings(&["serve", "--http", "127.0.0.1:0"]).args(args), data)
    }

    /// As [`Running::start`], from a command that names all but the directory.
    pub fn start_with(command: &mut Command, data: &Path) -> Running {
        let mut child = command.arg("--data").arg(data).spawn().unwrap();
        let (said, stderr) = mpsc::channel();
        let mut errors = child.stderr.take().unwrap();
        thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            said.send(text)
        });
        let (line_said, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| line_said.send(line)));
        let mut welcome = Vec::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let last = line.contains("curl") || line.trim() == "http    off";
                    welcome.push(line);
                    if last {
                        break;
                    }
                }
                Err(error) => {
                    child.kill().unwrap();
                    panic!("not ready ({error}): {welcome:?} {}", stderr.recv_timeout(PATIENCE).unwrap());
                }
            }
        }
        let ports = read_ports(data).unwrap();
        Running { child, data: data.to_owned(), ports, welcome, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn http(&self) -> SocketAddr {
        self.ports.http.unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the status, and all that was said on standard error.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.stderr.recv_timeout(PATIENCE).unwrap());
            }
            assert!(Instant::now() < deadline, "the node does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells it to stop and asserts that it came to rest; what it said on standard error.
    pub fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, said) = self.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }

    pub fn kill(self) -> String {
        self.signal(Signal::KILL);
        self.wait().1
    }

    /// Memory that the process holds, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(TcpStream::connect(self.http()).unwrap(), method, path, headers, body)
    }

    /// Publishes bytes to a subject; the answer.
    pub fn publish(&self, subject: &str, body: &[u8]) -> Answer {
        self.ask("POST", &format!("/v1/publish/{subject}"), &[], body)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or a test failed before it was stopped.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// The text of a request that asks for the connection to be closed after it.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}

/// Asks over a connection that is used once.
pub fn ask(
    mut connection: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    connection.write_all(request(method, path, headers, body.len()).as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    answer(connection)
}

/// Reads an answer to the connection's end.
pub fn answer(mut connection: impl Read) -> Answer {
    let mut bytes = Vec::new();
    match connection.read_to_end(&mut bytes) {
        Ok(_) => {}
        // TLS peers may close without saying so.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(error) => panic!("{error}: {:?}", String::from_utf8_lossy(&bytes)),
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    Answer { status: status.unwrap_or_else(|| panic!("{text:?}")), head: head.to_owned(), body: body.to_owned() }
}

/// Asks again and again until the answer is as wanted.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: never came to be");
        thread::sleep(Duration::from_millis(20));
    }
}
