//! A table and its followers beside a naive oracle: whatever is put and removed, and wherever a reader resumes, it
//! holds in the end what the table holds, and was told nothing twice.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use view::{Change, Follower, Frame, Table};

/// Few keys, so that they meet.
const KEYS: u8 = 6;

/// Removals that a table remembers.
const REMOVALS_MAX: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// Some keys change at one position: put, or removed.
    Fold(Vec<(u8, Option<u16>)>),
    /// A reader is told so many frames.
    Tell(usize, usize),
    /// A reader goes, and another resumes from what it held and where it was told it was.
    Resume(usize),
    /// A reader begins anew.
    Begin(usize),
    /// A reader sees other things from now on.
    Reset(usize),
    /// What was removed is forgotten.
    Forget,
    /// The table is restored from a checkpoint.
    Restore,
}

/// Values with the positions of their last change, by key.
type Facts = BTreeMap<u8, (u16, u64)>;

/// A reader, and what it holds.
struct Reader {
    follower: Follower<u8>,
    held: Facts,
    /// What it holds is true at this position; `None`: it is told a snapshot.
    whole: Option<u64>,
    /// Where it can resume, with what it held there.
    saved: Option<(u64, Facts)>,
    told: BTreeSet<(u8, u64)>,
}

impl Reader {
    fn new(chunk: usize) -> Self {
        Reader {
            follower: Follower::new(None, chunk),
            held: BTreeMap::new(),
            whole: None,
            saved: None,
            told: BTreeSet::new(),
        }
    }

    fn apply(&mut self, change: &Change<'_, u8, u16>, above: u64) {
        assert!(change.position() > above, "nothing at or below what was told");
        assert!(self.told.insert((*change.key(), change.position())), "nothing twice");
        match change {
            Change::Put(key, entry) => {
                self.held.insert(**key, (entry.value, entry.changed));
            }
            Change::Removed(key, _) => {
                self.held.remove(*key);
            }
        }
    }

    /// Takes one frame; `false`: there is none.
    fn take(&mut self, table: &Table<u8, u16>, history: &[Facts]) -> bool {
        let Some(frame) = self.follower.next(table) else { return false };
        match frame {
            Frame::NewSnapshotToFollow { .. } => {
                self.held.clear();
                self.told.clear();
                self.whole = None;
            }
            Frame::Items(changes) => {
                assert!(self.whole.is_none(), "items only in a snapshot");
                changes.iter().for_each(|change| self.apply(change, 0));
            }
            Frame::EndOfSnapshot { position } => self.stand(position, history),
            Frame::Changes { upto, changes } => {
                let above = self.whole.unwrap();
                let positions: Vec<_> = changes.iter().map(Change::position).collect();
                assert!(!changes.is_empty() && positions.is_sorted() && positions.last() == Some(&upto));
                changes.iter().for_each(|change| self.apply(change, above));
                assert!(upto > above, "no step back");
                self.stand(upto, history);
            }
        }
        true
    }

