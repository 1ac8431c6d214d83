//! Consumers as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{Moment, Pattern};
use journal::limits::{ACK_PENDING_DEFAULT, ACK_WAIT_DEFAULT};
use journal::{AckPolicy, ConsumerConfig, ConsumerInfo, ConsumerStart};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{agree, names};
use crate::problem::Problem;

names!(
    /// What must be acknowledged.
    AckName of AckPolicy { Explicit, All, None }
);

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StartName {
    #[default]
    All,
    Last,
    New,
    LastPerSubject,
    Seq,
    Time,
}

/// A consumer's declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerDeclaration {
    /// Its name; in a request it may be left out, or must be the path's.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether it outlives inactivity and restarts.
    #[serde(default = "super::yes")]
    pub durable: bool,
    /// Patterns of the subjects that it takes; none: all.
    #[serde(default, with = "super::patterns")]
    #[schema(value_type = Vec<String>)]
    pub filters: Vec<Pattern>,
    /// Where it starts. Cannot be changed.
    #[serde(default)]
    pub start: StartName,
    /// With `start: seq`: the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_seq: Option<u64>,
    /// With `start: time`: the moment.
    #[serde(default, with = "super::moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_time: Option<Moment>,
    /// What must be acknowledged. Cannot be changed.
    #[serde(default)]
    pub ack: AckName,
    /// How long a delivery may go unacknowledged; `30s` if not given.
    #[serde(default, with = "super::duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ack_wait: Option<Duration>,
    /// Waits before the second, third, … delivery.
    #[serde(default, with = "super::durations", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub backoff: Vec<Duration>,
    /// Deliveries after which a message is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_max: Option<u64>,
    /// Whether what is given up goes to the dead-letter stream.
    #[serde(default = "super::yes")]
    pub dead_letter: bool,
    /// Most deliveries outstanding; 1,000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_pending_max: Option<u64>,
    /// Nothing is delivered before this moment.
    #[serde(default, with = "super::moment", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pause_until: Option<Moment>,
    /// How long without a fetch before it goes.
    #[serde(default, with = "super::duration", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub inactive: Option<Duration>,
    /// What users note about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl ConsumerDeclaration {
    /// The declaration under the path's name.
    ///
    /// # Errors
    /// A problem where the body names another, or where `start` and its fields do not agree.
    pub fn named(self, name: &str) -> Result<ConsumerConfig, Problem> {
        agree(&self.name, name)?;
        let start = self.start()?;
        Ok(ConsumerConfig {
            description: self.description,
            durable: self.durable,
            filters: self.filters,
            start,
            ack: self.ack.into(),
            ack_wait: self.ack_wait.unwrap_or(ACK_WAIT_DEFAULT),
            backoff: self.backoff,
            deliver_max: self.deliver_max,
            dead_letter: self.dead_letter,
            ack_pending_max: Some(self.ack_pending_max.unwrap_or(ACK_PENDING_DEFAULT)),
            pause_until: self.pause_until,
            inactive: self.inactive,
            metadata: self.metadata,
            ..ConsumerConfig::new(name)
        })
    }

    fn start(&self) -> Result<ConsumerStart, Problem> {
        if self.start_seq.is_some() && self.start != StartName::Seq {
            return Err(Problem::field("start_seq", "needs start: seq"));
        }
        if self.start_time.is_some() && self.start != StartName::Time {
            return Err(Problem::field("start_time", "needs start: time"));
        }
        Ok(match self.start {
            StartName::All => ConsumerStart::All,
            StartName::Last => ConsumerStart::Last,
            StartName::New => ConsumerStart::New,
            StartName::LastPerSubject => ConsumerStart::LastPerSubject,
            StartName::Seq => {
                let missing = || Problem::field("start_seq", "is required by start: seq");
                ConsumerStart::Seq(self.start_seq.ok_or_else(missing)?)
            }
            StartName::Time => {
                let missing = || Problem::field("start_time", "is required by start: time");
                ConsumerStart::Time(self.start_time.ok_or_else(missing)?)
            }
        })
    }
}

