//! Views, as doors hold them: looked at, waited for, listed.
//!
//! A [`View`] is a [`Fold`] that somebody feeds (the host, from a stream) and that readers share. A reader looks under
//! a lock, copies out what it needs, and encodes afterwards; where it wants what comes next, it registers before it
//! looks. A [`Cursor`] is where a reader is: it can go on from any that the view remembers.
//!
//! # Invariants
//! - No lock is held across an await.
//! - A reader is woken by what it waits for: a key, the keys with a prefix, or all.
//! - Two views of one name that do not stand in one history have different epochs, so a cursor of the one never
//!   passes for one of the other.
//!
//! # Cost
//! A view without readers costs its rows. A change costs one look-up a key, and a few for the prefixes that it begins
//! with, however many others are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use event::Pattern;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use view::{Fold, Index};

use crate::access::Principal;
use crate::catalogue::prefixes_of;
use crate::wakes::{Waiting, Wakes};

/// A key of a view.
pub type ViewKey = Arc<str>;

/// What of a view a reader waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ViewTouch {
    /// Any change.
    Any,
    /// A change of this key.
    Key(ViewKey),
    /// A change of a key that begins so.
    Prefix(ViewKey),
}

/// How a view stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is folded from its stream, and not at its end yet: what it holds is not the whole.
    Folding,
    /// Likewise, and it cannot go on for now.
    Stuck(Arc<str>),
    /// It follows its stream.
    Ready,
    /// It cannot follow: its stream is not there, or cannot be read. What it holds stays.
    Ailing(Arc<str>),
    /// It is not declared any more, or declared otherwise: another has taken its place.
    Over,
}

impl Standing {
    /// Whether readers need not wait for more.
    fn is_whole(&self) -> bool {
        !matches!(self, Standing::Folding | Standing::Stuck(_))
    }
}

/// Where a reader of a view is: an index, and the view's epoch, unless the reader takes the risk. Written
/// `12-5f2c9d01`, or `12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The index.
    pub index: Index,
    /// The history that it belongs to.
    pub epoch: Option<u32>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Some(epoch) => write!(f, "{}-{epoch:08x}", self.index),
            None => write!(f, "{}", self.index),
        }
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (index, epoch) = match text.split_once('-') {
            Some((index, epoch)) => (index, Some(u32::from_str_radix(epoch, 16).map_err(|_| ())?)),
            None => (text, None),
        };
        Ok(Cursor { index: index.parse()?, epoch })
    }
}

/// The views of a node, by name. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct Views(Arc<RwLock<BTreeMap<Arc<str>, Arc<View>>>>);

