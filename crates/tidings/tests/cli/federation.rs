//! The commands on facts between sites: what is asked, what is shown, and how routerd would show it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use crate::stub::{Ran, Reply, Stub};
use serde_json::{Value, json};

const SOURCE: &str = "EventSubscription/claims/7b409f932d2c88e9";

fn fact() -> Value {
    json!({"id": "evt-1", "group": "cloudedge", "sourceNode": "onprem", "type": "routerd.client.ipv4.observed",
        "subject": "10.88.60.9/32", "dedupeKey": "evt-1", "payload": {"address": "10.88.60.9/32", "note": "a<b"},
        "observedAt": "2025-05-30T10:13:10.25Z", "expiresAt": "2025-05-30T10:43:10Z",
        "recordedAt": "2025-05-30T10:13:11.5Z", "seq": 7, "live": true})
}

/// The same fact as its stream has it.
fn message() -> Value {
    let fact = fact();
    let event = json!({"specversion": "1.0", "id": "evt-1", "source": "onprem", "type": fact["type"],
        "subject": fact["subject"], "time": fact["observedAt"], "fedexpires": fact["expiresAt"]});
    json!({"stream": "FED_cloudedge", "seq": 1, "time": fact["recordedAt"], "subject": "fed.cloudedge.t",
        "data": fact["payload"].to_string(), "event": event})
}

fn delivery(status: &str, attempts: u64) -> Value {
    json!({"eventId": "evt-1", "group": "cloudedge", "peer": "cloud", "status": status, "attempts": attempts,
        "lastAttemptAt": "2025-05-30T10:13:12.75Z", "lastError": "peer returned HTTP 503"})
}

fn run_record() -> Value {
    json!({"run": 3, "subscription": "claims", "eventIds": ["evt-1", "evt-2"], "eventGroup": "cloudedge",
        "plugin": "claims", "status": "dead", "attempts": 3, "startedAt": "2025-05-30T10:13:12.75Z",
        "error": "x".repeat(70)})
}

fn part() -> Value {
    json!({"source": SOURCE, "generation": 1, "status": "active", "observedAt": "2025-05-30T10:13:10Z",
        "digest": "d", "directives": [{"op": "mask", "target": {"apiVersion": "v", "kind": "K", "name": "m"},
        "reason": "moved"}],
        "resources": [{"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": "c1"},
        "spec": {"address": "10.88.60.9"}}],
        "actionPlans": [{"name": "p1", "provider": "oci", "action": "assign-secondary-ip", "target": {"nicRef": "n"}}]})
}

fn doctor(status: &str) -> Value {
    let check = json!({"area": "federation", "code": "failed-deliveries", "name": "cloudedge/cloud failed deliveries",
        "status": status, "detail": "1 of 2 deliveries failed", "remedy": "look at the peer"});
    let action = json!({"action": "retry-failed-deliveries", "reason": "1 failed", "targetPeer": "cloud",
        "targetGroup": "cloudedge", "safe": true, "requiresOperatorApproval": false});
    json!({"summary": {"overall": status, "pass": 0, "warn": 0, "fail": 1, "skip": 0}, "checks": [check],
        "federation": {"failedDeliveryCount": 1},
        "remediationPlan": {"generatedAt": "2025-05-30T10:13:10Z", "actions": [action]}})
}

/// A node that answers each path by what `answers` give for its beginning, and knows nothing else.
fn node(answers: Vec<(&'static str, Value)>) -> Stub {
    Stub::start(move |seen, _| match answers.iter().find(|(path, _)| seen.path.starts_with(path)) {
        Some((_, answer)) => Reply::json(200, answer.to_string()),
        None => Reply::problem(404, "There is no federation", "this node takes part in none"),
    })
}

/// Runs a line, and gives back what it asked last and what came of it.
fn ask(stub: &Stub, line: &str) -> (String, Ran) {
    let ran = stub.run(&line.split_whitespace().collect::<Vec<_>>(), "");
    (stub.seen().pop().map(|seen| seen.path).unwrap_or_default(), ran)
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.expect(0).out).unwrap()
}

