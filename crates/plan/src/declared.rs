//! What is declared: documents that were checked together.
//!
//! Each document by its kind first (`kinds`), then what they say of each other ([`cross`]). Our own
//! documents are held to every rule; routerd's to routerd's, and what it would have let pass is a
//! warning. A [`Declared`] never changes: another set is another check.

mod cross;
mod peers;
mod report;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use peers::node_set_name;
pub use peers::{PeerFrom, ResolvedPeer};
pub(crate) use report::Report;

use crate::document::{Document, Fault, Identity};
use crate::kinds::{
    ClaimSpec, DomainSpec, GroupSpec, HubLinkSpec, KINDS, Kind, Known, MirrorSpec, NameAclSpec, NodeSetSpec, PartSpec,
    PeerSpec, PluginSpec, PolicySpec, PoolSpec, RepeaterTargetSpec, RouteSpec, SegmentSpec, SloSpec, SourceSpec,
    SubscriptionSpec, TopologySpec, ViewSpec, known, shape,
};

/// Documents that are fine, each and together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    documents: Vec<Document>,
    index: BTreeMap<Identity, usize>,
    typed: Typed,
    warnings: Vec<Fault>,
}

/// The specs of the known kinds, by name: a name is unique in its kind, whatever the version.
#[derive(Debug, Clone, Default, PartialEq)]
struct Typed {
    groups: BTreeMap<String, GroupSpec>,
    peers: BTreeMap<String, PeerSpec>,
    subscriptions: BTreeMap<String, SubscriptionSpec>,
    plugins: BTreeMap<String, PluginSpec>,
    slos: BTreeMap<String, SloSpec>,
    policies: BTreeMap<String, PolicySpec>,
    parts: BTreeMap<String, PartSpec>,
    sources: BTreeMap<String, SourceSpec>,
    node_sets: BTreeMap<String, NodeSetSpec>,
    pools: BTreeMap<String, PoolSpec>,
    claims: BTreeMap<String, ClaimSpec>,
    hub_links: BTreeMap<String, HubLinkSpec>,
    repeater_targets: BTreeMap<String, RepeaterTargetSpec>,
    views: BTreeMap<String, ViewSpec>,
    domains: BTreeMap<String, DomainSpec>,
    topologies: BTreeMap<String, TopologySpec>,
    segments: BTreeMap<String, SegmentSpec>,
    name_acls: BTreeMap<String, NameAclSpec>,
    routes: BTreeMap<String, RouteSpec>,
    mirrors: BTreeMap<String, MirrorSpec>,
    /// By kind and name: whether the document is our own, and its identity.
    origins: BTreeMap<(&'static str, String), (bool, Identity)>,
}

/// Checks documents: each by its kind, then what they say of each other.
///
/// # Errors
/// Every [`Fault`] that was found, in the order of the documents; what documents say of each other is
/// judged only where each of them is fine.
pub fn check(documents: impl IntoIterator<Item = Document>) -> Result<Declared, Vec<Fault>> {
    let mut declared = Declared::default();
    let mut faults = Vec::new();
    let mut schemas: BTreeMap<&'static str, Value> = BTreeMap::new();
    for document in documents {
        let identity = document.identity();
        let (mut report, mut warnings) = (Report::new(&identity, document.is_ours()), Vec::new());
        match known(&document.api_version, &document.kind) {
            Known::Opaque => {}
            Known::Unknown(reason) => report.fault("kind", reason),
            Known::Kind(kind) => {
                let schema = schemas.entry(kind.name).or_insert_with(|| kind.spec_schema().to_value());
                declared.typed.take(kind, schema, &document, &mut report);
            }
        }
        if declared.index.contains_key(&identity) {
            report.fault("", "is declared twice");
        }
        report.end(&mut faults, &mut warnings);
        declared.warnings.extend(warnings);
        declared.index.insert(identity, declared.documents.len());
        declared.documents.push(document);
    }
    if faults.is_empty() {
        cross::check(&declared.typed, &mut faults, &mut declared.warnings);
    }
    if faults.is_empty() { Ok(declared) } else { Err(faults) }
}

/// A kind's rules that no schema can say.
pub(crate) trait Judged {
    /// Judges, and brings what versions mean differently into one form.
    fn judge(&mut self, report: &mut Report);
}

impl Typed {
    fn take(&mut self, kind: &'static Kind, schema: &Value, document: &Document, report: &mut Report) {
        let key = (kind.name, document.name.clone());
        if let Some((_, other)) = self.origins.get(&key).filter(|(_, other)| other.api_version != document.api_version)
        {
            report.fault("metadata.name", format!("is that of {other}: a name is unique in its kind"));
        }
        self.origins.insert(key, (document.is_ours(), document.identity()));
        let examined = shape::examine(schema, &document.spec, !document.is_ours());
        for (path, reason) in examined.unknown {
            report.strict(path, reason);
        }
        if !examined.faults.is_empty() {
            examined.faults.into_iter().for_each(|(path, reason)| report.fault(path, reason));
            return;
        }
        let (name, spec) = (&document.name, examined.spec);
        match kind.name {
            "EventGroup" => insert(&mut self.groups, name, spec, report),
            "EventPeer" => insert(&mut self.peers, name, spec, report),
            "EventSubscription" => insert(&mut self.subscriptions, name, spec, report),
            "Plugin" => insert(&mut self.plugins, name, spec, report),
            "FederationSLO" => insert(&mut self.slos, name, spec, report),
            "DynamicOverridePolicy" => insert(&mut self.policies, name, spec, report),
            "DynamicConfigPart" => insert(&mut self.parts, name, spec, report),
            "DynamicConfigSource" => insert(&mut self.sources, name, spec, report),
            "SAMNodeSet" => insert(&mut self.node_sets, name, spec, report),
            "MobilityPool" => insert(&mut self.pools, name, spec, report),
            "AddressClaim" => insert(&mut self.claims, name, spec, report),
            "HubLink" => insert(&mut self.hub_links, name, spec, report),
            "RepeaterTarget" => insert(&mut self.repeater_targets, name, spec, report),
            "View" => insert(&mut self.views, name, spec, report),
            "Domain" => {
                DomainSpec::judge_name(name, report);
                insert(&mut self.domains, name, spec, report);
            }
            "Topology" => insert(&mut self.topologies, name, spec, report),
            "Segment" => {
                insert(&mut self.segments, name, spec, report);
                if let Some(segment) = self.segments.get(name) {
                    segment.judge_name(name, report);
                }
            }
            "NameAcl" => insert(&mut self.name_acls, name, spec, report),
            "Route" => insert(&mut self.routes, name, spec, report),
            "Mirror" => insert(&mut self.mirrors, name, spec, report),
            // A test holds this list and that of the kinds against each other.
            other => report.fault("kind", format!("{other} has no typed form")),
        }
    }
}

fn insert<T: DeserializeOwned + Judged>(into: &mut BTreeMap<String, T>, name: &str, spec: Value, report: &mut Report) {
    match serde_json::from_value::<T>(spec) {
        Ok(mut spec) => {
            spec.judge(report);
            into.insert(name.into(), spec);
        }
        Err(error) => report.fault("spec", format!("cannot be read: {error}")),
    }
}

impl Declared {
    /// Every document, in the order given.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The document of an identity.
    pub fn get(&self, identity: &Identity) -> Option<&Document> {
        self.index.get(identity).and_then(|index| self.documents.get(*index))
    }

