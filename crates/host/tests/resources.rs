//! Resources of a node: over the API and from files, kept, replaced, refused, and there again after a restart.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use host::config::{Config, ConsulConfig, DnsConfig, Engine, HubConfig, Listen, NatsConfig, SlimConfig};
use host::{Ended, Node, StartError};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

/// Longer than a reload takes, shorter than anybody waits.
const SOON: Duration = Duration::from_secs(20);

/// A node with a data directory and a folder of resources.
struct Place {
    data: TempDir,
    folder: TempDir,
    engine: Engine,
}

impl Place {
    fn new(engine: Engine) -> Self {
        Place { data: tempdir().unwrap(), folder: tempdir().unwrap(), engine }
    }

    fn config(&self) -> Config {
        let nats = NatsConfig { listen: Listen::Off, monitor: Listen::Off, ..NatsConfig::default() };
        Config {
            node: String::from("alpha"),
            data: self.data.path().to_owned(),
            engine: self.engine.clone(),
            http: "127.0.0.1:0".parse().unwrap(),
            nats,
            hub: HubConfig { listen: Listen::Off, ..HubConfig::default() },
            consul: ConsulConfig::off(),
            dns: DnsConfig::off(),
            slim: SlimConfig::off(),
            resources: Some(self.folder.path().to_owned()),
            ..Config::default()
        }
    }

    fn start(&self) -> Node {
        Node::start(self.config()).unwrap()
    }

    /// Why it does not start: line and reason.
    fn refused(&self) -> (u64, String) {
        match Node::start(self.config()).map(|_| ()) {
            Err(StartError::File(fault)) => {
                assert!(fault.path.starts_with(self.folder.path()), "{fault}");
                (fault.line, fault.reason)
            }
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }
}

fn ask(node: &Node, line: &str, body: &Value) -> (u16, Value) {
    let mut connection = TcpStream::connect(node.ports().http.unwrap()).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (method, path) = line.split_once(' ').unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}");
    write!(connection, "{head}\r\ncontent-type: application/json\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[track_caller]
fn check(node: &Node, line: &str, body: &Value, status: u16) -> Value {
    let (found, answer) = ask(node, line, body);
    assert_eq!(found, status, "{line}: {answer}");
    answer
}

fn plugin(name: &str, executable: &str) -> Value {
    json!({"apiVersion": "tidings.dev/v1", "kind": "Plugin", "metadata": {"name": name},
        "spec": {"executable": executable}})
}

fn interface(name: &str, mtu: u64) -> Value {
    json!({"apiVersion": "net.routerd.net/v1alpha1", "kind": "Interface", "metadata": {"name": name}, "spec": {"mtu": mtu}})
}

fn actions(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|result| result["action"].as_str().unwrap()).collect()
}

/// What is in force: names with where they come from.
fn in_force(node: &Node) -> Vec<(String, String)> {
    let answer = check(node, "GET /v1/resources", &Value::Null, 200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |each: &Value| (text(&each["metadata"]["name"]), text(&each["status"]["origin"]));
    answer["resources"].as_array().unwrap().iter().map(entry).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, origin)| ((*name).to_owned(), (*origin).to_owned())).collect()
}

/// Waits until the node says so.
#[track_caller]
fn until(node: &Node, expected: &[(&str, &str)]) {
    let began = Instant::now();
    while in_force(node) != pairs(expected) {
        assert!(began.elapsed() < SOON, "{:?}", in_force(node));
        std::thread::yield_now();
    }
}

#[test]
fn what_is_applied_is_in_force_and_there_after_a_restart() {
    let place = Place::new(Engine::Disk);
    let node = place.start();
    let both = json!([plugin("derive", "/bin/derive"), interface("eth0", 1500)]);
    let answer = check(&node, "POST /v1/resources", &both, 200);
    assert_eq!(actions(&answer), ["created", "created"]);
    assert_eq!(answer["results"][1]["changes"][0], json!({"path": "spec.mtu", "from": null, "to": 1500}));
    let again = json!({"resources": [plugin("derive", "/bin/derive"), interface("eth0", 9000)]});
    let answer = check(&node, "POST /v1/resources?dryRun=true", &again, 200);
    assert_eq!((actions(&answer), &answer["dryRun"]), (vec!["unchanged", "changed"], &json!(true)));
    let shown = check(&node, "GET /v1/resources/interface/eth0", &Value::Null, 200);
    assert_eq!(shown["spec"]["mtu"], 1500, "a dry run changes nothing");
    let answer = check(&node, "POST /v1/resources", &again, 200);
    assert_eq!(answer["results"][1]["changes"], json!([{"path": "spec.mtu", "from": 1500, "to": 9000}]));
    assert_eq!(node.stop(), Ended::Clean);

    let node = place.start();
    assert_eq!(in_force(&node), pairs(&[("eth0", "api"), ("derive", "api")]));
    let shown = check(&node, "GET /v1/resources/Interface/eth0", &Value::Null, 200);
    assert_eq!((&shown["spec"]["mtu"], &shown["status"]["seq"]), (&json!(9000), &json!(3)));
    let listed = check(&node, "GET /v1/resources?kind=plugins", &Value::Null, 200);
    assert_eq!(listed["resources"].as_array().unwrap().len(), 1);
    node.stop();
}

