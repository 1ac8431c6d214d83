//! A fact as a message of a journal, and back.
//!
//! One stream a group. A fact is a CloudEvents event in binary mode whose payload is the JSON object of
//! what was observed, so that every door reads it; what CloudEvents has no attribute for is an extension.
//! Plain events that somebody publishes at a group's subjects are facts too, told here. No journal is
//! known here: the host appends and reads. Source: docs/federation.md. Costs one header block a fact.
//!
//! ```text
//! stream  FED_<group>            captures fed.<group token>.>
//! subject fed.<group token>.<type>
//! ce-id, ce-source (the node; /federation/<group token> where none is said), ce-type,
//! ce-subject, ce-time (observed), content-type application/json
//! ce-fedgroup, ce-fedkey (where it is not the id), ce-fedexpires (RFC 3339),
//! ce-fedsource (a node whose name is no CloudEvents source),
//! ce-fedvia (the peer or key by which it came; absent: told here), ce-fedwithdrawn: true
//! {"address":"10.88.60.9/32",…}
//! ```

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;
use event::cloud::{Builder, Event, EventError, SPECVERSION};
use event::{Fact, Message, Moment, Pattern, Subject, SubjectError, encode_token};
use serde_json::Value;
use thiserror::Error;

use crate::fingerprint;
use crate::limits::MESSAGE_ID_NAME_BYTES_MAX;

/// First token of every fact's subject.
pub const SUBJECT_PREFIX: &str = "fed";

/// What every group's stream begins with.
pub const STREAM_PREFIX: &str = "FED_";

/// Media type of a fact's payload.
const JSON: &str = "application/json";

/// A fact, and by whom it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The fact.
    pub fact: Fact,
    /// The peer or key by which it came. `None`: told here.
    pub via: Option<String>,
}

impl Stored {
    /// Whether a node owes it to its peers: it was told here, of this node.
    pub fn is_own(&self, own_node: &str) -> bool {
        self.via.is_none() && !own_node.is_empty() && self.fact.source == own_node
    }
}

/// Why a fact cannot be a message, or a message no fact. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoredError {
    /// The group or type makes no subject.
    #[error("the type '{kind}' makes no subject: {error}")]
    Subject {
        /// The type, cut to 64 characters.
        kind: String,
        /// What is wrong with it.
        error: SubjectError,
    },
    /// An attribute breaks the rules of CloudEvents.
    #[error("{0}")]
    Event(#[from] EventError),
    /// An extension that is a time is none.
    #[error("the attribute '{0}' must be an RFC 3339 time, such as 2026-01-31T12:00:00Z")]
    Time(&'static str),
}

/// The name of a group's stream: letters, digits, `-` and `_x` stay; other bytes become `_XX`, in hex.
///
/// Two groups never share a name: `_` itself stays only where no two hex digits follow it.
pub fn stream_name(group: &str) -> String {
    let bytes = group.as_bytes();
    let mut name = String::from(STREAM_PREFIX);
    for (place, byte) in bytes.iter().copied().enumerate() {
        let hex = |at: usize| bytes.get(at).is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
        let escaping = byte == b'_' && hex(place + 1) && hex(place + 2);
        if (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) && !escaping {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02X}"));
        }
    }
    name
}

/// What a group's stream captures.
///
/// # Errors
/// [`SubjectError`] where the group's name is too long.
pub fn group_pattern(group: &str) -> Result<Pattern, SubjectError> {
    Pattern::new(format!("{SUBJECT_PREFIX}.{}.>", encode_token(group)))
}

/// Where a fact is recorded.
///
/// # Errors
/// [`StoredError::Subject`] where group and type are too long together.
pub fn subject(fact: &Fact) -> Result<Subject, StoredError> {
    let mut text = format!("{SUBJECT_PREFIX}.{}", encode_token(&fact.group));
    if fact.kind.split('.').any(str::is_empty) {
        text.push('.');
        text.push_str(&encode_token(&fact.kind));
    } else {
        for token in fact.kind.split('.') {
            text.push('.');
            text.push_str(&encode_token(token));
        }
    }
    Subject::new(text).map_err(|error| StoredError::Subject { kind: fact.kind.chars().take(64).collect(), error })
}

