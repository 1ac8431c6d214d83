//! What is declared of the mesh, in the words of the machines that compute with it.
//!
//! Here resources become a topology, rules of names and standing interests, and are judged together: what a declared
//! invariant forbids is a fault like any other, so a set of resources that breaks one is never in force.
//!
//! Cost: judging takes a path search for each segment; [`proof`](mesh::proof) says how much.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::Pattern;
use mesh::acl::{AclRule, Who};
use mesh::control::{Declared as Governed, DomainRule, RouteRule};
use mesh::names::Name;
use mesh::plan::Shape;
use mesh::proof::{Invariant, Reach};
use mesh::topology::{Adjacent, Document, SegmentText, Topology, TopologyError};
use plan::{API_VERSION, Declared, DomainShape, Fault, NeighborsSpec, PairSpec};

/// The topology as it is written: of the Topology that says links, and the invariants of all.
pub(crate) fn document(declared: &Declared) -> Document {
    let mut document = Document::default();
    let pair = |pair: &PairSpec| (pair.from.clone(), pair.to.clone());
    for topology in declared.topologies().values() {
        document.links.extend(adjacent(&topology.links));
        let segments = topology.segments.iter();
        document.segments.extend(segments.map(|segment| text(&segment.name, &segment.links)));
        document.never.extend(topology.never.iter().map(pair));
        document.always.extend(topology.always.iter().map(pair));
    }
    document
}

/// The segments that are declared one by one.
pub(crate) fn added(declared: &Declared) -> Vec<SegmentText> {
    declared.segments().iter().map(|(name, segment)| text(name, &segment.links)).collect()
}

fn text(name: &str, links: &[NeighborsSpec]) -> SegmentText {
    SegmentText { name: name.to_owned(), links: adjacent(links).collect() }
}

fn adjacent(links: &[NeighborsSpec]) -> impl Iterator<Item = Adjacent> {
    links.iter().map(|link| Adjacent {
        domain: link.domain.clone(),
        neighbors: link.neighbors.clone(),
        weight: link.weight,
    })
}

/// Who may use which names, by the names of the rules.
pub(crate) fn rules(declared: &Declared) -> Vec<AclRule> {
    let rule = |(name, acl): (&String, &plan::NameAclSpec)| AclRule {
        name: name.as_str().into(),
        subjects: patterns(&acl.subjects),
        publish: acl.publish.as_deref().map(whos),
        subscribe: acl.subscribe.as_deref().map(whos),
    };
    declared.name_acls().iter().map(rule).collect()
}

/// Who is named. What the kind's rules let pass can be read; what could not would name nobody.
fn whos(texts: &[String]) -> Vec<Who> {
    texts.iter().filter_map(|text| who(text)).collect()
}

fn who(text: &str) -> Option<Who> {
    // What follows `token:` is a name, whatever it looks like.
    let token = |text: &str| text.strip_prefix("token:").map(Arc::from);
    if let Some(name) = token(text) {
        return Some(Who::Principal(name));
    }
    match text.strip_prefix("domain:").and_then(|rest| rest.split_once('/')) {
        Some((domain, rest)) => Some(Who::Member(Name::parse(domain).ok()?, token(rest)?)),
        None => Who::parse(text).ok(),
    }
}

/// Patterns, which the kind's rules have judged.
pub(crate) fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
}

/// The domains that there are: those declared, and our own.
pub(crate) fn domains(declared: &Declared, own: Option<&Name>) -> BTreeSet<Name> {
    declared.domains().keys().filter_map(|name| Name::parse(name).ok()).chain(own.cloned()).collect()
}

/// Who reaches whom by what is declared, among the domains that are declared, named or our own.
pub(crate) struct Bounds {
    /// The topology.
    pub(crate) topology: Topology,
    /// Who reaches whom.
    pub(crate) reach: Reach,
    /// Who may use which names.
    pub(crate) rules: Vec<AclRule>,
}

impl Bounds {
    /// Of what is declared.
    ///
    /// # Errors
    /// [`TopologyError`] naming the first fault.
    pub(crate) fn of(declared: &Declared, own: Option<&Name>) -> Result<Self, TopologyError> {
        let mut all = domains(declared, own);
        // Who is no controller knows of no domains, and cannot say that one is unknown.
        let known = own.is_some().then_some(&all);
        let topology = Topology::check(&document(declared), &added(declared), known)?;
        all.extend(topology.named());
        let (segments, _) = topology.expand(&all);
        let reach = Reach::of(&segments, &all);
        Ok(Bounds { topology, reach, rules: rules(declared) })
    }
}

