//! One view: its rows, folded from its stream page by page, and its checkpoint.
//!
//! ```text
//!            ┌──────── the stream was made anew, or is behind the checkpoint ────────┐
//!            ▼                                                                       │
//!   start ─▶ checkpoint that fits ─▶ fold its tail ─┐                                │
//!     │                                             ├─▶ follow ─▶ … ─▶ end, checkpoint
//!     └────▶ none ─────────────────▶ fold it all ───┘
//! ```
//!
//! # Invariants
//! - The rows at an index are the fold of all messages up to its position, whatever crashed in between: the checkpoint
//!   is only where folding goes on.
//! - A row stays although its message left the stream: what ends is told by a removal, or by the view's own lifetime.
//! - While the stream is not there or cannot be read, the view holds what it held, and says why it does not follow.
//! - A view that takes the place of another, since it is declared otherwise or its stream was made anew, does so once it
//!   is folded: until then readers have the other, as it was.
//! - Rows that are not the whole are given to nobody.
//! - Before a row can be read, readers are judged by a pattern that its subject is in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use door::{Port, Standing, View, ViewParts, Views};
use event::{Moment, Pattern};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Journal, Page, Read, ReadError, Stored, StreamInfo};
use plan::ViewSpec;
use ring::digest::{SHA256, digest};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use view::rule::Rule;
use view::{Bounds, Fold, Index};

use super::checkpoint::{DIGEST_BYTES, Identity, Picture, read, write};
use super::{bounds, rule};
use crate::entropy;

/// Longest wait of one read, after which the stream is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long to wait where the stream is not there, or cannot be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Shortest time between two rounds of rows whose time is over: each makes a step of the index.
const EXPIRY_ROUND: Duration = Duration::from_millis(100);

/// How long after a change a checkpoint is written, at the latest.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Messages after which a checkpoint is written, where the view is small: a tail that is folded in less than a second.
const CHECKPOINT_MESSAGES: u64 = 20_000;

/// Bytes of a page, at most: what is folded under one lock.
const PAGE_BYTES: usize = 1024 * 1024;

/// Messages that cannot be understood and are told one by one, between two checkpoints.
const UNFIT_TOLD_MAX: u64 = 5;

/// See the module.
pub(super) struct Keeper {
    name: Arc<str>,
    stream: Arc<str>,
    filters: Vec<Pattern>,
    rule: Rule,
    bounds: Bounds,
    digest: [u8; DIGEST_BYTES],
    path: PathBuf,
    port: Port,
    journal: Arc<dyn Journal>,
    views: Views,
}

/// One history of the view.
struct History {
    view: Arc<View>,
    identity: Identity,
    /// The index of the checkpoint.
    written: Option<Index>,
    written_at: Instant,
    /// When the stream was looked at; `None`: it is to be, soon.
    looked_at: Option<Instant>,
    expired_at: Instant,
    /// Messages that could not be understood since the checkpoint.
    unfit: u64,
    /// Whether the view was folded to the end of its stream, now or before its checkpoint was written.
    whole: bool,
    /// Whether the view is the one that readers have.
    shown: bool,
    /// Whether there were subjects that neither filters nor the stream's own say: then only who may read everything may
    /// read the view.
    beyond: bool,
}

/// Why a history ended.
enum Over {
    /// It was told to.
    Told,
    /// Its stream is another one.
    Another,
}

impl Keeper {
    /// A keeper of a declared view.
    pub(super) fn new(name: &str, spec: &ViewSpec, path: PathBuf, port: &Port, views: Views) -> Result<Self, String> {
        let filters = spec.filters.iter().map(|text| Pattern::parse(text).map_err(|error| error.to_string()));
        let json = serde_json::to_vec(spec).map_err(|error| error.to_string())?;
        let mut hash = [0; DIGEST_BYTES];
        hash.copy_from_slice(digest(&SHA256, &json).as_ref());
        Ok(Keeper {
            name: name.into(),
            stream: spec.stream.as_str().into(),
            filters: filters.collect::<Result<_, _>>()?,
            rule: rule(spec)?,
            bounds: bounds(spec),
            digest: hash,
            path,
            port: port.clone(),
            journal: Arc::clone(port.journal()),
            views,
        })
    }

