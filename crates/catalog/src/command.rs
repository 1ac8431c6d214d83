//! What may be asked of the catalogue, and what comes of it.
//!
//! Whatever needs chance (ids of sessions and events) is given by the caller, so that a command that is judged again
//! after a lost race means the same.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::model::{Behavior, Definition, Pair, Session, Status, Weights};
use crate::write::Write;

/// Something that is to change.
#[derive(Debug, Clone)]
pub enum Command {
    /// Registers a node, an instance, checks.
    Register(alloc::boxed::Box<Register>),
    /// Takes out an instance, a check, or (with neither) a node with all that is on it. What is not there is no error.
    Deregister {
        /// The node.
        node: String,
        /// The instance, or empty.
        service_id: String,
        /// The check, or empty.
        check_id: String,
    },
    /// Tells how a check stands.
    SetCheck(SetCheck),
    /// Puts an instance or a node into maintenance, or takes it out.
    Maintenance {
        /// The node.
        node: String,
        /// The instance, or empty: the whole node.
        service_id: String,
        /// Into it, or out of it.
        enable: bool,
        /// Why; empty: a text that says that nothing was said.
        reason: String,
    },
    /// Sets a key. Comes to [`Outcome::Flag`].
    KeyPut(KeyPut),
    /// Deletes a key, or all below it. Comes to [`Outcome::Flag`].
    KeyDelete {
        /// The key, or the prefix.
        key: String,
        /// Whether it is a prefix.
        recurse: bool,
        /// Only where the key last changed at this position; 0: never.
        cas: Option<u64>,
    },
    /// All of these, or none. Comes to [`Outcome::Txn`].
    Txn(Vec<TxnOperation>),
    /// Comes to [`Outcome::Session`].
    SessionCreate(SessionCreate),
    /// Ends a session: its keys are released or deleted. What is not there is no error.
    SessionDestroy {
        /// Its id.
        id: String,
    },
    /// Asks whether a session is still there; comes to [`Outcome::Session`]. Nothing is recorded: who counts
    /// lifetimes takes note.
    SessionRenew {
        /// Its id.
        id: String,
    },
    /// Fires a user event.
    Fire(Fire),
}

/// Whose words a registration speaks: what is filled in, and how it is refused, differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// All is said by the client, who makes the checks too.
    Catalog,
    /// A service or check of this node, which makes the checks.
    Agent {
        /// Whether checks that were there and are not named any more go.
        replace_existing_checks: bool,
    },
}

/// See [`Command::Register`].
#[derive(Debug, Clone)]
pub struct Register {
    /// Whose words.
    pub form: Form,
    /// The node's name.
    pub node: String,
    /// The node's id: a UUID, or empty.
    pub id: String,
    /// The node's address. May be empty with `skip_node_update`.
    pub address: String,
    /// The datacenter; empty: this one.
    pub datacenter: String,
    /// The node's further addresses.
    pub tagged_addresses: Vec<(String, String)>,
    /// The node's metadata.
    pub node_meta: Vec<(String, String)>,
    /// Whether a node that is there stays as it is.
    pub skip_node_update: bool,
    /// The instance.
    pub service: Option<ServiceDraft>,
    /// Checks: of the node, of the instance registered here, or of one that is there.
    pub checks: Vec<CheckDraft>,
    /// The Tidings node that makes the checks; empty: the client.
    pub agent: String,
}

impl Register {
    /// Nothing but a node's name, to be filled in.
    pub fn new(form: Form, node: impl Into<String>) -> Self {
        Register {
            form,
            node: node.into(),
            id: String::new(),
            address: String::new(),
            datacenter: String::new(),
            tagged_addresses: Vec::new(),
            node_meta: Vec::new(),
            skip_node_update: matches!(form, Form::Agent { .. }),
            service: None,
            checks: Vec::new(),
            agent: String::new(),
        }
    }
}

