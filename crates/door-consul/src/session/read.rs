//! What is read, and what an answer to it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::filter::CatalogService;
use catalog::{Check, Health, Node, Pair, Service, State, Touch};
use door::Catalogue;

use super::keys_read::Keys;
use super::sieve::{Sieve, Sight};
use crate::answers::{Content, News, Question};
use crate::codec::json::{Object, list, texts};
use crate::codec::{Endpoint, Fault, Params, shape};

/// A question of the catalogue. What it says of a service, node, key or session is in `name`.
pub(crate) struct Ask {
    catalogue: Catalogue,
    endpoint: Endpoint,
    name: String,
    sieve: Sieve,
    sight: Sight,
    keys: Keys,
}

/// The service that is always there: the node itself.
const ITSELF: &str = "consul";

impl Ask {
    /// A question, with what its parameters leave out.
    ///
    /// # Errors
    /// [`Fault`]: a parameter cannot be read, or a name is missing.
    pub(crate) fn of(
        catalogue: &Catalogue,
        sight: Sight,
        endpoint: Endpoint,
        name: String,
        params: &Params,
    ) -> Result<Self, Fault> {
        let sieve = match endpoint {
            Endpoint::HealthService | Endpoint::HealthConnect => Sieve::of::<Health>(params)?,
            Endpoint::CatalogService | Endpoint::CatalogConnect => Sieve::of::<CatalogService<'_>>(params)?,
            Endpoint::CatalogNodes | Endpoint::CatalogServices => Sieve::of::<Node>(params)?,
            Endpoint::CatalogNode | Endpoint::CatalogNodeServices => Sieve::of::<Service>(params)?,
            Endpoint::HealthNode | Endpoint::HealthChecks | Endpoint::HealthState => Sieve::of::<Check>(params)?,
            _ => Sieve::default(),
        };
        let keys = if endpoint == Endpoint::Key { Keys::of(params) } else { Keys::One };
        let name = if endpoint == Endpoint::EventList { params.text("name").to_owned() } else { name };
        let ask = Ask { catalogue: catalogue.clone(), endpoint, name, sieve, sight, keys };
        ask.check()?;
        Ok(ask)
    }

    /// Names the question. `rights` is which rights are in force.
    pub(crate) fn key(&self, rights: u64) -> String {
        // The name's length tells where it ends; what follows holds no text but the sieve's, at the end.
        let (endpoint, length) = (self.endpoint as u32, self.name.len());
        let (sight, keys, sieve) = (self.sight.key(rights), self.keys.key(), self.sieve.key());
        format!("{endpoint} {length} {}{} {sight}{} {keys}{sieve}", self.name, sight.len(), keys.len())
    }

    /// What is looked for before a question is asked: a name that must be there.
    ///
    /// # Errors
    /// 400, in the original's words.
    fn check(&self) -> Result<(), Fault> {
        let missing = match self.endpoint {
            Endpoint::HealthService | Endpoint::HealthConnect | Endpoint::HealthChecks => "Missing service name",
            Endpoint::CatalogService | Endpoint::CatalogConnect => "Missing service name",
            Endpoint::CatalogNode | Endpoint::CatalogNodeServices | Endpoint::HealthNode => "Missing node name",
            Endpoint::SessionNode => "Missing node name",
            Endpoint::SessionInfo => "Missing session",
            Endpoint::HealthState => "Missing check state",
            Endpoint::Key if !self.keys.is_many() => "Missing key name",
            _ => return Ok(()),
        };
        if self.name.is_empty() { Err(Fault::bad(missing)) } else { Ok(()) }
    }

    fn touches(&self) -> Vec<Touch> {
        match self.endpoint {
            Endpoint::HealthService | Endpoint::CatalogService | Endpoint::HealthChecks => {
                vec![Touch::service(&self.name)]
            }
            Endpoint::HealthConnect | Endpoint::CatalogConnect => {
                let mut touches = vec![Touch::Services, Touch::service(&self.name)];
                let names = self.catalogue.read(|state| meshed(state, &self.name));
                touches.extend(names.iter().map(|name| Touch::service(name)));
                touches
            }
            Endpoint::CatalogServices => vec![Touch::Services, Touch::Nodes],
            Endpoint::CatalogNodes => vec![Touch::Nodes],
            Endpoint::CatalogNode | Endpoint::CatalogNodeServices | Endpoint::HealthNode => {
                vec![Touch::node(&self.name)]
            }
            Endpoint::AgentService => vec![Touch::node(self.catalogue.node())],
            Endpoint::HealthState => vec![Touch::Checks],
            Endpoint::Key => vec![self.keys.touch(&self.name)],
            Endpoint::SessionInfo | Endpoint::SessionNode | Endpoint::SessionList => vec![Touch::Sessions],
            Endpoint::EventList => vec![Touch::Events],
            _ => Vec::new(),
        }
    }

