//! A fact that sites tell each other: what was observed, by whom, and until when it holds.
//!
//! A fact is unique by group and id. Told again with a later expiry it is *refreshed*; withdrawn, it
//! holds no longer. How it looks on a wire or in a journal is for the rooms above.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::Moment;

/// An observed fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Unique in its group.
    pub id: String,
    /// Those who tell each other.
    pub group: String,
    /// The node that observed it. Empty: not said; such a fact is told to nobody.
    pub source: String,
    /// What kind of fact, such as `routerd.client.ipv4.observed`.
    pub kind: String,
    /// What it is about. Empty: not said.
    pub subject: String,
    /// What facts that replace each other share; the id, where nothing is said.
    pub dedupe_key: String,
    /// What was observed.
    pub payload: BTreeMap<String, String>,
    /// When. `None`: not said.
    pub observed: Option<Moment>,
    /// The last moment at which it holds. `None`: for ever.
    pub expires: Option<Moment>,
    /// Whether it is taken back.
    pub withdrawn: bool,
}

impl Fact {
    /// A fact that holds for ever, observed at no known time.
    pub fn new(group: impl Into<String>, id: impl Into<String>, kind: impl Into<String>) -> Self {
        let id = id.into();
        Fact {
            dedupe_key: id.clone(),
            id,
            group: group.into(),
            source: String::new(),
            kind: kind.into(),
            subject: String::new(),
            payload: BTreeMap::new(),
            observed: None,
            expires: None,
            withdrawn: false,
        }
    }

    /// Whether it holds: not withdrawn, and not expired. It holds through the moment of its expiry.
    pub fn is_live(&self, now: Moment) -> bool {
        !self.withdrawn && self.expires.is_none_or(|expires| now <= expires)
    }
}
