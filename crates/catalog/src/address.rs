//! Where each thing is recorded.
//!
//! ```text
//! catalog.<dc>.<service>.<node>.<id>     an instance with its checks
//! catalog.<dc>.%node.<node>              a node with its checks
//! catalog.<dc>.%kv.<key>                 a key
//! catalog.<dc>.%session.<id>             a session
//! catalog.<dc>.%event.<name>.<id>        a user event
//! ```
//!
//! Tokens are encoded by [`event::encode_token`]; datacenter, service and node are in lower case, for they are compared
//! without it. No encoded token is a `%` and a word, so the kinds never clash with services.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use event::{Pattern, Subject, decode_token, encode_token};

use crate::command::Refused;

/// The first token of all.
pub const PREFIX: &str = "catalog";

const NODE: &str = "%node";
const KEY: &str = "%kv";
const SESSION: &str = "%session";
const EVENT: &str = "%event";

/// What a subject speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address<'a> {
    /// An instance.
    Instance {
        /// The service's name, in lower case.
        service: Cow<'a, str>,
        /// The node's name, in lower case.
        node: Cow<'a, str>,
        /// The instance.
        id: Cow<'a, str>,
    },
    /// A node, in lower case.
    Node(Cow<'a, str>),
    /// A key.
    Key(Cow<'a, str>),
    /// A session.
    Session(Cow<'a, str>),
    /// A user event.
    Event {
        /// Its name.
        name: Cow<'a, str>,
        /// Its id.
        id: Cow<'a, str>,
    },
}

/// Names are compared so.
pub fn lower(name: &str) -> Cow<'_, str> {
    let is_lower = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_lowercase()) }
}

/// The text of a token. Most are what they say.
fn decoded(token: &str) -> Option<Cow<'_, str>> {
    let is_plain = token.bytes().all(|byte| byte.is_ascii() && !matches!(byte, b'%' | b'*' | b'>'));
    if is_plain { Some(Cow::Borrowed(token)) } else { decode_token(token).map(Cow::Owned) }
}

/// What a subject of a datacenter speaks of. `Ok(None)`: of another datacenter.
///
/// # Errors
/// Why it speaks of nothing.
pub fn parse<'a>(datacenter: &str, subject: &'a Subject) -> Result<Option<Address<'a>>, &'static str> {
    let mut tokens = subject.tokens();
    if tokens.next() != Some(PREFIX) {
        return Err("its subject is not of the catalogue");
    }
    let token = tokens.next().and_then(decoded).ok_or("its subject names no datacenter")?;
    if token != datacenter {
        return Ok(None);
    }
    let parts = (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next());
    let text = |token: &'a str| decoded(token).ok_or("a token of its subject is not encoded");
    let name = |token: &'a str| match decoded(token) {
        Some(name) if lower(&name) == name => Ok(name),
        _ => Err("service and node in its subject are to be encoded, and in lower case"),
    };
    Ok(Some(match parts {
        (Some(NODE), Some(node), None, ..) => Address::Node(name(node)?),
        (Some(KEY), Some(key), None, ..) => Address::Key(text(key)?),
        (Some(SESSION), Some(id), None, ..) => Address::Session(text(id)?),
        (Some(EVENT), Some(event), Some(id), None, _) => Address::Event { name: text(event)?, id: text(id)? },
        (Some(service), Some(node), Some(id), None, _) => {
            Address::Instance { service: name(service)?, node: name(node)?, id: text(id)? }
        }
        _ => return Err("its subject has not the tokens of anything in the catalogue"),
    }))
}

impl Address<'_> {
    /// Where it is recorded.
    ///
    /// # Errors
    /// Too long a name.
    pub fn subject(&self, datacenter: &str) -> Result<Subject, Refused> {
        let dc = encode_token(datacenter);
        let text = match self {
            Address::Instance { service, node, id } => {
                let (service, node, id) = (encode_token(service), encode_token(node), encode_token(id));
                format!("{PREFIX}.{dc}.{service}.{node}.{id}")
            }
            Address::Node(node) => format!("{PREFIX}.{dc}.{NODE}.{}", encode_token(node)),
            Address::Key(key) => format!("{PREFIX}.{dc}.{KEY}.{}", encode_token(key)),
            Address::Session(id) => format!("{PREFIX}.{dc}.{SESSION}.{}", encode_token(id)),
            Address::Event { name, id } => format!("{PREFIX}.{dc}.{EVENT}.{}.{}", encode_token(name), encode_token(id)),
        };
        Subject::parse(&text).map_err(|why| Refused::invalid(format!("Invalid name: {why}")))
    }
}

/// All instances of a service: who may read all that it matches may read the service. `None`: the name is too long for
/// there to be any.
pub fn service_pattern(datacenter: &str, service: &str) -> Option<Pattern> {
    Pattern::parse(&format!("{PREFIX}.{}.{}.>", encode_token(&lower(datacenter)), encode_token(&lower(service)))).ok()
}

/// The subject of a node's record.
pub fn node_subject(datacenter: &str, node: &str) -> String {
    format!("{PREFIX}.{}.{NODE}.{}", encode_token(&lower(datacenter)), encode_token(&lower(node)))
}

/// The subject of a key.
pub fn key_subject(datacenter: &str, key: &str) -> String {
    format!("{PREFIX}.{}.{KEY}.{}", encode_token(&lower(datacenter)), encode_token(key))
}

/// The subject of a session.
pub fn session_subject(datacenter: &str, id: &str) -> String {
    format!("{PREFIX}.{}.{SESSION}.{}", encode_token(&lower(datacenter)), encode_token(id))
}

/// The subject of a user event.
pub fn event_subject(datacenter: &str, name: &str, id: &str) -> String {
    format!("{PREFIX}.{}.{EVENT}.{}.{}", encode_token(&lower(datacenter)), encode_token(name), encode_token(id))
}
