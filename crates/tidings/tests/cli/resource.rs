//! Resources on the command line: against a real node, and without one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use event::{Headers, Message, Subject};
use host::resources::read_string;
use schema::{Resource, Schema};
use serde_json::{Value, json};

use crate::process::{Running, one_line, tidings};

/// What a command said, and its exit code.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: one_line(&text(output.stderr)) }
}

fn offline(args: &[&str]) -> Said {
    run(&mut tidings(args), "")
}

/// The YAML blocks of a page that declare resources.
fn declared_in(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page)).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.contains("apiVersion")).collect()
}

const GROUP: &str = "\
apiVersion: tidings.dev/v1
kind: EventGroup
metadata: {name: edge}
spec:
  nodeName: a
  auth: {secretFile: /etc/key}
---
apiVersion: tidings.dev/v1
kind: EventPeer
metadata: {name: cloud}
spec:
  groupRef: edge
  nodeName: cloud
  endpoint: http://127.0.0.1:1
";

#[test]
fn resources_are_applied_shown_compared_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(&folder.path().join("data"), &["--node", "a"]);
    let url = format!("http://{}", node.http());
    let ask = |args: &[&str], input: &str| run(tidings(args).args(["--server", &url]), input);

    let dry = ask(&["apply", "-f", "-", "--dry-run"], GROUP);
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.out.contains("EventGroup/edge created (not done)\n"), "{}", dry.out);
    assert!(dry.out.contains("  + spec.nodeName: a\n"), "{}", dry.out);
    assert_eq!(ask(&["get", "eg", "edge"], "").code, 4);

    let applied = ask(&["apply", "-f", "-"], GROUP);
    assert_eq!(
        (applied.code, applied.out.as_str()),
        (0, "EventGroup/edge created\nEventPeer/cloud created\n"),
        "{}",
        applied.err
    );
    let again = ask(&["apply", "-f", "-"], GROUP);
    assert_eq!(again.out, "EventGroup/edge unchanged\nEventPeer/cloud unchanged\n");
    assert_eq!(ask(&["diff", "-f", "-"], GROUP).code, 0);

    let edited = GROUP.replace("127.0.0.1:1", "127.0.0.1:2");
    let differs = ask(&["diff", "-f", "-"], &edited);
    assert_eq!(differs.code, 1);
    assert!(differs.out.contains("  ~ spec.endpoint: http://127.0.0.1:1 -> http://127.0.0.1:2\n"), "{}", differs.out);
    let file = folder.path().join("edited.yaml");
    fs::write(&file, edited).unwrap();
    let changed = ask(&["apply", "-f", file.to_str().unwrap()], "");
    assert!(changed.out.contains("EventPeer/cloud changed\n  ~ spec.endpoint"), "{}", changed.out);

    for word in ["eventpeer", "EventPeers", "ep"] {
        let listed = ask(&["get", word], "");
        let words: Vec<&str> = listed.out.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(&words[..4], ["cloud", "edge", "cloud", "http://127.0.0.1:2"], "{}", listed.out);
    }
    let all = ask(&["get", "all"], "").out;
    assert!(all.contains("EventGroup") && all.contains("EventPeer"), "{all}");
    let shown = ask(&["get", "eventpeer", "cloud", "-o", "yaml"], "");
    let back = ask(&["apply", "-f", "-"], &shown.out);
    assert_eq!(back.out, "EventPeer/cloud unchanged\n", "{}", back.err);
    let described = ask(&["describe", "eventpeer", "cloud"], "").out;
    assert_eq!(described.matches("applied").count(), 2, "{described}");
    assert!(described.contains("endpoint: http://127.0.0.1:2"), "{described}");

    let alone = ask(&["delete", "eg", "edge"], "");
    assert_eq!(alone.code, 1);
    assert!(alone.err.contains("does not reference an existing EventGroup resource"), "{}", alone.err);
    let gone = ask(&["delete", "-f", "-"], GROUP);
    assert_eq!((gone.code, gone.out.contains("EventGroup/edge deleted")), (0, true), "{}{}", gone.out, gone.err);
    assert_eq!(ask(&["describe", "eventpeer", "cloud"], "").code, 4);
    node.stop();
}

