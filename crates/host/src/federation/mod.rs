//! Facts between sites: everything joined that a group, its peers and its subscriptions need.
//!
//! What is declared is followed: groups open their streams and listeners, peers get a consumer and a hand
//! that pushes, subscriptions a consumer and a machine that runs plugins; what is taken out comes to rest.
//! The rules are in `federation` and `plan`, the bytes in `link`, the processes in `plugin`; here is what
//! passes between them and the journal.
//!
//! # Invariants
//! - What runs is what is declared: a change is a stop and a start of what it touches, and of nothing else.
//! - Whatever is to survive a restart is in the journal: facts in their group's stream, how far each peer
//!   and subscription came in its consumer, parts and runs in the ledger.

mod ask;
mod doctor;
mod dynamic;
pub(crate) mod feed;
mod group;
mod intake;
mod keys;
mod ledger;
mod listen;
mod meters;
mod peer;
mod reaction;
mod tell;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use door::Port;
use journal::{ConsumerConfig, ConsumerError, Journal};
use link::{Key, KeyRing, ServerTls};
use parking_lot::RwLock;
use plan::{Declared, GroupListen, GroupSpec, PluginSpec, ResolvedPeer, SubscriptionSpec};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::dynamic::Dynamic;
use self::group::{Group, Surroundings};
use self::intake::{Everywhere, Intake};
use self::ledger::Ledger;
pub(crate) use self::meters::Meters;
use self::peer::Peer;
use self::reaction::Reacting;

/// Plugins that run at a time: each is a process with memory of its own.
const PLUGINS_MAX: usize = 16;

/// How long what runs may take to come to rest.
const REST: Duration = Duration::from_secs(5);

/// How often what waits for peers is measured.
const MEASURE: Duration = Duration::from_secs(2);

/// How long a request waits for what was declared just before.
const TAKE_UP: Duration = Duration::from_secs(5);

/// How long to wait before what could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What the federation stands on.
pub(crate) struct Ground {
    /// The node's name.
    pub(crate) node: String,
    /// Its journal.
    pub(crate) journal: Arc<dyn Journal>,
    /// Its port.
    pub(crate) port: Port,
    /// What it counts with.
    pub(crate) meters: Arc<Meters>,
    /// Where the effective configuration is written.
    pub(crate) effective: Option<PathBuf>,
    /// What is declared, as it changes.
    pub(crate) declared: watch::Receiver<Arc<Declared>>,
}

/// A group as it runs.
struct Running {
    group: Arc<Group>,
    intake: Arc<Intake>,
    peers: BTreeMap<String, Arc<Peer>>,
    end: CancellationToken,
    /// The listener that is open, and what ends it.
    listener: Option<Listener>,
}

/// A listener as it runs, and what of its declaration it runs by.
struct Listener {
    spec: GroupListen,
    tls: Option<Arc<ServerTls>>,
    end: CancellationToken,
}

/// A subscription as it runs, and what of its declaration it runs by.
struct Subscribed {
    spec: SubscriptionSpec,
    plugin: PluginSpec,
    reacting: Arc<Reacting>,
    end: CancellationToken,
}

