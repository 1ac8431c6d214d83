//! Schemas held against data: the messages of a real cloud, and what is wrong with bad ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod cloud;

use cloud::{descriptor, json_schema, message, protobuf};
use event::{Headers, Message};
use schema::{Fault, Resource, Schema, Table, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn metadata() -> Vec<u8> {
    let stamp = bytes("08 80 e2 cf aa 06 10 07");
    field(1, &[text(1, "e1"), text(2, "node-a"), field(3, &stamp), text(4, "cluster-monitor")].concat())
}

fn node(name: &[u8], rest: &[u8]) -> Vec<u8> {
    field(2, &[&field(1, name), rest].concat())
}

const CPU: &str = "11 0000000000004940";

/// The fault's field and reason, or the message as JSON.
fn check(resource: Value, data: &[u8], expected: Result<Value, (&str, &str)>) {
    let schema = Schema::compile(Resource::from_json(resource.to_string().as_bytes()).unwrap()).unwrap();
    let message = message("cluster.metrics", data);
    match (schema.check(&message), expected) {
        (Ok(()), Ok(json)) => assert_eq!(schema.decode(&message).unwrap().unwrap_or_default(), json),
        (Err(Fault { field, why }), Err((path, reason))) => {
            assert_eq!(field, path, "{why}");
            assert!(why.contains(reason), "{why}");
        }
        (found, expected) => panic!("{found:?}, where {expected:?} was expected"),
    }
}

#[test]
fn cluster_metrics_are_read_and_their_faults_named() {
    let schema = || protobuf("cloud.ClusterMetrics", json!({}));
    let two = [metadata(), node(b"a", &bytes(CPU)), node(b"b", &text(5, "\n\x01x"))].concat();
    let seen = json!({
        "metadata": {"event_id": "e1", "entity_id": "node-a", "source": "cluster-monitor",
                     "timestamp": {"seconds": "1700000000", "nanos": 7}},
        "nodes": [{"name": "a", "cpu_percent": 50.0}, {"name": "b", "conditions": [{"type": "x"}]}],
    });
    check(schema(), &two, Ok(seen));
    check(schema(), b"", Ok(json!({})));
    check(schema(), &two[..two.len() - 1], Err(("nodes[1]", "cut off")));
    check(schema(), &[metadata(), node(b"a", &bytes("10 05"))].concat(), Err(("nodes[0].cpu_percent", "a varint")));
    check(schema(), &[node(b"a", b""), node(&[0xff], b"")].concat(), Err(("nodes[1].name", "UTF-8")));
    check(schema(), b"{\"nodes\":[]}", Err(("", "")));
    check(schema(), &bytes("00 01"), Err(("", "number 0")));
    check(schema(), &bytes("0f"), Err(("", "wire type 7")));
    check(schema(), &bytes("0a"), Err(("metadata", "cut off")));
    check(schema(), &bytes("0a 02 28 ff"), Err(("metadata.version", "cut off")));
    check(schema(), &bytes("0a 0b 28 ff ff ff ff ff ff ff ff ff 7f"), Err(("metadata.version", "64 bits")));
}

#[test]
fn unknown_fields_pass_unless_the_schema_is_strict() {
    let data = [metadata(), text(9, "new")].concat();
    check(
        protobuf("cloud.LogError", json!({})),
        &[data.clone(), text(4, "ERROR")].concat(),
        Ok(json!({
            "level": "ERROR",
            "metadata": {"event_id": "e1", "entity_id": "node-a", "source": "cluster-monitor",
                         "timestamp": {"seconds": "1700000000", "nanos": 7}},
        })),
    );
    check(protobuf("cloud.LogError", json!({"strict": true})), &data, Err(("", "cloud.LogError has no field 9")));
}

#[test]
fn pods_and_notifications_are_read() {
    let pod = [text(1, "web"), text(2, "core"), bytes("18 03 20 01")].concat();
    let pods = json!({"pods": [{"name": "web", "namespace": "core", "restart_count": 3, "oom_killed": true}]});
    check(protobuf("cloud.PodStatusSnapshot", json!({})), &field(2, &pod), Ok(pods));
    let wrong = [text(1, "web"), text(3, "three")].concat();
    let fault = Err(("pods[0].restart_count", "a length and bytes, where a varint belongs"));
    check(protobuf("cloud.PodStatusSnapshot", json!({})), &field(2, &wrong), fault);
    let note = [text(2, "u1"), text(3, "Container Ready"), text(6, "compute")].concat();
    let seen = json!({"user_id": "u1", "title": "Container Ready", "category": "compute"});
    check(protobuf("cloud.Notification", json!({})), &note, Ok(seen));
}

#[test]
fn json_is_taken_for_protobuf_only_where_the_schema_says_so() {
    let judge = |extra: Value, data: &str| {
        let resource = protobuf("cloud.LogError", extra).to_string();
        let schema = Schema::compile(Resource::from_json(resource.as_bytes()).unwrap()).unwrap();
        let mut message = message("log.error.x", data.as_bytes());
        message.headers = Headers::from_pairs([("Content-Type", "application/json; charset=utf-8")]).unwrap();
        schema.check(&message)
    };
    let good = r#"{"level":"ERROR","metadata":{"version":"5","eventId":"e"}}"#;
    assert!(judge(json!({}), good).unwrap_err().why.contains("protobuf message cloud.LogError belongs"));
    assert_eq!(judge(json!({"acceptJson": true}), good), Ok(()));
    let fault = judge(json!({"acceptJson": true}), r#"{"metadata":{"version":"five"}}"#).unwrap_err();
    assert_eq!(fault.field, "metadata.version", "{fault}");
    assert_eq!(judge(json!({"acceptJson": true}), r#"{"other":1}"#), Ok(()));
    assert!(judge(json!({"acceptJson": true, "strict": true}), r#"{"other":1}"#).is_err());
    assert!(judge(json!({"acceptJson": true}), "{} {}").is_err());
}

#[test]
fn events_of_accounts_are_held_against_a_json_schema() {
    let good = json!({
        "metadata": {"event_id": "4f9c", "entity_id": "Ab3dE9", "timestamp": 1_700_000_000, "source": "auth-service"},
        "user_id": "Ab3dE9", "username": "eve", "display_name": "Eve",
    });
    check(json_schema(), good.to_string().as_bytes(), Ok(Value::Null));
    let mut bad = good.clone();
    bad["metadata"]["timestamp"] = "yesterday".into();
    check(json_schema(), bad.to_string().as_bytes(), Err(("/metadata/timestamp", "integer")));
    let mut bad = good.clone();
    bad["user_id"] = "much too long".into();
    check(json_schema(), bad.to_string().as_bytes(), Err(("/user_id", "match")));
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("username");
    check(json_schema(), bad.to_string().as_bytes(), Err(("", "username")));
    check(json_schema(), b"{\"metadata\":", Err(("", "is not JSON: EOF")));
    check(json_schema(), "[".repeat(100_000).as_bytes(), Err(("", "recursion limit")));
}

#[test]
fn a_whole_event_is_opened_for_its_data() {
    let resource = json_schema().to_string();
    let schema = Schema::compile(Resource::from_json(resource.as_bytes()).unwrap()).unwrap();
    let mut message =
        message("auth.user.x", br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"metadata":4,"user_id":"abcdef","username":"e"}}"#);
    message.headers = Headers::from_pairs([("content-type", "application/cloudevents+json")]).unwrap();
    assert_eq!(schema.check(&message).unwrap_err().field, "/metadata");
    message.payload = "nothing".into();
    assert!(schema.check(&message).unwrap_err().why.contains("not a CloudEvent"));
}

#[test]
fn schemas_that_cannot_be_used_say_which_field() {
    let check = |resource: Value, field: &str, why: &str| {
        let error = Resource::from_json(resource.to_string().as_bytes()).and_then(Schema::compile).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(error.why.contains(why), "{error}");
    };
    check(protobuf("cloud.Nothing", json!({})), "spec.message", "cloud.Timestamp");
    check(protobuf("cloud.LogError", json!({"descriptor": "!"})), "spec.descriptor", "base64");
    check(protobuf("cloud.LogError", json!({"descriptor": "AAAA"})), "spec.descriptor", "descriptor set");
    check(protobuf("cloud.LogError", json!({"schema": {}})), "spec.schema", "not for this type");
    check(protobuf("cloud.LogError", json!({"subjects": []})), "spec.subjects", "1 to 64");
    check(protobuf("cloud.LogError", json!({"subjects": ["a", "b..c"]})), "spec.subjects[1]", "b..c");
    check(protobuf("cloud.LogError", json!({"subjects": ["tidings.>"]})), "spec.subjects[0]", "own");
    check(protobuf("cloud.LogError", json!({"mode": "warn"})), "spec.mode", "refuse");
    check(protobuf("cloud.LogError", json!({"descriptorFile": "x"})), "spec.descriptorFile", "content");
    let json = |schema: Value| {
        json!({"apiVersion": "tidings.dev/v1", "kind": "Schema", "metadata": {"name": "x"},
        "spec": {"subjects": ["a"], "type": "json", "schema": schema}})
    };
    check(json(json!({"type": "objekt"})), "spec.schema/type", "objekt");
    check(json(json!({"$ref": "https://example.com/s.json"})), "spec.schema", "example.com");
    check(json(json!({"$ref": "file:///etc/passwd"})), "spec.schema", "passwd");
    check(json(json!({"$ref": "#"})), "spec.schema", "back");
    check(json(json!({"allOf": [{"anyOf": [{"$ref": "#"}]}]})), "spec.schema", "back");
    check(json(json!({"pattern": "(a{1000}){1000}"})), "spec.schema/pattern", "");
    let mut other = json(json!({}));
    other["kind"] = "Stream".into();
    check(other, "kind", "'Schema'");
    let mut other = json(json!({}));
    other["metadata"]["name"] = "a.b".into();
    check(other, "metadata.name", "letters");
}

#[test]
fn a_table_refuses_before_it_marks_and_takes_forged_marks_off() {
    let compile = |resource: Value| {
        Arc::new(Schema::compile(Resource::from_json(resource.to_string().as_bytes()).unwrap()).unwrap())
    };
    let named = |name: &str, extra: Value| {
        let mut resource = protobuf("cloud.LogError", extra);
        resource["metadata"]["name"] = name.into();
        compile(resource)
    };
    let lax = named("lax", json!({"mode": "mark", "subjects": ["log.>", "log.error.*"]}));
    let firm = named("zeal", json!({"mode": "refuse", "subjects": ["log.error.*"]}));
    let table = Table::new([firm, lax]).unwrap();
    assert_eq!(table.schemas().iter().map(|schema| schema.name()).collect::<Vec<_>>(), ["lax", "zeal"]);
    assert_eq!(table.bound("log.error.x").count(), 2);
    let judge = |subject: &str, data: &[u8], pairs: &[(&str, &str)]| {
        let headers = Headers::from_pairs(pairs.iter().copied()).unwrap();
        table.judge(&Message { headers, ..message(subject, data) })
    };
    assert_eq!(judge("other", &[0xff], &[]), Verdict::Good);
    assert_eq!(judge("log.info", b"", &[]), Verdict::Good);
    let Verdict::Refuse { schema, .. } = judge("log.error.x", &[0xff], &[]) else { panic!() };
    assert_eq!(schema, "zeal");
    let Verdict::Mark(headers) = judge("log.info", &[0xff], &[("a", "b"), ("tidings-schema", "forged")]) else {
        panic!()
    };
    assert_eq!(
        headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["a", "Tidings-Schema", "Tidings-Schema-Error"]
    );
    assert_eq!(headers.get("tidings-schema"), Some("lax"));
    assert!(headers.get("tidings-schema-error").unwrap().contains("cut off"));
    let Verdict::Mark(headers) = judge("log.info", b"", &[("a", "b"), ("Tidings-Schema", "forged")]) else { panic!() };
    assert_eq!(headers.as_block().as_ref(), b"a: b\r\n");
}

#[test]
fn proto_files_compile_and_their_faults_have_a_line() {
    let dir = std::env::temp_dir().join(format!("schema-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("bad.proto");
    std::fs::write(&file, "syntax = \"proto3\";\nmessage A {\n  strin x = 1;\n}\n").unwrap();
    let error = schema::compile_proto(std::slice::from_ref(&file), &[]).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("bad.proto", 3), "{error}");
    std::fs::write(&file, "syntax = \"proto3\";\nmessage A {\n  string x = ;\n}\n").unwrap();
    let error = schema::compile_proto(&[file], &[]).unwrap_err();
    assert_eq!(error.line, 3, "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(descriptor().len() > 100);
}
