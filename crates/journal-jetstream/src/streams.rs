//! The verbs on streams.

use std::sync::Arc;

use event::Moment;
use journal::rules::{check_delete, check_purge, check_stream, check_stream_update, overlap};
use journal::{Append, AppendError, Discard, Purge, Storage, StreamConfig, StreamError, StreamInfo, StreamState};
use serde_json::{Map, Value, json};
use tracing::warn;

use crate::api::{Fault, call, call_noting};
use crate::catalogue::all;
use crate::declared::{is_internal, stream_from, stream_onto};
use crate::engine::Shared;
use crate::wire::{Anything, Purged, State, Stream, moment};

const NOT_FOUND: u32 = 10059;
const NAME_IN_USE: u32 = 10058;
const OVERLAP: u32 = 10065;

/// Whether a name can stand in the interface's subjects; one that cannot names nothing.
pub(crate) fn is_name(name: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'.' | b'*' | b'>' | b'/' | b'\\');
    !name.is_empty() && !name.bytes().any(odd)
}

/// What refuses an append before it is sent: what the servers count differently, or do not know.
pub(crate) fn admit(config: &StreamConfig, append: &Append) -> Result<(), AppendError> {
    let size = append.message.size() as u64;
    if let Some(into) = append.into.as_ref().filter(|into| **into != config.name || append.at.is_some()) {
        return Err(AppendError::Storage(format!(
            "the servers themselves fill '{into}' from other streams, not its node"
        )));
    }
    if append.into.is_some() && !config.captures(append.message.subject.as_str()) {
        let (name, subject) = (&config.name, &append.message.subject);
        return Err(AppendError::Storage(format!(
            "'{name}' does not capture '{subject}', and the servers bring a message where its subject is captured"
        )));
    }
    if append.at.is_some() {
        return Err(AppendError::Storage(String::from("the servers give positions and moments themselves")));
    }
    if config.sealed {
        return Err(AppendError::Sealed);
    }
    if append.rollup.is_some() && !config.allow_rollup {
        return Err(AppendError::RollupNotAllowed);
    }
    if let Some(expected) = append.expect.stream.as_ref().filter(|expected| **expected != config.name) {
        return Err(AppendError::OtherStream { expected: expected.clone(), found: config.name.clone() });
    }
    if let Some(max) = config.message_bytes_max.map(u64::from).filter(|max| size > *max) {
        return Err(AppendError::TooLarge { size, max });
    }
    if append.ttl.is_some() && !config.allow_ttl {
        return Err(AppendError::TtlNotAllowed);
    }
    if append.id.as_ref().is_some_and(|id| id.len() > journal::limits::MESSAGE_ID_BYTES_MAX) {
        return Err(AppendError::IdTooLong);
    }
    if let Some(max) = config.bytes_max.filter(|max| size > *max) {
        return Err(AppendError::TooLarge { size, max });
    }
    Ok(())
}

/// What the server refused, in the contract's words.
fn refused(name: &str, fault: Fault) -> StreamError {
    let invalid = |field, error: &crate::wire::ApiError| StreamError::Invalid { field, reason: error.to_string() };
    match fault {
        Fault::Unreachable(reason) => StreamError::Closed(reason),
        Fault::Refused(error) => match error.err_code {
            NOT_FOUND => StreamError::NotFound(name.to_owned()),
            NAME_IN_USE => StreamError::Exists(name.to_owned()),
            10005 | 10074 => invalid("replicas", &error),
            10110 => StreamError::Denied("deny_purge"),
            10023 | 10028 | 10047 | 10077 => StreamError::Storage(error.to_string()),
            _ if error.description.contains("seal") => invalid("sealed", &error),
            _ if error.description.contains("replica") => invalid("replicas", &error),
            _ if error.description.contains("subject") => invalid("subjects", &error),
            _ if error.code >= 500 => StreamError::Storage(error.to_string()),
            _ => invalid("config", &error),
        },
    }
}

