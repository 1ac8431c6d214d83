//! Stories that every door passes: what is published through one is read through any other.
//!
//! A door joins by implementing [`Street`] on a client of its own protocol, which speaks to the
//! door over its real encoding. A story panics, with the door's name, where it does not hold.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use event::Pattern;

use crate::fabric::{Class, Fabric, Group, Hop, KEEPS_AHEAD, KEEPS_UNTAKEN, Keepers, Listener, ListenerId, Way};

/// A message as a client at a door's far side sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its position in the stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A client of one door.
pub trait Street {
    /// The door's name, for failures.
    fn name(&self) -> &'static str;

    /// Publishes, and waits until the door says that it is recorded; its position.
    fn publish(&self, subject: &str, payload: &[u8]) -> impl Future<Output = Result<u64, String>> + Send;

    /// Reads up to `limit` messages of a stream from a position on.
    fn read(&self, stream: &str, from: u64, limit: usize) -> impl Future<Output = Result<Vec<Seen>, String>> + Send;
}

/// A fabric that asks every listener about every message: for doors' tests, and the oracle of
/// better ones.
#[derive(Default)]
pub struct Plain(Mutex<Members>, Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>, Arc<AtomicUsize>);

/// The number of the last change, and who listens.
type Members = (u64, BTreeMap<ListenerId, Listener>);

impl Plain {
    fn with<T>(&self, work: impl FnOnce(&mut Members) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Fabric for Plain {
    fn is_quiet(&self) -> bool {
        self.with(|(_, all)| all.is_empty())
    }

    fn way_from(&self, subject: &str, from: Class) -> Arc<Way> {
        self.with(|(version, all)| {
            let (mut direct, mut groups) = (Vec::new(), BTreeMap::<Arc<str>, Vec<Hop>>::new());
            let mut repeaters = Vec::new();
            for listener in all.values().filter(|listener| from.reaches(listener.class)) {
                if !listener.patterns.iter().any(|pattern| pattern.matches(subject)) {
                    continue;
                }
                let hop = Hop { connection: listener.connection, taker: Arc::clone(&listener.taker) };
                match &listener.queue {
                    Some(queue) if matches!(&**queue, KEEPS_AHEAD | KEEPS_UNTAKEN) => {}
                    Some(queue) => groups.entry(Arc::clone(queue)).or_default().push(hop),
                    None if listener.class == Class::Repeater => repeaters.push(hop),
                    None => direct.push(hop),
                }
            }
            let mut way = Way::new(direct, groups.into_values().map(Group::near).collect(), [*version, 0, 0]);
            (way.repeaters, way.from, way.round) = (repeaters, from, Arc::clone(&self.2));
            Arc::new(way)
        })
    }

    fn keepers(&self, subject: &str, _from: Class) -> Keepers {
        self.with(|(version, all)| {
            let of = |queue: &str| {
                let matches = |each: &&Listener| each.patterns.iter().any(|pattern| pattern.matches(subject));
                let members = all.values().filter(|each| each.queue.as_deref() == Some(queue)).filter(matches);
                let hop = |each: &Listener| Hop { connection: each.connection, taker: Arc::clone(&each.taker) };
                let near: Vec<Hop> = members.map(hop).collect();
                let way = Way::new(Vec::new(), vec![Group::near(near)], [*version, 0, 0]);
                (way.hops().count() > 0).then(|| Arc::new(way))
            };
            Keepers { ahead: of(KEEPS_AHEAD), untaken: of(KEEPS_UNTAKEN) }
        })
    }

    fn is_current(&self, way: &Way) -> bool {
        self.with(|(version, _)| way.stamp == [*version, 0, 0])
    }

    fn count(&self, _taken: u64, _refused: u64) {}

    fn join(&self, listener: Listener) -> ListenerId {
        let id = self.with(|(version, all)| {
            *version += 1;
            all.insert(*version, listener);
            *version
        });
        let watchers = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        watchers.iter().for_each(|joined| joined());
        id
    }

    fn watch(&self, joined: Arc<dyn Fn() + Send + Sync>) {
        self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(joined);
    }

    fn change(&self, id: ListenerId, patterns: Vec<Pattern>) {
        self.with(|(version, all)| {
            *version += 1;
            if let Some(listener) = all.get_mut(&id) {
                listener.patterns = patterns;
            }
        });
    }

    fn leave(&self, id: ListenerId) {
        self.with(|(version, all)| {
            *version += 1;
            all.remove(&id);
        });
    }
}

/// Payloads that a door could be tempted to change.
const PAYLOADS: [&[u8]; 6] =
    [b"plain", b"", b"{\"b\":1,  \"a\":1.0}", b"\r\n\r\n", &[0, 0xff, 0xfe, b'\n'], "sn\u{f6}".as_bytes()];

/// What one door publishes, the other reads: every byte, in order. The stream `stream` captures
/// `prefix.>`.
pub async fn published_through_one_is_read_through_the_other(
    writer: &impl Street,
    reader: &impl Street,
    stream: &str,
    prefix: &str,
) {
    let names = format!("{} to {}", writer.name(), reader.name());
    let mut expected = Vec::new();
    for (place, payload) in PAYLOADS.iter().enumerate() {
        let subject = format!("{prefix}.{place}");
        let seq = writer.publish(&subject, payload).await.unwrap_or_else(|error| panic!("{names}: publish: {error}"));
        expected.push(Seen { seq, subject, payload: payload.to_vec() });
    }
    let first = expected.first().map_or(1, |seen| seen.seq);
    let seen = reader.read(stream, first, PAYLOADS.len()).await;
    assert_eq!(seen, Ok(expected), "{names}");
}

/// A subject that breaks the grammar is refused, and nothing is recorded.
pub async fn a_bad_subject_is_refused(door: &impl Street, stream: &str, prefix: &str) {
    let last = door.publish(&format!("{prefix}.good"), b"1").await;
    let last = last.unwrap_or_else(|error| panic!("{}: publish: {error}", door.name()));
    for bad in ["*", ">", "a b", "a..b", "a."] {
        let refused = door.publish(&format!("{prefix}.{bad}"), b"x").await;
        assert!(refused.is_err(), "{}: '{bad}' was taken as {refused:?}", door.name());
    }
    let seen = door.read(stream, last + 1, 10).await;
    assert_eq!(seen, Ok(Vec::new()), "{}", door.name());
}
