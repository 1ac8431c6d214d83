//! What streams are of: the instances of a service, those reached by mesh, the names of all services.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::{Health, State, Touch};
use door::Catalogue;
use parking_lot::Mutex;

use crate::answers::News;
use crate::session::{Sieve, Sight, leads_to, meshed, speaks_mesh};

/// One thing of a topic.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// An instance is there.
    Put(Arc<Health>),
    /// An instance is not there, or not wanted any more.
    Removed {
        /// The service.
        service: Arc<str>,
        /// Its node.
        node: Arc<str>,
        /// Its id.
        id: Arc<str>,
    },
    /// A service is there, or not any more.
    Name {
        /// Its name.
        name: Arc<str>,
        /// Whether it is there.
        there: bool,
    },
}

/// What happened, and where.
pub(crate) type Told = (u64, Item);

/// Why what happened since a position cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// What is followed.
pub(crate) enum Topic {
    /// The instances of a service.
    Health(Instances),
    /// The instances by which a service is reached by mesh.
    Connect {
        /// What all of them have.
        of: Instances,
        /// The services, in lower case, that they were ever of.
        names: Mutex<BTreeSet<Arc<str>>>,
    },
    /// The names of all services.
    List {
        /// The catalogue.
        catalogue: Catalogue,
        /// What may be seen.
        sight: Sight,
        /// What was last told, and at which position.
        known: Mutex<(u64, BTreeSet<Arc<str>>)>,
    },
}

/// Instances of a service, as a reader wants and may see them.
pub(crate) struct Instances {
    /// The catalogue.
    pub(crate) catalogue: Catalogue,
    /// The service.
    pub(crate) name: Arc<str>,
    /// What is left out.
    pub(crate) sieve: Sieve,
    /// What may be seen.
    pub(crate) sight: Sight,
}

impl Instances {
    /// What is told of an instance; `None`: it is one of a service that may not be seen, so neither may its going.
    fn item(&self, health: &Arc<Health>, fits: bool) -> Option<Item> {
        let service = &health.service;
        if !self.may_see(&service.service) {
            return None;
        }
        if fits && self.sieve.health(health) {
            return Some(Item::Put(Arc::clone(health)));
        }
        Some(Item::Removed {
            service: Arc::clone(&service.service),
            node: Arc::clone(&health.node.node),
            id: Arc::clone(&service.id),
        })
    }

    fn may_see(&self, service: &str) -> bool {
        self.sight.service(&self.catalogue, service)
    }
}

impl Topic {
    /// Registers for what may change it, from now on.
    pub(crate) fn register(&self) -> News {
        match self {
            Topic::Health(of) => Box::pin(of.catalogue.wait(&[Touch::service(&of.name)])),
            Topic::Connect { of, names } => {
                let mut touches = vec![Touch::Services, Touch::service(&of.name)];
                touches.extend(names.lock().iter().map(|name| Touch::service(name)));
                Box::pin(of.catalogue.wait(&touches))
            }
            Topic::List { catalogue, .. } => Box::pin(catalogue.wait(&[Touch::Services])),
        }
    }

    /// The position up to which it may have changed: cheap, never falls, never 0.
    pub(crate) fn changed(&self) -> u64 {
        match self {
            Topic::Health(of) => of.catalogue.read(|state| state.service_changed(&of.name)),
            Topic::Connect { of, names } => of.catalogue.read(|state| connect_changed(state, of, names)),
            Topic::List { catalogue, .. } => catalogue.read(State::services_changed),
        }
    }

    /// All that is there, and where.
    pub(crate) fn snapshot(&self) -> (u64, Vec<Item>) {
        match self {
            Topic::Health(of) => {
                let (at, all) = of.catalogue.read(|state| (state.service_changed(&of.name), all(state, &of.name)));
                (at, puts(all.iter().filter_map(|health| of.item(health, true))))
            }
            Topic::Connect { of, names } => {
                let (at, all) = of.catalogue.read(|state| {
                    let at = connect_changed(state, of, names);
                    let of_all = names.lock().iter().flat_map(|name| all(state, name)).collect::<Vec<_>>();
                    (at, of_all)
                });
                (at, puts(all.iter().filter_map(|health| of.item(health, fits(health, &of.name)))))
            }
            Topic::List { catalogue, sight, known } => {
                let (at, names) = list(catalogue, sight);
                let items = names.iter().map(|name| Item::Name { name: Arc::clone(name), there: true }).collect();
                let mut known = known.lock();
                if known.0 == 0 {
                    *known = (at, names);
                }
                (at, items)
            }
        }
    }

