//! A reader: what it was told, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use view::{Change, Follower, Frame, Table};

use super::story::NODES;

/// An instance in short, and where it last changed.
pub type Fact = (String, u64);

/// A key in short: of an instance its node and id.
pub type Short = (String, String);

/// What is so, by key.
pub type Facts = BTreeMap<Short, Fact>;

/// What is so after a position, and of which keys the message there spoke, though it may have changed nothing.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// What is so.
    pub facts: Facts,
    /// Which keys the message spoke of.
    pub spoken: BTreeSet<Short>,
}

/// How keys and values look in short.
pub trait Shown: Ord + Clone {
    /// What it is a key of.
    type Value;
    /// The key.
    fn short(&self) -> Short;
    /// The value.
    fn value(value: &Self::Value) -> String;
}

/// See the module.
#[derive(Debug)]
pub struct Reader<K> {
    /// The service that it follows.
    pub service: usize,
    /// The nodes whose instances it may see: a bit each.
    pub permitted: u8,
    /// Whether there may be something for it.
    pub awake: bool,
    follower: Follower<K>,
    chunk: usize,
    held: Facts,
    /// What it holds is true here; `None`: it is told a snapshot.
    whole: Option<u64>,
    /// Where it was, and what it held there, the latest last.
    saved: Vec<(u64, Facts)>,
    told: BTreeSet<(Short, u64)>,
}

/// What a reader was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Snapshot,
    Items,
    End,
    Changes,
}

impl<K: Shown> Reader<K> {
    /// One that begins with a snapshot.
    pub fn new(service: usize, permitted: u8, chunk: usize) -> Self {
        Reader {
            service,
            permitted,
            awake: true,
            follower: Follower::new(None, chunk),
            chunk,
            held: Facts::new(),
            whole: None,
            saved: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// It lost its connection, and resumes where it was so many positions ago; where it was nowhere, it begins.
    pub fn resume(&mut self, ago: usize) {
        let keep = self.saved.len().saturating_sub(ago.min(self.saved.len().saturating_sub(1)));
        self.saved.truncate(keep);
        let again = Reader::new(self.service, self.permitted, self.chunk);
        let saved = std::mem::take(&mut self.saved);
        *self = again;
        if let Some((position, held)) = saved.last().cloned() {
            self.follower = Follower::new(Some(position), self.chunk);
            (self.whole, self.held) = (Some(position), held);
        }
        self.saved = saved;
    }

    /// It may see other nodes: it begins anew, and what it held before is nothing to resume from.
    pub fn permit(&mut self, nodes: u8) {
        self.permitted = nodes;
        self.follower.reset();
        self.saved.clear();
        self.awake = true;
    }

    fn may_see(&self, node: &str) -> bool {
        NODES.iter().position(|name| *name == node).is_none_or(|bit| self.permitted >> bit & 1 == 1)
    }

    /// Takes one frame.
    pub fn take(&mut self, table: &Table<K, K::Value>, history: &[Moment]) -> Result<Told, String> {
        let Some(frame) = self.follower.next(table) else {
            self.awake = false;
            return Ok(Told::Nothing);
        };
        match frame {
            Frame::NewSnapshotToFollow { .. } => {
                self.held.clear();
                self.told.clear();
                self.whole = None;
                Ok(Told::Snapshot)
            }
            Frame::Items(changes) => {
                if self.whole.is_some() {
                    return Err("items outside of a snapshot".into());
                }
                changes.iter().try_for_each(|change| self.apply(change, 0))?;
                Ok(Told::Items)
            }
            Frame::EndOfSnapshot { position } => {
                if self.whole.is_some() {
                    return Err("an end of no snapshot".into());
                }
                self.stand(position, history)?;
                Ok(Told::End)
            }
            Frame::Changes { upto, changes } => {
                let Some(above) = self.whole else { return Err("changes within a snapshot".into()) };
                changes.iter().try_for_each(|change| self.apply(change, above))?;
                if upto <= above || changes.iter().any(|change| change.position() > upto) {
                    return Err(format!("changes up to {upto}, behind {above}"));
                }
                self.stand(upto, history)?;
                Ok(Told::Changes)
            }
        }
    }

    fn apply(&mut self, change: &Change<'_, K, K::Value>, above: u64) -> Result<(), String> {
        let key = change.key().short();
        let at = change.position();
        if at <= above {
            return Err(format!("told {key:?} at {at}, at or below {above}"));
        }
        if !self.told.insert((key.clone(), at)) {
            return Err(format!("told {key:?} at {at} twice"));
        }
        // As a door does: what may not be seen is passed over.
        if !self.may_see(&key.0) {
            return Ok(());
        }
        match change {
            Change::Put(_, entry) => self.held.insert(key, (K::value(&entry.value), at)),
            Change::Removed(..) => self.held.remove(&key),
        };
        Ok(())
    }

    /// What it holds is to be what was so at a position, but for what changed since.
    fn stand(&mut self, position: u64, history: &[Moment]) -> Result<(), String> {
        self.whole = Some(position);
        let place = usize::try_from(position).unwrap_or(usize::MAX);
        let Some(later) = history.get(place..).filter(|later| !later.is_empty()) else {
            return Err(format!("told of position {position}, which is not there yet"));
        };
        let Some((then, later)) = later.split_first() else { return Ok(()) };
        let keys: BTreeSet<_> = then.facts.keys().chain(self.held.keys()).filter(|key| self.may_see(&key.0)).collect();
        for key in keys {
            let (held, was) = (self.held.get(key), then.facts.get(key));
            // A message that changed nothing may be all that a restart finds of the key: then it follows.
            let follows = later.iter().any(|moment| moment.spoken.contains(key) || moment.facts.get(key) != was);
            // Who told the same again did not say since when it is so.
            if held.map(|fact| &fact.0) != was.map(|fact| &fact.0) && !follows {
                return Err(format!("at {position} {key:?} is held as {held:?}, and was {was:?}"));
            }
        }
        self.saved.push((position, self.held.clone()));
        Ok(())
    }

    /// What is not as it is to be, at the end.
    pub fn judge(&self, now: &Facts) -> Result<(), String> {
        let visible: BTreeMap<_, _> =
            now.iter().filter(|(key, _)| self.may_see(&key.0)).map(|(key, fact)| (key, &fact.0)).collect();
        let held: BTreeMap<_, _> = self.held.iter().map(|(key, fact)| (key, &fact.0)).collect();
        if self.whole.is_none() {
            return Err("a reader was left within a snapshot".into());
        }
        if held != visible {
            return Err(format!("a reader holds {held:?}, and so it is: {visible:?}"));
        }
        Ok(())
    }
}
