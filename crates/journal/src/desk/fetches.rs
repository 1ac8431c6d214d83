//! The fetches that wait on one consumer, and whose turn it is.
//!
//! They are served in turn, a message each. A consumer's [`PriorityPolicy`] passes some over: under
//! `Prioritized` those behind the lowest number, which the queue is sorted by; under `Overflow` those
//! whose thresholds are not reached; under `Pinned` all but the pinned user's.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use crate::consumer::{ConsumerConfig, Fetch, PriorityPolicy};
use crate::error::FetchError;

use super::Request;

/// The highest number that a fetch's priority may have.
const PRIORITY_MAX: u8 = 9;

#[derive(Debug)]
struct Waiting {
    request: Request,
    /// Messages still to come; `u64::MAX` never falls.
    left: u64,
    bytes: Option<u64>,
    /// `None` in a push, and where the fetch does not wait, or without end.
    deadline: Option<Moment>,
    /// Whether it ends as soon as nothing is there.
    impatient: bool,
    /// Whether it becomes impatient when something was given.
    no_wait: bool,
    held: bool,
    /// Whether it named a group.
    grouped: bool,
    /// What the queue is sorted by: 0, but under [`PriorityPolicy::Prioritized`].
    priority: u8,
    min_pending: u64,
    min_ack_pending: u64,
    pin: Option<Arc<str>>,
}

impl Waiting {
    fn overflows(&self, standing: &Standing<'_>) -> bool {
        let reached = |threshold: u64, value: u64| threshold > 0 && threshold <= value;
        (self.min_pending == 0 && self.min_ack_pending == 0)
            || reached(self.min_pending, standing.pending)
            || reached(self.min_ack_pending, standing.ack_pending)
    }
}

/// What decides whose turn it is.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) policy: Option<PriorityPolicy>,
    pub(super) pin: Option<&'a str>,
    /// Messages not yet delivered.
    pub(super) pending: u64,
    /// Deliveries outstanding.
    pub(super) ack_pending: u64,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody's.
    Nobody,
    /// This fetch's, which takes so many bytes.
    Of {
        request: Request,
        bytes: u64,
        /// Whether its user is pinned with the next delivery.
        pins: bool,
    },
    /// This one was taken out: another is pinned.
    WrongPin(Request),
}

/// What became of a fetch after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    More,
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// Sorted by priority; in each, the next to be served is in front.
    queue: VecDeque<Waiting>,
    /// The place of the fetch whose turn it is.
    at: usize,
    /// Unique: a request waits once.
    deadlines: BTreeSet<(Moment, Request)>,
}

impl Fetches {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn add(
        &mut self,
        now: Moment,
        request: Request,
        fetch: &Fetch,
        config: &ConsumerConfig,
    ) -> Result<(), FetchError> {
        check(fetch, config)?;
        if self.queue.len() as u64 >= config.waiting_max {
            return Err(FetchError::Waiting { max: config.waiting_max });
        }
        let push = fetch.batch == u64::MAX;
        let wait = fetch.wait.filter(|wait| !push && !wait.is_zero());
        let deadline = wait.filter(|wait| *wait != Duration::MAX).map(|wait| now.after(wait));
        self.deadlines.extend(deadline.map(|deadline| (deadline, request)));
        let sorted = config.priority.as_ref().is_some_and(|priority| priority.policy == PriorityPolicy::Prioritized);
        self.insert(Waiting {
            request,
            left: fetch.batch,
            bytes: fetch.bytes,
            deadline,
            impatient: !push && wait.is_none(),
            no_wait: fetch.no_wait,
            held: false,
            grouped: fetch.group.as_ref().is_some_and(|group| !group.is_empty()),
            priority: if sorted { fetch.priority } else { 0 },
            min_pending: fetch.min_pending,
            min_ack_pending: fetch.min_ack_pending,
            pin: fetch.pin.as_deref().filter(|pin| !pin.is_empty()).map(Arc::from),
        });
        Ok(())
    }

    /// Puts a fetch behind the others of its priority.
    fn insert(&mut self, waiting: Waiting) {
        if self.queue.back().is_none_or(|back| back.priority <= waiting.priority) {
            return self.queue.push_back(waiting);
        }
        let place = self.queue.partition_point(|each| each.priority <= waiting.priority);
        self.queue.insert(place, waiting);
    }

    pub(super) fn remove(&mut self, request: Request) {
        if let Some(place) = self.queue.iter().position(|waiting| waiting.request == request) {
            self.take(place);
        }
    }

    fn take(&mut self, place: usize) -> Option<Request> {
        let waiting = self.queue.remove(place)?;
        if let Some(deadline) = waiting.deadline {
            self.deadlines.remove(&(deadline, waiting.request));
        }
        Some(waiting.request)
    }

    pub(super) fn hold(&mut self, request: Request) {
        self.set_held(request, true);
    }

    pub(super) fn release(&mut self, request: Request) {
        self.set_held(request, false);
    }

