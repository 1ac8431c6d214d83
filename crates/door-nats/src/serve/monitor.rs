//! Monitoring over HTTP: what tools that watch NATS servers ask for.
//!
//! `GET /varz`, `/connz`, `/subsz`, `/jsz`, `/healthz`, and `/` with links to them. The names of the
//! fields are NATS's. Nothing here changes anything, and no answer holds a secret.

mod answers;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::session::Shared;
use answers::Asked;

/// Requests that are answered at a time; more wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take over its request.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until the door closes.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stopping: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let (socket, place) = match (accepted, Arc::clone(&places).acquire_owned().await) {
            (Ok((socket, _)), Ok(place)) => (socket, place),
            (Ok(_), Err(_)) => return,
            (Err(error), _) => {
                warn!(%error, "cannot take a monitoring connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (shared, stopping) = (Arc::clone(&shared), stopping.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
            tokio::select! {
                served = server.serve_connection(TokioIo::new(socket), service) => {
                    if let Err(error) = served {
                        debug!(%error, "a monitoring connection ended");
                    }
                }
                () = stopping.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = Asked::of(request.uri().query().unwrap_or_default());
    let said = if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        refused
    } else {
        match request.uri().path() {
            "/" => page(),
            "/varz" => json(StatusCode::OK, &answers::varz(&shared).await),
            "/connz" => json(StatusCode::OK, &answers::connz(&shared, &asked)),
            "/subsz" | "/subscriptionsz" => json(StatusCode::OK, &answers::subsz(&shared, &asked)),
            "/jsz" => json(StatusCode::OK, &answers::jsz(&shared, &asked).await),
            "/healthz" => {
                let (status, said) = answers::healthz(&shared);
                json(status, &said)
            }
            "/routez" | "/gatewayz" | "/leafz" | "/accountz" => {
                let why = "this node has no routes, gateways, leaf nodes or accounts in NATS's sense\n";
                text(StatusCode::NOT_FOUND, why)
            }
            _ => text(StatusCode::NOT_FOUND, "ask for /varz, /connz, /subsz, /jsz or /healthz\n"),
        }
    };
    Ok(said)
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut bytes = serde_json::to_vec_pretty(body).unwrap_or_default();
    bytes.push(b'\n');
    response(status, "application/json", bytes)
}

fn page() -> Response<Full<Bytes>> {
    let links: String = ["varz", "connz", "subsz", "jsz", "healthz"]
        .iter()
        .map(|name| format!("<li><a href=\"/{name}\">{name}</a></li>"))
        .collect();
    let body = format!("<!doctype html><title>Tidings, NATS monitoring</title><ul>{links}</ul>\n");
    response(StatusCode::OK, "text/html; charset=utf-8", body)
}
