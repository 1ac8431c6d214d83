//! Who wants what: the wishes of every source that a node knows, and which sources a subject is wanted by.
//!
//! A **row** is one pattern with its holders; a **place** is a source together with a queue group, or with none, so
//! that a holder is one number. Patterns without wildcards are found by their hash, the others by a walk of their
//! tokens.
//!
//! ```text
//! names   hash of a pattern ─▶ check, row, holder     rows   text │ holders ─▶ places ─▶ source, queue group
//! wild    tokens ─▶ row, of those with wildcards
//! ```
//!
//! A subject is told from others by its place in the table and 64 bits more of a keyed hash: its text is not looked at,
//! which would cost as much as all the rest. That one meets another of a million names has a chance of less than one in
//! 10^20, and comes to a copy that nobody takes. Whoever changes a row compares the text.
//!
//! Invariants:
//! - a row has a holder; a place is held by some row; a source lives until it is dropped.
//! - what is counted of a source is the number of pairs of row and holder that it has.
//! - rows are walked in the order of their numbers: hashes decide nothing that can be seen.
//!
//! Costs: a subject is found by one hash and a comparison, and by a walk of the patterns with wildcards. A row takes
//! its text and 32 bytes, up to 34 in the table, and 4 more for each holder beyond the first. To drop sources is a
//! walk over all rows.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::Hasher;

use event::{Pattern, Wanted};
use hashbrown::HashTable;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::wire::{Source, Wish};

/// Into how many parts patterns without wildcards are counted, by number of tokens and first token.
const SHAPES: usize = 256;

/// Stands in a name's entry for more holders than one: they are in its row.
const MANY: u32 = u32::MAX;

/// Bytes of a row and its entry, beside its text.
const ROW_BYTES: u64 = 100;

/// Bytes of one token of a pattern with wildcards: a node of the tree, and the leaf of a map for what is below it.
/// Where patterns begin alike it is less.
const WILD_TOKEN_BYTES: u64 = 1_200;

/// Names a source, while it lives.
pub(crate) type SourceNumber = u32;

/// A source and how much it wants.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) source: Source,
    /// The connection that tells it; `None`: it is this node's own.
    pub(crate) conn: Option<u64>,
    pub(crate) wishes: u64,
    /// What they take in memory at the most, as [`bytes`] has it.
    pub(crate) bytes: u64,
}

/// How much memory a pattern takes at the most, where one source alone has it.
pub(crate) fn bytes(text: &str) -> u64 {
    let wild = if is_wild(text) { text.split('.').count() as u64 * WILD_TOKEN_BYTES } else { 0 };
    text.len() as u64 + ROW_BYTES + wild
}

#[derive(Debug)]
struct Place {
    source: SourceNumber,
    queue: Option<Arc<str>>,
    rows: u64,
}

/// Where a pattern is found.
#[derive(Debug)]
struct Entry {
    check: u64,
    row: u32,
    /// The holder of the row, or [`MANY`].
    holder: u32,
}

#[derive(Debug)]
enum Holders {
    One(u32),
    Many(Box<[u32]>),
}

#[derive(Debug)]
struct Row {
    /// Empty: the row is free.
    text: Box<str>,
    holders: Holders,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Interests {
    key: u64,
    rows: Vec<Row>,
    free: Vec<u32>,
    names: HashTable<Entry>,
    wild: Wanted<u32>,
    shapes: Box<[u32]>,
    places: Vec<Option<Place>>,
    places_free: Vec<u32>,
    numbers: BTreeMap<(SourceNumber, Option<Arc<str>>), u32>,
    sources: Vec<Option<Known>>,
    by_source: BTreeMap<Source, SourceNumber>,
}

impl Holders {
    fn as_slice(&self) -> &[u32] {
        match self {
            Holders::One(one) => core::slice::from_ref(one),
            Holders::Many(many) => many,
        }
    }

    fn add(&mut self, place: u32) -> bool {
        if self.as_slice().contains(&place) {
            return false;
        }
        let more: Vec<u32> = self.as_slice().iter().copied().chain([place]).collect();
        *self = Holders::Many(more.into_boxed_slice());
        true
    }