/// An instance as a client gives it.
#[derive(Debug, Clone, Default)]
pub struct ServiceDraft {
    /// See [`crate::Service`].
    pub kind: String,
    /// Empty: the name.
    pub id: String,
    /// The service's name.
    pub name: String,
    /// In their order.
    pub tags: Vec<String>,
    /// Its address.
    pub address: String,
    /// Further addresses with ports. For IP addresses `lan_ipv4` and the like are filled in.
    pub tagged_addresses: Vec<(String, (String, i64))>,
    /// Metadata.
    pub meta: Vec<(String, String)>,
    /// Its port.
    pub port: i64,
    /// A socket's path in place of a port.
    pub socket_path: String,
    /// `None`: 1 and 1.
    pub weights: Option<Weights>,
    /// Whether others may change its tags.
    pub enable_tag_override: bool,
    /// JSON, as it came.
    pub proxy: Option<String>,
    /// JSON, as it came.
    pub connect: Option<String>,
}

/// A check as a client gives it.
#[derive(Debug, Clone, Default)]
pub struct CheckDraft {
    /// Empty: `service:<id>`, `service:<id>:<n>`, or the name.
    pub id: String,
    /// Empty: `Service '<name>' check`.
    pub name: String,
    /// Empty: as it stood, or critical.
    pub status: String,
    /// For people.
    pub notes: String,
    /// What it says.
    pub output: String,
    /// The instance that it is of, where that is not the one registered with it; empty: see [`Register::checks`].
    pub service_id: String,
    /// `ttl`, `http`, `tcp`; empty: by the definition.
    pub kind: String,
    /// How it is made.
    pub definition: Definition,
}

/// See [`Command::SetCheck`].
#[derive(Debug, Clone)]
pub struct SetCheck {
    /// The node.
    pub node: String,
    /// The check.
    pub check_id: String,
    /// How it stands.
    pub status: Status,
    /// What it says.
    pub output: String,
    /// Whether it must be one with a TTL.
    pub ttl: bool,
}

/// See [`Command::KeyPut`].
#[derive(Debug, Clone, Default)]
pub struct KeyPut {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// A number of the client's; `None`: 0.
    pub flags: Option<u64>,
    /// Only where the key last changed at this position; 0: where it is not there.
    pub cas: Option<u64>,
    /// Only where this session holds it, or gets it now.
    pub acquire: Option<String>,
    /// Only where this session holds it, which then does no more.
    pub release: Option<String>,
}

/// What one operation of a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnVerb {
    /// Sets a key.
    Set,
    /// Sets it, where it last changed at the index given; 0: where it is not there.
    Cas,
    /// Sets it and holds it for a session.
    Lock,
    /// Sets it and releases it.
    Unlock,
    /// Gives it; it must be there.
    Get,
    /// Gives it, where it is there.
    GetOrEmpty,
    /// Gives all below it.
    GetTree,
    /// It must have last changed at the index given.
    CheckIndex,
    /// The session given must hold it.
    CheckSession,
    /// It must not be there.
    CheckNotExists,
    /// Deletes it.
    Delete,
    /// Deletes all below it.
    DeleteTree,
    /// Deletes it, where it last changed at the index given.
    DeleteCas,
}

impl TxnVerb {
    /// What is written so.
    pub fn parse(text: &str) -> Option<TxnVerb> {
        Some(match text {
            "set" => TxnVerb::Set,
            "cas" => TxnVerb::Cas,
            "lock" => TxnVerb::Lock,
            "unlock" => TxnVerb::Unlock,
            "get" => TxnVerb::Get,
            "get-or-empty" => TxnVerb::GetOrEmpty,
            "get-tree" => TxnVerb::GetTree,
            "check-index" => TxnVerb::CheckIndex,
            "check-session" => TxnVerb::CheckSession,
            "check-not-exists" => TxnVerb::CheckNotExists,
            "delete" => TxnVerb::Delete,
            "delete-tree" => TxnVerb::DeleteTree,
            "delete-cas" => TxnVerb::DeleteCas,
            _ => return None,
        })
    }
}