/// The first line of a table, word by word.
fn header(ran: &Ran) -> Vec<&str> {
    ran.expect(0).out.lines().next().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn a_fact_is_stated_in_a_group() {
    let recorded = json!({"id": "evt-1", "stream": "FED_cloudedge", "seq": 7, "duplicate": false, "event": fact()});
    let stub = node(vec![("/v1/federation/cloud%2Fedge/events", recorded)]);
    let flags = "--group cloud/edge --type t.seen --subject 10.88.60.9/32 --source-node onprem --id evt-1 \
                 --dedupe-key k --payload n=1 --payload mac=aa:bb --ttl 30m --observed-at 2025-05-30T10:13:10Z";
    let body = json!({"type": "t.seen", "subject": "10.88.60.9/32", "sourceNode": "onprem", "id": "evt-1",
        "dedupeKey": "k", "payload": {"n": "1", "mac": "aa:bb"}, "ttl": "30m", "observedAt": "2025-05-30T10:13:10Z"});
    for words in ["event emit", "federation event emit", "fed event emit"] {
        let (path, ran) = ask(&stub, &format!("{words} {flags}"));
        ran.expect(0).says(&["FED_cloudedge:7", "group cloud/edge", "id evt-1"]);
        let seen = stub.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), path.as_str()), ("POST", "/v1/federation/cloud%2Fedge/events"));
        assert_eq!(serde_json::from_str::<Value>(&seen.body).unwrap(), body);
    }
    let (_, ran) = ask(&stub, &format!("event emit {flags} --json"));
    assert_eq!(json_of(&ran)["event"], fact());
    for words in ["event withdraw", "fed event withdraw", "event emit --withdraw"] {
        ask(&stub, &format!("{words} --group cloud/edge --id evt-1")).1.expect(0).says(&["withdrawn"]);
        let body: Value = serde_json::from_str(&stub.seen().pop().unwrap().body).unwrap();
        assert_eq!(body, json!({"id": "evt-1", "withdrawn": true}));
    }
}

#[test]
fn what_is_for_events_alone_is_refused_by_name() {
    let stub = node(Vec::new());
    for (flags, hint) in [
        ("--data x", "--payload"),
        ("--ext a=b", "--payload"),
        ("--content-type text/plain", "--payload"),
        ("--source /s", "--source-node"),
        ("--time 2026-01-31T12:00:00Z", "--observed-at"),
        ("--to events.x", "leave it out"),
        ("--ndjson", "one at a time"),
    ] {
        let (_, ran) = ask(&stub, &format!("event emit --group g --type t {flags}"));
        ran.expect(2).says(&[flags.split(' ').next().unwrap(), hint]);
    }
    ask(&stub, "event emit --type t -o yaml").1.expect(2).says(&["--output json"]);
    ask(&stub, "event list -o yaml").1.expect(2).says(&["--group"]);
    assert!(stub.seen().is_empty());
    ask(&stub, "event emit --group g --type t").1.expect(4).says(&["no federation", "EventGroup", "tidings apply"]);
    ask(&stub, "fed event withdraw --group g --id x").1.expect(4).says(&["tidings event list"]);
}

#[test]
fn facts_are_listed() {
    let mut ended = fact();
    ended["live"] = json!(false);
    ended["type"] = json!("com.example.seen");
    let stub = node(vec![("/v1/federation/events", json!({"events": [ended, fact()]}))]);
    let (path, ran) = ask(&stub, "event list --group cloudedge --include-expired -n 5");
    assert_eq!(path, "/v1/federation/events?group=cloudedge&includeExpired=true&limit=5");
    let names = ["ID", "GROUP", "SOURCE", "TYPE", "SUBJECT", "OBSERVED", "EXPIRES", "STATE", "VIA"];
    assert_eq!(header(&ran), names);
    ran.says(&["2025-05-30 10:13:10.25", "expired", "live"]);
    let (path, ran) = ask(&stub, "fed event list --type routerd.* --json");
    assert_eq!((path.as_str(), json_of(&ran)), ("/v1/federation/events", json!({"events": [fact()]})));
    let (_, ran) = ask(&stub, "fed event list --compat routerd");
    assert_eq!(header(&ran), names[..7]);
    ran.says(&["2025-05-30T10:13:10Z"]);
    let mut older = fact();
    (older["live"], older["expiresAt"]) = (json!(false), json!("2199-01-31T12:00:00Z"));
    let twice = node(vec![("/v1/federation/events", json!({"events": [older, fact()]}))]);
    ask(&twice, "event list --group g --include-expired").1.expect(0).says(&["replaced", "live"]);
    let newest = json_of(&ask(&twice, "fed event list --include-expired -o json --compat routerd").1);
    assert_eq!((newest.as_array().map(Vec::len), &newest[0]["ExpiresAt"]), (Some(1), &fact()["expiresAt"]));
    let none = node(vec![("/v1/federation/events", json!({"events": []}))]);
    ask(&none, "event list --group g").1.expect(0).says(&["no fact holds in g", "--include-expired"]);
}

