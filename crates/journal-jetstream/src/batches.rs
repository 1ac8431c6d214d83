//! Atomic batches: several messages in one stream, all or none (NATS ADR-50).
//!
//! The messages are published under one batch's name, numbered; the last one commits. Until then the
//! stream's leader holds them, and forgets them if the commit does not come. A commit that is not
//! answered is not sent again: whether it took place is unknown, and the publisher is told so.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::Request;
use async_nats::header::{HeaderName, HeaderValue};
use journal::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use journal::{Append, AppendError, BatchError, Expect, Proof, Receipt, Storage};

use crate::catalogue::Known;
use crate::codec::headers_of;
use crate::engine::Shared;
use crate::limits::REQUEST_TIMEOUT;
use crate::wire::PubAck;
use crate::{streams, verdict};

fn whole(error: AppendError) -> BatchError {
    BatchError { index: 0, error }
}

pub(crate) async fn append_all(shared: Arc<Shared>, appends: Vec<Append>) -> Result<Receipt, BatchError> {
    let stream = judge(&shared, &appends).await?;
    let inbox = shared.client.new_inbox();
    let batch = inbox.rsplit('.').next().unwrap_or_default();
    let last = appends.len() - 1;
    for (index, append) in appends.iter().enumerate() {
        let mut headers = headers_of(append, None).unwrap_or_default();
        say(&mut headers, "Nats-Batch-Id", batch);
        say(&mut headers, "Nats-Batch-Sequence", &(index + 1).to_string());
        let (subject, payload) = (append.message.subject.to_string(), append.message.payload.clone());
        if index < last {
            let sent = shared.client.publish_with_headers(subject, headers, payload).await;
            sent.map_err(|error| BatchError { index, error: AppendError::Closed(error.to_string()) })?;
            continue;
        }
        say(&mut headers, "Nats-Batch-Commit", "1");
        let request = Request::new().headers(headers).payload(payload).timeout(Some(REQUEST_TIMEOUT));
        let asked = shared.client.send_request(subject, request).await;
        let wire = asked.map_err(|error| whole(AppendError::Closed(error.to_string())))?;
        // The server does not say which it was; where one alone asks for something, it is that.
        let asking = appends.iter().position(|append| append.expect != Expect::default());
        let (index, append) = asking.and_then(|index| Some((index, appends.get(index)?))).unwrap_or((0, append));
        return answered(&stream, append, &wire.payload).map_err(|error| BatchError { index, ..error });
    }
    Err(whole(AppendError::BatchUnsupported("it is empty")))
}

fn say(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
        headers.append(name, value);
    }
}

/// What refuses a batch before it is sent; gives the stream that takes it.
async fn judge(shared: &Shared, appends: &[Append]) -> Result<Arc<Known>, BatchError> {
    let Some(first) = appends.first() else {
        return Err(whole(AppendError::BatchUnsupported("it is empty")));
    };
    let bytes: usize = appends.iter().map(|append| append.message.size()).sum();
    if appends.len() > BATCH_MESSAGES_MAX || bytes > BATCH_BYTES_MAX {
        return Err(whole(AppendError::BatchTooLarge));
    }
    let subject = &first.message.subject;
    let stream = match shared.catalogue.capturing(subject.as_str()) {
        Some(stream) => stream,
        None => match shared.catalogue.ask(subject).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return Err(whole(AppendError::NoStream(subject.to_string()))),
            Err(error) => return Err(whole(AppendError::Storage(error.to_string()))),
        },
    };
    if !stream.config.allow_atomic {
        return Err(whole(AppendError::BatchNotAllowed));
    }
    let mut ids = HashSet::new();
    for (index, append) in appends.iter().enumerate() {
        let repeated = append.id.as_ref().is_some_and(|id| !ids.insert(id));
        if repeated {
            return Err(BatchError { index, error: AppendError::BatchDuplicate });
        }
        let subject = append.message.subject.as_str();
        if !stream.config.captures(subject) {
            let found = shared.catalogue.capturing(subject);
            let error = match found {
                Some(found) => {
                    AppendError::OtherStream { expected: stream.name.to_string(), found: found.name.to_string() }
                }
                None => AppendError::NoStream(subject.to_owned()),
            };
            return Err(BatchError { index, error });
        }
        streams::admit(&stream.config, append).map_err(|error| BatchError { index, error })?;
    }
    Ok(stream)
}

fn answered(stream: &Known, append: &Append, payload: &[u8]) -> Result<Receipt, BatchError> {
    let ack: PubAck = serde_json::from_slice(payload).map_err(|error| whole(AppendError::Closed(error.to_string())))?;
    if let Some(error) = ack.error {
        let refused = match error.err_code {
            10174 => AppendError::BatchNotAllowed,
            10199 => AppendError::BatchTooLarge,
            10201 => AppendError::BatchDuplicate,
            _ => verdict::plain(append, stream, &error).unwrap_or_else(|| AppendError::Storage(error.to_string())),
        };
        return Err(whole(refused));
    }
    let proof = match stream.config.storage {
        Storage::Memory => Proof::Memory,
        Storage::File => Proof::Replicas(stream.config.replicas),
    };
    Ok(Receipt { stream: Arc::clone(&stream.name), seq: ack.seq, duplicate: false, proof })
}
