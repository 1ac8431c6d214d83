//! The data of a message: what a schema speaks of.
//!
//! The payload, as it came. Only where the payload is a whole CloudEvent (structured mode), which a
//! NATS client may send, is the data inside.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Fault;

/// The data's bytes, and whether they are said to be JSON.
pub(crate) struct Data<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) json: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

impl<'a> Data<'a> {
    pub(crate) fn of(message: &'a Message) -> Result<Self, Fault> {
        let media_type = essence(message.headers.get("content-type").unwrap_or_default());
        if media_type.eq_ignore_ascii_case("application/cloudevents+json") {
            return inside(&message.payload);
        }
        Ok(Data { bytes: Cow::Borrowed(&message.payload), json: is_json(media_type) })
    }
}

fn inside(payload: &[u8]) -> Result<Data<'_>, Fault> {
    let envelope: Envelope<'_> = serde_json::from_slice(payload)
        .map_err(|error| Fault::whole(format!("is not a CloudEvent as its content type says: {error}")))?;
    let media_type = envelope.datacontenttype.as_deref().map(essence);
    if let Some(text) = envelope.data_base64 {
        let bytes = STANDARD.decode(text).map_err(|_| Fault::at("data_base64", "is not base64"))?;
        return Ok(Data { bytes: Cow::Owned(bytes), json: media_type.is_some_and(is_json) });
    }
    let data = envelope.data.map(|data| data.get().as_bytes()).unwrap_or_default();
    Ok(Data { bytes: Cow::Borrowed(data), json: media_type.is_none_or(is_json) })
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(essence: &str) -> bool {
    let lower = essence.to_ascii_lowercase();
    lower == "application/json" || lower == "text/json" || lower.ends_with("+json")
}
