//! Keys, transactions, sessions and user events, as clients write them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use catalog::{Behavior, Command, Fire, KeyPut, SessionCreate, TxnAnswer, TxnOperation, TxnVerb};
use serde_json::Value;

use super::register::object;
use crate::codec::json::{Object, list};
use crate::codec::{Fault, Fields, Params, Why, duration, parse, shape, shown};
use crate::limits::TXN_OPERATIONS_MAX;

/// Below this a lock delay given as a number is seconds, from it on nanoseconds: the original's.
const LOCK_DELAY_SECONDS_BELOW: f64 = 1000.0;

/// `PUT /v1/kv/:key`.
///
/// # Errors
/// [`Fault`]: a parameter cannot be read, or two contradict each other.
pub(crate) fn put(key: String, params: &Params, value: Bytes) -> Result<Command, Fault> {
    conflicts(params, &["cas", "acquire", "release"])?;
    if key.is_empty() {
        return Err(Fault::bad("Missing key name"));
    }
    let session = |name| params.first(name).filter(|id| !id.is_empty()).map(str::to_owned);
    Ok(Command::KeyPut(KeyPut {
        key,
        value,
        flags: params.number("flags")?,
        cas: params.number("cas")?,
        acquire: session("acquire"),
        release: session("release"),
    }))
}

/// `DELETE /v1/kv/:key`.
///
/// # Errors
/// As [`put`].
pub(crate) fn delete(key: String, params: &Params) -> Result<Command, Fault> {
    conflicts(params, &["recurse", "cas"])?;
    let recurse = params.has("recurse");
    if key.is_empty() && !recurse {
        return Err(Fault::bad("Missing key name"));
    }
    Ok(Command::KeyDelete { key, recurse, cas: params.number("cas")? })
}

fn conflicts(params: &Params, names: &[&str]) -> Result<(), Fault> {
    let there: Vec<&str> = names.iter().filter(|name| params.has(name)).copied().collect();
    if there.len() > 1 { Err(Fault::bad(format!("Conflicting flags: {}", there.join(" ")))) } else { Ok(()) }
}

/// `PUT /v1/txn`.
///
/// # Errors
/// [`Fault`]: it cannot be read, or is of things other than keys.
pub(crate) fn transaction(body: &[u8]) -> Result<Command, Fault> {
    let refused = |why: Why| Fault::bad(format!("Failed to parse body: {why}"));
    let body = parse(body).map_err(refused)?;
    let Value::Array(operations) = body else {
        return Err(refused(String::from("json: cannot unmarshal into Go value of type list")));
    };
    let count = operations.len();
    if count > TXN_OPERATIONS_MAX {
        let why = format!("Transaction contains too many operations ({count} > {TXN_OPERATIONS_MAX})");
        return Err(Fault::new(413, why));
    }
    operations.iter().map(operation).collect::<Result<_, _>>().map(Command::Txn).map_err(refused)
}

fn operation(value: &Value) -> Result<TxnOperation, Why> {
    let mut fields = Fields::of(value)?;
    let key = fields.take("KV").ok_or("an operation other than of a key is not known here")?;
    fields.end()?;
    let mut fields = Fields::of(key)?;
    let verb = fields.text("Verb")?;
    let value = fields.text("Value")?;
    let operation = TxnOperation {
        verb: TxnVerb::parse(&verb).ok_or_else(|| format!("unknown KV verb \"{}\"", shown(&verb)))?,
        key: fields.text("Key")?,
        value: STANDARD.decode(value).map_err(|error| format!("illegal base64 data: {error}"))?.into(),
        flags: fields.unsigned("Flags")?.unwrap_or(0),
        index: fields.unsigned("Index")?.unwrap_or(0),
        session: fields.text("Session")?,
    };
    fields.ignore(&["Namespace", "Partition", "LockIndex", "CreateIndex", "ModifyIndex"]);
    fields.end()?;
    Ok(operation)
}

