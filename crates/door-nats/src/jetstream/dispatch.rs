//! From a request's subject to the verb that does it, and from its outcome to the reply.
//!
//! A subject that names no verb is met with silence, as a NATS server does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use door::{Parcel, Principal};
use serde_json::Value;

use super::consumers::CreateForm;
use super::errors::{self as e, ApiError};
use super::wire::Reply;
use super::{API, Answered, JetStream, Request};
use crate::limits::API_LEVEL;

/// Header in which a client says the level of the API that it needs.
const REQUIRED_LEVEL: &str = "Nats-Required-Api-Level";

/// What a subject asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb<'a> {
    Account,
    StreamCreate(&'a str),
    StreamUpdate(&'a str),
    StreamInfo(&'a str),
    StreamNames,
    StreamList,
    StreamDelete(&'a str),
    StreamPurge(&'a str),
    MessageGet(&'a str),
    MessageDelete(&'a str),
    ConsumerCreate(&'a str, CreateForm<'a>),
    ConsumerInfo(&'a str, &'a str),
    ConsumerNames(&'a str),
    ConsumerList(&'a str),
    ConsumerDelete(&'a str, &'a str),
    ConsumerPause(&'a str, &'a str),
    ConsumerReset(&'a str, &'a str),
    ConsumerUnpin(&'a str, &'a str),
}

impl<'a> Verb<'a> {
    /// The verb of a subject's tail, behind `$JS.API.`.
    fn parse(tail: &'a str) -> Option<Self> {
        let (first, rest) = tail.split_once('.').unwrap_or((tail, ""));
        match first {
            "INFO" if rest.is_empty() => Some(Verb::Account),
            "STREAM" => Verb::of_stream(rest),
            "CONSUMER" => Verb::of_consumer(rest),
            _ => None,
        }
    }

    fn of_stream(rest: &'a str) -> Option<Self> {
        let (verb, name) = rest.split_once('.').unwrap_or((rest, ""));
        if let Some(message) = rest.strip_prefix("MSG.") {
            let (verb, name) = message.split_once('.')?;
            return match verb {
                _ if !one_token(name) => None,
                "GET" => Some(Verb::MessageGet(name)),
                "DELETE" => Some(Verb::MessageDelete(name)),
                _ => None,
            };
        }
        match (verb, name) {
            ("NAMES", "") => Some(Verb::StreamNames),
            ("LIST", "") => Some(Verb::StreamList),
            (_, name) if !one_token(name) => None,
            ("CREATE", name) => Some(Verb::StreamCreate(name)),
            ("UPDATE", name) => Some(Verb::StreamUpdate(name)),
            ("INFO", name) => Some(Verb::StreamInfo(name)),
            ("DELETE", name) => Some(Verb::StreamDelete(name)),
            ("PURGE", name) => Some(Verb::StreamPurge(name)),
            _ => None,
        }
    }

    fn of_consumer(rest: &'a str) -> Option<Self> {
        let (verb, names) = rest.split_once('.')?;
        if verb == "DURABLE" {
            let (stream, name) = names.strip_prefix("CREATE.")?.split_once('.')?;
            return one_token(name).then_some(Verb::ConsumerCreate(stream, CreateForm::Durable { name }));
        }
        let Some((stream, name)) = names.split_once('.') else {
            return match verb {
                _ if names.is_empty() => None,
                "CREATE" => Some(Verb::ConsumerCreate(names, CreateForm::Ephemeral)),
                "NAMES" => Some(Verb::ConsumerNames(names)),
                "LIST" => Some(Verb::ConsumerList(names)),
                _ => None,
            };
        };
        if verb == "CREATE" {
            let (name, filter) = name.split_once('.').unwrap_or((name, ""));
            return Some(Verb::ConsumerCreate(stream, CreateForm::Named { name, filter }));
        }
        match verb {
            _ if !one_token(name) => None,
            "INFO" => Some(Verb::ConsumerInfo(stream, name)),
            "DELETE" => Some(Verb::ConsumerDelete(stream, name)),
            "PAUSE" => Some(Verb::ConsumerPause(stream, name)),
            "RESET" => Some(Verb::ConsumerReset(stream, name)),
            "UNPIN" => Some(Verb::ConsumerUnpin(stream, name)),
            _ => None,
        }
    }

    /// What replies say that they are.
    fn kind(self) -> &'static str {
        match self {
            Verb::Account => "io.nats.jetstream.api.v1.account_info_response",
            Verb::StreamCreate(_) => "io.nats.jetstream.api.v1.stream_create_response",
            Verb::StreamUpdate(_) => "io.nats.jetstream.api.v1.stream_update_response",
            Verb::StreamInfo(_) => "io.nats.jetstream.api.v1.stream_info_response",
            Verb::StreamNames => "io.nats.jetstream.api.v1.stream_names_response",
            Verb::StreamList => "io.nats.jetstream.api.v1.stream_list_response",
            Verb::StreamDelete(_) => "io.nats.jetstream.api.v1.stream_delete_response",
            Verb::StreamPurge(_) => "io.nats.jetstream.api.v1.stream_purge_response",
            Verb::MessageGet(_) => "io.nats.jetstream.api.v1.stream_msg_get_response",
            Verb::MessageDelete(_) => "io.nats.jetstream.api.v1.stream_msg_delete_response",
            Verb::ConsumerCreate(..) => "io.nats.jetstream.api.v1.consumer_create_response",
            Verb::ConsumerInfo(..) => "io.nats.jetstream.api.v1.consumer_info_response",
            Verb::ConsumerNames(_) => "io.nats.jetstream.api.v1.consumer_names_response",
            Verb::ConsumerList(_) => "io.nats.jetstream.api.v1.consumer_list_response",
            Verb::ConsumerDelete(..) => "io.nats.jetstream.api.v1.consumer_delete_response",
            Verb::ConsumerPause(..) => "io.nats.jetstream.api.v1.consumer_pause_response",
            Verb::ConsumerReset(..) => "io.nats.jetstream.api.v1.consumer_reset_response",
            Verb::ConsumerUnpin(..) => "io.nats.jetstream.api.v1.consumer_unpin_response",
        }
    }
}

/// Whether a text is one token of a subject.
fn one_token(text: &str) -> bool {
    !text.is_empty() && !text.contains('.')
}

impl JetStream {
    /// Does a request and answers it.
    pub(super) async fn dispatch(self: &Arc<Self>, who: &Principal, request: &Request) {
        let tail = request.subject.strip_prefix(API).unwrap_or_default();
        let Some(verb) = Verb::parse(tail) else {
            return;
        };
        let answered = match self.check_level(request) {
            Ok(()) => self.perform(who, verb, request).await,
            Err(error) => Err(error),
        };
        let nobody = matches!(verb, Verb::ConsumerReset(..))
            && matches!(&answered, Err(error) if *error == e::CONSUMER_NOT_FOUND || *error == e::STREAM_NOT_FOUND);
        match &request.reply {
            // A NATS server listens there for each consumer that there is.
            Some(reply) if nobody => self.nobody(reply, &request.subject),
            _ => self.reply(verb.kind(), request, answered),
        }
    }

    /// Answers a request.
    pub(super) fn reply(&self, kind: &'static str, request: &Request, answered: Answered) {
        self.counters.total.fetch_add(1, Ordering::Relaxed);
        let (body, error): (Option<Value>, Option<ApiError>) = match answered {
            Ok(body) => (Some(body), None),
            Err(error) => (None, Some(error)),
        };
        if error.is_some() {
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        if request.reply.is_none() && !self.is_audited() {
            return;
        }
        let reply = serde_json::to_vec(&Reply { kind, error: error.as_ref(), body }).unwrap_or_default();
        if let Some(to) = &request.reply {
            self.port.send(to.as_str(), &Parcel::new(to.as_str(), &reply));
        }
        self.audit(request, &reply);
    }

    /// Refuses what needs a level that is not spoken.
    pub(super) fn check_level(&self, request: &Request) -> Result<(), ApiError> {
        if !self.options.enabled {
            return Err(e::NOT_ENABLED_FOR_ACCOUNT);
        }
        if request.headers.is_empty() {
            return Ok(());
        }
        match request.headers.get(REQUIRED_LEVEL) {
            Some(level) if level.parse::<u32>().map_or(true, |level| level > API_LEVEL) => Err(e::REQUIRED_LEVEL),
            _ => Ok(()),
        }
    }

    async fn perform(self: &Arc<Self>, who: &Principal, verb: Verb<'_>, request: &Request) -> Answered {
        match verb {
            Verb::Account => self.account_info(who).await,
            Verb::StreamCreate(name) => self.stream_create(who, name, request).await,
            Verb::StreamUpdate(name) => self.stream_update(who, name, request).await,
            Verb::StreamInfo(name) => self.stream_info(who, name, request).await,
            Verb::StreamNames => self.stream_names(who, request).await,
            Verb::StreamList => self.stream_list(who, request).await,
            Verb::StreamDelete(name) => self.stream_delete(who, name, request).await,
            Verb::StreamPurge(name) => self.stream_purge(who, name, request).await,
            Verb::MessageGet(name) => self.message_get(who, name, request).await,
            Verb::MessageDelete(name) => self.message_delete(who, name, request).await,
            Verb::ConsumerCreate(stream, how) => self.consumer_create(who, stream, how, request).await,
            Verb::ConsumerInfo(stream, name) => self.consumer_info(who, stream, name, request).await,
            Verb::ConsumerNames(stream) => self.consumer_names(who, stream, request).await,
            Verb::ConsumerList(stream) => self.consumer_list(who, stream, request).await,
            Verb::ConsumerDelete(stream, name) => self.consumer_delete(who, stream, name, request).await,
            Verb::ConsumerPause(stream, name) => self.consumer_pause(who, stream, name, request).await,
            Verb::ConsumerReset(stream, name) => self.consumer_reset(who, stream, name, request).await,
            Verb::ConsumerUnpin(stream, name) => self.consumer_unpin(who, stream, name, request).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_a_verb_or_none() {
        let named = |name, filter| Some(Verb::ConsumerCreate("S", CreateForm::Named { name, filter }));
        for (tail, verb) in [
            ("INFO", Some(Verb::Account)),
            ("STREAM.NAMES", Some(Verb::StreamNames)),
            ("STREAM.INFO.S", Some(Verb::StreamInfo("S"))),
            ("STREAM.INFO.S.T", None),
            ("STREAM.MSG.GET.S", Some(Verb::MessageGet("S"))),
            ("STREAM.MSG", None),
            ("CONSUMER.CREATE.S", Some(Verb::ConsumerCreate("S", CreateForm::Ephemeral))),
            ("CONSUMER.CREATE.S.c", named("c", "")),
            ("CONSUMER.CREATE.S.c.auth.user.>", named("c", "auth.user.>")),
            ("CONSUMER.DURABLE.CREATE.S.c", Some(Verb::ConsumerCreate("S", CreateForm::Durable { name: "c" }))),
            ("CONSUMER.INFO.S", None),
            ("CONSUMER.INFO.S.c", Some(Verb::ConsumerInfo("S", "c"))),
            ("", None),
            ("FOO.BAR", None),
            ("STREAM", None),
            ("CONSUMER", None),
        ] {
            assert_eq!(Verb::parse(tail), verb, "{tail}");
        }
    }
}
