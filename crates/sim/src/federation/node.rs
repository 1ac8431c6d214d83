//! A node: the machines of federation over a journal, of which only what was synced survives.
//!
//! What a real node does with threads and sockets is done here step by step: it judges, appends, answers when
//! it is synced, folds a while later, and feeds each peer's outbox; after a start, from the first position
//! that the table of deliveries says is owed. Invariant: the table is folded from what is on the disk, and from nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Fact, Moment};
use federation::deliveries::{Deliveries, Delivery, Status, decode, encode};
use federation::envelope;
use federation::facts::{Facts, Gone, Judged, Why};
use federation::intake::{Freshness, ReplayCache};
use federation::outbox::{Input, Outbox, Outcome, Output, Shape};
use federation::peer::{PeerSpec, Verdict};
use federation::stored::{Stored, from_message, group_pattern, message_id, stream_name, to_message};
use journal::memory::Memory;
use journal::{Append, Read, StreamConfig};

use crate::chance::Chance;

/// The only group.
pub const GROUP: &str = "sites";
/// How long a message id is remembered: as a real node has it.
const DUPLICATE_WINDOW: core::time::Duration = core::time::Duration::from_secs(10);

/// Who waits for an append.
#[derive(Debug, Clone, Copy)]
pub enum Waiter {
    /// Somebody who told it here.
    Client,
    /// A place in a request that is answered.
    Request { ask: u64, place: usize },
}

/// A request that is answered when all of it is on the disk.
#[derive(Debug)]
pub struct Ask {
    pub from: usize,
    pub life: u64,
    pub batch: u64,
    /// Which facts, and when they were observed.
    pub facts: Vec<(String, Option<Moment>)>,
    pub outcomes: Vec<Option<Outcome>>,
}

/// What is owed to one peer.
#[derive(Debug)]
pub struct Peer {
    pub to: usize,
    pub spec: PeerSpec,
    pub name: Arc<str>,
    pub outbox: Outbox,
    /// The next position that it looks at.
    next: u64,
    bodies: BTreeMap<u64, Vec<u8>>,
    latest: BTreeMap<Arc<str>, u64>,
    /// Positions of each batch on its way.
    pub flights: BTreeMap<u64, Vec<u64>>,
}

/// A node. See the module.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// Counts its starts.
    pub life: u64,
    pub up: bool,
    /// How far its clock is off, in milliseconds.
    pub skew: i64,
    /// What is on its disk.
    pub disk: Memory,
    waiting: Vec<(Append, Waiter)>,
    ledger: Vec<u8>,
    ledger_waiting: Vec<u8>,
    pub facts: Facts,
    folded: u64,
    pub deliveries: Deliveries,
    pub peers: Vec<Peer>,
    pub replays: ReplayCache,
    pub asks: BTreeMap<u64, Ask>,
    pub asked: u64,
    /// What a sync and a fold were asked for already.
    pub sync_due: bool,
    pub fold_due: bool,
    /// When it is woken next, by the world's time.
    pub wake: Option<Moment>,
}

/// What became of a telling.
pub enum Begun {
    /// It says nothing that the table does not.
    Known,
    /// The id is another's.
    Conflict,
    /// It waits to be synced.
    Asked,
}

/// What a sync answered: the waiter, the position, the id of the state, and whether it was there.
pub struct Synced {
    pub waiter: Waiter,
    pub seq: u64,
    pub state: Vec<u8>,
}

/// A batch to push: which, and its bodies.
pub struct Push {
    pub batch: u64,
    pub bodies: Vec<Vec<u8>>,
}

impl Peer {
    pub fn new(to: usize, spec: PeerSpec) -> Self {
        Peer {
            to,
            name: spec.name.as_str().into(),
            spec,
            outbox: Outbox::new(0, Shape::default()),
            next: 1,
            bodies: BTreeMap::new(),
            latest: BTreeMap::new(),
            flights: BTreeMap::new(),
        }
    }

    /// Begins anew, as after a start.
    fn reset(&mut self, seed: u64, shape: Shape) {
        self.outbox = Outbox::new(seed, shape);
        self.bodies.clear();
        self.latest.clear();
        self.flights.clear();
    }

    fn let_go(&mut self, seq: u64) {
        self.bodies.remove(&seq);
        self.latest.retain(|_, latest| *latest != seq);
    }
}

