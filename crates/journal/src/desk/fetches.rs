//! The fetches that wait on one consumer, served in turn.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use event::Moment;

use crate::consumer::Fetch;
use crate::error::FetchError;
use crate::limits::{FETCH_MESSAGES_MAX, FETCHES_WAITING_MAX, WAIT_MAX};

use super::Request;

#[derive(Debug)]
struct Waiting {
    request: Request,
    /// Messages still to come; `u64::MAX` never falls.
    left: u64,
    bytes: Option<u64>,
    /// `None` in a push, and where the fetch does not wait.
    deadline: Option<Moment>,
    /// Whether it ends as soon as nothing is there.
    impatient: bool,
    held: bool,
}

/// What became of a fetch after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    More,
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// The next to be served is in front.
    queue: VecDeque<Waiting>,
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

    pub(super) fn add(&mut self, now: Moment, request: Request, fetch: &Fetch) -> Result<(), FetchError> {
        let push = fetch.batch == u64::MAX;
        if fetch.batch == 0 || (!push && fetch.batch > FETCH_MESSAGES_MAX as u64) {
            return Err(FetchError::Batch);
        }
        if self.queue.len() >= FETCHES_WAITING_MAX {
            return Err(FetchError::Waiting);
        }
        let wait = fetch.wait.filter(|wait| !push && !wait.is_zero());
        let deadline = wait.map(|wait| now.after(wait.min(WAIT_MAX)));
        self.deadlines.extend(deadline.map(|deadline| (deadline, request)));
        self.queue.push_back(Waiting {
            request,
            left: fetch.batch,
            bytes: fetch.bytes,
            deadline,
            impatient: !push && wait.is_none(),
            held: false,
        });
        Ok(())
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

    /// The fetch whose turn it is, and the bytes that it takes.
    pub(super) fn turn(&mut self) -> Option<(Request, u64)> {
        let place = self.queue.iter().position(|waiting| !waiting.held)?;
        self.queue.rotate_left(place);
        self.queue.front().map(|waiting| (waiting.request, waiting.bytes.unwrap_or(u64::MAX)))
    }

    /// Counts a delivery to the fetch whose turn it was, and passes the turn on.
    pub(super) fn served(&mut self, size: u64) -> Served {
        let Some(waiting) = self.queue.front_mut() else { return Served::More };
        if waiting.left != u64::MAX {
            waiting.left -= 1;
        }
        waiting.bytes = waiting.bytes.map(|bytes| bytes.saturating_sub(size));
        if waiting.left == 0 {
            self.take(0);
            return Served::Full;
        }
        self.queue.rotate_left(1);
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
        let taken = self.queue.iter().filter(|waiting| waiting.impatient).map(|waiting| waiting.request).collect();
        self.queue.retain(|waiting| !waiting.impatient);
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
