//! Mirrors and sources: streams that take over what others record.

use door::Parcel;
use event::Message;
use journal::StreamConfig;

use super::JetStream;
use super::known::Known;
use super::wire::SourceReply;

impl JetStream {
    /// Publishes a recorded message again, where its stream says so.
    pub(super) fn republish(&self, known: &Known, message: &Message, seq: u64, duplicate: bool) {
        let Some(republish) = known.config.republish.as_ref().filter(|_| !duplicate) else {
            return;
        };
        let Some(subject) = republish.transform.apply(&message.subject, seq) else {
            return;
        };
        let mut headers = String::from_utf8_lossy(message.headers.as_block()).into_owned();
        let (stream, from, time) = (&known.config.name, message.subject.as_str(), self.port.now());
        headers.push_str(&format!(
            "Nats-Stream: {stream}\r\nNats-Subject: {from}\r\nNats-Sequence: {seq}\r\n\
             Nats-Time-Stamp: {time}\r\nNats-Last-Sequence: 0\r\n"
        ));
        let payload: &[u8] = if republish.headers_only { b"" } else { &message.payload };
        if republish.headers_only {
            headers.push_str(&format!("Nats-Msg-Size: {}\r\n", message.payload.len()));
        }
        let parcel = Parcel { headers: headers.as_bytes(), ..Parcel::new(subject.as_str(), payload) };
        self.port.send(subject.as_str(), &parcel);
    }

    /// Lets a stream take over what its declaration says, from now on.
    pub(super) fn relate(&self, _config: &StreamConfig) {}

    /// Lets a stream that is gone take over nothing more.
    pub(super) fn unrelate(&self, _stream: &str) {}

    /// How a stream's mirror and sources are.
    pub(super) fn relations_of(&self, _config: &StreamConfig) -> (Option<SourceReply>, Vec<SourceReply>) {
        (None, Vec::new())
    }
}