    /// What happened behind a position, in its order, and up to where; at most so much, but for the last position.
    ///
    /// # Errors
    /// [`Forgotten`]: a snapshot is needed.
    pub(crate) fn since(&self, after: u64, max: usize) -> Result<(u64, Vec<Told>), Forgotten> {
        match self {
            Topic::Health(of) => {
                let (upto, raw) = of.catalogue.read(|state| table_since(state, &of.name, after, max))?;
                Ok((upto, raw.into_iter().filter_map(|raw| raw.told(of, |_| true)).collect()))
            }
            Topic::Connect { of, names } => {
                let (upto, mut raw) = of.catalogue.read(|state| {
                    let upto = connect_changed(state, of, names);
                    let mut raw = Vec::new();
                    for name in names.lock().iter() {
                        raw.extend(table_since(state, name, after, usize::MAX)?.1);
                    }
                    Ok((upto, raw))
                })?;
                raw.sort_by_key(|raw| raw.at);
                Ok((upto, raw.into_iter().filter_map(|raw| raw.told(of, |health| fits(health, &of.name))).collect()))
            }
            Topic::List { catalogue, sight, known } => {
                let mut known = known.lock();
                if known.0 != after {
                    return Err(Forgotten);
                }
                let (at, names) = list(catalogue, sight);
                let came = names.difference(&known.1).map(|name| (name, true));
                let told = came.chain(known.1.difference(&names).map(|name| (name, false)));
                let told = told.map(|(name, there)| (at, Item::Name { name: Arc::clone(name), there })).collect();
                *known = (at, names);
                Ok((at, told))
            }
        }
    }
}

/// A change of a table, copied out of it.
struct Raw {
    at: u64,
    service: Arc<str>,
    node: Arc<str>,
    id: Arc<str>,
    health: Option<Arc<Health>>,
}

impl Raw {
    fn told(self, of: &Instances, fits: impl Fn(&Arc<Health>) -> bool) -> Option<Told> {
        let Raw { at, service, node, id, health } = self;
        let item = match &health {
            Some(health) => of.item(health, fits(health))?,
            None if of.may_see(&service) => Item::Removed { service, node, id },
            None => return None,
        };
        Some((at, item))
    }
}

fn table_since(state: &State, name: &str, after: u64, max: usize) -> Result<(u64, Vec<Raw>), Forgotten> {
    // What is ahead of all that there is was said by another history.
    if after > state.position().max(state.service_changed(name)) {
        return Err(Forgotten);
    }
    let news = state.instances(name).since(after, max).map_err(|_| Forgotten)?;
    let service: Arc<str> = name.into();
    let raw = |change: view::Change<'_, catalog::InstanceKey, Arc<Health>>| {
        let (at, key) = (change.position(), change.key());
        let health = if let view::Change::Put(_, entry) = change { Some(Arc::clone(&entry.value)) } else { None };
        Raw { at, service: Arc::clone(&service), node: Arc::clone(&key.node), id: Arc::clone(&key.id), health }
    };
    Ok((news.upto, news.changes.into_iter().map(raw).collect()))
}

fn all(state: &State, name: &str) -> Vec<Arc<Health>> {
    state.instances(name).iter().map(|(_, entry)| Arc::clone(&entry.value)).collect()
}

fn puts(items: impl Iterator<Item = Item>) -> Vec<Item> {
    items.filter(|item| matches!(item, Item::Put(_))).collect()
}

fn fits(health: &Health, name: &str) -> bool {
    leads_to(health, name) || (speaks_mesh(health) && health.service.service.eq_ignore_ascii_case(name))
}

/// Learns which services the instances are of, and says up to where they may have changed.
fn connect_changed(state: &State, of: &Instances, names: &Mutex<BTreeSet<Arc<str>>>) -> u64 {
    let mut names = names.lock();
    names.insert(of.name.to_lowercase().into());
    names.extend(meshed(state, &of.name));
    names.iter().map(|name| state.service_changed(name)).max().unwrap_or(1)
}

fn list(catalogue: &Catalogue, sight: &Sight) -> (u64, BTreeSet<Arc<str>>) {
    let (at, mut names) = catalogue.read(|state| {
        let names: BTreeSet<Arc<str>> = state.services().map(|service| Arc::clone(service.name())).collect();
        (state.services_changed(), names)
    });
    names.retain(|name| sight.service(catalogue, name));
    (at, names)
}