impl Node {
    pub fn new(name: String, now: Moment) -> Result<Self, String> {
        let mut disk = Memory::new();
        let pattern = group_pattern(GROUP).map_err(|error| error.to_string())?;
        let mut config = StreamConfig::new(stream_name(GROUP), [pattern]);
        config.duplicate_window = DUPLICATE_WINDOW;
        disk.stream_create(now, config).map_err(|error| error.to_string())?;
        Ok(Node {
            name,
            life: 0,
            up: true,
            skew: 0,
            disk,
            waiting: Vec::new(),
            ledger: Vec::new(),
            ledger_waiting: Vec::new(),
            facts: Facts::new(GROUP),
            folded: 0,
            deliveries: Deliveries::new(),
            peers: Vec::new(),
            replays: ReplayCache::new(Freshness::new(core::time::Duration::ZERO)),
            asks: BTreeMap::new(),
            asked: 0,
            sync_due: false,
            fold_due: false,
            wake: None,
        })
    }

    /// What its clock shows.
    pub fn clock(&self, now: Moment) -> Moment {
        let off = core::time::Duration::from_millis(self.skew.unsigned_abs());
        if self.skew < 0 { now.before(off) } else { now.after(off) }
    }

    /// Whether something waits for a sync.
    pub fn needs_sync(&self) -> bool {
        !self.waiting.is_empty() || !self.ledger_waiting.is_empty()
    }

    /// Judges a fact, and has it appended where it is news.
    pub fn begin(&mut self, fact: &Fact, via: Option<&str>, waiter: Waiter) -> Result<Begun, String> {
        let judged = self.facts.judge(fact);
        if judged == Judged::Conflict {
            return Ok(Begun::Conflict);
        }
        if !judged.is_news(via.is_some()) {
            return Ok(Begun::Known);
        }
        let merged = self.facts.merged(fact);
        let message = to_message(&merged, via).map_err(|error| error.to_string())?;
        self.waiting.push((Append { id: Some(message_id(&merged)), ..Append::new(message) }, waiter));
        Ok(Begun::Asked)
    }

    /// Syncs: what waits is on the disk, in its order.
    pub fn sync(&mut self, now: Moment) -> Result<Vec<Synced>, String> {
        let mut synced = Vec::new();
        for (append, waiter) in std::mem::take(&mut self.waiting) {
            let state = append.id.as_ref().map(|id| id.to_vec()).unwrap_or_default();
            let receipt = self.disk.append(now, append).map_err(|error| error.to_string())?;
            synced.push(Synced { waiter, seq: receipt.seq, state });
        }
        self.ledger.append(&mut self.ledger_waiting);
        Ok(synced)
    }

    /// The records from a position on.
    pub fn records(&self, from: u64) -> Result<Vec<(u64, Moment, Stored)>, String> {
        let page = self.disk.read(&stream_name(GROUP), &Read::from(from, usize::MAX)).map_err(|e| e.to_string())?;
        let mut records = Vec::new();
        for message in page.messages {
            let stored = from_message(&message.message, GROUP).ok_or("a record that is no fact")?;
            records.push((message.seq, message.time, stored.map_err(|error| error.to_string())?));
        }
        Ok(records)
    }

    /// Folds what is on the disk and not in the table, and lets go of what expired. `now` is its clock's.
    pub fn fold(&mut self, now: Moment) -> Result<(), String> {
        let anew = self.facts.is_ahead_of(now);
        if anew {
            // Its clock was set back: what expired may hold after all, and may be owed after all.
            self.facts = Facts::new(GROUP);
            self.folded = 0;
        }
        let mut gone = Vec::new();
        for (seq, recorded, stored) in self.records(self.folded + 1)? {
            gone.extend(self.facts.fold(seq, recorded, &stored, now).gone);
            self.folded = seq;
        }
        gone.extend(self.facts.expire(now));
        if anew {
            self.look_anew(now);
        } else {
            self.let_go(&gone, now);
        }
        Ok(())
    }

    /// Has each peer looked after from the first position that it is owed.
    fn look_anew(&mut self, now: Moment) {
        for peer in &mut self.peers {
            let first = self.deliveries.first_owed(&self.facts, &peer.spec, &self.name, now);
            peer.next = first.unwrap_or(self.folded + 1);
        }
    }

    fn let_go(&mut self, gone: &[Gone], now: Moment) {
        let over = || gone.iter().filter(|gone| gone.why != Why::Withdrawn);
        self.deliveries.prune(over().map(|gone| &*gone.id));
        for peer in &mut self.peers {
            for gone in over() {
                peer.outbox.handle(now, Input::Gone { id: gone.id.clone() });
            }
        }
    }

