//! The engine itself: what its parts share, and the contract's verbs handed to them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use event::{Moment, Pattern, Subject};
use journal::{
    Ack, AckError, AckToken, Answer, Append, AppendError, BatchError, ConsumerConfig, ConsumerError, ConsumerInfo,
    Done, Fetch, Health, Journal, Page, Purge, Read, ReadError, Receipt, Sink, Start, Stored, StreamConfig,
    StreamError, StreamInfo, SubjectState, ready,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::debug;

use crate::catalogue::{Catalogue, Known};
use crate::connect::{ConnectError, Options, connect};
use crate::consumers::Desk;
use crate::courier::{Courier, Job};
use crate::follow::Followers;
use crate::keeper;
use crate::turns::{Before, Turn, Turns};
use crate::{acks, batches, consumers, fetches, reads, streams};

/// How long closing waits for appends that are on their way.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// What the parts of the engine share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) replicas: u8,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) courier: Courier,
    pub(crate) turns: Turns,
    pub(crate) desk: Desk,
    pub(crate) followers: Followers,
}

/// The journal on a NATS JetStream server or cluster. Cloning is cheap; all clones are one engine.
#[derive(Clone)]
pub struct JetStream(Arc<Shared>);

fn shutting_down() -> String {
    String::from("the engine is shutting down")
}

/// A task that ends when nobody waits for it any more.
struct Bound<T>(JoinHandle<T>);

impl<T> Drop for Bound<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl JetStream {
    /// Connects to the servers. Must be called inside an executor, on which the engine then works.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to do.
    pub async fn connect(options: Options) -> Result<JetStream, ConnectError> {
        let client = connect(&options).await?;
        let address = options.servers.to_string();
        let unreachable = |reason: String| ConnectError::Unreachable { address: address.clone(), reason };
        let catalogue = Catalogue::start(client.clone()).await.map_err(|error| unreachable(error.to_string()))?;
        let courier = Courier::start(client.clone(), Arc::clone(&catalogue), options.ids)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let shared = Arc::new(Shared {
            handle: Handle::current(),
            replicas: options.replicas,
            catalogue,
            courier,
            turns: Turns::default(),
            desk: Desk::default(),
            followers: Followers::default(),
            client,
        });
        consumers::watch(&shared).await.map_err(|error| unreachable(error.to_string()))?;
        keeper::start(&shared);
        Ok(JetStream(shared))
    }

