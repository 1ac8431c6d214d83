//! The machine of this node, with everything that it wants done.
//!
//! One task tells the machine what happened, in the order in which it is told, and does what it says: notes are sent,
//! connections ended, links dialled, ways made anew. The data plane asks the machine directly, under a lock that many
//! may hold at a time, and only when it has nothing kept.
//!
//! # Invariants
//! - Notes leave on a connection in the order in which the machine gave them: one task acts.
//! - A connection is up for the machine before anything that came on it is judged.
//! - After the machine changed, what was kept of its answers is void before the next input is taken.
//!
//! # Cost
//! A change holds the data plane back for as long as the machine takes: a note has some hundred wishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event::Moment;
use link::mesh::Outbound;
use mesh::names::{LinkId, NodeId};
use mesh::node::{Input, Node, Output, Refusal, Report};
use mesh::plan::{LinkPlan, Plan};
use mesh::wire::{Note, Wish};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::custody::Custody;
use super::data::TELL_EVERY;
use super::dial::Dialler;
use super::mirror::Mirrors;
use super::replies::Replies;
use super::traces::{Bounds, Conns, Entry, Traces};
use crate::clock::now;
use crate::live::Live;

/// Things that happened and are not yet told to the machine, at most: beyond, who tells them waits.
const TOLD_MAX: usize = 4_096;

/// Inputs that the machine is told in one go.
const AT_ONCE: usize = 64;

/// Wishes of this node's clients that the machine is told in one go.
const WISHES_AT_ONCE: usize = 512;

/// Reports that a listener may be behind before it misses some.
const REPORTS_MAX: usize = 1_024;

/// Bytes of notes that wait for a connection from which no more are given to it.
const NOTES_BYTES_MAX: usize = 1 << 20;

/// How often a connection for which many notes wait is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Numbers of connections between nodes begin here: those of clients are below.
pub(super) const CONNECTIONS_FROM: u64 = 1 << 62;

/// What happened, for the machine.
pub(super) enum Told {
    /// As it is.
    Input(Input),
    /// And whoever tells it waits until the machine has it.
    Awaited(Input, oneshot::Sender<()>),
}

/// A connection that is up.
pub(crate) struct Conn {
    pub(crate) number: u64,
    pub(crate) link: LinkId,
    pub(crate) peer: NodeId,
    pub(crate) out: Arc<Outbound>,
    /// Messages that came on it and were taken.
    pub(crate) messages: AtomicU64,
    /// Messages that came on it and were refused.
    pub(crate) refused: AtomicU64,
    /// What of it is noted.
    pub(super) bounds: Arc<Bounds>,
}