pub(crate) fn state(wire: &State) -> StreamState {
    let empty = wire.messages == 0;
    let first = if empty { wire.last_seq + 1 } else { wire.first_seq.max(1) };
    StreamState {
        messages: wire.messages,
        bytes: wire.bytes,
        first,
        first_time: if empty { Moment::EPOCH } else { moment(&wire.first_ts) },
        last: wire.last_seq,
        last_time: moment(&wire.last_ts),
        subjects: wire.num_subjects,
        deleted: wire.num_deleted,
        damaged: 0,
    }
}

fn info_of(stream: &Stream) -> Option<StreamInfo> {
    let config = stream_from(&stream.config)?;
    let disk_bytes = if config.storage == Storage::File { stream.state.bytes } else { 0 };
    Some(StreamInfo {
        created: moment(&stream.created),
        state: state(&stream.state),
        consumers: stream.state.consumer_count,
        disk_bytes,
        config,
    })
}

fn told(name: &str, stream: &Stream) -> Result<StreamInfo, StreamError> {
    info_of(stream).ok_or_else(|| StreamError::NotFound(name.to_owned()))
}

/// A stream as the server tells it.
pub(crate) async fn ask(shared: &Shared, name: &str) -> Result<Stream, StreamError> {
    if !is_name(name) || is_internal(name) {
        return Err(StreamError::NotFound(name.to_owned()));
    }
    match call::<Stream>(&shared.client, &format!("STREAM.INFO.{name}"), &Value::Null).await {
        Ok(stream) => {
            if shared.catalogue.get(name).is_none() {
                shared.catalogue.enter(&stream);
            }
            Ok(stream)
        }
        Err(fault) => {
            if fault.number() == NOT_FOUND {
                shared.catalogue.forget(name);
            }
            Err(refused(name, fault))
        }
    }
}

/// Judges a new declaration against the streams that there are.
async fn check_overlaps(shared: &Shared, config: &StreamConfig) -> Result<(), StreamError> {
    for stream in all(&shared.client).await.map_err(|fault| refused(&config.name, fault))? {
        let other = stream_from(&stream.config).filter(|other| other.name != config.name && !is_internal(&other.name));
        if let Some(other) = other {
            overlap(config, &other)?;
        }
    }
    Ok(())
}

async fn put(shared: &Shared, verb: &str, config: &StreamConfig, body: Value) -> Result<StreamInfo, StreamError> {
    let name = &config.name;
    match call::<Stream>(&shared.client, &format!("STREAM.{verb}.{name}"), &body).await {
        Ok(stream) => {
            shared.catalogue.enter(&stream);
            told(name, &stream)
        }
        Err(fault) if fault.number() == OVERLAP => {
            check_overlaps(shared, config).await?;
            Err(refused(name, fault))
        }
        Err(fault) => Err(refused(name, fault)),
    }
}

/// A sealed declaration in the words that the servers keep it in: sealing it they set these themselves.
fn sealed_as_kept(mut config: StreamConfig) -> StreamConfig {
    if config.sealed {
        (config.deny_delete, config.deny_purge, config.allow_rollup) = (true, true, false);
        (config.discard, config.age_max) = (Discard::New, None);
    }
    config
}

