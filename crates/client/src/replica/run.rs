//! The task of a replica: connects, brings snapshots and changes to the table, and tries again.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use event::JsonPath;
use hyper::header::HeaderName;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pace::Pace;
use crate::replica::error::ReplicaError;
use crate::replica::http::{Server, secret};
use crate::replica::row::{Change, Mapped, Unfit, at};
use crate::replica::source::{Frame, Source};
use crate::replica::spec::{Endpoint, Plan, ReplicaSpec};
use crate::replica::store::{Applied, Position, Store, Target};
use crate::replica::{ReplicaState, Shared};

/// Waits between two attempts: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Rows of a snapshot that are staged at a time.
const STAGE_ROWS: usize = 10_000;

/// Changes of one transaction, at most, save that a position is never split.
const BATCH_CHANGES: usize = 2_000;

/// How long changes are gathered before they are brought to the table.
const GATHER: Duration = Duration::from_millis(10);

/// How long a transaction that is open may take when the replica is told to end; as long as SQLite waits for another
/// writer.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Runner {
    spec: ReplicaSpec,
    plan: Plan,
    target: Target,
    shared: Arc<Shared>,
    end: watch::Receiver<bool>,
    store: Option<Store>,
    /// When the whole table was compared with the view.
    reconciled: Instant,
    /// Whether the endpoint's list was asked for.
    listed: bool,
    away: Option<std::time::Instant>,
}

/// What came of one connection.
enum Ended {
    /// It was told to end.
    Told,
    /// It is time to reconcile.
    Reconcile,
}

impl Runner {
    pub(crate) fn new(
        spec: ReplicaSpec,
        shared: Arc<Shared>,
        end: watch::Receiver<bool>,
    ) -> Result<Self, ReplicaError> {
        let (plan, target) = (Plan::new(&spec)?, Target::of(&spec)?);
        if let Some(endpoint) = &spec.startup {
            endpoint_paths(endpoint, &plan)?;
        }
        let (store, reconciled, listed, away) = (None, Instant::now(), false, None);
        Ok(Runner { spec, plan, target, shared, end, store, reconciled, listed, away })
    }

    /// Until told to end.
    pub(crate) async fn run(mut self) {
        let mut end = self.end.clone();
        let seed = u64::from(std::process::id())
            ^ u64::from(std::time::UNIX_EPOCH.elapsed().map_or(0, |at| at.subsec_nanos()));
        let mut pace = Pace::new(RETRY.0, RETRY.1, seed);
        let ended = loop {
            let began = Instant::now();
            match self.once(self.reconcile_at() <= began).await {
                Ok(Ended::Told) => break None,
                Ok(Ended::Reconcile) => continue,
                Err(error) if error.is_final() => break Some(error),
                // The position is read again: it goes on from there.
                Err(ReplicaError::Overtaken) => pace.failed(Duration::ZERO),
                Err(reason) => {
                    if matches!(reason, ReplicaError::Database(_)) {
                        self.store = None;
                    }
                    pace.failed(began.elapsed());
                    self.away(reason);
                }
            }
            tokio::select! {
                _ = end.wait_for(|end| *end) => break None,
                () = sleep(pace.wait()) => {}
            }
        };
        self.shared.set(ReplicaState::Ended(ended));
    }

    fn away(&mut self, reason: ReplicaError) {
        let since = *self.away.get_or_insert_with(|| {
            self.shared.count(|counts| counts.away += 1);
            std::time::Instant::now()
        });
        self.shared.set(ReplicaState::Away { reason, since });
    }

