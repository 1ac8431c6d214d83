//! What is asked over HTTP: upgrades and their refusals, posted events, status, health, log level.

use door_hub::Options;
use serde_json::Value;

use crate::support::{Client, get, post, request, serve, usual};

#[tokio::test]
async fn upgrades_are_refused_as_the_original_refuses_them() {
    let served = usual().await;
    let at = served.address;
    assert_eq!(get(at, "/connect/Messenger").await, (400, "invalid connection type".into()));
    let (status, head, _) = request(at, "GET /connect/messenger HTTP/1.1", b"").await;
    assert!(status == 400 && head.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{head}");
    for (head, expected) in [
        ("POST /connect/messenger HTTP/1.1", 405),
        ("GET /event HTTP/1.1", 405),
        ("PUT /status HTTP/1.1", 405),
        ("GET /nothing HTTP/1.1", 404),
        ("GET /connect/a/b HTTP/1.1", 404),
        ("OPTIONS /event HTTP/1.1", 204),
    ] {
        let (status, answer, _) = request(at, head, b"").await;
        assert_eq!(status, expected, "{head}");
        assert!(answer.to_ascii_lowercase().contains("access-control-allow-origin: *"), "{answer}");
    }
    let own = format!("http://{at}");
    for (origin, expected) in [("http://elsewhere:7100", Some(403)), ("null", Some(403)), (&*own, None)] {
        let refused = Client::with(at, "/connect/messenger", &[("Origin", origin)]).await.err();
        assert_eq!(refused, expected, "{origin}");
    }
    for path in ["/connect/messenger/", "/connect/hub", "/connect/repeater"] {
        Client::new(at, path).await.settle().await;
    }
    let listed = serve(Options { origins: vec!["http://Elsewhere:7100".into()], ..Options::default() }).await;
    let origin = [("Origin", "http://elsewhere:7100")];
    assert!(Client::with(listed.address, "/connect/messenger", &origin).await.is_ok());
}

#[tokio::test]
async fn posted_events_are_taken_or_refused_in_the_originals_words() {
    let served = usual().await;
    let mut here = served.messenger(&["*"]).await;
    let body = "{ \"affected-room\" : {\"roomID\":\"ITB-1101\"}, \"value\":\"<&>\" }\n";
    assert_eq!(post(served.address, "/event", body).await, (200, "Processing event".into()));
    here.hears(&format!("ITB-1101\n{body}")).await;
    assert_eq!(post(served.address, "/event/", "{}").await.0, 200);
    here.hears("\n{}").await;
    for bad in ["", "x", "[]", r#"{"timestamp":"yesterday"}"#, r#"{"key":1}"#] {
        let (status, why) = post(served.address, "/event", bad).await;
        assert!(status == 400 && why.starts_with("unable to unmarshal body: "), "{bad}: {status} {why}");
    }
    let long = format!(r#"{{"affected-room":{{"roomID":"{}"}}}}"#, "a".repeat(2000));
    assert_eq!(post(served.address, "/event", &long).await.0, 400);
    let huge = format!(r#"{{"value":"{}"}}"#, "a".repeat(2_000_000));
    assert_eq!(post(served.address, "/event", &huge).await.0, 413);
    here.settle().await;
    assert_eq!((served.dropped("room-too-long"), served.dropped("too-large")), (1, 1));
}

#[tokio::test]
async fn status_says_who_is_connected_and_what_waits() {
    let served = usual().await;
    let mut here = served.messenger(&["A", "B"]).await;
    let mut hub = served.client("hub").await;
    hub.settle().await;
    here.settle().await;
    let (status, body) = get(served.address, "/status").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["statuscode"], &body["bin"]), (200, &"healthy".into(), &"tidings".into()));
    assert!(body["uptime"].as_str().unwrap().ends_with('s') && body["version"].is_string());
    let nexus = &body["info"]["nexus"];
    let id = nexus["messengers"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("127.0.0.1:") && id.ends_with("messenger"), "{id}");
    assert!(nexus["hubs"][0]["id"].as_str().unwrap().ends_with("hub"));
    assert_eq!(nexus["messenger-mapping"]["B"][0], nexus["messengers"][0]);
    assert_eq!(nexus["messengers"][0]["buffer-utilization"], 0);
    for buffer in ["registration-buffer", "distribution-buffer"] {
        assert!(nexus[buffer]["buffer-capacity"].is_number(), "{buffer}");
    }
    let (status, health) = get(served.address, "/health/").await;
    assert!(status == 200 && health.starts_with('"'), "{health}");
    let (_, level) = get(served.address, "/log-level").await;
    assert_eq!(level, r#"{"log-level":"warn"}"#);
    let (status, _, level) = request(served.address, "PUT /log-level/info HTTP/1.1", b"").await;
    assert_eq!((status, &*level), (200, r#"{"log-level":"info"}"#));
    assert_eq!(request(served.address, "PUT /log-level/loud HTTP/1.1", b"").await.0, 400);
    let (status, body) = get(served.repeater, "/status").await;
    assert!(status == 200 && body.contains("pumping-stations"), "{body}");
    let listing = served.door.status();
    assert_eq!(listing["connections"].as_array().unwrap().len(), 2);
}
