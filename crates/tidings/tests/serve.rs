//! `tidings serve` as a process: what it says, what it refuses, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test")]

mod process;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use process::{Running, answer, refused, request, tidings, until};
use rustix::process::Signal;
use tempfile::tempdir;

#[test]
fn it_says_where_it_is_and_comes_to_rest_when_told() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &["--node", "alpha"]);
    let url = format!("http://{}", node.http());
    for part in ["alpha", dir.path().to_str().unwrap(), "disk", &url, "event emit", "event tail", "curl"] {
        assert!(node.welcome.iter().any(|line| line.contains(part)), "{part}: {:?}", node.welcome);
    }
    assert_eq!((node.ports.node.as_str(), node.ports.pid), ("alpha", node.pid()));
    assert_eq!(node.publish("events.a", b"1").status, 201);
    node.stop();
    assert!(!dir.path().join("ports.json").exists());

    let node = Running::start(dir.path(), &[]);
    let found = node.get("/v1/streams/EVENTS");
    assert_eq!(found.status, 200, "{found:?}");
    let stream: serde_json::Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(stream["state"]["messages"], 1, "{found:?}");
    node.signal(Signal::INT);
    let (status, said) = node.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_a_file() {
    let dir = tempdir().unwrap();
    let file = write(&dir.path().join("a.yaml"), "node: from-file\nhttp: 127.0.0.1:0\nengine: memory\n");
    let node_of = |command: &mut std::process::Command| {
        let node = Running::start_with(command, &dir.path().join("data"));
        let name = node.ports.node.clone();
        assert_eq!(node.ports.engine, "memory");
        node.stop();
        name
    };
    let args = ["serve", "--config", &file];
    assert_eq!(node_of(&mut tidings(&args)), "from-file");
    assert_eq!(node_of(tidings(&args).env("TIDINGS_NODE", "from-env")), "from-env");
    assert_eq!(node_of(tidings(&args).env("TIDINGS_NODE", "from-env").args(["--node", "from-flag"])), "from-flag");

    write(&dir.path().join("b.yaml"), "node: later-file\n");
    assert_eq!(node_of(&mut tidings(&["serve", "--config", dir.path().to_str().unwrap()])), "later-file");
}

#[track_caller]
fn check_refused(args: &[&str], parts: &[&str]) {
    let said = refused(tidings(&["serve"]).args(args));
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let unknown = write(&dir.path().join("unknown.yaml"), "node: a\n\nhtpp: off\n");
    let place = format!("{unknown}:3");
    check_refused(&["--data", data, "--config", &unknown], &["htpp", &place]);
    let wrong = write(&dir.path().join("wrong.yaml"), "limits:\n  payload_max: much\n");
    check_refused(&["--data", data, "--config", &wrong], &["much", &format!("{wrong}:2")]);
    check_refused(&["--data", data, "--http", "0.0.0.0:0"], &["http door", "0.0.0.0:0", "--tokens", "--open"]);
    check_refused(&["--data", data, "--slim", "0.0.0.0:0"], &["slim door", "0.0.0.0:0", "--tokens", "--open"]);
    check_refused(&["--data", data, "--domain", "a"], &["mesh.join", "--join", "--controller"]);
    check_refused(&["--data", data, "--nats", "0.0.0.0:0"], &["nats door", "0.0.0.0:0", "--tokens", "--open"]);
    check_refused(&["--data", data, "--tokens", "/nowhere/tokens.yaml"], &["/nowhere/tokens.yaml"]);
    assert!(!Path::new(data).exists());
    check_refused(&["--data", data, "--engine", "nats://127.0.0.1:1"], &["cannot reach a NATS server", "--engine"]);
}

