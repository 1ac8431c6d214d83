//! Which facts a subscription is about.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use event::{Fact, Pattern};

use crate::kinds::MatchSpec;

/// What a fact must be. A fact passes that has one of the types or matches one of the patterns, and one of
/// the prefixes, all of the pairs and one of the nodes, where there are any.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    types: BTreeSet<String>,
    patterns: Vec<Pattern>,
    prefixes: Vec<String>,
    payload: BTreeMap<String, String>,
    nodes: BTreeSet<String>,
}

impl Matching {
    /// What a subscription says. A pattern that breaks the grammar matches nothing; a checked document has
    /// none.
    pub fn new(spec: &MatchSpec) -> Self {
        Matching {
            types: spec.types.iter().cloned().collect(),
            patterns: spec.patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect(),
            prefixes: spec.subject_prefixes.clone(),
            payload: spec.payload.clone(),
            nodes: spec.source_nodes.iter().cloned().collect(),
        }
    }

    /// Whether the fact is one of them. A pair with an empty value also holds where the key is absent.
    pub fn matches(&self, fact: &Fact) -> bool {
        let kind = self.types.contains(&fact.kind) || self.patterns.iter().any(|pattern| pattern.matches(&fact.kind));
        let said = |key: &String| fact.payload.get(key).map(String::as_str).unwrap_or_default();
        kind && (self.prefixes.is_empty()
            || self.prefixes.iter().any(|prefix| fact.subject.starts_with(prefix.as_str())))
            && self.payload.iter().all(|(key, wanted)| said(key) == wanted)
            && (self.nodes.is_empty() || self.nodes.contains(&fact.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;

    #[track_caller]
    fn check(change: impl Fn(&mut MatchSpec), expected: bool) {
        let mut fact = Fact::new("edge", "e1", "routerd.client.ipv4.observed");
        fact.source = "site-a".to_owned();
        fact.subject = "10.88.60.9/32".to_owned();
        fact.payload.insert("source".to_owned(), "arp".to_owned());
        let mut spec = MatchSpec { types: vec![fact.kind.clone()], ..MatchSpec::default() };
        change(&mut spec);
        assert_eq!(Matching::new(&spec).matches(&fact), expected);
    }

    #[test]
    fn types_are_exact_and_everything_else_narrows() {
        check(|_| (), true);
        check(|spec| spec.types = vec!["routerd.client.ipv4".into()], false);
        check(|spec| spec.types.clear(), false);
        check(|spec| spec.subject_prefixes = vec!["10.99.".into(), "10.88.".into()], true);
        check(|spec| spec.subject_prefixes = vec!["10.99.".into()], false);
        check(|spec| spec.payload = [("source".into(), "arp".into())].into(), true);
        check(|spec| spec.payload = [("source".into(), "ndp".into())].into(), false);
        check(|spec| spec.payload = [("source".into(), "arp".into()), ("vlan".into(), "5".into())].into(), false);
        check(|spec| spec.payload = [("vlan".into(), String::new())].into(), true);
        check(|spec| spec.source_nodes = vec!["site-b".into(), "site-a".into()], true);
        check(|spec| spec.source_nodes = vec!["site".into()], false);
    }

    #[test]
    fn a_pattern_widens_the_types() {
        let only = |pattern: &'static str| {
            move |spec: &mut MatchSpec| {
                spec.types.clear();
                spec.patterns = vec![pattern.into()];
            }
        };
        check(only("routerd.client.*.observed"), true);
        check(only("routerd.>"), true);
        check(only("routerd.client.*"), false);
        check(only("routerd..x"), false);
        check(|spec| spec.patterns = vec!["other.>".into()], true);
    }
}