/// What is wrong with what is declared of the mesh, taken together.
pub(crate) fn judge(declared: &Declared, own: Option<&Name>) -> Vec<Fault> {
    judged(declared, own, |_| true)
}

/// As [`judge`], but for domains that are always to see each other, and do not.
pub(crate) fn forbidden(declared: &Declared, own: Option<&Name>) -> Vec<Fault> {
    judged(declared, own, |invariant| matches!(invariant, Invariant::Never { .. }))
}

/// The Segment, as it is declared, by which domains see each other that never may; `None`: none of those that are
/// declared one by one.
pub(crate) fn breaking(declared: &Declared, own: Option<&Name>) -> Option<String> {
    let bounds = Bounds::of(declared, own).ok()?;
    let never = bounds.topology.invariants().iter().filter(|each| matches!(each, Invariant::Never { .. }));
    let path = never.filter_map(|invariant| bounds.reach.broken(invariant)).find_map(|(broken, _)| broken.witness)?;
    let made = |template: &&String| match template.split_once("$domain") {
        Some((begin, end)) => path.segment.as_str().starts_with(begin) && path.segment.as_str().ends_with(end),
        None => path.segment.as_str() == template.as_str(),
    };
    let exact = |name: &&String| path.segment.as_str() == name.as_str();
    let names = declared.segments().keys();
    names.clone().find(exact).or_else(|| names.clone().find(made)).cloned()
}

fn judged(declared: &Declared, own: Option<&Name>, holds: fn(&Invariant) -> bool) -> Vec<Fault> {
    if declared.topologies().is_empty() && declared.segments().is_empty() {
        return Vec::new();
    }
    match Bounds::of(declared, own) {
        Ok(bounds) => {
            let invariants = bounds.topology.invariants();
            let broken = invariants
                .iter()
                .filter(|invariant| holds(invariant))
                .filter_map(|invariant| bounds.reach.broken(invariant));
            let fault = |(broken, count): (mesh::proof::Broken, usize)| {
                let more = if count > 1 { format!(" ({} more pairs do too)", count - 1) } else { String::new() };
                Fault::new(owner(declared, &broken.invariant), "", format!("forbids it: {broken}{more}"))
            };
            broken.map(fault).collect()
        }
        Err(error) => vec![Fault::new(at_fault(declared, &error), "spec", error.to_string())],
    }
}

/// The Topology that declares an invariant.
fn owner(declared: &Declared, invariant: &Invariant) -> String {
    let (pairs, from, to): (fn(&plan::TopologySpec) -> &Vec<PairSpec>, _, _) = match invariant {
        Invariant::Never { from, to } => (|topology| &topology.never, from, to),
        Invariant::Always { from, to } => (|topology| &topology.always, from, to),
    };
    let is = |text: &str, name: &Option<Name>| name.as_ref().map_or("*", Name::as_str) == text;
    let says = |pair: &PairSpec| is(&pair.from, from) && is(&pair.to, to);
    let found = declared.topologies().iter().find(|(_, topology)| pairs(topology).iter().any(says));
    let name = found.or_else(|| declared.topologies().iter().next()).map(|(name, _)| name.as_str());
    format!("{API_VERSION}/Topology/{}", name.unwrap_or_default())
}

/// The resource that an error is about: the Segment that it names, or else the Topology.
fn at_fault(declared: &Declared, error: &TopologyError) -> String {
    let segment = match error {
        TopologyError::Domain { segment, .. }
        | TopologyError::DomainTwice { segment, .. }
        | TopologyError::NeighborTwice { segment, .. }
        | TopologyError::Itself { segment, .. }
        | TopologyError::Unknown { segment, .. }
        | TopologyError::Weight { segment, .. } => Some(segment),
        TopologyError::SegmentName(name)
        | TopologyError::SegmentTwice(name)
        | TopologyError::Declared(name)
        | TopologyError::TemplateName(name) => Some(name),
        TopologyError::BothKeys | TopologyError::TemplateOutside(_) | TopologyError::TooMuch { .. } => None,
    };
    if let Some(segment) = segment.filter(|segment| declared.segments().contains_key(*segment)) {
        return format!("{API_VERSION}/Segment/{segment}");
    }
    let saying = declared.topologies().iter().find(|(_, topology)| topology.says_links());
    let name = saying.or_else(|| declared.topologies().iter().next()).map(|(name, _)| name.as_str());
    format!("{API_VERSION}/Topology/{}", name.unwrap_or_default())
}

