//! JetStream on the journal's contract.
//!
//! A session hands over what belongs here: requests to `$JS.API.>`, acknowledgements on
//! `$JS.ACK.>`, answers to flow control on `$JS.FC.>`, and publishes to subjects that a stream
//! captures. Everything that goes out is a parcel to the subject on which it is awaited.

mod ack;
mod delivering;
mod flow;
mod groups;
mod outlet;
mod posts;
mod pull;
mod push;
#[cfg(test)]
mod tests;
mod timers;

use std::sync::Arc;

use bytes::Bytes;
use door::{ConnectionId, Parcel, Port, Principal, Way};
use event::{Headers, Message, Subject};

use crate::options::JetStreamOptions;

use delivering::{Delivering, Keeper};

/// What the subjects of requests begin with.
pub(crate) const API: &str = "$JS.API.";
/// What the subjects of acknowledgements begin with.
pub(crate) const ACK: &str = "$JS.ACK.";
/// What the subjects of answers to flow control begin with.
pub(crate) const FLOW: &str = "$JS.FC.";

/// A request to the API.
pub(crate) struct Request {
    /// The whole subject, `$JS.API.` included.
    pub(crate) subject: String,
    /// Where the answer goes. A request without is done and not answered.
    pub(crate) reply: Option<Subject>,
    /// Its headers.
    pub(crate) headers: Headers,
    /// Its body.
    pub(crate) payload: Bytes,
}

/// JetStream, for all connections of the door.
pub(crate) struct JetStream {
    pub(crate) port: Port,
    pub(crate) options: JetStreamOptions,
    pub(crate) server_name: String,
    delivering: Arc<Delivering>,
    _keeper: Keeper,
}

impl JetStream {
    pub(crate) fn new(port: Port, options: JetStreamOptions, server_name: String) -> Arc<Self> {
        let delivering = Delivering::new(port.clone());
        let keeper = delivering.keep();
        Arc::new(JetStream { port, options, server_name, delivering, _keeper: keeper })
    }

    /// Does a request that can be done at once without waiting (`CONSUMER.MSG.NEXT`, direct get):
    /// called in the connection's own turn, so it must not block. Gives the others back, for
    /// [`JetStream::request`].
    pub(crate) fn request_now(self: &Arc<Self>, who: &Principal, request: Request) -> Option<Request> {
        if request.subject.starts_with(pull::NEXT) {
            return self.next_now(who, request);
        }
        Some(request)
    }

    /// Does a request and sends its answer. Requests of one connection are done one after the other.
    pub(crate) async fn request(self: Arc<Self>, who: Principal, request: Request) {
        if request.subject.starts_with(pull::NEXT) {
            self.next(&who, &request).await;
        }
    }

    /// Takes an acknowledgement. `reply`: where the answer to a double acknowledgement goes.
    pub(crate) fn acknowledge(self: &Arc<Self>, who: &Principal, subject: &str, reply: &str, payload: &[u8]) {
        self.acknowledged(who, subject, reply, payload);
    }

    /// Takes a client's answer to flow control.
    pub(crate) fn flow(self: &Arc<Self>, who: &Principal, subject: &str) {
        self.flow_answered(who, subject);
    }

    /// Records a message whose subject a stream captures, and answers on its reply subject. `way`
    /// leads to those who hear the subject live; `without` is the connection that is not to.
    pub(crate) fn publish(
        self: &Arc<Self>,
        _who: &Principal,
        _way: &Arc<Way>,
        _without: ConnectionId,
        _message: Message,
    ) {
    }

    /// Sends an answer.
    pub(crate) fn answer(&self, to: &Subject, payload: &[u8]) {
        self.port.send(to.as_str(), &Parcel::new(to.as_str(), payload));
    }
}
