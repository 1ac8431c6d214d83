//! The writer's thread, and the keeper's, which does its slow work.
//!
//! Requests wait in one bounded queue. The writer takes all there are, has [`Core`] commit them, and
//! takes what came meanwhile: the longer a sync takes, the more share the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use event::Moment;
use journal::Done;
use parking_lot::{Condvar, Mutex};

use crate::Clock;
use crate::checkpoint::{Checkpoint, flush};
use crate::core::Core;
use crate::directory::Directory;
use crate::live::Shared;
use crate::ops::{Op, Refusal};
use crate::patience::Patience;

/// Requests that may wait.
const OPS_MAX: usize = 65_536;
/// Bytes of requests that may wait, save that one always may.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests for which there is room ahead, at most: a few hundred kilobytes of an idle engine.
const ROOM_MAX: usize = 1_024;
/// How long the writer looks for more before it sleeps: what waking a publisher takes, so that one
/// who asks again at once finds it awake.
const SPIN: Duration = Duration::from_micros(100);
/// The share of a commit's own time that the writer waits for those whom it answered.
const HOPE: u32 = 2;
/// The longest that it waits so.
const HOPE_MAX: Duration = Duration::from_micros(200);
/// Longest sleep, so that a clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How long after a failed checkpoint the next is tried.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of the log after which the keeper is asked to move what it can.
const FLUSH_EVERY: u64 = 256 * 1024;
/// Bytes of one stream below which moving waits for the checkpoint.
const FLUSH_MIN: u64 = 64 * 1024;

/// What the writer is told.
enum Told {
    Checkpointed(Box<Checkpoint>, std::io::Result<()>),
    /// A file of the log was made ahead, or could not be.
    Spared(std::io::Result<()>),
    Close(Done<()>),
    /// End at once, as a kill would.
    Stop,
}

/// How the writer is, for whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Why it cannot accept and acknowledge.
    pub refusing: Option<String>,
    /// Places found damaged at opening.
    pub damaged: u64,
}

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    bytes: usize,
    told: VecDeque<Told>,
    sleeping: bool,
    nudged: bool,
    /// When the first of `ops` came.
    since: Option<Moment>,
    /// Of those being committed: how many, and since when.
    committing: (u64, Option<Moment>),
    ended: Option<String>,
    status: Status,
}

impl Queue {
    /// What waits, and room for as many again: under load the next will be about as many.
    fn taken(&mut self) -> VecDeque<Op> {
        let room = self.ops.len().min(ROOM_MAX);
        std::mem::replace(&mut self.ops, VecDeque::with_capacity(room))
    }
}

