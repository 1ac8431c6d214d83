//! The engine with its threads: a writer, a keeper, readers, and one for the consumers.
//!
//! A thin rim: what is decided is decided in [`Core`], [`Reader`] and the desk.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use event::{Moment, Pattern, Subject};
use journal::{
    Ack, AckError, AckToken, Answer, Append, AppendError, BatchError, ConsumerConfig, ConsumerError, ConsumerInfo,
    Done, Fetch, Health, Journal, Page, Purge, Read, ReadError, Receipt, Sink, Stored, StreamConfig, StreamError,
    StreamInfo, SubjectState, Watcher, answer, ready,
};
use parking_lot::Mutex;

use crate::Clock;
use crate::consumers::{self, Consumers};
use crate::core::{Core, Options};
use crate::disk::{Disk, at_once};
use crate::open::{OpenError, Recovered};
use crate::ops::Op;
use crate::pool::Pool;
use crate::read::Reader;
use crate::writer::{self, Inbox, Keeper};

/// What verbs answer after [`Journal::close`].
const CLOSED: &str = "it was closed";

/// The embedded engine. Dropping it without [`Journal::close`] leaves its files as a kill would.
pub struct DiskJournal {
    inbox: Arc<Inbox>,
    pool: Arc<Pool>,
    consumers: Arc<Consumers>,
    reader: Reader,
    recovered: Recovered,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl DiskJournal {
    /// Opens a data directory, or makes a new one, and starts the threads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, options: Options, clock: Arc<dyn Clock>) -> Result<DiskJournal, OpenError> {
        let mut core = Core::open(disk, options, clock.now())?;
        let recovered = core.recovered().clone();
        let reader = Reader::new(core.directory());
        let inbox = Inbox::new(clock.clone(), recovered.damage.len() as u64);
        let (pool, mut threads) = Pool::start(reader.clone(), clock.clone())?;
        let parts = consumers::Parts {
            directory: core.directory(),
            inbox: inbox.clone(),
            pool: pool.clone(),
            clock: clock.clone(),
        };
        let (consumers, desk_thread) = Consumers::start(parts, core.desk())?;
        threads.push(desk_thread);
        let told = consumers.clone();
        core.observe(Box::new(move |stream, added| told.appended(stream, added)));
        let keeper = Arc::new(Keeper::default());
        let kept = keeper.clone();
        threads.push(spawn("journal-keep", move || kept.run())?);
        let queue = inbox.clone();
        threads.push(spawn("journal-write", move || writer::run(core, &queue, &keeper, clock.as_ref()))?);
        Ok(DiskJournal { inbox, pool, consumers, reader, recovered, threads: Mutex::new(threads) })
    }

    /// What opening found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Reads on the caller's own thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Has all threads look at the clock: for a clock that was set.
    pub fn tick(&self) {
        self.inbox.nudge();
        self.pool.nudge();
        self.consumers.nudge();
    }

    #[cfg(test)]
    pub(crate) fn way(&self) -> &Consumers {
        &self.consumers
    }

    /// Has the consumers told of messages that another took the place of.
    fn told_of_rollup<T: 'static>(&self, rollup: bool, done: Done<T>, receipt: fn(&T) -> Option<&Receipt>) -> Done<T> {
        if !rollup {
            return done;
        }
        let consumers = self.consumers.clone();
        Box::new(move |result| {
            if let Some(receipt) = receipt(&result).filter(|receipt| !receipt.duplicate) {
                consumers.removed(&receipt.stream, None);
            }
            done(result);
        })
    }

    fn on_streams<T: Send + 'static>(
        &self,
        op: impl FnOnce(Done<Result<T, StreamError>>) -> Op,
        then: impl FnOnce(&Consumers, &T) + Send + 'static,
    ) -> Answer<Result<T, StreamError>> {
        let (done, answer) = answer(|| Err(StreamError::Closed(CLOSED.to_owned())));
        let consumers = self.consumers.clone();
        self.inbox.submit(op(Box::new(move |result| {
            if let Ok(value) = &result {
                then(&consumers, value);
            }
            done(result);
        })));
        answer
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        self.consumers.stop();
        self.inbox.stop();
        self.pool.stop();
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has told so itself.
            let _panicked = thread.join();
        }
    }
}

