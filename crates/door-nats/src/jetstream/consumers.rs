//! Requests about consumers.

use door::Principal;
use journal::{ConsumerError, ConsumerInfo};
use ring::rand::SecureRandom;
use serde::Serialize;

use super::consumer_forms::{check, check_update, fill, is_group, of_journal, to_journal};
use super::errors::{self as e, ApiError};
use super::streams::{LIST_MAX, NAMES_MAX, Success, expect_empty, wire_ok};
use super::wire::{
    Action, ConsumerForm, ConsumerInfoReply, ConsumerPause, ConsumerReset, ConsumerUnpin, CreateConsumer, GroupReply,
    Page, Paged, SequencePair, Time,
};
use super::{Answered, JetStream, Request};

/// Letters of a name that the server gives, as clients expect them.
const NAME_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Length of a name that the server gives: 40 bits of chance.
const NAME_LENGTH: usize = 8;

#[derive(Serialize)]
struct Named {
    #[serde(flatten)]
    paged: Paged,
    consumers: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    paged: Paged,
    consumers: Vec<ConsumerInfoReply>,
}

#[derive(Serialize)]
struct Paused {
    paused: bool,
    pause_until: Time,
    #[serde(skip_serializing_if = "super::wire::zero")]
    pause_remaining: u64,
}

#[derive(Serialize)]
struct Reset {
    #[serde(flatten)]
    info: ConsumerInfoReply,
    reset_seq: u64,
}

/// How a consumer is asked for: what the subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CreateForm<'a> {
    /// `CONSUMER.CREATE.<stream>`
    Ephemeral,
    /// `CONSUMER.CREATE.<stream>.<consumer>[.<filter>]`
    Named { name: &'a str, filter: &'a str },
    /// `CONSUMER.DURABLE.CREATE.<stream>.<consumer>`
    Durable { name: &'a str },
}

