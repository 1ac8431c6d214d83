//! The recorded shapes: JSON of an instance, a node, a session.
//!
//! ```text
//! instance  {"Node":"n1","Service":{"ID":"web1","Service":"web","Tags":[…],…},"Checks":[{"CheckID":…,"Status":…},…]}
//! node      {"Node":{"Node":"n1","Address":"10.0.0.1",…},"Checks":[…]}
//! session   {"ID":"…","Name":"…","Node":"n1","LockDelay":15000000000,"Behavior":"release","TTL":"30s",…}
//! ```
//!
//! Members are named as Consul's answers name them; what is not known is passed over, and what is absent or `null` is
//! empty, so that a stranger may publish `{"Service":{"Port":80}}` and have registered an instance. What the subject
//! says already need not be said again, and must not be said otherwise. `CreateIndex` and `ModifyIndex` are there where
//! a part is older than the message that restates it; `Since` is when a check's status last changed, in nanoseconds.
//!
//! Reading borrows from the payload and copies each text once, into one that is shared where it can be.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use event::Moment;
use event::units::Span;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::map::Map;
use crate::model::{Behavior, Check, Definition, Json, Node, Service, ServiceAddress, Session, Status, Weights};
use crate::text::Texts;

/// A text of a record: borrowed where it holds no escapes; `null` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str<'a>(pub Cow<'a, str>);

impl Str<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Str(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Arc<str>> for Str<'a> {
    fn from(text: &'a Arc<str>) -> Self {
        Str(Cow::Borrowed(text))
    }
}

impl Serialize for Str<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_string()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(""))
            }
        }
        from.deserialize_any(Text).map(Str)
    }
}

/// What is absent or `null` is as nothing.
fn nullable<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

type Texted<'a, V> = BTreeMap<Str<'a>, V>;

/// The record of an instance.
#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceRecord<'a> {
    #[serde(borrow)]
    pub node: Str<'a>,
    #[serde(borrow)]
    pub service: ServiceRecord<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    pub checks: Vec<CheckRecord<'a>>,
}

