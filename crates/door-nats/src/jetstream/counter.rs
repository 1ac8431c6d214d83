//! Counters: messages that say by how much a subject's number grows.
//!
//! The body of each message is the number so far, `{"val":"3"}`. Two increments of one subject cannot
//! both start from the same number: each expects the position that it read, and begins anew where
//! another was faster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use door::{NOBODY, PublishError, Published};
use event::Pattern;
use journal::{AppendError, Expect, ReadError};
use serde::Deserialize;

use super::JetStream;
use super::errors::{self as e, ApiError};
use super::publish::{Extra, Publish};

/// How long until an increment is tried again that another was faster than.
const AGAIN: Duration = Duration::from_millis(1);

#[derive(Deserialize)]
struct Value {
    val: String,
}

impl JetStream {
    /// A message that adds to a counter.
    pub(super) fn take_increment(self: &Arc<Self>, publish: Publish, by: &str, stream: &Arc<str>) {
        let Ok(by) = by.trim_start_matches('+').parse::<i128>() else {
            return self.refuse(publish.append.message.reply.as_ref(), stream, &e::INCR_INVALID);
        };
        let (own, stream) = (Arc::clone(self), Arc::clone(stream));
        self.spawn(async move { own.increment(publish, by, &stream).await });
    }

    async fn increment(self: Arc<Self>, publish: Publish, by: i128, stream: &str) {
        let reply = publish.append.message.reply.clone();
        loop {
            let (seq, sum) = match self.counted(&publish, by, stream).await {
                Ok(found) => found,
                Err(error) => return self.refuse(reply.as_ref(), stream, &error),
            };
            let mut append = publish.append.clone();
            append.message.payload = Bytes::from(format!("{{\"val\":\"{sum}\"}}"));
            append.expect = Expect { last_of_subject: Some(seq), ..Expect::default() };
            match self.recorded_by(&publish, append).await {
                Ok(Published::Recorded(receipt)) => {
                    let value = sum.to_string();
                    let extra = Extra { value: Some(&value), ..Extra::default() };
                    return self.acknowledge_publish(reply.as_ref(), &receipt, &extra);
                }
                Err(PublishError::Journal(AppendError::LastSubjectSeq { .. } | AppendError::Busy)) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(Published::Delivered(_)) => return,
                Err(error) => return self.refuse(reply.as_ref(), stream, &ApiError::of_publish(&error)),
            }
        }
    }

    /// Where the number stands, and what it becomes.
    async fn counted(&self, publish: &Publish, by: i128, stream: &str) -> Result<(u64, i128), ApiError> {
        let subject = Pattern::parse(publish.append.message.subject.as_str()).map_err(|_| e::BAD_REQUEST)?;
        let (seq, so_far) = match self.port.journal().last(stream, &subject).await {
            Ok(stored) => {
                let value: Value = serde_json::from_slice(&stored.message.payload).map_err(|_| e::COUNTER_BROKEN)?;
                (stored.seq, value.val.parse::<i128>().map_err(|_| e::COUNTER_BROKEN)?)
            }
            Err(ReadError::NoMessage) => (0, 0),
            Err(error) => return Err(door::Refused::Journal(error).into()),
        };
        so_far.checked_add(by).map(|sum| (seq, sum)).ok_or(e::INCR_INVALID)
    }

    async fn recorded_by(&self, publish: &Publish, append: journal::Append) -> Result<Published, PublishError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let without = if publish.way.is_empty() { NOBODY } else { publish.without };
        self.port.publish_from(&publish.who, without, Some(&publish.way), append, move |outcome| {
            // Whoever left does not want to know.
            let _unwanted = sender.send(outcome);
        });
        receiver.await.unwrap_or_else(|_| Err(AppendError::Closed("given up".into()).into()))
    }
}