#[test]
fn json_and_yaml_are_those_of_routerd_where_asked_for() {
    let part_of = json!({"parts": [part()]});
    let summary = json!({"summary": [{"group": "g", "peer": "cloud", "events": 3, "delivered": 2, "staleTTL": 1,
        "failed": 0, "pending": 1, "maxLagSeconds": 9.4, "minExpiresInSeconds": 75}]});
    let stub = node(vec![
        ("/v1/federation/events", json!({"events": [fact()]})),
        ("/v1/federation/deliveries/summary", summary),
        (
            "/v1/federation/deliveries",
            json!({"deliveries": [delivery("failed", 3), delivery("skipped", 0),
            delivery("expired", 1)]}),
        ),
        ("/v1/federation/runs", json!({"runs": [run_record()]})),
        ("/v1/federation/cloudedge/events", json!({"id": "evt-1", "stream": "FED_cloudedge", "seq": 1})),
        ("/v1/streams/FED_cloudedge/messages/1", message()),
        ("/v1/dynamic/parts", part_of),
    ]);
    let theirs = |line: &str| json_of(&ask(&stub, &format!("{line} -o json --compat routerd")).1);
    let event = json!({"ID": "evt-1", "Group": "cloudedge", "SourceNode": "onprem",
        "Type": "routerd.client.ipv4.observed", "Subject": "10.88.60.9/32", "DedupeKey": "evt-1",
        "Payload": {"address": "10.88.60.9/32", "note": "a<b"}, "ObservedAt": "2025-05-30T10:13:10Z",
        "ExpiresAt": "2025-05-30T10:43:10Z", "RecordedAt": "2025-05-30T10:13:11Z"});
    assert_eq!(theirs("fed event list"), json!([event]));
    assert_eq!(theirs("fed event emit --group cloudedge --type t --id evt-1"), event);
    let delivery = |id: u64, attempts: u64| {
        json!({"ID": id, "EventID": "evt-1", "Peer": "cloud", "Status": "failed",
        "Attempts": attempts, "LastAttemptAt": "2025-05-30T10:13:12Z", "LastError": "peer returned HTTP 503",
        "DeliveredAt": "0001-01-01T00:00:00Z", "EventExpiresAt": "0001-01-01T00:00:00Z"})
    };
    assert_eq!(theirs("fed event deliveries"), json!([delivery(1, 3), delivery(2, 1)]));
    assert_eq!(
        theirs("fed deliveries summary"),
        json!([{"group": "g", "peer": "cloud", "events": 3, "delivered": 2, "staleTTL": 1, "failed": 0, "pending": 1,
            "maxLagSeconds": 9, "minExpiresInSeconds": 75}])
    );
    let runs = theirs("fed subscription runs --subscription EventSubscription/claims");
    assert_eq!(stub.seen().pop().unwrap().path, "/v1/federation/runs?subscription=claims");
    let record = |event: &str| {
        json!({"ID": 3, "Subscription": "EventSubscription/claims", "EventID": event,
        "EventGroup": "cloudedge", "Plugin": "claims", "Status": "failed", "Attempts": 3,
        "StartedAt": "2025-05-30T10:13:12Z", "CompletedAt": "", "DynamicSource": "", "DynamicGeneration": 0,
        "Error": "x".repeat(70)})
    };
    assert_eq!(runs, json!([record("evt-1"), record("evt-2")]));
    assert_eq!(
        theirs("dynamic list"),
        json!([{"source": SOURCE, "generation": 1, "status": "active", "resources": 1, "directives": 1,
            "actionPlans": 1, "expiresAt": "0001-01-01T00:00:00Z"}])
    );
    let (_, ran) = ask(&stub, "fed event list -o json --compat routerd");
    assert!(ran.out.starts_with("[\n  {\n    \"ID\": \"evt-1\",\n    \"Group\"") && ran.out.contains("a\\u003cb"));
    let (_, ran) = ask(&stub, "fed event list -o yaml --compat routerd");
    ran.expect(0).says(&["- id: evt-1\n  group: cloudedge\n  sourcenode: onprem\n", "dedupekey: evt-1"]);
}