    /// One connection, from its position to its end.
    async fn once(&mut self, anew: bool) -> Result<Ended, ReplicaError> {
        let mut end = self.end.clone();
        if *end.borrow() {
            return Ok(Ended::Told);
        }
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.target, &self.spec, &self.plan).await?,
        };
        let position = store.position().await?;
        if !self.listed && self.spec.startup.is_some() {
            self.listed = self.startup(&mut store, position.is_none()).await?;
        }
        let server = Server::new(&self.spec.server, self.spec.ca_file.as_deref()).await?;
        let after = position.as_deref();
        let mut source = Source::open(&server, &self.spec, after, anew).await?;
        let pending = BTreeMap::new();
        let mut bringing = Bringing { position, pending, cursor: None, since: None, came: 0, anew };
        let result = {
            let mut following = pin!(self.follow(&mut store, &mut source, &mut bringing));
            tokio::select! {
                biased;
                result = &mut following => result,
                // It ends by itself, behind the transaction that is open: what is in the table is counted.
                () = async {
                    let _ = end.wait_for(|end| *end).await;
                    sleep(CLOSE_WAIT).await;
                } => return Ok(Ended::Told),
            }
        };
        self.store = Some(store);
        result
    }

    /// The next frame; `None`: it was told to end.
    async fn next(&mut self, source: &mut Source) -> Result<Option<Frame>, ReplicaError> {
        tokio::select! {
            biased;
            _ = self.end.wait_for(|end| *end) => Ok(None),
            frame = source.next() => frame.map(Some),
        }
    }

    /// Brings what is told to the table.
    async fn follow(
        &mut self,
        store: &mut Store,
        source: &mut Source,
        bringing: &mut Bringing,
    ) -> Result<Ended, ReplicaError> {
        loop {
            let reconcile = self.reconcile_at();
            let frame = tokio::select! {
                biased;
                () = sleep_until(bringing.due()), if bringing.is_due_at_all() => {
                    self.bring(store, bringing).await?;
                    continue;
                }
                frame = self.next(source) => frame?,
                () = sleep_until(reconcile), if bringing.pending.is_empty() && !bringing.anew => return Ok(Ended::Reconcile),
            };
            let Some(frame) = frame else { return Ok(Ended::Told) };
            match frame {
                Frame::Snapshot(of) => {
                    bringing.pending.clear();
                    bringing.anew = false;
                    if self.load(store, source, bringing, of).await?.is_none() {
                        return Ok(Ended::Told);
                    }
                }
                Frame::Put(told, cursor) => bringing.take(Change::Put(self.plan.map(&told)), cursor),
                Frame::Remove(key, cursor) => bringing.take(Change::Remove(key), cursor),
                Frame::End(cursor) => {
                    self.bring(store, bringing).await?;
                    self.following(&Position::of(cursor));
                }
            }
            if bringing.is_whole() && bringing.pending.len() >= BATCH_CHANGES {
                self.bring(store, bringing).await?;
            }
        }
    }

    fn following(&mut self, position: &Position) {
        self.away = None;
        self.shared.set(ReplicaState::Following { position: position.position });
    }

    fn reconcile_at(&self) -> Instant {
        let far = Duration::from_secs(365 * 24 * 60 * 60);
        let every = Some(self.spec.reconcile).filter(|every| !every.is_zero()).unwrap_or(far);
        self.reconciled + every.min(far)
    }

    /// One transaction of changes.
    async fn bring(&mut self, store: &mut Store, bringing: &mut Bringing) -> Result<(), ReplicaError> {
        let Some(cursor) = bringing.cursor.take() else { return Ok(()) };
        let (position, expected) = (Position::of(cursor), bringing.position.take());
        let mut ordered: Vec<(u64, Change)> = std::mem::take(&mut bringing.pending).into_values().collect();
        bringing.since = None;
        ordered.sort_by_key(|(place, _)| *place);
        let changes: Vec<Change> = ordered.into_iter().map(|(_, change)| change).collect();
        let count = changes.len() as u64;
        let mut unfit = Unfit::default();
        changes.iter().for_each(|change| unfit.see(change.row()));
        let applied = store.apply(changes, position.clone(), expected).await?;
        self.applied(count, unfit, applied);
        self.following(&position);
        bringing.position = Some(position.cursor);
        Ok(())
    }

    /// Counts what a transaction did, at once: a count is never there without its reason.
    fn applied(&self, received: u64, unfit: Unfit, applied: Applied) {
        self.shared.count(|counts| {
            counts.received += received;
            counts.put += applied.put;
            counts.removed += applied.removed;
            counts.unfit += unfit.count;
            counts.refused += applied.refused;
            counts.transactions += 1;
            counts.reason = applied.reason.or(unfit.reason).or(counts.reason.take());
        });
    }

    /// Takes a snapshot over. `None`: it was told to end before, and the table is as it was.
    async fn load(
        &mut self,
        store: &mut Store,
        source: &mut Source,
        bringing: &mut Bringing,
        of: u64,
    ) -> Result<Option<()>, ReplicaError> {
        store.stage_begin().await?;
        let (mut rows, mut count, mut unfit) = (Vec::new(), 0, Unfit::default());
        // Of a view that is listed too, the keys: the list has those that the view has not.
        let mut keys: Option<HashSet<String>> = self.spec.startup.as_ref().map(|_| HashSet::new());
        let cursor = loop {
            let Some(frame) = self.next(source).await? else { return Ok(None) };
            match frame {
                Frame::Put(told, _) => {
                    let mapped = self.plan.map(&told);
                    unfit.see(Some(&mapped));
                    keys.as_mut().map(|keys| keys.insert(mapped.key.clone()));
                    rows.push(mapped);
                    count += 1;
                }
                Frame::End(cursor) => break cursor,
                other => return Err(ReplicaError::Away(format!("within a snapshot: {other:?}"))),
            }
            if rows.len() >= STAGE_ROWS {
                store.stage(std::mem::take(&mut rows)).await?;
                self.shared.set(ReplicaState::Loading { rows: count, of });
            }
        };
        store.stage(rows).await?;
        self.shared.set(ReplicaState::Loading { rows: count, of });
        let mut removes = true;
        if let (Some(endpoint), Some(keys)) = (self.spec.startup.clone(), keys) {
            match self.fetch(&endpoint).await {
                Ok(listed) => {
                    // Of one key the last holds: a table has it once.
                    let more = listed.into_iter().filter(|row| !keys.contains(&row.key));
                    let more: BTreeMap<String, Mapped> = more.map(|row| (row.key.clone(), row)).collect();
                    store.stage(more.into_values().collect()).await?;
                }
                // Which rows are only in the list is not known: none goes.
                Err(reason) => {
                    removes = false;
                    self.shared.count(|counts| counts.reason = Some(format!("the list of the endpoint: {reason}")));
                }
            }
        }
        let position = Position::of(cursor);
        let applied = store.merge(position.clone(), bringing.position.take(), removes).await?;
        self.applied(count, unfit, applied);
        self.shared.count(|counts| counts.snapshots += 1);
        self.reconciled = Instant::now();
        self.following(&position);
        bringing.position = Some(position.cursor);
        Ok(Some(()))
    }

    /// Brings the endpoint's list to the table, as it is before the view is there. Whether it could be had.
    async fn startup(&mut self, store: &mut Store, first: bool) -> Result<bool, ReplicaError> {
        let Some(endpoint) = self.spec.startup.clone() else { return Ok(true) };
        match self.fetch(&endpoint).await {
            Ok(rows) => {
                let applied = store.list(rows, first).await?;
                self.shared.count(|counts| counts.listed += applied.put);
                Ok(true)
            }
            Err(reason) if reason.is_final() => Err(reason),
            Err(reason) => {
                self.shared.count(|counts| counts.reason = Some(format!("the list of the endpoint: {reason}")));
                Ok(false)
            }
        }
    }

    async fn fetch(&mut self, endpoint: &Endpoint) -> Result<Vec<Mapped>, ReplicaError> {
        let (key, list) = endpoint_paths(endpoint, &self.plan)?;
        let server = Server::new(&endpoint.url, self.spec.ca_file.as_deref()).await?;
        let mut headers = Vec::new();
        if let (Some(name), Some(file)) = (&endpoint.header, &endpoint.secret_file) {
            let name = name.parse::<HeaderName>();
            let name = name.map_err(|_| ReplicaError::Spec("the endpoint's header has no name of one".to_owned()))?;
            headers.push((name, secret(file).await?));
        }
        let body = server.get_whole(&server.own_path(), &headers, endpoint.timeout).await?;
        let strange = |what: &str| ReplicaError::Away(format!("the endpoint's answer is no list: {what}"));
        let answer: Value = serde_json::from_slice(&body).map_err(|error| strange(&error.to_string()))?;
        let items = at(&list, &answer).and_then(Value::as_array).ok_or_else(|| strange("there is none"))?;
        Ok(items.iter().filter_map(|item| self.plan.map_listed(&key, item)).collect())
    }
}