#[test]
fn said_to_be_open_it_listens_everywhere() {
    let dir = tempdir().unwrap();
    let node = Running::start_with(&mut tidings(&["serve", "--http", "0.0.0.0:0", "--open"]), dir.path());
    let port = node.http().port();
    assert_eq!(process::ask(TcpStream::connect(("127.0.0.1", port)).unwrap(), "GET", "/healthz", &[], b"").status, 200);
    node.stop();
}

#[test]
fn an_occupied_port_is_named_with_what_to_do() {
    let dir = tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let data = dir.path().to_str().unwrap();
    check_refused(&["--data", data, "--http", &address], &["http door", &address, "--http off", "takes a free port"]);
    drop(other);
    Running::start(dir.path(), &[]).stop();
}

#[test]
fn a_second_node_on_the_directory_is_refused_by_name() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let data = dir.path().to_str().unwrap();
    check_refused(&["--data", data, "--http", "127.0.0.1:0"], &[data, &node.pid().to_string(), "--data DIR"]);
    assert_eq!(node.get("/readyz").status, 200);
    node.stop();
}

#[test]
fn a_request_in_flight_is_finished_before_it_stops() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let mut half = TcpStream::connect(node.http()).unwrap();
    half.write_all(request("POST", "/v1/publish/events.a", &[], 4).as_bytes()).unwrap();
    half.write_all(b"ab").unwrap();
    // The node has read the head once it answers a later request.
    assert_eq!(node.get("/healthz").status, 200);
    node.signal(Signal::TERM);
    until("the door is closed", || TcpStream::connect(node.http()).is_err());
    half.write_all(b"cd").unwrap();
    assert_eq!(answer(half).status, 201);
    let (status, said) = node.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let mut half = TcpStream::connect(node.http()).unwrap();
    half.write_all(request("POST", "/v1/publish/events.a", &[], 4).as_bytes()).unwrap();
    assert_eq!(node.get("/healthz").status, 200);
    node.signal(Signal::TERM);
    until("the door is closed", || TcpStream::connect(node.http()).is_err());
    let begun = std::time::Instant::now();
    node.signal(Signal::TERM);
    let (status, said) = node.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(begun.elapsed() < host::STOP_DEADLINE / 2);
    Running::start(dir.path(), &[]).stop();
}

#[test]
fn with_every_door_closed_it_still_runs_and_stops() {
    let dir = tempdir().unwrap();
    let node = Running::start_with(&mut tidings(&["serve", "--http", "off"]), dir.path());
    assert_eq!(node.ports.http, None);
    node.stop();
}

#[test]
fn metrics_and_readiness_tell_what_is_so() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &["--node", "alpha"]);
    assert_eq!(node.publish("events.a", b"12345").status, 201);
    assert_eq!(node.get("/readyz").status, 200);
    let metrics = node.get("/metrics").body;
    for part in [
        "tidings_build_info{version=\"",
        "node=\"alpha\"",
        "tidings_journal_appends_total{outcome=\"recorded\"} 1",
        "tidings_journal_append_duration_seconds_count 1",
        "tidings_stream_messages{stream=\"EVENTS\"} 1",
        "tidings_stream_last_seq{stream=\"EVENTS\"} 1",
        "tidings_journal_accepting 1",
        "process_resident_memory_bytes",
        "tidings_uptime_seconds",
        "tidings_live_dropped_total 0",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    node.stop();
}

#[test]
fn a_reader_that_does_not_read_never_slows_a_publisher() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let mut slow = TcpStream::connect(node.http()).unwrap();
    let path = "/v1/streams/EVENTS/messages?from=1";
    slow.write_all(request("GET", path, &[("accept", "text/event-stream")], 0).as_bytes()).unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    // 64 MiB: far more than the sockets between them hold.
    let body = vec![b'x'; 512 * 1024];
    let before = node.resident_bytes();
    for _ in 0..128 {
        assert_eq!(node.publish("events.a", &body).status, 201);
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 48 * 1024 * 1024, "{grown} bytes are held for one slow reader");
    drop(slow);
    node.stop();
}