#[test]
fn columns_are_those_of_routerd_where_asked_for() {
    let stub = node(vec![
        ("/v1/federation/deliveries/summary", json!({"summary": [{"group": "g", "peer": "p", "maxLagSeconds": 75}]})),
        ("/v1/federation/deliveries", json!({"deliveries": [delivery("failed", 3)]})),
        ("/v1/federation/runs", json!({"runs": [run_record()]})),
        ("/v1/dynamic/parts", json!({"parts": [part()]})),
        ("/v1/plugins", json!({"plugins": [{"name": "claims", "executable": "/p", "capabilities": ["a", "b"]}]})),
    ]);
    for (line, columns, says) in [
        (
            "fed event deliveries",
            "EVENT_ID PEER STATUS ATTEMPTS LAST_ATTEMPT LAST_ERROR DELIVERED",
            "2025-05-30T10:13:12Z",
        ),
        (
            "fed deliveries summary",
            "GROUP PEER EVENTS DELIVERED STALE_TTL FAILED PENDING MAX_LAG MIN_EXPIRES_IN",
            "1m15s",
        ),
        (
            "fed subscription runs",
            "ID SUBSCRIPTION EVENT_ID GROUP PLUGIN STATUS ATTEMPTS STARTED COMPLETED ERROR",
            "xxx...",
        ),
        ("dynamic list", "SOURCE GEN STATUS RESOURCES DIRECTIVES ACTIONPLANS EXPIRES", SOURCE),
        ("plugin list", "NAME EXECUTABLE CAPABILITIES TRIGGERS", "a,b"),
    ] {
        let (_, ran) = ask(&stub, &format!("{line} --compat routerd --state-file /var/lib/routerd/routerd.db"));
        assert_eq!(header(&ran).join(" "), columns);
        ran.says(&[says]);
    }
}

#[test]
fn nothing_is_null_or_an_empty_list_as_routerd_has_it() {
    let stub = node(vec![
        ("/v1/federation/events", json!({"events": []})),
        ("/v1/federation/deliveries", json!({"deliveries": []})),
        ("/v1/federation/runs", json!({"runs": []})),
        ("/v1/dynamic/parts", json!({"parts": []})),
    ]);
    for (line, json, yaml) in [
        ("fed event list", "null\n", "[]\n"),
        ("fed event deliveries", "null\n", "[]\n"),
        ("fed subscription runs", "null\n", "[]\n"),
        ("dynamic list", "[]\n", "[]\n"),
        ("dynamic describe Plugin/x", "[]\n", "[]\n"),
    ] {
        for (form, expected) in [("json", json), ("yaml", yaml)] {
            let (_, ran) = ask(&stub, &format!("{line} -o {form} --compat routerd"));
            assert_eq!(ran.expect(0).out, expected, "{line} -o {form}");
        }
    }
    let (_, ran) = ask(&node(Vec::new()), "dynamic describe Plugin/x -o json --compat routerd");
    assert_eq!(ran.expect(0).out, "[]\n");
    ask(&stub, "dynamic describe Plugin/x").1.expect(4).says(&["Plugin/x", "tidings dynamic list"]);
}

#[test]
fn deliveries_runs_and_peers_are_shown() {
    let peer = json!({"group": "cloudedge", "peer": "cloud", "endpoint": "http://cloud:7080", "breaker": "open",
        "queue": 12, "lagSeconds": 0.042, "mode": "batch", "lastError": "connection refused"});
    let stub = node(vec![
        ("/v1/federation/deliveries", json!({"deliveries": [delivery("failed", 3)]})),
        ("/v1/federation/runs", json!({"runs": [run_record()]})),
        ("/v1/federation/peers", json!({"peers": [peer]})),
    ]);
    let (path, ran) = ask(&stub, "event deliveries --peer cloud --event-id evt-1 --status failed --group cloudedge");
    assert_eq!(path, "/v1/federation/deliveries?group=cloudedge&event=evt-1&peer=cloud&status=failed");
    ran.expect(0).says(&["peer returned HTTP 503", "cloudedge"]);
    ask(&stub, "event deliveries --status lost").1.expect(2).says(&["pending", "delivered", "failed"]);
    let (path, ran) = ask(&stub, "subscription runs --status dead");
    assert_eq!(path, "/v1/federation/runs?status=dead");
    ran.expect(0).says(&["evt-1 and 1 more", "dead", "xxx…"]);
    let (_, ran) = ask(&stub, "federation peers");
    ran.expect(0).says(&["open", "12", "42ms", "connection refused"]);
}