    fn changed_in(&self, state: &State) -> u64 {
        match self.endpoint {
            Endpoint::HealthService | Endpoint::CatalogService => state.service_changed(&self.name),
            Endpoint::HealthConnect | Endpoint::CatalogConnect => {
                let names = meshed(state, &self.name);
                let newest = names.iter().map(|name| state.service_changed(name)).max().unwrap_or(0);
                newest.max(state.service_changed(&self.name)).max(state.services_changed())
            }
            Endpoint::HealthChecks => state.service_checks_changed(&self.name).max(state.service_changed(&self.name)),
            Endpoint::CatalogServices if self.sieve.takes_all_nodes() => state.services_changed(),
            Endpoint::CatalogServices => state.services_changed().max(state.nodes_changed()),
            Endpoint::CatalogNodes => state.nodes_changed(),
            Endpoint::CatalogNode | Endpoint::CatalogNodeServices => state.node_changed(&self.name),
            Endpoint::HealthNode => state.node_checks_changed(&self.name).max(state.node_changed(&self.name)),
            Endpoint::AgentService => state.node_changed(self.catalogue.node()),
            Endpoint::HealthState => state.checks_changed(),
            Endpoint::Key => self.keys.changed(state, &self.name),
            Endpoint::SessionInfo => state.session_changed(&self.name),
            Endpoint::SessionNode | Endpoint::SessionList => state.sessions_changed(),
            Endpoint::EventList => state.events_changed(),
            _ => 1,
        }
    }

    /// Looks at what holds, and up to where the answer may have changed by then.
    fn look<T>(&self, at: &mut u64, look: impl FnOnce(&State) -> T) -> T {
        self.catalogue.read(|state| {
            *at = self.changed_in(state);
            look(state)
        })
    }

    /// The instances of a service that are asked for, and whether some were left out that may not be seen.
    fn instances(&self, at: &mut u64) -> (Vec<Arc<Health>>, bool) {
        let connect = matches!(self.endpoint, Endpoint::HealthConnect | Endpoint::CatalogConnect);
        let shown = matches!(self.endpoint, Endpoint::HealthService | Endpoint::HealthConnect);
        let all: Vec<Arc<Health>> = self.look(at, |state| {
            if connect {
                return connected(state, &self.name);
            }
            state.instances(&self.name).iter().map(|(_, entry)| Arc::clone(&entry.value)).collect()
        });
        let whole = all.len();
        let mut left: Vec<_> = all;
        left.retain(|health| self.sight.service(&self.catalogue, &health.service.service));
        let filtered = left.len() < whole;
        left.retain(|health| if shown { self.sieve.health(health) } else { self.sieve.catalog(health) });
        (left, filtered)
    }

