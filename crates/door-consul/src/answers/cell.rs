//! One answer, shared by all who ask the same, with the position at which it last became another.
//!
//! # Invariants
//! - The index rises only when the content has become another, and is then the position that made it so. It never
//!   falls while the cell lives; a cell made anew begins with the position at which its content may last have
//!   changed, which is no lower.
//! - The content is encoded at most once for each position that may have changed it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::gate::{Gate, News};
use super::pack;
use crate::codec::Fault;
use crate::counts::{Totals, count};

/// What an answer is made of.
pub(crate) trait Question: Send + Sync + 'static {
    /// The position up to which the answer may have changed: cheap, never falls, never 0.
    fn changed(&self) -> u64;

    /// The answer, as it is now, and what [`Question::changed`] is of the same moment.
    ///
    /// # Errors
    /// [`Fault`]: the question cannot be answered.
    fn answer(&self) -> Result<(u64, Content), Fault>;

    /// Registers for what the answer depends on, from now on.
    fn register(&self) -> News;
}

/// An answer's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What the body is.
    pub(crate) kind: Kind,
    /// The body.
    pub(crate) body: Bytes,
    /// Something was left out, since the reader may not see it.
    pub(crate) filtered: bool,
    /// What it is told apart by, where it says so itself.
    pub(crate) hash: Option<String>,
}

impl Content {
    /// JSON, with 200.
    pub(crate) fn json(body: String) -> Self {
        Content { status: 200, body: body.into(), ..Content::default() }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `application/json`
    #[default]
    Json,
    /// `text/plain`, and nothing that a browser may take for something else.
    Raw,
    /// Nothing is said.
    None,
}

/// An answer, encoded.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The position at which it became what it is.
    pub(crate) index: u64,
    /// What it is.
    pub(crate) content: Content,
    packed: OnceLock<Bytes>,
    hash: OnceLock<String>,
}

impl Encoded {
    /// An answer that is not shared.
    pub(crate) fn new(index: u64, content: Content) -> Self {
        Encoded { index, content, packed: OnceLock::new(), hash: OnceLock::new() }
    }

    /// The body, compressed; once for all who ask for it.
    pub(crate) fn packed(&self) -> Bytes {
        self.packed.get_or_init(|| pack::gzip(&self.content.body)).clone()
    }

    /// What the content is told apart by.
    pub(crate) fn hash(&self) -> &str {
        self.hash.get_or_init(|| self.content.hash.clone().unwrap_or_else(|| pack::digest(&self.content.body)))
    }
}

/// See the module.
pub(crate) struct Cell {
    pub(crate) question: Box<dyn Question>,
    pub(crate) gate: Arc<Gate>,
    core: Mutex<Core>,
    /// When it was last asked, in seconds since the door was opened.
    used: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Core {
    /// What the question said it may have changed up to, when it was last answered.
    looked: u64,
    answer: Option<Arc<Encoded>>,
}

impl Cell {
    pub(crate) fn new(question: Box<dyn Question>) -> Self {
        let (used, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Cell { question, gate: Arc::default(), core: Mutex::default(), used, bytes }
    }

    /// The answer as it is now. Where it has become another, who waits for it is woken.
    ///
    /// # Errors
    /// [`Fault`]: the question cannot be answered.
    pub(crate) fn look(&self, totals: &Totals) -> Result<Arc<Encoded>, Fault> {
        let mut core = self.core.lock();
        let changed = self.question.changed().max(1);
        if let Some(answer) = core.answer.as_ref().filter(|_| core.looked == changed) {
            count(&totals.shared);
            return Ok(Arc::clone(answer));
        }
        let (changed, content) = match self.question.answer() {
            Ok(answer) => answer,
            Err(fault) => {
                core.answer = None;
                return Err(fault);
            }
        };
        let changed = changed.max(1);
        core.looked = changed;
        if let Some(answer) = core.answer.as_ref().filter(|answer| answer.content == content) {
            count(&totals.unchanged);
            return Ok(Arc::clone(answer));
        }
        count(&totals.encoded);
        self.bytes.store(content.body.len() as u64, Ordering::Relaxed);
        let index = changed.max(core.answer.as_ref().map_or(0, |answer| answer.index));
        let answer = Arc::new(Encoded::new(index, content));
        let first = core.answer.replace(Arc::clone(&answer)).is_none();
        drop(core);
        if !first {
            self.gate.wake_all();
        }
        Ok(answer)
    }

    /// The answer as it was when it was last looked at; `None`: it never was.
    pub(crate) fn held(&self) -> Option<Arc<Encoded>> {
        self.core.lock().answer.clone()
    }

    /// Takes note that it was asked.
    pub(crate) fn touch(&self, second: u64) {
        self.used.store(second, Ordering::Relaxed);
    }

    /// When it was last asked.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of its answer.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
