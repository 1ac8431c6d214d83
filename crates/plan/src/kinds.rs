//! The kinds: what each is called, which versions name it, and what its documents say.
//!
//! A kind's `…Spec` is the typed form of `spec`, with defaults applied; its doc comments are what
//! `explain`, the JSON Schemas and the reference show. The rules that a schema can say (required,
//! closed sets, least values, spans) are said by the schema alone and held by [`shape`]; the others
//! stand beside the kind. Sources: routerd's fields as its documents have them; ours are marked so.

pub(crate) mod address;
mod claim;
mod group;
mod hub;
mod mesh;
mod mobility;
mod part;
mod peer;
mod plugin;
mod policy;
mod rules;
pub(crate) mod shape;
mod slo;
mod subscription;
mod view;

use alloc::string::String;
use alloc::vec::Vec;

use schemars::Schema;
use schemars::generate::SchemaSettings;

pub use claim::ClaimSpec;
pub(crate) use group::DEFAULT_KEY;
pub use group::{GroupAuth, GroupKey, GroupListen, GroupSpec, ListenTls, PeersSource, Retention};
pub use hub::{HubLinkSpec, HubTls, RepeaterTargetSpec};
pub use mesh::{
    DomainShape, DomainSpec, MirrorSpec, NameAclSpec, NeighborsSpec, PairSpec, RouteSpec, SegmentSpec, TopologySegment,
    TopologySpec,
};
pub use mobility::{MembersSource, NodeSetSpec, NodeSpec, PoolSpec, StaticHandover};
pub use part::{DirectiveSpec, PartSpec};
pub(crate) use peer::PUSH_TIMEOUT;
pub use peer::{Batch, PeerAuth, PeerKey, PeerSpec, PeerTls};
pub use plugin::{
    Capability, ContextSpec, MergePolicySpec, PluginLimits, PluginSpec, PluginTrigger, ResourceRef, SourceSpec,
    TriggerType,
};
pub use policy::{AllowRule, Operation, PolicySpec};
pub use slo::{SloDelivery, SloSpec, SloSubscription};
pub use subscription::{MatchSpec, RetrySpec, SubscriptionSpec, TriggerSpec};
pub use view::{ViewKey, ViewLimits, ViewRemove, ViewSpec, ViewVersion, ViewWhen};

use crate::document::API_VERSION;

/// routerd's versions, by what they hold.
const FEDERATION: &str = "federation.routerd.net/v1alpha1";
const PLUGIN: &str = "plugin.routerd.net/v1alpha1";
const CONFIG: &str = "config.routerd.net/v1alpha1";
const MOBILITY: &str = "mobility.routerd.net/v1alpha1";
const HYBRID: &str = "hybrid.routerd.net/v1alpha1";

/// A kind of resource.
#[derive(Debug)]
pub struct Kind {
    /// As documents name it, such as `EventGroup`.
    pub name: &'static str,
    /// As people may write it, such as `eventgroups`.
    pub plural: &'static str,
    /// As people in a hurry write it, such as `eg`.
    pub short: &'static str,
    /// routerd's version that names it; `None`: the kind is ours alone.
    pub routerd: Option<&'static str>,
    /// What it is, in a sentence.
    pub doc: &'static str,
    schema: fn() -> Schema,
}

impl Kind {
    /// The kind that a word of the command line means: its name, plural or short name, in any case.
    pub fn find(word: &str) -> Option<&'static Kind> {
        KINDS
            .iter()
            .find(|kind| [kind.name, kind.plural, kind.short].iter().any(|name| name.eq_ignore_ascii_case(word)))
    }

    /// The kind of a name, exactly.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The versions whose documents can be of this kind, ours first.
    pub fn api_versions(&self) -> impl Iterator<Item = &'static str> + use<> {
        core::iter::once(API_VERSION).chain(self.routerd)
    }

    /// The JSON Schema of `spec`.
    pub(crate) fn spec_schema(&self) -> Schema {
        (self.schema)()
    }
}