    fn services(&self, at: &mut u64) -> Content {
        let mut filtered = false;
        let mut all: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = self.look(at, |state| {
            let named = |service: catalog::ServiceView<'_>| {
                let tags: BTreeSet<Arc<str>> = if self.sieve.takes_all_nodes() {
                    service.tags().cloned().collect()
                } else {
                    let fitting = service.instances().iter().filter(|(_, entry)| self.sieve.fits(&entry.value.node));
                    let fitting: Vec<_> = fitting.map(|(_, entry)| &entry.value.service).collect();
                    if fitting.is_empty() {
                        return None;
                    }
                    fitting.iter().flat_map(|service| service.tags.iter().cloned()).collect()
                };
                Some((Arc::clone(service.name()), tags))
            };
            state.services().filter_map(named).collect()
        });
        all.retain(|name, _| {
            let seen = self.sight.service(&self.catalogue, name);
            filtered |= !seen;
            seen
        });
        if self.sieve.takes_all_nodes() {
            all.entry(ITSELF.into()).or_default();
        }
        let mut out = String::new();
        let mut object = Object::new(&mut out);
        for (name, tags) in &all {
            texts(object.key(name), tags);
        }
        object.end();
        Content { filtered, ..Content::json(out) }
    }

    fn nodes(&self, at: &mut u64) -> Content {
        let all: Vec<Arc<Node>> = self.look(at, |state| state.nodes().map(|node| Arc::clone(node.node())).collect());
        let (whole, mut left) = (all.len(), all);
        left.retain(|node| self.sight.node(&self.catalogue, &node.node));
        let filtered = left.len() < whole;
        left.retain(|node| self.sieve.node(node));
        let mut out = String::new();
        list(&mut out, &left, |out, node| shape::node(out, node));
        Content { filtered, ..Content::json(out) }
    }

    /// `{"Node":…,"Services":{…}}`, or with a list of services.
    fn node(&self, at: &mut u64) -> Content {
        let found = self.look(at, |state| {
            let node = state.node(&self.name)?;
            Some((Arc::clone(node.node()), node.instances().cloned().collect::<Vec<_>>()))
        });
        let found = found.filter(|(node, _)| self.sight.node(&self.catalogue, &node.node));
        let mut out = String::new();
        let Some((node, mut instances)) = found else {
            return Content::json(String::from("null"));
        };
        let whole = instances.len();
        instances.retain(|health| self.sight.service(&self.catalogue, &health.service.service));
        let filtered = instances.len() < whole;
        instances.retain(|health| self.sieve.service(health));
        let mut object = Object::new(&mut out);
        shape::node(object.key("Node"), &node);
        let services = object.key("Services");
        if self.endpoint == Endpoint::CatalogNode {
            let mut inner = Object::new(services);
            instances.iter().for_each(|health| shape::service(inner.key(&health.service.id), &health.service));
            inner.end();
        } else {
            list(services, &instances, |out, health| shape::service(out, &health.service));
        }
        object.end();
        Content { filtered, ..Content::json(out) }
    }

    fn checks(&self, at: &mut u64) -> Content {
        let name = self.name.as_str();
        let all: Vec<(Arc<Node>, Arc<Check>)> = self.look(at, |state| match self.endpoint {
            Endpoint::HealthNode => {
                let node = state.node(name);
                let all = node.iter().flat_map(|node| node.checks().map(|check| (node.node().clone(), check.clone())));
                all.collect()
            }
            Endpoint::HealthChecks => {
                let instances = state.instances(name).iter().map(|(_, entry)| &entry.value);
                let own = |health: &Arc<Health>| {
                    let node = Arc::clone(&health.node);
                    health.own_checks().map(move |check| (node.clone(), check.clone())).collect::<Vec<_>>()
                };
                instances.flat_map(own).collect()
            }
            _ => {
                let all = state.checks().filter(|(_, check)| name == "any" || check.status.as_str() == name);
                all.map(|(node, check)| (Arc::clone(node), Arc::clone(check))).collect()
            }
        });
        let (whole, mut left) = (all.len(), all);
        left.retain(|(_, check)| self.sight.check(&self.catalogue, check));
        let filtered = left.len() < whole;
        left.retain(|(node, check)| self.sieve.check(node, check));
        let mut out = String::new();
        list(&mut out, &left, |out, (_, check)| shape::check(out, check));
        Content { filtered, ..Content::json(out) }
    }

    fn sessions(&self, at: &mut u64) -> Content {
        let all: Vec<_> = self.look(at, |state| {
            let fits = |session: &&Arc<catalog::Session>| match self.endpoint {
                Endpoint::SessionInfo => *session.id == *self.name,
                Endpoint::SessionNode => session.node.eq_ignore_ascii_case(&self.name),
                _ => true,
            };
            state.sessions().filter(fits).cloned().collect()
        });
        let (whole, mut left) = (all.len(), all);
        left.retain(|session| self.sight.session(&self.catalogue, &session.id));
        let filtered = left.len() < whole;
        let mut out = String::new();
        list(&mut out, &left, |out, session| shape::session(out, session));
        Content { filtered, ..Content::json(out) }
    }

    fn events(&self, at: &mut u64) -> Content {
        let all: Vec<_> = self.look(at, |state| {
            let fits = |event: &&Arc<catalog::UserEvent>| self.name.is_empty() || *event.name == *self.name;
            state.events().filter(fits).cloned().collect()
        });
        let (whole, mut left) = (all.len(), all);
        left.retain(|event| self.sight.event(&self.catalogue, event));
        let filtered = left.len() < whole;
        let mut out = String::new();
        list(&mut out, &left, |out, event| shape::event(out, event));
        Content { filtered, ..Content::json(out) }
    }

    fn key_or_keys(&self, at: &mut u64) -> Result<Content, Fault> {
        if !self.keys.is_many() {
            if !self.sight.key_named(&self.catalogue, &self.name) {
                return Err(Fault::denied());
            }
            let found = self.look(at, |state| state.key(&self.name).map(|entry| Arc::clone(&entry.value)));
            return Ok(self.keys.one(found));
        }
        let all: Vec<Arc<Pair>> = self.look(at, |state| state.keys(&self.name).cloned().collect());
        let (whole, mut left) = (all.len(), all);
        left.retain(|pair| self.sight.key_named(&self.catalogue, &pair.key));
        let filtered = left.len() < whole;
        Ok(Content { filtered, ..self.keys.many(&left, &self.name) })
    }

    fn agent_service(&self, at: &mut u64) -> Result<Content, Fault> {
        let node = Arc::clone(self.catalogue.node());
        let found = self.look(at, |state| state.instance(&node, &self.name).cloned());
        let found = found.filter(|health| self.sight.service(&self.catalogue, &health.service.service));
        let unknown = || Fault::not_found(format!("unknown service ID: {}", crate::codec::shown(&self.name)));
        let health = found.ok_or_else(unknown)?;
        let mut plain = String::new();
        shape::agent_service(&mut plain, &health.service, self.catalogue.datacenter(), None);
        let hash = crate::answers::digest(plain.as_bytes());
        let mut out = String::new();
        shape::agent_service(&mut out, &health.service, self.catalogue.datacenter(), Some(&hash));
        Ok(Content { hash: Some(hash), ..Content::json(out) })
    }
}