    /// Folds until told to end, once the task before has ended.
    pub(super) async fn run(self, before: Option<JoinHandle<()>>, end: CancellationToken) {
        if let Some(before) = before {
            // One that broke has ended too.
            let _ended = before.await;
        }
        let me = Arc::new(self);
        me.ail_shown("it is declared otherwise, and folded anew");
        loop {
            let mut history = me.begin(&end).await;
            match me.follow(&mut history, &end).await {
                Over::Told => {
                    me.checkpoint(&mut history).await;
                    return;
                }
                Over::Another => {
                    warn!(view = &*me.name, stream = &*me.stream, "the stream was made anew; the view is folded anew");
                    me.ail_shown("its stream was made anew, and is folded");
                }
            }
        }
    }

    /// The view as its checkpoint has it, or empty.
    async fn begin(self: &Arc<Self>, end: &CancellationToken) -> History {
        let (me, folder) = (Arc::clone(self), self.path.parent().map(Path::to_owned));
        let found = spawn_blocking(move || {
            // Where it cannot be made, writing the checkpoint says so.
            let _exists = folder.map(std::fs::create_dir_all);
            read(&me.path, &me.rule, me.bounds)
        });
        let found = match found.await {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => {
                warn!(view = &*self.name, %reason, "the view's checkpoint cannot be used; the view is folded anew");
                None
            }
            Err(_) => None,
        };
        let found = found.filter(|(identity, _)| identity.digest == self.digest);
        let stream = self.journal.stream_info(&self.stream).await.ok();
        let fits = |(identity, fold): &(Identity, Fold)| match &stream {
            Some(info) => identity.created == info.created && fold.index().position() <= info.state.last,
            None => true,
        };
        let written = found.as_ref().filter(|found| fits(found)).map(|(_, fold)| fold.index());
        let (mut identity, fold) = found.filter(fits).unwrap_or_else(|| {
            let created = stream.as_ref().map_or(Moment::EPOCH, |info| info.created);
            (Identity { digest: self.digest, created, epoch: epoch() }, Fold::new(self.rule.clone(), self.bounds))
        });
        if self.rule.ttl.is_some() {
            // Steps of the index that came after the checkpoint are given again, for other rows.
            identity.epoch = epoch();
        }
        if let (Some(index), Some(info)) = (written, &stream)
            && info.state.first > index.position() + 1
        {
            let missed = info.state.first - index.position() - 1;
            warn!(view = &*self.name, missed, "messages left the stream before the view was folded up to them");
        }
        let parts = ViewParts {
            name: Arc::clone(&self.name),
            stream: Arc::clone(&self.stream),
            patterns: self.patterns(stream.as_ref()),
            epoch: identity.epoch,
            fold,
        };
        let (view, now) = (Arc::new(View::new(parts)), Instant::now());
        let (written_at, expired_at, looked_at) = (now, now, Some(now));
        let (whole, shown) = (written.is_some(), false);
        let (unfit, beyond) = (0, false);
        let mut history =
            History { view, identity, written, written_at, looked_at, expired_at, unfit, whole, shown, beyond };
        if self.views.get(&self.name).is_none() {
            self.show(&mut history, end);
        }
        history
    }

    /// The view is the one that readers have, unless it is not wanted any more.
    fn show(&self, history: &mut History, end: &CancellationToken) {
        if !history.shown {
            history.shown = self.views.put_if(Arc::clone(&history.view), || !end.is_cancelled());
        }
    }

    /// The view that readers have does not follow its stream: another is to take its place.
    fn ail_shown(&self, reason: &str) {
        if let Some(shown) = self.views.get(&self.name) {
            shown.stand(Standing::Ailing(reason.into()));
        }
    }

