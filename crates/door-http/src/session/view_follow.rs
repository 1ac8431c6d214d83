//! Following a view as server-sent events: a snapshot, then the changes.
//!
//! ```text
//!   start ── remembered ─▶ put, remove … ─▶ end ──────▶ live: put, remove
//!     │ anew, or forgotten                                │ forgotten, or its view is another one now
//!     ▼                                                   ▼
//!   snapshot ─▶ put … ─▶ end ─▶ live                    snapshot …
//! ```
//!
//! # Invariants
//! - A reader is a cursor: nothing waits for it in a buffer. One that is slow is told fewer, newer changes.
//! - After `end` nothing comes that happened at or before its id. It comes once a reader knows what there was: behind
//!   the snapshot, or behind what it had missed.
//! - Who may not read the view any more is told so, and hears nothing after that; be it that the token may less, or that
//!   the view is folded from more. That is asked behind each look at the rows, since it may change before it.
//!
//! # Cost
//! A snapshot of a whole view, and a batch of its changes, are encoded once for all who ask for them at about the same
//! time. A reader with a prefix is encoded for by itself.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use door::{Cursor, Principal, Standing, View, ViewKey, ViewTouch};
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use view::Index;

use crate::codec::message::HEARTBEAT;
use crate::codec::view::{Taken, changed, event};
use crate::limits::{SNAPSHOT_KEPT, VIEW_BATCH_BYTES_KEPT, VIEW_BATCH_ROWS, VIEW_BATCHES_KEPT, VIEW_PIECE_BYTES};
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::follow::{failure, hello};
use crate::session::views::{admit, find, gone};

/// What was encoded of a view, for all who follow it.
#[derive(Default)]
pub struct Encodings(Mutex<BTreeMap<Arc<str>, Arc<Encoded>>>);

/// What was encoded of one history of a view.
struct Encoded {
    view: Weak<View>,
    /// Held while it is made: who comes meanwhile waits, and shares.
    snapshot: tokio::sync::Mutex<Option<(Instant, Arc<Snapshot>)>>,
    batches: Mutex<VecDeque<Batch>>,
}

/// A whole view, in pieces.
struct Snapshot {
    index: Index,
    pieces: Vec<Bytes>,
}

/// Changes behind an index.
#[derive(Clone)]
struct Batch {
    after: Index,
    upto: Index,
    bytes: Bytes,
}

impl Encodings {
    fn of(&self, view: &Arc<View>) -> Arc<Encoded> {
        let mut all = self.0.lock();
        all.retain(|_, encoded| encoded.view.strong_count() > 0);
        match all.get(view.name()) {
            Some(encoded) if Weak::as_ptr(&encoded.view) == Arc::as_ptr(view) => Arc::clone(encoded),
            _ => {
                let (snapshot, batches) = (tokio::sync::Mutex::default(), Mutex::default());
                let encoded = Arc::new(Encoded { view: Arc::downgrade(view), snapshot, batches });
                all.insert(Arc::clone(view.name()), Arc::clone(&encoded));
                encoded
            }
        }
    }
}

/// The rows whose keys begin so, and the index that they are exact at.
fn with_prefix(view: &View, prefix: &str) -> (Index, Vec<Taken>) {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    view.read(|fold| {
        let rows = fold.table().range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        (fold.index(), rows.map(|(key, entry)| Taken::held(key, entry)).collect())
    })
}

/// Encodes a snapshot. Takes milliseconds for ten thousand rows: not for the executor's threads.
fn snapshot(view: &View, prefix: &str) -> Snapshot {
    let (index, rows) = with_prefix(view, prefix);
    let cursor = Cursor { index, epoch: Some(view.epoch()) };
    let (mut pieces, mut out) = (Vec::new(), Vec::with_capacity(VIEW_PIECE_BYTES));
    event(&mut out, None, "snapshot", |out| {
        let json = serde_json::json!({"view": &**view.name(), "rows": rows.len()});
        out.extend_from_slice(json.to_string().as_bytes());
    });
    for row in &rows {
        changed(&mut out, None, row);
        if out.len() >= VIEW_PIECE_BYTES {
            pieces.push(Bytes::from(std::mem::replace(&mut out, Vec::with_capacity(VIEW_PIECE_BYTES))));
        }
    }
    event(&mut out, Some(&cursor), "end", |out| {
        let json = serde_json::json!({"position": cursor.index.position(), "rows": rows.len()});
        out.extend_from_slice(json.to_string().as_bytes());
    });
    pieces.push(out.into());
    Snapshot { index, pieces }
}