    /// Keeps some; `false` where none is left, and then nothing has changed.
    fn retain(&mut self, keep: impl Fn(u32) -> bool) -> bool {
        let kept: Vec<u32> = self.as_slice().iter().copied().filter(|place| keep(*place)).collect();
        match kept.as_slice() {
            [] => return false,
            [one] => *self = Holders::One(*one),
            _ => *self = Holders::Many(kept.into_boxed_slice()),
        }
        true
    }
}

/// By which a text is found, and by which it is told from others.
fn hash(key: u64, text: &str) -> (u64, u64) {
    let mut hasher = SipHasher13::new_with_keys(key, key.rotate_left(32) ^ 0x6d65_7368);
    hasher.write(text.as_bytes());
    let both = hasher.finish128();
    (both.h1, both.h2)
}

fn shape(text: &str) -> usize {
    let mut tokens = text.split('.');
    let first = tokens.next().unwrap_or_default();
    let start = 0x811c_9dc5_u32 ^ u32::try_from(tokens.count()).unwrap_or(0);
    let hash = first.bytes().fold(start, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % SHAPES
}

fn is_wild(text: &str) -> bool {
    text.split('.').any(|token| token == "*" || token == ">")
}

impl Interests {
    pub(crate) fn new(key: u64) -> Self {
        Interests {
            key,
            rows: Vec::new(),
            free: Vec::new(),
            names: HashTable::new(),
            wild: Wanted::default(),
            shapes: alloc::vec![0; SHAPES].into_boxed_slice(),
            places: Vec::new(),
            places_free: Vec::new(),
            numbers: BTreeMap::new(),
            sources: Vec::new(),
            by_source: BTreeMap::new(),
        }
    }

    /// How many patterns there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// The number of a source.
    pub(crate) fn number(&self, source: &Source) -> Option<SourceNumber> {
        self.by_source.get(source).copied()
    }

    pub(crate) fn known(&self, number: SourceNumber) -> Option<&Known> {
        self.sources.get(number as usize)?.as_ref()
    }

    /// How many wishes all sources have that a connection tells, and their bytes.
    pub(crate) fn told_by(&self, conn: u64) -> (u64, u64) {
        let told = self.sources().filter(|(_, known)| known.conn == Some(conn));
        told.fold((0, 0), |(wishes, bytes), (_, known)| (wishes + known.wishes, bytes + known.bytes))
    }

    /// Every source, in order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (SourceNumber, &Known)> {
        self.by_source.values().filter_map(|number| Some((*number, self.known(*number)?)))
    }

    /// A source that is not known yet.
    pub(crate) fn begin(&mut self, source: Source, conn: Option<u64>) -> SourceNumber {
        let known = Known { source: source.clone(), conn, wishes: 0, bytes: 0 };
        let place = self.sources.iter().position(Option::is_none).unwrap_or(self.sources.len());
        match self.sources.get_mut(place) {
            Some(slot) => *slot = Some(known),
            None => self.sources.push(Some(known)),
        }
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        self.by_source.insert(source, number);
        number
    }

    /// Adds a wish; `false` where it was there.
    pub(crate) fn add(&mut self, source: SourceNumber, wish: &Wish) -> bool {
        let place = self.place(source, wish.queue.as_ref());
        let text = wish.pattern.as_str();
        let new = match self.row(text) {
            Some(number) => {
                let added = self.rows.get_mut(number as usize).is_some_and(|row| row.holders.add(place));
                self.point(number);
                added
            }
            None => {
                self.insert(&wish.pattern, place);
                true
            }
        };
        if new {
            self.count(place, 1, text);
        } else {
            self.forget_if_bare(place);
        }
        new
    }

    /// Takes a wish out; `false` where it was not there.
    pub(crate) fn remove(&mut self, source: SourceNumber, wish: &Wish) -> bool {
        let Some(place) = self.numbers.get(&(source, wish.queue.clone())).copied() else { return false };
        let Some(number) = self.row(wish.pattern.as_str()) else { return false };
        let Some(row) = self.rows.get_mut(number as usize) else { return false };
        if !row.holders.as_slice().contains(&place) {
            return false;
        }
        if row.holders.retain(|each| each != place) {
            self.point(number);
        } else {
            self.erase(number);
        }
        self.count(place, -1, wish.pattern.as_str());
        self.forget_if_bare(place);
        true
    }

    /// Whether a source has a wish.
    pub(crate) fn holds(&self, source: SourceNumber, wish: &Wish) -> bool {
        let Some(place) = self.numbers.get(&(source, wish.queue.clone())) else { return false };
        self.holders(wish.pattern.as_str()).contains(place)
    }

    /// Whether any source of a kind has a wish.
    pub(crate) fn any_holds(&self, wish: &Wish, kind: impl Fn(SourceNumber) -> bool) -> bool {
        self.holders(wish.pattern.as_str())
            .iter()
            .any(|place| self.place_of(*place).is_some_and(|place| place.queue == wish.queue && kind(place.source)))
    }

    /// Drops sources with all that they want. `gone` is told each wish of theirs.
    pub(crate) fn drop_sources(&mut self, numbers: &[SourceNumber], gone: &mut impl FnMut(SourceNumber, Wish)) {
        let dropped: BTreeSet<SourceNumber> = numbers.iter().copied().collect();
        self.drop_wishes(|source, _| dropped.contains(&source), gone);
        for number in numbers {
            if let Some(known) = self.sources.get_mut(*number as usize).and_then(Option::take) {
                self.by_source.remove(&known.source);
            }
        }
    }

    /// Drops those wishes that `which` names. `gone` is told each.
    pub(crate) fn drop_wishes(
        &mut self,
        which: impl Fn(SourceNumber, &str) -> bool,
        gone: &mut impl FnMut(SourceNumber, Wish),
    ) {
        for number in 0..self.rows.len() {
            let Some(row) = self.rows.get(number).filter(|row| !row.text.is_empty()) else { continue };
            let dropped = |place: &u32| self.place_of(*place).is_some_and(|place| which(place.source, &row.text));
            let places: Vec<u32> = row.holders.as_slice().iter().copied().filter(dropped).collect();
            if places.is_empty() {
                continue;
            }
            let pattern = Pattern::parse(&row.text);
            let left = self.rows.get_mut(number).is_some_and(|row| row.holders.retain(|each| !places.contains(&each)));
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if left {
                self.point(number);
            } else {
                self.erase(number);
            }
            for place in places {
                let Ok(pattern) = &pattern else { continue };
                if let Some(place) = self.place_of(place) {
                    gone(place.source, Wish { pattern: pattern.clone(), queue: place.queue.clone() });
                }
                self.count(place, -1, pattern.as_str());
                self.forget_if_bare(place);
            }
        }
    }

    /// Calls `found` with source and queue group of each wish that matches; one under several patterns comes several
    /// times. Gives whether every subject that differs in its last token alone is wanted by the same.
    pub(crate) fn each(&self, subject: &str, found: &mut impl FnMut(SourceNumber, Option<&Arc<str>>)) -> bool {
        let mut tell = |places: &[u32]| {
            for place in places.iter().filter_map(|place| self.place_of(*place)) {
                found(place.source, place.queue.as_ref());
            }
        };
        let (hash, check) = hash(self.key, subject);
        match self.names.find(hash, |entry| entry.check == check) {
            Some(Entry { row, holder: MANY, .. }) => {
                tell(self.rows.get(*row as usize).map_or(&[], |row| row.holders.as_slice()));
            }
            Some(Entry { holder, .. }) => tell(core::slice::from_ref(holder)),
            None => {}
        }
        let alike = self.wild.each_alike(subject, &mut |row: &u32| {
            tell(self.rows.get(*row as usize).map_or(&[], |row| row.holders.as_slice()));
        });
        alike && self.shapes.get(shape(subject)).is_none_or(|count| *count == 0)
    }

    /// The wishes in rows from a number on, and the number to go on from; `None` at the end. Looks at some thousand
    /// rows at most, and ends after one of which `each` says that it is enough.
    pub(crate) fn walk(
        &self,
        from: usize,
        mut each: impl FnMut(SourceNumber, &Pattern, Option<&Arc<str>>) -> bool,
    ) -> Option<usize> {
        /// Rows looked at in one go: a few hundred microseconds.
        const ROWS: usize = 8_192;
        let end = from.saturating_add(ROWS).min(self.rows.len());
        for number in from..end {
            let Some(row) = self.rows.get(number).filter(|row| !row.text.is_empty()) else { continue };
            let Ok(pattern) = Pattern::parse(&row.text) else { continue };
            let mut enough = false;
            for place in row.holders.as_slice().iter().filter_map(|place| self.place_of(*place)) {
                enough |= each(place.source, &pattern, place.queue.as_ref());
            }
            if enough {
                return Some(number + 1).filter(|next| *next < self.rows.len());
            }
        }
        Some(end).filter(|end| *end < self.rows.len())
    }

    fn holders(&self, text: &str) -> &[u32] {
        self.row(text).and_then(|row| self.rows.get(row as usize)).map_or(&[], |row| row.holders.as_slice())
    }

    fn row(&self, text: &str) -> Option<u32> {
        let (hash, check) = hash(self.key, text);
        let same = |entry: &Entry| {
            entry.check == check && self.rows.get(entry.row as usize).is_some_and(|row| *row.text == *text)
        };
        self.names.find(hash, same).map(|entry| entry.row)
    }

    /// Has a row's entry name its holder, as it is now.
    fn point(&mut self, number: u32) {
        let Some(row) = self.rows.get(number as usize) else { return };
        let holder = match &row.holders {
            Holders::One(one) => *one,
            Holders::Many(_) => MANY,
        };
        if let Some(entry) = self.names.find_mut(hash(self.key, &row.text).0, |entry| entry.row == number) {
            entry.holder = holder;
        }
    }

    fn insert(&mut self, pattern: &Pattern, place: u32) {
        let text = pattern.as_str();
        let row = Row { text: text.into(), holders: Holders::One(place) };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.rows.push(Row { text: Box::from(""), holders: Holders::One(0) });
                u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.rows.get_mut(number as usize) {
            *slot = row;
        }
        let (key, rows) = (self.key, &self.rows);
        let again = |entry: &Entry| rows.get(entry.row as usize).map_or(0, |row| hash(key, &row.text).0);
        let (hash, check) = hash(key, text);
        self.names.insert_unique(hash, Entry { check, row: number, holder: place }, again);
        if is_wild(text) {
            self.wild.add(pattern, number);
        } else if let Some(count) = self.shapes.get_mut(shape(text)) {
            *count += 1;
        }
    }

    fn erase(&mut self, number: u32) {
        let Some(row) = self.rows.get_mut(number as usize) else { return };
        let text = core::mem::take(&mut row.text);
        if let Ok(entry) = self.names.find_entry(hash(self.key, &text).0, |each| each.row == number) {
            entry.remove();
        }
        if !is_wild(&text) {
            if let Some(count) = self.shapes.get_mut(shape(&text)) {
                *count -= 1;
            }
        } else if let Ok(pattern) = Pattern::parse(&text) {
            self.wild.remove(&pattern, &number);
        }
        self.free.push(number);
    }

    fn place(&mut self, source: SourceNumber, queue: Option<&Arc<str>>) -> u32 {
        if let Some(place) = self.numbers.get(&(source, queue.cloned())) {
            return *place;
        }
        let place = Some(Place { source, queue: queue.cloned(), rows: 0 });
        let number = match self.places_free.pop() {
            Some(number) => number,
            None => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.places.get_mut(number as usize) {
            *slot = place;
        }
        self.numbers.insert((source, queue.cloned()), number);
        number
    }

    fn place_of(&self, number: u32) -> Option<&Place> {
        self.places.get(number as usize)?.as_ref()
    }

    fn count(&mut self, place: u32, by: i64, text: &str) {
        let Some(place) = self.places.get_mut(place as usize).and_then(Option::as_mut) else { return };
        place.rows = place.rows.saturating_add_signed(by);
        if let Some(known) = self.sources.get_mut(place.source as usize).and_then(Option::as_mut) {
            known.wishes = known.wishes.saturating_add_signed(by);
            known.bytes = known.bytes.saturating_add_signed(by * bytes(text).cast_signed());
        }
    }

    fn forget_if_bare(&mut self, number: u32) {
        if self.place_of(number).is_some_and(|place| place.rows == 0)
            && let Some(place) = self.places.get_mut(number as usize).and_then(Option::take)
        {
            self.numbers.remove(&(place.source, place.queue));
            self.places_free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Name;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn source(number: u8) -> Source {
        Source::Node(Name::parse(&format!("n{number}")).unwrap())
    }

    fn wish(text: &str, queued: bool) -> Wish {
        Wish { pattern: Pattern::parse(text).unwrap(), queue: queued.then(|| "q".into()) }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Add(u8, String, bool),
        Remove(u8, String, bool),
        Drop(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let text = "[ab*](\\.[ab*]){0,2}(\\.>)?";
        prop_oneof![
            6 => (0_u8..4, text, any::<bool>()).prop_map(|(source, text, queued)| Op::Add(source, text, queued)),
            3 => (0_u8..4, text, any::<bool>()).prop_map(|(source, text, queued)| Op::Remove(source, text, queued)),
            1 => (0_u8..4).prop_map(Op::Drop),
        ]
    }

    /// What is held, as a set: the model.
    type Model = BTreeSet<(u8, Wish)>;

    fn apply(interests: &mut Interests, model: &mut Model, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Add(number, text, queued) => {
                let known = interests.number(&source(*number));
                let known = known.unwrap_or_else(|| interests.begin(source(*number), Some(1)));
                let wish = wish(text, *queued);
                prop_assert_eq!(interests.add(known, &wish), model.insert((*number, wish)));
            }
            Op::Remove(number, text, queued) => {
                let wish = wish(text, *queued);
                let known = interests.number(&source(*number));
                let removed = known.is_some_and(|known| interests.remove(known, &wish));
                prop_assert_eq!(removed, model.remove(&(*number, wish)));
            }
            Op::Drop(number) => {
                let known: Vec<SourceNumber> = interests.number(&source(*number)).into_iter().collect();
                let mut told = BTreeSet::new();
                interests.drop_sources(&known, &mut |_, wish| {
                    told.insert(wish);
                });
                let gone: BTreeSet<Wish> =
                    model.iter().filter(|(each, _)| each == number).map(|(_, wish)| wish.clone()).collect();
                prop_assert_eq!(told, gone);
                model.retain(|(each, _)| each != number);
            }
        }
        Ok(())
    }

    fn agree(interests: &Interests, model: &Model, subject: &str) -> Result<(), TestCaseError> {
        let ask = |subject: &str| {
            let mut found = Vec::new();
            let alike = interests.each(subject, &mut |number, queue| {
                found.push((interests.known(number).unwrap().source.clone(), queue.cloned()));
            });
            found.sort();
            (found, alike)
        };
        let matching = model.iter().filter(|(_, wish)| wish.pattern.matches(subject));
        let mut expected: Vec<_> = matching.map(|(number, wish)| (source(*number), wish.queue.clone())).collect();
        expected.sort();
        let (found, alike) = ask(subject);
        prop_assert_eq!(&found, &expected);
        if let Some((before, _)) = subject.rsplit_once('.').filter(|_| alike) {
            for last in ["a", "b", "c"] {
                prop_assert_eq!(&ask(&format!("{before}.{last}")).0, &found);
            }
        }
        let mut walked = BTreeSet::new();
        let mut at = Some(0);
        while let Some(row) = at {
            at = interests.walk(row, |number, pattern, queue| {
                let number = (0..4).find(|each| interests.number(&source(*each)) == Some(number)).unwrap();
                walked.insert((number, Wish { pattern: pattern.clone(), queue: queue.cloned() }));
                true
            });
        }
        prop_assert_eq!(&walked, model);
        for number in 0..4 {
            let count = model.iter().filter(|(each, _)| *each == number).count() as u64;
            let known = interests.number(&source(number)).and_then(|known| interests.known(known));
            prop_assert_eq!(known.map_or(0, |known| known.wishes), count);
            let wanted = model.iter().filter(|(each, _)| *each == number);
            let sum: u64 = wanted.map(|(_, wish)| bytes(wish.pattern.as_str())).sum();
            prop_assert_eq!(known.map_or(0, |known| known.bytes), sum);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(ops in proptest::collection::vec(op(), 0..60), subject in "[ab](\\.[ab]){0,3}") {
            let (mut interests, mut model) = (Interests::new(1), Model::new());
            for op in &ops {
                apply(&mut interests, &mut model, op)?;
                agree(&interests, &model, &subject)?;
            }
            for number in 0..4 {
                apply(&mut interests, &mut model, &Op::Drop(number))?;
            }
            prop_assert_eq!((interests.len(), interests.wild.len(), interests.names.len()), (0, 0, 0));
            prop_assert!(interests.numbers.is_empty() && interests.shapes.iter().all(|count| *count == 0));
        }
    }
}