    fn set_held(&mut self, request: Request, held: bool) {
        if let Some(waiting) = self.queue.iter_mut().find(|waiting| waiting.request == request) {
            waiting.held = held;
        }
    }

    pub(super) fn held(&self) -> impl Iterator<Item = Request> + '_ {
        self.queue.iter().filter(|waiting| waiting.held).map(|waiting| waiting.request)
    }

    /// Messages that could be handed over now.
    pub(super) fn wanted(&self) -> u64 {
        self.queue.iter().filter(|waiting| !waiting.held).fold(0, |sum, waiting| sum.saturating_add(waiting.left))
    }

    /// Whose turn it is.
    pub(super) fn turn(&mut self, standing: &Standing<'_>) -> Turn {
        for place in 0..self.queue.len() {
            let Some(waiting) = self.queue.get(place).filter(|waiting| !waiting.held) else { continue };
            let mut pins = false;
            match standing.policy {
                Some(PriorityPolicy::Overflow) if !waiting.overflows(standing) => continue,
                Some(PriorityPolicy::Pinned) => match (standing.pin, waiting.pin.as_deref()) {
                    (Some(pin), Some(named)) if pin == named => {}
                    (_, Some(_)) => return self.take(place).map_or(Turn::Nobody, Turn::WrongPin),
                    (Some(_), None) => continue,
                    (None, None) => pins = waiting.grouped,
                },
                _ => {}
            }
            self.at = place;
            return Turn::Of { request: waiting.request, bytes: waiting.bytes.unwrap_or(u64::MAX), pins };
        }
        Turn::Nobody
    }

    /// Pins the user whose turn it is.
    pub(super) fn pin(&mut self, pin: &Arc<str>) {
        if let Some(waiting) = self.queue.get_mut(self.at) {
            waiting.pin = Some(pin.clone());
        }
    }

    /// Counts a delivery to the fetch whose turn it was, and passes the turn on.
    pub(super) fn served(&mut self, size: u64) -> Served {
        let several = self.queue.len() > 1;
        let Some(waiting) = self.queue.get_mut(self.at) else { return Served::More };
        if waiting.left != u64::MAX {
            waiting.left -= 1;
        }
        waiting.bytes = waiting.bytes.map(|bytes| bytes.saturating_sub(size));
        waiting.impatient |= waiting.no_wait;
        if waiting.left == 0 {
            self.take(self.at);
            return Served::Full;
        }
        if several && let Some(waiting) = self.queue.remove(self.at) {
            self.insert(waiting);
        }
        Served::More
    }

    /// Takes out those whose wait is over.
    pub(super) fn take_expired(&mut self, now: Moment) -> Vec<Request> {
        let mut expired = Vec::new();
        while let Some((_, request)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.remove(request);
            expired.push(request);
        }
        expired
    }

    /// Takes out those that do not wait.
    pub(super) fn take_impatient(&mut self) -> Vec<Request> {
        let impatient = |waiting: &&Waiting| waiting.impatient;
        let taken: Vec<Request> = self.queue.iter().filter(impatient).map(|waiting| waiting.request).collect();
        taken.iter().for_each(|request| self.remove(*request));
        taken
    }

    pub(super) fn take_all(&mut self) -> Vec<Request> {
        self.deadlines.clear();
        self.queue.drain(..).map(|waiting| waiting.request).collect()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

/// Holds a fetch against what its consumer allows: in nats-server's order.
fn check(fetch: &Fetch, config: &ConsumerConfig) -> Result<(), FetchError> {
    if fetch.batch == 0 {
        return Err(FetchError::Batch);
    }
    if let Some(max) = config.batch_max.filter(|max| fetch.batch > *max && fetch.batch != u64::MAX) {
        return Err(FetchError::BatchMax { max });
    }
    let wait = fetch.wait.filter(|wait| *wait != Duration::MAX);
    if let Some(max) = config.expires_max.filter(|max| wait.is_some_and(|wait| wait > *max)) {
        return Err(FetchError::ExpiresMax { max });
    }
    if let Some(max) = config.bytes_max.filter(|max| fetch.bytes.is_some_and(|bytes| bytes > *max)) {
        return Err(FetchError::BytesMax { max });
    }
    let policy = config.priority.as_ref().map(|priority| priority.policy);
    if fetch.min_pending.max(fetch.min_ack_pending) > 0 && policy != Some(PriorityPolicy::Overflow) {
        return Err(FetchError::NotOverflow);
    }
    if fetch.pin.as_ref().is_some_and(|pin| !pin.is_empty()) && policy != Some(PriorityPolicy::Pinned) {
        return Err(FetchError::NotPinned);
    }
    if fetch.priority > PRIORITY_MAX {
        return Err(FetchError::Priority);
    }
    match (&config.priority, &fetch.group) {
        (Some(_), Some(group)) if group.is_empty() => Err(FetchError::GroupMissing),
        (Some(priority), Some(group)) if !priority.groups.contains(group) => {
            Err(FetchError::GroupUnknown(group.to_string()))
        }
        _ => Ok(()),
    }
}
