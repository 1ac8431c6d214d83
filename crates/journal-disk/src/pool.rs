//! The threads that read for others, and the reads that wait.
//!
//! A read that finds nothing and may wait is known in three places until it is answered: among its
//! stream's waiters, among the timers here, and by its caller's answer, which takes it out of both
//! when it is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use event::Moment;
use journal::{Answer, Done, Page, Read, ReadError, Start, answer};
use parking_lot::{Condvar, Mutex};

use crate::Clock;
use crate::live::Shared;
use crate::read::Reader;

/// Threads: one reads while another waits for the disk.
const THREADS: usize = 2;
/// Reads that may wait for a thread; more are refused.
const JOBS_MAX: usize = 65_536;
/// Longest sleep of a thread with timers, so that a clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&Reader) + Send>;

/// See the module.
pub struct Pool {
    reader: Reader,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wake: Condvar,
    keys: AtomicU64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    timers: BTreeMap<(Moment, u64), Arc<Follow>>,
    stopped: bool,
}

/// A read that waits.
struct Follow {
    key: u64,
    deadline: Moment,
    stream: String,
    read: Mutex<Read>,
    done: Mutex<Option<Done<Result<Page, ReadError>>>>,
    waiter: Mutex<Option<(Arc<Shared>, u64)>>,
}

/// An answer whose dropping takes the read back.
struct Guarded {
    answer: Answer<Result<Page, ReadError>>,
    pool: Arc<Pool>,
    follow: Arc<Follow>,
}

impl Future for Guarded {
    type Output = Result<Page, ReadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.as_mut().poll(context)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _unwanted = self.pool.take(&self.follow);
    }
}

/// What a read says after the engine is closed.
pub fn closed() -> ReadError {
    ReadError::Closed("it was closed".to_owned())
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn start(reader: Reader, clock: Arc<dyn Clock>) -> std::io::Result<(Arc<Pool>, Vec<thread::JoinHandle<()>>)> {
        let (state, wake) = (Mutex::default(), Condvar::new());
        let pool = Arc::new(Pool { reader, clock, state, wake, keys: AtomicU64::new(0) });
        let mut threads = Vec::new();
        for number in 0..THREADS {
            let pool = pool.clone();
            let name = format!("journal-read-{number}");
            threads.push(thread::Builder::new().name(name).spawn(move || pool.run())?);
        }
        Ok((pool, threads))
    }

    /// Has a thread do something. `false`: too much waits, or the pool has stopped.
    pub fn submit(&self, job: Job) -> bool {
        let mut state = self.state.lock();
        if state.stopped || state.jobs.len() >= JOBS_MAX {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Has a thread find an answer.
    pub fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Answer<Result<T, ReadError>> {
        let (done, answer) = answer(|| Err(closed()));
        // Where it is refused, the answer says so: its completer is dropped.
        let _taken = self.submit(Box::new(move |reader| done(work(reader))));
        answer
    }

    /// Reads a page, and waits if it says so.
    pub fn read(self: &Arc<Self>, stream: &str, read: Read) -> Answer<Result<Page, ReadError>> {
        let Some(wait) = read.wait.filter(|_| !read.last_per_subject && read.until.is_none()) else {
            let stream = stream.to_owned();
            return self.ask(move |reader| reader.page(&stream, &read));
        };
        let (done, answer) = answer(|| Err(closed()));
        let follow = Arc::new(Follow {
            key: self.keys.fetch_add(1, Ordering::Relaxed),
            deadline: self.clock.now().after(wait.min(journal::limits::WAIT_MAX)),
            stream: stream.to_owned(),
            read: Mutex::new(read),
            done: Mutex::new(Some(done)),
            waiter: Mutex::new(None),
        });
        self.again(&follow);
        Box::pin(Guarded { answer, pool: self.clone(), follow })
    }

    fn again(self: &Arc<Self>, follow: &Arc<Follow>) {
        let (pool, again) = (self.clone(), follow.clone());
        if !self.submit(Box::new(move |_| pool.follow(&again)))
            && let Some(done) = self.take(follow)
        {
            done(Err(closed()));
        }
    }

    /// Tries a read that may wait, and has it wait where it finds nothing.
    fn follow(self: &Arc<Self>, follow: &Arc<Follow>) {
        if follow.done.lock().is_none() {
            return;
        }
        let read = follow.read.lock().clone();
        let result = self.reader.page(&follow.stream, &read);
        let page = match result {
            Ok(page) if page.messages.is_empty() && self.clock.now() < follow.deadline => page,
            result => {
                if let Some(done) = self.take(follow) {
                    done(result);
                }
                return;
            }
        };
        follow.read.lock().start = Start::Seq(page.next);
        let Ok(shared) = self.reader.shared(&follow.stream) else { return self.again(follow) };
        let mut state = self.state.lock();
        if state.stopped {
            drop(state);
            let _unwanted = self.take(follow);
            return;
        }
        state.timers.insert((follow.deadline, follow.key), follow.clone());
        drop(state);
        self.wake.notify_one();
        let (pool, woken) = (self.clone(), follow.clone());
        let key = shared.waiters.lock().add(read.filters, Box::new(move || pool.again(&woken)));
        *follow.waiter.lock() = Some((shared.clone(), key));
        // What came before the waiter stood there did not wake it.
        let live = shared.live.read();
        let missed = live.state.last > page.last || live.deleted;
        drop(live);
        let missed = missed && shared.waiters.lock().remove(key).is_some();
        if missed {
            self.again(follow);
        } else if follow.done.lock().is_none() {
            let _unwanted = self.take(follow);
        }
    }

    /// Takes a read out of wherever it waits.
    fn take(&self, follow: &Follow) -> Option<Done<Result<Page, ReadError>>> {
        let done = follow.done.lock().take();
        self.state.lock().timers.remove(&(follow.deadline, follow.key));
        let waiter = follow.waiter.lock().take();
        if let Some((shared, key)) = waiter {
            let _uncalled = shared.waiters.lock().remove(key);
        }
        done
    }

    /// Has the threads look at the clock.
    pub fn nudge(&self) {
        self.wake.notify_all();
    }

    /// Ends the threads. What waits is answered that the engine is closed.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let jobs = std::mem::take(&mut state.jobs);
        let timers = std::mem::take(&mut state.timers);
        drop(state);
        self.wake.notify_all();
        drop(jobs);
        for follow in timers.into_values() {
            if let Some(done) = self.take(&follow) {
                done(Err(closed()));
            }
        }
    }

    fn run(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.stopped {
                return;
            }
            let now = self.clock.now();
            let due = state.timers.first_key_value().map(|((moment, _), _)| *moment);
            if due.is_some_and(|due| due <= now) {
                let expired = state.timers.pop_first();
                drop(state);
                if let Some((_, follow)) = expired {
                    self.follow(&follow);
                }
                continue;
            }
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job(&self.reader);
                continue;
            }
            match due {
                Some(due) => {
                    let _timed_out = self.wake.wait_for(&mut state, due.since(now).min(SLEEP_MAX));
                }
                None => self.wake.wait(&mut state),
            }
        }
    }
}