    /// The document of a known kind by name, whatever its version.
    pub fn named(&self, kind: &str, name: &str) -> Option<&Document> {
        let kind = KINDS.iter().find(|known| known.name == kind)?;
        let (_, identity) = self.typed.origins.get(&(kind.name, name.into()))?;
        self.get(identity)
    }

    /// Groups by name.
    pub fn groups(&self) -> &BTreeMap<String, GroupSpec> {
        &self.typed.groups
    }

    /// Peers by name, as they are declared. [`Declared::peers_of`] has those of node sets too.
    pub fn peers(&self) -> &BTreeMap<String, PeerSpec> {
        &self.typed.peers
    }

    /// Subscriptions by name.
    pub fn subscriptions(&self) -> &BTreeMap<String, SubscriptionSpec> {
        &self.typed.subscriptions
    }

    /// Plugins by name.
    pub fn plugins(&self) -> &BTreeMap<String, PluginSpec> {
        &self.typed.plugins
    }

    /// SLOs by name.
    pub fn slos(&self) -> &BTreeMap<String, SloSpec> {
        &self.typed.slos
    }

    /// The SLO of a group: what is declared, or the defaults.
    pub fn slo_of(&self, group: &str) -> (bool, SloSpec) {
        match self.typed.slos.values().find(|slo| slo.group_ref == group) {
            Some(slo) => (true, slo.clone()),
            None => (false, SloSpec { group_ref: group.into(), ..SloSpec::default() }),
        }
    }

