//! When the node must push back: a disk that is slow, full, or gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use door::journal::*;
use door::suite::Plain;
use door::{Access, Limits, Port};
use event::{Moment, Pattern, Subject};
use journal::local::Local;

use crate::support::Node;

type Kept = (Append, Done<Result<Receipt, AppendError>>);

/// A journal that keeps appends waiting, or refuses them, as it is told.
struct Stuck {
    local: Local,
    kept: Mutex<Vec<Kept>>,
    refusal: Mutex<Option<AppendError>>,
    health: Mutex<Health>,
}

impl Journal for Stuck {
    fn append(&self, append: Append, done: Done<Result<Receipt, AppendError>>) {
        let refusal = self.refusal.lock().unwrap().clone();
        match refusal {
            Some(error) => done(Err(error)),
            None => self.kept.lock().unwrap().push((append, done)),
        }
    }

    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>) {
        self.local.append_all(appends, done);
    }

    fn version(&self) -> u64 {
        self.local.version()
    }

    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>> {
        self.local.deleted(stream, from, limit)
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }

    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.local.stream_create(config)
    }

    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.local.stream_update(config)
    }

    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>> {
        self.local.stream_delete(stream)
    }

    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>> {
        self.local.stream_info(stream)
    }

    fn streams(&self) -> Answer<Vec<StreamInfo>> {
        self.local.streams()
    }

    fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.local.captured_by(subject)
    }

    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>> {
        self.local.subjects(stream, pattern, after, limit)
    }

    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>> {
        self.local.purge(stream, purge)
    }

    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>> {
        self.local.delete(stream, seq)
    }

    fn read(&self, stream: &str, mut read: Read) -> Answer<Result<Page, ReadError>> {
        // Position 7 is damaged, wherever a read passes it.
        let damaged = read.start == Start::Seq(7);
        read.wait = None;
        let page = self.local.read(stream, read);
        Box::pin(async move {
            page.await.map(|page| if damaged { Page { damaged: vec![7], next: 8, ..page } } else { page })
        })
    }

    fn get(&self, _stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>> {
        ready(Err(if seq == 7 { ReadError::Damaged(7) } else { ReadError::Storage("input/output error".into()) }))
    }

    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>> {
        self.local.last(stream, pattern)
    }

    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.local.consumer_create(stream, config)
    }

    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.local.consumer_update(stream, config)
    }

    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        self.local.consumer_delete(stream, consumer)
    }

    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.local.consumer_info(stream, consumer)
    }

    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        self.local.consumers(stream)
    }

    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.local.consumer_pause(stream, consumer, until)
    }

    fn fetch(&self, _stream: &str, _consumer: &str, _fetch: Fetch, sink: Box<dyn Sink>) {
        sink.end(FetchEnd::Failed(FetchError::Waiting { max: 512 }));
    }

    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        self.local.acknowledge(token, ack, synced, done);
    }

    fn close(&self) -> Answer<()> {
        self.local.close()
    }
}

async fn stuck(limits: Limits) -> (Node, Arc<Stuck>) {
    let mut node = Node::with(Access::open(), limits);
    node.check("PUT /v1/streams/S", &[], r#"{"subjects":["a.>"]}"#, 201, &[]).await;
    let stuck = Arc::new(Stuck {
        local: node.local.clone(),
        kept: Mutex::default(),
        refusal: Mutex::default(),
        health: Mutex::default(),
    });
    let journal: Arc<dyn Journal> = stuck.clone();
    node.port = Port::new(journal, Arc::new(Plain::default()), Access::open(), limits);
    node.router = door_http::router(node.port.clone(), door_http::Options::default());
    (node, stuck)
}

#[tokio::test]
async fn too_much_in_flight_is_429_until_there_is_room() {
    let (node, stuck) = stuck(Limits { in_flight_bytes_max: 100, ..Limits::default() }).await;
    let router = node.router.clone();
    let first = tokio::spawn(async move {
        let request =
            axum::http::Request::post("/v1/publish/a.b").body(axum::body::Body::from("x".repeat(200))).unwrap();
        tower::ServiceExt::oneshot(router, request).await.unwrap().status()
    });
    while stuck.kept.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    node.check("POST /v1/publish/a.b", &[], "x", 429, &["busy"]).await;
    node.check("GET /readyz", &[], "", 503, &["in flight"]).await;
    for (append, done) in std::mem::take(&mut *stuck.kept.lock().unwrap()) {
        stuck.local.append(append, done);
    }
    assert_eq!(first.await.unwrap(), 201);
    assert_eq!(node.port.in_flight_bytes(), 0);
    node.check("GET /readyz", &[], "", 200, &[]).await;
}

#[tokio::test]
async fn a_disk_that_fails_is_503_and_says_so() {
    let (node, stuck) = stuck(Limits::default()).await;
    let event = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    for (error, status, has) in [
        (AppendError::Storage("no space left".into()), 503, "no space left"),
        (AppendError::Closed("a sync failed".into()), 503, "a sync failed"),
        (AppendError::Busy, 429, "busy"),
    ] {
        *stuck.refusal.lock().unwrap() = Some(error);
        node.check("POST /v1/publish/a.b", &[], "x", status, &[has]).await;
        node.check("POST /v1/events", &event, "x", status, &[has]).await;
        let batch = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
        let headers = [("content-type", "application/cloudevents-batch+json")];
        node.check("POST /v1/events", &headers, batch, status, &[has, r#""index":0"#, r#""recorded":0"#]).await;
    }
    node.check("GET /v1/streams/S/messages/1", &[], "", 503, &["input/output error"]).await;
    node.check("PUT /v1/streams/S/consumers/c", &[], "{}", 201, &[]).await;
    node.check("POST /v1/streams/S/consumers/c/fetch", &[], "", 429, &["busy"]).await;
}

#[tokio::test]
async fn readiness_names_what_is_wrong() {
    let (node, stuck) = stuck(Limits::default()).await;
    let nanos = u64::try_from(Duration::from_secs(6).as_nanos()).unwrap();
    *stuck.health.lock().unwrap() = Health { waiting: 3, oldest_nanos: nanos, ..Health::default() };
    node.check("GET /readyz", &[], "", 503, &["stalled", r#""waiting":3"#, r#""oldest_ms":6000"#]).await;
    *stuck.health.lock().unwrap() = Health { refusing: Some("the disk is full".into()), ..Health::default() };
    node.check("GET /readyz", &[], "", 503, &["the disk is full"]).await;
    node.check("GET /healthz", &[], "", 200, &[]).await;
}

#[tokio::test]
async fn damage_is_told_and_never_skipped_in_silence() {
    let (node, _) = stuck(Limits::default()).await;
    node.check("GET /v1/streams/S/messages/7", &[], "", 500, &["damaged", r#""seq":7"#]).await;
    node.check("GET /v1/streams/S/messages?from=7", &[], "", 200, &[r#""damaged":[7]"#]).await;
    let line = "GET /v1/streams/S/messages?from=7";
    let mut events = crate::support::Events::of(node.send(line, &[("accept", "text/event-stream")], "").await);
    let (name, _, data) = events.event().await.unwrap();
    assert_eq!((name.as_str(), &data["damaged"]), ("damaged", &serde_json::json!([7])));
}