/// Encodes what changed behind an index, for a prefix; `None`: nothing. An empty batch: nothing that begins so.
fn batch(view: &View, after: Index, prefix: &str) -> Result<Option<Batch>, view::Forgotten> {
    let taken = view.read(|fold| {
        let changes = fold.table().since(after.raw(), VIEW_BATCH_ROWS)?;
        Ok((Index::from_raw(changes.upto), changes.changes.iter().map(Taken::change).collect::<Vec<_>>()))
    });
    let (upto, rows) = taken?;
    if rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<Taken> = rows.into_iter().filter(|row| row.key.starts_with(prefix)).collect();
    let mut out = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let last = rows.get(place + 1).is_none_or(|next| next.changed != row.changed);
        let cursor = Cursor { index: row.changed, epoch: Some(view.epoch()) };
        changed(&mut out, last.then_some(&cursor), row);
    }
    Ok(Some(Batch { after, upto, bytes: out.into() }))
}

impl Encoded {
    /// The whole view: one that was made of late, and not before an index, or a new one.
    async fn snapshot(self: &Arc<Self>, view: &Arc<View>, least: Index) -> Arc<Snapshot> {
        let mut kept = self.snapshot.lock().await;
        if let Some((made, snapshot)) = &*kept
            && made.elapsed() < SNAPSHOT_KEPT
            && snapshot.index >= least
            && snapshot.index.raw() >= view.read(|fold| fold.table().floor())
        {
            return Arc::clone(snapshot);
        }
        let made = Instant::now();
        let of = Arc::clone(view);
        let encoded = tokio::task::spawn_blocking(move || snapshot(&of, "")).await;
        // It does not panic; the runtime may be ending.
        let snapshot = Arc::new(encoded.unwrap_or(Snapshot { index: Index::default(), pieces: Vec::new() }));
        *kept = Some((made, Arc::clone(&snapshot)));
        let me = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(SNAPSHOT_KEPT).await;
            let Some(me) = me.upgrade() else { return };
            let mut kept = me.snapshot.lock().await;
            kept.take_if(|(at, _)| *at == made);
        });
        snapshot
    }

    /// What changed behind an index.
    fn batch(&self, view: &View, after: Index) -> Result<Option<Batch>, view::Forgotten> {
        let known = self.batches.lock().iter().find(|batch| batch.after == after).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let made = batch(view, after, "")?;
        if let Some(made) = made.as_ref().filter(|made| made.bytes.len() <= VIEW_BATCH_BYTES_KEPT) {
            let mut batches = self.batches.lock();
            batches.push_back(made.clone());
            if batches.len() > VIEW_BATCHES_KEPT {
                batches.pop_front();
            }
        }
        Ok(made)
    }
}

