//! A table kept as a declared rule says: what each message of a stream changes, what ends by itself, what is let go of
//! where there is too much.
//!
//! # Invariants
//! 1. The same messages, with the same expiries between them, give the same table.
//! 2. Each change has an [`Index`] that is not below the one before: the position of the message that made it, or, for
//!    what ended between two messages, a step behind the position of the earlier one.
//! 3. A fact never gives way to one with a lower version, nor does the memory of one that was removed, as long as that
//!    is remembered.
//!
//! # Cost
//! Beside the table's, a row costs its value, and an entry more where the rule has a lifetime or there are bounds.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;
use core::str::FromStr;

use bytes::Bytes;
use event::Moment;
use journal::Stored;

use crate::rule::{Rule, Unfit, Verdict, Version};
use crate::table::{Entry, Table};

/// Bits of an index that count steps behind a position. 44 are left for positions: ten thousand messages a second
/// for fifty years.
const STEP_BITS: u32 = 20;

/// Removals that are remembered, at most, where nothing is said: what a reader that was away for an hour missed.
pub const REMOVALS_MAX: usize = 65_536;

/// Bytes that a row counts beside key and value: the table's and its own.
pub const ROW_BYTES: usize = 256;

/// A place in the history of a view: a position of its stream, and how many times something ended behind it before the
/// next message. Written `12`, or `12.3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u64);

impl Index {
    /// At a position. Beyond 2^44 - 1 it stays there.
    pub fn at(position: u64) -> Self {
        Index(position.min(u64::MAX >> STEP_BITS) << STEP_BITS)
    }

    /// The position.
    pub fn position(self) -> u64 {
        self.0 >> STEP_BITS
    }

    /// Steps behind the position.
    pub fn step(self) -> u64 {
        self.0 & ((1 << STEP_BITS) - 1)
    }

    /// One step further; `None`: there is no further one before the next position.
    pub fn next_step(self) -> Option<Self> {
        (self.step() + 1 < 1 << STEP_BITS).then_some(Index(self.0 + 1))
    }

    /// As one number, which orders as the index does: what the table knows.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// Of such a number.
    pub fn from_raw(raw: u64) -> Self {
        Index(raw)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step() {
            0 => write!(f, "{}", self.position()),
            step => write!(f, "{}.{step}", self.position()),
        }
    }
}

impl FromStr for Index {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| plain).ok_or(())
        };
        let (position, step) = text.split_once('.').unwrap_or((text, "0"));
        let step = number(step)?;
        if step >= 1 << STEP_BITS {
            return Err(());
        }
        Ok(Index(Index::at(number(position)?).0 + step))
    }
}

/// The latest fact of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is kept of the message.
    pub value: Bytes,
    /// When the message was recorded.
    pub time: Moment,
    /// Its version, where the rule names one.
    pub version: Option<Version>,
    /// When it ends to hold.
    pub expires: Option<Moment>,
}

/// How much is kept. Beyond, the rows that changed longest ago go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Rows, at most.
    pub rows_max: usize,
    /// Bytes of keys and values, with [`ROW_BYTES`] a row, at most.
    pub bytes_max: usize,
    /// Removals that are remembered, at most.
    pub removals_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { rows_max: usize::MAX, bytes_max: usize::MAX, removals_max: REMOVALS_MAX }
    }
}

impl Bounds {
    fn any(&self) -> bool {
        self.rows_max != usize::MAX || self.bytes_max != usize::MAX
    }
}

/// What a fold has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Messages that put or removed.
    pub applied: u64,
    /// Messages that were not for the view, or changed nothing.
    pub passed: u64,
    /// Messages with an older version than is held.
    pub old: u64,
    /// Messages that could not be understood.
    pub unfit: u64,
    /// Rows whose time was over.
    pub expired: u64,
    /// Rows let go of for want of room.
    pub evicted: u64,
}

type Key = Arc<str>;

/// A view's rows.
#[derive(Debug, Clone)]
pub struct Fold {
    rule: Rule,
    bounds: Bounds,
    table: Table<Key, Row>,
    /// Where the fold is.
    index: Index,
    /// When rows end to hold, in that order.
    due: BTreeSet<(Moment, Key)>,
    /// Rows by when they changed, where there are bounds.
    by_age: BTreeSet<(u64, Key)>,
    /// Versions of removed rows, and in which order these went.
    gone: BTreeMap<Key, (u64, Version)>,
    gone_order: BTreeSet<(u64, Key)>,
    bytes: usize,
    told: Told,
}

