//! Who listens now: the [`Fabric`] on routes.
//!
//! # Invariants
//! - A listener that joined is on every way that is asked for after.
//! - A way is current until an interest that could touch its subject comes or goes. Interests are
//!   told apart by their first token, so that inboxes that come and go leave other ways alone.
//!
//! # Cost
//! Without listeners, whether to deliver costs one atomic read. A way that is kept costs two to
//! check. Asking for one takes a lock that many may hold at a time; only joining and leaving hold
//! it alone, for as long as one pattern is deep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use door::{Class, Fabric, Hop, Listener, ListenerId, Taker, Way};
use event::Pattern;
use parking_lot::RwLock;
use route::{Interests, Leg};

/// Into how many parts first tokens are told apart: a few dozen kinds of subjects seldom meet.
const PARTS: usize = 64;

/// What a way's stamp says of the part that its subject is in.
const PART: usize = 0;

#[derive(Default)]
struct Members {
    interests: Interests<Arc<dyn Taker>>,
    next: ListenerId,
}

/// See the module.
pub(crate) struct Live {
    /// The one place where membership changes.
    members: RwLock<Members>,
    /// Grows with interests that begin with a wildcard: they touch every part.
    everywhere: AtomicU64,
    parts: [AtomicU64; PARTS],
    listeners: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    watchers: RwLock<Vec<Arc<dyn Fn() + Send + Sync>>>,
    /// Whose turn it is among repeaters.
    round: Arc<AtomicUsize>,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            members: RwLock::default(),
            everywhere: AtomicU64::new(0),
            parts: std::array::from_fn(|_| AtomicU64::new(0)),
            listeners: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            watchers: RwLock::default(),
            round: Arc::default(),
        }
    }
}

