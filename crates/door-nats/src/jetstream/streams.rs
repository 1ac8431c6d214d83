//! Requests about streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use door::{NotAllowed, Principal, Verb};
use event::{Pattern, Subject};
use journal::{Purge, StreamInfo, StreamState};
use serde::Serialize;

use super::errors::{self as e, ApiError};
use super::known::Known;
use super::stream_checks::{check, check_update};
use super::stream_forms::{of_journal, to_journal};
use super::wire::{
    self, ClusterReply, MessageDelete, Paged, StateReply, Storage, StreamForm, StreamInfoReply, StreamInfoRequest,
    StreamNames, StreamPurge, StreamRequest, Time,
};
use super::{Answered, JetStream, Request};

/// Names on one page.
pub(super) const NAMES_MAX: usize = 1024;
/// Streams or consumers on one page.
pub(super) const LIST_MAX: usize = 256;
/// Subjects told of one stream at a time.
const SUBJECTS_MAX: usize = 100_000;
/// Deleted positions told of one stream at most: a reply of some megabytes.
const DELETED_MAX: usize = 500_000;

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    info: StreamInfoReply,
    did_create: bool,
}

#[derive(Serialize)]
struct Informed {
    #[serde(flatten)]
    paged: Paged,
    #[serde(flatten)]
    info: StreamInfoReply,
}

#[derive(Serialize)]
struct Named {
    #[serde(flatten)]
    paged: Paged,
    streams: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    paged: Paged,
    streams: Vec<StreamInfoReply>,
}

#[derive(Serialize)]
struct Purged {
    success: bool,
    purged: u64,
}

/// That it was done.
#[derive(Serialize)]
pub(super) struct Success {
    pub(super) success: bool,
}

impl JetStream {
    /// `STREAM.CREATE.<stream>`
    pub(super) async fn stream_create(self: &Arc<Self>, who: &Principal, name: &str, request: &Request) -> Answered {
        let StreamRequest { mut form, pedantic } = self.decode(request)?;
        self.check_names(name, &form)?;
        if form.sealed {
            return Err(ApiError::stream_config("stream configuration for create can not be sealed"));
        }
        self.complete(who, &mut form, pedantic, None).await?;
        if form.num_replicas > 1 {
            return Err(e::REPLICAS_NOT_SUPPORTED);
        }
        let config = to_journal(&form)?;
        let info = self.port.stream_create(who, config).await?;
        self.catalogue.note(&info.config);
        self.relate(&info.config);
        wire_ok(&Created { info: self.stream_reply(&info), did_create: true })
    }

    /// `STREAM.UPDATE.<stream>`
    pub(super) async fn stream_update(self: &Arc<Self>, who: &Principal, name: &str, request: &Request) -> Answered {
        let StreamRequest { mut form, pedantic } = self.decode(request)?;
        self.check_names(name, &form)?;
        let old = of_journal(&self.port.stream_info(who, name).await?.config);
        self.complete(who, &mut form, pedantic, Some(&old)).await?;
        check_update(&old, &mut form)?;
        if form.consumer_limits != old.consumer_limits {
            self.check_consumers(who, &form).await?;
        }
        let info = self.port.stream_update(who, to_journal(&form)?).await?;
        self.catalogue.note(&info.config);
        self.relate(&info.config);
        wire_ok(&self.stream_reply(&info))
    }

    fn check_names(&self, name: &str, form: &StreamForm) -> Result<(), ApiError> {
        if name != form.name {
            return Err(e::STREAM_MISMATCH);
        }
        if name.contains(['\\', '/']) {
            return Err(e::STREAM_PATH_SEPARATORS);
        }
        if form.mirror_direct && form.mirror.is_none() {
            return Err(ApiError::stream_config("stream has no mirror but does have mirror direct"));
        }
        Ok(())
    }

