//! Faults of the disk under the real binary: full, broken, read-only. Refused and said; nothing
//! acknowledged is lost; it goes on when the cause is gone.

#![allow(clippy::unwrap_used, reason = "a test")]

mod process;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use process::{Running, refused, until};
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use serde_json::Value;
use tempfile::tempdir;

/// An ordinary user's number, for when the test itself may do everything.
const NOBODY: u32 = 65_534;

/// Publishes until refused; how many were acknowledged, and the refusal's status and body.
fn publish_until_refused(node: &Running, body: &[u8]) -> (u64, u16, String) {
    for acknowledged in 0..1_000 {
        let answer = node.publish("events.a", body);
        if answer.status != 201 {
            return (acknowledged, answer.status, answer.head + &answer.body);
        }
    }
    panic!("never refused");
}

fn messages(node: &Running) -> u64 {
    let info: Value = serde_json::from_str(&node.get("/v1/streams/EVENTS").body).unwrap();
    info["state"]["messages"].as_u64().unwrap()
}

#[test]
fn a_log_that_cannot_be_written_is_not_trusted_until_it_is_opened_again() {
    let dir = tempdir().unwrap();
    let node = Running::start(dir.path(), &[]);
    assert_eq!(node.publish("events.a", b"before").status, 201);
    // The kernel refuses every write beyond 64 KiB of a file.
    let pid = Pid::from_raw(node.pid().try_into().unwrap());
    let refusing = Rlimit { current: Some(64 * 1024), maximum: None };
    prlimit(pid, Resource::Fsize, refusing).unwrap();
    let (acknowledged, status, said) = publish_until_refused(&node, &[b'x'; 4096]);
    assert_eq!(status, 503, "{said}");
    assert!(said.to_lowercase().contains("retry-after") && said.contains("File too large"), "{said}");
    until("it is not ready", || node.get("/readyz").status == 503);
    assert_eq!(node.get("/healthz").status, 200);
    assert_eq!(messages(&node), acknowledged + 1, "reading goes on");
    node.stop();

    let node = Running::start(dir.path(), &[]);
    assert_eq!(node.get("/readyz").status, 200);
    // What was refused with an unknown outcome may be there; what was acknowledged is.
    assert!((acknowledged + 1..=acknowledged + 2).contains(&messages(&node)));
    assert_eq!(node.publish("events.a", b"after").status, 201);
    node.stop();
}

/// A small file system of its own under a directory, where this machine lets us make one.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: &std::path::Path, bytes: usize) -> Option<Small> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Small(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_small_file_system_that_fills_up_loses_nothing_acknowledged() {
    let dir = tempdir().unwrap();
    let Some(_small) = Small::mount(dir.path(), 64 * 1024 * 1024) else {
        println!("skipped: no file system may be mounted here");
        return;
    };
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![0; 24 * 1024 * 1024]).unwrap();
    let node = Running::start(&dir.path().join("data"), &["--payload-max", "1MiB"]);
    let (acknowledged, status, said) = publish_until_refused(&node, &[b'x'; 256 * 1024]);
    assert_eq!(status, 503, "{said}");
    assert!(acknowledged > 0);
    assert_eq!(messages(&node), acknowledged);
    std::fs::remove_file(&ballast).unwrap();
    until("there is room again", || node.publish("events.a", b"after").status == 201);
    assert_eq!(messages(&node), acknowledged + 1);
    node.kill();
    let node = Running::start(&dir.path().join("data"), &[]);
    assert_eq!(messages(&node), acknowledged + 1);
    node.stop();
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_by_name() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Beside the directory, so that an ordinary user can reach it wherever it was built.
    let binary = dir.path().join("tidings");
    std::fs::copy(env!("CARGO_BIN_EXE_tidings"), &binary).unwrap();
    let mut command = Command::new(binary);
    command.args([
        "serve",
        "--http",
        "127.0.0.1:0",
        "--nats",
        "off",
        "--hub",
        "off",
        "--consul",
        "off",
        "--dns",
        "off",
        "--slim",
        "off",
    ]);
    command.args(["--data", data.to_str().unwrap()]);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let said = refused(&mut command);
    assert!(said.contains(data.to_str().unwrap()), "{said}");
    assert!(said.to_lowercase().contains("permission denied"), "{said}");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
}
