//! What a node and its controller say to each other, as bytes.
//!
//! ```text
//! 'P' | a plan, as `mesh::plan` writes it           controller to node
//! 'J' | JSON with the tag "say"                     either way
//! ```
//!
//! Each comes in one control frame of a link that both ends have proven; what is not understood ends the link.

use std::sync::Arc;

use mesh::control::{Endpoints, Standing};
use mesh::names::{LinkId, NodeId};
use mesh::plan::{Generation, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::traces::TraceNote;

/// What begins a plan.
const PLAN: u8 = b'P';
/// What begins everything else.
const JSON: u8 = b'J';
/// Bytes of anything but a plan, at most: the reports of ten thousand links.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Something said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// What the node is to do.
    Plan(Box<Plan>),
    /// Something else.
    Word(Word),
}

/// Anything but a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Word {
    /// A node: who it is was proven; this is where it can be dialled, and what it has.
    Register { listen: Option<String>, external: Option<String>, plan: (u64, u64), up: Vec<Link>, version: String },
    /// A node applied a plan.
    Acked { plan: (u64, u64), failed: Vec<(String, String)> },
    /// A link of the node is up.
    Up { up: Link },
    /// A link of the node is down.
    Down { link: String, why: String },
    /// All links of the node that are up.
    Links { up: Vec<Link> },
    /// The node leaves for good.
    Leave,
    /// What a node noted of traced messages.
    Traced { notes: Vec<TraceNote> },
    /// An answer to what was asked under the number.
    Told { number: u64, answer: Result<Value, String> },
    /// A controller: another one leads; where, if it knows.
    Moved { to: Option<String> },
    /// A controller does not take the node.
    Rejected { last: bool, why: String },
    /// A controller asks the node.
    Ask { number: u64, what: Asked },
}

/// What a controller asks a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    /// Where a message of the subject goes that enters there.
    Trace { subject: String },
    /// Who wants what, as it knows, at most so many patterns of each source; or only what its own clients want.
    Sources { most: usize, own: bool },
    /// To publish an empty message with this `traceparent`, for who listens now; nothing records it.
    Probe { subject: String, parent: String },
}

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) link: String,
    pub(crate) peer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dialled: Option<String>,
}

/// Why bytes are nothing that is said. The link ends.
#[derive(Debug, Error)]
pub(crate) enum SaidError {
    /// It begins with another byte, or is empty.
    #[error("it is neither a plan nor a word")]
    Stranger,
    /// A plan that cannot be read.
    #[error("the plan cannot be read: {0:?}")]
    Plan(mesh::plan::CodecError),
    /// JSON that is no word.
    #[error("the word cannot be read: {0}")]
    Word(#[from] serde_json::Error),
    /// More than may be.
    #[error("a word has at most {JSON_BYTES_MAX} bytes")]
    Long,
}

impl Said {
    /// Of bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SaidError> {
        match bytes.split_first() {
            Some((&PLAN, rest)) => Plan::decode(rest).map(|plan| Said::Plan(Box::new(plan))).map_err(SaidError::Plan),
            Some((&JSON, rest)) if rest.len() > JSON_BYTES_MAX => Err(SaidError::Long),
            Some((&JSON, rest)) => Ok(Said::Word(serde_json::from_slice(rest)?)),
            _ => Err(SaidError::Stranger),
        }
    }
}

/// A plan as bytes.
pub(crate) fn plan_bytes(plan: &Plan) -> Vec<u8> {
    let mut bytes = vec![PLAN];
    bytes.extend_from_slice(&plan.encode());
    bytes
}

impl Word {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![JSON];
        // A word is made of our own types, which can always be written.
        bytes.extend(serde_json::to_vec(self).unwrap_or_default());
        bytes
    }

    /// What a node registers with.
    pub(crate) fn register(endpoints: &Endpoints, plan: Generation, up: Vec<Link>) -> Self {
        Word::Register {
            listen: endpoints.listen.as_deref().map(String::from),
            external: endpoints.external.as_deref().map(String::from),
            plan: (plan.epoch, plan.number),
            up,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Link {
    /// Of a link that is up.
    pub(crate) fn of(standing: &Standing) -> Self {
        Link {
            link: standing.link.to_string(),
            peer: standing.peer.to_string(),
            dialled: standing.dialled.as_deref().map(String::from),
        }
    }

    /// The link, where its names are names.
    pub(crate) fn standing(&self) -> Option<Standing> {
        let (link, peer) = (LinkId::parse(&self.link).ok()?, NodeId::parse(&self.peer).ok()?);
        Some(Standing { link, peer, dialled: self.dialled.as_deref().map(Arc::from) })
    }
}

/// A generation as it is said.
pub(crate) fn generation((epoch, number): (u64, u64)) -> Generation {
    Generation { epoch, number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(word: &Word) {
        assert_eq!(Said::decode(&word.encode()).unwrap(), Said::Word(word.clone()));
    }

    #[test]
    fn what_is_said_is_heard_and_nothing_else_is() {
        let link = Link { link: "a|b".into(), peer: "b/b1".into(), dialled: Some("b:7200".into()) };
        let endpoints = Endpoints { listen: Some("a1:7200".into()), external: None };
        check(&Word::register(&endpoints, Generation { epoch: 3, number: 1 }, vec![link.clone()]));
        check(&Word::Acked { plan: (u64::MAX, 2), failed: vec![("l".into(), "refused".into())] });
        check(&Word::Up { up: link });
        check(&Word::Told { number: 1, answer: Ok(json!({"a": [1]})) });
        check(&Word::Told { number: 1, answer: Err("no".into()) });
        check(&Word::Ask { number: 7, what: Asked::Trace { subject: "a.b".into() } });
        check(&Word::Moved { to: None });
        let plan = Plan { generation: Generation { epoch: 1, number: 2 }, ..Plan::default() };
        assert_eq!(Said::decode(&plan_bytes(&plan)).unwrap(), Said::Plan(Box::new(plan)));
        for bad in [&b""[..], b"X", b"P", b"J", b"J{}", b"J{\"say\":\"moved\",\"to\":null,\"more\":1}", b"Pxxxxxxxx"] {
            assert!(Said::decode(bad).is_err(), "{bad:?}");
        }
    }
}
