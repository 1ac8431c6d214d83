//! The CloudEvents intake.

use crate::support::Node;

const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "/s"),
    ("ce-type", "com.example.made"),
    ("content-type", "text/plain"),
];
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=utf-8");

fn structured(id: &str, rest: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t.made"{rest}}}"#)
}

#[tokio::test]
async fn a_binary_event_comes_back_byte_for_byte() {
    let node = Node::with_events().await;
    let headers: Vec<_> = BINARY.into_iter().chain([("ce-subject", "Euro%20%E2%82%AC"), ("ce-myext", "5")]).collect();
    let body: &[u8] = b"a\0\xff\r\nb";
    let receipt = node.check("POST /v1/events", &headers, body, 201, &[]).await.json();
    let expected = r#"{"stream":"EVENTS","seq":1,"duplicate":false,"subject":"events.com.example.made"}"#;
    assert_eq!(receipt, serde_json::from_str::<serde_json::Value>(expected).unwrap());

    let back = node.check("GET /v1/streams/EVENTS/messages/1?raw=true", &[], "", 200, &[]).await;
    assert_eq!(back.body, body);
    for (name, value) in headers {
        assert_eq!(back.header(name), value);
    }
    assert_eq!(back.header("tidings-seq"), "1");
    assert_eq!(back.header("x-content-type-options"), "nosniff");
    let event = node.check("GET /v1/streams/EVENTS/messages/1", &[], "", 200, &[]).await.json()["event"].clone();
    assert_eq!((&event["subject"], &event["myext"]), (&"Euro €".into(), &"5".into()));
    assert_eq!(event["data_base64"], "YQD/DQpi");
}