/// Whether a node's name can be a CloudEvents source as it is, without being taken for another.
fn is_plain_source(source: &str) -> bool {
    !source.is_empty()
        && !source.starts_with("/federation/")
        && !source.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn nobody(group: &str) -> String {
    format!("/federation/{}", encode_token(group))
}

/// The message of a fact that came by `via`, or was told here.
///
/// # Errors
/// [`StoredError`]: a control character in a name, or names that are too long.
pub fn to_message(fact: &Fact, via: Option<&str>) -> Result<Message, StoredError> {
    let subject = subject(fact)?;
    let mut builder = Builder::default();
    let mut add = |name: &str, value: &str| builder.attribute(name, value.to_owned());
    add("specversion", SPECVERSION)?;
    add("id", &fact.id)?;
    if is_plain_source(&fact.source) {
        add("source", &fact.source)?;
    } else {
        add("source", &nobody(&fact.group))?;
        if !fact.source.is_empty() {
            add("fedsource", &fact.source)?;
        }
    }
    add("type", &fact.kind)?;
    if !fact.subject.is_empty() {
        add("subject", &fact.subject)?;
    }
    if let Some(observed) = fact.observed {
        add("time", &observed.to_string())?;
    }
    add("datacontenttype", JSON)?;
    add("fedgroup", &fact.group)?;
    if fact.dedupe_key != fact.id {
        add("fedkey", &fact.dedupe_key)?;
    }
    if let Some(expires) = fact.expires {
        add("fedexpires", &expires.to_string())?;
    }
    if let Some(via) = via {
        add("fedvia", via)?;
    }
    if fact.withdrawn {
        add("fedwithdrawn", "true")?;
    }
    // Strings alone: this does not fail.
    builder.data(serde_json::to_vec(&fact.payload).unwrap_or_default().into());
    Ok(builder.build()?.into_message(subject)?)
}

/// The fact in a message of a group's stream; `None` where the message carries no event.
///
/// Of an event without our extensions the payload is made: the string members of a JSON object, other
/// members as their JSON text; of any other data, `data` with its text. A source `/federation/<group>`
/// is nobody.
///
/// # Errors
/// [`StoredError`] where it has CloudEvents headers that make no fact.
pub fn from_message(message: &Message, group: &str) -> Option<Result<Stored, StoredError>> {
    let event = Event::from_message(message)?;
    Some(event.map_err(StoredError::Event).and_then(|event| from_event(event, group)))
}

fn from_event(event: Event, group: &str) -> Result<Stored, StoredError> {
    let mut fact = Fact::new(group, event.id, event.kind);
    let mut via = None;
    if event.source != nobody(group) {
        fact.source = event.source;
    }
    fact.subject = event.subject.unwrap_or_default();
    let time = |text: &str, name| Moment::parse(text).map_err(|_| StoredError::Time(name));
    fact.observed = event.time.as_deref().map(|text| time(text, "time")).transpose()?;
    for (name, value) in event.extensions {
        match name.as_str() {
            "fedsource" => fact.source = value,
            "fedkey" => fact.dedupe_key = value,
            "fedexpires" => fact.expires = Some(time(&value, "fedexpires")?),
            "fedvia" => via = Some(value),
            "fedwithdrawn" => fact.withdrawn = value == "true",
            _ => {}
        }
    }
    fact.payload = payload(event.data.as_ref());
    Ok(Stored { fact, via })
}

fn payload(data: Option<&Bytes>) -> BTreeMap<String, String> {
    let Some(data) = data else { return BTreeMap::new() };
    match serde_json::from_slice(data) {
        Ok(Value::Object(members)) => members.into_iter().map(|(key, value)| (key, text_of(value))).collect(),
        _ => BTreeMap::from([("data".to_owned(), String::from_utf8_lossy(data).into_owned())]),
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The id of the append that records a fact's state: equal for two receipts of the same state, so that
/// they race for one record; another whenever anything in the state is another.
///
/// `<id>@<observed>@<expires>@<w, if withdrawn>@<fingerprint of what it says>`, moments in nanoseconds
/// since 1970, `-` where there is none. A long id stands there as its own fingerprint.
pub fn message_id(fact: &Fact) -> Bytes {
    let moment = |moment: Option<Moment>| moment.map_or_else(|| "-".to_owned(), |moment| moment.nanos().to_string());
    let state = format!(
        "@{}@{}@{}@{:016x}",
        moment(fact.observed),
        moment(fact.expires),
        if fact.withdrawn { "w" } else { "" },
        fingerprint::content(fact)
    );
    let id = if fact.id.len() > MESSAGE_ID_NAME_BYTES_MAX {
        format!("#{:032x}", fingerprint::wide(&fact.id))
    } else {
        fact.id.clone()
    };
    (id + &state).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fact() -> Fact {
        let mut fact = Fact::new("cloudedge", "evt-1", "routerd.client.ipv4.observed");
        fact.source = "onprem".into();
        fact.subject = "10.88.60.9/32".into();
        fact.payload.insert("address".into(), "10.88.60.9/32".into());
        fact.observed = Some(Moment::parse("2025-05-30T10:13:10Z").unwrap());
        fact.expires = Some(Moment::parse("2025-05-30T10:43:10Z").unwrap());
        fact
    }

    #[test]
    fn a_fact_is_an_event_that_every_door_reads() {
        let message = to_message(&fact(), Some("cloud")).unwrap();
        assert_eq!(message.subject.as_str(), "fed.cloudedge.routerd.client.ipv4.observed");
        assert_eq!(message.payload, "{\"address\":\"10.88.60.9/32\"}");
        for (name, value) in [
            ("ce-id", "evt-1"),
            ("ce-source", "onprem"),
            ("ce-subject", "10.88.60.9/32"),
            ("ce-time", "2025-05-30T10:13:10Z"),
            ("ce-fedgroup", "cloudedge"),
            ("ce-fedexpires", "2025-05-30T10:43:10Z"),
            ("ce-fedvia", "cloud"),
        ] {
            assert_eq!(message.headers.get(name), Some(value));
        }
        assert_eq!(message.headers.get("ce-fedkey"), None);
        let stored = from_message(&message, "cloudedge").unwrap().unwrap();
        assert_eq!(stored, Stored { fact: fact(), via: Some("cloud".into()) });
    }

    #[test]
    fn a_plain_event_is_a_fact_told_here() {
        let pairs = [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "site-a"), ("ce-type", "seen")];
        let mut message = Message::new(Subject::parse("fed.g.seen").unwrap(), "{\"a\":\"b\",\"n\":1,\"o\":{\"x\":[]}}");
        message.headers = event::Headers::from_pairs(pairs).unwrap();
        let stored = from_message(&message, "g").unwrap().unwrap();
        assert_eq!((stored.fact.source.as_str(), stored.via.as_deref()), ("site-a", None));
        assert!(stored.is_own("site-a") && !stored.is_own("site-b") && !stored.is_own(""));
        let payload: alloc::vec::Vec<(&str, &str)> =
            stored.fact.payload.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(payload, [("a", "b"), ("n", "1"), ("o", "{\"x\":[]}")]);
        message.payload = "plain".into();
        assert_eq!(from_message(&message, "g").unwrap().unwrap().fact.payload.get("data").unwrap(), "plain");
        assert_eq!(from_message(&Message::new(message.subject, "x"), "g"), None);
    }

    #[test]
    fn a_type_that_makes_no_tokens_is_one() {
        let at = |kind: &str| subject(&Fact::new("a b", "1", kind)).map(|subject| subject.to_string());
        assert_eq!(at("x.y").unwrap(), "fed.a%20b.x.y");
        assert_eq!(at("x..y").unwrap(), "fed.a%20b.x%2E%2Ey");
        assert_eq!(at("*").unwrap(), "fed.a%20b.%2A");
        assert!(at(&"x".repeat(2_000)).is_err());
        assert_eq!(group_pattern("a b").unwrap().as_str(), "fed.a%20b.>");
    }

    #[test]
    fn no_two_groups_share_a_stream() {
        for (group, name) in
            [("cloud-edge_1", "FED_cloud-edge_1"), ("a.b", "FED_a_2Eb"), ("a_2Eb", "FED_a_5F2Eb"), ("é", "FED__C3_A9")]
        {
            assert_eq!(stream_name(group), name);
        }
    }

    #[test]
    fn every_state_of_a_fact_has_an_id_of_its_own() {
        let base = fact();
        let mut others = alloc::vec![base.clone(); 5];
        others[0].expires = None;
        others[1].withdrawn = true;
        others[2].payload.clear();
        others[3].observed = None;
        others[4].id = "x".repeat(10_000);
        for other in &others {
            assert_ne!(message_id(other), message_id(&base));
        }
        assert_eq!(message_id(&base), message_id(&base.clone()));
        assert!(message_id(&others[4]).len() < 200);
    }

    #[test]
    fn control_characters_in_names_are_refused() {
        let mut fact = fact();
        fact.id = "a\nb".into();
        assert!(matches!(to_message(&fact, None), Err(StoredError::Event(EventError::Invalid { .. }))));
    }

    proptest! {
        #[test]
        fn a_message_gives_back_its_fact(
            id in "\\PC{1,20}",
            group in "\\PC{1,8}",
            kind in "[a-z.* ]{1,12}",
            source in "(\\PC{0,8}|/federation/x)",
            subject in "\\PC{0,8}",
            payload in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..3),
            via in proptest::option::of("\\PC{1,5}"),
            expires: Option<u32>,
            withdrawn: bool,
        ) {
            let mut fact = Fact::new(group.clone(), id, kind);
            fact.source = source;
            fact.subject = subject;
            fact.payload = payload;
            fact.expires = expires.map(|nanos| Moment::from_nanos(u64::from(nanos)));
            fact.withdrawn = withdrawn;
            if crate::envelope::normalise(&mut fact).is_ok()
                && let Ok(message) = to_message(&fact, via.as_deref())
            {
                let stored = from_message(&message, &fact.group).unwrap().unwrap();
                prop_assert_eq!(stored, Stored { fact, via });
            }
        }

        #[test]
        fn streams_of_two_groups_differ(one in "[a_.25EF]{0,8}", two in "[a_.25EF]{0,8}") {
            prop_assert_eq!(one == two, stream_name(&one) == stream_name(&two));
        }
    }
}