impl Fold {
    /// Nothing folded yet.
    pub fn new(rule: Rule, bounds: Bounds) -> Self {
        Fold {
            rule,
            bounds,
            table: Table::new(bounds.removals_max),
            index: Index::default(),
            due: BTreeSet::new(),
            by_age: BTreeSet::new(),
            gone: BTreeMap::new(),
            gone_order: BTreeSet::new(),
            bytes: 0,
            told: Told::default(),
        }
    }

    /// The rows, by [`Index::raw`].
    pub fn table(&self) -> &Table<Key, Row> {
        &self.table
    }

    /// Where the fold is: the rows are exact here.
    pub fn index(&self) -> Index {
        self.index
    }

    /// Bytes of keys and values, with [`ROW_BYTES`] a row.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was seen.
    pub fn told(&self) -> Told {
        self.told
    }

    /// The versions of removed rows that are remembered: each with its key and the [`Index::raw`] of the removal.
    pub fn gone(&self) -> impl Iterator<Item = (&Key, u64, &Version)> {
        self.gone.iter().map(|(key, (at, version))| (key, *at, version))
    }

    /// Folds a message. The keys that changed are added to `touched`.
    ///
    /// # Errors
    /// [`Unfit`]; the message counts as folded.
    pub fn fold(&mut self, stored: &Stored, touched: &mut Vec<Key>) -> Result<(), Unfit> {
        self.reach(Index::at(stored.seq));
        match self.rule.judge(stored) {
            Err(unfit) => {
                self.told.unfit += 1;
                return Err(unfit);
            }
            Ok(Verdict::Nothing) => self.told.passed += 1,
            Ok(Verdict::Remove { key }) => self.remove(&key, touched),
            Ok(Verdict::Put { key, value, version, expires }) => {
                self.put(key, Row { value, time: stored.time, version, expires }, touched);
            }
        }
        Ok(())
    }

    /// All messages up to here were folded. What lies before changes nothing.
    pub fn reach(&mut self, index: Index) {
        self.index = self.index.max(index);
        self.table.reach(self.index.raw());
    }