/// The record of a node.
#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeRecord<'a> {
    #[serde(borrow)]
    pub node: NodePart<'a>,
    #[serde(borrow, deserialize_with = "nullable")]
    pub checks: Vec<CheckRecord<'a>>,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodePart<'a> {
    #[serde(rename = "ID", borrow, skip_serializing_if = "Str::is_empty")]
    pub id: Str<'a>,
    #[serde(borrow)]
    pub node: Str<'a>,
    #[serde(borrow)]
    pub address: Str<'a>,
    #[serde(borrow, skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub tagged_addresses: Texted<'a, Str<'a>>,
    #[serde(borrow, skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub meta: Texted<'a, Str<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    pub create_index: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressPart<'a> {
    #[serde(borrow)]
    pub address: Str<'a>,
    pub port: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightsPart {
    pub passing: i64,
    pub warning: i64,
}

impl Default for WeightsPart {
    fn default() -> Self {
        WeightsPart { passing: 1, warning: 1 }
    }
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceRecord<'a> {
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub kind: Str<'a>,
    #[serde(rename = "ID", borrow)]
    pub id: Str<'a>,
    #[serde(borrow)]
    pub service: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub tags: Vec<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub address: Str<'a>,
    #[serde(borrow, skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub tagged_addresses: Texted<'a, AddressPart<'a>>,
    #[serde(borrow, skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub meta: Texted<'a, Str<'a>>,
    pub port: i64,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub socket_path: Str<'a>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub weights: WeightsPart,
    #[serde(skip_serializing_if = "is_default")]
    pub enable_tag_override: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub connect: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_default")]
    pub create_index: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckRecord<'a> {
    #[serde(rename = "CheckID", borrow)]
    pub check_id: Str<'a>,
    #[serde(borrow)]
    pub name: Str<'a>,
    #[serde(borrow)]
    pub status: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub notes: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub output: Str<'a>,
    #[serde(rename = "Type", borrow, skip_serializing_if = "Str::is_empty")]
    pub kind: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub definition: Option<DefinitionPart<'a>>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub agent: Str<'a>,
    #[serde(skip_serializing_if = "is_default")]
    pub since: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub create_index: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub modify_index: u64,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DefinitionPart<'a> {
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<SpanPart>,
    #[serde(rename = "HTTP", borrow, skip_serializing_if = "Str::is_empty")]
    pub http: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub method: Str<'a>,
    #[serde(borrow, skip_serializing_if = "is_default", deserialize_with = "nullable")]
    pub header: Texted<'a, Vec<Str<'a>>>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub body: Str<'a>,
    #[serde(rename = "TCP", borrow, skip_serializing_if = "Str::is_empty")]
    pub tcp: Str<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<SpanPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<SpanPart>,
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_default")]
    pub tls_skip_verify: bool,
    #[serde(rename = "DeregisterCriticalServiceAfter", skip_serializing_if = "Option::is_none")]
    pub deregister_after: Option<SpanPart>,
    #[serde(skip_serializing_if = "is_default")]
    pub successes_before_passing: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub failures_before_critical: u32,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionRecord<'a> {
    #[serde(rename = "ID", borrow)]
    pub id: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub name: Str<'a>,
    #[serde(borrow)]
    pub node: Str<'a>,
    /// Nanoseconds.
    pub lock_delay: u64,
    #[serde(borrow)]
    pub behavior: Str<'a>,
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<SpanPart>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub node_checks: Vec<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub service_checks: Vec<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Str::is_empty")]
    pub agent: Str<'a>,
}

/// A span of time as a text: `10s`, `1m30s`. Empty: none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpanPart(pub Option<Duration>);

impl Serialize for SpanPart {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(span) => to.collect_str(&Span(span)),
            None => to.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for SpanPart {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Str::deserialize(from)?;
        if text.is_empty() {
            return Ok(SpanPart(None));
        }
        text.0.parse::<Span>().map(|span| SpanPart(Some(span.0))).map_err(de::Error::custom)
    }
}

/// A text that seldom repeats.
fn plain(text: &Str<'_>) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { Arc::from(&*text.0) }
}

fn span(part: Option<SpanPart>) -> Option<Duration> {
    part.and_then(|part| part.0).filter(|span| !span.is_zero())
}

fn part(span: Option<Duration>) -> Option<SpanPart> {
    span.map(|span| SpanPart(Some(span)))
}

/// Bytes that are to be one JSON value.
///
/// # Errors
/// What is wrong with them.
pub fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

/// A record's bytes.
///
/// # Errors
/// None in practice: texts and numbers can always be written.
pub fn written<T: Serialize>(record: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(record).map_err(|error| error.to_string())
}

fn raw(json: Option<&Json>) -> Option<&RawValue> {
    json.and_then(|json| serde_json::from_str(&json.0).ok())
}

fn json(raw: Option<&RawValue>) -> Option<Json> {
    raw.map(|raw| Json(raw.get().into())).filter(|json| &*json.0 != "null")
}

fn texts_of<'a>(map: &'a Map<Arc<str>>) -> Texted<'a, Str<'a>> {
    map.iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn map_of(pairs: Texted<'_, Str<'_>>, texts: &mut Texts) -> Map<Arc<str>> {
    pairs.into_iter().map(|(key, value)| (texts.take(&key.0), texts.take(&value.0))).collect()
}

impl NodePart<'_> {
    /// The node, without its positions.
    pub fn into_node(self, datacenter: &Arc<str>, texts: &mut Texts) -> Node {
        Node {
            id: plain(&self.id),
            node: texts.take(&self.node.0),
            address: plain(&self.address),
            datacenter: Arc::clone(datacenter),
            tagged_addresses: map_of(self.tagged_addresses, texts),
            meta: map_of(self.meta, texts),
            created: self.create_index,
            changed: self.modify_index,
        }
    }
}