    /// Judges a declaration, with the other streams where it speaks of them.
    async fn complete(
        &self,
        who: &Principal,
        form: &mut StreamForm,
        pedantic: bool,
        old: Option<&StreamForm>,
    ) -> Result<(), ApiError> {
        check(form, pedantic)?;
        let limited = match form.storage {
            Storage::File => self.options.store_max,
            Storage::Memory => self.options.memory_max,
        };
        let reserves = form.max_bytes > 0 && limited.is_some();
        if !reserves && form.mirror.is_none() && form.sources.is_empty() {
            return Ok(());
        }
        may_take_over(who, form)?;
        // All streams count, also those that this principal does not see.
        let others: BTreeMap<String, StreamForm> = self
            .port
            .journal()
            .streams()
            .await
            .iter()
            .map(|info| (info.config.name.clone(), of_journal(&info.config)))
            .collect();
        if let Some(mirror) = &form.mirror
            && let Some(origin) = others.get(&mirror.name)
        {
            if form.max_msg_size > 0 && origin.max_msg_size > 0 && form.max_msg_size < origin.max_msg_size {
                return Err(e::MIRROR_MESSAGE_SIZE);
            }
            form.mirror_direct = origin.allow_direct;
        }
        for source in &form.sources {
            let smaller = |origin: &StreamForm| {
                form.max_msg_size > 0 && origin.max_msg_size > 0 && form.max_msg_size < origin.max_msg_size
            };
            if others.get(&source.name).is_some_and(smaller) {
                return Err(e::SOURCE_MESSAGE_SIZE);
            }
        }
        check_cycles(form, &others)?;
        if reserves {
            let same = |other: &&StreamForm| other.storage == form.storage && other.name != form.name;
            let reserved: i64 = others.values().filter(same).map(|other| other.max_bytes.max(0)).sum();
            let grows = old.is_none_or(|old| form.max_bytes > old.max_bytes);
            let over = limited.is_some_and(|limit| {
                u64::try_from(reserved.saturating_add(form.max_bytes)).unwrap_or(u64::MAX) > limit
            });
            if over && grows {
                let memory = form.storage == Storage::Memory;
                return Err(if memory { e::MEMORY_EXCEEDED } else { e::STORAGE_EXCEEDED });
            }
        }
        Ok(())
    }

    /// Whether the consumers that there are keep within new limits for them.
    async fn check_consumers(&self, who: &Principal, form: &StreamForm) -> Result<(), ApiError> {
        let limits = form.consumer_limits;
        for info in self.port.consumers(who, &form.name).await? {
            let consumer = super::consumer_forms::of_journal(&info.config);
            super::consumer_forms::check_within(&consumer, limits)?;
        }
        Ok(())
    }

    /// `STREAM.INFO.<stream>`
    pub(super) async fn stream_info(&self, who: &Principal, name: &str, request: &Request) -> Answered {
        let asked: StreamInfoRequest = self.decode_optional(request)?;
        let info = self.port.stream_info(who, name).await?;
        let mut reply = self.stream_reply(&info);
        reply.cluster = Some(self.cluster());
        let mut paged = Paged::default();
        if asked.deleted_details {
            reply.state.deleted = self.port.deleted(who, name, 1, DELETED_MAX).await?;
        }
        if !asked.subjects_filter.is_empty() {
            let filter = Pattern::parse(&asked.subjects_filter).map_err(|_| e::BAD_REQUEST)?;
            let offset = usize::try_from(asked.offset).unwrap_or(0);
            let all = self.subject_counts(who, name, &filter).await?;
            if !all.is_empty() {
                paged = Paged { total: all.len(), offset: offset.min(all.len()), limit: SUBJECTS_MAX };
                let page: BTreeMap<String, u64> = all.into_iter().skip(offset).take(SUBJECTS_MAX).collect();
                reply.state.subjects = (!page.is_empty()).then_some(page);
            }
        }
        wire_ok(&Informed { paged, info: reply })
    }

    async fn subject_counts(
        &self,
        who: &Principal,
        name: &str,
        filter: &Pattern,
    ) -> Result<BTreeMap<String, u64>, ApiError> {
        let (mut counts, mut after): (BTreeMap<String, u64>, Option<Subject>) = (BTreeMap::new(), None);
        loop {
            let page = self.port.subjects(who, name, filter, after.take(), SUBJECTS_MAX).await?;
            let full = page.len() >= SUBJECTS_MAX;
            after = page.last().map(|last| last.subject.clone());
            counts.extend(page.into_iter().map(|each| (each.subject.to_string(), each.messages)));
            if !full {
                return Ok(counts);
            }
        }
    }