/// Every kind, in the order in which people meet them.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "EventGroup",
        plural: "eventgroups",
        short: "eg",
        routerd: Some(FEDERATION),
        doc: "Nodes that tell each other facts: this node's name among them, the keys, and where it listens.",
        schema: of::<GroupSpec>,
    },
    Kind {
        name: "EventPeer",
        plural: "eventpeers",
        short: "ep",
        routerd: Some(FEDERATION),
        doc: "A node of a group to which facts are pushed.",
        schema: of::<PeerSpec>,
    },
    Kind {
        name: "EventSubscription",
        plural: "eventsubscriptions",
        short: "es",
        routerd: Some(FEDERATION),
        doc: "Which facts of a group call a plugin, and how they are gathered.",
        schema: of::<SubscriptionSpec>,
    },
    Kind {
        name: "Plugin",
        plural: "plugins",
        short: "pl",
        routerd: Some(PLUGIN),
        doc: "A program that turns facts into configuration, and what it may do.",
        schema: of::<PluginSpec>,
    },
    Kind {
        name: "FederationSLO",
        plural: "federationslos",
        short: "slo",
        routerd: Some(FEDERATION),
        doc: "How late deliveries of a group may be, and how many runs may wait or fail.",
        schema: of::<SloSpec>,
    },
    Kind {
        name: "DynamicOverridePolicy",
        plural: "dynamicoverridepolicies",
        short: "dop",
        routerd: Some(CONFIG),
        doc: "Which sources of derived configuration may mask which declared resources.",
        schema: of::<PolicySpec>,
    },
    Kind {
        name: "DynamicConfigPart",
        plural: "dynamicconfigparts",
        short: "dcp",
        routerd: Some(CONFIG),
        doc: "Configuration that was derived from facts: resources, masks and action plans, with a lifetime.",
        schema: of::<PartSpec>,
    },
    Kind {
        name: "DynamicConfigSource",
        plural: "dynamicconfigsources",
        short: "dcs",
        routerd: Some(PLUGIN),
        doc: "A plugin that is run by the clock or by events, and how long its result holds.",
        schema: of::<SourceSpec>,
    },
    Kind {
        name: "SAMNodeSet",
        plural: "samnodesets",
        short: "sns",
        routerd: Some(MOBILITY),
        doc: "The nodes of a fabric and their addresses, from which groups take their peers.",
        schema: of::<NodeSetSpec>,
    },
    Kind {
        name: "MobilityPool",
        plural: "mobilitypools",
        short: "mp",
        routerd: Some(MOBILITY),
        doc: "Addresses that may move between sites, and the members that serve them.",
        schema: of::<PoolSpec>,
    },
    Kind {
        name: "AddressClaim",
        plural: "addressclaims",
        short: "ac",
        routerd: None,
        doc: "An address that a node captures: what it then sees of it is no observation.",
        schema: of::<ClaimSpec>,
    },
    Kind {
        name: "HubLink",
        plural: "hublinks",
        short: "hl",
        routerd: None,
        doc: "Another hub that this node's hub connects to, and whose messengers hear its rooms.",
        schema: of::<HubLinkSpec>,
    },
    Kind {
        name: "RepeaterTarget",
        plural: "repeatertargets",
        short: "rt",
        routerd: None,
        doc: "Whom this node's repeater sends the events of rooms: another repeater, a device, a web service.",
        schema: of::<RepeaterTargetSpec>,
    },
    Kind {
        name: "View",
        plural: "views",
        short: "vw",
        routerd: None,
        doc: "What is true now: the latest fact of each key, folded from a stream.",
        schema: of::<ViewSpec>,
    },
    Kind {
        name: "Domain",
        plural: "domains",
        short: "dom",
        routerd: None,
        doc: "Nodes that trust each other and share a deployment: how they prove it, and how they are linked.",
        schema: of::<DomainSpec>,
    },
    Kind {
        name: "Topology",
        plural: "topologies",
        short: "topo",
        routerd: None,
        doc: "Which domains are linked, in which segments, and who must never or always reach whom.",
        schema: of::<TopologySpec>,
    },
    Kind {
        name: "Segment",
        plural: "segments",
        short: "seg",
        routerd: None,
        doc: "A part of the network: the domains that are linked in it. What is in no common segment cannot see each other.",
        schema: of::<SegmentSpec>,
    },
    Kind {
        name: "NameAcl",
        plural: "nameacls",
        short: "acl",
        routerd: None,
        doc: "Who may publish to and subscribe to which subjects, in every domain.",
        schema: of::<NameAclSpec>,
    },
    Kind {
        name: "Route",
        plural: "routes",
        short: "ro",
        routerd: None,
        doc: "Domains to which messages of some subjects go, whoever subscribes there.",
        schema: of::<RouteSpec>,
    },
    Kind {
        name: "Mirror",
        plural: "mirrors",
        short: "mir",
        routerd: None,
        doc: "A stream that is kept in another domain too, each message until the far journal has it: brought there, fetched from there, or let in.",
        schema: of::<MirrorSpec>,
    },
];

