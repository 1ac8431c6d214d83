//! A node without a socket, and the one `check` through which every route is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use door::journal::Journal;
use door::suite::Plain;
use door::{Access, Limits, Port, Views};
use door_http::{Metrics, MetricsText, Options, router};
use event::Moment;
use http_body_util::BodyExt;
use journal::local::Local;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// 2026-01-31T12:00:00Z.
pub const NOON: u64 = 1_769_860_800_000_000_000;

pub struct Node {
    pub router: Router,
    pub port: Port,
    pub local: Local,
    pub shutdown: CancellationToken,
    pub views: Views,
    clock: Arc<AtomicU64>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

struct Told;

impl Metrics for Told {
    fn text(&self) -> MetricsText<'_> {
        Box::pin(std::future::ready("# TYPE host_figure gauge\nhost_figure 7\n# EOF\n".to_owned()))
    }
}

impl Node {
    pub fn new() -> Self {
        Node::with(Access::open(), Limits::default())
    }

    pub fn with(access: Access, limits: Limits) -> Self {
        let clock = Arc::new(AtomicU64::new(NOON));
        let now = |clock: &Arc<AtomicU64>| {
            let clock = Arc::clone(clock);
            move || Moment::from_nanos(clock.load(Ordering::SeqCst))
        };
        let local = Local::new(Arc::new(now(&clock)));
        let journal: Arc<dyn Journal> = Arc::new(local.clone());
        let port = Port::with_clock(journal, Arc::new(Plain::default()), access, limits, Box::new(now(&clock)));
        let shutdown = CancellationToken::new();
        let views = Views::default();
        let (metrics, shared) = (Arc::new(Told), views.clone());
        let options = Options { metrics, views: shared, shutdown: shutdown.clone(), ..Options::default() };
        Node { router: router(port.clone(), options), port, local, shutdown, views, clock }
    }

    /// The same node through a door on loopback.
    pub fn local(self) -> Self {
        let options = Options { local: true, shutdown: self.shutdown.clone(), ..Options::default() };
        Node { router: router(self.port.clone(), options), ..self }
    }

    /// With the default stream.
    pub async fn with_events() -> Self {
        let node = Node::new();
        node.check("PUT /v1/streams/EVENTS", &[], r#"{"subjects":["events.>"]}"#, 201, &[]).await;
        node
    }

    /// Moves the journal's clock, and the executor's where it is paused.
    pub async fn pass(&self, span: Duration) {
        self.clock.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::SeqCst);
        tokio::time::advance(span).await;
        self.local.tick();
    }

    pub async fn send(&self, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> axum::response::Response {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    pub async fn ask(&self, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let (parts, body) = self.send(line, headers, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Asks, and holds the answer to a status and to texts that its body must have. A refusal must be
    /// a problem of the request's own path.
    pub async fn check(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
        status: u16,
        has: &[&str],
    ) -> Answer {
        let answer = self.ask(line, headers, body).await;
        let text = answer.text();
        assert_eq!(answer.status.as_u16(), status, "{line}: {text}");
        for part in has {
            assert!(text.contains(part), "{line}: no {part} in {text}");
        }
        if status >= 400 && !line.contains("/readyz") && !line.starts_with("HEAD") {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{line}");
            let problem = answer.json();
            let kind = problem["type"].as_str().unwrap();
            assert!(kind.starts_with("https://tidings.dev/problems/"), "{line}: {kind}");
            assert_eq!(problem["status"], status, "{line}");
            assert!(problem["title"].is_string() && problem["detail"].is_string(), "{line}: {text}");
            let path = line.split_once(' ').unwrap().1.split('?').next().unwrap();
            assert_eq!(problem["instance"], path, "{line}");
            let retry = !answer.header("retry-after").is_empty();
            assert_eq!(retry, matches!(status, 429 | 503), "{line}: Retry-After");
        }
        answer
    }

    /// Publishes to a subject.
    pub async fn publish(&self, subject: &str, payload: &'static str) -> u64 {
        let answer = self.check(&format!("POST /v1/publish/{subject}"), &[], payload, 201, &[]).await;
        answer.json()["seq"].as_u64().unwrap()
    }
}

/// The events of a body that goes on, one by one, as text.
pub struct Events {
    body: Body,
    rest: String,
}

impl Events {
    pub fn of(response: axum::response::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), rest: String::new() }
    }

    /// The next block; `None` at the end of the body.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.rest = rest;
                return Some(block);
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.rest.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next block that is no comment: its lines by name.
    pub async fn event(&mut self) -> Option<(String, String, Value)> {
        loop {
            let block = self.next().await?;
            let line = |name: &str| {
                let mut lines = block.lines().filter_map(|line| line.strip_prefix(name));
                let first = lines.next().map(|text| text.strip_prefix(": ").unwrap().to_owned());
                assert!(lines.next().is_none(), "{block}");
                first
            };
            if let Some(data) = line("data") {
                let data = serde_json::from_str(&data).unwrap();
                return Some((line("event").unwrap(), line("id").unwrap_or_default(), data));
            }
        }
    }
}