#[test]
fn a_fact_is_traced() {
    let hop = |node: &str, at: &str, what: &str, detail: Value| {
        json!({"node": node, "at": at, "what": what,
        "detail": detail})
    };
    let trace = json!({"id": "evt-1", "group": "g", "hops": [
        hop("onprem", "2025-05-30T10:13:10Z", "recorded", json!({"seq": 7, "type": "t.seen", "subject": "10.0.0.9"})),
        hop("onprem", "2025-05-30T10:13:10.012Z", "pushed", json!({"peer": "cloud", "attempts": 2})),
        hop("cloud", "2025-05-30T10:13:10.015Z", "derived", json!({"part": SOURCE, "resources": ["a", "b c"]})),
    ], "asked": [{"peer": "cloud", "answered": true}, {"peer": "edge", "answered": false, "error": "timed out"}]});
    let unknown = json!({"id": "x", "group": null, "hops": [], "asked": [{"peer": "edge", "answered": false}]});
    let stub = node(vec![("/v1/federation/trace/evt-1", trace), ("/v1/federation/trace/x", unknown)]);
    for (flags, query) in [("--local", "group=g"), ("--peers", "group=g&peers=true"), ("", "group=g&peers=true")] {
        let (path, _) = ask(&stub, &format!("event trace evt-1 --group g {flags}"));
        assert_eq!(path, format!("/v1/federation/trace/evt-1?{query}"));
    }
    let (_, ran) = ask(&stub, "event trace evt-1 --group g");
    ran.expect(0).says(&[
        "evt-1 in g  t.seen 10.0.0.9\n",
        "+12ms",
        "attempts=2 peer=cloud",
        "\"a,b c\"",
        "asked edge: no answer: timed out",
    ]);
    ask(&stub, "event trace x").1.expect(4).says(&["nothing is known", "no answer from edge"]);
    ask(&stub, "fed event trace evt-2").1.expect(4).says(&["tidings event list"]);
}

#[test]
fn derived_configuration_is_described_rendered_compared_and_explained() {
    let config = json!({"kind": "Router", "spec": {"resources": [{"kind": "AddressClaim"}]}});
    let quarantined = json!([{"source": "Plugin/x", "generation": 2, "reason": "there is one already",
        "resource": {"apiVersion": "v", "kind": "K", "name": "n"}, "with": "Plugin/y"}]);
    let stub = node(vec![
        ("/v1/dynamic/parts", json!({"parts": [part()]})),
        (
            "/v1/dynamic/effective",
            json!({"index": 3, "digest": "d", "config": config, "quarantined": quarantined,
            "activeParts": [SOURCE]}),
        ),
        (
            "/v1/dynamic/diff",
            json!({"lines": ["+ v/K/a source=s generation=1"], "addedResources": [{"name": "a"}],
            "suppressed": [], "quarantined": quarantined}),
        ),
        (
            "/v1/dynamic/explain",
            json!({"resource": {"apiVersion": "v", "kind": "K", "metadata": {"name": "a"}, "spec":
            {"x": 1}}, "from": "part", "part": {"source": SOURCE, "generation": 1}, "events": ["evt-1", "evt-2"],
            "subscription": "claims", "plugin": "claims", "run": {"run": 3}}),
        ),
    ]);
    let (path, ran) = ask(&stub, &format!("dynamic describe {SOURCE}"));
    assert_eq!(path, "/v1/dynamic/parts?source=EventSubscription%2Fclaims%2F7b409f932d2c88e9");
    ran.expect(0).says(&["tidings.dev/v1/AddressClaim/c1", "mask v/K/m  (moved)", "mode=dry-run", "nicRef=n"]);
    let (_, ran) = ask(&stub, "dynamic render");
    assert_eq!(ran.expect(0).out, "kind: Router\nspec:\n  resources:\n  - kind: AddressClaim\n");
    ran.says(&["1 resource quarantined"]);
    assert_eq!(json_of(&ask(&stub, "dynamic render -o json").1), config);
    let (_, ran) = ask(&stub, "dynamic diff");
    ran.expect(0).says(&["+ v/K/a source=s", "! v/K/n of Plugin/x generation 2: there is one already (with Plugin/y)"]);
    let theirs = json_of(&ask(&stub, "dynamic diff -o json --compat routerd").1);
    let expected =
        json!({"suppressed": [], "addedResources": [{"name": "a"}], "activeParts": [SOURCE], "expiredParts": []});
    assert_eq!(theirs, expected);
    for (words, query) in [
        ("K a", "kind=K&name=a"),
        ("K/a", "kind=K&name=a"),
        ("x.y/v1/K/a", "kind=K&name=a&apiVersion=x.y%2Fv1"),
        ("K a --api-version v", "kind=K&name=a&apiVersion=v"),
    ] {
        let (path, _) = ask(&stub, &format!("dynamic explain {words}"));
        assert_eq!(path, format!("/v1/dynamic/explain?{query}"));
    }
    ask(&stub, "dynamic explain K").1.expect(2).says(&["KIND/NAME"]);
    let (_, ran) = ask(&stub, "dynamic explain K a");
    ran.expect(0).says(&[SOURCE, "evt-1, evt-2", "x: 1"]);
    let (_, ran) = ask(&stub, "doctor dynamic");
    ran.expect(1).says(&["FAIL", "there is one already"]);
}

