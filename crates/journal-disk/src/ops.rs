//! What is asked of the writer, and what it answers.

use journal::{Append, AppendError, BatchError, Done, Purge, Receipt, StreamConfig, StreamError, StreamInfo};

/// A request. Requests take effect in the order in which they were submitted.
pub enum Op {
    /// Record a message.
    Append(Append, Done<Result<Receipt, AppendError>>),
    /// Record several messages, all or none.
    AppendAll(Vec<Append>, Done<Result<Receipt, BatchError>>),
    /// Declare a stream.
    Create(StreamConfig, Done<Result<StreamInfo, StreamError>>),
    /// Declare it anew.
    Update(StreamConfig, Done<Result<StreamInfo, StreamError>>),
    /// Delete a stream.
    Drop(String, Done<Result<(), StreamError>>),
    /// Remove messages of a stream.
    Purge(String, Purge, Done<Result<u64, StreamError>>),
    /// Remove one message.
    Delete(String, u64, Done<Result<(), StreamError>>),
    /// Remove messages that every consumer is done with: those that are there, of those given.
    Retire(String, Vec<u64>),
    /// Keep a change of the consumers. Answered when it is durable.
    Desk {
        /// The change, theirs to read.
        bytes: Vec<u8>,
        /// Whether somebody waits: it is synced with this commit, otherwise with a later one.
        synced: bool,
        /// What is answered.
        done: Done<Result<(), String>>,
    },
    /// All changes of the consumers so far come to this: the next catalogue has it in their place.
    DeskWhole(Vec<u8>),
}

/// An answer that waits for the commit.
pub enum Reply {
    /// Of an append.
    Append(Done<Result<Receipt, AppendError>>, Result<Receipt, AppendError>),
    /// Of a batch.
    AppendAll(Done<Result<Receipt, BatchError>>, Result<Receipt, BatchError>),
    /// Of a declaration.
    Info(Done<Result<StreamInfo, StreamError>>, Result<Box<StreamInfo>, StreamError>),
    /// Of a removal.
    Unit(Done<Result<(), StreamError>>, Result<(), StreamError>),
    /// Of a purge.
    Count(Done<Result<u64, StreamError>>, Result<u64, StreamError>),
    /// Of a change of the consumers, once the log is synced.
    Desk(Done<Result<(), String>>),
}

/// Why nothing of a commit was done.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The disk has no room; nothing was recorded.
    Storage(String),
    /// The engine is closed; what was recorded is unknown.
    Closed(String),
}

impl Refusal {
    fn append(&self) -> AppendError {
        match self {
            Refusal::Storage(why) => AppendError::Storage(why.clone()),
            Refusal::Closed(why) => AppendError::Closed(why.clone()),
        }
    }

    fn batch(&self) -> BatchError {
        BatchError { index: 0, error: self.append() }
    }

    fn stream(&self) -> StreamError {
        match self {
            Refusal::Storage(why) => StreamError::Storage(why.clone()),
            Refusal::Closed(why) => StreamError::Closed(why.clone()),
        }
    }

    fn text(&self) -> String {
        match self {
            Refusal::Storage(why) | Refusal::Closed(why) => why.clone(),
        }
    }
}

impl Op {
    /// Bytes that it holds and may write, generously.
    pub fn weight(&self) -> usize {
        /// Header, fields, and the share of a trim record.
        const OVERHEAD: usize = 128;
        let of = |append: &Append| append.message.size() + append.id.as_ref().map_or(0, |id| id.len()) + OVERHEAD;
        match self {
            Op::Append(append, _) => of(append),
            Op::AppendAll(appends, _) => appends.iter().map(of).sum(),
            Op::Create(config, _) | Op::Update(config, _) => {
                let patterns: usize = config.subjects.iter().map(|pattern| pattern.as_str().len() * 2 + 8).sum();
                let notes: usize = config.metadata.iter().map(|(key, value)| (key.len() + value.len()) * 2 + 8).sum();
                let sources = config.sources.iter().chain(&config.mirror);
                let transforms = sources.clone().map(|source| source.transforms.len()).sum::<usize>() + 2;
                let origins = (transforms + sources.count() * 2) * 4 * event::limits::SUBJECT_BYTES_MAX;
                4096 + patterns + notes + origins + config.description.len() * 2
            }
            Op::Retire(_, seqs) => seqs.len() * (OVERHEAD + event::limits::SUBJECT_BYTES_MAX),
            Op::Desk { bytes, .. } => bytes.len() + OVERHEAD,
            Op::DeskWhole(_) => 0,
            _ => OVERHEAD + event::limits::SUBJECT_BYTES_MAX,
        }
    }

    /// Answers that nothing was done.
    pub fn refuse(self, refusal: &Refusal) {
        match self {
            Op::Append(_, done) => done(Err(refusal.append())),
            Op::AppendAll(_, done) => done(Err(refusal.batch())),
            Op::Create(_, done) | Op::Update(_, done) => done(Err(refusal.stream())),
            Op::Drop(_, done) | Op::Delete(_, _, done) => done(Err(refusal.stream())),
            Op::Purge(_, _, done) => done(Err(refusal.stream())),
            Op::Retire(..) | Op::DeskWhole(_) => {}
            Op::Desk { done, .. } => done(Err(refusal.text())),
        }
    }
}

impl Reply {
    /// Answers what was judged.
    pub fn settle(self) {
        match self {
            Reply::Append(done, result) => done(result),
            Reply::AppendAll(done, result) => done(result),
            Reply::Info(done, result) => done(result.map(|info| *info)),
            Reply::Unit(done, result) => done(result),
            Reply::Count(done, result) => done(result),
            Reply::Desk(done) => done(Ok(())),
        }
    }

    /// Answers that the commit failed. What was refused or there already still is.
    pub fn fail(self, why: &str) {
        let refusal = Refusal::Closed(why.to_owned());
        match self {
            Reply::Append(done, Err(error)) => done(Err(error)),
            Reply::Append(done, Ok(_)) => done(Err(refusal.append())),
            Reply::AppendAll(done, result) => done(Err(result.err().unwrap_or_else(|| refusal.batch()))),
            Reply::Info(done, result) => done(Err(result.err().unwrap_or_else(|| refusal.stream()))),
            Reply::Unit(done, result) => done(Err(result.err().unwrap_or_else(|| refusal.stream()))),
            Reply::Count(done, result) => done(Err(result.err().unwrap_or_else(|| refusal.stream()))),
            Reply::Desk(done) => done(Err(why.to_owned())),
        }
    }
}