    /// Feeds a peer's outbox and does what it wants; gives what is to be pushed.
    pub fn pump(&mut self, index: usize, now: Moment) -> Result<Vec<Push>, String> {
        self.feed(index, now)?;
        let Some(peer) = self.peers.get_mut(index) else { return Ok(Vec::new()) };
        peer.outbox.handle(now, Input::Tick);
        let (mut pushes, mut kept) = (Vec::new(), Vec::new());
        while let Some(output) = peer.outbox.poll() {
            match output {
                Output::Push { batch, seqs } => {
                    let bodies: Option<Vec<_>> = seqs.iter().map(|seq| peer.bodies.get(seq).cloned()).collect();
                    let bodies = bodies.ok_or_else(|| format!("{seqs:?} are pushed and were let go of"))?;
                    peer.flights.insert(batch, seqs);
                    pushes.push(Push { batch, bodies });
                }
                Output::Record { row, keep } => {
                    if self.facts.get(&row.id).is_some() {
                        self.deliveries.apply(row.clone());
                    }
                    if matches!(row.status, Status::Delivered | Status::Expired) {
                        peer.let_go(row.seq);
                    }
                    if keep {
                        kept.push(row);
                    }
                }
                Output::Moved(_) => {}
            }
        }
        self.ledger_waiting.extend(encode(&kept));
        Ok(pushes)
    }

    /// Takes what is behind the last position looked at, as far as there is room.
    fn feed(&mut self, index: usize, now: Moment) -> Result<(), String> {
        let Node { peers, facts, deliveries, name, folded, disk, .. } = self;
        let Some(peer) = peers.get_mut(index) else { return Ok(()) };
        while peer.next <= *folded && peer.outbox.room() > 0 {
            let seq = peer.next;
            peer.next += 1;
            let message = disk.get(&stream_name(GROUP), seq).map_err(|error| error.to_string())?;
            let stored = from_message(&message.message, GROUP).ok_or("a record that is no fact")?;
            let stored = stored.map_err(|error| error.to_string())?;
            let wanted = peer.spec.wants(&stored, name) == Verdict::Push;
            let entry = facts.get(&stored.fact.id).filter(|entry| entry.seq == seq);
            let entry = entry.filter(|entry| wanted && (entry.withdrawn || entry.is_live(now)));
            let told = |row: &Delivery| row.seq == seq && row.status == Status::Delivered;
            let entry = entry.filter(|entry| !deliveries.get(&entry.id, &peer.name).is_some_and(told));
            let Some(entry) = entry else { continue };
            if stored.via.is_some() || *stored.fact.source != **name {
                return Err(format!("{name} would push what is not its own: {stored:?}"));
            }
            let body = envelope::encode(&entry.complete(stored.fact));
            if let Some(earlier) = peer.latest.get(&entry.id).copied().filter(|earlier| *earlier != seq) {
                peer.let_go(earlier);
            }
            peer.latest.insert(entry.id.clone(), seq);
            let row = Delivery::pending(entry, &peer.name);
            peer.outbox.handle(now, Input::Owe { row, bytes: body.len(), withdrawal: entry.withdrawn });
            peer.bodies.insert(seq, body);
        }
        Ok(())
    }

    /// Loses what is in memory; of what was not synced, chance keeps a beginning.
    pub fn crash(&mut self, now: Moment, chance: &mut Chance) -> Result<(), String> {
        let kept = chance.index(self.waiting.len() + 1);
        let kept: Vec<_> = std::mem::take(&mut self.waiting).into_iter().take(kept).collect();
        for (append, _) in kept {
            self.disk.append(now, append).map_err(|error| error.to_string())?;
        }
        let lines = self.ledger_waiting.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>();
        let kept = lines.into_iter().take(chance.index(4)).flatten().copied().collect::<Vec<u8>>();
        self.ledger.extend(kept);
        self.ledger_waiting.clear();
        self.asks.clear();
        self.up = false;
        self.life += 1;
        (self.sync_due, self.fold_due) = (false, false);
        Ok(())
    }

    /// Starts again from what is on the disk.
    pub fn start(&mut self, now: Moment, seed: u64, shape: Shape) -> Result<(), String> {
        (self.up, self.wake) = (true, None);
        self.facts = Facts::new(GROUP);
        self.folded = 0;
        self.deliveries = Deliveries::new();
        self.replays = ReplayCache::new(Freshness::new(core::time::Duration::ZERO));
        for (index, peer) in (0..).zip(&mut self.peers) {
            peer.reset(seed ^ index, shape);
        }
        self.fold(now)?;
        for row in decode(&self.ledger).map_err(|error| error.to_string())? {
            if self.facts.get(&row.id).is_some() {
                self.deliveries.apply(row);
            }
        }
        self.look_anew(now);
        Ok(())
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        let peers = self.peers.iter().all(|peer| peer.outbox.is_empty() && peer.next > self.folded);
        self.up && self.waiting.is_empty() && self.asks.is_empty() && peers
    }
}