impl<'a> From<&'a Node> for NodePart<'a> {
    fn from(node: &'a Node) -> Self {
        NodePart {
            id: (&node.id).into(),
            node: (&node.node).into(),
            address: (&node.address).into(),
            tagged_addresses: texts_of(&node.tagged_addresses),
            meta: texts_of(&node.meta),
            create_index: node.created,
            modify_index: node.changed,
        }
    }
}

impl ServiceRecord<'_> {
    /// The service, without its positions.
    pub fn into_service(self, texts: &mut Texts) -> Service {
        let own = plain(&self.address);
        let addresses = self.tagged_addresses.into_iter().map(|(key, given)| {
            // Most are the address again, under its kind.
            let address = if *given.address.0 == *own { Arc::clone(&own) } else { plain(&given.address) };
            (texts.take(&key.0), ServiceAddress { address, port: given.port })
        });
        Service {
            tagged_addresses: addresses.collect(),
            address: own,
            kind: texts.take(&self.kind.0),
            id: self.id.0.into(),
            service: texts.take(&self.service.0),
            tags: self.tags.iter().map(|tag| texts.take(&tag.0)).collect(),
            meta: map_of(self.meta, texts),
            port: self.port,
            socket_path: texts.take(&self.socket_path.0),
            weights: Weights { passing: self.weights.passing, warning: self.weights.warning },
            enable_tag_override: self.enable_tag_override,
            proxy: json(self.proxy),
            connect: json(self.connect),
            created: self.create_index,
            changed: self.modify_index,
        }
    }
}

impl<'a> From<&'a Service> for ServiceRecord<'a> {
    fn from(service: &'a Service) -> Self {
        let addresses = service
            .tagged_addresses
            .iter()
            .map(|(key, value)| (key.into(), AddressPart { address: (&value.address).into(), port: value.port }));
        ServiceRecord {
            kind: (&service.kind).into(),
            id: (&service.id).into(),
            service: (&service.service).into(),
            tags: service.tags.iter().map(Into::into).collect(),
            address: (&service.address).into(),
            tagged_addresses: addresses.collect(),
            meta: texts_of(&service.meta),
            port: service.port,
            socket_path: (&service.socket_path).into(),
            weights: WeightsPart { passing: service.weights.passing, warning: service.weights.warning },
            enable_tag_override: service.enable_tag_override,
            proxy: raw(service.proxy.as_ref()),
            connect: raw(service.connect.as_ref()),
            create_index: service.created,
            modify_index: service.changed,
        }
    }
}

impl DefinitionPart<'_> {
    fn into_definition(self, texts: &mut Texts) -> Definition {
        let some = |text: Str<'_>| (!text.is_empty()).then(|| Box::from(&*text.0));
        let header = self.header.into_iter().map(|(name, values)| {
            let values = values.iter().map(|value| texts.take(&value.0)).collect();
            (texts.take(&name.0), values)
        });
        Definition {
            header: header.collect(),
            ttl: span(self.ttl),
            http: some(self.http),
            method: Box::from(&*self.method.0),
            body: Box::from(&*self.body.0),
            tcp: some(self.tcp),
            interval: span(self.interval),
            timeout: span(self.timeout),
            tls_skip_verify: self.tls_skip_verify,
            deregister_after: span(self.deregister_after),
            successes_before_passing: self.successes_before_passing,
            failures_before_critical: self.failures_before_critical,
        }
    }
}

impl<'a> From<&'a Definition> for DefinitionPart<'a> {
    fn from(definition: &'a Definition) -> Self {
        let header = definition.header.iter();
        DefinitionPart {
            ttl: part(definition.ttl),
            http: definition.http.as_deref().unwrap_or_default().into(),
            method: (&*definition.method).into(),
            header: header.map(|(name, values)| (name.into(), values.iter().map(Into::into).collect())).collect(),
            body: (&*definition.body).into(),
            tcp: definition.tcp.as_deref().unwrap_or_default().into(),
            interval: part(definition.interval),
            timeout: part(definition.timeout),
            tls_skip_verify: definition.tls_skip_verify,
            deregister_after: part(definition.deregister_after),
            successes_before_passing: definition.successes_before_passing,
            failures_before_critical: definition.failures_before_critical,
        }
    }
}

