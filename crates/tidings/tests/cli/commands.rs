//! The commands against a node that answers as it is told: what is asked, what is shown, how it ends.

use std::io::Read;
use std::process::Stdio;

use crate::stub::{Ran, Reply, Stub, run, tidings};
use serde_json::{Value, json};

fn recorded() -> Reply {
    Reply::json(201, r#"{"stream":"EVENTS","seq":7,"duplicate":false,"subject":"events.a.b"}"#)
}

fn message(seq: u64, data: &str) -> Value {
    let event = json!({"specversion": "1.0", "id": format!("e{seq}"), "source": "/s", "type": "a.b", "data": data});
    json!({"stream": "EVENTS", "seq": seq, "time": "2026-01-31T12:00:00.5Z", "subject": "events.a.b",
        "headers": {"ce-type": ["a.b"]}, "data": data, "event": event})
}

fn stream_info() -> Value {
    json!({"config": {"name": "EVENTS", "subjects": ["events.>"], "storage": "file", "age_max": "1h", "bytes_max": null,
        "metadata": {}}, "created": "2026-01-31T12:00:00Z", "state": {"messages": 3, "bytes": 1536, "first_seq": 1,
        "first_time": "2026-01-31T12:00:00Z", "last_seq": 3, "last_time": "2026-01-31T12:00:01Z", "subjects": 1,
        "deleted": 0, "damaged": 0}, "consumers": 2, "disk_bytes": 4096})
}

#[test]
fn an_event_is_sent_in_binary_mode() {
    let stub = Stub::start(|_, _| recorded());
    let line =
        ["event", "emit", "--type", "a.b", "--source", "/s", "--subject", "one thing", "--id", "i1", "--payload"];
    let ran =
        stub.run(&[&line[..], &["n=1", "--payload", "s=x", "--ext", "traceid=t", "--to", "events.x y"]].concat(), "");
    ran.expect(0).says(&["EVENTS:7", "events.a.b", "id i1"]);
    let seen = &stub.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/events?subject=events.x%20y"));
    let expected = [
        ("ce-specversion", "1.0"),
        ("ce-type", "a.b"),
        ("ce-source", "/s"),
        ("ce-subject", "one%20thing"),
        ("ce-id", "i1"),
        ("ce-traceid", "t"),
        ("content-type", "application/json"),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.body, r#"{"n":1,"s":"x"}"#);
}

#[test]
fn data_comes_from_the_line_a_file_or_standard_input() {
    let stub = Stub::start(|_, _| recorded());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    std::fs::write(&file, "from a file").unwrap();
    let named = format!("@{}", file.display());
    for (data, input, body, media) in [
        ("{\"a\": 1.0}", "", "{\"a\": 1.0}", "application/json"),
        (named.as_str(), "", "from a file", "text/plain; charset=utf-8"),
        ("-", "from input", "from input", "text/plain; charset=utf-8"),
    ] {
        stub.run(&["event", "emit", "--type", "t", "--data", data], input).expect(0);
        let seen = stub.seen().pop().unwrap();
        assert_eq!((seen.body.as_str(), seen.header("content-type")), (body, Some(media)));
    }
    stub.run(&["event", "emit", "--type", "t", "--data", "@/no/such/file"], "").expect(2).says(&["/no/such/file"]);
    let ran = stub.run(&["event", "emit", "--type", "t", "--id", "mine", "--json"], "");
    let answer: Value = serde_json::from_str(&ran.expect(0).out).unwrap();
    assert_eq!(answer, json!({"stream":"EVENTS","seq":7,"duplicate":false,"subject":"events.a.b","id":"mine"}));
}

#[test]
fn how_a_command_ends_says_why() {
    fn check(answer: Reply, line: &[&str], code: i32, says: &[&str]) {
        let stub = Stub::start(move |_, _| answer.clone());
        stub.run(line, "").expect(code).says(says);
    }
    let emit = ["event", "emit", "--type", "t"];
    check(
        Reply::problem(400, "The event is malformed", "no type"),
        &emit,
        1,
        &["error: The event is malformed", "no type"],
    );
    check(Reply::problem(401, "A token is needed", "none given"), &emit, 1, &["--token-file"]);
    check(Reply::problem(503, "Busy", "full").with("retry-after", "9"), &emit, 1, &["again in 9 s"]);
    check(
        Reply::problem(404, "There is no such stream", "X"),
        &["stream", "info", "X"],
        4,
        &["no such stream", "try:"],
    );
    check(Reply::json(202, r#"{"delivered":2}"#), &emit, 1, &["no stream captures", "handed to 2", "stream add"]);
    check(Reply::json(200, "not JSON"), &["stream", "ls"], 1, &["not that of a Tidings node"]);
    check(recorded(), &["event", "emit", "--type", "t", "--time", "noon"], 2, &["'time'"]);
    check(recorded(), &["event", "emit"], 2, &["--type"]);
    check(recorded(), &["stream", "rm", "X"], 1, &[]);
    let ran = run(&["stream", "ls", "--server", "http://127.0.0.1:1"], "");
    ran.expect(3).says(&["http://127.0.0.1:1", "tidings serve"]);
    run(&["stream", "ls", "--server", "ftp://x"], "").expect(2);
}

#[test]
fn a_token_is_sent_and_never_shown() {
    let stub = Stub::start(|_, _| Reply::problem(403, "This is not allowed", "no"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cret\nmore\n").unwrap();
    let ran = stub.run(&["stream", "ls", "--token-file", file.to_str().unwrap()], "");
    ran.expect(1).says(&["not allowed"]);
    assert_eq!(stub.seen()[0].header("authorization"), Some("Bearer s3cret"));
    assert!(!ran.out.contains("s3cret") && !ran.err.contains("s3cret"), "{ran:#?}");
    std::fs::write(&file, "s3cret with space").unwrap();
    let ran = stub.run(&["stream", "ls", "--token-file", file.to_str().unwrap()], "");
    assert!(!ran.expect(2).err.contains("s3cret"), "{ran:#?}");
}

#[test]
fn the_newest_events_are_listed() {
    let stub = Stub::start(|seen, _| match seen.path.contains("/messages") {
        false => Reply::json(200, stream_info().to_string()),
        true => {
            let messages = [message(1, "one"), message(2, "\u{1b}[2Jtwo"), message(3, "three")];
            Reply::json(200, json!({"messages": messages, "next": 4, "last": 3, "damaged": []}).to_string())
        }
    });
    let ran = stub.run(&["event", "list", "-n", "2", "--filter", "events.>"], "");
    ran.expect(0).says(&["SEQ", "2026-01-31 12:00:00.5", "events.a.b", "three"]);
    assert!(!ran.out.contains("one") && !ran.out.contains('\u{1b}'), "{ran:#?}");
    assert_eq!(stub.seen()[1].path, "/v1/streams/EVENTS/messages?filter=events.%3E&from=1&limit=1000");
    let ran = stub.run(&["event", "list", "--json", "--source", "/s"], "");
    let document: Value = serde_json::from_str(&ran.expect(0).out).unwrap();
    assert_eq!(document["messages"][2], message(3, "three"));
    let ran = stub.run(&["event", "list", "--type", "other", "--since", "2026-01-31"], "");
    ran.expect(0).says(&["nothing recorded"]);
    assert!(stub.seen().pop().unwrap().path.contains("since=2026-01-31T00%3A00%3A00Z"));
}

#[test]
fn an_event_is_shown_by_id_or_position() {
    let stub = Stub::start(|seen, _| match seen.path.as_str() {
        "/v1/streams/EVENTS/messages/3" | "/v1/events/urn%3Ax%3A3?source=%2Fs" => {
            Reply::json(200, message(3, "{\"k\":1}").to_string())
        }
        _ => Reply::problem(404, "There is no such message", "none"),
    });
    stub.run(&["event", "show", "EVENTS:3"], "").expect(0).says(&["EVENTS:3", "source", "\"k\": 1"]);
    let ran = stub.run(&["event", "show", "urn:x:3", "--source", "/s", "--data"], "");
    assert_eq!(ran.expect(0).out, "{\"k\":1}");
    stub.run(&["event", "show", "none"], "").expect(4).says(&["no such message"]);
}

#[test]
fn streams_are_declared_changed_and_removed() {
    let stub = Stub::start(|seen, _| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/v1/streams") => Reply::json(200, json!({"streams": [stream_info()]}).to_string()),
        ("GET", "/v1/streams/NEW") => Reply::problem(404, "There is no such stream", "NEW"),
        ("POST", _) => Reply::json(200, r#"{"purged":3}"#),
        ("DELETE", _) => Reply { status: 204, headers: Vec::new(), body: String::new() },
        _ => Reply::json(200, stream_info().to_string()),
    });
    stub.run(&["stream", "ls"], "").expect(0).says(&["EVENTS", "events.>", "1.5 KiB"]);
    stub.run(&["stream", "info", "EVENTS"], "").expect(0).says(&["4.0 KiB", "age_max", "1h"]);
    let ran = stub.run(&["stream", "add", "NEW", "--subjects", "a.>,b", "--age-max", "7d", "--bytes-max", "1GiB"], "");
    ran.expect(0);
    let body: Value = serde_json::from_str(&stub.seen().pop().unwrap().body).unwrap();
    let expected = json!({"name":"NEW","subjects":["a.>","b"],"storage":"file","retention":"limits","age_max":"168h",
        "bytes_max":1_073_741_824});
    assert_eq!(body, expected);
    stub.run(&["stream", "add", "EVENTS", "--subjects", "a"], "").expect(1).says(&["exists already", "stream edit"]);
    stub.run(&["stream", "edit", "EVENTS", "--age-max", "none", "--metadata", "a=b"], "").expect(0);
    let seen = stub.seen().pop().unwrap();
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((seen.method.as_str(), &body["age_max"], &body["metadata"]), ("PUT", &Value::Null, &json!({"a":"b"})));
    assert_eq!(body["subjects"], json!(["events.>"]));
    stub.run(&["stream", "edit", "EVENTS"], "").expect(2).says(&["nothing would change"]);
    stub.run(&["stream", "purge", "EVENTS"], "yes\n").expect(2).says(&["--yes"]);
    stub.run(&["stream", "purge", "EVENTS", "--keep", "1", "--yes"], "").expect(0).says(&["removed 3"]);
    assert_eq!(stub.seen().pop().unwrap().body, r#"{"keep":1}"#);
    stub.run(&["stream", "rm", "EVENTS"], "yes\n").expect(2).says(&["--yes"]);
    stub.run(&["stream", "rm", "EVENTS", "--yes"], "").expect(0);
    assert_eq!(stub.seen().pop().unwrap().method, "DELETE");
}

#[test]
fn deliveries_are_taken_and_acknowledged() {
    let stub = Stub::start(|seen, _| match seen.path.rsplit('/').next() {
        Some("fetch") => {
            let mut delivery = message(3, "three");
            delivery["token"] = json!("EVENTS.c.1.3.2.9");
            delivery["attempt"] = json!(2);
            Reply::json(200, json!({"messages": [delivery], "end": "full"}).to_string())
        }
        _ => Reply::json(200, "{}"),
    });
    let line = ["consumer", "next", "EVENTS", "c", "-n", "5", "--wait", "90s"];
    let ran = stub.run(&line, "");
    ran.expect(0).says(&["token EVENTS.c.1.3.2.9", "(delivery 2)"]);
    let seen = stub.seen().pop().unwrap();
    assert_eq!(seen.path, "/v1/streams/EVENTS/consumers/c/fetch");
    assert_eq!(seen.body, r#"{"batch":5,"wait":"90s"}"#);
    let ran = stub.run(&[&line[..], &["--ack", "--json"]].concat(), "");
    assert_eq!(serde_json::from_str::<Value>(&ran.expect(0).out).unwrap()["seq"], 3);
    for (words, path, body) in [
        (&["ack", "EVENTS", "c", "t", "--sync"][..], "ack", r#"{"sync":true,"tokens":["t"]}"#),
        (&["nak", "EVENTS", "c", "t", "--delay", "2s"], "nak", r#"{"delay":"2s","tokens":["t"]}"#),
        (&["term", "EVENTS", "c", "t", "--reason", "bad"], "term", r#"{"reason":"bad","tokens":["t"]}"#),
        (&["progress", "EVENTS", "c", "t", "u"], "progress", r#"{"tokens":["t","u"]}"#),
    ] {
        stub.run(&[&["consumer"], words].concat(), "").expect(0);
        let seen = stub.seen().pop().unwrap();
        assert_eq!((seen.path, seen.body), (format!("/v1/streams/EVENTS/consumers/c/{path}"), body.to_owned()));
    }
    let acked = stub.seen().iter().filter(|seen| seen.body == r#"{"tokens":["EVENTS.c.1.3.2.9"]}"#).count();
    assert_eq!(acked, 1);
}

#[test]
fn a_token_that_is_not_taken_is_told() {
    let stub = Stub::start(|_, _| {
        let fault = json!({"token": "t2", "error": "used", "detail": "it was used already"});
        Reply::json(207, json!({"acknowledged": 1, "errors": [fault]}).to_string())
    });
    stub.run(&["consumer", "ack", "S", "c", "t1", "t2"], "")
        .expect(1)
        .says(&["acknowledged: 1", "t2: it was used already"]);
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let stub = Stub::start(|_, _| {
        let many: Vec<Value> = (1..2_000).map(|seq| message(seq, &"x".repeat(99))).collect();
        Reply::json(200, json!({"messages": many, "next": 2_000, "last": 1_999, "damaged": []}).to_string())
    });
    let mut command = tidings();
    command.args(["event", "list", "--from", "1", "-n", "5000", "--server", &stub.url]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let Ran { code, out, .. } = run(&["completion", shell], "");
        assert!(code == 0 && out.contains("consumer") && out.contains("emit"), "{shell}");
    }
}
