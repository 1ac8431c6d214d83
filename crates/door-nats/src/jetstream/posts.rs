//! The consumers that are in use at this door.
//!
//! What the hot paths ask of a consumer is kept here, so that a request for messages or an
//! acknowledgement costs one look-up. A consumer comes in when it is created or first asked for, and
//! goes when the journal says that it is gone.
//!
//! # Invariants
//! - One entry a name. A declaration that matters here and changes makes a new entry, and ends the
//!   old one's push.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use door::Principal;
use event::{Moment, Pattern};
use journal::ConsumerInfo;
use parking_lot::RwLock;

use super::push::{Push, Pushing};

/// What of a consumer's declaration matters here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// Tells it from an earlier one of the same name.
    pub(super) created: Moment,
    /// What it reads.
    pub(super) reads: Vec<Pattern>,
    /// Whether payloads stay away.
    pub(super) headers_only: bool,
    /// Most bits a second.
    pub(super) rate_limit_bps: Option<u64>,
    /// Whether messages come at the pace at which they were recorded.
    pub(super) replay_original: bool,
    /// Where it pushes to.
    pub(super) push: Option<Push>,
}

impl Shape {
    /// `captured`: the stream's subjects, which a consumer without filters reads.
    pub(super) fn of(info: &ConsumerInfo, captured: &[Pattern]) -> Self {
        let config = &info.config;
        Shape {
            created: info.created,
            reads: if config.filters.is_empty() { captured.to_vec() } else { config.filters.clone() },
            headers_only: config.headers_only,
            rate_limit_bps: config.rate_limit_bps,
            replay_original: config.replay_original,
            push: Push::of(config),
        }
    }
}

/// A consumer in use.
pub(super) struct Post {
    /// Its stream.
    pub(super) stream: Arc<str>,
    /// Its name.
    pub(super) consumer: Arc<str>,
    /// What its acknowledgements' subjects begin with.
    pub(super) acknowledged: Box<str>,
    /// What matters of its declaration.
    pub(super) shape: Shape,
    /// The last delivery, as heartbeats tell it.
    order: AtomicU64,
    seq: AtomicU64,
    /// The state of its push, where it pushes.
    pub(super) pushing: Option<Pushing>,
}

impl Post {
    fn new(info: &ConsumerInfo, shape: Shape) -> Self {
        let (stream, consumer) = (Arc::clone(&info.stream), Arc::from(info.config.name.as_str()));
        Post {
            acknowledged: format!("{}{stream}.{consumer}.", super::ACK).into(),
            stream,
            consumer,
            order: AtomicU64::new(info.deliveries),
            seq: AtomicU64::new(info.delivered),
            pushing: shape.push.clone().map(Pushing::new),
            shape,
        }
    }

    /// Notes a delivery that was made.
    pub(super) fn delivered(&self, order: u64, seq: u64) {
        self.order.store(order, Ordering::Relaxed);
        self.seq.store(seq, Ordering::Relaxed);
    }

    /// The last delivery: of the consumer, and its position in the stream.
    pub(super) fn last(&self) -> (u64, u64) {
        (self.order.load(Ordering::Relaxed), self.seq.load(Ordering::Relaxed))
    }

    /// Whether somebody may have its messages.
    pub(super) fn is_open_to(&self, who: &Principal) -> bool {
        who.reads_everything() || self.shape.reads.iter().all(|pattern| who.may_read_all(pattern))
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Posts {
    /// By stream and name, as subjects have them: `stream.consumer`, which no other pair makes, as
    /// neither holds a dot.
    by_name: RwLock<HashMap<Box<str>, Arc<Post>>>,
}

impl Posts {
    /// The consumer that `stream.consumer` names.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Post>> {
        self.by_name.read().get(name).map(Arc::clone)
    }

    /// Takes a consumer in as it is now; the entry that it has now, and the one that this ended.
    pub(super) fn learn(&self, info: &ConsumerInfo, captured: &[Pattern]) -> (Arc<Post>, Option<Arc<Post>>) {
        let name = format!("{}.{}", info.stream, info.config.name);
        let shape = Shape::of(info, captured);
        let mut by_name = self.by_name.write();
        if let Some(post) = by_name.get(name.as_str()).filter(|post| post.shape == shape) {
            let post = Arc::clone(post);
            drop(by_name);
            if info.deliveries == 0 {
                // It was reset, or nothing was delivered: nobody else is at it now.
                post.delivered(info.deliveries, info.delivered);
            }
            return (post, None);
        }
        let post = Arc::new(Post::new(info, shape));
        let ended = by_name.insert(name.into(), Arc::clone(&post));
        (post, ended)
    }

    /// Lets go of a consumer.
    pub(super) fn forget(&self, stream: &str, consumer: &str) -> Option<Arc<Post>> {
        self.by_name.write().remove(format!("{stream}.{consumer}").as_str())
    }
}
