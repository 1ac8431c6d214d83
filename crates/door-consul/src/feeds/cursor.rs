//! How far a reader of a feed is, and what it is told next.

use std::sync::Arc;

use bytes::Bytes;

use super::{Feed, Format, Next, Snapshot};
use crate::answers::GZIP_HEAD;
use crate::counts::count;
use crate::serve::Shared;
use crate::session::Sight;

/// Who reads, as far as that decides what is told.
pub(crate) struct Reader {
    /// What was presented.
    pub(crate) token: Option<Box<str>>,
    /// What may be seen with it.
    pub(crate) sight: Sight,
    /// Which rights were in force when that was found out.
    pub(crate) rights: u64,
    /// Whether it takes compressed bytes.
    pub(crate) packed: bool,
}

enum Stage {
    /// Nothing was told yet. Goes on from the position, where it can.
    Start(u64),
    /// Pieces of a snapshot up to this one were told.
    Told(Arc<Snapshot>, usize),
    /// All up to the position was told.
    Live(u64),
}

/// See the module.
pub(crate) struct Cursor {
    pub(crate) feed: Arc<Feed>,
    pub(crate) reader: Reader,
    stage: Stage,
    /// What is to be told before anything else.
    before: Option<Bytes>,
}

impl Cursor {
    /// A reader that knows all up to a position; 0: nothing.
    pub(crate) fn new(feed: Arc<Feed>, after: u64, reader: Reader) -> Self {
        let before = reader.packed.then(|| Bytes::from_static(&GZIP_HEAD));
        Cursor { feed, reader, stage: Stage::Start(after), before }
    }

    /// Whether what may be seen is still the same.
    pub(crate) fn is_allowed(&mut self, shared: &Shared) -> bool {
        let port = shared.catalogue.port();
        let rights = port.access_version();
        if rights == self.reader.rights {
            return true;
        }
        self.feed.gate.wake_for(rights);
        self.reader.rights = rights;
        let Ok(who) = port.authenticate(self.reader.token.as_deref()) else {
            return false;
        };
        // Who sees a part might see another: it begins anew, from where it is.
        self.reader.sight.sees_everything() && who.reads_everything()
    }

    /// The position up to which all was told, where nothing else is under way.
    pub(crate) fn position(&self) -> Option<u64> {
        if let Stage::Live(at) = self.stage { Some(at) } else { None }
    }

    /// All up to a position was told by somebody else.
    pub(crate) fn told_by_others(&mut self, upto: u64) {
        self.stage = Stage::Live(upto);
    }

    /// What there is to tell now.
    pub(crate) fn told(&mut self, shared: &Shared) -> Option<Bytes> {
        if let Some(before) = self.before.take() {
            return Some(before);
        }
        let (totals, packed) = (&shared.totals, self.reader.packed);
        loop {
            match &mut self.stage {
                Stage::Start(after) => {
                    let after = *after;
                    if after > 0 && self.feed.resumes(after, totals) {
                        count(&totals.resumed);
                        self.stage = Stage::Live(after);
                        continue;
                    }
                    self.stage = Stage::Told(self.feed.snapshot(totals), 0);
                    let follows = self.feed.format.snapshot_follows();
                    if after > 0 && !follows.is_empty() {
                        return Some(follows);
                    }
                }
                Stage::Told(snapshot, place) => {
                    if let Some(piece) = snapshot.pieces.get(*place) {
                        *place += 1;
                        return Some(piece.bytes(packed));
                    }
                    self.stage = Stage::Live(snapshot.at);
                }
                Stage::Live(after) => match self.feed.next(*after, packed, totals) {
                    Next::Piece(bytes, upto) => {
                        *after = upto;
                        return Some(bytes);
                    }
                    Next::Nothing(upto) => {
                        *after = upto;
                        return None;
                    }
                    Next::Snapshot => self.stage = Stage::Start((*after).max(1)),
                },
            }
        }
    }

    /// What says that the stream is alive, where that is not the connection's to say.
    pub(crate) fn alive(&self) -> Bytes {
        let alive = self.feed.format.alive();
        if self.reader.packed && !alive.is_empty() { crate::answers::blocks(&alive) } else { alive }
    }

    /// The format that it is told in.
    pub(crate) fn format(&self) -> Format {
        self.feed.format
    }
}