/// The way to the writer.
pub struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Whether something is in the queue; read without the lock while spinning.
    full: AtomicBool,
    on_their_way: AtomicU64,
    /// How many wait in the queue; read without the lock while waiting for more.
    queued: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Inbox {
    /// An empty queue.
    pub fn new(clock: Arc<dyn Clock>, damaged: u64) -> Arc<Inbox> {
        let queue = Queue { status: Status { refusing: None, damaged }, ..Queue::default() };
        Arc::new(Inbox {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            full: AtomicBool::new(false),
            on_their_way: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            clock,
        })
    }

    /// Hands a request over, or refuses it.
    pub fn submit(&self, op: Op) {
        let weight = op.weight();
        let mut queue = self.queue.lock();
        if let Some(why) = queue.ended.clone() {
            drop(queue);
            return op.refuse(&Refusal::Closed(why));
        }
        let over = queue.ops.len() >= OPS_MAX || (queue.bytes > 0 && queue.bytes + weight > BYTES_MAX);
        let op = match op {
            Op::Append(_, done) if over => {
                drop(queue);
                return done(Err(journal::AppendError::Busy));
            }
            Op::AppendAll(_, done) if over => {
                drop(queue);
                return done(Err(journal::BatchError { index: 0, error: journal::AppendError::Busy }));
            }
            op => op,
        };
        if queue.ops.is_empty() {
            queue.since = Some(self.clock.now());
        }
        queue.bytes += weight;
        queue.ops.push_back(op);
        self.queued.store(queue.ops.len() as u64, Ordering::Relaxed);
        self.rouse(queue);
    }

    fn rouse(&self, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        self.full.store(true, Ordering::Release);
        let sleeping = std::mem::take(&mut queue.sleeping);
        drop(queue);
        if sleeping {
            self.wake.notify_one();
        }
    }

    fn tell(&self, told: Told) {
        let mut queue = self.queue.lock();
        queue.told.push_back(told);
        self.rouse(queue);
    }

    /// Has the writer bring everything to rest and end; `done` is called then.
    pub fn close(&self, done: Done<()>) {
        if self.queue.lock().ended.is_some() {
            return done(());
        }
        self.tell(Told::Close(done));
    }

    /// Has the writer end at once.
    pub fn stop(&self) {
        self.tell(Told::Stop);
    }

    /// Has the writer look at the clock.
    pub fn nudge(&self) {
        let mut queue = self.queue.lock();
        queue.nudged = true;
        self.rouse(queue);
    }

    /// How the writer is; how many requests wait, and for how long the oldest has.
    pub fn health(&self) -> (Status, u64, Duration) {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let since = queue.committing.1.or(queue.since).filter(|_| queue.committing.0 > 0 || !queue.ops.is_empty());
        let mut status = queue.status.clone();
        if let Some(why) = &queue.ended {
            status.refusing = Some(why.clone());
        }
        (status, queue.ops.len() as u64 + queue.committing.0, since.map_or(Duration::ZERO, |since| now.since(since)))
    }

    /// Notes how many requests are on their way, those being committed and those that wait.
    fn note_on_their_way(&self) {
        let queue = self.queue.lock();
        let count = queue.ops.len() as u64 + queue.committing.0;
        self.on_their_way.store(count, Ordering::Relaxed);
    }

    /// Waits for as many requests as were on their way, since who was answered often asks again at
    /// once: otherwise two halves of the callers would take turns, each with a sync of its own.
    /// What comes meanwhile is handed to `more`; `got` came already.
    fn hope(&self, patience: &mut Patience, mut got: u64, most: Duration, mut more: impl FnMut(VecDeque<Op>)) {
        let hoped = self.on_their_way.swap(0, Ordering::Relaxed);
        if hoped < 2 || got >= hoped || !patience.allows() {
            return;
        }
        let began = Instant::now();
        while got < hoped && began.elapsed() < most {
            if self.queued.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
                continue;
            }
            let ops = self.take_more();
            got += ops.len() as u64;
            more(ops);
        }
        // Most of them is worth the wait, too.
        patience.learn(got >= hoped - hoped / 4);
    }

    /// What came since, for the same commit.
    fn take_more(&self) -> VecDeque<Op> {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        self.full.store(!queue.told.is_empty(), Ordering::Release);
        self.queued.store(0, Ordering::Relaxed);
        let since = queue.since.take();
        queue.committing = (queue.committing.0 + queue.ops.len() as u64, queue.committing.1.or(since));
        queue.taken()
    }

    /// Waits until there is something to do, or until the moment.
    fn take(&self, patience: &mut Patience, until: Option<Moment>) -> (VecDeque<Op>, VecDeque<Told>) {
        if !self.full.load(Ordering::Acquire) && patience.allows() {
            let began = Instant::now();
            while !self.full.load(Ordering::Acquire) && began.elapsed() < SPIN {
                thread::yield_now();
            }
            patience.learn(self.full.load(Ordering::Acquire));
        }
        let mut queue = self.queue.lock();
        queue.committing = (0, None);
        loop {
            let now = self.clock.now();
            let due = until.is_some_and(|until| until <= now);
            if !queue.ops.is_empty() || !queue.told.is_empty() || due || queue.nudged {
                break;
            }
            queue.sleeping = true;
            match until {
                Some(until) => {
                    let _timed_out = self.wake.wait_for(&mut queue, until.since(now).min(SLEEP_MAX));
                }
                None => self.wake.wait(&mut queue),
            }
        }
        (queue.sleeping, queue.nudged, queue.bytes) = (false, false, 0);
        self.full.store(false, Ordering::Release);
        self.queued.store(0, Ordering::Relaxed);
        queue.committing = (queue.ops.len() as u64, queue.since.take());
        (queue.taken(), std::mem::take(&mut queue.told))
    }

    /// Notes why appends are refused: before those are answered that are.
    fn report(&self, refusing: Option<&str>) {
        self.queue.lock().status.refusing = refusing.map(str::to_owned);
    }

    /// Refuses all that waits and all that comes.
    fn end(&self, why: &str) -> VecDeque<Told> {
        let mut queue = self.queue.lock();
        queue.ended = Some(why.to_owned());
        queue.committing = (0, None);
        let (ops, told) = (std::mem::take(&mut queue.ops), std::mem::take(&mut queue.told));
        drop(queue);
        ops.into_iter().for_each(|op| op.refuse(&Refusal::Closed(why.to_owned())));
        told
    }
}

