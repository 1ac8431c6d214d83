//! A subscription as a machine: facts in, runs of a plugin and parts out.
//!
//! ```text
//!  fact ──▶ waiting ──window──▶ job ──▶ run ──▶ part ──▶ ended, dropped or replaced
//!              │                 ▲       │ failed
//!              │ gone            └─back-off  └─for the last time──▶ dead letter
//!              ▼
//!           skipped
//! ```
//!
//! [`Reaction::handle`] is told what happened, [`Reaction::poll`] says what to do until it says nothing,
//! [`Reaction::next_wake`] says when to come back ([`Input::Tick`]). One run is under way at a time. The doer carries
//! outputs out in their order, each recorded before the next: `Done` comes after what it stands on.
//!
//! Invariants:
//! - A fact that matched is `Done` only after a record of a run that names it: it succeeded, is dead, or
//!   was skipped because the fact had gone. A crash between any two outputs loses no fact.
//! - A fact is in at most one part and at most one job; a part's source says which facts it is made of.
//! - A part ends no later than its last fact and the grace, and no later than the plugin said.
//!
//! Restart: a new machine is told every part and record that were kept ([`Input::Restore`],
//! [`Input::RestoreRun`], in their order), then every fact of the group that holds, then
//! [`Input::CaughtUp`]; it runs nothing before. What was finished is only remembered. A changed
//! subscription is a restart too.
//!
//! Cost: a fact costs a few lookups in trees of the facts that hold; memory is in proportion to those.
//! What waits is bounded by who feeds it: [`Reaction::room`].

mod intake;
mod matching;
mod record;
mod restore;
mod runs;
mod upkeep;
mod window;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use event::{Fact, Moment};

pub use matching::Matching;
pub use record::{Attempt, RecordError, RunRecord, RunStatus};
pub use window::{BATCH_BYTES_MAX, BATCH_FACTS_MAX, DEBOUNCE_CEILING};

use crate::kinds::{RetrySpec, SubscriptionSpec};
use crate::part::{FactRef, Part};
use crate::request::PluginResult;
use window::Window;

/// Facts that a subscription may have unfinished before it has no more room: eight full batches.
pub const UNFINISHED_FACTS_MAX: usize = 8 * BATCH_FACTS_MAX;

/// Failed attempts that a run remembers, the newest.
pub const HISTORY_MAX: usize = 32;

const _: () = assert!(UNFINISHED_FACTS_MAX >= BATCH_FACTS_MAX);

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A fact was recorded, refreshed or changed, at this position of its stream.
    Fact {
        /// The position, which grows with each record of the fact.
        seq: u64,
        /// What it says now.
        fact: Arc<Fact>,
    },
    /// A fact holds no longer: it expired, was withdrawn, or another took its place.
    Gone {
        /// Which.
        id: String,
    },
    /// A run is over.
    Ran {
        /// Which, as [`Output::Run`] said.
        run: u64,
        /// How.
        outcome: Result<PluginResult, RunFailure>,
    },
    /// A part that was kept. Those of others are passed over.
    Restore {
        /// The part.
        part: Box<Part>,
    },
    /// A record that was kept.
    RestoreRun {
        /// The record.
        record: Box<RunRecord>,
    },
    /// All that was kept, and every fact that holds, has been told.
    CaughtUp,
    /// Time passed.
    Tick,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// For people.
    pub error: String,
    /// It was stopped by us, so the attempt does not count.
    pub interrupted: bool,
}

impl RunFailure {
    /// A failure that counts.
    pub fn new(error: impl Into<String>) -> Self {
        RunFailure { error: error.into(), interrupted: false }
    }
}

/// Why a part goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Its time is over.
    Expired,
    /// Its facts hold no longer, and their grace is over.
    FactsGone,
    /// Another took its place.
    Replaced,
    /// Some of its facts hold no longer, and deriving it from the others failed for the last time.
    RerunFailed,
}

impl DropReason {
    /// As records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::Expired => "expired",
            DropReason::FactsGone => "facts gone",
            DropReason::Replaced => "replaced",
            DropReason::RerunFailed => "re-run failed",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Call the plugin, and answer with [`Input::Ran`].
    Run {
        /// Unique in the subscription; the same for each attempt.
        run: u64,
        /// Counts from 1.
        attempt: u32,
        /// The facts, by time of observation, then id.
        facts: Vec<Arc<Fact>>,
        /// The generation of the part whose place the result takes; 0: there is none.
        previous_generation: u64,
        /// The same for each attempt, and after a restart, as long as the facts say the same.
        idempotency_key: String,
    },
    /// Keep a part, over one of the same source.
    Put(Box<Part>),
    /// Let a part hold longer ([`Part::renewed`]).
    Renew {
        /// Which.
        source: String,
        /// Until when.
        until: Option<Moment>,
        /// The facts that were refreshed, by id and position.
        seqs: Vec<(String, u64)>,
    },
    /// Forget a part.
    Drop {
        /// Which.
        source: String,
        /// Why.
        why: DropReason,
    },
    /// Keep a record of a run.
    Record(Box<RunRecord>),
    /// Lay a run aside as a dead letter, with its history. After a crash the same run may be told again.
    Dead(Box<RunRecord>),
    /// Acknowledge these positions.
    Done {
        /// The positions, in no order.
        seqs: Vec<u64>,
    },
}

/// A fact that waits, is in a job, or is in a part.
#[derive(Debug)]
struct Held {
    fact: Arc<Fact>,
    seq: u64,
    revision: u64,
    // Positions that no job has taken yet.
    unacked: Vec<u64>,
    // Its place in the window.
    waiting: Option<u64>,
    // The job that it is in.
    job: Option<u64>,
    // It went while its run was under way.
    left: bool,
}