    /// The streams of a page, and how many there are in all.
    async fn stream_page(
        &self,
        who: &Principal,
        request: &Request,
        limit: usize,
    ) -> Result<(Vec<StreamInfo>, Paged), ApiError> {
        let asked: StreamNames = self.decode_optional(request)?;
        let mut all = self.port.streams(who).await;
        if !asked.subject.is_empty() {
            let wanted = Pattern::parse(&asked.subject).map_err(|_| e::BAD_REQUEST)?;
            all.retain(|info| info.config.subjects.iter().any(|subject| subject.overlaps(&wanted)));
        }
        let total = all.len();
        let offset = usize::try_from(asked.offset).unwrap_or(0).min(total);
        let page = all.into_iter().skip(offset).take(limit).collect();
        Ok((page, Paged { total, offset, limit }))
    }

    /// `STREAM.NAMES`
    pub(super) async fn stream_names(&self, who: &Principal, request: &Request) -> Answered {
        let (page, paged) = self.stream_page(who, request, NAMES_MAX).await?;
        wire_ok(&Named { paged, streams: page.into_iter().map(|info| info.config.name).collect() })
    }

    /// `STREAM.LIST`
    pub(super) async fn stream_list(&self, who: &Principal, request: &Request) -> Answered {
        let (page, paged) = self.stream_page(who, request, LIST_MAX).await?;
        wire_ok(&Listed { paged, streams: page.iter().map(|info| self.stream_reply(info)).collect() })
    }

    /// `STREAM.DELETE.<stream>`
    pub(super) async fn stream_delete(&self, who: &Principal, name: &str, request: &Request) -> Answered {
        expect_empty(request)?;
        self.port.stream_delete(who, name).await?;
        self.catalogue.forget(name);
        self.unrelate(name);
        wire_ok(&Success { success: true })
    }

    /// `STREAM.PURGE.<stream>`
    pub(super) async fn stream_purge(&self, who: &Principal, name: &str, request: &Request) -> Answered {
        let asked: StreamPurge = self.decode_optional(request)?;
        if asked.seq > 0 && asked.keep > 0 {
            return Err(e::BAD_REQUEST);
        }
        let config = self.port.stream_info(who, name).await?.config;
        if config.sealed {
            return Err(e::STREAM_SEALED);
        }
        if config.deny_purge {
            return Err(ApiError::new(500, 10110, "stream purge not permitted"));
        }
        let filter = match asked.filter.as_str() {
            "" => None,
            text => match Pattern::parse(text) {
                Ok(pattern) => Some(pattern),
                Err(_) => return wire_ok(&Purged { success: true, purged: 0 }),
            },
        };
        let some = |value: u64| Some(value).filter(|value| *value > 0);
        let purge = Purge { filter, before: some(asked.seq), keep: some(asked.keep) };
        let purged = self.port.purge(who, name, purge).await?;
        wire_ok(&Purged { success: true, purged })
    }

    /// `STREAM.MSG.DELETE.<stream>`
    pub(super) async fn message_delete(&self, who: &Principal, name: &str, request: &Request) -> Answered {
        if is_blank(&request.payload) {
            return Err(e::BAD_REQUEST);
        }
        let asked: MessageDelete = self.decode(request)?;
        let config = self.port.stream_info(who, name).await?.config;
        if config.sealed {
            return Err(e::STREAM_SEALED);
        }
        if config.deny_delete {
            return Err(ApiError::new(500, 10057, "message delete not permitted"));
        }
        self.port.delete(who, name, asked.seq).await?;
        wire_ok(&Success { success: true })
    }

    /// What a stream is declared as: seen before, or looked up now.
    pub(super) async fn known(&self, who: &Principal, stream: &str) -> Result<Arc<Known>, ApiError> {
        if let Some(known) = self.catalogue.get(stream) {
            return Ok(known);
        }
        let info = self.port.stream_info(who, stream).await?;
        Ok(self.catalogue.note(&info.config))
    }

    pub(super) fn cluster(&self) -> ClusterReply {
        ClusterReply { leader: self.server_name.clone() }
    }