/// Whose checks are read.
pub struct Owner<'a> {
    /// The node's name.
    pub node: &'a Arc<str>,
    /// The instance; `None`: the node's own checks.
    pub service: Option<&'a Service>,
}

impl CheckRecord<'_> {
    /// The check, without its positions.
    ///
    /// # Errors
    /// A check without an id, or with a status that is none.
    pub fn into_check(self, owner: &Owner<'_>, texts: &mut Texts) -> Result<Check, String> {
        if self.check_id.is_empty() {
            return Err("a check has no CheckID".into());
        }
        let Some(status) = Status::parse(&self.status.0) else {
            return Err("a check's Status is none of passing, warning and critical".into());
        };
        let definition = self.definition.map(|part| part.into_definition(texts)).filter(|made| !made.is_empty());
        Ok(Check {
            node: Arc::clone(owner.node),
            check_id: plain(&self.check_id),
            name: texts.take(&self.name.0),
            status,
            notes: texts.take(&self.notes.0),
            output: plain(&self.output),
            service_id: owner.service.map(|service| Arc::clone(&service.id)).unwrap_or_default(),
            service_name: owner.service.map(|service| Arc::clone(&service.service)).unwrap_or_default(),
            service_tags: owner.service.map(|service| Arc::clone(&service.tags)).unwrap_or_default(),
            kind: texts.take(&self.kind.0),
            definition: definition.map(|made| texts.definition(made)),
            agent: texts.take(&self.agent.0),
            since: Moment::from_nanos(self.since),
            recorded: Moment::EPOCH,
            created: self.create_index,
            changed: self.modify_index,
        })
    }
}

impl<'a> From<&'a Check> for CheckRecord<'a> {
    fn from(check: &'a Check) -> Self {
        CheckRecord {
            check_id: (&check.check_id).into(),
            name: (&check.name).into(),
            status: check.status.as_str().into(),
            notes: (&check.notes).into(),
            output: (&check.output).into(),
            kind: (&check.kind).into(),
            definition: check.definition.as_deref().map(Into::into),
            agent: (&check.agent).into(),
            since: check.since.nanos(),
            create_index: check.created,
            modify_index: check.changed,
        }
    }
}

impl SessionRecord<'_> {
    /// The session, as it was recorded at a position.
    ///
    /// # Errors
    /// A behaviour that is none.
    pub fn into_session(self, at: u64, began: Moment, texts: &mut Texts) -> Result<Session, String> {
        let behavior = match &*self.behavior.0 {
            "" | "release" => Behavior::Release,
            "delete" => Behavior::Delete,
            _ => return Err("a session's Behavior is neither release nor delete".into()),
        };
        let mut all = |names: Vec<Str<'_>>| names.iter().map(|name| texts.take(&name.0)).collect();
        Ok(Session {
            node_checks: all(self.node_checks),
            service_checks: all(self.service_checks),
            id: self.id.0.into(),
            name: texts.take(&self.name.0),
            node: texts.take(&self.node.0),
            lock_delay: Duration::from_nanos(self.lock_delay),
            behavior,
            ttl: span(self.ttl),
            agent: texts.take(&self.agent.0),
            began,
            created: at,
            changed: at,
        })
    }
}

impl<'a> From<&'a Session> for SessionRecord<'a> {
    fn from(session: &'a Session) -> Self {
        SessionRecord {
            id: (&session.id).into(),
            name: (&session.name).into(),
            node: (&session.node).into(),
            lock_delay: u64::try_from(session.lock_delay.as_nanos()).unwrap_or(u64::MAX),
            behavior: session.behavior.as_str().into(),
            ttl: part(session.ttl),
            node_checks: session.node_checks.iter().map(Into::into).collect(),
            service_checks: session.service_checks.iter().map(Into::into).collect(),
            agent: (&session.agent).into(),
        }
    }
}