/// See the module.
pub(crate) struct Federation {
    journal: Arc<dyn Journal>,
    port: Port,
    meters: Arc<Meters>,
    ledger: Arc<Ledger>,
    dynamic: Arc<Dynamic>,
    declared: watch::Receiver<Arc<Declared>>,
    /// What was taken up last.
    taken_up: watch::Sender<Arc<Declared>>,
    groups: RwLock<BTreeMap<String, Running>>,
    subscriptions: RwLock<BTreeMap<String, Subscribed>>,
    everywhere: Everywhere,
    plugins: Arc<Semaphore>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Federation {
    /// Opens what is declared now, and follows it. Must be called inside the executor.
    pub(crate) async fn open(ground: Ground) -> Arc<Self> {
        let Ground { node, journal, port, meters, effective, declared } = ground;
        let ledger = Arc::new(Ledger::new(&node, &journal, &port));
        let dynamic = Dynamic::open(Arc::clone(&ledger), Arc::clone(&meters), port.clone(), effective).await;
        let everywhere = Everywhere::new(&node, &port, &meters);
        let federation = Arc::new(Federation {
            everywhere,
            journal,
            port,
            meters,
            ledger,
            dynamic,
            declared: declared.clone(),
            taken_up: watch::channel(Arc::default()).0,
            groups: RwLock::default(),
            subscriptions: RwLock::default(),
            plugins: Arc::new(Semaphore::new(PLUGINS_MAX)),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        });
        let current = declared.borrow().clone();
        let whole = federation.take_up(&current).await;
        let following = Arc::clone(&federation);
        federation.tasks.spawn(async move { following.follow(declared, whole).await });
        let measuring = Arc::clone(&federation);
        federation.tasks.spawn(async move { measuring.measure().await });
        let keeping = Arc::clone(&federation.dynamic);
        let end = federation.end.clone();
        federation.tasks.spawn(async move { keeping.keep(end).await });
        federation
    }

    /// Puts what waits for each peer into the gauges, now and then.
    async fn measure(&self) {
        loop {
            tokio::select! {
                () = self.end.cancelled() => return,
                () = tokio::time::sleep(MEASURE) => {}
            }
            let peers: Vec<Arc<Peer>> =
                self.groups.read().values().flat_map(|running| running.peers.values().cloned()).collect();
            for peer in peers {
                peer.measure().await;
            }
        }
    }

    async fn follow(self: Arc<Self>, mut declared: watch::Receiver<Arc<Declared>>, mut whole: bool) {
        loop {
            let again = async {
                if whole {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(AGAIN).await;
            };
            tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                changed = declared.changed() => if changed.is_err() { return },
                () = again => {}
            }
            let current = declared.borrow_and_update().clone();
            whole = self.take_up(&current).await;
        }
    }

    /// Has what runs be what is declared; whether all of it does.
    async fn take_up(&self, declared: &Arc<Declared>) -> bool {
        self.dynamic.declare(Arc::clone(declared));
        if !declared.groups().is_empty()
            && let Err(error) = self.ledger.need().await
        {
            error!(%error, "the ledger of the federation cannot be made");
            return false;
        }
        let mut whole = self.take_up_groups(declared).await;
        whole &= self.take_up_subscriptions(declared).await;
        self.taken_up.send_replace(Arc::clone(declared));
        whole
    }

    /// Waits until what is declared now is taken up: who declares finds it done.
    async fn up_to_date(&self) {
        let current = self.declared.borrow().clone();
        let mut taken_up = self.taken_up.subscribe();
        let same = taken_up.wait_for(|taken| Arc::ptr_eq(taken, &current));
        // What takes longer is told as it is; the sender lives as long as this.
        let _waited = tokio::time::timeout(TAKE_UP, same).await;
    }

    /// Waits until what was told is in the tables: who asks finds what he told.
    async fn settled(&self) {
        let groups: Vec<Arc<Group>> = self.groups.read().values().map(|running| Arc::clone(&running.group)).collect();
        for group in groups {
            // What takes longer is told as it is.
            let _waited = tokio::time::timeout(TAKE_UP, group.up_to_date()).await;
        }
    }

    async fn take_up_groups(&self, declared: &Declared) -> bool {
        let mut whole = true;
        let gone: Vec<String> =
            self.groups.read().keys().filter(|name| !declared.groups().contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(running) = self.groups.write().remove(&name) {
                running.end.cancel();
                info!(group = name, "the group is no more; its facts stay");
            }
        }
        for (name, spec) in declared.groups() {
            let known = self.groups.read().get(name).map(|running| Arc::clone(&running.group));
            let group = match known {
                Some(group) => {
                    if **group.spec.load() != *spec {
                        group.change(spec.clone()).await;
                    }
                    group
                }
                None => match self.open_group(name, spec).await {
                    Some(group) => group,
                    None => {
                        whole = false;
                        continue;
                    }
                },
            };
            whole &= self.take_up_peers(&group, declared.peers_of(name)).await;
        }
        self.take_everywhere();
        whole
    }

    /// Has the HTTP door take for the groups and keys that there are now.
    fn take_everywhere(&self) {
        let groups = self.groups.read();
        let intakes = groups.iter().map(|(name, running)| (name.clone(), Arc::clone(&running.intake))).collect();
        self.everywhere.set(intakes);
    }

    async fn open_group(&self, name: &str, spec: &GroupSpec) -> Option<Arc<Group>> {
        let around = Surroundings {
            journal: Arc::clone(&self.journal),
            port: self.port.clone(),
            dynamic: Arc::clone(&self.dynamic),
            meters: Arc::clone(&self.meters),
        };
        let group = match Group::open(name, spec.clone(), &self.ledger, around).await {
            Ok(group) => group,
            Err(error) => {
                error!(group = name, %error, "the group cannot be opened; it is tried again");
                return None;
            }
        };
        let end = self.end.child_token();
        self.tasks.spawn(Arc::clone(&group).follow(end.clone()));
        let intake = Arc::new(Intake::new(
            Arc::clone(&group),
            Arc::clone(&self.ledger),
            self.port.clone(),
            Arc::clone(&self.meters),
        ));
        let running = Running { group: Arc::clone(&group), intake, peers: BTreeMap::new(), end, listener: None };
        self.groups.write().insert(name.to_owned(), running);
        info!(group = name, node = spec.node_name, "the group is open");
        Some(group)
    }

    /// Peers, keys and listener of a group.
    async fn take_up_peers(&self, group: &Arc<Group>, resolved: Vec<ResolvedPeer>) -> bool {
        let spec = group.spec.load_full();
        let name = group.name.clone();
        let mut whole = self.take_up_keys(group, &spec, &resolved).await;
        let wanted: BTreeMap<&str, &ResolvedPeer> =
            resolved.iter().filter(|peer| peer.endpoint.is_some()).map(|peer| (peer.name.as_str(), peer)).collect();
        let gone: Vec<Arc<Peer>> = {
            let mut groups = self.groups.write();
            let Some(running) = groups.get_mut(&name) else { return whole };
            let over = |peer: &Arc<Peer>| wanted.get(peer.name.as_str()).is_none_or(|wanted| !peer.is(wanted, &spec));
            let names: Vec<String> =
                running.peers.values().filter(|peer| over(peer)).map(|peer| peer.name.clone()).collect();
            names.iter().filter_map(|name| running.peers.remove(name)).collect()
        };
        for peer in gone {
            peer.end().await;
            if !wanted.contains_key(peer.name.as_str()) {
                peer.forget().await;
                self.meters.peer_gone(&name, &peer.name);
            }
        }
        for (peer_name, wanted) in wanted {
            let known = self.groups.read().get(&name).is_some_and(|running| running.peers.contains_key(peer_name));
            if known {
                continue;
            }
            let Some(end) = self.groups.read().get(&name).map(|running| running.end.child_token()) else { continue };
            match Peer::open(group, wanted, &self.ledger, &self.meters, &self.port, end).await {
                Ok(peer) => {
                    self.tasks.spawn(Arc::clone(&peer).run());
                    if let Some(running) = self.groups.write().get_mut(&name) {
                        running.peers.insert(peer_name.to_owned(), peer);
                    }
                }
                Err(error) => {
                    error!(group = name, peer = peer_name, %error, "the peer cannot be pushed to; it is tried again");
                    whole = false;
                }
            }
        }
        whole & self.take_up_listener(group, &spec).await
    }

    /// Reads the group's keys. Where they cannot be read, the old ones stay, and a new group takes nothing.
    async fn take_up_keys(&self, group: &Arc<Group>, spec: &GroupSpec, peers: &[ResolvedPeer]) -> bool {
        let (name, read, resolved) = (group.name.clone(), spec.clone(), peers.to_vec());
        let ring = tokio::task::spawn_blocking(move || keys::ring(&name, &read, &resolved)).await;
        let ring = match ring {
            Ok(Ok(ring)) => ring,
            Ok(Err(error)) => {
                error!(group = group.name, %error, "the group's keys cannot be read; the old ones stay in force");
                return false;
            }
            Err(error) => {
                error!(group = group.name, %error, "the group's keys were not read");
                return false;
            }
        };
        if let Some(running) = self.groups.read().get(&group.name) {
            running.intake.set_keys(Arc::new(ring));
        }
        true
    }

    async fn take_up_listener(&self, group: &Arc<Group>, spec: &GroupSpec) -> bool {
        let wanted = spec.listen_at().map(|_| spec.listen.clone());
        let (end, intake) = {
            let mut groups = self.groups.write();
            let Some(running) = groups.get_mut(&group.name) else { return true };
            if running.listener.as_ref().map(|listener| &listener.spec) == wanted.as_ref() {
                return true;
            }
            if let Some(before) = running.listener.take() {
                before.end.cancel();
            }
            (running.end.child_token(), Arc::clone(&running.intake))
        };
        let Some(listen) = wanted else { return true };
        match listen::open(spec, intake, &self.tasks, end.clone()).await {
            Ok(listen::Open { address, tls }) => {
                info!(group = group.name, %address, "the group listens");
                if let Some(running) = self.groups.write().get_mut(&group.name) {
                    running.listener = Some(Listener { spec: listen, tls, end });
                }
                true
            }
            Err(error) => {
                error!(group = group.name, %error, "the group cannot listen; it is tried again");
                false
            }
        }
    }

    async fn take_up_subscriptions(&self, declared: &Declared) -> bool {
        let wanted: BTreeMap<&str, (&SubscriptionSpec, &PluginSpec)> = declared
            .subscriptions()
            .iter()
            .filter_map(|(name, spec)| {
                let plugin = declared.plugins().get(&spec.trigger.plugin_ref)?;
                Some((name.as_str(), (spec, plugin)))
            })
            .collect();
        let over = |name: &str, running: &Subscribed| {
            wanted.get(name).is_none_or(|(spec, plugin)| **spec != running.spec || **plugin != running.plugin)
        };
        let gone: Vec<(String, Subscribed)> = {
            let mut subscriptions = self.subscriptions.write();
            let names: Vec<String> = subscriptions
                .iter()
                .filter(|(name, running)| over(name, running))
                .map(|(name, _)| name.clone())
                .collect();
            names.into_iter().filter_map(|name| subscriptions.remove_entry(&name)).collect()
        };
        for (name, running) in gone {
            running.end.cancel();
            running.reacting.ended().await;
            if !wanted.contains_key(name.as_str()) {
                running.reacting.forget().await;
            }
        }
        let mut whole = true;
        for (name, (spec, plugin)) in wanted {
            if self.subscriptions.read().contains_key(name) {
                continue;
            }
            let group = self.groups.read().get(&spec.group_ref).map(|running| Arc::clone(&running.group));
            let Some(group) = group else {
                whole &= !declared.groups().contains_key(&spec.group_ref);
                continue;
            };
            let end = self.end.child_token();
            match self.react(name, spec, plugin, group, end.clone()).await {
                Ok(reacting) => {
                    let running = Subscribed { spec: spec.clone(), plugin: plugin.clone(), reacting, end };
                    self.subscriptions.write().insert(name.to_owned(), running);
                }
                Err(error) => {
                    error!(subscription = name, %error, "the subscription cannot be opened; it is tried again");
                    whole = false;
                }
            }
        }
        whole
    }

    async fn react(
        &self,
        name: &str,
        spec: &SubscriptionSpec,
        plugin: &PluginSpec,
        group: Arc<Group>,
        end: CancellationToken,
    ) -> Result<Arc<Reacting>, journal::ConsumerError> {
        let around = reaction::Surroundings {
            journal: Arc::clone(&self.journal),
            port: self.port.clone(),
            ledger: Arc::clone(&self.ledger),
            dynamic: Arc::clone(&self.dynamic),
            meters: Arc::clone(&self.meters),
            plugins: Arc::clone(&self.plugins),
            declared: self.declared.clone(),
        };
        let reacting = Reacting::open(name, spec, plugin, group, around, end).await?;
        self.tasks.spawn(Arc::clone(&reacting).run());
        Ok(reacting)
    }

    /// The files of secrets and certificates, whose change is to be noticed.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let declared = self.declared.borrow().clone();
        let peers = declared.groups().keys().flat_map(|name| declared.peers_of(name));
        let peers = peers.flat_map(|peer| [peer.tls.ca_file, peer.tls.cert_file, peer.tls.key_file]);
        let peers = peers.filter(|file| !file.is_empty()).map(PathBuf::from);
        let secrets = declared.groups().iter().flat_map(|(name, spec)| keys::files(spec, &declared.peers_of(name)));
        let tls = declared.groups().values().filter_map(|spec| spec.listen.tls.as_ref());
        let tls = tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
        secrets.chain(tls.filter(|file| !file.is_empty()).map(PathBuf::from)).chain(peers).collect()
    }