#[test]
fn a_fault_is_told_with_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let node = Running::start(&folder.path().join("data"), &["--node", "a"]);
    let url = format!("http://{}", node.http());
    let file = folder.path().join("edge.yaml");
    fs::write(&file, GROUP.replace("  groupRef: edge\n", "  groupRef: other\n")).unwrap();
    let at = format!("{}:12:", file.display());
    let path = file.to_str().unwrap();
    let absent = "spec.groupRef \"other\" does not reference an existing EventGroup resource";
    // The node judges what resources say of each other; without one the files do.
    for args in [&["apply", "-f", path, "--server", &url][..], &["apply", "-f", path, "--offline"][..]] {
        let said = offline(args);
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(said.err.contains(&at) && said.err.contains(absent), "{}", said.err);
    }
    node.stop();
    fs::write(&file, GROUP.replace("nodeName: cloud", "nodname: cloud")).unwrap();
    let said = offline(&["apply", "-f", path, "--offline"]).err;
    assert!(said.contains("does not exist; did you mean spec.nodeName?"), "{said}");
    assert!(said.contains(&format!("{}:13:", file.display())), "{said}");
    fs::write(&file, "kind: [").unwrap();
    assert_eq!(offline(&["apply", "-f", path, "--offline"]).code, 2);
    assert_eq!(offline(&["apply", "-f", "/does/not/exist", "--offline"]).code, 2);
}

#[test]
fn a_field_is_explained_without_a_node() {
    let said = offline(&["explain", "eg.listen.port"]);
    assert!(said.out.starts_with("EventGroup.spec.listen.port  whole number\n"), "{}", said.out);
    let kind: Value = serde_json::from_str(&offline(&["explain", "plugin", "--json"]).out).unwrap();
    assert_eq!(kind["path"], "Plugin");
    let wrong = offline(&["explain", "EventPeer.spec.typs"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("did you mean EventPeer.spec.types?"), "{}", wrong.err);
    assert!(offline(&["kinds"]).out.contains("eventsubscriptions"));
    assert!(offline(&["completion", "bash"]).out.contains("eventsubscriptions"));
}

#[test]
fn the_schemas_take_what_the_documents_show_and_refuse_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let said = offline(&["kinds", "--out", folder.path().to_str().unwrap()]);
    assert!(said.out.contains("# yaml-language-server: $schema="), "{}", said.out);
    let compiled = |name: &str| {
        let schema: Value = serde_json::from_slice(&fs::read(folder.path().join(name)).unwrap()).unwrap();
        let spec = json!({"subjects": ["x"], "type": "json", "schema": schema});
        let resource =
            json!({"apiVersion": "tidings.dev/v1", "kind": "Schema", "metadata": {"name": "kinds"}, "spec": spec});
        Schema::compile(Resource::from_json(resource.to_string().as_bytes()).unwrap()).unwrap()
    };
    let check = |schema: &Schema, value: &Value| {
        let mut message = Message::new(Subject::parse("x").unwrap(), value.to_string());
        message.headers = Headers::from_pairs([("content-type", "application/json")]).unwrap();
        schema.check(&message).map_err(|fault| fault.to_string())
    };
    let any = compiled("tidings.schema.json");
    for page in ["resources.md", "federation.md"] {
        for block in declared_in(page) {
            for from in read_string(Path::new(page), block).unwrap() {
                let value = from.document.to_json();
                assert_eq!(check(&any, &value), Ok(()), "{value}");
                if plan::Kind::named(&from.document.kind).is_some() {
                    assert_eq!(
                        check(&compiled(&format!("{}.schema.json", from.document.kind)), &value),
                        Ok(()),
                        "{value}"
                    );
                }
            }
        }
    }
    let group = |spec: Value| json!({"apiVersion": "tidings.dev/v1", "kind": "EventGroup", "metadata": {"name": "x"}, "spec": spec});
    for wrong in [
        group(json!({})),
        group(json!({"nodeName": "a", "nodname": "b"})),
        group(json!({"nodeName": "a", "replayWindow": "5 minutes"})),
        group(json!({"nodeName": "a", "listen": {"port": 70_000}})),
        json!([group(json!({}))]),
        json!({"apiVersion": "tidings.dev/v1", "kind": "EventGruop", "metadata": {"name": "x"}}),
    ] {
        assert!(check(&any, &wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_resources_of_the_documents_are_fine_together() {
    {
        let page = "resources.md";
        let said = run(&mut tidings(&["apply", "-f", "-", "--offline"]), &declared_in(page).join("---\n"));
        assert_eq!(said.code, 0, "{page}: {}", said.err);
    }
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("tidings.service");
    let program = env!("CARGO_BIN_EXE_tidings");
    let said = offline(&["unit", "systemd", "--program", program, "--credential", "key:/etc/tidings/key"]);
    assert_eq!(said.code, 0, "{}", said.err);
    fs::write(&unit, said.out).unwrap();
    // Where there is no systemd, nobody can be asked.
    let Ok(judged) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else { return };
    let said = String::from_utf8(judged.stderr).unwrap();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tidings.service")).collect();
    assert_eq!(ours, Vec::<&str>::new(), "{said}");
}