    /// A stream as replies have it. Only who asks for one stream is told of a cluster.
    pub(super) fn stream_reply(&self, info: &StreamInfo) -> StreamInfoReply {
        let (mirror, sources) = self.relations_of(&info.config);
        StreamInfoReply {
            config: of_journal(&info.config),
            created: Time(Some(info.created)),
            state: state_reply(&info.state, info.consumers),
            cluster: None,
            mirror,
            sources,
            ts: Time(Some(self.port.now())),
        }
    }
}

fn state_reply(state: &StreamState, consumers: u64) -> StateReply {
    let empty = state.messages == 0;
    let never = state.last == 0;
    StateReply {
        messages: state.messages,
        bytes: state.bytes,
        first_seq: if empty && never && state.first <= 1 { 0 } else { state.first },
        first_ts: Time((!empty).then_some(state.first_time)),
        last_seq: state.last,
        last_ts: Time((state.last_time.nanos() > 0).then_some(state.last_time)),
        num_subjects: state.subjects,
        subjects: None,
        num_deleted: state.deleted,
        deleted: Vec::new(),
        consumer_count: consumers,
    }
}

/// Whether a principal may read what a stream is to take over.
fn may_take_over(who: &Principal, form: &StreamForm) -> Result<(), ApiError> {
    let filter = |text: &str| Pattern::parse(text).unwrap_or_else(|_| Pattern::all());
    for source in form.mirror.iter().chain(&form.sources) {
        let texts: Vec<&str> = match source.subject_transforms.as_slice() {
            [] => vec![&source.filter_subject],
            transforms => transforms.iter().map(|transform| transform.src.as_str()).collect(),
        };
        if let Some(text) = texts.into_iter().find(|text| !who.may_read_all(&filter(text))) {
            let (who, what) = (who.name().clone(), text.to_owned());
            return Err(ApiError::not_allowed(&NotAllowed { who, verb: Verb::Read, what }));
        }
    }
    Ok(())
}

/// Streams do not take over, by way of others, what comes from themselves.
fn check_cycles(form: &StreamForm, others: &BTreeMap<String, StreamForm>) -> Result<(), ApiError> {
    let meets = |subjects: &[String], filter: &str| {
        filter.is_empty()
            || subjects.iter().any(|subject| match (Pattern::parse(subject), Pattern::parse(filter)) {
                (Ok(subject), Ok(filter)) => subject.overlaps(&filter),
                _ => false,
            })
    };
    let cycle = || Err(ApiError::stream_config("detected cycle"));
    let mut seen = vec![form.name.as_str()];
    let mut open = vec![form];
    while let Some(next) = open.pop() {
        for (name, filter) in next
            .sources
            .iter()
            .map(|source| (source.name.as_str(), Some(source.filter_subject.as_str())))
            .chain(next.mirror.as_ref().map(|mirror| (mirror.name.as_str(), None)))
        {
            if seen.contains(&name) {
                if filter.is_none_or(|filter| meets(&next.subjects, filter)) {
                    return cycle();
                }
            } else if let Some(other) = others.get(name) {
                seen.push(name);
                open.push(other);
            }
        }
    }
    Ok(())
}

/// Whether a body says nothing.
pub(super) fn is_blank(body: &[u8]) -> bool {
    let text = body.trim_ascii();
    text.is_empty() || text == b"{}" || text == b"null"
}

/// Refuses a request that says something where there is nothing to say.
pub(super) fn expect_empty(request: &Request) -> Result<(), ApiError> {
    if is_blank(&request.payload) {
        return Ok(());
    }
    Err(ApiError::new(400, 10038, "expected an empty request payload"))
}

/// The body of a reply that went well.
pub(super) fn wire_ok(body: &impl Serialize) -> Answered {
    serde_json::to_value(body).map_err(|why| ApiError::new(500, 10051, why.to_string()))
}

/// Reads an optional request: what is no JSON object is not looked at.
impl JetStream {
    pub(super) fn decode<T: serde::de::DeserializeOwned + Default>(&self, request: &Request) -> Result<T, ApiError> {
        wire::decode(&request.payload, self.options.strict)
    }

    /// As [`JetStream::decode`]; what is not meant as JSON is a request of zeros.
    pub(super) fn decode_optional<T: serde::de::DeserializeOwned + Default>(
        &self,
        request: &Request,
    ) -> Result<T, ApiError> {
        if !wire::is_json(&request.payload) {
            return Ok(T::default());
        }
        self.decode(request)
    }
}