/// Standing interests, by the names of the routes.
fn routes(declared: &Declared) -> Vec<RouteRule> {
    let route = |(name, route): (&String, &plan::RouteSpec)| {
        let all = route.to.iter().any(|to| to == "*");
        let to = route.to.iter().filter_map(|to| Name::parse(to).ok()).collect();
        RouteRule { name: name.as_str().into(), subjects: patterns(&route.subjects), to: (!all).then_some(to) }
    };
    declared.routes().iter().map(route).collect()
}

/// What a controller of our own domain is told.
///
/// # Errors
/// [`TopologyError`] naming the first fault.
pub(crate) fn governed(declared: &Declared, own: &Name) -> Result<Governed, TopologyError> {
    let shape = |spec: &plan::DomainSpec| match Name::parse(&spec.hub) {
        Ok(hub) if spec.shape == DomainShape::Hub => Shape::Hub(hub),
        _ => Shape::FullMesh,
    };
    let rule = |name: Name| {
        let shape = declared.domains().get(name.as_str()).map_or(Shape::FullMesh, shape);
        DomainRule { name, shape }
    };
    let domains = domains(declared, Some(own));
    let topology = Topology::check(&document(declared), &added(declared), Some(&domains))?;
    let domains = domains.into_iter().map(rule).collect();
    Ok(Governed { domains, open: false, topology, acl: rules(declared).into(), routes: routes(declared) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resource(kind: &str, name: &str, spec: Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
    }

    fn domain(name: &str) -> Value {
        resource("Domain", name, json!({"secretFile": "/etc/secret"}))
    }

    #[track_caller]
    fn check(resources: Vec<Value>, faults: &[&str]) {
        let declared = plan::check(plan::documents(Value::Array(resources)).unwrap()).unwrap();
        let own = Name::parse("hub").unwrap();
        let found: Vec<String> = judge(&declared, Some(&own)).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), faults.len(), "{found:?}");
        for (found, fault) in found.iter().zip(faults) {
            assert!(found.contains(fault), "{found}");
        }
    }

    #[test]
    fn what_an_invariant_forbids_is_a_fault_of_the_topology_that_declares_it() {
        let rules = resource("Topology", "rules", json!({"never": [{"from": "a", "to": "b"}]}));
        let star =
            |spokes: Value| resource("Segment", "star", json!({"links": [{"domain": "hub", "neighbors": spokes}]}));
        check(vec![domain("a"), domain("b"), rules.clone(), star(json!(["a"]))], &[]);
        let fault = "tidings.dev/v1/Topology/rules forbids it: ";
        check(vec![domain("a"), domain("b"), rules.clone(), star(json!(["a", "b"]))], &[fault]);
        check(vec![domain("a"), domain("b"), rules.clone(), star(json!(["*"]))], &[fault]);
        let each = resource("Segment", "to-$domain", json!({"links": [{"domain": "hub", "neighbors": ["$domain"]}]}));
        check(vec![domain("a"), domain("b"), rules, each], &[]);
    }

    #[test]
    fn a_domain_that_is_not_declared_is_found() {
        let topology = resource("Topology", "main", json!({"links": [{"domain": "hub", "neighbors": ["c"]}]}));
        check(vec![domain("a"), topology.clone()], &["tidings.dev/v1/Topology/main spec in 'default': the domain 'c'"]);
        check(vec![domain("c"), topology], &[]);
    }

    #[test]
    fn names_are_closed_to_all_but_those_whom_a_rule_names() {
        let acl = json!({"subjects": ["a.>"], "publish": ["token:t", "domain:d/token:t", "domain:d", "*"]});
        let declared = plan::check(plan::documents(resource("NameAcl", "acl", acl)).unwrap()).unwrap();
        let (d, t): (Name, Arc<str>) = (Name::parse("d").unwrap(), "t".into());
        let whos = vec![Who::Principal(t.clone()), Who::Member(d.clone(), t), Who::Domain(d), Who::Anyone];
        assert_eq!(rules(&declared)[0].publish, Some(whos));
        assert_eq!(who("token:domain:d"), Some(Who::Principal("domain:d".into())), "a name is a name");
        let everyone = resource("NameAcl", "acl", json!({"subjects": ["a.>"], "publish": ["token:*"]}));
        assert!(plan::check(plan::documents(everyone).unwrap()).is_err());
    }
}
