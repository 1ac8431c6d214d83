//! What a refused append means.
//!
//! Most refusals say all there is. A precondition that did not hold in a cluster may be refused with a
//! text without the position that was found (10164 in place of 10071), or because another append to
//! the same subject was on its way: then the truth is asked for, and where the precondition holds
//! after all, the append is sent again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use event::Pattern;
use journal::{Append, AppendError};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::api::call;
use crate::catalogue::{Catalogue, Known};
use crate::courier::{Gauge, Job, Order};
use crate::wire::{ApiError, Got, Stream};

/// How often an append is sent again whose precondition holds, but was refused for others on their way.
const TRIES: u32 = 20;

const WRONG_LAST_SEQUENCE: u32 = 10071;
const WRONG_LAST_SEQUENCE_CONSTANT: u32 = 10164;

/// What a refusal means, where the refusal itself says so.
pub(crate) fn plain(append: &Append, stream: &Known, error: &ApiError) -> Option<AppendError> {
    let text = error.description.as_str();
    Some(match error.err_code {
        WRONG_LAST_SEQUENCE => return wrong_sequence(append, text),
        WRONG_LAST_SEQUENCE_CONSTANT => return None,
        10060 => AppendError::OtherStream {
            expected: append.expect.stream.clone().unwrap_or_default(),
            found: stream.name.to_string(),
        },
        10070 => {
            AppendError::LastId { expected: append.expect.last_id.clone().unwrap_or_default(), found: found_id(text) }
        }
        10054 | 10097 => {
            let max = stream.config.message_bytes_max.map_or(0, u64::from);
            AppendError::TooLarge { size: append.message.size() as u64, max }
        }
        10165 | 10166 => AppendError::TtlNotAllowed,
        _ if text.contains("maximum messages per subject") => AppendError::Full { limit: "messages_per_subject_max" },
        _ if text.contains("maximum messages") => AppendError::Full { limit: "messages_max" },
        _ if text.contains("maximum bytes") => AppendError::Full { limit: "bytes_max" },
        10059 => AppendError::NoStream(append.message.subject.to_string()),
        _ => AppendError::Storage(error.to_string()),
    })
}

fn wrong_sequence(append: &Append, text: &str) -> Option<AppendError> {
    let found: u64 = text.rsplit(' ').next()?.parse().ok()?;
    match (append.expect.last, append.expect.last_of_subject) {
        (Some(expected), None) => Some(AppendError::LastSeq { expected, found }),
        (None, Some(expected)) => Some(AppendError::LastSubjectSeq { expected, found }),
        _ => None,
    }
}

fn found_id(text: &str) -> String {
    let id = text.split_once("last msg ID: ").or_else(|| text.split_once("last msg id: ")).map_or("", |(_, id)| id);
    if id.starts_with("tidings.") { String::new() } else { id.to_owned() }
}

/// Finds out, in tasks of its own.
pub(crate) struct Judge {
    pub(crate) client: Client,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Back to the courier's door, for what is to be sent again.
    pub(crate) again: mpsc::WeakUnboundedSender<Order>,
    pub(crate) gauge: Arc<Gauge>,
}

impl Judge {
    /// Looks whether the stream is still there, soon.
    pub(crate) fn doubt(&self, _stream: &Arc<str>) {
        self.catalogue.refresh_soon();
    }

    /// Whether the stream was found to be gone since the append was taken in.
    pub(crate) fn is_gone(&self, stream: &Known) -> bool {
        !self.catalogue.has(stream)
    }

    /// Answers an append whose precondition was refused.
    pub(crate) fn judge(&self, job: Job, error: ApiError) {
        let (client, again, gauge) = (self.client.clone(), self.again.clone(), Arc::clone(&self.gauge));
        tokio::spawn(async move {
            let found = found(&client, job.append.clone(), Arc::clone(&job.stream)).await;
            match found {
                Ok(Some(refusal)) => (job.done)(Err(refusal)),
                Ok(None) => retry(job, &again, &gauge, &error).await,
                Err(reason) => (job.done)(Err(AppendError::Storage(format!("{error}; {reason}")))),
            }
        });
    }
}

async fn retry(job: Job, again: &mpsc::WeakUnboundedSender<Order>, gauge: &Gauge, error: &ApiError) {
    let tries = job.tries + 1;
    if tries > TRIES {
        return (job.done)(Err(AppendError::Storage(error.to_string())));
    }
    sleep(Duration::from_millis(u64::from(tries))).await;
    let closed = || AppendError::Closed(String::from("the engine is shutting down"));
    let Some(sender) = again.upgrade() else { return (job.done)(Err(closed())) };
    gauge.one_again();
    if let Err(mpsc::error::SendError(Order::Append(job))) = sender.send(Order::Append(Box::new(Job { tries, ..job })))
    {
        gauge.one_less();
        (job.done)(Err(closed()));
    }
}

/// The precondition that does not hold, as of now.
async fn found(client: &Client, append: Append, stream: Arc<Known>) -> Result<Option<AppendError>, String> {
    let (expect, stream) = (&append.expect, &stream.name);
    if let Some(expected) = expect.last {
        let info: Stream = call(client, &format!("STREAM.INFO.{stream}"), &serde_json::Value::Null)
            .await
            .map_err(|error| error.to_string())?;
        if info.state.last_seq != expected {
            return Ok(Some(AppendError::LastSeq { expected, found: info.state.last_seq }));
        }
    }
    if let Some(expected) = expect.last_of_subject {
        let subject = expect.subject.as_ref().map_or(append.message.subject.as_str(), Pattern::as_str);
        let asked = call::<Got>(client, &format!("STREAM.MSG.GET.{stream}"), &json!({ "last_by_subj": subject })).await;
        let found = match asked {
            Ok(got) => got.message.seq,
            Err(fault) if fault.number() == 10037 => 0,
            Err(fault) => return Err(fault.to_string()),
        };
        if found != expected {
            return Ok(Some(AppendError::LastSubjectSeq { expected, found }));
        }
    }
    Ok(None)
}