    /// Policies by name.
    pub fn policies(&self) -> &BTreeMap<String, PolicySpec> {
        &self.typed.policies
    }

    /// Declared parts by name.
    pub fn parts(&self) -> &BTreeMap<String, PartSpec> {
        &self.typed.parts
    }

    /// Sources by name.
    pub fn sources(&self) -> &BTreeMap<String, SourceSpec> {
        &self.typed.sources
    }

    /// Node sets by name.
    pub fn node_sets(&self) -> &BTreeMap<String, NodeSetSpec> {
        &self.typed.node_sets
    }

    /// Pools by name.
    pub fn pools(&self) -> &BTreeMap<String, PoolSpec> {
        &self.typed.pools
    }

    /// Claims by name.
    pub fn claims(&self) -> &BTreeMap<String, ClaimSpec> {
        &self.typed.claims
    }

    /// Links to other hubs by name.
    pub fn hub_links(&self) -> &BTreeMap<String, HubLinkSpec> {
        &self.typed.hub_links
    }

    /// Whom the repeater sends to, by name.
    pub fn repeater_targets(&self) -> &BTreeMap<String, RepeaterTargetSpec> {
        &self.typed.repeater_targets
    }

    /// Views by name.
    pub fn views(&self) -> &BTreeMap<String, ViewSpec> {
        &self.typed.views
    }

    /// Domains by name.
    pub fn domains(&self) -> &BTreeMap<String, DomainSpec> {
        &self.typed.domains
    }

    /// Topologies by name: one at most says links or segments.
    pub fn topologies(&self) -> &BTreeMap<String, TopologySpec> {
        &self.typed.topologies
    }

    /// Segments by name; a name with `$domain` is a template.
    pub fn segments(&self) -> &BTreeMap<String, SegmentSpec> {
        &self.typed.segments
    }

    /// Who may publish and subscribe to what, by name.
    pub fn name_acls(&self) -> &BTreeMap<String, NameAclSpec> {
        &self.typed.name_acls
    }

    /// Interests that stand, by name.
    pub fn routes(&self) -> &BTreeMap<String, RouteSpec> {
        &self.typed.routes
    }

    /// Streams that are kept in other domains, by name.
    pub fn mirrors(&self) -> &BTreeMap<String, MirrorSpec> {
        &self.typed.mirrors
    }

    /// The peers of a group that facts are pushed to, by name: those of its node sets, and in their
    /// place or beside them those declared. This node is not among them.
    pub fn peers_of(&self, group: &str) -> Vec<ResolvedPeer> {
        peers::of_group(&self.typed, group)
    }

    /// What is worth a look and no fault.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}