    /// Reads secrets and certificates again. Blocks on files.
    pub(crate) fn reload(&self) {
        let declared = self.declared.borrow().clone();
        for (name, running) in self.groups.read().iter() {
            if let Some(tls) = running.listener.as_ref().and_then(|listener| listener.tls.as_ref())
                && let Err(error) = tls.reload()
            {
                error!(group = name, %error, "the group's certificate cannot be reloaded; the old one stays in force");
            }
        }
        for (name, spec) in declared.groups() {
            let peers = declared.peers_of(name);
            match keys::ring(name, spec, &peers) {
                Ok(ring) => self.rekey(name, ring),
                Err(error) => {
                    error!(group = name, %error, "the group's keys cannot be reloaded; the old ones stay in force");
                    continue;
                }
            }
            for peer in &peers {
                let running = self.groups.read().get(name).and_then(|running| running.peers.get(&peer.name).cloned());
                if let Some(Err(error)) = running.as_ref().map(|running| running.reload_tls()) {
                    error!(group = name, peer = peer.name, %error, "the peer's certificates cannot be reloaded");
                }
                match (keys::signing(name, spec, peer), running) {
                    (Ok(Some(key)), Some(running)) => running.set_key(key),
                    (Err(error), _) => {
                        error!(group = name, peer = peer.name, %error, "the peer's key cannot be reloaded")
                    }
                    _ => {}
                }
            }
        }
    }

