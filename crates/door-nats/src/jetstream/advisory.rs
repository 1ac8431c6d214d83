//! What happens, told to whoever listens: `$JS.EVENT.ADVISORY.>`.
//!
//! The journal tells of what happens on its own threads; a task takes it from there. Where it does not
//! keep up, advisories are lost and counted, and what the door knows of streams is read anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use door::Parcel;
use event::{Message, Subject};
use journal::{Append, JournalEvent, Unpinned};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{JetStream, Request};

/// Where requests and their replies are told.
const AUDIT: &str = "$JS.EVENT.ADVISORY.API";
/// Events that wait to be told, at most.
const EVENTS_MAX: usize = 4096;

impl JetStream {
    /// Has what happens told from now on, and what the door knows kept true.
    pub(super) fn attend(self: &Arc<Self>) {
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&lost);
        self.port.journal().watch(Box::new(move |event| {
            if sender.try_send(event).is_err() {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let own = Arc::downgrade(self);
        self.spawn(async move {
            if let Some(own) = own.upgrade() {
                own.learn_all().await;
            }
            while let Some(event) = events.recv().await {
                let Some(own) = own.upgrade() else {
                    return;
                };
                own.happened(event).await;
                let missed = lost.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    tracing::warn!(missed, "advisories were lost: more happened than could be told");
                    own.learn_all().await;
                }
            }
        });
    }

    /// Reads what all streams are declared as.
    async fn learn_all(self: &Arc<Self>) {
        for info in self.port.journal().streams().await {
            self.catalogue.note(&info.config);
            self.relate(&info.config);
        }
    }

    async fn happened(self: &Arc<Self>, event: JournalEvent) {
        let journal = self.port.journal();
        match &event {
            JournalEvent::StreamCreated { stream }
            | JournalEvent::StreamUpdated { stream }
            | JournalEvent::StreamDeleted { stream } => match journal.stream_info(stream).await {
                Ok(info) => {
                    self.catalogue.note(&info.config);
                    self.relate(&info.config);
                }
                Err(_) => {
                    self.catalogue.forget(stream);
                    self.unrelate(stream);
                }
            },
            JournalEvent::ConsumerDeleted { stream, consumer } => {
                // One of the same name may be there again already.
                let gone = journal.consumer_info(stream, consumer).await.is_err();
                if gone {
                    self.delivering.forget(stream, consumer);
                }
            }
            _ => {}
        }
        self.tell(&event);
    }

    fn tell(&self, event: &JournalEvent) {
        let of_stream = |place: &str, stream: &str, action: &str| {
            let subject = format!("$JS.EVENT.ADVISORY.STREAM.{place}.{stream}");
            self.advise_typed(&subject, "stream_action", json!({ "stream": stream, "action": action }));
        };
        let of_consumer = |place: &str, kind: &str, stream: &str, consumer: &str, more: Value| {
            let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{place}.{stream}.{consumer}");
            let mut body = json!({ "stream": stream, "consumer": consumer });
            if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
                body.extend(more);
            }
            self.advise_typed(&subject, kind, body);
        };
        match event {
            JournalEvent::StreamCreated { stream } => of_stream("CREATED", stream, "create"),
            JournalEvent::StreamUpdated { stream } => of_stream("UPDATED", stream, "modify"),
            JournalEvent::StreamDeleted { stream } => of_stream("DELETED", stream, "delete"),
            JournalEvent::ConsumerCreated { stream, consumer } => {
                of_consumer("CREATED", "consumer_action", stream, consumer, json!({ "action": "create" }));
            }
            JournalEvent::ConsumerDeleted { stream, consumer } => {
                of_consumer("DELETED", "consumer_action", stream, consumer, json!({ "action": "delete" }));
            }
            JournalEvent::Paused { stream, consumer, until } => {
                let more = json!({ "paused": true, "pause_until": until.to_string() });
                of_consumer("PAUSE", "consumer_pause", stream, consumer, more);
            }
            JournalEvent::Resumed { stream, consumer } => {
                of_consumer("PAUSE", "consumer_pause", stream, consumer, json!({ "paused": false }));
            }
            JournalEvent::MaxDeliveries { stream, consumer, seq, deliveries, .. } => {
                let more = json!({ "stream_seq": seq, "deliveries": deliveries });
                of_consumer("MAX_DELIVERIES", "max_deliver", stream, consumer, more);
            }
            JournalEvent::Terminated { stream, consumer, seq, deliveries, order, reason } => {
                let more = json!({
                    "consumer_seq": order, "stream_seq": seq, "deliveries": deliveries, "reason": reason,
                });
                of_consumer("MSG_TERMINATED", "terminated", stream, consumer, more);
            }
            JournalEvent::Naked { stream, consumer, seq, deliveries, order } => {
                let more = json!({ "consumer_seq": order, "stream_seq": seq, "deliveries": deliveries });
                of_consumer("MSG_NAKED", "nak", stream, consumer, more);
            }
            JournalEvent::Pinned { stream, consumer, group, pin } => {
                let more = json!({ "account": "$G", "group": group, "pinned_id": &**pin });
                of_consumer("PINNED", "consumer_group_pinned", stream, consumer, more);
            }
            JournalEvent::Unpinned { stream, consumer, group, why } => {
                let reason = match why {
                    Unpinned::Asked => "admin",
                    Unpinned::Silent => "timeout",
                };
                let more = json!({ "account": "$G", "group": group, "reason": reason });
                of_consumer("UNPINNED", "consumer_group_unpinned", stream, consumer, more);
            }
        }
    }

    /// Whether anybody listens to what the API is asked.
    pub(super) fn is_audited(&self) -> bool {
        !self.port.fabric().way(AUDIT).is_empty()
    }

    /// Tells of a request and its reply.
    pub(super) fn audit(&self, request: &Request, reply: &[u8]) {
        let told = json!({
            "server": self.server_name,
            "client": {},
            "subject": request.subject,
            "request": String::from_utf8_lossy(&request.payload),
            "response": String::from_utf8_lossy(reply),
        });
        self.advise_typed(AUDIT, "api_audit", told);
    }

    /// Tells of something, to whoever listens.
    pub(super) fn advise_typed(&self, subject: &str, kind: &str, mut told: Value) {
        let captured = Subject::parse(subject).ok().filter(|subject| self.port.captured_by(subject).is_some());
        if captured.is_none() && self.port.fabric().way(subject).is_empty() {
            return;
        }
        if let Some(body) = told.as_object_mut() {
            body.insert("type".into(), format!("io.nats.jetstream.advisory.v1.{kind}").into());
            body.insert("id".into(), super::chance_id().into());
            body.insert("timestamp".into(), self.port.now().to_string().into());
        }
        let text = told.to_string();
        self.port.send(subject, &Parcel::new(subject, text.as_bytes()));
        if let Some(subject) = captured {
            // What cannot be recorded was told all the same.
            self.port.journal().append(Append::new(Message::new(subject, text)), Box::new(drop));
        }
    }
}