    /// What it holds is to be what was true at a position, but for keys that changed since, which follow.
    fn stand(&mut self, position: u64, history: &[Facts]) {
        self.whole = Some(position);
        let then = &history[usize::try_from(position).unwrap()];
        for key in 0..KEYS {
            let (held, was) = (self.held.get(&key), then.get(&key));
            assert!(held.is_none_or(|(_, at)| *at <= position), "nothing of later");
            let later = history.get(usize::try_from(position).unwrap()..).unwrap();
            let changed_since = later.windows(2).any(|pair| pair[0].get(&key) != pair[1].get(&key));
            assert!(held == was || changed_since, "key {key} at {position}: {held:?}, was {was:?}");
        }
        self.saved = Some((position, self.held.clone()));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let changes = prop::collection::btree_map(0..KEYS, prop::option::weighted(0.6, any::<u16>()), 1..4);
    let step = prop_oneof![
        6 => changes.prop_map(|changes| Step::Fold(changes.into_iter().collect())),
        8 => (0..3_usize, 1..4_usize).prop_map(|(reader, frames)| Step::Tell(reader, frames)),
        2 => (0..3_usize).prop_map(Step::Resume),
        1 => (0..3_usize).prop_map(Step::Begin),
        1 => (0..3_usize).prop_map(Step::Reset),
        1 => Just(Step::Forget),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..80)
}

fn fold(table: &mut Table<u8, u16>, at: u64, changes: &[(u8, Option<u16>)], now: &mut Facts) {
    for (key, value) in changes {
        match value {
            Some(value) => {
                table.put(at, *key, *value);
                now.insert(*key, (*value, at));
            }
            None => {
                assert_eq!(table.remove(at, key).is_some(), now.remove(key).is_some());
            }
        }
    }
    table.reach(at);
}

/// A table made from what another holds, in an order of its own.
fn restored(table: &Table<u8, u16>) -> Table<u8, u16> {
    let mut other = Table::new(REMOVALS_MAX);
    for (key, entry) in table.iter().rev() {
        other.restore(entry.created, entry.changed, *key, entry.value);
    }
    for (key, at) in table.removed::<u8, _>(..) {
        other.restore_removal(at, *key);
    }
    other.forget(table.floor());
    other.reach(table.position());
    other
}

fn check(steps: &[Step], chunk: usize) {
    let mut table = Table::new(REMOVALS_MAX);
    let mut history = vec![BTreeMap::new()];
    let mut readers: Vec<Reader> = (0..3).map(|_| Reader::new(chunk)).collect();
    for step in steps {
        match step {
            Step::Fold(changes) => {
                let mut now = history.last().unwrap().clone();
                let (changed, floor) = (table.changed(), table.floor());
                fold(&mut table, history.len() as u64, changes, &mut now);
                assert!(table.changed() >= changed && table.floor() >= floor, "neither falls");
                assert!(table.removed::<u8, _>(..).count() <= REMOVALS_MAX, "bounded");
                history.push(now);
            }
            Step::Tell(reader, frames) => {
                for _ in 0..*frames {
                    readers[*reader].take(&table, &history);
                }
            }
            Step::Resume(reader) => {
                let saved = readers[*reader].saved.take();
                readers[*reader] = Reader::new(chunk);
                if let Some((position, held)) = saved {
                    let reader = &mut readers[*reader];
                    reader.follower = Follower::new(Some(position), chunk);
                    (reader.whole, reader.held) = (Some(position), held.clone());
                    reader.saved = Some((position, held));
                }
            }
            Step::Begin(reader) => readers[*reader] = Reader::new(chunk),
            Step::Reset(reader) => readers[*reader].follower.reset(),
            Step::Forget => table.forget(table.changed()),
            Step::Restore => {
                let other = restored(&table);
                assert_eq!(
                    (other.changed(), other.floor(), other.position(), other.len()),
                    (table.changed(), table.floor(), table.position(), table.len())
                );
                table = other;
            }
        }
    }
    let now = history.last().unwrap();
    assert_eq!(&table.iter().map(|(key, entry)| (*key, (entry.value, entry.changed))).collect::<BTreeMap<_, _>>(), now);
    for reader in &mut readers {
        while reader.take(&table, &history) {}
        assert_eq!(&reader.held, now, "in the end a reader holds what the table holds");
        assert!(reader.whole.is_some_and(|position| position >= table.changed()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_reader_holds_in_the_end_what_the_table_holds(steps in steps(), chunk in 1..5_usize) {
        check(&steps, chunk);
    }

    #[test]
    fn changes_split_no_position_and_miss_nothing(
        folds in prop::collection::vec(prop::collection::vec((0..KEYS, prop::option::of(any::<u16>())), 1..4), 1..30),
        after in 0..40_u64,
        max in 0..5_usize,
    ) {
        let mut table = Table::new(1_000);
        let mut now = BTreeMap::new();
        for (place, changes) in folds.iter().enumerate() {
            fold(&mut table, place as u64 + 1, changes, &mut now);
        }
        let all = table.since(after, usize::MAX).unwrap();
        prop_assert!(all.changes.iter().all(|change| change.position() > after));
        let (mut from, mut told) = (after, Vec::new());
        loop {
            let part = table.since(from, max).unwrap();
            if part.changes.is_empty() {
                prop_assert_eq!(part.upto, from);
                break;
            }
            prop_assert!(part.upto > from);
            let whole = all.changes.iter().filter(|change| (from + 1..=part.upto).contains(&change.position())).count();
            prop_assert_eq!(part.changes.len(), whole, "no position is split");
            from = part.upto;
            told.extend(part.changes);
        }
        prop_assert_eq!(told, all.changes);
    }
}

#[test]
fn a_reader_before_the_floor_gets_a_snapshot_and_one_at_it_does_not() {
    let mut table = Table::new(1);
    for key in 0..3_u8 {
        table.put(u64::from(key) + 1, key, 0);
    }
    table.remove(4, &0);
    table.remove(5, &1);
    assert_eq!((table.floor(), table.changed(), table.changed_of(&0), table.changed_of(&1)), (4, 5, 4, 5));
    assert!(table.since(3, 9).is_err());
    assert!(matches!(Follower::new(Some(3), 9).next(&table), Some(Frame::NewSnapshotToFollow { resumed: Some(3) })));
    let mut at = Follower::new(Some(4), 9);
    let Some(Frame::Changes { upto: 5, changes }) = at.next(&table) else { panic!("changes") };
    assert_eq!(changes, [Change::Removed(&1, 5)]);
    assert!(at.next(&table).is_none());
    let mut ahead = Follower::new(Some(9), 9);
    assert!(matches!(ahead.next(&table), Some(Frame::NewSnapshotToFollow { .. })), "it knows what the table does not");
    let mut current = Follower::new(Some(5), 9);
    assert!(current.next(&table).is_none(), "who missed nothing is told nothing");
    current.reset();
    assert!(matches!(current.next(&table), Some(Frame::NewSnapshotToFollow { .. })));
}

#[test]
fn a_follower_is_small() {
    assert!(size_of::<Follower<std::sync::Arc<str>>>() <= 64);
}
