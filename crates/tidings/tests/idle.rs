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

/// Most memory for a connection that has said nothing yet, in bytes.
const SILENT_BYTES_MAX: u64 = 12 * 1024;

/// Most memory for one that was served and is kept, in bytes: two buffers of 8 KiB are the HTTP
/// library's least.
const KEPT_BYTES_MAX: u64 = 40 * 1024;

/// Raises the limit of open files, which the node inherits; how many connections it allows.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let files = limit.maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap());
    IDLE.min(files.saturating_sub(FILES_BESIDES))
}

fn silent(node: &Running) -> TcpStream {
    TcpStream::connect(node.http()).unwrap()
}

fn kept(node: &Running) -> TcpStream {
    let mut connection = silent(node);
    connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    connection
}

fn check(kind: &str, connect: fn(&Running) -> TcpStream, bytes_max: u64) {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    let _first = kept(&node);
    let before = node.resident_bytes();
    let held: Vec<TcpStream> = (0..room()).map(|_| connect(&node)).collect();
    // Connections are taken in their order: when this one is answered, all are.
    assert_eq!(node.publish("events.a", b"x").status, 201);
    let each = node.resident_bytes().saturating_sub(before) / held.len() as u64;
    println!("{} {kind} connections, {each} bytes each", held.len());
    assert!(each < bytes_max, "{each} bytes for each");
    drop(held);
    node.stop();
}

#[test]
fn ten_thousand_silent_connections_cost_little_and_block_nobody() {
    check("silent", silent, SILENT_BYTES_MAX);
}

#[test]
fn ten_thousand_kept_connections_cost_their_buffers_and_block_nobody() {
    check("kept", kept, KEPT_BYTES_MAX);
}