#[test]
fn each_change_is_in_the_history_with_who_asked_for_it() {
    let place = Place::new(Engine::Disk);
    let node = place.start();
    for mtu in [1500, 9000] {
        check(&node, "POST /v1/resources", &interface("eth0", mtu), 200);
    }
    check(&node, "POST /v1/resources", &interface("eth0", 9000), 200);
    let answer = check(&node, "DELETE /v1/resources/Interface/eth0", &Value::Null, 200);
    assert_eq!(actions(&answer), ["deleted"]);
    check(&node, "GET /v1/resources/Interface/eth0", &Value::Null, 404);
    check(&node, "DELETE /v1/resources/Interface/eth0", &Value::Null, 404);
    node.stop();
    let node = place.start();
    assert!(in_force(&node).is_empty(), "what was deleted stays so");
    let history = check(&node, "GET /v1/resources/Interface/eth0/history", &Value::Null, 200);
    let entries = history["history"].as_array().unwrap();
    let words: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(words, ["applied", "applied", "deleted"]);
    assert_eq!((&entries[1]["resource"]["spec"]["mtu"], &entries[2]["resource"]), (&json!(9000), &Value::Null));
    assert!(entries.iter().all(|entry| entry["by"].is_string() && entry["time"].is_string()));
    check(&node, "GET /v1/resources/Interface/none/history", &Value::Null, 404);
    for (version, count) in [("net.routerd.net%2Fv1alpha1", 3), ("other%2Fv1", 0)] {
        let line = format!("GET /v1/resources/Interface/eth0/history?apiVersion={version}");
        let (_, answer) = ask(&node, &line, &Value::Null);
        assert_eq!(answer["history"].as_array().map_or(0, Vec::len), count, "{answer}");
    }
    node.stop();
}

#[test]
fn a_set_is_applied_whole_or_not_at_all() {
    let place = Place::new(Engine::Memory);
    let node = place.start();
    check(&node, "POST /v1/resources", &plugin("derive", "/bin/derive"), 200);
    let faulty = |body: &Value, parts: &[&str]| {
        let answer = check(&node, "POST /v1/resources", body, 400);
        let text = answer.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(in_force(&node), pairs(&[("derive", "api")]));
    };
    let bad = plugin("bad", "relative/path");
    faulty(&json!([interface("eth0", 1), bad]), &["invalid-resource", "tidings.dev/v1/Plugin/bad", "spec.executable"]);
    faulty(&json!([interface("eth0", 1), interface("eth0", 2)]), &["twice"]);
    faulty(&json!({"kind": "Plugin"}), &["apiVersion"]);
    let mut secret = interface("wg0", 1);
    secret["spec"]["privateKey"] = json!("hunter2");
    let answer = check(&node, "POST /v1/resources", &secret, 400);
    assert!(answer.to_string().contains("spec.privateKey") && !answer.to_string().contains("hunter2"));
    let slo = json!({"apiVersion": "tidings.dev/v1", "kind": "FederationSLO", "metadata": {"name": "s"},
        "spec": {"groupRef": "none"}});
    faulty(&slo, &["FederationSLO/s", "spec.groupRef"]);
    node.stop();
}

#[test]
fn what_another_needs_is_not_deleted() {
    let place = Place::new(Engine::Memory);
    let node = place.start();
    let group = json!({"apiVersion": "tidings.dev/v1", "kind": "EventGroup", "metadata": {"name": "edge"},
        "spec": {"nodeName": "alpha"}});
    let slo = json!({"apiVersion": "tidings.dev/v1", "kind": "FederationSLO", "metadata": {"name": "s"},
        "spec": {"groupRef": "edge"}});
    check(&node, "POST /v1/resources", &json!([group, slo]), 200);
    let answer = check(&node, "DELETE /v1/resources/eventgroup/edge", &Value::Null, 400);
    assert!(answer.to_string().contains("FederationSLO/s"), "{answer}");
    check(&node, "DELETE /v1/resources/FederationSLO/s?dryRun=true", &Value::Null, 200);
    check(&node, "DELETE /v1/resources/FederationSLO/s", &Value::Null, 200);
    check(&node, "DELETE /v1/resources/eg/edge", &Value::Null, 200);
    assert!(in_force(&node).is_empty());
    node.stop();
}

const FILE: &str = "# of the operator
apiVersion: net.routerd.net/v1alpha1
kind: Interface
metadata:
  name: eth0
spec:
  mtu: 1400
---
apiVersion: tidings.dev/v1
kind: Plugin
metadata: {name: derive}
spec:
  executable: /bin/derive
";