/// The writer's loop. Returns when it was told to end; the engine's files are let go of then.
pub fn run(mut core: Core, inbox: &Arc<Inbox>, keeper: &Keeper, clock: &dyn Clock) {
    let mut retry_at: Option<Moment> = None;
    // When a refusing engine looks whether the cause is gone, though nobody asks.
    let mut probe_at: Option<Moment> = None;
    let mut flushed_at = core.log_end();
    // Whether a file of the log is being made ahead; or could not be, and is not tried again.
    let mut sparing = false;
    let mut took = Duration::ZERO;
    let (mut next, mut answered) = (Patience::default(), Patience::default());
    let (noting, telling) = (inbox.clone(), inbox.clone());
    inbox.report(core.refusing());
    core.refusing_told = Some(Box::new(move |why| telling.report(why)));
    core.durable = Some(Box::new(move || noting.note_on_their_way()));
    loop {
        let until = [core.next_wake(), retry_at, probe_at].into_iter().flatten().min();
        let (ops, told) = inbox.take(&mut next, until);
        let (now, got) = (clock.now(), ops.len() as u64);
        let mut take_in = |ops: VecDeque<Op>| {
            ops.into_iter().for_each(|op| core.submit(op));
            core.prepare(now);
        };
        if got > 0 {
            take_in(ops);
            inbox.hope(&mut answered, got, (took / HOPE).min(HOPE_MAX), take_in);
        }
        let began = Instant::now();
        core.tick(now);
        took = began.elapsed();
        for each in told {
            match each {
                Told::Checkpointed(checkpoint, result) => {
                    retry_at = result.is_err().then(|| clock.now().after(RETRY));
                    core.end_checkpoint(*checkpoint, result);
                }
                Told::Spared(result) => {
                    sparing = result.is_err();
                    core.spare_made(&result);
                }
                Told::Close(done) => return close(core, inbox, keeper, clock, done),
                Told::Stop => return stop(core, inbox, keeper),
            }
        }
        if !sparing && core.wants_spare() {
            sparing = true;
            keeper.give(Task::Spare(core.spare_maker(), inbox.clone()));
        }
        probe_at = (core.refusing().is_some() && core.closed().is_none()).then(|| now.after(RETRY));
        if core.checkpoint_due() && retry_at.is_none_or(|at| at <= now) {
            retry_at = None;
            match core.begin_checkpoint(false) {
                Ok(Some(checkpoint)) => keeper.give(Task::Checkpoint(Box::new(checkpoint), inbox.clone())),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a checkpoint could not begin");
                    retry_at = Some(now.after(RETRY));
                }
            }
        } else if core.log_end() - flushed_at >= FLUSH_EVERY {
            flushed_at = core.log_end();
            keeper.give(Task::Flush(core.directory()));
        }
    }
}