/// Where the key and the list are in an endpoint's answer.
fn endpoint_paths(endpoint: &Endpoint, plan: &Plan) -> Result<(JsonPath, JsonPath), ReplicaError> {
    let path = |what: &str, text: &str| {
        JsonPath::parse(text).map_err(|error| ReplicaError::Spec(format!("the endpoint's {what}, '{text}', {error}")))
    };
    if endpoint.header.is_some() != endpoint.secret_file.is_some() {
        return Err(ReplicaError::Spec("the endpoint needs header and secretFile together".to_owned()));
    }
    let key = path("key", endpoint.key.as_deref().unwrap_or(plan.key_column()))?;
    Ok((key, path("list", endpoint.list.as_deref().unwrap_or("$"))?))
}

/// Changes that came and are not in the table yet.
struct Bringing {
    /// Where the table is.
    position: Option<String>,
    /// The latest of each key, with its place in the order in which they came.
    pending: BTreeMap<String, (u64, Change)>,
    /// Where the table is with them; `None`: more is to come of the same position.
    cursor: Option<String>,
    /// Since when they wait.
    since: Option<Instant>,
    /// Changes that came so far.
    came: u64,
    /// Whether a snapshot was asked for, and did not come yet.
    anew: bool,
}

impl Bringing {
    fn take(&mut self, change: Change, cursor: Option<String>) {
        self.came += 1;
        self.pending.insert(change.key().to_owned(), (self.came, change));
        self.cursor = cursor;
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_whole(&self) -> bool {
        self.cursor.is_some()
    }

    fn is_due_at_all(&self) -> bool {
        self.is_whole() && self.since.is_some()
    }

    fn due(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now) + GATHER
    }
}
