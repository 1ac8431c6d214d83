//! What all deliveries of this door share: who is in use, who is dormant, and what time it is for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use door::Port;
use event::Pattern;
use journal::ConsumerInfo;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::JetStream;
use super::ack::Ignored;
use super::posts::{Post, Posts};
use super::timers::Timers;

/// See the module.
pub(super) struct Delivering {
    pub(super) port: Port,
    pub(super) posts: Posts,
    pub(super) timers: Arc<Timers>,
    pub(super) ignored: Ignored,
    /// Pushes that begin once it is told that they were declared.
    declared: Mutex<Vec<Arc<Post>>>,
    /// Pushes that nobody listens to.
    asleep: Mutex<Vec<Weak<Post>>>,
    /// How many they are.
    sleepers: AtomicUsize,
    /// Somebody began to listen to something, while some were asleep.
    joined: Notify,
}

/// The task that keeps time and looks after dormant pushes. Ends when it is dropped.
pub(super) struct Keeper(Option<JoinHandle<()>>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Delivering {
    pub(super) fn new(port: Port) -> Arc<Self> {
        let delivering = Arc::new(Delivering {
            port,
            posts: Posts::default(),
            timers: Arc::default(),
            ignored: Ignored::default(),
            declared: Mutex::default(),
            asleep: Mutex::default(),
            sleepers: AtomicUsize::new(0),
            joined: Notify::new(),
        });
        let weak = Arc::downgrade(&delivering);
        let joined = move || {
            let some = weak.upgrade().filter(|delivering| delivering.sleepers.load(Ordering::Acquire) > 0);
            if let Some(delivering) = some {
                delivering.joined.notify_one();
            }
        };
        delivering.port.fabric().watch(Arc::new(joined));
        delivering
    }

    /// Starts the task, where there is an executor.
    pub(super) fn keep(self: &Arc<Self>) -> Keeper {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Keeper(None) };
        let delivering = Arc::clone(self);
        Keeper(Some(runtime.spawn(async move {
            tokio::join!(delivering.resume(), delivering.timers.run(), delivering.attend());
        })))
    }

    /// Starts the pushes of the consumers that there are.
    async fn resume(self: &Arc<Self>) {
        let journal = self.port.journal();
        for stream in journal.streams().await {
            let consumers = journal.consumers(&stream.config.name).await.unwrap_or_default();
            for info in consumers.iter().filter(|info| super::push::Push::of(&info.config).is_some()) {
                self.learn(info, &stream.config.subjects);
            }
        }
    }

    /// Takes in a consumer as it was declared, and starts its push.
    pub(super) fn learn(self: &Arc<Self>, info: &ConsumerInfo, captured: &[Pattern]) -> Arc<Post> {
        let post = self.take_in(info, captured);
        self.push(&post);
        post
    }

    /// As [`Delivering::learn`], but its push begins with [`Delivering::begin_declared`].
    pub(super) fn declare(&self, info: &ConsumerInfo, captured: &[Pattern]) {
        let post = self.take_in(info, captured);
        if post.pushing.is_some() {
            self.declared.lock().push(post);
        }
    }

    /// Starts the pushes that were declared: behind the answers that say so, so that no message
    /// comes before its consumer's name is known.
    pub(super) fn begin_declared(self: &Arc<Self>) {
        let declared = std::mem::take(&mut *self.declared.lock());
        for post in &declared {
            self.push(post);
        }
    }

    fn take_in(&self, info: &ConsumerInfo, captured: &[Pattern]) -> Arc<Post> {
        let (post, ended) = self.posts.learn(info, captured);
        if let Some(pushing) = ended.as_ref().and_then(|ended| ended.pushing.as_ref()) {
            pushing.end();
            self.port.journal().nudge();
        }
        post
    }

    /// Lets go of a consumer that is gone.
    pub(super) fn forget(&self, stream: &str, consumer: &str) {
        let post = self.posts.forget(stream, consumer);
        if let Some(pushing) = post.as_ref().and_then(|post| post.pushing.as_ref()) {
            pushing.end();
        }
    }

    /// Remembers a push that nobody listens to.
    pub(super) fn dormant(&self, post: &Arc<Post>) {
        let mut asleep = self.asleep.lock();
        asleep.push(Arc::downgrade(post));
        self.sleepers.store(asleep.len(), Ordering::Release);
    }

    /// Looks whether anybody listens to those that are dormant.
    fn rouse(self: &Arc<Self>) {
        let asleep = {
            let mut asleep = self.asleep.lock();
            self.sleepers.store(0, Ordering::Release);
            std::mem::take(&mut *asleep)
        };
        for post in asleep.iter().filter_map(Weak::upgrade) {
            self.push(&post);
        }
    }

    /// Rouses the dormant whenever somebody began to listen.
    async fn attend(self: &Arc<Self>) {
        loop {
            self.joined.notified().await;
            self.rouse();
        }
    }
}

impl JetStream {
    /// The consumer that `stream.consumer` names, in use from now on.
    pub(super) async fn find(&self, name: &str) -> Option<Arc<Post>> {
        if let Some(post) = self.delivering.posts.get(name) {
            return Some(post);
        }
        let (stream, consumer) = name.split_once('.')?;
        let journal = self.port.journal();
        let info = journal.consumer_info(stream, consumer).await.ok()?;
        let captured = journal.stream_info(stream).await.ok()?.config.subjects;
        Some(self.delivering.learn(&info, &captured))
    }

    /// Whether anybody listens to what a consumer pushes.
    pub(super) fn push_bound(&self, stream: &str, consumer: &str) -> bool {
        let post = self.delivering.posts.get(&format!("{stream}.{consumer}"));
        let push = post.as_ref().and_then(|post| post.shape.push.as_ref());
        push.is_some_and(|push| push.is_bound(&**self.port.fabric()))
    }
}