    /// What the view is folded from.
    fn patterns(&self, stream: Option<&StreamInfo>) -> Vec<Pattern> {
        match stream {
            _ if !self.filters.is_empty() => self.filters.clone(),
            // What a stream takes over has other subjects than it captures.
            Some(info) if info.config.mirror.is_none() && info.config.sources.is_empty() => {
                info.config.subjects.clone()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a message has a subject that is in none of the patterns by which readers are judged.
    fn is_beyond(&self, history: &History, page: &Page) -> bool {
        let patterns = history.view.patterns();
        let covered = |stored: &Stored| patterns.iter().any(|pattern| pattern.matches(stored.message.subject.as_str()));
        self.filters.is_empty() && !patterns.is_empty() && !page.messages.iter().all(covered)
    }

    /// Readers are judged by what the stream captures from now on, unless there were subjects that nothing says.
    fn judge_by(&self, history: &History, stream: &StreamInfo) {
        history.view.set_patterns(if history.beyond { Vec::new() } else { self.patterns(Some(stream)) });
    }

    async fn follow(self: &Arc<Self>, history: &mut History, end: &CancellationToken) -> Over {
        loop {
            if end.is_cancelled() {
                return Over::Told;
            }
            if history.identity.created == Moment::EPOCH && !self.is_there(history).await {
                self.absent(history, end).await;
                continue;
            }
            let next = history.view.read(Fold::index).position() + 1;
            let mut read = Read::from(next, PAGE_MESSAGES_MAX);
            read.filters.clone_from(&self.filters);
            // Whether there is more is to be known at once, as long as readers wait for that.
            let ready = matches!(history.view.standing(), Standing::Ready | Standing::Over);
            (read.bytes, read.wait) = (PAGE_BYTES, ready.then(|| self.until_expiry(history)));
            let page = tokio::select! {
                biased;
                () = end.cancelled() => return Over::Told,
                page = self.journal.read(&self.stream, read) => page,
            };
            match page {
                Ok(page) => {
                    // Subjects may have been added since the stream was looked at.
                    if self.is_beyond(history, &page) && self.is_another(history).await {
                        return Over::Another;
                    }
                    if self.is_beyond(history, &page) {
                        history.beyond = true;
                        history.view.set_patterns(Vec::new());
                    }
                    self.fold(history, &page, end);
                }
                Err(ReadError::NotFound(_)) => {
                    self.absent(history, end).await;
                    history.looked_at = None;
                }
                Err(error) => {
                    self.ail(history, format!("the stream {} cannot be read: {error}", self.stream), end).await;
                }
            }
            if history.looked_at.is_none_or(|at| at.elapsed() >= LOOK) && self.is_another(history).await {
                return Over::Another;
            }
            if self.is_due(history) {
                self.checkpoint(history).await;
            }
        }
    }

    /// Whether the stream that was not there is now: it is the one that is folded then.
    async fn is_there(&self, history: &mut History) -> bool {
        let Ok(info) = self.journal.stream_info(&self.stream).await else { return false };
        (history.identity.created, history.whole) = (info.created, false);
        history.view.stand(Standing::Folding);
        self.judge_by(history, &info);
        true
    }

    /// The stream is not there: nothing is what there is of it.
    async fn absent(&self, history: &mut History, end: &CancellationToken) {
        history.whole = true;
        self.ail(history, format!("the stream {} is not there", self.stream), end).await;
    }

    async fn ail(&self, history: &History, reason: String, end: &CancellationToken) {
        let reason: Arc<str> = reason.into();
        let standing = match history.whole {
            true => Standing::Ailing(Arc::clone(&reason)),
            false => Standing::Stuck(Arc::clone(&reason)),
        };
        if history.view.standing() != standing {
            warn!(view = &*self.name, reason = &*reason, "the view does not follow its stream");
            history.view.stand(standing);
            if !history.shown {
                self.ail_shown(&reason);
            }
        }
        tokio::select! {
            () = end.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }

    /// Whether the stream is not the one that was folded.
    async fn is_another(&self, history: &mut History) -> bool {
        let info = match self.journal.stream_info(&self.stream).await {
            Ok(info) => info,
            // Reading it says so.
            Err(_) => return false,
        };
        history.looked_at = Some(Instant::now());
        self.judge_by(history, &info);
        let index = history.view.read(Fold::index);
        info.created != history.identity.created || info.state.last < index.position()
    }

    fn fold(&self, history: &mut History, page: &Page, end: &CancellationToken) {
        let now = self.port.now();
        let expire = history.expired_at.elapsed() >= EXPIRY_ROUND;
        let mut unfit = Vec::new();
        history.view.change(|fold, touched| {
            for stored in &page.messages {
                if let Err(reason) = fold.fold(stored, touched) {
                    unfit.push((stored.seq, reason));
                }
            }
            fold.reach(Index::at(page.next.saturating_sub(1)));
            if expire {
                fold.expire(now, touched);
            }
        });
        if expire {
            history.expired_at = Instant::now();
        }
        for (seq, reason) in unfit {
            history.unfit += 1;
            if history.unfit <= UNFIT_TOLD_MAX {
                warn!(view = &*self.name, seq, %reason, "a message cannot be understood, and changes nothing");
            }
        }
        if !page.damaged.is_empty() {
            warn!(view = &*self.name, damaged = ?page.damaged, "damaged records were passed over");
        }
        if page.next > page.last && history.view.standing() != Standing::Ready {
            let (rows, index) = history.view.read(|fold| (fold.table().len(), fold.index()));
            info!(view = &*self.name, rows, %index, "the view follows its stream");
            history.view.stand(Standing::Ready);
            history.whole = true;
            self.show(history, end);
        }
    }

    fn until_expiry(&self, history: &History) -> Duration {
        let now = self.port.now();
        let due = history.view.read(Fold::next_expiry);
        due.map_or(LOOK, |at| at.since(now).max(EXPIRY_ROUND)).min(LOOK)
    }

    fn is_due(&self, history: &History) -> bool {
        if history.view.standing() != Standing::Ready {
            return false;
        }
        let (index, rows) = history.view.read(|fold| (fold.index(), fold.table().len() as u64));
        let Some(written) = history.written else { return true };
        let tail = index.position().saturating_sub(written.position());
        tail >= CHECKPOINT_MESSAGES.max(rows) || (index != written && history.written_at.elapsed() >= CHECKPOINT_EVERY)
    }

    /// Writes the view down, if it changed since it was.
    async fn checkpoint(self: &Arc<Self>, history: &mut History) {
        let index = history.view.read(Fold::index);
        if history.written == Some(index) || history.identity.created == Moment::EPOCH || !history.whole {
            return;
        }
        let (me, view, identity) = (Arc::clone(self), Arc::clone(&history.view), history.identity);
        let written = spawn_blocking(move || {
            let picture = view.read(Picture::of);
            write(&me.path, &identity, &picture).map(|()| picture.index())
        });
        (history.written_at, history.unfit) = (Instant::now(), 0);
        match written.await {
            Ok(Ok(index)) => history.written = Some(index),
            Ok(Err(error)) => {
                warn!(view = &*self.name, %error, "the view's checkpoint cannot be written; a restart folds more");
                // Tried again when the next is due.
                history.written = history.written.or(Some(Index::default()));
            }
            // The node is ending.
            Err(_) => {}
        }
    }
}

/// A number for a new history.
pub(super) fn epoch() -> u32 {
    let chance = entropy::seed().map_or_else(|_| crate::clock::now().nanos(), |[seed, _]| seed);
    // Any 32 bits of it will do.
    u32::try_from(chance & u64::from(u32::MAX)).unwrap_or_default()
}