pub(crate) async fn create(shared: Arc<Shared>, mut config: StreamConfig) -> Result<StreamInfo, StreamError> {
    check_stream(&config)?;
    if is_internal(&config.name) {
        return Err(StreamError::Invalid { field: "name", reason: String::from("is one of the engine's own") });
    }
    config.replicas = config.replicas.max(shared.replicas);
    match ask(&shared, &config.name).await {
        Ok(there) => {
            let there = told(&config.name, &there)?;
            return if there.config == config { Ok(there) } else { Err(StreamError::Exists(config.name)) };
        }
        Err(StreamError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    check_overlaps(&shared, &config).await?;
    put(&shared, "CREATE", &config, Value::Object(stream_onto(&config, Map::new()))).await
}

pub(crate) async fn update(shared: Arc<Shared>, mut config: StreamConfig) -> Result<StreamInfo, StreamError> {
    check_stream(&config)?;
    config.replicas = config.replicas.max(shared.replicas);
    let there = ask(&shared, &config.name).await?;
    let old = told(&config.name, &there)?.config;
    if old.sealed && !config.sealed {
        return Err(StreamError::Invalid { field: "sealed", reason: String::from("a sealed stream stays sealed") });
    }
    let config = sealed_as_kept(config);
    check_stream_update(&old, &config)?;
    if old.subjects != config.subjects {
        check_overlaps(&shared, &config).await?;
    }
    put(&shared, "UPDATE", &config, Value::Object(stream_onto(&config, there.config))).await
}

pub(crate) async fn delete(shared: Arc<Shared>, name: String) -> Result<(), StreamError> {
    if !is_name(&name) || is_internal(&name) {
        return Err(StreamError::NotFound(name));
    }
    let asked = call_noting::<Anything>(&shared.client, &format!("STREAM.DELETE.{name}"), &Value::Null).await;
    match asked {
        Ok(_) => {}
        // The first sending did it.
        Err((fault, true)) if fault.number() == NOT_FOUND => {}
        Err((fault, _)) => {
            if fault.number() == NOT_FOUND {
                shared.catalogue.forget(&name);
            }
            return Err(refused(&name, fault));
        }
    }
    shared.catalogue.forget(&name);
    shared.desk.forget_stream(&name);
    Ok(())
}

pub(crate) async fn info(shared: Arc<Shared>, name: String) -> Result<StreamInfo, StreamError> {
    told(&name, &ask(&shared, &name).await?)
}

pub(crate) async fn list(shared: Arc<Shared>) -> Vec<StreamInfo> {
    match all(&shared.client).await {
        Ok(streams) => {
            let mut infos: Vec<StreamInfo> =
                streams.iter().filter_map(info_of).filter(|info| !is_internal(&info.config.name)).collect();
            infos.sort_by(|a, b| a.config.name.cmp(&b.config.name));
            infos
        }
        Err(error) => {
            warn!(%error, "cannot list the streams of the cluster");
            Vec::new()
        }
    }
}

async fn declaration(shared: &Shared, name: &str) -> Result<StreamConfig, StreamError> {
    match shared.catalogue.get(name) {
        Some(known) => Ok(known.config.clone()),
        None => Ok(told(name, &ask(shared, name).await?)?.config),
    }
}

pub(crate) async fn purge(shared: Arc<Shared>, name: String, purge: Purge) -> Result<u64, StreamError> {
    check_purge(&declaration(&shared, &name).await?, &purge)?;
    // The server takes position 0 for all, and nothing lies before position 1.
    if purge.before.is_some_and(|before| before <= 1) {
        return Ok(0);
    }
    let mut body = Map::new();
    if let Some(filter) = purge.filter.as_ref().filter(|filter| filter.as_str() != ">") {
        body.insert(String::from("filter"), json!(filter.as_str()));
    }
    if let Some(before) = purge.before {
        body.insert(String::from("seq"), json!(before));
    }
    if let Some(keep) = purge.keep {
        body.insert(String::from("keep"), json!(keep));
    }
    let asked = call::<Purged>(&shared.client, &format!("STREAM.PURGE.{name}"), &Value::Object(body)).await;
    asked.map(|answer| answer.purged).map_err(|fault| refused(&name, fault))
}

pub(crate) async fn delete_message(shared: Arc<Shared>, name: String, seq: u64) -> Result<(), StreamError> {
    check_delete(&declaration(&shared, &name).await?)?;
    if seq == 0 {
        return Err(StreamError::NoMessage(0));
    }
    let body = json!({ "seq": seq, "no_erase": true });
    let asked = call_noting::<Anything>(&shared.client, &format!("STREAM.MSG.DELETE.{name}"), &body).await;
    let missing = |fault: &Fault| match fault {
        Fault::Refused(error) => {
            error.err_code == 10037
                || error.err_code == 10043
                || error.description.contains("not found")
                || error.description.contains("deleted")
        }
        Fault::Unreachable(_) => false,
    };
    match asked {
        Ok(_) => Ok(()),
        // A second sending finds what the first did.
        Err((fault, again)) if fault.number() != NOT_FOUND && missing(&fault) => {
            if again {
                Ok(())
            } else {
                Err(StreamError::NoMessage(seq))
            }
        }
        Err((fault, _)) => Err(refused(&name, fault)),
    }
}
