//! Configuration files: what is read, in which order, and how a fault is told.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use host::config::{Config, Layer, Listen, Sync};
use host::file::read_config;
use host::{FileFault, StartError};
use tempfile::tempdir;

fn read(text: &str) -> Result<Layer, StartError> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("tidings.yaml");
    fs::write(&path, text).unwrap();
    read_config(&path)
}

#[track_caller]
fn check_refused(text: &str, at: (u64, u64), part: &str) {
    match read(text) {
        Err(StartError::File(FileFault { path, line, column, reason, text: Some(shown) })) => {
            assert!(path.ends_with("tidings.yaml"));
            assert_eq!((line, column), at, "{reason}");
            assert!(reason.contains(part), "{reason}");
            assert_eq!(shown, text);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_can_be_said_in_a_file() {
    let layer = read(concat!(
        "node: alpha\n",
        "data: data\n",
        "engine: memory\n",
        "sync: 10ms\n",
        "http: 0.0.0.0:80\n",
        "nats: off\n",
        "open: false\n",
        "tokens: /etc/tokens.yaml\n",
        "tls: {certificate: c.pem, key: k.pem}\n",
        "limits: {payload_max: 4MiB}\n",
        "log: debug\n",
        "log_format: json\n",
        "streams:\n",
        "  - {name: ORDERS, subjects: [orders.>, '*.orders'], age_max: 30d, bytes_max: 20GiB, storage: memory}\n",
    ))
    .unwrap();
    let base = layer.data.clone().unwrap().parent().unwrap().to_owned();
    assert!(base.is_absolute(), "paths are relative to the file");
    let config = Config::from_layers(layer).unwrap();
    assert_eq!(config.node, "alpha");
    assert_eq!(config.sync, Sync::Interval(Duration::from_millis(10)));
    assert_eq!(config.http, Listen::At("0.0.0.0:80".parse().unwrap()));
    assert_eq!(config.tokens.as_deref(), Some(Path::new("/etc/tokens.yaml")));
    assert_eq!(config.tls.unwrap().key, base.join("k.pem"));
    assert_eq!(config.limits.payload_bytes_max, 4 << 20);
    let stream = &config.streams[0];
    assert_eq!((stream.name.as_str(), stream.subjects.len(), stream.bytes_max), ("ORDERS", 2, Some(20 << 30)));
    assert_eq!(stream.age_max, Some(Duration::from_secs(30 * 86_400)));
}

#[test]
fn a_file_that_says_nothing_leaves_every_default() {
    for text in ["", "\n# only a remark\n"] {
        let config = Config::from_layers(read(text).unwrap()).unwrap();
        assert_eq!(config.http.to_string(), "127.0.0.1:7070");
        assert_eq!(config.data, Path::new("./tidings-data"));
        assert_eq!(config.sync, Sync::Always);
    }
}

#[test]
fn a_fault_is_told_with_its_line() {
    check_refused("node: a\n\nhtpp: off\n", (3, 1), "there is no field 'htpp'; the fields are node, data");
    check_refused("tls:\n  cert: c.pem\n", (2, 3), "there is no field 'cert'; the fields are certificate, key");
    check_refused("http: example.org:80\n", (1, 7), "'example.org:80' is not an address");
    check_refused("engine: tape\n", (1, 9), "'tape' is not an engine; use 'disk', 'memory' or nats://host:4222");
    check_refused("limits:\n  payload_max: 10XB\n", (2, 16), "'10XB' is not a number of bytes");
    check_refused("streams:\n  - name: A\n    subjects: [a..b]\n", (3, 16), "'a..b' is not a pattern");
    check_refused("log_format: yaml\n", (1, 13), "'yaml' is not one of human, json");
    assert!(matches!(read("node: [a\n"), Err(StartError::File(_))));
    assert!(matches!(read("node: a\nnode: b\n"), Err(StartError::File(_))));
    assert!(matches!(read("just a text\n"), Err(StartError::File(_))));
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("10.yaml"), "node: ten\nlog: warn\n").unwrap();
    fs::write(dir.path().join("9.yaml"), "node: nine\n").unwrap();
    fs::write(dir.path().join("99.yml"), "this is not read\n").unwrap();
    let layer = read_config(dir.path()).unwrap();
    assert_eq!((layer.node.as_deref(), layer.log.as_deref()), (Some("nine"), Some("warn")));

    let empty = tempdir().unwrap();
    assert!(matches!(read_config(empty.path()), Err(StartError::Invalid { .. })));
    assert!(matches!(read_config(&empty.path().join("none")), Err(StartError::Unreadable { .. })));
}

#[test]
fn a_huge_file_is_refused_unread() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("huge.yaml");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(read_config(&path), Err(StartError::Unreadable { .. })));
}
