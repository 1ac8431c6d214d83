//! Schemas from end to end: compiled, applied, in force, decoded, over a restart, and from a folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod process;

use std::fs;
use std::path::Path;
use std::process::Output;

use process::{PATIENCE, Running, tidings};
use serde_json::{Value, json};

const PROTO: &str = "syntax = \"proto3\";\npackage log;\nmessage Meta { string event_id = 1; }\n\
                     message LogError { Meta metadata = 1; string source = 2; string message = 3; string level = 4; }\n";

const YAML: &str = "apiVersion: tidings.dev/v1\nkind: Schema\nmetadata: { name: log-error }\nspec:\n  \
                    subjects: [events.log.error.>]\n  type: protobuf\n  message: log.LogError\n  descriptorFile: log.binpb\n";

fn run(node: &Running, args: &[&str]) -> Output {
    tidings(args).env("TIDINGS_SERVER", format!("http://{}", node.http())).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check(node: &Running, args: &[&str], code: i32, has: &[&str]) -> String {
    let output = run(node, args);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for part in has {
        assert!(text.contains(part), "{args:?}: no {part} in {text}");
    }
    text
}

fn publish(node: &Running, subject: &str, data: &[u8]) -> (u16, Value) {
    let url = format!("http://{}/v1/publish/{subject}", node.http());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut answer = agent.post(&url).send(data).unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&body).unwrap())
}

fn compiled(folder: &Path) {
    fs::write(folder.join("log.proto"), PROTO).unwrap();
    fs::write(folder.join("log-error.yaml"), YAML).unwrap();
    let (proto, out) = (folder.join("log.proto"), folder.join("log.binpb"));
    let output =
        tidings(&["schema", "compile", proto.to_str().unwrap(), "-o", out.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

const GOOD: &[u8] = b"\x0a\x04\x0a\x02e1\x22\x05ERROR";
const BAD: &[u8] = b"\x0a\x02\x08\x05";

#[test]
fn a_schema_is_in_force_from_its_apply_on_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    compiled(dir.path());
    let (data, file) = (dir.path().join("data"), dir.path().join("log-error.yaml"));
    let file = file.to_str().unwrap();
    let node = Running::start(&data, &[]);
    assert_eq!(publish(&node, "events.log.error.a", BAD).0, 201);
    check(&node, &["schema", "apply", "-f", file], 0, &["log-error in force for events.log.error.>"]);
    check(&node, &["schema", "apply", "-f", file], 0, &["in force"]);
    check(&node, &["schema", "ls"], 0, &["log-error", "protobuf", "refuse", "log.LogError", "TIDINGS:1"]);
    let (status, problem) = publish(&node, "events.log.error.a", BAD);
    assert_eq!(
        (status, &problem["schema"], &problem["field"]),
        (422, &json!("log-error"), &json!("metadata.event_id"))
    );
    assert!(problem["reason"].as_str().unwrap().contains("varint"), "{problem}");
    assert_eq!(publish(&node, "events.other", BAD).0, 201);
    assert_eq!(publish(&node, "tidings.resources.schema.log-error", b"").0, 403);
    let (_, receipt) = publish(&node, "events.log.error.a", GOOD);
    let place = format!("EVENTS:{}", receipt["seq"]);
    check(
        &node,
        &["event", "show", &place],
        0,
        &["by the schema log-error", "\"level\": \"ERROR\"", "\"event_id\": \"e1\""],
    );
    let shown = check(&node, &["event", "show", &place, "--json"], 0, &["data", "\"schema\":\"log-error\""]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["decoded"]["level"], "ERROR");
    let raw = check(&node, &["event", "show", &place, "--raw", "--json"], 0, &[]);
    assert!(!raw.contains("decoded"), "{raw}");
    check(&node, &["event", "tail", "--from", "3", "--count", "1"], 0, &["{\"level\":\"ERROR\""]);
    node.stop();

    let node = Running::start(&data, &[]);
    assert_eq!(publish(&node, "events.log.error.a", BAD).0, 422);
    check(&node, &["schema", "show", "log-error"], 0, &["log.LogError", "api"]);
    let whole = dir.path().join("whole.json");
    fs::write(&whole, check(&node, &["schema", "show", "log-error", "--json"], 0, &["descriptor"])).unwrap();
    check(&node, &["schema", "apply", "-f", whole.to_str().unwrap()], 0, &["in force"]);
    check(&node, &["schema", "delete", "log-error"], 0, &["deleted"]);
    check(&node, &["schema", "delete", "log-error"], 4, &["no schema 'log-error'"]);
    assert_eq!(publish(&node, "events.log.error.a", BAD).0, 201);
    check(&node, &["event", "list", "--stream", "TIDINGS"], 0, &["tidings.resources.schema.log-error"]);
    node.stop();
    let node = Running::start(&data, &[]);
    assert_eq!(publish(&node, "events.log.error.a", BAD).0, 201);
    node.stop();
}

#[test]
fn data_is_held_against_a_schema_without_a_node_and_faults_have_a_line() {
    let dir = tempfile::tempdir().unwrap();
    compiled(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("good"), GOOD).unwrap();
    fs::write(path("bad"), BAD).unwrap();
    let judge =
        |data: &str| tidings(&["schema", "check", "x", &path(data), "-f", &path("log-error.yaml")]).output().unwrap();
    assert!(judge("good").status.success());
    let bad = judge("bad");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad).contains("metadata.event_id: is written as a varint"), "{}", text(&bad));
    for (wrong, says) in [
        (YAML.replace("log.LogError", "log.Nothing"), ["log-error.yaml:7:", "log.Nothing"]),
        (YAML.replace("protobuf", "avro"), ["log-error.yaml:6:", "avro"]),
        (YAML.replace("log.binpb", "gone.binpb"), ["log-error.yaml:8:", "gone.binpb"]),
        (YAML.replace("  message", "  masage"), ["log-error.yaml:7:", "masage"]),
    ] {
        fs::write(path("log-error.yaml"), wrong).unwrap();
        let refused = judge("good");
        assert_eq!(refused.status.code(), Some(2));
        assert!(says.iter().all(|part| text(&refused).contains(part)), "{says:?}: {}", text(&refused));
    }
}

#[test]
fn a_folder_of_schemas_is_in_force_and_its_changes_are_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = (dir.path().join("data"), dir.path().join("schemas"));
    fs::create_dir(&folder).unwrap();
    compiled(&folder);
    let node = Running::start(&data, &["--schemas", folder.to_str().unwrap()]);
    assert_eq!(publish(&node, "events.log.error.a", BAD).0, 422);
    check(&node, &["schema", "delete", "log-error"], 1, &["folder"]);
    let lax = folder.join("new.yaml");
    fs::write(&lax, YAML.replace("subjects", "mode: mark\n  subjects")).unwrap();
    fs::rename(lax, folder.join("log-error.yaml")).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let receipt = loop {
        match publish(&node, "events.log.error.a", BAD) {
            (201, receipt) => break receipt,
            _ => assert!(std::time::Instant::now() < deadline, "the change is not taken up"),
        }
    };
    let marked = ["Tidings-Schema", "log-error", "Tidings-Schema-Error", "metadata.event_id: is written as"];
    check(&node, &["event", "show", &format!("EVENTS:{}", receipt["seq"])], 0, &marked);
    node.stop();
}
