//! Where answers go that somebody beyond this node awaits, before it is heard that he does.
//!
//! Who asks begins to listen for the answer in the same moment, and his interest may come later than his question: it
//! goes from machine to machine, the question from socket to socket. So a node remembers for a while where questions
//! came from, and sends what answers them there too.
//!
//! # Invariants
//! - What is remembered widens no right: the way is asked for like any other, by the rules of segments and names.
//! - At most twice [`REMEMBERED_MAX`] are remembered, each for [`REMEMBERED_FOR`] to twice that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh::names::Name;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Subjects that are remembered, without their last token. A client has one for all its questions.
const REMEMBERED_MAX: usize = 32_768;

/// How long, at least: an interest takes less to come, however far.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Who awaits answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody in another domain.
    Domain(Name),
    /// Somebody at the node at the other end of a connection.
    Peer(u64),
}

struct Known {
    young: HashMap<Box<str>, Asker>,
    old: HashMap<Box<str>, Asker>,
    since: Instant,
}

/// See the module.
pub(super) struct Replies {
    known: Mutex<Known>,
    any: AtomicBool,
}

impl Default for Replies {
    fn default() -> Self {
        let known = Known { young: HashMap::new(), old: HashMap::new(), since: Instant::now() };
        Replies { known: Mutex::new(known), any: AtomicBool::new(false) }
    }
}

/// A subject without its last token.
fn stem(subject: &str) -> &str {
    subject.rsplit_once('.').map_or(subject, |(stem, _)| stem)
}

impl Replies {
    /// Somebody awaits an answer.
    pub(super) fn awaited(&self, reply: &str, asker: &Asker) {
        let stem = stem(reply);
        let mut known = self.known.lock();
        if known.since.elapsed() >= REMEMBERED_FOR || known.young.len() >= REMEMBERED_MAX {
            known.old = std::mem::take(&mut known.young);
            known.since = Instant::now();
        }
        if known.young.get(stem) != Some(asker) {
            known.young.insert(stem.into(), asker.clone());
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether none is awaited at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Who awaits what is published to a subject.
    pub(super) fn find(&self, subject: &str) -> Option<Asker> {
        if self.is_empty() {
            return None;
        }
        let known = self.known.lock();
        known.young.get(stem(subject)).or_else(|| known.old.get(stem(subject))).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asked_is_remembered_for_a_while_by_all_but_the_last_token() {
        let replies = Replies::default();
        assert!(replies.is_empty() && replies.find("_INBOX.a.1").is_none());
        let asker = |name: &str| Asker::Domain(Name::parse(name).unwrap());
        replies.awaited("_INBOX.a.1", &asker("a"));
        replies.awaited("_INBOX.b.1", &Asker::Peer(7));
        assert_eq!(replies.find("_INBOX.a.2"), Some(asker("a")));
        assert_eq!(replies.find("_INBOX.b.1"), Some(Asker::Peer(7)));
        assert_eq!(replies.find("_INBOX.c.1"), None);
        tokio::time::advance(REMEMBERED_FOR).await;
        replies.awaited("_INBOX.c.1", &asker("c"));
        assert_eq!(replies.find("_INBOX.a.2"), Some(asker("a")), "twice as long, at most");
        tokio::time::advance(REMEMBERED_FOR).await;
        replies.awaited("_INBOX.c.1", &asker("d"));
        assert_eq!((replies.find("_INBOX.a.2"), replies.find("_INBOX.c.9")), (None, Some(asker("d"))));
    }
}