fn stop(core: Core, inbox: &Inbox, keeper: &Keeper) {
    keeper.stop();
    drop(core);
    answer_closers(inbox.end("it was stopped"));
}

fn answer_closers(left: VecDeque<Told>) {
    for each in left {
        if let Told::Close(done) = each {
            done(());
        }
    }
}

fn close(mut core: Core, inbox: &Inbox, keeper: &Keeper, clock: &dyn Clock, done: Done<()>) {
    keeper.stop();
    keeper.wait();
    let mut others = inbox.end("it was closed");
    // A checkpoint that the keeper finished meanwhile.
    for each in std::mem::take(&mut others) {
        match each {
            Told::Checkpointed(checkpoint, result) => core.end_checkpoint(*checkpoint, result),
            other => others.push_back(other),
        }
    }
    core.abandon_checkpoint();
    core.close(clock.now());
    drop(core);
    done(());
    answer_closers(others);
}

/// Slow work.
enum Task {
    Checkpoint(Box<Checkpoint>, Arc<Inbox>),
    Flush(Arc<Directory>),
    Spare(Box<dyn Fn() -> std::io::Result<()> + Send>, Arc<Inbox>),
}

/// The way to the keeper: at most one task of each kind waits.
#[derive(Default)]
pub struct Keeper {
    state: Mutex<Kept>,
    wake: Condvar,
}

#[derive(Default)]
struct Kept {
    checkpoint: Option<Task>,
    flush: Option<Task>,
    spare: Option<Task>,
    working: bool,
    stopped: bool,
}

impl Keeper {
    fn give(&self, task: Task) {
        let mut state = self.state.lock();
        match task {
            Task::Checkpoint(..) => state.checkpoint = Some(task),
            Task::Flush(_) => state.flush = Some(task),
            Task::Spare(..) => state.spare = Some(task),
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Takes nothing more; what it does it ends.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_all();
    }

    fn wait(&self) {
        let mut state = self.state.lock();
        while state.working {
            self.wake.wait(&mut state);
        }
    }

    /// The keeper's loop.
    pub fn run(&self) {
        // Why messages could not be moved the last time: told when it changes, not at each try.
        let mut unmoved: Option<String> = None;
        loop {
            let mut state = self.state.lock();
            let task = loop {
                if state.stopped {
                    // Told of, so that the writer knows that it does not run.
                    if let Some(Task::Checkpoint(checkpoint, inbox)) = state.checkpoint.take() {
                        let stopped = std::io::Error::other("the journal is closing");
                        inbox.tell(Told::Checkpointed(checkpoint, Err(stopped)));
                    }
                    return;
                }
                match state.spare.take().or_else(|| state.checkpoint.take()).or_else(|| state.flush.take()) {
                    Some(task) => break task,
                    None => self.wake.wait(&mut state),
                }
            };
            state.working = true;
            drop(state);
            match task {
                Task::Checkpoint(checkpoint, inbox) => {
                    let result = checkpoint.run();
                    inbox.tell(Told::Checkpointed(checkpoint, result));
                }
                Task::Spare(make, inbox) => inbox.tell(Told::Spared(make())),
                Task::Flush(directory) => tell_change(&mut unmoved, flush_large(&directory)),
            }
            self.state.lock().working = false;
            self.wake.notify_all();
        }
    }
}

fn flush_large(directory: &Directory) -> std::io::Result<()> {
    let large = |shared: &&Arc<Shared>| shared.live.read().unflushed() >= FLUSH_MIN;
    directory.all().iter().filter(large).try_for_each(|shared| flush(shared))
}

fn tell_change(unmoved: &mut Option<String>, result: std::io::Result<()>) {
    let now = result.err().map(|error| error.to_string());
    match (&now, &unmoved) {
        (Some(error), before) if before.as_ref() != Some(error) => {
            tracing::warn!(error, "messages stay in the log and in memory for now");
        }
        (None, Some(_)) => tracing::info!("messages are moved into the segments again"),
        _ => {}
    }
    *unmoved = now;
}