impl Question for Ask {
    fn changed(&self) -> u64 {
        self.catalogue.read(|state| self.changed_in(state))
    }

    fn answer(&self) -> Result<(u64, Content), Fault> {
        let mut at = 1;
        self.content(&mut at).map(|content| (at, content))
    }

    fn register(&self) -> News {
        Box::pin(self.catalogue.wait(&self.touches()))
    }
}

impl Ask {
    fn content(&self, at: &mut u64) -> Result<Content, Fault> {
        Ok(match self.endpoint {
            Endpoint::HealthService | Endpoint::HealthConnect => {
                let (instances, filtered) = self.instances(at);
                let mut out = String::new();
                list(&mut out, &instances, |out, health| shape::health(out, health));
                Content { filtered, ..Content::json(out) }
            }
            Endpoint::CatalogService | Endpoint::CatalogConnect => {
                let (instances, filtered) = self.instances(at);
                let mut out = String::new();
                list(&mut out, &instances, |out, health| shape::catalog_service(out, health));
                Content { filtered, ..Content::json(out) }
            }
            Endpoint::CatalogServices => self.services(at),
            Endpoint::CatalogNodes => self.nodes(at),
            Endpoint::CatalogNode | Endpoint::CatalogNodeServices => self.node(at),
            Endpoint::HealthNode | Endpoint::HealthChecks | Endpoint::HealthState => self.checks(at),
            Endpoint::AgentService => self.agent_service(at)?,
            Endpoint::Key => self.key_or_keys(at)?,
            Endpoint::SessionInfo | Endpoint::SessionNode | Endpoint::SessionList => self.sessions(at),
            Endpoint::EventList => self.events(at),
            _ => return Err(Fault::not_found("")),
        })
    }
}

/// The services that stand in for another in a mesh: their instances are proxies that lead to it.
pub(crate) fn meshed(state: &State, name: &str) -> Vec<Arc<str>> {
    // A service's instances are proxies, or none of them is.
    let leads = |service: &catalog::ServiceView<'_>| {
        service.instances().iter().next().is_some_and(|(_, entry)| leads_to(&entry.value, name))
    };
    state.services().filter(leads).map(|service| Arc::clone(service.low())).collect()
}

/// The instances that are reached by mesh: of the service itself those that speak it, and the proxies that lead to it.
fn connected(state: &State, name: &str) -> Vec<Arc<Health>> {
    let instances =
        |name: &str| state.instances(name).iter().map(|(_, entry)| Arc::clone(&entry.value)).collect::<Vec<_>>();
    let mut all = instances(name);
    all.retain(|health| speaks_mesh(health));
    for service in meshed(state, name) {
        let mut proxies = instances(&service);
        proxies.retain(|health| leads_to(health, name));
        all.extend(proxies);
    }
    all
}

/// Whether an instance is a proxy that leads to a service.
pub(crate) fn leads_to(health: &Health, name: &str) -> bool {
    let Some(proxy) = health.service.proxy.as_ref().filter(|_| &*health.service.kind == "connect-proxy") else {
        return false;
    };
    let settings: serde_json::Value = serde_json::from_str(&proxy.0).unwrap_or_default();
    let destination = settings.get("DestinationServiceName").and_then(serde_json::Value::as_str);
    destination.is_some_and(|destination| destination.eq_ignore_ascii_case(name))
}

/// Whether an instance speaks mesh itself.
pub(crate) fn speaks_mesh(health: &Health) -> bool {
    let settings = health.service.connect.as_ref();
    let settings: Option<serde_json::Value> = settings.and_then(|connect| serde_json::from_str(&connect.0).ok());
    settings.and_then(|settings| settings.get("Native")?.as_bool()).unwrap_or(false)
}