#[test]
fn a_file_goes_before_the_api_and_is_changed_in_the_file_alone() {
    let place = Place::new(Engine::Disk);
    let node = place.start();
    check(&node, "POST /v1/resources", &interface("eth0", 1500), 200);
    place.write("10-site.yaml", FILE);
    node.reload();
    until(&node, &[("eth0", "file"), ("derive", "file")]);
    let shown = check(&node, "GET /v1/resources/Plugin/derive", &Value::Null, 200);
    assert_eq!(shown["status"]["line"], 9);
    let answer = check(&node, "POST /v1/resources", &interface("eth0", 9000), 409);
    assert!(answer["detail"].as_str().unwrap().contains("10-site.yaml"), "{answer}");
    check(&node, "DELETE /v1/resources/Plugin/derive", &Value::Null, 409);
    assert_eq!(actions(&check(&node, "POST /v1/resources", &interface("eth0", 1400), 200)), ["unchanged"]);
    node.stop();
    let node = place.start();
    assert_eq!(in_force(&node), pairs(&[("eth0", "file"), ("derive", "file")]));
    place.remove("10-site.yaml");
    node.reload();
    until(&node, &[("eth0", "api")]);
    assert_eq!(check(&node, "GET /v1/resources/Interface/eth0", &Value::Null, 200)["spec"]["mtu"], 1500);
    node.stop();
}

#[test]
fn a_file_that_changes_is_noticed_and_a_faulty_one_changes_nothing() {
    let place = Place::new(Engine::Memory);
    place.write("a.yml", FILE);
    let node = place.start();
    place.write("b.json", &json!([interface("eth1", 1), interface("eth2", 1)]).to_string());
    until(&node, &[("eth0", "file"), ("eth1", "file"), ("eth2", "file"), ("derive", "file")]);
    place.write("a.yml", &FILE.replace("/bin/derive", "derive"));
    place.write("c.yaml", &interface("eth3", 1).to_string());
    node.reload();
    node.reload();
    assert_eq!(in_force(&node).len(), 4);
    place.write("a.yml", FILE);
    until(&node, &[("eth0", "file"), ("eth1", "file"), ("eth2", "file"), ("eth3", "file"), ("derive", "file")]);
    node.stop();
}

#[test]
fn a_faulty_file_is_told_with_line_and_field_in_the_right_document() {
    let place = Place::new(Engine::Memory);
    let check = |text: &str, line: u64, parts: &[&str]| {
        place.write("site.yaml", text);
        let (found, reason) = place.refused();
        assert!(parts.iter().all(|part| reason.contains(part)), "{reason}");
        assert_eq!(found, line, "{reason}");
    };
    check(&FILE.replace("/bin/derive", "derive"), 13, &["Plugin/derive", "spec.executable"]);
    check(&FILE.replace("executable", "executible"), 13, &["Plugin/derive", "executible"]);
    check(&FILE.replace("{name: derive}", "{}"), 11, &["metadata.name"]);
    check(&FILE.replace("  mtu: 1400", "  mtu: [1400"), 7, &["unclosed"]);
    check(&FILE.replace("mtu: 1400", "psk: hunter2"), 7, &["spec.psk", "holds a secret"]);
    check(&format!("{FILE}---\n{}", interface("eth0", 1)), 15, &["eth0", "site.yaml:2"]);
    let list = "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata: {name: r}\nspec:\n  resources:\n    - apiVersion: \
                plugin.routerd.net/v1alpha1\n      kind: Plugin\n      metadata: {name: p}\n      spec:\n        executable: p\n";
    check(list, 10, &["plugin.routerd.net/v1alpha1/Plugin/p", "spec.executable"]);
}

#[test]
fn what_was_recorded_and_does_not_go_with_the_files_is_left_out() {
    let place = Place::new(Engine::Disk);
    let group = "apiVersion: tidings.dev/v1\nkind: EventGroup\nmetadata: {name: edge}\nspec: {nodeName: alpha}\n";
    place.write("group.yaml", group);
    let node = place.start();
    let slo = json!({"apiVersion": "tidings.dev/v1", "kind": "FederationSLO", "metadata": {"name": "s"},
        "spec": {"groupRef": "edge"}});
    check(&node, "POST /v1/resources", &json!([slo, interface("eth0", 1)]), 200);
    node.stop();
    place.remove("group.yaml");
    let node = place.start();
    assert_eq!(in_force(&node), pairs(&[("eth0", "api")]));
    node.stop();
    place.write("group.yaml", group);
    let node = place.start();
    assert_eq!(in_force(&node).len(), 3, "it is there again where it can be");
    node.stop();
}

#[test]
fn schemas_and_resources_share_a_stream_and_not_each_others_names() {
    let place = Place::new(Engine::Disk);
    let node = place.start();
    let schema = json!({"apiVersion": "tidings.dev/v1", "kind": "Schema", "metadata": {"name": "orders"},
        "spec": {"subjects": ["orders.>"], "type": "json", "schema": {"type": "object"}}});
    check(&node, "PUT /v1/schemas/orders", &schema, 201);
    let answer = check(&node, "POST /v1/resources", &schema, 400);
    assert!(answer.to_string().contains("tidings schema apply"), "{answer}");
    check(&node, "POST /v1/resources", &json!([interface("a", 1), interface("b", 1)]), 200);
    node.stop();
    let node = place.start();
    check(&node, "GET /v1/schemas/orders", &Value::Null, 200);
    assert_eq!(in_force(&node).len(), 2);
    node.stop();
}