/// Waits until tokens change.
pub async fn changed_access(access: &mut watch::Receiver<u64>) {
    if access.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Who follows what.
pub struct Following {
    /// The node.
    pub door: Shared,
    /// Who reads.
    pub who: Principal,
    /// The token that was presented: it is looked at again when tokens change.
    pub token: Option<String>,
    /// The view.
    pub name: String,
    /// Only keys that begin so.
    pub prefix: String,
    /// Where to go on.
    pub after: Option<Cursor>,
    /// With a snapshot, whatever is remembered; it is not older than `after`.
    pub anew: bool,
}

enum Stage {
    Hello,
    /// From here, if it is remembered.
    Start(Option<Cursor>),
    Pieces {
        snapshot: Arc<Snapshot>,
        next: usize,
    },
    Live(Index),
    Over,
}

struct Reader {
    following: Following,
    view: Arc<View>,
    encoded: Arc<Encoded>,
    access: watch::Receiver<u64>,
    stage: Stage,
    /// Whether it is to be told once it knows what there was.
    resumed: bool,
}

/// The body that follows. What is refused is refused before.
pub fn body(following: Following, view: Arc<View>) -> Body {
    let encoded = following.door.encodings.of(&view);
    let access = following.door.access.clone();
    let reader = Reader { following, view, encoded, access, stage: Stage::Hello, resumed: false };
    let steps = stream::unfold(reader, |mut reader| async move {
        let door = Arc::clone(&reader.following.door);
        let step = tokio::select! {
            biased;
            () = door.options.shutdown.cancelled() => Ok(None),
            step = reader.step() => step,
        };
        let bytes = match step {
            Ok(bytes) => bytes?,
            Err(problem) => {
                reader.stage = Stage::Over;
                failure(&problem)
            }
        };
        Some((Ok::<_, Infallible>(bytes), reader))
    });
    Body::from_stream(steps)
}

impl Reader {
    /// The next piece of the body; `None`: it is over.
    async fn step(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if self.access.has_changed().unwrap_or(false) {
                self.access.borrow_and_update();
                self.admitted()?;
            }
            match &mut self.stage {
                Stage::Over => return Ok(None),
                Stage::Hello => {
                    self.stage = Stage::Start(self.following.after);
                    return Ok(Some(hello()));
                }
                Stage::Start(_) if !self.view.is_whole() => {
                    if let Some(bytes) = self.settled().await? {
                        return Ok(Some(bytes));
                    }
                }
                Stage::Start(Some(after)) if !self.following.anew && self.view.remembers(after) => {
                    (self.resumed, self.stage) = (true, Stage::Live(after.index));
                }
                Stage::Start(_) => {
                    self.stage = Stage::Pieces { snapshot: self.snapshot().await, next: 0 };
                    admit(&self.following.who, &self.view)?;
                }
                Stage::Pieces { snapshot, next } => match snapshot.pieces.get(*next) {
                    Some(piece) => {
                        *next += 1;
                        return Ok(Some(piece.clone()));
                    }
                    None => self.stage = Stage::Live(snapshot.index),
                },
                Stage::Live(index) => {
                    let index = *index;
                    if let Some(bytes) = self.live(index).await? {
                        admit(&self.following.who, &self.view)?;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Looks at the token again.
    fn admitted(&mut self) -> Result<(), Problem> {
        self.following.who = self.following.door.port.authenticate(self.following.token.as_deref())?;
        admit(&self.following.who, &self.view)
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        if self.following.prefix.is_empty() {
            let after = self.following.after.filter(|after| self.view.remembers(after));
            let least = after.map_or(Index::default(), |after| after.index);
            return self.encoded.snapshot(&self.view, least).await;
        }
        let (view, prefix) = (Arc::clone(&self.view), self.following.prefix.clone());
        let made = tokio::task::spawn_blocking(move || snapshot(&view, &prefix)).await;
        Arc::new(made.unwrap_or(Snapshot { index: Index::default(), pieces: Vec::new() }))
    }

    /// Tells what changed behind an index, or waits until something does; `None`: look again.
    async fn live(&mut self, index: Index) -> Result<Option<Bytes>, Problem> {
        let prefix = self.following.prefix.clone();
        let on = if prefix.is_empty() { ViewTouch::Any } else { ViewTouch::Prefix(ViewKey::from(&*prefix)) };
        let waiting = self.view.wait(on);
        if self.view.standing() == Standing::Over {
            return self.another();
        }
        let made = match prefix.is_empty() {
            true => self.encoded.batch(&self.view, index),
            false => batch(&self.view, index, &prefix),
        };
        match made {
            Err(view::Forgotten { .. }) => {
                self.stage = Stage::Start(None);
                return Ok(None);
            }
            Ok(Some(batch)) => {
                self.stage = Stage::Live(batch.upto);
                return Ok(Some(batch.bytes).filter(|bytes| !bytes.is_empty()));
            }
            Ok(None) if std::mem::take(&mut self.resumed) => return Ok(Some(self.reached(index))),
            Ok(None) => {}
        }
        let heartbeat: Duration = self.following.door.options.heartbeat;
        tokio::select! {
            () = waiting => Ok(None),
            () = changed_access(&mut self.access) => self.admitted().map(|()| None),
            () = tokio::time::sleep(heartbeat) => Ok(Some(Bytes::from_static(HEARTBEAT))),
        }
    }

    /// The reader knows what there was at an index.
    fn reached(&self, index: Index) -> Bytes {
        let cursor = Cursor { index, epoch: Some(self.view.epoch()) };
        let mut out = Vec::new();
        event(&mut out, Some(&cursor), "end", |out| {
            let json = serde_json::json!({"position": cursor.index.position()});
            out.extend_from_slice(json.to_string().as_bytes());
        });
        out.into()
    }

    /// Waits until the view is folded; `None`: it is, or is over.
    async fn settled(&mut self) -> Result<Option<Bytes>, Problem> {
        let heartbeat = self.following.door.options.heartbeat;
        tokio::select! {
            () = self.view.settled() => Ok(None),
            () = changed_access(&mut self.access) => self.admitted().map(|()| None),
            () = tokio::time::sleep(heartbeat) => Ok(Some(Bytes::from_static(HEARTBEAT))),
        }
    }

    /// Goes over to the view that has taken this one's place.
    fn another(&mut self) -> Result<Option<Bytes>, Problem> {
        let next = find(&self.following.door, &self.following.name)?;
        if Arc::ptr_eq(&next, &self.view) {
            return Err(gone(&self.following.name));
        }
        (self.encoded, self.view) = (self.following.door.encodings.of(&next), next);
        self.admitted()?;
        self.stage = Stage::Start(None);
        Ok(None)
    }
}
