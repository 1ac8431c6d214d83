//! Rooms on the command line, against a real node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use serde_json::Value;

use crate::process::{Running, one_line, tidings};

fn ask(url: &str, args: &[&str]) -> (i32, String, String) {
    let output = tidings(args).args(["--server", url]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), one_line(&text(output.stderr)))
}

#[test]
fn a_room_is_kept_listed_sent_to_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(&folder.path().join("data"), &["--node", "a"]);
    let url = format!("http://{}", node.http());
    let (code, said, error) = ask(&url, &["room", "keep", "ITB-1101", "--for", "12h"]);
    assert_eq!(
        (code, said.as_str()),
        (0, "the room ITB-1101 is kept for 12h, in the stream ROOM_ITB-1101\n"),
        "{error}"
    );
    let (_, again, _) = ask(&url, &["room", "keep", "ITB-1101", "--for", "6h"]);
    assert_eq!(again, "the room ITB-1101 is kept for 6h, in the stream ROOM_ITB-1101\n");
    assert_eq!(ask(&url, &["room", "keep", "a.b", "--for", "none"]).0, 0);

    let (code, _, error) = ask(&url, &["room", "send", "ITB-1101", "{\"key\":\"power\"}"]);
    assert_eq!(code, 0, "{error}");
    let listed: Value = serde_json::from_str(&ask(&url, &["room", "ls", "--json"]).1).unwrap();
    let rooms: Vec<_> = listed["rooms"].as_array().unwrap().iter().map(|room| &room["rooms"][0]).collect();
    assert_eq!(rooms, ["ITB-1101", "a.b"]);
    assert_eq!((&listed["rooms"][0]["events"], &listed["rooms"][0]["for"]), (&1.into(), &"6h".into()));
    assert!(ask(&url, &["room", "ls"]).1.contains("ITB-1101"));

    // All rooms in one stream would capture what these capture already.
    let (code, _, error) = ask(&url, &["room", "keep", "*"]);
    assert!(code == 1 && error.contains("ROOM_"), "{code}: {error}");
    let (code, _, error) = ask(&url, &["room", "forget", "ITB-1101"]);
    assert!(code == 2 && error.contains("--yes"), "{code}: {error}");
    assert_eq!(ask(&url, &["room", "forget", "ITB-1101", "--yes"]).0, 0);
    assert_eq!(ask(&url, &["room", "forget", "ITB-1101", "--yes"]).0, 4);
    // Nobody hears it, and nothing keeps it: that is said.
    let (code, _, error) = ask(&url, &["room", "send", "ITB-1101", "x"]);
    assert!(code != 0 && error.contains("room.ITB-1101"), "{code}: {error}");
    node.stop();
}

#[test]
fn who_is_connected_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(&folder.path().join("data"), &["--hub", "127.0.0.1:0"]);
    let url = format!("http://{}", node.http());
    let (code, said, error) = ask(&url, &["hub", "status"]);
    assert_eq!((code, said.lines().next()), (0, Some("connections: 0")), "{error}");
    let shown: Value = serde_json::from_str(&ask(&url, &["hub", "status", "--json"]).1).unwrap();
    assert!(shown["links"].as_array().unwrap().is_empty());
    node.stop();
}