impl Views {
    /// The view of a name.
    pub fn get(&self, name: &str) -> Option<Arc<View>> {
        self.0.read().get(name).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<View>> {
        self.0.read().values().cloned().collect()
    }

    /// Puts a view in the place of one of the same name, which is over then.
    pub fn put(&self, view: Arc<View>) {
        self.put_if(view, || true);
    }

    /// Likewise, if it is still wanted. Whoever ends the wish and then [removes](Views::remove) the view can rely on
    /// that it is not put afterwards.
    pub fn put_if(&self, view: Arc<View>, wanted: impl FnOnce() -> bool) -> bool {
        let old = {
            let mut all = self.0.write();
            if !wanted() {
                return false;
            }
            all.insert(Arc::clone(&view.name), view)
        };
        if let Some(old) = old {
            old.stand(Standing::Over);
        }
        true
    }

    /// Takes a view away, which is over then.
    pub fn remove(&self, name: &str) -> Option<Arc<View>> {
        let old = self.0.write().remove(name);
        if let Some(old) = &old {
            old.stand(Standing::Over);
        }
        old
    }
}

/// What a view is made of.
#[derive(Debug)]
pub struct ViewParts {
    /// Its name.
    pub name: Arc<str>,
    /// The stream that it is folded from.
    pub stream: Arc<str>,
    /// What it is folded from: who may read all of these may read the view. None: nobody but who may read everything.
    pub patterns: Vec<Pattern>,
    /// Tells its history from others of the same name.
    pub epoch: u32,
    /// Its rows.
    pub fold: Fold,
}

/// A view. See the module.
pub struct View {
    name: Arc<str>,
    stream: Arc<str>,
    patterns: RwLock<Vec<Pattern>>,
    epoch: u32,
    fold: RwLock<Fold>,
    standing: watch::Sender<Standing>,
    wakes: Wakes<ViewTouch>,
    /// Prefixes that are waited for, and by how many.
    prefixes: Mutex<BTreeMap<ViewKey, usize>>,
}

impl View {
    /// A view that is being folded.
    pub fn new(parts: ViewParts) -> Self {
        let ViewParts { name, stream, patterns, epoch, fold } = parts;
        View {
            name,
            stream,
            patterns: RwLock::new(patterns),
            epoch,
            fold: RwLock::new(fold),
            standing: watch::channel(Standing::Folding).0,
            wakes: Wakes::default(),
            prefixes: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The stream that it is folded from.
    pub fn stream(&self) -> &Arc<str> {
        &self.stream
    }

    /// Tells its history from others of the same name.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether somebody may read it: all that it is folded from.
    pub fn may_read(&self, who: &Principal) -> bool {
        let patterns = self.patterns.read();
        who.reads_everything() || (!patterns.is_empty() && patterns.iter().all(|pattern| who.may_read_all(pattern)))
    }

    /// What it is folded from, by patterns.
    pub fn patterns(&self) -> Vec<Pattern> {
        self.patterns.read().clone()
    }

    /// It is folded from these from now on.
    pub fn set_patterns(&self, patterns: Vec<Pattern>) {
        *self.patterns.write() = patterns;
    }

    /// Looks at the rows. Must not block: the fold waits.
    pub fn read<R>(&self, look: impl FnOnce(&Fold) -> R) -> R {
        look(&self.fold.read())
    }

    /// Where a reader is that has seen all there is now.
    pub fn cursor(&self) -> Cursor {
        Cursor { index: self.fold.read().index(), epoch: Some(self.epoch) }
    }

    /// Whether changes since a cursor can be told.
    pub fn remembers(&self, cursor: &Cursor) -> bool {
        let fold = self.fold.read();
        cursor.epoch.is_none_or(|epoch| epoch == self.epoch)
            && cursor.index.raw() >= fold.table().floor()
            && cursor.index <= fold.index()
    }

    /// Changes the rows, and wakes who waits for what changed: the keys that are pushed.
    pub fn change<R>(&self, change: impl FnOnce(&mut Fold, &mut Vec<ViewKey>) -> R) -> R {
        let mut touched = Vec::new();
        let result = change(&mut self.fold.write(), &mut touched);
        if !touched.is_empty() && !self.wakes.is_empty() {
            self.wake(touched);
        }
        result
    }

    fn wake(&self, touched: Vec<ViewKey>) {
        let mut woken: Vec<ViewTouch> = {
            let prefixes = self.prefixes.lock();
            let last = |upto: &str| {
                let upto = (Bound::Unbounded, Bound::Included(upto));
                prefixes.range::<str, _>(upto).next_back().map(|(found, _)| found)
            };
            let hit: BTreeSet<&ViewKey> = touched.iter().flat_map(|key| prefixes_of(key, last)).collect();
            hit.into_iter().cloned().map(ViewTouch::Prefix).collect()
        };
        woken.push(ViewTouch::Any);
        woken.extend(touched.into_iter().map(ViewTouch::Key));
        self.wakes.wake(&woken);
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// How it stands, now and whenever that changes.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// It stands so from now on. One that is over stays so.
    pub fn stand(&self, standing: Standing) {
        let changed = self.standing.send_if_modified(|now| {
            let changes = *now != Standing::Over && *now != standing;
            if changes {
                *now = standing;
            }
            changes
        });
        if changed && *self.standing.borrow() == Standing::Over {
            self.wakes.wake_all();
        }
    }

    /// Whether it holds the whole that there was at its index.
    pub fn is_whole(&self) -> bool {
        self.standing.borrow().is_whole()
    }

    /// Waits until it holds the whole that there was at its index, or is over.
    pub async fn settled(&self) {
        let mut standings = self.standings();
        // The sender lives as long as this.
        let _gone = standings.wait_for(Standing::is_whole).await;
    }

    /// Waits for a change. What changes after this call is not missed: register, then look, then await.
    pub fn wait(self: &Arc<Self>, on: ViewTouch) -> ViewWaiting {
        if let ViewTouch::Prefix(prefix) = &on {
            *self.prefixes.lock().entry(Arc::clone(prefix)).or_default() += 1;
        }
        let waiting = self.wakes.wait(std::slice::from_ref(&on));
        ViewWaiting { waiting, view: Arc::clone(self), on }
    }

    /// How many different things are waited for.
    pub fn waited_for(&self) -> usize {
        self.wakes.len()
    }
}

/// Ends when what it waits for changed, or the view is over.
pub struct ViewWaiting {
    waiting: Waiting<ViewTouch>,
    view: Arc<View>,
    on: ViewTouch,
}

impl Future for ViewWaiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.waiting).poll(context)
    }
}

impl Drop for ViewWaiting {
    fn drop(&mut self) {
        let ViewTouch::Prefix(prefix) = &self.on else { return };
        let mut prefixes = self.view.prefixes.lock();
        if let Some(count) = prefixes.get_mut(prefix) {
            *count -= 1;
            if *count == 0 {
                prefixes.remove(prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Message, Moment, Subject};
    use journal::Stored;
    use view::Bounds;
    use view::rule::{Origin, Rule};

    fn view() -> Arc<View> {
        let rule = Rule { key: Origin::Subject(vec![2]), ..Rule::default() };
        let patterns = vec![Pattern::parse("u.>").unwrap()];
        let fold = Fold::new(rule, Bounds::default());
        Arc::new(View::new(ViewParts { name: "v".into(), stream: "S".into(), patterns, epoch: 7, fold }))
    }

    fn put(view: &View, seq: u64, key: &str) {
        let message = Message::new(Subject::parse(&format!("u.{key}")).unwrap(), "x");
        let stored = Stored { seq, time: Moment::EPOCH, message };
        view.change(|fold, touched| fold.fold(&stored, touched)).unwrap();
    }

    fn is_over(waiting: &mut ViewWaiting) -> bool {
        Pin::new(waiting).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn a_reader_is_woken_by_what_it_waits_for() {
        let view = view();
        let key = |key: &str| ViewTouch::Key(key.into());
        let prefix = |prefix: &str| ViewTouch::Prefix(prefix.into());
        let mut all = [ViewTouch::Any, key("ab"), key("b"), prefix("a"), prefix("b")].map(|on| view.wait(on));
        put(&view, 1, "ab");
        assert_eq!(all.each_mut().map(is_over), [true, true, false, true, false]);
        drop(all);
        assert_eq!((view.waited_for(), view.prefixes.lock().len()), (0, 0));
        let mut waiting = view.wait(key("c"));
        view.stand(Standing::Over);
        assert!(is_over(&mut waiting));
        view.stand(Standing::Ready);
        assert_eq!(view.standing(), Standing::Over);
    }

    #[test]
    fn a_cursor_belongs_to_one_history() {
        let view = view();
        put(&view, 5, "a");
        let cursor = view.cursor();
        assert_eq!(cursor.to_string(), "5-00000007");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!(view.remembers(&cursor) && view.remembers(&"3".parse().unwrap()));
        for other in ["5-00000008", "6", "6-00000007"] {
            assert!(!view.remembers(&other.parse().unwrap()), "{other}");
        }
        for bad in ["", "x", "5-", "5-xyz", "5-1-2", "-"] {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn who_may_read_what_it_is_folded_from_may_read_it() {
        let view = view();
        let who = |pattern: &str| Principal::new("p", vec![], vec![Pattern::parse(pattern).unwrap()], false);
        assert!(view.may_read(&Principal::anyone()) && view.may_read(&who("u.>")) && view.may_read(&who(">")));
        assert!(!view.may_read(&who("u.a")) && !view.may_read(&who("x.>")));
        view.set_patterns(vec![]);
        assert!(!view.may_read(&who("u.>")));
    }
}