impl Live {
    /// How many listen.
    pub(crate) fn subscribers(&self) -> u64 {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Messages handed to listeners so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages dropped so far because a listener was slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Called while membership is held alone, so that no way of the old state bears the new stamp.
    fn touched(&self, members: &Members, patterns: &[Pattern]) {
        self.listeners.store(members.interests.len() as u64, Ordering::Release);
        for pattern in patterns {
            let first = first_token(pattern.as_str());
            let counter = match first {
                "*" | ">" => Some(&self.everywhere),
                token => self.parts.get(part(token)),
            };
            if let Some(counter) = counter {
                counter.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn stamp(&self, part: usize) -> [u64; 3] {
        let version = self.parts.get(part).map_or(0, |counter| counter.load(Ordering::Acquire));
        [part as u64, version, self.everywhere.load(Ordering::Acquire)]
    }
}

fn first_token(subject: &str) -> &str {
    subject.split('.').next().unwrap_or_default()
}

/// FNV-1a: which part a first token is in. Tokens that a stranger makes meet cost a way made anew.
fn part(token: &str) -> usize {
    let hash = token.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % PARTS
}

impl Fabric for Live {
    fn is_quiet(&self) -> bool {
        self.listeners.load(Ordering::Acquire) == 0
    }

    fn way_from(&self, subject: &str, from: Class) -> Arc<Way> {
        let part = part(first_token(subject));
        let members = self.members.read();
        let stamp = self.stamp(part);
        let route = members.interests.route(subject, from);
        drop(members);
        let hop = |leg: &Arc<Leg<Arc<dyn Taker>>>| Hop { connection: leg.connection, taker: Arc::clone(&leg.hand) };
        let (mut groups, mut repeaters) = (Vec::with_capacity(route.groups.len()), Vec::new());
        for group in &route.groups {
            let hops: Vec<Hop> = group.iter().map(hop).collect();
            match group.first().map(|leg| leg.class) {
                Some(Class::Repeater) => repeaters.extend(hops),
                _ => groups.push(hops),
            }
        }
        let mut way = Way::new(route.direct.iter().map(hop).collect(), groups, stamp);
        (way.repeaters, way.from, way.round) = (repeaters, from, Arc::clone(&self.round));
        way.alike = route.alike && subject.contains('.');
        Arc::new(way)
    }

    fn is_current(&self, way: &Way) -> bool {
        let part = way.stamp.get(PART).and_then(|part| usize::try_from(*part).ok()).unwrap_or(PARTS);
        self.stamp(part) == way.stamp
    }

    fn count(&self, taken: u64, refused: u64) {
        self.delivered.fetch_add(taken, Ordering::Relaxed);
        if refused > 0 {
            self.dropped.fetch_add(refused, Ordering::Relaxed);
        }
    }

    fn join(&self, listener: Listener) -> ListenerId {
        let Listener { patterns, queue, connection, class, taker } = listener;
        let mut members = self.members.write();
        let number = members.next;
        members.next += 1;
        members.interests.add(Leg { class, number, connection, queue, hand: taker }, &patterns);
        self.touched(&members, &patterns);
        drop(members);
        self.watchers.read().iter().for_each(|joined| joined());
        number
    }

    fn watch(&self, joined: Arc<dyn Fn() + Send + Sync>) {
        self.watchers.write().push(joined);
    }

    fn change(&self, id: ListenerId, patterns: Vec<Pattern>) {
        let mut members = self.members.write();
        if let Some(before) = members.interests.change(id, &patterns) {
            self.touched(&members, &before);
            self.touched(&members, &patterns);
        }
        drop(members);
        self.watchers.read().iter().for_each(|joined| joined());
    }

    fn leave(&self, id: ListenerId) {
        let mut members = self.members.write();
        if let Some(patterns) = members.interests.remove(id) {
            self.touched(&members, &patterns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::{Heard, Subscription};
    use event::{Message, Subject};

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn message(subject: &str, payload: &'static str) -> Message {
        Message::new(Subject::parse(subject).unwrap(), payload)
    }

    #[tokio::test]
    async fn each_hears_once_what_any_of_its_patterns_matches() {
        let live = Arc::new(Live::default());
        assert!(live.is_quiet());
        let mut both = Subscription::new(live.clone(), &[pattern("a.>"), pattern("a.*")], 8, 1024);
        let mut other = Subscription::new(live.clone(), &[pattern("b")], 8, 1024);
        assert_eq!(live.deliver(&message("a.b", "1")), 1);
        assert_eq!(live.deliver(&message("b", "2")), 1);
        assert_eq!(live.deliver(&message("c", "3")), 0);
        assert_eq!(both.next().await, Some(Heard::Message(message("a.b", "1"))));
        assert_eq!(other.next().await, Some(Heard::Message(message("b", "2"))));
        drop((both, other));
        assert!(live.is_quiet() && live.deliver(&message("b", "4")) == 0);
    }

    #[tokio::test]
    async fn who_does_not_keep_up_loses_alone() {
        let live = Arc::new(Live::default());
        let mut slow = Subscription::new(live.clone(), &[pattern("a")], 1, 1024);
        let mut quick = Subscription::new(live.clone(), &[pattern("a")], 8, 1024);
        for payload in ["1", "2", "3"] {
            live.deliver(&message("a", payload));
        }
        assert_eq!((live.delivered(), live.dropped()), (4, 2));
        assert_eq!(slow.next().await, Some(Heard::Dropped(2)));
        for payload in ["1", "2", "3"] {
            assert_eq!(quick.next().await, Some(Heard::Message(message("a", payload))));
        }
    }

    #[test]
    fn a_way_is_current_until_an_interest_that_could_touch_it_changes() {
        let live = Arc::new(Live::default());
        let (a, b) = (live.way("a.x"), live.way("b.x"));
        assert_ne!(part("a"), part("b"));
        let subscription = Subscription::new(live.clone(), &[pattern("a.y")], 1, 1);
        assert!(!live.is_current(&a) && live.is_current(&b));
        let everywhere = Subscription::new(live.clone(), &[pattern("*.y")], 1, 1);
        assert!(!live.is_current(&b));
        let b = live.way("b.y");
        assert!(live.is_current(&b) && b.direct.len() == 1);
        drop((subscription, everywhere));
        assert!(!live.is_current(&b) && live.way("b.y").is_empty());
    }
}
