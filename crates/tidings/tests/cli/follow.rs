//! What lasts: sending many lines, and following a stream, across interruptions.

use crate::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

const EMIT: [&str; 7] = ["event", "emit", "--ndjson", "--type", "t", "--source", "/s"];

#[allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]
fn ids(seen: &Seen) -> Vec<String> {
    let events: Vec<Value> = serde_json::from_str(&seen.body).unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn acknowledge(seen: &Seen) -> Reply {
    let record = |(place, _)| json!({"stream":"EVENTS","seq":place + 1,"duplicate":place == 0,"subject":"events.t"});
    let events: Vec<Value> = ids(seen).iter().enumerate().map(record).collect();
    Reply::json(201, json!({ "events": events }).to_string())
}

#[test]
fn lines_are_sent_in_order_and_in_batches() {
    let stub = Stub::start(|seen, _| acknowledge(seen));
    let lines: String = (0..250).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    let ran = stub.run(&[&EMIT[..], &["--batch", "100", "--json", "--id", "{n}"]].concat(), &lines);
    let summary: Value = serde_json::from_str(&ran.expect(0).out).unwrap();
    assert_eq!((&summary["lines"], &summary["events"]), (&json!(250), &json!(250)));
    let sent: Vec<String> = stub.seen().iter().flat_map(ids).collect();
    assert_eq!(sent, (0..250).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(stub.seen().iter().all(|seen| seen.method == "POST" && ids(seen).len() <= 100));
    assert_eq!(stub.seen()[0].header("content-type"), Some("application/cloudevents-batch+json"));
}

#[test]
fn each_routing_subject_has_requests_of_its_own() {
    let stub = Stub::start(|seen, _| acknowledge(seen));
    let lines = "{\"by\":\"Ada\"}\n{\"by\":\"Ada\"}\n{\"by\":\"Bo B.\"}\n{\"by\":\"Ada\"}\n";
    stub.run(&[&EMIT[..], &["--to", "events.by.{by}", "--id", "{by}"]].concat(), lines).expect(0);
    let mut sent: Vec<(String, String)> = Vec::new();
    for seen in stub.seen() {
        sent.extend(ids(&seen).into_iter().map(|id| (seen.path.clone(), id)));
    }
    let expected = ["Ada", "Ada", "Bo%2520B%252E", "Ada"].map(|by| format!("/v1/events?subject=events.by.{by}"));
    assert_eq!(sent.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_busy_node_is_asked_again_with_the_same_bytes() {
    let stub = Stub::start(|seen, before| match before {
        0 => Reply::problem(503, "The journal is closed", "starting"),
        1 => Reply::problem(429, "The node is busy", "much").with("retry-after", "0"),
        _ => acknowledge(seen),
    });
    stub.run(&EMIT, "1\n2\n").expect(0).says(&["2 events"]);
    let bodies: Vec<String> = stub.seen().into_iter().map(|seen| seen.body).collect();
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2], "{bodies:#?}");
}

#[test]
fn a_run_that_was_cut_off_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state");
    let line = [&EMIT[..], &["--batch", "2", "--id", "{n}", "--resume", file.to_str().unwrap()]].concat();
    let lines = |numbers: std::ops::Range<u64>| numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>();
    let broken = Stub::start(|seen, _| match ids(seen).contains(&"3".to_owned()) {
        true => Reply::problem(400, "The event is malformed", "event 0: bad"),
        false => acknowledge(seen),
    });
    broken.run(&line, &lines(0..6)).expect(1).says(&["malformed", "line", "--resume"]);
    let acknowledged: usize =
        broken.seen().iter().filter(|seen| !seen.body.contains("\"3\"")).map(|s| ids(s).len()).sum();
    assert!(acknowledged <= 3);
    let whole = Stub::start(|seen, _| acknowledge(seen));
    whole.run(&line, &lines(0..6)).expect(0).says(&["acknowledged before"]);
    let sent: Vec<String> = whole.seen().iter().flat_map(ids).collect();
    assert_eq!(sent, (acknowledged..6).map(|n| n.to_string()).collect::<Vec<_>>());
    let more = Stub::start(|seen, _| acknowledge(seen));
    more.run(&line, &lines(0..8)).expect(0);
    assert_eq!(more.seen().iter().flat_map(ids).collect::<Vec<_>>(), ["6", "7"]);
    more.run(&line, &lines(1..9)).expect(2).says(&["not the input"]);
}

#[test]
fn a_faulty_line_is_named_and_those_before_it_are_sent() {
    let stub = Stub::start(|seen, _| acknowledge(seen));
    stub.run(&[&EMIT[..], &["--id", "{n}"]].concat(), "{\"n\":1}\n{\"n\":2}\nnonsense\n{\"n\":4}\n")
        .expect(2)
        .says(&["line 3 makes no event", "every line up to 2"]);
    assert_eq!(stub.seen().iter().flat_map(ids).collect::<Vec<_>>(), ["1", "2"]);
}

fn told(seq: u64) -> String {
    let message = json!({"stream":"EVENTS","seq":seq,"time":"2026-01-31T12:00:00Z","subject":"events.t",
        "headers":{},"data":format!("d{seq}"),"event":{"type":"t","source":"/s"}});
    format!("id: {seq}\nevent: message\ndata: {message}\n\n")
}

#[test]
fn following_is_taken_up_again_where_it_was_cut() {
    let stub = Stub::start(|seen, before| {
        let body = match (seen.path.contains("/messages"), before) {
            (false, _) => {
                let state = json!({"messages": 4, "first_seq": 1, "last_seq": 4});
                return Reply::json(200, json!({"config": {}, "state": state}).to_string());
            }
            (true, 1) => format!(": heartbeat\n\n{}{}id: 7\ndata: cut", told(5), told(6)),
            (true, 2) => return Reply::problem(503, "The journal is closed", "restarting"),
            (true, _) => format!("{}{}", told(7), told(8)),
        };
        Reply { status: 200, headers: vec![("content-type", "text/event-stream".into())], body }
    });
    let ran = stub.run(&["event", "tail", "--count", "4", "--json", "--raw"], "");
    let seqs: Vec<u64> = ran
        .expect(0)
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [5, 6, 7, 8]);
    let seen = stub.seen();
    let resumed: Vec<Option<&str>> = seen[1..].iter().map(|seen| seen.header("last-event-id")).collect();
    assert_eq!(resumed, [Some("4"), Some("6"), Some("6")]);
    assert!(seen[1..].iter().all(|seen| seen.header("accept") == Some("text/event-stream")));
}

#[test]
fn following_ends_when_the_stream_is_gone() {
    let stub = Stub::start(|_, _| {
        let problem = json!({"title": "There is no such stream", "status": 404, "detail": "EVENTS"});
        let damaged = "event: damaged\ndata: {\"damaged\":[2,3]}\n\n";
        let body = format!("{damaged}{}event: error\ndata: {problem}\n\n", told(4));
        Reply { status: 200, headers: vec![("content-type", "text/event-stream".into())], body }
    });
    let ran = stub.run(&["event", "tail", "--from", "1"], "");
    ran.expect(4).says(&["d4", "no such stream", "2 damaged records from position 2 to 3"]);
}
