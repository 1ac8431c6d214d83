//! Looks into the catalogue for an answer, in the name of whom the door asks for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{Health, State, Status, node_subject};
use door::{Catalogue, Principal};
use parking_lot::Mutex;

use crate::answer::{Found, Owner, Want};
use crate::limits::{ADDRESSES_MAX, NAMES_MAX, REVERSE_SHARE};
use crate::records::Chance;

/// Looks into the catalogue.
pub(super) struct Finder {
    pub catalogue: Catalogue,
    /// In whose name.
    pub token: Option<String>,
    owners: Mutex<Option<Arc<Owners>>>,
}

/// Who has which address, at a position. Made only when somebody asks.
struct Owners {
    position: u64,
    made: Instant,
    took: Duration,
    of: HashMap<IpAddr, Vec<Owner>>,
}

impl Finder {
    pub fn new(catalogue: Catalogue, token: Option<String>) -> Self {
        Finder { catalogue, token, owners: Mutex::default() }
    }

    /// What is wanted, as it is now.
    pub fn find(&self, want: &Want, seed: u64) -> Found {
        if !self.catalogue.is_ready() {
            return Found::Unready;
        }
        let Ok(who) = self.catalogue.port().authenticate(self.token.as_deref()) else { return Found::Forbidden };
        match want {
            Want::Service { name, tag, only_passing } => {
                if !self.catalogue.may_read(&who, name) {
                    return Found::Service { instances: Vec::new(), more: false };
                }
                self.catalogue.read(|state| instances(state, name, tag.as_deref(), *only_passing, seed))
            }
            Want::Node(name) => {
                if !self.may_read_node(&who, name) {
                    return Found::Node(None);
                }
                Found::Node(self.catalogue.read(|state| state.node(name).map(|node| Arc::clone(node.node()))))
            }
            Want::Owners(ip) => {
                let owners = self.owners();
                let known = owners.of.get(ip).map(Vec::as_slice).unwrap_or_default();
                let visible = known.iter().filter(|owner| self.may_see(&who, owner));
                Found::Owners(visible.take(NAMES_MAX).cloned().collect())
            }
        }
    }

    fn may_read_node(&self, who: &Principal, node: &str) -> bool {
        who.reads_everything() || who.may_read(&node_subject(self.catalogue.datacenter(), node))
    }

    fn may_see(&self, who: &Principal, owner: &Owner) -> bool {
        match owner {
            Owner::Node(node) => self.may_read_node(who, node),
            Owner::Service(service) => self.catalogue.may_read(who, service),
        }
    }

    /// As it is now, or as it was a moment ago, where making it anew would take more than its share of the time.
    fn owners(&self) -> Arc<Owners> {
        let mut kept = self.owners.lock();
        let position = self.catalogue.read(State::position);
        if let Some(owners) = &*kept
            && (owners.position == position || owners.made.elapsed() < owners.took * REVERSE_SHARE)
        {
            return Arc::clone(owners);
        }
        let made = Instant::now();
        let of = self.catalogue.read(owners_of);
        let owners = Arc::new(Owners { position, made, took: made.elapsed(), of });
        *kept = Some(Arc::clone(&owners));
        owners
    }
}

fn owners_of(state: &State) -> HashMap<IpAddr, Vec<Owner>> {
    let mut of: HashMap<IpAddr, Vec<Owner>> = HashMap::new();
    let mut add = |address: &str, owner: Owner| {
        let Ok(ip) = address.parse() else { return };
        let owners = of.entry(ip).or_default();
        if owners.len() < NAMES_MAX && !owners.contains(&owner) {
            owners.push(owner);
        }
    };
    for node in state.nodes().map(|node| node.node()) {
        add(&node.address, Owner::Node(node.node.to_string()));
    }
    for service in state.services() {
        for (_, entry) in service.instances().iter() {
            let service = &entry.value.service;
            add(&service.address, Owner::Service(service.service.to_string()));
        }
    }
    of
}

/// Instances of a service that may be answered with: where there are more than an answer holds, any of them.
fn instances(state: &State, name: &str, tag: Option<&str>, only_passing: bool, seed: u64) -> Found {
    let worst = if only_passing { Status::Passing } else { Status::Warning };
    let Some(table) = state.service(name) else { return Found::Service { instances: Vec::new(), more: false } };
    let fit = table.iter().map(|(_, entry)| &entry.value).filter(|each| each.status() <= worst && has(each, tag));
    let (mut instances, mut seen, mut chance) = (Vec::new(), 0, Chance::new(seed));
    for each in fit {
        seen += 1;
        if instances.len() < ADDRESSES_MAX {
            instances.push(Arc::clone(each));
        } else if let Some(place) = instances.get_mut(chance.below(seen)) {
            *place = Arc::clone(each);
        }
    }
    Found::Service { more: seen > instances.len(), instances }
}

fn has(instance: &Health, tag: Option<&str>) -> bool {
    tag.is_none_or(|tag| instance.service.tags.iter().any(|own| own.to_lowercase() == tag))
}
