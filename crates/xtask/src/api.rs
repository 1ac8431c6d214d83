//! The node's HTTP API as far as the broom uses it: every path and field name stands here once.
//! Source: `docs/http.md`.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::{Connection, Response};
use crate::tree::list;

/// Messages of one page.
const PAGE_MESSAGES: u64 = 2_000;

/// Where a message was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Position.
    pub seq: u64,
    /// Whether it was there already.
    pub duplicate: bool,
}

/// A recorded message.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Position.
    pub seq: u64,
    /// Subject.
    pub subject: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// What acknowledges it, in a delivery.
    pub token: Option<String>,
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Recorded>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
    /// Positions that are named as damaged.
    pub damaged: Vec<u64>,
}

/// How an event enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Plain bytes to a subject, with a message id.
    Publish,
    /// A CloudEvent in binary mode.
    Binary,
    /// A CloudEvent in structured mode.
    Structured,
}

/// Sends one message; the response is whatever the node said.
pub fn send(conn: &mut Connection, way: Way, subject: &str, id: &str, payload: &[u8]) -> io::Result<Response> {
    match way {
        Way::Publish => {
            let headers = [("content-type", "application/octet-stream")];
            conn.request("POST", &format!("/v1/publish/{subject}?id={id}"), &headers, payload)
        }
        Way::Binary => {
            let headers = [
                ("ce-specversion", "1.0"),
                ("ce-type", "xtask.made"),
                ("ce-source", "/xtask"),
                ("ce-id", id),
                ("content-type", "application/octet-stream"),
            ];
            conn.request("POST", &format!("/v1/events?subject={subject}"), &headers, payload)
        }
        Way::Structured => {
            let event = json!({
                "specversion": "1.0", "type": "xtask.made", "source": "/xtask", "id": id,
                "datacontenttype": "application/octet-stream", "data_base64": STANDARD.encode(payload),
            });
            let headers = [("content-type", "application/cloudevents+json")];
            conn.request("POST", &format!("/v1/events?subject={subject}"), &headers, event.to_string().as_bytes())
        }
    }
}

/// What the node says of a message that it took.
pub fn receipt(response: &Response) -> Result<Receipt, String> {
    let said = response.json();
    match (response.status, said["seq"].as_u64()) {
        (200 | 201, Some(seq)) => Ok(Receipt { seq, duplicate: said["duplicate"].as_bool().unwrap_or(false) }),
        _ => Err(format!("answered {} {}", response.status, response.text())),
    }
}

/// Declares a stream.
pub fn create_stream(conn: &mut Connection, name: &str, subjects: &[&str]) -> Result<(), String> {
    let body = json!({ "subjects": subjects });
    done(conn, "PUT", &format!("/v1/streams/{name}"), &body).map(drop)
}

/// Declares a durable consumer with explicit acknowledgement.
pub fn create_consumer(conn: &mut Connection, stream: &str, name: &str, ack_wait: &str) -> Result<(), String> {
    let body = json!({ "ack_wait": ack_wait });
    done(conn, "PUT", &format!("/v1/streams/{stream}/consumers/{name}"), &body).map(drop)
}

/// Asks for something as JSON and expects it to be done.
pub fn done(conn: &mut Connection, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let headers = [("content-type", "application/json"), ("accept", "application/json")];
    let response = conn.request(method, path, &headers, &bytes).map_err(|error| format!("{method} {path}: {error}"))?;
    match response.status {
        200..=299 => Ok(response.json()),
        status => Err(format!("{method} {path}: {status} {}", response.text())),
    }
}

/// Reads one page of a stream.
pub fn page(conn: &mut Connection, stream: &str, from: u64) -> Result<Page, String> {
    let path = format!("/v1/streams/{stream}/messages?from={from}&limit={PAGE_MESSAGES}");
    let said = done(conn, "GET", &path, &Value::Null)?;
    let damaged = list(&said["damaged"]).filter_map(Value::as_u64).collect();
    Ok(Page { messages: messages(&said)?, next: said["next"].as_u64(), damaged })
}

/// Reads a stream from a position to its end.
pub fn read_all(conn: &mut Connection, stream: &str, from: u64) -> Result<(Vec<Recorded>, Vec<u64>), String> {
    let (mut all, mut damaged, mut from) = (Vec::new(), Vec::new(), from);
    loop {
        let page = page(conn, stream, from)?;
        all.extend(page.messages);
        damaged.extend(page.damaged);
        match page.next {
            Some(next) if next > from => from = next,
            _ => return Ok((all, damaged)),
        }
    }
}

/// Takes messages from a consumer; the node waits for the first at most as long as is said.
pub fn fetch(
    conn: &mut Connection,
    stream: &str,
    consumer: &str,
    batch: u64,
    wait: &str,
) -> Result<Vec<Recorded>, String> {
    let path = format!("/v1/streams/{stream}/consumers/{consumer}/fetch");
    messages(&done(conn, "POST", &path, &json!({ "batch": batch, "wait": wait }))?)
}

/// Acknowledges deliveries; refused where one of them is.
pub fn ack(conn: &mut Connection, stream: &str, consumer: &str, tokens: &[&str]) -> Result<(), String> {
    if tokens.is_empty() {
        return Ok(());
    }
    let path = format!("/v1/streams/{stream}/consumers/{consumer}/ack");
    let said = done(conn, "POST", &path, &json!({ "tokens": tokens }))?;
    match list(&said["errors"]).next() {
        None => Ok(()),
        Some(error) => Err(format!("an acknowledgement was refused: {error}")),
    }
}

fn messages(said: &Value) -> Result<Vec<Recorded>, String> {
    list(&said["messages"]).map(recorded).collect()
}

fn recorded(said: &Value) -> Result<Recorded, String> {
    let strange = || format!("not a message: {said}");
    let payload = match (said["data"].as_str(), said["data_base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| strange())?,
        (None, None) => Vec::new(),
    };
    Ok(Recorded {
        seq: said["seq"].as_u64().ok_or_else(strange)?,
        subject: said["subject"].as_str().ok_or_else(strange)?.to_string(),
        payload,
        token: said["token"].as_str().map(str::to_string),
    })
}
