//! What both engines are asked, and what they answer, as values that can be compared and printed.

use std::sync::Arc;

use event::{Pattern, Subject};
use journal::{
    Append, AppendError, Page, Purge, Read, ReadError, Receipt, Stored, StreamConfig, StreamError, StreamInfo,
    SubjectState,
};

/// What changes the journal.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Append.
    Append(Append),
    /// Create a stream.
    Create(StreamConfig),
    /// Update a stream.
    Update(StreamConfig),
    /// Delete a stream.
    Drop(String),
    /// Purge.
    Purge(String, Purge),
    /// Delete a message.
    Delete(String, u64),
    /// Remove messages that all consumers are done with.
    Retire(String, Vec<u64>),
    /// Keep a change of the consumers; whether somebody waits for it.
    Keep(Vec<u8>, bool),
    /// Keep what the consumers are in place of all changes so far.
    Whole(Vec<u8>),
}

/// The answer to a [`Verb`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// To an append.
    Append(Result<Receipt, AppendError>),
    /// To a declaration.
    Info(Result<Box<StreamInfo>, StreamError>),
    /// To a removal.
    Unit(Result<(), StreamError>),
    /// To a purge.
    Count(Result<u64, StreamError>),
    /// To a change of the consumers.
    Kept(Result<(), String>),
}

impl Told {
    /// What only one of two engines can know is left out.
    #[must_use]
    pub fn bare(mut self) -> Self {
        match &mut self {
            // What it holds is told as of the end of the commit, what follows in it included.
            Told::Info(Ok(info)) => (info.state, info.disk_bytes) = (journal::StreamState::default(), 0),
            Told::Append(Ok(receipt)) => receipt.proof = journal::Proof::Memory,
            Told::Info(Err(error)) | Told::Unit(Err(error)) | Told::Count(Err(error)) => unworded(error),
            _ => {}
        }
        self
    }

    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        match self {
            Told::Append(told) => told.is_ok(),
            Told::Info(told) => told.is_ok(),
            Told::Unit(told) => told.is_ok(),
            Told::Count(told) => told.is_ok(),
            Told::Kept(told) => told.is_ok(),
        }
    }

    /// Whether the disk did not let it be done, so that nothing was.
    pub fn is_storage(&self) -> bool {
        let stream = |error: &StreamError| matches!(error, StreamError::Storage(_));
        match self {
            Told::Append(Err(AppendError::Storage(_) | AppendError::Busy)) => true,
            Told::Info(Err(error)) | Told::Unit(Err(error)) | Told::Count(Err(error)) => stream(error),
            _ => false,
        }
    }

    /// Whether nobody knows if it was done.
    pub fn is_closed(&self) -> bool {
        let stream = |error: &StreamError| matches!(error, StreamError::Closed(_));
        match self {
            Told::Append(Err(AppendError::Closed(_))) => true,
            Told::Info(Err(error)) | Told::Unit(Err(error)) | Told::Count(Err(error)) => stream(error),
            _ => false,
        }
    }
}

/// What is wrong with a field may be said in other words.
fn unworded(error: &mut StreamError) {
    match error {
        StreamError::Invalid { reason, .. } => reason.clear(),
        // Of several that overlap, any may be named.
        StreamError::Overlap { ours, other, theirs, .. } => {
            other.clear();
            (*ours, *theirs) = (event::Pattern::all(), event::Pattern::all());
        }
        _ => {}
    }
}

fn bare(info: &mut StreamInfo) {
    info.disk_bytes = 0;
    info.state.damaged = 0;
}

/// What only asks.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A page.
    Read(String, Read),
    /// A message.
    Get(String, u64),
    /// The last that matches.
    Last(String, Pattern),
    /// Subjects.
    Subjects(String, Pattern, Option<Subject>, usize),
    /// A stream.
    Info(String),
    /// All streams.
    Streams,
    /// Who captures a subject.
    CapturedBy(Subject),
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A page.
    Page(Result<Page, ReadError>),
    /// A message.
    Stored(Result<Stored, ReadError>),
    /// Subjects.
    Subjects(Result<Vec<SubjectState>, ReadError>),
    /// A stream.
    Info(Result<Box<StreamInfo>, StreamError>),
    /// Streams.
    Streams(Vec<StreamInfo>),
    /// A name.
    Name(Option<Arc<str>>),
}

impl Found {
    /// What only one of two engines can know is left out.
    #[must_use]
    pub fn bare(mut self) -> Self {
        match &mut self {
            Found::Info(Ok(info)) => bare(info),
            Found::Streams(infos) => infos.iter_mut().for_each(bare),
            _ => {}
        }
        self
    }
}

/// Prints what would fill the screen in short.
pub fn short(value: &impl std::fmt::Debug) -> String {
    /// Characters shown.
    const SHOWN: usize = 600;
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} characters)", text.get(..end).unwrap_or_default(), text.len()),
        None => text,
    }
}
