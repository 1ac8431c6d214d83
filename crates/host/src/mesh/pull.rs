//! A stream of another domain, or another node, that this node asks for, and keeps.
//!
//! It asks again and again, from behind what it has; who has the stream [brings](super::mirror) it for as long as it is
//! asked for. What comes is recorded by [`custody`](super::custody) at the node that asked, whichever gateways it came
//! by, and confirmed by it.
//!
//! # Invariants
//! - What this node has is read from its own stream: an outage of either side loses and doubles nothing.
//! - One that does not get on says why: the source's own words where it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::Journal;
use link::mesh::{Letter, Put};
use parking_lot::Mutex;
use plan::MirrorSpec;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::body::Body;
use super::custody::come_to;
use super::kept::{ASKED, Head, Kind, Place, What, Word};
use super::mirror::{called, way};
use crate::entropy::seed;
use mesh::names::NodeId;

/// How often it is asked: a link that came back is noticed as soon.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long nothing may come, not even an answer, until that is said.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// The subject of the question: rules of names may close it.
const SUBJECT: &str = "$MIRROR.ask";

/// How it stands, as people read it.
#[derive(Debug)]
struct Standing {
    /// Messages that are yet to come.
    left: u64,
    /// Why it does not get on.
    why: Option<String>,
    /// When something came.
    heard: Instant,
    /// Whether the source ever answered.
    answered: bool,
}

/// See the module.
pub(crate) struct Pull {
    body: Arc<Body>,
    journal: Arc<dyn Journal>,
    declared: String,
    /// Under which its messages come.
    pub(super) name: String,
    pub(super) spec: MirrorSpec,
    from: Place,
    standing: Mutex<Standing>,
    /// What is recorded, as far as that was read.
    recorded: AtomicU64,
    pub(super) end: CancellationToken,
}

impl Pull {
    /// Begins to ask.
    pub(super) fn begin(
        body: &Arc<Body>,
        journal: &Arc<dyn Journal>,
        name: &str,
        spec: &MirrorSpec,
        from: Place,
    ) -> Arc<Self> {
        let standing = Standing { left: 0, why: None, heard: Instant::now(), answered: false };
        let pull = Arc::new(Pull {
            body: Arc::clone(body),
            journal: Arc::clone(journal),
            declared: name.to_owned(),
            name: format!("{ASKED}{name}"),
            spec: spec.clone(),
            from,
            standing: Mutex::new(standing),
            recorded: AtomicU64::new(0),
            end: body.end.child_token(),
        });
        body.custody.asks(&pull);
        tokio::spawn(Arc::clone(&pull).run());
        pull
    }

    /// Whether this is what it asks for.
    pub(super) fn is(&self, origin: &NodeId, stream: &str, into: &str) -> bool {
        self.from.domain == origin.domain
            && self.from.node.as_ref().is_none_or(|node| *node == origin.node)
            && self.spec.stream == stream
            && called(&self.spec) == into
    }

    /// Something came, and so many are to come behind it.
    pub(super) fn heard(&self, left: u64) {
        let mut standing = self.standing.lock();
        (standing.left, standing.heard, standing.why, standing.answered) = (left, Instant::now(), None, true);
    }

    /// As people read it.
    pub(super) fn row(&self) -> Value {
        let standing = self.standing.lock();
        let state = match (&standing.why, standing.answered) {
            (Some(_), _) => "waiting",
            (None, false) => "asking",
            (None, true) => "keeping",
        };
        json!({ "name": self.declared, "stream": self.spec.stream, "from": self.from.to_string(),
            "to": self.body.id.to_string(), "as": called(&self.spec), "askedBy": self.body.id.to_string(),
            "confirmed": self.position().unwrap_or_else(|| self.recorded.load(Ordering::Relaxed)),
            "owed": standing.left, "state": state, "why": standing.why })
    }

    /// What is recorded, where that is known without reading.
    fn position(&self) -> Option<u64> {
        self.body.custody.recorded_of(&self.from.domain, &self.spec.stream, called(&self.spec))
    }

    async fn run(self: Arc<Self>) {
        let mut answers = self.body.custody.answers(&self.name, &self.from);
        let run = seed().map_or(0, |[seed, _]| seed);
        while !self.end.is_cancelled() {
            let next = Instant::now() + ASK_EVERY;
            if let Err(why) = self.ask(run).await {
                self.fail(why);
            }
            tokio::select! {
                () = self.end.cancelled() => break,
                () = self.listen(&mut answers, next) => {}
            }
            let silent = self.standing.lock().heard.elapsed() > SILENT_FOR;
            if silent && self.standing.lock().why.is_none() {
                self.fail(format!("{} does not answer", self.from));
            }
        }
        self.body.custody.forget(&self.name, &self.from);
        self.body.custody.asks_not(&self);
    }

    fn fail(&self, why: String) {
        let mut standing = self.standing.lock();
        if standing.why.as_ref() != Some(&why) {
            warn!(mirror = self.declared, from = %self.from, why, "a mirror does not get on");
        }
        standing.why = Some(why);
    }

    /// Hears answers until it is time to ask again.
    async fn listen(&self, answers: &mut mpsc::Receiver<Word>, until: Instant) {
        loop {
            let word = tokio::select! {
                () = sleep_until(until) => return,
                word = answers.recv() => word,
            };
            match word.map(|word| word.what) {
                Some(What::Refused(why)) => {
                    self.standing.lock().heard = Instant::now();
                    self.fail(format!("{} gives nothing: {why}", self.from));
                }
                Some(_) => {
                    let mut standing = self.standing.lock();
                    if !standing.answered {
                        info!(mirror = self.declared, from = %self.from, "a stream of elsewhere is kept from now on");
                    }
                    (standing.heard, standing.why, standing.answered) = (Instant::now(), None, true);
                }
                None => return sleep_until(until).await,
            }
        }
    }

    /// Asks once. An error is why it cannot.
    async fn ask(&self, run: u64) -> Result<(), String> {
        if self.from.domain == self.body.id.domain
            && self.from.node.as_ref().is_none_or(|node| *node == self.body.id.node)
        {
            return Err(format!("{} is this node's own domain: name another node of it, as domain/node", self.from));
        }
        let (stream, into) = (self.spec.stream.as_str(), called(&self.spec));
        let after = match self.position() {
            Some(position) => position,
            None => {
                let source = format!("{}/{stream}", self.from.domain);
                come_to(&*self.journal, &source, into).await?.map_or(0, |(position, _)| position)
            }
        };
        self.recorded.store(after, Ordering::Relaxed);
        let (leg, conn) = way(&self.body, &self.from, SUBJECT)?;
        let envelope = leg.envelope.encode();
        let head = Head {
            kind: Kind::Ask,
            envelope: &envelope,
            run,
            position: after + 1,
            node: self.from.node.as_ref().map_or("", |node| node.as_str()),
            mirror: &self.name,
            stream,
            into,
            ..Head::default()
        };
        let (head, filters) = (head.encode(), self.spec.filters.join("\n"));
        let letter =
            Letter { head: &head, subject: SUBJECT, reply: "", status: "", headers: &[], payload: filters.as_bytes() };
        self.body.custody.sent_on(&self.name, &self.from, conn.number);
        if conn.out.keep(&letter) == Put::First {
            conn.out.wake();
        }
        Ok(())
    }
}