/// What a transaction comes to: whether it was made, and the body.
pub(crate) fn answer(answer: &TxnAnswer, position: u64) -> (bool, String) {
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    let made = answer.errors.is_empty();
    if made {
        list(object.key("Results"), answer.at(position), |out, (pair, with_value)| {
            let mut one = Object::new(out);
            shape::pair(one.key("KV"), &pair, with_value);
            one.end();
        });
        object.raw("Errors", "null");
    } else {
        object.raw("Results", "null");
        list(object.key("Errors"), &answer.errors, |out, error| {
            let mut one = Object::new(out);
            one.number("OpIndex", error.operation as u64).text("What", &error.what);
            one.end();
        });
    }
    object.end();
    (made, out)
}

/// `PUT /v1/session/create`. `id` is a new one.
///
/// # Errors
/// [`Fault`]: it cannot be read.
pub(crate) fn session_create(body: &[u8], node: &str, id: String) -> Result<Command, Fault> {
    let mut create = SessionCreate {
        id,
        name: String::new(),
        node: String::new(),
        lock_delay: None,
        behavior: Behavior::default(),
        ttl: None,
        node_checks: None,
        service_checks: Vec::new(),
        agent: node.to_owned(),
    };
    if !body.is_empty() {
        object(body, |fields| session(fields, &mut create))?;
    }
    if create.node.is_empty() {
        create.node = node.to_owned();
    }
    Ok(Command::SessionCreate(create))
}

fn session(fields: &mut Fields<'_>, create: &mut SessionCreate) -> Result<(), Why> {
    create.name = fields.text("Name")?;
    create.node = fields.text("Node")?;
    create.lock_delay = fields.take("LockDelay").map(lock_delay).transpose()?;
    create.behavior = match fields.text("Behavior")?.as_str() {
        "" | "release" => Behavior::Release,
        "delete" => Behavior::Delete,
        other => return Err(format!("Invalid Behavior setting '{}'", shown(other))),
    };
    let ttl = fields.text("TTL")?;
    if !ttl.is_empty() {
        let nanos = duration::parse(&ttl).ok_or_else(|| format!("Session TTL '{}' invalid", shown(&ttl)))?;
        create.ttl = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    }
    // Older clients say `Checks`, newer ones `NodeChecks`; an empty list is meant.
    for name in ["Checks", "NodeChecks"] {
        if let Some(value) = fields.take(name) {
            let Value::Array(ids) = value else {
                return Err(format!("json: cannot unmarshal into .{name} of type list"));
            };
            let ids: Vec<String> = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
            create.node_checks.get_or_insert_default().extend(ids);
        }
    }
    for check in fields.list("ServiceChecks")? {
        create.service_checks.push(match check {
            Value::String(id) => id.clone(),
            other => {
                let mut fields = Fields::of(other)?;
                let id = fields.text("ID")?;
                fields.ignore(&["Namespace"]);
                fields.end()?;
                id
            }
        });
    }
    fields.ignore(&["ID", "Datacenter", "Namespace", "Partition", "CreateIndex", "ModifyIndex"]);
    Ok(())
}

fn lock_delay(value: &Value) -> Result<Duration, Why> {
    match value {
        Value::String(text) => {
            let nanos = duration::parse(text).ok_or_else(|| format!("time: invalid duration \"{}\"", shown(text)))?;
            Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0).max(0.0);
            let seconds = if number < LOCK_DELAY_SECONDS_BELOW { number } else { number / 1e9 };
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        _ => Err(String::from("json: cannot unmarshal into Go struct field .LockDelay of type duration")),
    }
}

/// `PUT /v1/event/fire/:name`. `id` is a new one.
///
/// # Errors
/// [`Fault`]: it has no name.
pub(crate) fn fire(name: String, params: &Params, payload: Bytes, id: String) -> Result<Fire, Fault> {
    if name.is_empty() {
        return Err(Fault::bad("Missing name"));
    }
    let text = |name| params.text(name).to_owned();
    let (node_filter, service_filter, tag_filter) = (text("node"), text("service"), text("tag"));
    Ok(Fire { id, name, payload, node_filter, service_filter, tag_filter })
}
