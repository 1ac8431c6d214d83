//! The latest value of each key, and what changed since any position.
//!
//! # Invariants
//! 1. A key is either held or remembered as removed, or neither; never both. It stands in the order of changes once,
//!    at its last change.
//! 2. All that happened behind [`Table::floor`] is known: a reader at or behind it can be told what it missed.
//! 3. [`Table::changed`] and [`Table::floor`] never fall.
//!
//! # Costs
//! With `n` keys: a put, a removal and a look-up `O(log n)`; [`Table::since`] `O(log n)` and what it gives. Beside
//! key and value an entry costs about 100 bytes and one more copy of the key (keys are cheap to clone: numbers,
//! shared texts).

use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::iter::Peekable;
use core::ops::{Bound, RangeBounds};

use thiserror::Error;

/// A value and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// The position at which the key came to be, after it had not been.
    pub created: u64,
    /// The position of its last change.
    pub changed: u64,
}

/// What happened to a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'a, K, V> {
    /// It has this value now.
    Put(&'a K, &'a Entry<V>),
    /// It went, at this position.
    Removed(&'a K, u64),
}

// Derived ones would ask the same of the key and the value, which are only borrowed.
impl<K, V> Clone for Change<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Change<'_, K, V> {}

impl<'a, K, V> Change<'a, K, V> {
    /// The key.
    pub fn key(&self) -> &'a K {
        match self {
            Change::Put(key, _) | Change::Removed(key, _) => key,
        }
    }

    /// The position at which it happened.
    pub fn position(&self) -> u64 {
        match self {
            Change::Put(_, entry) => entry.changed,
            Change::Removed(_, at) => *at,
        }
    }
}

/// What changed behind a position, the latest of each key, in order of position.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes<'a, K, V> {
    /// Who applied them knows all that happened up to here. Where nothing changed, what was asked for.
    pub upto: u64,
    /// The changes. A position is never split between two calls.
    pub changes: Vec<Change<'a, K, V>>,
}

/// Why changes cannot be told: removals behind the position asked for are not remembered any more. A new snapshot
/// helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("what was removed up to position {floor} is not remembered: a new snapshot is needed")]
pub struct Forgotten {
    /// The first position that can be resumed from.
    pub floor: u64,
}

/// A place in the order of changes: the position, and a number that is never given twice.
type Place = (u64, u64);

#[derive(Debug, Clone)]
struct Slot<V> {
    entry: Entry<V>,
    /// The second half of its [`Place`].
    stamp: u64,
}

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    held: BTreeMap<K, Slot<V>>,
    removed: BTreeMap<K, Place>,
    /// Where each held key last changed.
    puts: BTreeMap<Place, K>,
    /// Where each remembered removal was.
    removals: BTreeMap<Place, K>,
    removals_max: usize,
    floor: u64,
    changed: u64,
    reached: u64,
    stamp: u64,
}

impl<K: Ord + Clone, V> Table<K, V> {
    /// An empty table that remembers at most so many removals.
    pub fn new(removals_max: usize) -> Self {
        Table {
            held: BTreeMap::new(),
            removed: BTreeMap::new(),
            puts: BTreeMap::new(),
            removals: BTreeMap::new(),
            removals_max,
            floor: 0,
            changed: 0,
            reached: 0,
            stamp: 0,
        }
    }

    /// A key has this value from a position on. A position before that of the last change counts as that.
    pub fn put(&mut self, at: u64, key: K, value: V) {
        let at = self.arrive(at);
        let created = self.held.get(&key).map_or(at, |slot| slot.entry.created);
        self.set(created, at, key, value);
    }

    /// A key as it was at another time: from a checkpoint, or from a read of what is latest. In any order; where the
    /// key changed later than this, nothing happens.
    pub fn restore(&mut self, created: u64, changed: u64, key: K, value: V) {
        let known = self.known(&key).is_some_and(|place| place.0 > changed);
        if !known {
            self.arrive_late(changed);
            self.set(created.min(changed), changed, key, value);
        }
    }

    /// A removal from another time, as [`Table::restore`].
    pub fn restore_removal(&mut self, at: u64, key: K) {
        let known = self.known(&key).is_some_and(|place| place.0 >= at);
        if !known {
            self.arrive_late(at);
            self.take(&key);
            self.remember(at, key);
        }
    }

    /// A key went. `None`: it was not there, and nothing happened.
    pub fn remove<Q>(&mut self, at: u64, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (key, slot) = self.held.remove_entry(key)?;
        self.puts.remove(&(slot.entry.changed, slot.stamp));
        let at = self.arrive(at);
        self.remember(at, key);
        Some(slot.entry)
    }

