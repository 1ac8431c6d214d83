//! A view as a node tells it: server-sent events, taken apart.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderName};
use serde_json::Value;
use tokio::time::timeout;

use crate::replica::error::ReplicaError;
use crate::replica::http::{Server, bearer, refusal, secret};
use crate::replica::row::Told;
use crate::replica::spec::ReplicaSpec;
use crate::sse::{SseEvent, SseParser};

/// Silence after which a node is taken for lost; several of its signs of life.
const SILENCE: Duration = Duration::from_secs(60);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What is told of a view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    /// All rows follow: so many.
    Snapshot(u64),
    /// A row, and where the reader is with it.
    Put(Box<Told>, Option<String>),
    /// A row went.
    Remove(String, Option<String>),
    /// The snapshot is complete; or what was missed has come.
    End(String),
}

/// An open following.
pub(crate) struct Source {
    body: Incoming,
    parser: SseParser,
}

impl Source {
    /// Follows the view, from behind a cursor, with a new snapshot where that is asked for.
    pub(crate) async fn open(
        server: &Server,
        spec: &ReplicaSpec,
        after: Option<&str>,
        anew: bool,
    ) -> Result<Self, ReplicaError> {
        let mut headers = vec![(ACCEPT, String::from("text/event-stream"))];
        if let Some(after) = after {
            headers.push((LAST_EVENT_ID, after.to_owned()));
        }
        if let Some(file) = &spec.token_file {
            headers.push(bearer(&secret(file).await?));
        }
        let query = if anew { "?snapshot=true" } else { "" };
        let answer = server.get(&format!("/v1/views/{}{query}", escaped(&spec.view)), &headers).await?;
        Ok(Source { body: answer.into_body(), parser: SseParser::default() })
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Result<Frame, ReplicaError> {
        loop {
            while let Some(event) = self.parser.next_event() {
                if let Some(frame) = frame(event)? {
                    return Ok(frame);
                }
            }
            let silent = || ReplicaError::Away(format!("it was silent for {} s", SILENCE.as_secs()));
            let piece = timeout(SILENCE, self.body.frame()).await.map_err(|_| silent())?;
            let piece = piece.ok_or_else(|| ReplicaError::Away("it ended the connection".to_owned()))?;
            let piece = piece.map_err(|error| ReplicaError::Away(error.to_string()))?;
            if let Ok(data) = piece.into_data() {
                self.parser.feed(&data).map_err(|error| strange(&error.to_string()))?;
            }
        }
    }
}

fn strange(what: &str) -> ReplicaError {
    ReplicaError::Away(format!("what it tells is no view: {what}"))
}

/// One event; `None`: one of a kind that is not known.
fn frame(SseEvent { id, kind, data }: SseEvent) -> Result<Option<Frame>, ReplicaError> {
    let told = || serde_json::from_str::<Told>(&data).map_err(|error| strange(&error.to_string()));
    Ok(match kind.as_str() {
        "put" => Some(Frame::Put(Box::new(told()?), id)),
        "remove" => Some(Frame::Remove(told()?.key, id)),
        "snapshot" => {
            let head: Value = serde_json::from_str(&data).map_err(|error| strange(&error.to_string()))?;
            Some(Frame::Snapshot(head["rows"].as_u64().unwrap_or_default()))
        }
        "end" => Some(Frame::End(id.ok_or_else(|| strange("an end without its id"))?)),
        "error" => {
            let problem: Value = serde_json::from_str(&data).unwrap_or_default();
            let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
            return Err(ReplicaError::Refused { status, text: refusal(data.as_bytes()) });
        }
        _ => None,
    })
}

/// A text as a part of a path.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "retry: 1000\n: following\n\nevent: snapshot\ndata: {\"view\":\"v\",\"rows\":1}\n\n\
        event: put\ndata: {\"key\":\"a\",\"position\":3,\"value\":{\"n\":1}}\n\nid: 3-01\nevent: end\ndata: {}\n\n\
        : heartbeat\n\nid: 4-01\nevent: remove\ndata: {\"key\":\"a\",\"position\":4}\n\n";

    fn told(bytes: &[u8]) -> Result<Vec<Frame>, ReplicaError> {
        let mut parser = SseParser::default();
        parser.feed(bytes).map_err(|error| strange(&error.to_string()))?;
        std::iter::from_fn(|| parser.next_event()).filter_map(|event| frame(event).transpose()).collect()
    }

    #[test]
    fn events_of_a_view_are_frames() {
        let value = serde_json::from_str("{\"n\":1}").ok();
        let put = Told { key: "a".into(), position: 3, value, ..Told::default() };
        let expected = [
            Frame::Snapshot(1),
            Frame::Put(Box::new(put), None),
            Frame::End("3-01".into()),
            Frame::Remove("a".into(), Some("4-01".into())),
        ];
        assert_eq!(told(BODY.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_refusal_and_what_is_no_view_end_it() {
        let error = told(b"event: error\ndata: {\"status\":403,\"detail\":\"not for you\"}\n\n").unwrap_err();
        assert_eq!(error, ReplicaError::Refused { status: 403, text: "not for you".into() });
        assert!(told(b"event: put\ndata: {\"key\":1}\n\n").is_err() && told(b"event: end\ndata: {}\n\n").is_err());
        assert!(told(b"event: put\ndata: \xff\n\n").is_err());
        assert_eq!(escaped("a b/c"), "a%20b%2Fc");
    }
}
