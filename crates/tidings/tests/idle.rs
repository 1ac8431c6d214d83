//! Ten thousand connections that do nothing: bounded memory, and others are served.

#![allow(clippy::unwrap_used, reason = "a test")]

mod process;

use std::io::{Read, Write};
use std::net::TcpStream;

use process::Running;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::tempdir;

/// Connections to hold.
const IDLE: usize = 10_000;

/// Files that this process and the node need besides.
const FILES_BESIDES: usize = 256;

/// Most memory for one idle connection, in bytes.
const BYTES_EACH_MAX: u64 = 16 * 1024;

/// Raises the limit of open files, which the node inherits; how many connections it allows.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
    let files = limit.maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap());
    IDLE.min(files.saturating_sub(FILES_BESIDES))
}

/// A connection that was served once and is kept.
fn idle(node: &Running) -> TcpStream {
    let mut connection = TcpStream::connect(node.http()).unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    connection
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_block_nobody() {
    let count = room();
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let first = idle(&node);
    let before = node.resident_bytes();
    let held: Vec<TcpStream> = (1..count).map(|_| idle(&node)).collect();
    let each = node.resident_bytes().saturating_sub(before) / held.len() as u64;
    println!("{} idle connections, {each} bytes each", held.len());
    assert!(each < BYTES_EACH_MAX, "{each} bytes for each idle connection");
    assert_eq!(node.publish("events.a", b"x").status, 201);
    drop((first, held));
    node.stop();
}
