//! What documents say of each other: references, keys that are needed, what may be there once.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::peers::{node_set, node_set_name};
use super::{Report, Typed};
use crate::document::Fault;
use crate::kinds::TopologySpec;
use crate::kinds::address::Cidr;

/// Judges all of them together.
pub(super) fn check(typed: &Typed, faults: &mut Vec<Fault>, warnings: &mut Vec<Fault>) {
    let mut cross = Cross { typed, faults, warnings };
    cross.groups();
    cross.peers();
    cross.plugins();
    cross.slos();
    cross.pools();
    cross.policies();
    cross.topologies();
}

struct Cross<'a> {
    typed: &'a Typed,
    faults: &'a mut Vec<Fault>,
    warnings: &'a mut Vec<Fault>,
}

impl Cross<'_> {
    /// Judges one resource with a report of its own.
    fn judge(&mut self, kind: &'static str, name: &str, judge: impl FnOnce(&mut Report)) {
        let Some((ours, identity)) = self.typed.origins.get(&(kind, name.into())) else { return };
        let mut report = Report::new(identity, *ours);
        judge(&mut report);
        report.end(self.faults, self.warnings);
    }

    fn id(&self, kind: &'static str, name: &str) -> String {
        self.typed.origins.get(&(kind, name.into())).map(|(_, identity)| format!("{identity}")).unwrap_or_default()
    }

    fn groups(&mut self) {
        let typed = self.typed;
        for (name, group) in &typed.groups {
            let without = |peer: &&String| typed.peers.get(*peer).is_some_and(|peer| peer.auth.keys().next().is_none());
            let mut peers = typed.peers.iter().filter(|(_, peer)| &peer.group_ref == name).map(|(peer, _)| peer);
            let peer = peers.find(without).map(|peer| self.id("EventPeer", peer));
            self.judge("EventGroup", name, |report| {
                let reason = match peer {
                    _ if group.has_key() => None,
                    _ if !group.listen.address.is_empty() => Some("is required when spec.listen.address is set".into()),
                    _ if group.listen.port != 0 => Some("is required when spec.listen.port is set".into()),
                    _ if !group.peers_from.is_empty() => Some("is required when spec.peersFrom is set".into()),
                    Some(peer) => Some(format!("is required because {peer} references this EventGroup")),
                    None => None,
                };
                if let Some(reason) = reason {
                    report.fault("spec.auth.secretFile", reason);
                }
                for (index, source) in group.peers_from.iter().enumerate() {
                    if !source.optional && node_set(typed, &source.resource).is_none() {
                        report.strict(format!("spec.peersFrom[{index}].resource"), missing(&source.resource));
                    }
                }
            });
        }
    }

    fn peers(&mut self) {
        let typed = self.typed;
        let mut nodes: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (name, peer) in &typed.peers {
            let group = typed.groups.get(&peer.group_ref);
            let other = nodes.insert((&peer.group_ref, &peer.node_name), name);
            let other = other.map(|other| self.id("EventPeer", other));
            self.judge("EventPeer", name, |report| {
                match group {
                    None => report.strict("spec.groupRef", absent(&peer.group_ref, "EventGroup")),
                    Some(group) if group.node_name == peer.node_name => {
                        report.warn("spec.nodeName", "is this node itself, to which nothing is pushed");
                    }
                    Some(_) => {}
                }
                if let Some(other) = other {
                    report.strict("spec.nodeName", format!("{:?} is that of {other} too", peer.node_name));
                }
            });
        }
    }

    fn plugins(&mut self) {
        let typed = self.typed;
        for (name, subscription) in &typed.subscriptions {
            self.judge("EventSubscription", name, |report| {
                if !typed.groups.contains_key(&subscription.group_ref) {
                    report.strict("spec.groupRef", absent(&subscription.group_ref, "EventGroup"));
                }
                if !typed.plugins.contains_key(&subscription.trigger.plugin_ref) {
                    report.strict("spec.trigger.pluginRef", absent(&subscription.trigger.plugin_ref, "Plugin"));
                }
            });
        }
        for (name, source) in &typed.sources {
            self.judge("DynamicConfigSource", name, |report| {
                if !typed.plugins.contains_key(&source.plugin_ref) {
                    report.strict("spec.pluginRef", absent(&source.plugin_ref, "Plugin"));
                }
            });
        }
    }

    fn slos(&mut self) {
        let typed = self.typed;
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        for (name, slo) in &typed.slos {
            let id = self.id("FederationSLO", name);
            let other = taken.get(slo.group_ref.as_str()).cloned();
            self.judge("FederationSLO", name, |report| {
                if let Some(other) = other {
                    let reason = format!(
                        "{:?} conflicts with {other}: only one FederationSLO per EventGroup is allowed",
                        slo.group_ref
                    );
                    report.fault("spec.groupRef", reason);
                }
                if !typed.groups.contains_key(&slo.group_ref) {
                    report.fault("spec.groupRef", absent(&slo.group_ref, "EventGroup"));
                }
            });
            taken.entry(&slo.group_ref).or_insert(id);
        }
    }

    fn pools(&mut self) {
        let typed = self.typed;
        let prefixes: Vec<(&String, Cidr)> =
            typed.pools.iter().filter_map(|(name, pool)| Some((name, Cidr::parse(&pool.prefix)?))).collect();
        for (index, (name, prefix)) in prefixes.iter().enumerate() {
            let others = prefixes.get(..index).unwrap_or_default();
            let other = others.iter().find(|(_, other)| other.overlaps(prefix));
            let other = other.map(|(other, _)| self.id("MobilityPool", other));
            self.judge("MobilityPool", name, |report| {
                if let Some(other) = other {
                    report.fault("spec.prefix", format!("overlaps that of {other}"));
                }
            });
        }
        for (name, pool) in &typed.pools {
            self.judge("MobilityPool", name, |report| {
                if !typed.groups.contains_key(&pool.group_ref) {
                    report.fault("spec.groupRef", "must reference a local EventGroup with spec.nodeName");
                }
                for (index, source) in pool.members_from.iter().enumerate() {
                    if !source.optional && node_set(typed, &source.resource).is_none() {
                        report.strict(format!("spec.membersFrom[{index}].resource"), missing(&source.resource));
                    }
                }
            });
        }
        for (name, claim) in typed.claims.iter().filter(|(_, claim)| !claim.pool.is_empty()) {
            self.judge("AddressClaim", name, |report| {
                if !typed.pools.contains_key(&claim.pool) {
                    report.warn("spec.pool", absent(&claim.pool, "MobilityPool"));
                }
            });
        }
    }

    fn policies(&mut self) {
        let typed = self.typed;
        for (name, policy) in &typed.policies {
            self.judge("DynamicOverridePolicy", name, |report| {
                for (index, rule) in policy.allow.iter().enumerate() {
                    let subscription = rule.source.strip_prefix("EventSubscription/");
                    let subscription = subscription.and_then(|rest| rest.split('/').next());
                    if subscription.is_some_and(|subscription| !typed.subscriptions.contains_key(subscription)) {
                        let path = format!("spec.allow[{index}].source");
                        report.warn(path, format!("{:?} is of no EventSubscription that exists", rule.source));
                    }
                }
            });
        }
    }

    /// Links are said in one place: by one Topology, or by Segments one by one.
    fn topologies(&mut self) {
        let typed = self.typed;
        let says = |(_, topology): &(&String, &TopologySpec)| topology.says_links();
        let mut saying = typed.topologies.iter().filter(says).map(|(name, _)| name.as_str());
        let Some(first) = saying.next() else { return };
        let id = self.id("Topology", first);
        for name in saying {
            let reason = format!("says links, as {id} does: one Topology may say them");
            self.judge("Topology", name, |report| report.fault("spec", reason));
        }
        for name in typed.segments.keys() {
            let reason = format!("is declared alone, where {id} says all segments: change that, or take its links out");
            self.judge("Segment", name, |report| report.fault("", reason));
        }
    }
}

fn absent(name: &str, kind: &str) -> String {
    format!("{name:?} does not reference an existing {kind} resource")
}

fn missing(resource: &str) -> String {
    match node_set_name(resource) {
        Some(name) => format!("references missing SAMNodeSet {name:?}"),
        None => "must reference SAMNodeSet/<name>".into(),
    }
}
