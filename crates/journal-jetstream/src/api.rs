//! Requests to the server's interface, tried again while the cluster has no leader for them.
//!
//! A request that changes something is sent again when no answer came, so its effect may have taken
//! place at the first sending: who calls knows what a second answer then means.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::limits::{REQUEST_DEADLINE, REQUEST_TIMEOUT, RETRY_PAUSE};
use crate::wire::{ApiError, Refusal};

/// Prefix of the interface's subjects.
pub(crate) const API: &str = "$JS.API.";

/// Why a request gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The server refused it.
    #[error(transparent)]
    Refused(ApiError),
    /// Nobody answered in time.
    #[error("{0}")]
    Unreachable(String),
}

impl Fault {
    /// The server's number for what is wrong; 0 where it said nothing.
    pub(crate) fn number(&self) -> u32 {
        match self {
            Fault::Refused(error) => error.err_code,
            Fault::Unreachable(_) => 0,
        }
    }
}

/// Whether a refusal is of the moment: no leader, not yet assigned, or one that steps down.
pub(crate) fn is_passing(error: &ApiError) -> bool {
    matches!(error.err_code, 10006..=10009 | 10118 | 10158) || error.code == 429
}

/// Sends a request and reads its answer.
pub(crate) async fn call<T: DeserializeOwned>(client: &Client, subject: &str, body: &Value) -> Result<T, Fault> {
    call_noting(client, subject, body).await.map_err(|(fault, _)| fault)
}

/// As [`call`], and says of a fault whether the request was sent more than once.
pub(crate) async fn call_noting<T: DeserializeOwned>(
    client: &Client,
    subject: &str,
    body: &Value,
) -> Result<T, (Fault, bool)> {
    let deadline = Instant::now() + REQUEST_DEADLINE;
    let (mut pause, mut again) = (RETRY_PAUSE.0, false);
    loop {
        let fault = match once(client, subject, body).await {
            Ok(value) => return Ok(value),
            Err(Once::Refused(error)) if !is_passing(&error) => return Err((Fault::Refused(error), again)),
            Err(Once::Refused(error)) => Fault::Refused(error),
            Err(Once::Passing(reason)) => Fault::Unreachable(reason),
        };
        if Instant::now() + pause >= deadline {
            return Err((fault, again));
        }
        sleep(pause).await;
        (pause, again) = ((pause * 2).min(RETRY_PAUSE.1), true);
    }
}

enum Once {
    Refused(ApiError),
    Passing(String),
}

async fn once<T: DeserializeOwned>(client: &Client, subject: &str, body: &Value) -> Result<T, Once> {
    let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::new().payload(payload.into()).timeout(Some(REQUEST_TIMEOUT));
    let full = format!("{API}{subject}");
    let message = client.send_request(full, request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => Once::Passing(String::from("no server answers for JetStream")),
        RequestErrorKind::TimedOut => Once::Passing(String::from("the servers did not answer in time")),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            Once::Refused(ApiError { code: 400, err_code: 10025, description: error.to_string() })
        }
        RequestErrorKind::Other => Once::Passing(error.to_string()),
    })?;
    parse(&message.payload)
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Once> {
    let strange = |error: serde_json::Error| Once::Passing(format!("an answer that is not understood: {error}"));
    let refusal: Refusal = serde_json::from_slice(payload).map_err(strange)?;
    match refusal.error {
        Some(error) => Err(Once::Refused(error)),
        None => serde_json::from_slice(payload).map_err(strange),
    }
}

/// Nanoseconds, as the interface counts spans.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}
