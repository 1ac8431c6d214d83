//! What the node says of itself: `/`, `/healthz`, `/readyz`, `/metrics`, `/openapi.json`.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::STALLED_AFTER;
use crate::serve::Shared;
use crate::session::call::json;

const INDEX: &str = "\
Tidings: an event fabric. What is here:

  POST /v1/events                         record an event (CloudEvents: binary, structured, batch)
  GET  /v1/events/{id}                    one event, by its id
  POST /v1/publish/{subject}              publish any bytes
  GET  /v1/subscribe?subject=PATTERN      hear what is published now (server-sent events)
  GET  /v1/streams                        the streams
  GET  /v1/streams/{stream}/messages      read a stream; Accept: text/event-stream follows it
  GET  /v1/streams/{stream}/consumers     its consumers
  GET  /v1/views                          what is true now; /v1/views/{view}[/{key}]
  GET  /openapi.json                      everything, described
  GET  /metrics /healthz /readyz          how the node is

Try:

  curl -X POST localhost:7070/v1/events -H 'ce-specversion: 1.0' -H 'ce-id: 1' \\
       -H 'ce-source: /me' -H 'ce-type: com.example.hello' -d 'hello'
  curl -N -H 'Accept: text/event-stream' localhost:7070/v1/streams/EVENTS/messages
";

/// What there is, for people.
#[utoipa::path(get, path = "/", tag = "node",
    responses((status = 200, description = "A page of text", content_type = "text/plain", body = String)))]
pub async fn get_index() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], INDEX).into_response()
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "node",
    responses((status = 200, description = "It is", content_type = "text/plain", body = String)))]
pub async fn get_healthz() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "alive\n").into_response()
}

/// Whether the node can accept and acknowledge.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether it can.
    ready: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Appends taken in and not yet acknowledged.
    waiting: u64,
    /// How long the oldest of them has waited, in milliseconds.
    oldest_ms: u64,
    /// Damaged records found since the journal was opened.
    damaged: u64,
}

/// Whether the node can accept and acknowledge.
///
/// It cannot where the journal refuses, where an append has waited for 5 seconds, where appends fill
/// what may be in flight, where the hub door is stuck, or where it is shutting down.
#[utoipa::path(get, path = "/readyz", tag = "node",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot", body = Readiness),
    ))]
pub async fn get_readyz(State(door): State<Shared>) -> Response {
    let (health, limits) = (door.port.health(), door.port.limits());
    let oldest = Duration::from_nanos(health.oldest_nanos);
    let reason = if door.options.shutdown.is_cancelled() {
        Some("the node is shutting down".to_owned())
    } else if let Some(reason) = health.refusing {
        Some(reason)
    } else if oldest >= STALLED_AFTER {
        Some(format!("the disk is stalled: an append has waited for {} s", oldest.as_secs()))
    } else if door.port.in_flight_bytes() >= limits.in_flight_bytes_max {
        Some("appends fill what may be in flight".to_owned())
    } else {
        door.options.hub.ailment().or_else(|| door.options.mesh.ailment())
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let oldest_ms = u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX);
    let (waiting, damaged) = (health.waiting, health.damaged);
    json(status, &Readiness { ready: reason.is_none(), reason, waiting, oldest_ms, damaged })
}

/// The node's metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "node",
    responses((status = 200, description = "Prometheus text, or OpenMetrics where it is asked for",
        content_type = "text/plain", body = String)))]
pub async fn get_metrics(State(door): State<Shared>, headers: HeaderMap) -> Response {
    let mut text = door.options.metrics.text().await;
    // The end mark belongs at the end of everything.
    let end = text.strip_suffix("# EOF\n").map_or(text.len(), str::len);
    text.truncate(end);
    door.meters.write(&mut text);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/openmetrics-text") {
        text.push_str("# EOF\n");
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return ([(header::CONTENT_TYPE, media_type)], text).into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "node",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)))]
pub async fn get_openapi(State(door): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], door.document()).into_response()
}