/// Kinds of routerd's that mean nothing here and are carried as they are.
const CARRIED: &[(&str, &str)] = &[
    (HYBRID, "TunnelInterface"),
    (HYBRID, "OverlayPeer"),
    (HYBRID, "HybridRoute"),
    (HYBRID, "CloudProviderProfile"),
    (HYBRID, "ProviderActionPolicy"),
    (MOBILITY, "SAMEnrollmentPolicy"),
    (MOBILITY, "SAMEnrollmentClaim"),
    (MOBILITY, "SAMEnrollmentClient"),
    (MOBILITY, "SAMTransportProfile"),
    (MOBILITY, "SAMSubnetPolicy"),
    (MOBILITY, "SAMPeerGroup"),
    (MOBILITY, "SAMRRSet"),
];

/// What a version and kind say together.
pub(crate) enum Known {
    /// One of [`KINDS`].
    Kind(&'static Kind),
    /// The operator's own: carried, never read.
    Opaque,
    /// A kind that its version does not have; the version it does have, or the nearest kind.
    Unknown(String),
}

/// Judges version and kind.
pub(crate) fn known(api_version: &str, kind: &str) -> Known {
    use alloc::format;
    let group = api_version.split_once('/').map_or(api_version, |(group, _)| group);
    let ours = group == "tidings.dev";
    let theirs = group == "routerd.net" || group.ends_with(".routerd.net");
    if let Some(found) = Kind::named(kind) {
        if found.api_versions().any(|version| version == api_version) {
            return Known::Kind(found);
        }
        if ours || theirs {
            let versions: Vec<&str> = found.api_versions().collect();
            return Known::Unknown(format!("must use apiVersion {}", versions.join(" or ")));
        }
    }
    let guarded = [FEDERATION, PLUGIN, CONFIG, MOBILITY, HYBRID];
    let guarded = guarded.iter().any(|version| version.split_once('/').is_some_and(|(name, _)| name == group));
    if !(ours || guarded) || CARRIED.contains(&(api_version, kind)) {
        return Known::Opaque;
    }
    let here = |known: &&Kind| ours || known.routerd == Some(api_version);
    let near = nearest(kind, KINDS.iter().filter(here).map(|kind| kind.name));
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Known::Unknown(format!("is not a kind of {api_version}{near}"))
}

/// The JSON Schema of a type, with nothing referred to.
fn of<T: schemars::JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}

/// Most edits between a word and what was meant by it.
const EDITS_MAX: usize = 3;

/// The word of `known` that is nearest to `word`: equal in another case, or a few edits away.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = EDITS_MAX.min(word.chars().count().div_ceil(2));
    let edits = |candidate: &str| edits(&word.to_lowercase(), &candidate.to_lowercase());
    known
        .map(|candidate| (edits(candidate), candidate))
        .filter(|(count, _)| *count <= limit)
        .min()
        .map(|(_, near)| near)
}

/// Edits from one word to another: insertions, deletions, replacements.
fn edits(from: &str, to: &str) -> usize {
    // A stranger's word may have any length: nothing that long is near.
    const CHARS_MAX: usize = 64;
    if from.len() > 4 * CHARS_MAX {
        return usize::MAX;
    }
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], index + 1);
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_any_of_their_names() {
        for word in ["EventGroup", "eventgroup", "EVENTGROUPS", "eg"] {
            assert_eq!(Kind::find(word).map(|kind| kind.name), Some("EventGroup"), "{word}");
        }
        assert!(Kind::find("group").is_none());
    }

    #[test]
    fn no_word_means_two_kinds() {
        let words: Vec<&str> = KINDS.iter().flat_map(|kind| [kind.name, kind.plural, kind.short]).collect();
        for (index, word) in words.iter().enumerate() {
            assert!(!words[..index].iter().any(|other| other.eq_ignore_ascii_case(word)), "{word}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["nodeName", "peersFrom", "retention"];
        assert_eq!(nearest("nodename", words.into_iter()), Some("nodeName"));
        assert_eq!(nearest("retentoin", words.into_iter()), Some("retention"));
        assert_eq!(nearest("xyz", words.into_iter()), None);
        assert_eq!(nearest("", words.into_iter()), None);
    }
}