impl JetStream {
    /// The four forms of `CONSUMER.CREATE`.
    pub(super) async fn consumer_create(
        &self,
        who: &Principal,
        stream: &str,
        how: CreateForm<'_>,
        request: &Request,
    ) -> Answered {
        let CreateConsumer { stream_name, config: mut form, action, pedantic } = self.decode(request)?;
        if stream != stream_name {
            return Err(e::STREAM_MISMATCH);
        }
        settle_name(&mut form, how)?;
        if form.num_replicas > 1 {
            return Err(e::REPLICAS_NOT_SUPPORTED);
        }
        let known = self.known(who, stream).await?;
        let wanted = if form.durable_name.is_empty() { form.name.clone() } else { form.durable_name.clone() };
        let old = match wanted.as_str() {
            "" => None,
            name => match self.port.consumer_info(who, stream, name).await {
                Ok(info) => Some(info),
                Err(door::Refused::Journal(ConsumerError::NotFound { .. } | ConsumerError::Invalid { .. })) => None,
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(old) = &old {
            form.pause_until = old.config.pause_until.map(|moment| Time(Some(moment)));
        }
        fill(&mut form, &known, pedantic)?;
        check(&form, &known)?;
        let info = match old {
            Some(old) => self.consumer_change(who, stream, &old, form, action).await?,
            None if action == Action::Update => return Err(e::CONSUMER_MISSING),
            None => {
                let name = if wanted.is_empty() { chance_name() } else { wanted };
                self.port.consumer_create(who, stream, to_journal(&form, &name)?).await?
            }
        };
        self.consumer_declared(&info).await;
        wire_ok(&self.consumer_reply(&info))
    }

    async fn consumer_change(
        &self,
        who: &Principal,
        stream: &str,
        old: &ConsumerInfo,
        mut form: ConsumerForm,
        action: Action,
    ) -> Result<ConsumerInfo, ApiError> {
        let before = of_journal(&old.config);
        form.name.clone_from(&before.name);
        // Who changes a durable consumer need not say again that it is one.
        if form.durable_name.is_empty() {
            form.durable_name.clone_from(&before.durable_name);
        }
        let config = to_journal(&form, &before.name)?;
        // Compared as they are told: what another door left open is what is filled in here.
        let told = of_journal(&config);
        if told == before {
            return Ok(old.clone());
        }
        if action == Action::Create {
            return Err(e::CONSUMER_EXISTS);
        }
        check_update(&before, &told)?;
        if old.config.durable != config.durable {
            return Err(ApiError::consumer_create("durable name can not be updated"));
        }
        let bound = before.deliver_subject != told.deliver_subject && self.is_bound(&before.deliver_subject);
        if bound {
            return Err(e::CONSUMER_NAME_EXISTS);
        }
        Ok(self.port.consumer_update(who, stream, config).await?)
    }

    /// Whether somebody listens to where a push consumer delivers.
    pub(super) fn is_bound(&self, deliver_subject: &str) -> bool {
        !deliver_subject.is_empty() && !self.port.fabric().way(deliver_subject).is_empty()
    }

    /// `CONSUMER.INFO.<stream>.<consumer>`
    pub(super) async fn consumer_info(&self, who: &Principal, stream: &str, name: &str, request: &Request) -> Answered {
        expect_empty(request)?;
        let info = self.port.consumer_info(who, stream, name).await?;
        wire_ok(&self.consumer_reply(&info))
    }

    async fn consumer_page(
        &self,
        who: &Principal,
        stream: &str,
        request: &Request,
        limit: usize,
    ) -> Result<(Vec<ConsumerInfo>, Paged), ApiError> {
        let asked: Page = self.decode_optional(request)?;
        let all = self.port.consumers(who, stream).await?;
        let total = all.len();
        let offset = usize::try_from(asked.offset).unwrap_or(0).min(total);
        Ok((all.into_iter().skip(offset).take(limit).collect(), Paged { total, offset, limit }))
    }

    /// `CONSUMER.NAMES.<stream>`
    pub(super) async fn consumer_names(&self, who: &Principal, stream: &str, request: &Request) -> Answered {
        let (page, paged) = self.consumer_page(who, stream, request, NAMES_MAX).await?;
        wire_ok(&Named { paged, consumers: page.into_iter().map(|info| info.config.name).collect() })
    }

    /// `CONSUMER.LIST.<stream>`
    pub(super) async fn consumer_list(&self, who: &Principal, stream: &str, request: &Request) -> Answered {
        let (page, paged) = self.consumer_page(who, stream, request, LIST_MAX).await?;
        wire_ok(&Listed { paged, consumers: page.iter().map(|info| self.consumer_reply(info)).collect() })
    }

    /// `CONSUMER.DELETE.<stream>.<consumer>`
    pub(super) async fn consumer_delete(
        &self,
        who: &Principal,
        stream: &str,
        name: &str,
        request: &Request,
    ) -> Answered {
        expect_empty(request)?;
        self.port.consumer_delete(who, stream, name).await?;
        self.delivering.forget(stream, name);
        wire_ok(&Success { success: true })
    }

    /// `CONSUMER.PAUSE.<stream>.<consumer>`
    pub(super) async fn consumer_pause(
        &self,
        who: &Principal,
        stream: &str,
        name: &str,
        request: &Request,
    ) -> Answered {
        let ConsumerPause { pause_until } = self.decode_optional(request)?;
        self.port.stream_info(who, stream).await?;
        self.port.consumer_pause(who, stream, name, pause_until.0).await?;
        let now = self.port.now();
        let paused = pause_until.0.is_some_and(|until| until > now);
        let pause_remaining = pause_until.0.map_or(0, |until| nanos_between(until, now));
        wire_ok(&Paused { paused, pause_until, pause_remaining })
    }

    /// `CONSUMER.RESET.<stream>.<consumer>`
    pub(super) async fn consumer_reset(
        &self,
        who: &Principal,
        stream: &str,
        name: &str,
        request: &Request,
    ) -> Answered {
        let ConsumerReset { seq } = self.decode_optional(request)?;
        let info = self.port.consumer_reset(who, stream, name, Some(seq).filter(|seq| *seq > 0)).await?;
        let reset_seq = if seq > 0 { seq } else { info.delivered + 1 };
        wire_ok(&Reset { info: self.consumer_reply(&info), reset_seq })
    }

    /// `CONSUMER.UNPIN.<stream>.<consumer>`
    pub(super) async fn consumer_unpin(
        &self,
        who: &Principal,
        stream: &str,
        name: &str,
        request: &Request,
    ) -> Answered {
        let ConsumerUnpin { group } = self.decode(request)?;
        if group.is_empty() {
            return Err(ApiError::json("consumer group not specified"));
        }
        if !is_group(&group) {
            return Err(e::BAD_GROUP_NAME);
        }
        self.port.stream_info(who, stream).await?;
        let info = self.port.consumer_info(who, stream, name).await?;
        if !info.config.priority.is_some_and(|priority| priority.groups.contains(&group)) {
            return Err(e::INVALID_GROUP);
        }
        self.port.consumer_unpin(who, stream, name, &group).await?;
        Ok(serde_json::Value::Object(serde_json::Map::new()))
    }

    /// A consumer as replies have it.
    pub(super) fn consumer_reply(&self, info: &ConsumerInfo) -> ConsumerInfoReply {
        let (config, now) = (of_journal(&info.config), self.port.now());
        let until = info.config.pause_until.filter(|until| *until > now);
        ConsumerInfoReply {
            stream_name: info.stream.to_string(),
            name: info.config.name.clone(),
            created: Time(Some(info.created)),
            push_bound: self.push_bound(&info.stream, &info.config.name),
            config,
            delivered: SequencePair {
                consumer_seq: info.deliveries,
                stream_seq: info.delivered,
                last_active: info.last_delivered.map(|moment| Time(Some(moment))),
            },
            ack_floor: SequencePair {
                consumer_seq: info.ack_floor_order,
                stream_seq: info.ack_floor,
                last_active: info.last_acknowledged.map(|moment| Time(Some(moment))),
            },
            num_ack_pending: info.ack_pending,
            num_redelivered: info.redelivered,
            num_waiting: info.waiting,
            num_pending: info.pending,
            paused: until.is_some(),
            pause_remaining: until.map_or(0, |until| nanos_between(until, now)),
            ts: Time(Some(now)),
            priority_groups: info
                .groups
                .iter()
                .map(|group| GroupReply {
                    group: group.name.clone(),
                    pinned_client_id: group.pin.as_deref().unwrap_or_default().to_owned(),
                    pinned_ts: group.since.map(|moment| Time(Some(moment))),
                })
                .collect(),
        }
    }
}

fn nanos_between(later: event::Moment, earlier: event::Moment) -> u64 {
    later.nanos().saturating_sub(earlier.nanos())
}

/// Settles what a consumer is called, from what the subject and the request say.
fn settle_name(form: &mut ConsumerForm, how: CreateForm<'_>) -> Result<(), ApiError> {
    match how {
        CreateForm::Ephemeral => {
            if form.name.contains(['\\', '/']) {
                return Err(e::CONSUMER_PATH_SEPARATORS);
            }
            if !form.durable_name.is_empty() {
                return Err(e::EPHEMERAL_WITH_DURABLE);
            }
        }
        CreateForm::Durable { name } => {
            if name.is_empty() {
                return Err(e::DURABLE_NOT_IN_SUBJECT);
            }
            if name.contains(['\\', '/']) {
                return Err(e::CONSUMER_PATH_SEPARATORS);
            }
            if form.durable_name.is_empty() {
                return Err(e::DURABLE_NOT_SET);
            }
            if name != form.durable_name {
                return Err(e::DURABLE_NOT_MATCHING_SUBJECT);
            }
            name.clone_into(&mut form.name);
        }
        CreateForm::Named { name, filter } => {
            if name.contains(['\\', '/']) {
                return Err(e::CONSUMER_PATH_SEPARATORS);
            }
            if !form.durable_name.is_empty() && name != form.durable_name {
                return Err(e::DURABLE_NOT_MATCHING_SUBJECT);
            }
            name.clone_into(&mut form.name);
            if !filter.is_empty() && !form.filter_subjects.is_empty() {
                return Err(e::MULTIPLE_FILTERS);
            }
            if !filter.is_empty() && form.filter_subject != filter {
                return Err(e::FILTER_MISMATCH);
            }
        }
    }
    Ok(())
}

/// A name for a consumer that has none.
fn chance_name() -> String {
    let mut bytes = [0; NAME_LENGTH];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // Without entropy the names repeat, and creating says that the name is in use.
        tracing::warn!("the system gives no entropy for the name of a consumer");
    }
    bytes.iter().map(|byte| char::from(NAME_LETTERS[usize::from(*byte) % NAME_LETTERS.len()])).collect()
}