    /// Another value of a key, which says the same to readers: nothing changes for them. `false`: it is not held.
    pub fn restate<Q>(&mut self, key: &Q, value: V) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self.held.get_mut(key) {
            Some(slot) => {
                slot.entry.value = value;
                true
            }
            None => false,
        }
    }

    /// All up to this position is folded, whatever it changed here.
    pub fn reach(&mut self, at: u64) {
        self.reached = self.reached.max(at);
    }

    /// What was removed up to this position may not be known: readers before it get a snapshot.
    pub fn forget(&mut self, upto: u64) {
        while let Some(first) = self.removals.first_entry() {
            if first.key().0 > upto {
                break;
            }
            let key = first.remove();
            self.removed.remove(&key);
        }
        self.floor = self.floor.max(upto);
        self.reach(upto);
    }

    /// The value of a key and its history.
    pub fn get<Q>(&self, key: &Q) -> Option<&Entry<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.held.get(key).map(|slot| &slot.entry)
    }

    /// All keys that are held, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Entry<V>)> + Clone {
        self.held.iter().map(|(key, slot)| (key, &slot.entry))
    }

    /// The keys of a range, in their order.
    pub fn range<Q, R>(&self, keys: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        Range(self.held.range::<Q, R>(keys))
    }

    /// The removals of a range that are remembered, in the order of their keys: each with its position.
    pub fn removed<Q, R>(&self, keys: R) -> Removed<'_, K>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        Removed(self.removed.range::<Q, R>(keys))
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The position of the last change, a removal too; at least [`Table::floor`]. Never falls.
    pub fn changed(&self) -> u64 {
        self.changed.max(self.floor)
    }

    /// The position of a key's last change, its removal too. Of a key that nothing is known of, [`Table::floor`]: it
    /// may have been removed until then. Never falls.
    pub fn changed_of<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let held = self.held.get(key).map(|slot| slot.entry.changed);
        held.or_else(|| self.removed.get(key).map(|place| place.0)).unwrap_or(self.floor)
    }

    /// All up to here is folded: at least [`Table::changed`].
    pub fn position(&self) -> u64 {
        self.reached.max(self.changed())
    }

    /// The first position that can be resumed from. Never falls.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// What changed behind a position: the latest of each key, at most `max` of them, save that a position is never
    /// split, and at least one position is told.
    ///
    /// # Errors
    /// [`Forgotten`] before the floor.
    pub fn since(&self, after: u64, max: usize) -> Result<Changes<'_, K, V>, Forgotten> {
        if after < self.floor {
            return Err(Forgotten { floor: self.floor });
        }
        let mut changes: Vec<Change<'_, K, V>> = Vec::new();
        let mut upto = after;
        for change in self.merged(after) {
            let at = change.position();
            if changes.len() >= max && at != upto && !changes.is_empty() {
                return Ok(Changes { upto, changes });
            }
            upto = at;
            changes.push(change);
        }
        Ok(Changes { upto, changes })
    }

    /// Both orders of changes as one.
    fn merged(&self, after: u64) -> Merged<'_, K, V, impl Iterator<Item = (&Place, &K)>> {
        let behind = (Bound::Excluded((after, u64::MAX)), Bound::Unbounded);
        Merged {
            table: self,
            puts: self.puts.range(behind).peekable(),
            removals: self.removals.range(behind).peekable(),
        }
    }

    fn known(&self, key: &K) -> Option<Place> {
        let held = self.held.get(key).map(|slot| (slot.entry.changed, slot.stamp));
        held.or_else(|| self.removed.get(key).copied())
    }

    /// A change comes, in order.
    fn arrive(&mut self, at: u64) -> u64 {
        let at = at.max(self.changed());
        self.arrive_late(at);
        at
    }

    /// A change comes, in any order.
    fn arrive_late(&mut self, at: u64) {
        self.changed = self.changed.max(at);
        self.stamp += 1;
    }

    /// Forgets where a key stood, held or removed.
    fn take(&mut self, key: &K) {
        if let Some(slot) = self.held.remove(key) {
            self.puts.remove(&(slot.entry.changed, slot.stamp));
        }
        if let Some(place) = self.removed.remove(key) {
            self.removals.remove(&place);
        }
    }

    fn set(&mut self, created: u64, changed: u64, key: K, value: V) {
        let slot = Slot { entry: Entry { value, created, changed }, stamp: self.stamp };
        let place = (changed, self.stamp);
        if let Some(held) = self.held.get_mut(&key) {
            let was = (held.entry.changed, held.stamp);
            *held = slot;
            self.puts.remove(&was);
            self.puts.insert(place, key);
            return;
        }
        if let Some(was) = self.removed.remove(&key) {
            self.removals.remove(&was);
        }
        self.puts.insert(place, key.clone());
        self.held.insert(key, slot);
    }

    fn remember(&mut self, at: u64, key: K) {
        let place = (at, self.stamp);
        self.removals.insert(place, key.clone());
        self.removed.insert(key, place);
        while self.removals.len() > self.removals_max {
            let Some((place, key)) = self.removals.pop_first() else { break };
            self.removed.remove(&key);
            self.floor = self.floor.max(place.0);
        }
    }
}

/// Held keys in their order: see [`Table::range`].
#[derive(Debug, Clone)]
pub struct Range<'a, K, V>(btree_map::Range<'a, K, Slot<V>>);

impl<'a, K, V> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a Entry<V>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, slot)| (key, &slot.entry))
    }
}

impl<K, V> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(key, slot)| (key, &slot.entry))
    }
}

/// Removed keys in their order, each with its position: see [`Table::removed`].
#[derive(Debug, Clone)]
pub struct Removed<'a, K>(btree_map::Range<'a, K, Place>);

impl<'a, K> Iterator for Removed<'a, K> {
    type Item = (&'a K, u64);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, place)| (key, place.0))
    }
}

/// Puts and removals in the order of their places.
struct Merged<'a, K, V, I: Iterator<Item = (&'a Place, &'a K)>> {
    table: &'a Table<K, V>,
    puts: Peekable<I>,
    removals: Peekable<I>,
}

impl<'a, K: Ord, V, I: Iterator<Item = (&'a Place, &'a K)>> Iterator for Merged<'a, K, V, I> {
    type Item = Change<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let put = match (self.puts.peek(), self.removals.peek()) {
                (Some(put), Some(removal)) => put.0 < removal.0,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return None,
            };
            if !put {
                let (place, key) = self.removals.next()?;
                return Some(Change::Removed(key, place.0));
            }
            let (_, key) = self.puts.next()?;
            // Invariant 1: what stands in the order is held.
            if let Some(slot) = self.table.held.get(key) {
                return Some(Change::Put(key, &slot.entry));
            }
        }
    }
}