#[test]
fn a_plugin_is_run_by_hand() {
    let ran = json!({"plugin": "claims", "tookSeconds": 0.0421, "part": part(), "applied": false,
        "diff": {"lines": ["+ v/K/a source=s generation=1"]}, "stderr": "warned\u{1b}"});
    let stub = node(vec![("/v1/plugins/claims/run", ran)]);
    let (path, ran) = ask(&stub, "plugin run claims --group g --event evt-1 --dry-run");
    assert_eq!(path, "/v1/plugins/claims/run?group=g&event=evt-1&dryRun=true");
    assert_eq!(stub.seen().pop().unwrap().method, "POST");
    ran.expect(0).says(&["0.042 s", "--dry-run", "AddressClaim/c1", "+ v/K/a", "warned\u{fffd}"]);
    let report = json_of(&ask(&stub, "plugin run claims --dry-run -o json --compat routerd").1);
    assert_eq!((&report["outcome"]["durationMs"], &report["dryRun"]), (&json!(42), &json!(true)));
    assert_eq!(report["summary"]["actionPlans"], 1);
    ask(&stub, "plugin run other").1.expect(4).says(&["tidings plugin list"]);
}

#[test]
fn the_doctor_fails_after_it_has_spoken() {
    let failing = node(vec![("/v1/federation/doctor", doctor("fail"))]);
    let (_, ran) = ask(&failing, "doctor federation");
    ran.expect(1).says(&["DOCTOR  FAIL", "AREA", "look at the peer"]);
    assert!(!ran.out.contains("REMEDIATION"), "{ran:#?}");
    let (_, ran) = ask(&failing, "fed doctor --remediation-plan");
    ran.expect(1).says(&["REMEDIATION PLAN  2025-05-30T10:13:10Z  1 action(s)", "retry-failed-deliveries"]);
    let (_, ran) = ask(&failing, "doctor federation --no-host --config x.yaml -o json --compat routerd");
    let report: Value = serde_json::from_str(&ran.expect(1).out).unwrap();
    assert_eq!(report["checks"], doctor("fail")["checks"]);
    assert_eq!(report["remediationPlan"], Value::Null);
    let (_, ran) = ask(&failing, "doctor federation --remediation-plan --json");
    assert_eq!(serde_json::from_str::<Value>(&ran.expect(1).out).unwrap(), doctor("fail"));
    ask(&failing, "doctor").1.expect(1).says(&["dynamic", "SKIP", "FAIL"]);
    let warning = node(vec![("/v1/federation/doctor", doctor("warn"))]);
    ask(&warning, "doctor federation").1.expect(0).says(&["DOCTOR  WARN"]);
    ask(&node(Vec::new()), "doctor federation").1.expect(4).says(&["EventGroup"]);
}
