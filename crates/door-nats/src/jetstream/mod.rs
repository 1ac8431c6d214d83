//! JetStream on the journal's contract.
//!
//! A session hands over what belongs here: requests to `$JS.API.>`, acknowledgements on
//! `$JS.ACK.>`, answers to flow control on `$JS.FC.>`, and publishes to subjects that a stream
//! captures. Everything that goes out is a parcel to the subject on which it is awaited.

mod account;
mod ack;
mod advisory;
mod batch;
mod consumer_forms;
mod consumers;
mod counter;
mod delivering;
mod dispatch;
mod errors;
mod flow;
mod get;
mod groups;
mod known;
mod outlet;
mod posts;
mod publish;
mod pull;
mod push;
mod relations;
mod stream_checks;
mod stream_forms;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use door::{ConnectionId, NOBODY, Parcel, Port, Principal, Way};
use event::{Headers, Message, Subject};
use journal::{Append, ConsumerInfo};
use ring::rand::SecureRandom;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::options::JetStreamOptions;

use account::Counters;
use batch::Batches;
use delivering::{Delivering, Keeper};
use errors::ApiError;
use known::Catalogue;
use publish::{Held, Publish};
use relations::Relations;

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

/// What a request gives: the reply's body, or its error.
type Answered = Result<Value, ApiError>;

/// JetStream, for all connections of the door.
pub(crate) struct JetStream {
    pub(crate) port: Port,
    pub(crate) options: JetStreamOptions,
    pub(crate) server_name: String,
    delivering: Arc<Delivering>,
    catalogue: Catalogue,
    counters: Counters,
    held: Held,
    batches: Batches,
    relations: Relations,
    runtime: Option<Handle>,
    _keeper: Keeper,
}

impl JetStream {
    pub(crate) fn new(port: Port, options: JetStreamOptions, server_name: String) -> Arc<Self> {
        let delivering = Delivering::new(port.clone());
        let keeper = delivering.keep();
        let runtime = Handle::try_current().ok();
        let made = Arc::new(JetStream {
            port,
            options,
            server_name,
            delivering,
            catalogue: Catalogue::default(),
            counters: Counters::default(),
            held: Held::default(),
            batches: Batches::default(),
            relations: Relations::default(),
            runtime,
            _keeper: keeper,
        });
        made.attend();
        made
    }

    /// Has something done beside; without an executor, nothing is.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// Takes in what a consumer is declared as, and has its push begin or change.
    async fn consumer_declared(&self, info: &ConsumerInfo) {
        if let Ok(stream) = self.port.journal().stream_info(&info.stream).await {
            self.delivering.declare(info, &stream.config.subjects);
        }
    }

    /// Does a request that can be done at once without waiting (`CONSUMER.MSG.NEXT`, direct get):
    /// called in the connection's own turn, so it must not block. Gives the others back, for
    /// [`JetStream::request`].
    pub(crate) fn request_now(self: &Arc<Self>, who: &Principal, request: Request) -> Option<Request> {
        if request.subject.starts_with(pull::NEXT) {
            return self.next_now(who, request);
        }
        if request.subject.starts_with(get::DIRECT) {
            return self.direct_now(who, request);
        }
        Some(request)
    }

    /// Does a request and sends its answer. Requests of one connection are done one after the other.
    pub(crate) async fn request(self: Arc<Self>, who: Principal, request: Request) {
        if request.subject.starts_with(pull::NEXT) {
            return self.next(&who, &request).await;
        }
        self.dispatch(&who, &request).await;
        self.delivering.begin_declared();
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
    /// leads to those who hear the subject live, `answer` to those who await the acknowledgement;
    /// `without` is the connection that is not to hear it.
    pub(crate) fn publish(
        self: &Arc<Self>,
        who: &Principal,
        way: &Arc<Way>,
        without: ConnectionId,
        message: Message,
        answer: Option<Arc<Way>>,
    ) {
        let append = Append::new(message);
        self.take(Publish { who: who.clone(), way: Arc::clone(way), without, append, answer });
    }

    /// Sends an answer along a way that leads to `to`, or to where it leads now.
    pub(crate) fn answer_along(&self, way: Option<&Way>, to: &Subject, payload: &[u8]) {
        let fabric = self.port.fabric();
        let Some(way) = way.filter(|way| fabric.is_current(way)) else {
            return self.answer(to, payload);
        };
        let parcel = Parcel::new(to.as_str(), payload);
        let (taken, refused) = way.offer(&parcel, NOBODY, &mut |taker| taker.wake());
        fabric.count(taken, refused);
    }

    /// Sends an answer.
    pub(crate) fn answer(&self, to: &Subject, payload: &[u8]) {
        self.port.send(to.as_str(), &Parcel::new(to.as_str(), payload));
    }
}

/// An id for what is told, as clients expect one: 22 letters and digits.
fn chance_id() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0; 22];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::debug!("the system gives no entropy for the id of an advisory");
    }
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}