    /// Takes out the rows whose time is over.
    pub fn expire(&mut self, now: Moment, touched: &mut Vec<Key>) {
        if self.due.first().is_none_or(|(at, _)| *at > now) {
            return;
        }
        // Where there is no further step, what is due waits for the next message.
        let Some(next) = self.index.next_step() else { return };
        self.reach(next);
        while let Some((at, key)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, key));
                break;
            }
            self.told.expired += 1;
            self.take(&key, touched);
        }
    }

    /// When the next row's time is over.
    pub fn next_expiry(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A row from a checkpoint.
    pub fn restore(&mut self, created: u64, changed: u64, key: Key, row: Row) {
        self.account(&key, &row, changed);
        self.table.restore(created, changed, key, row);
    }

    /// A removal from a checkpoint.
    pub fn restore_removal(&mut self, at: u64, key: Key) {
        self.table.restore_removal(at, key);
    }

    /// The version of a removed row, from a checkpoint.
    pub fn restore_gone(&mut self, at: u64, key: Key, version: Version) {
        self.gone_order.insert((at, Arc::clone(&key)));
        self.gone.insert(key, (at, version));
    }

    /// Where a checkpoint was made, and what was known of removals then.
    pub fn restore_index(&mut self, index: Index, floor: u64, told: Told) {
        self.table.forget(floor);
        self.reach(index);
        self.told = told;
    }

    /// Readers before this index get a snapshot.
    pub fn forget(&mut self, upto: Index) {
        self.table.forget(upto.raw());
    }

    fn put(&mut self, key: String, row: Row, touched: &mut Vec<Key>) {
        let known = self.table.get(key.as_str());
        let version = known.and_then(|entry| entry.value.version.as_ref());
        let version = version.or_else(|| self.gone.get(key.as_str()).map(|(_, version)| version));
        if matches!((version, &row.version), (Some(held), Some(new)) if new < held) {
            self.told.old += 1;
            return;
        }
        let key = self.held(&key).unwrap_or_else(|| Key::from(key));
        self.discount(&key);
        if let Some((at, _)) = self.gone.remove(&key) {
            self.gone_order.remove(&(at, Arc::clone(&key)));
        }
        self.account(&key, &row, self.index.raw());
        self.table.put(self.index.raw(), Arc::clone(&key), row);
        self.told.applied += 1;
        touched.push(key);
        self.evict(touched);
    }

    fn remove(&mut self, key: &str, touched: &mut Vec<Key>) {
        if self.take(key, touched) {
            self.told.applied += 1;
        } else {
            self.told.passed += 1;
        }
    }

    /// Takes a row out; whether it was there.
    fn take(&mut self, key: &str, touched: &mut Vec<Key>) -> bool {
        let Some(key) = self.held(key) else { return false };
        self.discount(&key);
        let Some(Entry { value: row, .. }) = self.table.remove(self.index.raw(), &*key) else { return false };
        if let Some(version) = row.version {
            self.restore_gone(self.index.raw(), Arc::clone(&key), version);
            if self.gone.len() > self.bounds.removals_max
                && let Some((_, oldest)) = self.gone_order.pop_first()
            {
                self.gone.remove(&oldest);
            }
        }
        touched.push(key);
        true
    }

    /// A key as it is held, so that one text serves all that name it.
    fn held(&self, key: &str) -> Option<Key> {
        let only = (Bound::Included(key), Bound::Included(key));
        self.table.range::<str, _>(only).next().map(|(key, _)| Arc::clone(key))
    }

    fn evict(&mut self, touched: &mut Vec<Key>) {
        let too_much = |fold: &Fold| fold.table.len() > fold.bounds.rows_max || fold.bytes > fold.bounds.bytes_max;
        // The row that was put last stays, however large.
        while too_much(self) && self.table.len() > 1 {
            let Some((_, key)) = self.by_age.first().cloned() else { return };
            self.told.evicted += 1;
            self.take(&key, touched);
        }
    }

    fn account(&mut self, key: &Key, row: &Row, changed: u64) {
        self.bytes += key.len() + row.value.len() + ROW_BYTES;
        if let Some(at) = row.expires {
            self.due.insert((at, Arc::clone(key)));
        }
        if self.bounds.any() {
            self.by_age.insert((changed, Arc::clone(key)));
        }
    }

    /// Undoes [`Fold::account`] of the row that is held of a key.
    fn discount(&mut self, key: &Key) {
        let Some(entry) = self.table.get(&**key) else { return };
        self.bytes = self.bytes.saturating_sub(key.len() + entry.value.value.len() + ROW_BYTES);
        if let Some(at) = entry.value.expires {
            self.due.remove(&(at, Arc::clone(key)));
        }
        self.by_age.remove(&(entry.changed, Arc::clone(key)));
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |max: usize| if max == usize::MAX { String::from("any") } else { max.to_string() };
        write!(f, "{} rows, {} bytes", shown(self.rows_max), shown(self.bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;
    use crate::rule::tests::stored;
    use crate::rule::{Origin, When};
    use alloc::format;
    use alloc::vec;
    use core::time::Duration;
    use event::{JsonPath, Pattern};
    use proptest::prelude::*;

    fn rule() -> Rule {
        Rule { key: Origin::Subject(vec![2]), ..Rule::default() }
    }

    /// What is held: `key=value@created/changed`.
    fn held(fold: &Fold) -> String {
        let index = Index::from_raw;
        let row = |(key, entry): (&Key, &Entry<Row>)| {
            let value = String::from_utf8_lossy(&entry.value.value).into_owned();
            format!("{key}={value}@{}/{}", index(entry.created), index(entry.changed))
        };
        fold.table().iter().map(row).collect::<Vec<_>>().join(" ")
    }

    fn since(fold: &Fold, after: &str) -> String {
        let Ok(changes) = fold.table().since(after.parse::<Index>().unwrap().raw(), usize::MAX) else {
            return String::from("forgotten");
        };
        let told = |change: &Change<'_, Key, Row>| match change {
            Change::Put(key, entry) => format!("+{key}@{}", Index::from_raw(entry.changed)),
            Change::Removed(key, at) => format!("-{key}@{}", Index::from_raw(*at)),
        };
        changes.changes.iter().map(told).collect::<Vec<_>>().join(" ")
    }

    fn fold(fold: &mut Fold, message: Stored) {
        let _ = fold.fold(&message, &mut Vec::new());
    }

    #[test]
    fn what_is_latest_is_held_and_what_is_removed_is_told() {
        let mut view = Fold::new(rule(), Bounds::default());
        for (seq, subject, payload) in [(1, "u.a", "1"), (2, "u.b", "2"), (5, "u.a", "3"), (6, "u.b", "")] {
            fold(&mut view, stored(seq, subject, &[], payload));
        }
        assert_eq!(held(&view), "a=3@1/5");
        assert_eq!((since(&view, "2").as_str(), since(&view, "5").as_str()), ("+a@5 -b@6", "-b@6"));
        assert_eq!(view.index(), Index::at(6));
        assert_eq!(view.bytes(), 1 + 1 + ROW_BYTES);
    }

    #[test]
    fn what_ends_between_two_messages_has_an_index_of_its_own() {
        let ttl = Some(Duration::from_secs(10));
        let mut view = Fold::new(Rule { ttl, ..rule() }, Bounds::default());
        fold(&mut view, stored(1, "u.a", &[], "1"));
        fold(&mut view, stored(2, "u.b", &[], "2"));
        fold(&mut view, stored(3, "u.a", &[], "3"));
        let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        let mut touched = Vec::new();
        view.expire(at(11), &mut touched);
        assert!(touched.is_empty() && view.index() == Index::at(3));
        view.expire(at(12), &mut touched);
        assert_eq!((held(&view).as_str(), since(&view, "3").as_str()), ("a=3@1/3", "-b@3.1"));
        view.expire(at(13), &mut touched);
        assert_eq!((since(&view, "3.1").as_str(), view.index().to_string().as_str()), ("-a@3.2", "3.2"));
        assert_eq!((view.next_expiry(), view.told().expired), (None, 2));
        fold(&mut view, stored(4, "u.a", &[], "4"));
        assert_eq!(since(&view, "3.2"), "+a@4");
    }

    #[test]
    fn an_older_version_is_ignored_also_behind_a_removal() {
        let version = Some(Origin::Data(JsonPath::parse("v").unwrap()));
        let remove = When { subjects: vec![Pattern::parse("*.*.gone").unwrap()], ..When::default() };
        let mut view = Fold::new(Rule { version, remove, ..rule() }, Bounds::default());
        fold(&mut view, stored(1, "u.a", &[], "{\"v\":2}"));
        fold(&mut view, stored(2, "u.a", &[], "{\"v\":1}"));
        assert_eq!(held(&view), "a={\"v\":2}@1/1");
        fold(&mut view, stored(3, "u.a.gone", &[], "x"));
        fold(&mut view, stored(4, "u.a", &[], "{\"v\":1}"));
        assert_eq!((held(&view).as_str(), view.told().old), ("", 2));
        fold(&mut view, stored(5, "u.a", &[], "{\"v\":3}"));
        assert_eq!(held(&view), "a={\"v\":3}@5/5");
        assert_eq!(view.gone().count(), 0);
    }

    #[test]
    fn beyond_the_bounds_what_changed_longest_ago_goes() {
        let mut view = Fold::new(rule(), Bounds { rows_max: 2, ..Bounds::default() });
        for (seq, subject) in [(1, "u.a"), (2, "u.b"), (3, "u.a"), (4, "u.c")] {
            fold(&mut view, stored(seq, subject, &[], "x"));
        }
        assert_eq!((held(&view).as_str(), view.told().evicted), ("a=x@1/3 c=x@4/4", 1));
        let bytes_max = 2 * (1 + 1 + ROW_BYTES);
        let mut view = Fold::new(rule(), Bounds { bytes_max, ..Bounds::default() });
        for (seq, subject) in [(1, "u.a"), (2, "u.b"), (3, "u.c")] {
            fold(&mut view, stored(seq, subject, &[], "x"));
        }
        assert_eq!((held(&view).as_str(), view.bytes()), ("b=x@2/2 c=x@3/3", bytes_max));
    }

    #[test]
    fn an_index_is_written_and_read() {
        for text in ["0", "12", "12.3"] {
            assert_eq!(text.parse::<Index>().unwrap().to_string(), text);
        }
        for bad in ["", "x", "1.", ".1", "1.2.3", "-1", "1.1048576"] {
            assert!(bad.parse::<Index>().is_err(), "{bad}");
        }
        assert!(Index::at(u64::MAX).position() > 1 << 43);
    }

    proptest! {
        #[test]
        fn a_fold_is_what_a_simple_map_says(steps in proptest::collection::vec((0_u8..6, 0_u8..3), 0..200)) {
            let mut view = Fold::new(rule(), Bounds::default());
            let mut model: BTreeMap<String, String> = BTreeMap::new();
            for (seq, (key, what)) in (1..).zip(steps) {
                let payload = if what == 0 { String::new() } else { format!("{seq}") };
                fold(&mut view, stored(seq, &format!("u.k{key}"), &[], &payload));
                if what == 0 { model.remove(&format!("k{key}")); } else { model.insert(format!("k{key}"), payload); }
            }
            let found: BTreeMap<String, String> = view.table().iter().map(|(key, entry)| {
                (key.to_string(), String::from_utf8_lossy(&entry.value.value).into_owned())
            }).collect();
            let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len() + ROW_BYTES).sum();
            prop_assert_eq!(found, model);
            prop_assert_eq!(view.bytes(), bytes);
        }
    }
}
