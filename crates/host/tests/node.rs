//! A node inside this process: what it creates, what it leaves alone, and how it gives up.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use event::Pattern;
use host::config::{Config, ConsulConfig, DnsConfig, Engine, HubConfig, Listen, NatsConfig, SlimConfig};
use host::ports::read_ports;
use host::{Ended, Node, StartError};
use journal::StreamConfig;
use tempfile::tempdir;

fn config(data: &Path, engine: Engine) -> Config {
    let nats = NatsConfig { listen: Listen::Off, monitor: Listen::Off, ..NatsConfig::default() };
    let hub = HubConfig { listen: Listen::Off, ..HubConfig::default() };
    let (consul, dns, slim) = (ConsulConfig::off(), DnsConfig::off(), SlimConfig::off());
    Config {
        data: data.to_owned(),
        engine,
        http: "127.0.0.1:0".parse().unwrap(),
        nats,
        hub,
        consul,
        dns,
        slim,
        ..Config::default()
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    text
}

fn stream(name: &str, subjects: &str) -> StreamConfig {
    StreamConfig::new(name, [Pattern::parse(subjects).unwrap()])
}

#[test]
fn it_has_the_default_stream_and_the_declared_ones_on_every_engine() {
    for engine in [Engine::Disk, Engine::Memory] {
        let dir = tempdir().unwrap();
        let config = Config { streams: vec![stream("ORDERS", "orders.>")], ..config(dir.path(), engine) };
        for _ in 0..2 {
            let node = Node::start(config.clone()).unwrap();
            let http = node.ports().http.unwrap();
            assert_eq!(read_ports(dir.path()).unwrap(), *node.ports());
            for name in ["EVENTS", "ORDERS"] {
                assert!(get(http, &format!("/v1/streams/{name}")).starts_with("HTTP/1.1 200"), "{name}");
            }
            assert_eq!(node.stop(), Ended::Clean);
            assert!(read_ports(dir.path()).is_err());
            assert!(TcpStream::connect(http).is_err());
        }
    }
}

#[test]
fn a_declared_stream_may_take_the_place_of_the_default_one() {
    let dir = tempdir().unwrap();
    let all = Config { streams: vec![stream("ALL", ">")], ..config(dir.path(), Engine::Memory) };
    let node = Node::start(all).unwrap();
    let http = node.ports().http.unwrap();
    assert!(get(http, "/v1/streams/EVENTS").starts_with("HTTP/1.1 404"));
    assert!(get(http, "/v1/streams/ALL").starts_with("HTTP/1.1 200"));
    node.stop();
}

#[test]
fn what_fails_to_start_lets_go_of_everything() {
    let dir = tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = Config { http: Listen::At(taken.local_addr().unwrap()), ..config(dir.path(), Engine::Disk) };
    assert!(matches!(Node::start(occupied), Err(StartError::Listen { door: "http", .. })));
    let overlapping = vec![stream("A", "a.>"), stream("B", "a.b")];
    let overlapping = Config { streams: overlapping, ..config(dir.path(), Engine::Disk) };
    match Node::start(overlapping).map(|_| ()) {
        Err(StartError::Stream { stream, reason }) => {
            assert_eq!(stream, "B");
            assert!(reason.contains("'A'") && reason.contains("a.b"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(Node::start(config(dir.path(), Engine::Disk)).unwrap().stop(), Ended::Clean);
}

#[test]
fn one_directory_is_one_nodes_whatever_its_engine() {
    let dir = tempdir().unwrap();
    for (first, second) in [(Engine::Disk, Engine::Memory), (Engine::Memory, Engine::Disk)] {
        let node = Node::start(config(dir.path(), first)).unwrap();
        match Node::start(config(dir.path(), second)).map(|_| ()) {
            Err(StartError::InUse(said)) => assert!(said.contains(dir.path().to_str().unwrap()), "{said}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(read_ports(dir.path()).unwrap(), *node.ports(), "the file of the first is left alone");
        node.stop();
    }
}

#[test]
fn two_doors_at_one_address_do_not_start() {
    let dir = tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = || config(dir.path(), Engine::Memory);
    let check = |twice: Config, expected: &str| match Node::start(twice).map(|_| ()) {
        Err(StartError::Listen { door, address: at, .. }) => assert_eq!((door, at), (expected, address)),
        other => panic!("{expected}: {other:?}"),
    };
    let led = || {
        let mut led = Config { http: Listen::At(address), ..config() };
        led.mesh.controller = true;
        led.mesh.listen = Listen::At("127.0.0.1:0".parse().unwrap());
        led
    };
    for (door, listener) in [("slim-south", 0), ("slim-north", 1), ("slim", 2), ("mesh", 3)] {
        let mut twice = led();
        let listeners = [&mut twice.slim.south, &mut twice.slim.north, &mut twice.slim.listen, &mut twice.mesh.listen];
        *listeners.into_iter().nth(listener).unwrap() = Listen::At(address);
        check(twice, door);
    }
    Node::start(config()).unwrap().stop();
}