    /// Begins a verb that others of the stream wait for.
    fn begin<T, F>(&self, stream: &str, lost: fn() -> T, work: impl FnOnce(Arc<Shared>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (before, turn) = self.0.turns.take(stream);
        let ahead = Ahead { fence: self.0.courier.fence(), before, turn: Some(turn) };
        self.spawn(ahead, lost, work(Arc::clone(&self.0)))
    }

    /// Begins a verb that nobody waits for.
    fn look<T, F>(&self, stream: &str, lost: fn() -> T, work: impl FnOnce(Arc<Shared>) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let ahead = Ahead { fence: None, before: self.0.turns.before(stream), turn: None };
        self.spawn(ahead, lost, work(Arc::clone(&self.0)))
    }

    fn spawn<T, F>(&self, ahead: Ahead, lost: fn() -> T, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let task = self.0.handle.spawn(async move {
            let _turn = ahead.over().await;
            work.await
        });
        Box::pin(async move { task.await.unwrap_or_else(|_| lost()) })
    }
}

/// What a verb waits for before it works.
struct Ahead {
    fence: Option<oneshot::Receiver<()>>,
    before: Before,
    turn: Option<Turn>,
}

impl Ahead {
    async fn over(self) -> Option<Turn> {
        if let Some(fence) = self.fence {
            // A courier that is gone has nothing on its way.
            let _gone = fence.await;
        }
        self.before.over().await;
        self.turn
    }
}

/// Brings an append to the stream that captures it.
pub(crate) fn append(shared: &Arc<Shared>, append: Append, done: Done<Result<Receipt, AppendError>>) {
    let into = append.into.as_ref().and_then(|name| shared.catalogue.get(name));
    if let (Some(name), None) = (&append.into, &into) {
        let missing = AppendError::NotFound(name.clone());
        return done(Err(missing));
    }
    if let Some(stream) = into.or_else(|| shared.catalogue.capturing(append.message.subject.as_str())) {
        return send(shared, append, stream, done);
    }
    let shared = Arc::clone(shared);
    let handle = shared.handle.clone();
    drop(handle.spawn(async move {
        match shared.catalogue.ask(&append.message.subject).await {
            Ok(Some(stream)) => send(&shared, append, stream, done),
            Ok(None) => done(Err(AppendError::NoStream(append.message.subject.to_string()))),
            Err(error) => done(Err(AppendError::Storage(error.to_string()))),
        }
    }));
}

fn send(shared: &Arc<Shared>, append: Append, stream: Arc<Known>, done: Done<Result<Receipt, AppendError>>) {
    if let Err(refused) = streams::admit(&stream.config, &append) {
        return done(Err(refused));
    }
    shared.courier.send(Job { append, stream, done, tries: 0 });
}

impl Journal for JetStream {
    fn append(&self, message: Append, done: Done<Result<Receipt, AppendError>>) {
        append(&self.0, message, done);
    }

    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>) {
        let (shared, fence) = (Arc::clone(&self.0), self.0.courier.fence());
        drop(self.0.handle.spawn(async move {
            if let Some(fence) = fence {
                // A courier that is gone has nothing on its way.
                let _gone = fence.await;
            }
            done(batches::append_all(shared, appends).await);
        }));
    }

    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        let name = config.name.clone();
        let lost = || Err(StreamError::Closed(shutting_down()));
        self.begin(&name, lost, |shared| streams::create(shared, config))
    }

    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        let name = config.name.clone();
        let lost = || Err(StreamError::Closed(shutting_down()));
        self.begin(&name, lost, |shared| streams::update(shared, config))
    }

    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>> {
        let name = stream.to_owned();
        self.begin(stream, || Err(StreamError::Closed(shutting_down())), |shared| streams::delete(shared, name))
    }

    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>> {
        let name = stream.to_owned();
        self.look(stream, || Err(StreamError::Closed(shutting_down())), |shared| streams::info(shared, name))
    }

    fn streams(&self) -> Answer<Vec<StreamInfo>> {
        self.look("", Vec::new, streams::list)
    }

    fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.0.catalogue.capturing(subject.as_str()).map(|known| Arc::clone(&known.name))
    }

    fn version(&self) -> u64 {
        self.0.catalogue.version()
    }

    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>> {
        let (name, pattern) = (stream.to_owned(), pattern.clone());
        let lost = || Err(ReadError::Closed(shutting_down()));
        self.look(stream, lost, move |shared| reads::subjects(shared, name, pattern, after, limit))
    }

    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>> {
        let name = stream.to_owned();
        let lost = || Err(StreamError::Closed(shutting_down()));
        self.begin(stream, lost, |shared| streams::purge(shared, name, purge))
    }

    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>> {
        let name = stream.to_owned();
        let lost = || Err(StreamError::Closed(shutting_down()));
        self.begin(stream, lost, move |shared| streams::delete_message(shared, name, seq))
    }

    fn read(&self, stream: &str, read: Read) -> Answer<Result<Page, ReadError>> {
        let ahead = Ahead { fence: None, before: self.0.turns.before(stream), turn: None };
        let (shared, name) = (Arc::clone(&self.0), stream.to_owned());
        let gate = (read.start == Start::New).then(|| self.0.courier.gate());
        let mut task = Bound(self.0.handle.spawn(async move {
            let _turn = ahead.over().await;
            reads::read(shared, name, read, gate).await
        }));
        Box::pin(async move { (&mut task.0).await.unwrap_or_else(|_| Err(ReadError::Closed(shutting_down()))) })
    }

    fn get(&self, stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>> {
        let name = stream.to_owned();
        let lost = || Err(ReadError::Closed(shutting_down()));
        self.look(stream, lost, move |shared| reads::get(shared, name, seq))
    }

    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>> {
        let name = stream.to_owned();
        let lost = || Err(ReadError::Closed(shutting_down()));
        self.look(stream, lost, move |shared| reads::deleted(shared, name, from, limit))
    }

    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>> {
        let (name, pattern) = (stream.to_owned(), pattern.clone());
        let lost = || Err(ReadError::Closed(shutting_down()));
        self.look(stream, lost, move |shared| reads::last(shared, name, pattern))
    }

    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let name = stream.to_owned();
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, |shared| consumers::create(shared, name, config))
    }

    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let name = stream.to_owned();
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, |shared| consumers::update(shared, name, config))
    }

    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        let (name, consumer) = (stream.to_owned(), consumer.to_owned());
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, |shared| consumers::delete(shared, name, consumer))
    }

    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let (name, consumer) = (stream.to_owned(), consumer.to_owned());
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.look(stream, lost, |shared| consumers::info(shared, name, consumer))
    }

    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        let name = stream.to_owned();
        self.look(stream, || Err(ConsumerError::Closed(shutting_down())), |shared| consumers::list(shared, name))
    }

    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let (name, consumer) = (stream.to_owned(), consumer.to_owned());
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, move |shared| consumers::pause(shared, name, consumer, until))
    }

    fn consumer_reset(
        &self,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        let (name, consumer) = (stream.to_owned(), consumer.to_owned());
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, move |shared| consumers::reset(shared, name, consumer, to))
    }

    fn consumer_unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        let (name, consumer, group) = (stream.to_owned(), consumer.to_owned(), group.to_owned());
        let lost = || Err(ConsumerError::Closed(shutting_down()));
        self.begin(stream, lost, |shared| consumers::unpin(shared, name, consumer, group))
    }

    fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>) {
        let (before, turn) = self.0.turns.take(stream);
        let (shared, names) = (Arc::clone(&self.0), (stream.to_owned(), consumer.to_owned()));
        drop(self.0.handle.spawn(async move {
            before.over().await;
            fetches::fetch(shared, names.0, names.1, fetch, sink, turn).await;
        }));
    }

    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        let before = self.0.turns.before(&token.stream);
        let shared = Arc::clone(&self.0);
        drop(self.0.handle.spawn(async move {
            before.over().await;
            done(acks::acknowledge(shared, token, ack, synced).await);
        }));
    }

    fn relates(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        let gauge = self.0.courier.gauge();
        let refusing = match self.0.client.connection_state() {
            State::Connected => None,
            State::Pending | State::Disconnected => Some(String::from("no connection to a NATS server of the cluster")),
        };
        let oldest_nanos = u64::try_from(gauge.oldest().as_nanos()).unwrap_or(u64::MAX);
        Health { refusing, waiting: gauge.waiting(), oldest_nanos, damaged: 0 }
    }

    fn close(&self) -> Answer<()> {
        let shared = Arc::clone(&self.0);
        if Handle::try_current().is_err() && shared.client.connection_state() == State::Pending {
            return ready(());
        }
        self.look(
            "",
            || (),
            |_| async move {
                if let Some(fence) = shared.courier.fence() {
                    // Whoever has no answer by then is told that its fate is unknown.
                    let _late = timeout(CLOSE_DEADLINE, fence).await;
                }
                if let Err(error) = shared.client.flush().await {
                    debug!(%error, "the last words to the servers may be lost");
                }
            },
        )
    }
}