/// An operation of a transaction.
#[derive(Debug, Clone)]
pub struct TxnOperation {
    /// What it does.
    pub verb: TxnVerb,
    /// The key, or the prefix.
    pub key: String,
    /// The value, where it sets one.
    pub value: Bytes,
    /// See [`KeyPut::flags`].
    pub flags: u64,
    /// The index that it compares with.
    pub index: u64,
    /// The session that it speaks of.
    pub session: String,
}

/// A key that a transaction gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// The key. Of one that the transaction set, `changed` is not known before it is recorded: see
    /// [`TxnAnswer::at`].
    pub pair: Arc<Pair>,
    /// Whether its value belongs into the answer.
    pub with_value: bool,
    /// Which of the messages recorded set it.
    pub write: Option<usize>,
}

/// Why an operation of a transaction cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnError {
    /// Which operation, from 0.
    pub operation: usize,
    /// Why.
    pub what: String,
}

/// What came of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxnAnswer {
    /// What it gives, in the order of the operations.
    pub results: Vec<TxnResult>,
    /// Where there is one, nothing was changed.
    pub errors: Vec<TxnError>,
    /// How many messages it takes.
    pub writes: usize,
}

impl TxnAnswer {
    /// The keys that it gives, once its last message stands at a position: messages of a batch stand in a row.
    pub fn at(&self, position: u64) -> impl Iterator<Item = (Pair, bool)> {
        self.results.iter().map(move |result| {
            let mut pair = (*result.pair).clone();
            if let Some(write) = result.write {
                let behind = u64::try_from(self.writes.saturating_sub(write + 1)).unwrap_or(0);
                pair.changed = position.saturating_sub(behind);
                if pair.created == 0 {
                    pair.created = pair.changed;
                }
            }
            (pair, result.with_value)
        })
    }
}

/// See [`Command::SessionCreate`].
#[derive(Debug, Clone)]
pub struct SessionCreate {
    /// A new UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// The node that it goes with.
    pub node: String,
    /// `None`: 15 s.
    pub lock_delay: Option<Duration>,
    /// What becomes of its keys.
    pub behavior: Behavior,
    /// `None`: it ends with its node, its checks or when it is told to.
    pub ttl: Option<Duration>,
    /// `None`: `serfHealth`, where the node has such a check.
    pub node_checks: Option<Vec<String>>,
    /// Checks of instances.
    pub service_checks: Vec<String>,
    /// The Tidings node that counts its lifetime.
    pub agent: String,
}

/// See [`Command::Fire`].
#[derive(Debug, Clone, Default)]
pub struct Fire {
    /// A new UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Any bytes.
    pub payload: Bytes,
    /// See [`crate::UserEvent`].
    pub node_filter: String,
    /// See [`crate::UserEvent`].
    pub service_filter: String,
    /// See [`crate::UserEvent`].
    pub tag_filter: String,
}

/// What a command comes to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is so.
    Done,
    /// Whether it is so: of keys.
    Flag(bool),
    /// The session that is there now.
    Session(Arc<Session>),
    /// Of a transaction.
    Txn(TxnAnswer),
}

/// What is to be recorded for a command, all of it or nothing, and what it comes to then.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The messages, in their order. None: all is as the command wants it.
    pub writes: Vec<Write>,
    /// Whether all of it or nothing is to be recorded. Otherwise it may be in parts, in order: what is left over is
    /// found again when the command is judged again.
    pub atomic: bool,
    /// What it comes to.
    pub outcome: Outcome,
}

/// Of what kind a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// The command is malformed: 400.
    Invalid,
    /// What it speaks of is not there: 404.
    NotFound,
    /// Well formed, and it cannot be: 500, as the original answers.
    Failed,
    /// Too large: 413.
    TooLarge,
}

/// Why a command is refused: in the original's words where there are some. Not worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of what kind.
    pub kind: RefusedKind,
    /// Why.
    pub text: String,
}

impl Refused {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Refused { kind: RefusedKind::Invalid, text: text.into() }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Refused { kind: RefusedKind::Failed, text: text.into() }
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Refused { kind: RefusedKind::NotFound, text: text.into() }
    }

    pub(crate) fn too_large(text: impl Into<String>) -> Self {
        Refused { kind: RefusedKind::TooLarge, text: text.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for Refused {}