impl Journal for DiskJournal {
    fn append(&self, append: Append, done: Done<Result<Receipt, AppendError>>) {
        let done = self.told_of_rollup(append.rollup.is_some(), done, |receipt| receipt.as_ref().ok());
        self.inbox.submit(Op::Append(append, done));
    }

    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>) {
        let rollup = appends.iter().any(|append| append.rollup.is_some());
        let done = self.told_of_rollup(rollup, done, |receipt| receipt.as_ref().ok());
        self.inbox.submit(Op::AppendAll(appends, done));
    }

    fn version(&self) -> u64 {
        self.reader.version()
    }

    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>> {
        let stream = stream.to_owned();
        self.pool.ask(move |reader| reader.deleted(&stream, from, limit))
    }

    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.on_streams(|done| Op::Create(config, done), Consumers::stream)
    }

    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.on_streams(
            |done| Op::Update(config, done),
            |consumers, info| {
                consumers.stream(info);
                consumers.removed(&info.config.name, None);
            },
        )
    }

    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>> {
        let name = stream.to_owned();
        self.on_streams(|done| Op::Drop(stream.to_owned(), done), move |consumers, ()| consumers.stream_deleted(&name))
    }

    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>> {
        let stream = stream.to_owned();
        let (done, answer) = answer(|| Err(StreamError::Closed(CLOSED.to_owned())));
        // Where it is refused, the answer says so: its completer is dropped.
        let _taken = self.pool.submit(Box::new(move |reader| {
            done(reader.info(&stream).ok_or(StreamError::NotFound(stream)));
        }));
        answer
    }

    fn streams(&self) -> Answer<Vec<StreamInfo>> {
        let (done, answer) = answer(Vec::new);
        let _taken = self.pool.submit(Box::new(move |reader| done(reader.streams())));
        answer
    }

    fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.reader.captured_by(subject)
    }

    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>> {
        let (stream, pattern) = (stream.to_owned(), pattern.clone());
        self.pool.ask(move |reader| reader.subjects(&stream, &pattern, after.as_ref(), limit))
    }

    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>> {
        let name = stream.to_owned();
        self.on_streams(
            |done| Op::Purge(stream.to_owned(), purge, done),
            move |consumers, _| consumers.removed(&name, None),
        )
    }

    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>> {
        let name = stream.to_owned();
        self.on_streams(
            |done| Op::Delete(stream.to_owned(), seq, done),
            move |consumers, ()| consumers.removed(&name, Some(seq)),
        )
    }

    fn read(&self, stream: &str, read: Read) -> Answer<Result<Page, ReadError>> {
        self.pool.read(stream, read)
    }

    fn get(&self, stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>> {
        if let Some(found) = at_once(|| self.reader.get(stream, seq)) {
            return ready(found);
        }
        let stream = stream.to_owned();
        self.pool.ask(move |reader| reader.get(&stream, seq))
    }

    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>> {
        // A pattern without wildcards costs one look; others may look through all subjects.
        if pattern.literal().is_some()
            && let Some(found) = at_once(|| self.reader.last(stream, pattern))
        {
            return ready(found);
        }
        let (stream, pattern) = (stream.to_owned(), pattern.clone());
        self.pool.ask(move |reader| reader.last(&stream, &pattern))
    }

    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.consumers.create(stream, config)
    }

    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.consumers.update(stream, config)
    }

    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        self.consumers.delete(stream, consumer)
    }

    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.consumers.info(stream, consumer)
    }

    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        self.consumers.list(stream)
    }

    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.consumers.pause(stream, consumer, until)
    }

    fn consumer_reset(
        &self,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.consumers.reset(stream, consumer, to)
    }

    fn consumer_unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        self.consumers.unpin(stream, consumer, group)
    }

    fn watch(&self, watcher: Watcher) {
        self.consumers.watch(watcher);
    }

    fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>) {
        self.consumers.fetch(stream, consumer, fetch, sink);
    }

    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        self.consumers.acknowledge(token, ack, synced, done);
    }

    fn nudge(&self) {
        self.consumers.ask_sinks();
    }

    fn health(&self) -> Health {
        let (status, waiting, oldest) = self.inbox.health();
        let found: u64 = self.reader.damaged();
        Health {
            refusing: status.refusing,
            waiting,
            oldest_nanos: u64::try_from(oldest.as_nanos()).unwrap_or(u64::MAX),
            damaged: status.damaged + found,
        }
    }

    fn close(&self) -> Answer<()> {
        let (done, answer) = answer(|| ());
        let (inbox, pool) = (self.inbox.clone(), self.pool.clone());
        self.consumers.close(Box::new(move |()| {
            inbox.close(Box::new(move |()| {
                pool.stop();
                done(());
            }));
        }));
        answer
    }
}

/// The answer of a consumer verb when the engine is closed.
pub(crate) fn shut<T: Send + 'static>() -> Answer<Result<T, ConsumerError>> {
    ready(Err(ConsumerError::Closed(CLOSED.to_owned())))
}