    fn rekey(&self, group: &str, ring: KeyRing) {
        if let Some(running) = self.groups.read().get(group) {
            let before = running.intake.ring();
            let same = |one: &Key, other: &Key| one.binding == other.binding && one.secret == other.secret;
            let (old, new) = (before.accepted(), ring.accepted());
            let changed = old.len() != new.len() || !old.iter().zip(new).all(|(old, new)| same(old, new));
            running.intake.set_keys(Arc::new(ring));
            if changed {
                info!(group, "keys reloaded");
            }
        }
        self.take_everywhere();
    }

    /// Brings everything to rest.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        if tokio::time::timeout(REST, self.tasks.wait()).await.is_err() {
            warn!("what the federation runs did not come to rest within {REST:?}");
        }
    }
}

/// The name of a consumer: what is no letter, digit, `-` or `_` becomes `_XX`, in hex.
fn consumer_name(kind: &str, name: &str) -> String {
    let stream = federation::stored::stream_name(name);
    format!("{kind}_{}", stream.strip_prefix(federation::stored::STREAM_PREFIX).unwrap_or(&stream))
}

/// Makes a consumer, or has it be what is declared now.
async fn need_consumer(journal: &Arc<dyn Journal>, stream: &str, config: ConsumerConfig) -> Result<(), ConsumerError> {
    match journal.consumer_info(stream, &config.name).await {
        Ok(found) if found.config == config => Ok(()),
        Ok(_) => journal.consumer_update(stream, config).await.map(|_| ()),
        Err(ConsumerError::NotFound { .. }) => journal.consumer_create(stream, config).await.map(|_| ()),
        Err(error) => Err(error),
    }
}
