//! What became of a run, as it is recorded.
//!
//! A run is one call of the plugin for some facts; a run that fails is tried again under the same
//! number, with the next attempt. Records in the order in which they were made are all that a restart needs to know
//! which facts are finished and how often the others were tried.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use event::Moment;
use serde_json::{Value, json};
use thiserror::Error;

use crate::part::{FactRef, moment};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunStatus {
    /// The plugin is about to be called.
    Started,
    /// A part was derived.
    Succeeded,
    /// It failed and will be tried again.
    Failed,
    /// It failed for the last time: its facts are dead letters.
    Dead,
    /// It was stopped by us; the attempt does not count.
    Interrupted,
    /// There was nothing left to run it for: the facts had gone.
    Skipped,
}

impl RunStatus {
    const ALL: [(RunStatus, &'static str); 6] = [
        (RunStatus::Started, "started"),
        (RunStatus::Succeeded, "succeeded"),
        (RunStatus::Failed, "failed"),
        (RunStatus::Dead, "dead"),
        (RunStatus::Interrupted, "interrupted"),
        (RunStatus::Skipped, "skipped"),
    ];

    /// As records name it.
    pub fn as_str(self) -> &'static str {
        RunStatus::ALL.iter().find(|(status, _)| *status == self).map_or("", |(_, name)| name)
    }

    /// As routerd names it: what is started or interrupted is pending there, what is dead has failed.
    pub fn routerd(self) -> &'static str {
        match self {
            RunStatus::Started | RunStatus::Interrupted => "pending",
            RunStatus::Succeeded | RunStatus::Skipped => "succeeded",
            RunStatus::Failed | RunStatus::Dead => "failed",
        }
    }

    /// Whether its facts are finished.
    pub fn is_final(self) -> bool {
        matches!(self, RunStatus::Succeeded | RunStatus::Dead | RunStatus::Skipped)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt: u32,
    /// When the plugin was called.
    pub started: Moment,
    /// When it was known to have failed.
    pub ended: Moment,
    /// Why.
    pub error: String,
}

/// A run at one moment of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The name of the subscription.
    pub subscription: String,
    /// The name of the plugin.
    pub plugin: String,
    /// Where the facts come from.
    pub group: String,
    /// Unique in the subscription; 0: the plugin was not called.
    pub run: u64,
    /// Counts from 1; 0: the plugin was not called.
    pub attempt: u32,
    /// What became of it.
    pub status: RunStatus,
    /// The facts, by id.
    pub facts: Vec<FactRef>,
    /// When the plugin was called, or would have been.
    pub started: Moment,
    /// When that was over. `None`: it is not.
    pub ended: Option<Moment>,
    /// The source of the part that was derived.
    pub source: Option<String>,
    /// Its generation; 0: there is none.
    pub generation: u64,
    /// The source of the part that it is to take the place of.
    pub replaces: Option<String>,
    /// Why it failed, or was skipped.
    pub error: Option<String>,
    /// The attempts that failed, this one among them.
    pub history: Vec<Attempt>,
}

/// Why a value is not a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a record of a run: {0}")]
pub struct RecordError(pub String);

impl RunRecord {
    /// As JSON. [`RunRecord::from_json`] reads the same record back.
    pub fn to_json(&self) -> Value {
        let attempt = |attempt: &Attempt| {
            json!({"attempt": attempt.attempt, "startedAt": attempt.started.to_string(),
                "endedAt": attempt.ended.to_string(), "error": attempt.error})
        };
        json!({
            "subscription": self.subscription,
            "plugin": self.plugin,
            "group": self.group,
            "run": self.run,
            "attempt": self.attempt,
            "status": self.status.as_str(),
            "facts": self.facts.iter().map(FactRef::to_json).collect::<Vec<_>>(),
            "startedAt": self.started.to_string(),
            "endedAt": self.ended.map(|moment| moment.to_string()),
            "source": self.source,
            "generation": self.generation,
            "replaces": self.replaces,
            "error": self.error,
            "history": self.history.iter().map(attempt).collect::<Vec<_>>(),
        })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`] names the field that is missing or wrong.
    pub fn from_json(value: &Value) -> Result<Self, RecordError> {
        let wrong = |key: &str| RecordError(key.into());
        let word = |key: &str| value.get(key).and_then(Value::as_str).map(ToString::to_string);
        let needed = |key: &str| word(key).ok_or_else(|| wrong(key));
        let number = |key: &str| value.get(key).and_then(Value::as_u64).ok_or_else(|| wrong(key));
        let time =
            |value: &Value, key: &str| moment(value.get(key), key).map_err(|error| RecordError(error.to_string()));
        let status = needed("status")?;
        let status = RunStatus::ALL.iter().find(|(_, name)| *name == status).ok_or_else(|| wrong("status"))?.0;
        let items = |key: &str| value.get(key).and_then(Value::as_array).ok_or_else(|| wrong(key));
        let attempt = |item: &Value| -> Result<Attempt, RecordError> {
            let number = item.get("attempt").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            Ok(Attempt {
                attempt: number.ok_or_else(|| wrong("history.attempt"))?,
                started: time(item, "startedAt")?.unwrap_or_default(),
                ended: time(item, "endedAt")?.unwrap_or_default(),
                error: item.get("error").and_then(Value::as_str).unwrap_or_default().into(),
            })
        };
        let facts = items("facts")?.iter().map(|item| FactRef::from_json(item).ok_or_else(|| wrong("facts")));
        Ok(RunRecord {
            subscription: needed("subscription")?,
            plugin: needed("plugin")?,
            group: needed("group")?,
            run: number("run")?,
            attempt: u32::try_from(number("attempt")?).map_err(|_| wrong("attempt"))?,
            status,
            facts: facts.collect::<Result<_, _>>()?,
            started: time(value, "startedAt")?.unwrap_or_default(),
            ended: time(value, "endedAt")?,
            source: word("source"),
            generation: number("generation")?,
            replaces: word("replaces"),
            error: word("error"),
            history: items("history")?.iter().map(attempt).collect::<Result<_, _>>()?,
        })
    }

    /// What names the run everywhere: `EventSubscription/<name>#<run>`.
    pub fn reference(&self) -> String {
        format!("EventSubscription/{}#{}", self.subscription, self.run)
    }
}