/// A fact that was finished: what it said then, and up to which position that is known.
#[derive(Debug, Clone, Copy)]
struct Finished {
    seq: u64,
    revision: u64,
}

/// Facts that are to be run together.
#[derive(Debug, Default)]
struct Job {
    ids: BTreeSet<String>,
    run: u64,
    attempt: u32,
    // The part whose place the result takes.
    replaces: Option<String>,
    // That part is made of facts that hold no longer, so it cannot stay.
    removal: bool,
    // Positions to be acknowledged at the end.
    seqs: Vec<(String, u64)>,
    // What the facts said when the run started.
    refs: Vec<FactRef>,
    started: Moment,
    // The attempt is under way, or was when we stopped.
    open: bool,
    history: Vec<Attempt>,
}

/// A part as the machine remembers it.
#[derive(Debug)]
struct Kept {
    run: u64,
    generation: u64,
    facts: BTreeMap<String, FactRef>,
    expires: Option<Moment>,
    ttl: Duration,
    replaces: Option<String>,
}

/// A subscription's machine.
#[derive(Debug)]
pub struct Reaction {
    name: String,
    group: String,
    plugin: String,
    matching: Matching,
    retry: RetrySpec,
    grace: Duration,
    chance: u64,
    now: Moment,
    window: Window,
    held: BTreeMap<String, Held>,
    // By id. Lives as long as the fact holds.
    finished: BTreeMap<String, Finished>,
    parts: BTreeMap<String, Kept>,
    // When each part ends: (time, source).
    ends: BTreeSet<(Moment, String)>,
    // Which part a fact is in, by id.
    members: BTreeMap<String, String>,
    // Members that hold no longer, and when their grace is over; the same by time.
    gone: BTreeMap<String, Moment>,
    gone_due: BTreeSet<(Moment, String)>,
    // Parts that have lost facts, to be derived again.
    dirty: BTreeSet<String>,
    // Refreshed facts, by part: id, position, and whether that is to be acknowledged at once.
    renewing: BTreeMap<String, Vec<(String, u64, bool)>>,
    // By the order in which they were made.
    jobs: BTreeMap<u64, Job>,
    // Jobs that are not under way, by when they may start.
    queue: BTreeSet<(Moment, u64)>,
    running: Option<u64>,
    jobs_made: u64,
    runs_made: u64,
    restoring: bool,
    // Ids that were told since the first restore.
    seen: BTreeSet<String>,
    out: VecDeque<Output>,
}

impl Reaction {
    /// A subscription that has seen nothing. `seed` decides nothing but the jitter of back-offs.
    pub fn new(name: impl Into<String>, spec: &SubscriptionSpec, seed: u64) -> Self {
        Reaction {
            name: name.into(),
            group: spec.group_ref.clone(),
            plugin: spec.trigger.plugin_ref.clone(),
            matching: Matching::new(&spec.matches),
            retry: spec.trigger.retry.clone(),
            grace: spec.trigger.grace,
            chance: seed,
            now: Moment::EPOCH,
            window: Window::new(spec.trigger.batch_window, spec.trigger.debounce),
            held: BTreeMap::new(),
            finished: BTreeMap::new(),
            parts: BTreeMap::new(),
            ends: BTreeSet::new(),
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            gone_due: BTreeSet::new(),
            dirty: BTreeSet::new(),
            renewing: BTreeMap::new(),
            jobs: BTreeMap::new(),
            queue: BTreeSet::new(),
            running: None,
            jobs_made: 0,
            runs_made: 0,
            restoring: false,
            seen: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Tells what happened.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.now = now;
        match input {
            Input::Fact { seq, fact } => self.fact(seq, fact),
            Input::Gone { id } => self.leave(&id),
            Input::Ran { run, outcome } => self.ran(run, outcome),
            Input::Restore { part } => self.restore(*part),
            Input::RestoreRun { record } => self.restore_run(*record),
            Input::CaughtUp => self.caught_up(),
            Input::Tick => {}
        }
    }

    /// What is to be done next; `None`: nothing, for now. What became due is decided here, so facts that
    /// were told together go together.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() && !self.restoring {
            self.settle();
        }
        self.out.pop_front()
    }

    /// When to come back with [`Input::Tick`]; `None`: not before something happens.
    pub fn next_wake(&self) -> Option<Moment> {
        if self.restoring {
            return None;
        }
        let end = self.ends.first().map(|(at, _)| *at);
        let gone = self.gone_due.first().map(|(at, _)| *at);
        let idle = self.running.is_none();
        let job = self.queue.first().map(|(at, _)| *at).filter(|_| idle);
        let window = self.window.due().filter(|_| idle);
        [end, gone, job, window].into_iter().flatten().min()
    }

    /// Facts that it takes yet. Whoever feeds it stops at 0 and goes on when runs have ended; refreshes,
    /// and what has gone, are told all the same.
    pub fn room(&self) -> usize {
        let jobs: usize = self.jobs.values().map(|job| job.ids.len()).sum();
        UNFINISHED_FACTS_MAX.saturating_sub(self.window.len() + jobs)
    }

    /// The name of the subscription.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a fact is one that the subscription is about.
    pub fn is_about(&self, fact: &Fact) -> bool {
        fact.group == self.group && self.matching.matches(fact)
    }

    /// The sources of the parts that hold.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// Runs that wait for their next attempt, and facts that wait for a run.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.window.len())
    }

    fn done(&mut self, seqs: Vec<u64>) {
        if !seqs.is_empty() {
            self.out.push_back(Output::Done { seqs });
        }
    }

    /// A number from 0 to `below`, by splitmix64. Source: Steele, Lea and Flood, "Fast splittable
    /// pseudorandom number generators" (2014).
    fn chance(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.saturating_add(1)
    }
}