#[tokio::test]
async fn a_structured_event_comes_back_byte_for_byte() {
    let node = Node::with_events().await;
    let data = r#"{ "b":1.0,"a" : [1e2, "é\u00e9"],"a":2}"#;
    let body = structured("1", &format!(r#","zz":"z","datacontenttype":"application/json","data":{data}"#));
    node.check("POST /v1/events", &[STRUCTURED], body.clone(), 201, &[r#""seq":1"#]).await;
    let accept = [("accept", "application/cloudevents+json")];
    let back = node.check("GET /v1/streams/EVENTS/messages/1", &accept, "", 200, &[]).await;
    assert_eq!(back.text(), body);
    assert_eq!(back.header("content-type"), "application/cloudevents+json");
    let raw = [("accept", "application/octet-stream")];
    assert_eq!(node.check("GET /v1/streams/EVENTS/messages/1", &raw, "", 200, &[]).await.text(), data);
    let batch = [("accept", "application/cloudevents-batch+json")];
    let list = node.check("GET /v1/streams/EVENTS/messages", &batch, "", 200, &[]).await;
    assert_eq!((list.text(), list.header("tidings-next")), (format!("[{body}]"), "2"));
}

#[tokio::test]
async fn the_same_source_and_id_is_a_duplicate() {
    let node = Node::with_events().await;
    node.check("POST /v1/events", &BINARY, "a", 201, &[r#""duplicate":false"#]).await;
    node.check("POST /v1/events", &BINARY, "a", 201, &[r#""seq":1"#, r#""duplicate":true"#]).await;
    let other: Vec<_> = BINARY.iter().map(|(n, v)| if *n == "ce-source" { (*n, "/o") } else { (*n, *v) }).collect();
    node.check("POST /v1/events", &other, "a", 201, &[r#""seq":2"#, r#""duplicate":false"#]).await;
}

#[tokio::test]
async fn a_batch_is_judged_whole() {
    let node = Node::with_events().await;
    let faulty = format!("[{},{}]", structured("1", ""), structured("2", r#","time":"never""#));
    let has = [r#""index":1"#, r#""attribute":"time""#];
    node.check("POST /v1/events", &[BATCH], faulty, 400, &has).await;
    node.check("GET /v1/streams/EVENTS/messages", &[], "", 200, &[r#""messages":[]"#, r#""last":0"#]).await;
    let good = format!("[{},{}]", structured("1", ""), structured("2", ""));
    let receipts = node.check("POST /v1/events", &[BATCH], good, 201, &[]).await.json();
    assert_eq!((&receipts["events"][0]["seq"], &receipts["events"][1]["seq"]), (&1.into(), &2.into()));
    node.check("POST /v1/events", &[BATCH], "[]", 201, &[r#"{"events":[]}"#]).await;
}

#[tokio::test]
async fn the_subject_and_the_lifetime_can_be_named() {
    let node = Node::with_events().await;
    let line = "POST /v1/events?subject=events.mine&ttl=1h";
    node.check(line, &BINARY, "a", 201, &[r#""subject":"events.mine""#]).await;
    node.check("POST /v1/events?subject=other", &BINARY, "a", 404, &["no-stream", r#""subject":"other""#]).await;
    node.check("POST /v1/events?subject=events.*", &BINARY, "a", 400, &["invalid-subject"]).await;
    node.check("POST /v1/events?ttl=0", &BINARY, "a", 400, &[r#""parameter":"ttl""#]).await;
    node.check("POST /v1/events?tll=1h", &BINARY, "a", 400, &[r#""parameter":"tll""#]).await;
}

#[tokio::test]
async fn a_faulty_event_is_refused_by_its_attribute() {
    let node = Node::with_events().await;
    for missing in ["ce-specversion", "ce-id", "ce-source", "ce-type"] {
        let headers: Vec<_> = BINARY.into_iter().filter(|(name, _)| *name != missing).collect();
        let named = format!(r#""attribute":"{}""#, missing.trim_start_matches("ce-"));
        node.check("POST /v1/events", &headers, "", 400, &[&named]).await;
    }
    for (name, value, named) in [
        ("ce-time", "yesterday", "time"),
        ("ce-specversion", "0.3", "specversion"),
        ("ce-dataschema", "relative", "dataschema"),
        ("ce-bad-name", "x", "bad-name"),
        ("content-type", "nothing", "datacontenttype"),
    ] {
        let others = BINARY.into_iter().filter(|(each, _)| *each != name);
        let headers: Vec<_> = others.chain([(name, value)]).collect();
        node.check("POST /v1/events", &headers, "", 400, &[&format!(r#""attribute":"{named}""#)]).await;
    }
    let twice: Vec<_> = BINARY.into_iter().chain([("ce-id", "2")]).collect();
    node.check("POST /v1/events", &twice, "", 400, &[r#""attribute":"id""#]).await;
    node.check("POST /v1/events", &[("content-type", "application/json")], "{}", 400, &["no CloudEvent"]).await;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for (body, has) in [
        ("{".to_owned(), "line 1"),
        ("[]".to_owned(), "JSON object"),
        ("null".to_owned(), "JSON object"),
        (structured("1", r#","data":{"a":}"#), "line 1"),
        (structured("1", r#","ext":{"a":1}"#), r#""attribute":"ext""#),
        (structured("1", "") + "x", "trailing"),
        (deep, "JSON object"),
    ] {
        node.check("POST /v1/events", &[STRUCTURED], body, 400, &[has]).await;
    }
    node.check("POST /v1/events", &[STRUCTURED], &b"{\"a\":\"\xff\"}"[..], 400, &["UTF-8"]).await;
    node.check("GET /v1/streams/EVENTS/messages", &[], "", 200, &[r#""last":0"#]).await;
}

#[tokio::test]
async fn formats_that_are_not_spoken_are_415() {
    let node = Node::with_events().await;
    for media_type in ["application/cloudevents+avro", "application/cloudevents+json; charset=latin1"] {
        node.check("POST /v1/events", &[("content-type", media_type)], "{}", 415, &["media-type"]).await;
    }
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let node = Node::with_events().await;
    let large = "x".repeat(1024 * 1024 + 1);
    node.check("POST /v1/events", &BINARY, large.clone(), 413, &[r#""max":1048576"#]).await;
    let length = [("content-length", "99999999999")];
    let headers: Vec<_> = BINARY.into_iter().chain(length).collect();
    node.check("POST /v1/events", &headers, "", 413, &[]).await;
    let body = structured("1", &format!(r#","data":"{large}""#));
    node.check("POST /v1/events", &[STRUCTURED], body.clone(), 413, &[r#""max":1048576"#]).await;
    let has = [r#""index":1"#, r#""max":1048576"#];
    node.check("POST /v1/events", &[BATCH], format!("[{},{body}]", structured("0", "")), 413, &has).await;
    node.check("GET /v1/streams/EVENTS/messages", &[], "", 200, &[r#""last":0"#]).await;
}

#[tokio::test]
async fn an_event_is_found_by_its_id() {
    let node = Node::with_events().await;
    for id in ["1", "two%2F", "3"] {
        node.check("POST /v1/events", &[STRUCTURED], structured(id, ""), 201, &[]).await;
    }
    node.check("GET /v1/events/two%252F", &[], "", 200, &[r#""seq":2"#, r#""id":"two%2F""#]).await;
    node.check("GET /v1/events/3?source=/s&since=1h", &[], "", 200, &[r#""seq":3"#]).await;
    node.check("GET /v1/events/3?source=/o", &[], "", 404, &["no-message", r#""looked":3"#]).await;
    node.check("GET /v1/events/3?stream=NONE", &[], "", 404, &["no-stream"]).await;
    node.check("GET /v1/events/3?since=later", &[], "", 400, &[r#""parameter":"since""#]).await;
}