/// What was counted of all links since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Messages and wishes that were refused, by reason, in the order of [`Refusal::ALL`].
    pub(crate) refused: [AtomicU64; Refusal::ALL.len()],
    /// Messages that came.
    pub(crate) messages: AtomicU64,
    /// Bytes of their payloads.
    pub(crate) message_bytes: AtomicU64,
    /// Connections that were made.
    pub(crate) connected: AtomicU64,
    /// Connections that came and were not taken.
    pub(crate) rejected: AtomicU64,
    /// Messages that came with a subject, reply or header that cannot be.
    pub(crate) malformed: AtomicU64,
    /// Messages that links which have ended had no room for.
    pub(crate) dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn refuse(&self, why: Refusal, count: u64) {
        if let Some(at) = Refusal::ALL.iter().position(|known| *known == why)
            && let Some(counter) = self.refused.get(at)
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// See the module.
pub(crate) struct Body {
    pub(crate) id: NodeId,
    pub(super) node: RwLock<Node>,
    pub(super) live: Arc<Live>,
    pub(super) custody: Custody,
    pub(super) mirrors: Arc<Mirrors>,
    pub(super) replies: Replies,
    told: mpsc::Sender<Told>,
    conns: Conns,
    /// What this node notes of traced messages.
    pub(super) traces: Arc<Traces>,
    pub(super) entry: Arc<Entry>,
    planned: RwLock<BTreeMap<LinkId, LinkPlan>>,
    /// Why links that are planned are not up.
    troubles: Mutex<BTreeMap<LinkId, String>>,
    /// Grows when what was kept of the machine's answers is void.
    epoch: AtomicU64,
    next_conn: AtomicU64,
    reports: broadcast::Sender<Report>,
    pub(crate) counts: Counts,
    pub(crate) end: CancellationToken,
}

/// What the body's task owns.
pub(super) struct Run {
    told: mpsc::Receiver<Told>,
    wished: Arc<Notify>,
    dialler: Dialler,
    /// Connections for which many notes wait, and how often the machine is owed word of room there.
    stuffed: BTreeMap<u64, u32>,
    wake: Option<Moment>,
    /// When the log last said that a neighbour's wishes are refused.
    refused_told: Option<Instant>,
}

impl Body {
    pub(super) fn new(id: NodeId, seed: u64, live: Arc<Live>, custody: Custody) -> (Arc<Self>, Run) {
        let (told, receiver) = mpsc::channel(TOLD_MAX);
        let conns = Conns::default();
        let traces = Traces::new(&id, Arc::clone(&conns));
        let body = Body {
            node: RwLock::new(Node::new(id.clone(), seed)),
            id,
            live,
            custody,
            mirrors: Arc::default(),
            replies: Replies::default(),
            told,
            conns,
            entry: Arc::new(Entry(Arc::clone(&traces))),
            traces,
            planned: RwLock::default(),
            troubles: Mutex::default(),
            epoch: AtomicU64::new(0),
            next_conn: AtomicU64::new(CONNECTIONS_FROM),
            reports: broadcast::channel(REPORTS_MAX).0,
            counts: Counts::default(),
            end: CancellationToken::new(),
        };
        let wished = Arc::new(Notify::new());
        let dialler = Dialler::default();
        (
            Arc::new(body),
            Run { told: receiver, wished, dialler, stuffed: BTreeMap::new(), wake: None, refused_told: None },
        )
    }

    /// Tells the machine what happened; waits while it is busy.
    pub(super) async fn tell(&self, input: Input) {
        // Only a node that stops does not hear.
        let _stopped = self.told.send(Told::Input(input)).await;
    }

    /// Tells the machine what happened, and waits until it knows.
    pub(super) async fn tell_and_wait(&self, input: Input) {
        let (done, known) = oneshot::channel();
        if self.told.send(Told::Awaited(input, done)).await.is_ok() {
            let _stopped = known.await;
        }
    }

    /// Applies a plan, if it is of a greater generation than the one that stands.
    pub(crate) async fn plan(&self, plan: Plan) {
        self.tell_and_wait(Input::Plan(plan)).await;
    }

    /// What controllers and operators want to know, from now on.
    pub(crate) fn reports(&self) -> broadcast::Receiver<Report> {
        self.reports.subscribe()
    }

    pub(super) fn connection_number(&self) -> u64 {
        self.next_conn.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn joined(&self, conn: Arc<Conn>) {
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        self.troubles.lock().remove(&conn.link);
        self.conns.write().insert(conn.number, conn);
    }

    pub(super) fn left(&self, conn: u64) {
        if let Some(conn) = self.conns.write().remove(&conn) {
            let dropped = conn.out.counts.dropped.load(Ordering::Relaxed);
            self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    pub(crate) fn conn(&self, number: u64) -> Option<Arc<Conn>> {
        self.conns.read().get(&number).cloned()
    }

    /// The connections that are up.
    pub(crate) fn conns(&self) -> Vec<Arc<Conn>> {
        self.conns.read().values().cloned().collect()
    }

    pub(super) fn planned(&self, link: &str) -> Option<LinkPlan> {
        self.planned.read().iter().find(|(id, _)| id.as_str() == link).map(|(_, plan)| plan.clone())
    }

    /// A link could not be made.
    pub(super) fn trouble(&self, link: &LinkId, why: String) {
        self.troubles.lock().insert(link.clone(), why);
    }

    /// Why links that are planned are not up, as far as that was tried.
    pub(crate) fn troubles(&self) -> BTreeMap<LinkId, String> {
        self.troubles.lock().clone()
    }

    /// By which whoever keeps an answer of the machine tells whether it is void.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Asks the machine. Must be short: it waits for nothing meanwhile.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Node) -> T) -> T {
        ask(&self.node.read())
    }

    fn handle(&self, inputs: impl IntoIterator<Item = Input>, run: &mut Run) {
        let mut outputs = Vec::new();
        let mut node = self.node.write();
        for input in inputs {
            node.handle(now(), input);
            outputs.extend(std::iter::from_fn(|| node.poll()));
        }
        run.wake = node.wake();
        drop(node);
        // What was kept is void first: nothing that follows may be judged by it.
        if outputs.iter().any(|output| matches!(output, Output::Touched(_))) {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        outputs.into_iter().for_each(|output| self.act(output, run));
    }

    fn act(&self, output: Output, run: &mut Run) {
        match output {
            Output::Send { conn, note } => self.send(conn, &note, run),
            Output::Close { conn, why } => {
                debug!(conn, why = why.word(), "a link is ended");
                if let Some(conn) = self.conn(conn) {
                    conn.out.close(&why.to_string());
                }
            }
            Output::Touched(patterns) => self.live.touch(&patterns),
            Output::Refused { conn, why, count } => {
                self.counts.refuse(why, count);
                let peer = self.conn(conn).map(|conn| conn.peer.to_string()).unwrap_or_default();
                // For a moment after a change of plans that is usual; a rogue's cannot fill the log.
                if run.refused_told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    run.refused_told = Some(Instant::now());
                    warn!(peer, why = why.word(), count, "what a peer wants is refused");
                }
            }
            Output::Links { want } => {
                let ids: BTreeSet<LinkId> = want.iter().map(|link| link.id.clone()).collect();
                self.troubles.lock().retain(|link, _| ids.contains(link));
                *self.planned.write() = want.iter().map(|link| (link.id.clone(), link.clone())).collect();
                run.dialler.want(want);
            }
            Output::Report(report) => {
                info!(?report, "the mesh");
                // Nobody may listen.
                let _nobody = self.reports.send(report);
            }
        }
    }

    fn send(&self, conn: u64, note: &Note, run: &mut Run) {
        // Of a connection that is gone the machine hears by its end.
        let Some(found) = self.conn(conn) else { return };
        if found.out.note(&note.encode()) {
            *run.stuffed.entry(conn).or_default() += 1;
        }
    }

    /// Says where there is room for notes again.
    fn rooms(&self, run: &mut Run) {
        let mut inputs = Vec::new();
        let conns = self.conns.read();
        run.stuffed.retain(|number, owed| {
            let Some(conn) = conns.get(number) else { return false };
            if conn.out.urgent_waiting() > NOTES_BYTES_MAX {
                return true;
            }
            inputs.extend((0..*owed).map(|_| Input::Room { conn: *number }));
            false
        });
        drop(conns);
        if !inputs.is_empty() {
            self.handle(inputs, run);
        }
    }
}

impl Run {
    /// Notified when what clients of this node want has changed.
    pub(super) fn wished(&self) -> Arc<Notify> {
        Arc::clone(&self.wished)
    }

    /// Runs the machine until the node stops.
    pub(super) async fn run(mut self, body: Arc<Body>) {
        self.dialler.begin(&body);
        loop {
            let wait = self.wake.map(|wake| wake.since(now()));
            tokio::select! {
                () = body.end.cancelled() => break,
                told = self.told.recv() => match told {
                    Some(told) => self.told(&body, told),
                    None => break,
                },
                () = self.wished.notified() => self.wishes(&body),
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => body.handle([Input::Tick], &mut self),
                () = sleep(LOOK_AGAIN), if !self.stuffed.is_empty() => {}
            }
            body.rooms(&mut self);
        }
        self.dialler.want(Vec::new());
        body.conns().iter().for_each(|conn| conn.out.close("the node stops"));
    }

    fn told(&mut self, body: &Body, first: Told) {
        let (mut inputs, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(told) = next {
            match told {
                Told::Input(input) => inputs.push(input),
                Told::Awaited(input, done) => {
                    inputs.push(input);
                    waiting.push(done);
                }
            }
            next = if inputs.len() < AT_ONCE { self.told.try_recv().ok() } else { None };
        }
        body.handle(inputs, self);
        for done in waiting {
            // Who does not wait any more need not know.
            let _gone = done.send(());
        }
    }

    fn wishes(&mut self, body: &Body) {
        let changed = body.live.changed_wishes(WISHES_AT_ONCE);
        if changed.len() == WISHES_AT_ONCE {
            self.wished.notify_one();
        }
        let local = |((pattern, queue), present)| Input::Local { wish: Wish { pattern, queue }, present };
        body.handle(changed.into_iter().map(local), self);
    }
}