impl From<ConsumerConfig> for ConsumerDeclaration {
    fn from(config: ConsumerConfig) -> Self {
        let (start, start_seq, start_time) = match config.start {
            ConsumerStart::All => (StartName::All, None, None),
            ConsumerStart::Last => (StartName::Last, None, None),
            ConsumerStart::New => (StartName::New, None, None),
            ConsumerStart::LastPerSubject => (StartName::LastPerSubject, None, None),
            ConsumerStart::Seq(seq) => (StartName::Seq, Some(seq), None),
            ConsumerStart::Time(time) => (StartName::Time, None, Some(time)),
        };
        ConsumerDeclaration {
            name: config.name,
            description: config.description,
            durable: config.durable,
            filters: config.filters,
            start,
            start_seq,
            start_time,
            ack: config.ack.into(),
            ack_wait: Some(config.ack_wait),
            backoff: config.backoff,
            deliver_max: config.deliver_max,
            dead_letter: config.dead_letter,
            ack_pending_max: config.ack_pending_max,
            pause_until: config.pause_until,
            inactive: config.inactive,
            metadata: config.metadata,
        }
    }
}

/// A consumer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumerView {
    stream: String,
    config: ConsumerDeclaration,
    #[schema(value_type = String, format = DateTime)]
    created: String,
    delivered: u64,
    deliveries: u64,
    ack_floor: u64,
    ack_pending: u64,
    redelivered: u64,
    pending: u64,
    waiting: u64,
    dead: u64,
}

impl From<ConsumerInfo> for ConsumerView {
    fn from(info: ConsumerInfo) -> Self {
        ConsumerView {
            stream: info.stream.as_ref().to_owned(),
            config: info.config.into(),
            created: info.created.to_string(),
            delivered: info.delivered,
            deliveries: info.deliveries,
            ack_floor: info.ack_floor,
            ack_pending: info.ack_pending,
            redelivered: info.redelivered,
            pending: info.pending,
            waiting: info.waiting,
            dead: info.dead,
        }
    }
}

/// Every consumer of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsumerList {
    /// By name.
    pub consumers: Vec<ConsumerView>,
}

/// A pull.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// Most messages; 10 if not given.
    #[serde(default)]
    pub batch: Option<u64>,
    /// Most bytes of subjects, headers and payloads.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// How long to wait for the batch to fill, such as `5s`. Not given: not at all.
    #[serde(default, with = "super::duration")]
    #[schema(value_type = Option<String>)]
    pub wait: Option<Duration>,
}

/// What is said of deliveries. Each verb takes some of the fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensRequest {
    /// The deliveries' tokens.
    pub tokens: Vec<String>,
    /// `ack` only: answer when the acknowledgement would survive a crash.
    #[serde(default)]
    pub sync: bool,
    /// `nak` only: how long until it is delivered again; the back-off's, if not given.
    #[serde(default, with = "super::duration")]
    #[schema(value_type = Option<String>)]
    pub delay: Option<Duration>,
    /// `term` only: why, as the dead letter will say.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the journal said of one token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenFault {
    /// The token.
    pub token: String,
    /// The problem type's slug.
    pub error: &'static str,
    /// What went wrong.
    pub detail: String,
}

/// What became of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct Acknowledged {
    /// How many were taken.
    pub acknowledged: u64,
    /// Those that were not.
    pub errors: Vec<TokenFault>,
}

/// Until when nothing is delivered. Neither field, or `null`: resume.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// A moment. Not with `for`.
    #[serde(default, with = "super::moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Moment>,
    /// A duration from now, such as `10m`. Not with `until`.
    #[serde(default, rename = "for", with = "super::duration")]
    #[schema(value_type = Option<String>)]
    pub span: Option<Duration>,
}
