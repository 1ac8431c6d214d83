//! What a reader leaves out of an answer: by tag, by metadata of the node, by state, by an expression, by right.

use catalog::filter::{CatalogService, Filter, Selectable};
use catalog::{Check, Health, Node, Status, UserEvent};
use door::{Catalogue, Principal};

use crate::codec::{Fault, Params};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sieve {
    /// All of these, in any case.
    tags: Vec<String>,
    /// All of these pairs.
    node_meta: Vec<(String, String)>,
    /// No check that does not pass.
    passing: bool,
    /// An expression.
    filter: Option<Filter>,
    /// It as it was written.
    written: String,
}

impl Sieve {
    /// What the parameters say of things of a kind.
    ///
    /// # Errors
    /// [`Fault`]: an expression or a flag cannot be read.
    pub(crate) fn of<S: Selectable + ?Sized>(params: &Params) -> Result<Self, Fault> {
        let written = params.text("filter").to_owned();
        let filter = match written.trim() {
            "" => None,
            text => Some(Filter::parse::<S>(text).map_err(|error| Fault::internal(error.to_string()))?),
        };
        Ok(Sieve {
            tags: params.all("tag").map(str::to_lowercase).collect(),
            node_meta: params.node_meta(),
            passing: params.flag("passing")?,
            filter,
            written,
        })
    }

    /// Names what is left out: two that leave out different things have different names.
    pub(crate) fn key(&self) -> String {
        let mut key = String::from(if self.passing { "p" } else { "" });
        // Each part begins with its length, so that no text can stand for another's parts.
        let mut part = |kind: char, text: &str| {
            key.push(kind);
            crate::codec::json::number(&mut key, text.len() as i128);
            key.push(':');
            key.push_str(text);
        };
        self.tags.iter().for_each(|tag| part('t', tag));
        for (name, value) in &self.node_meta {
            part('m', name);
            part('v', value);
        }
        if !self.written.is_empty() {
            part('f', &self.written);
        }
        key
    }

    /// Whether nothing is said of nodes.
    pub(crate) fn takes_all_nodes(&self) -> bool {
        self.node_meta.is_empty()
    }

    /// Whether a node's metadata fit.
    pub(crate) fn fits(&self, node: &Node) -> bool {
        self.node_meta.iter().all(|(key, value)| node.meta.get(key).is_some_and(|own| **own == **value))
    }

    /// Whether an instance stays, as `health/service` shows it.
    pub(crate) fn health(&self, health: &Health) -> bool {
        self.instance(health)
            && (!self.passing || health.checks.iter().all(|check| check.status == Status::Passing))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(health))
    }

    /// Whether an instance stays, as `catalog/service` shows it.
    pub(crate) fn catalog(&self, health: &Health) -> bool {
        self.instance(health) && self.filter.as_ref().is_none_or(|filter| filter.matches(&CatalogService(health)))
    }

    fn instance(&self, health: &Health) -> bool {
        let has = |tag: &String| health.service.tags.iter().any(|own| own.to_lowercase() == *tag);
        self.tags.iter().all(has) && self.fits(&health.node)
    }

    /// Whether a service of a node stays, as `agent/services` and `catalog/node` show it.
    pub(crate) fn service(&self, health: &Health) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&*health.service))
    }

    /// Whether a node stays.
    pub(crate) fn node(&self, node: &Node) -> bool {
        self.fits(node) && self.filter.as_ref().is_none_or(|filter| filter.matches(node))
    }

    /// Whether a check stays.
    pub(crate) fn check(&self, node: &Node, check: &Check) -> bool {
        self.fits(node) && self.filter.as_ref().is_none_or(|filter| filter.matches(check))
    }
}

/// What a reader may see.
#[derive(Debug, Clone)]
pub(crate) struct Sight(Option<Principal>);

impl Sight {
    pub(crate) fn of(who: &Principal) -> Self {
        Sight(Some(who.clone()).filter(|who| !who.reads_everything()))
    }

    /// Whether nothing is hidden.
    pub(crate) fn sees_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Names who sees, where not everyone who may see everything is meant.
    pub(crate) fn key(&self, rights: u64) -> String {
        self.0.as_ref().map(|who| format!("{rights} {}", who.name())).unwrap_or_default()
    }

    /// Whether a service may be seen.
    pub(crate) fn service(&self, catalogue: &Catalogue, name: &str) -> bool {
        self.0.as_ref().is_none_or(|who| catalogue.may_read(who, name))
    }

    /// Whether a node may be seen.
    pub(crate) fn node(&self, catalogue: &Catalogue, name: &str) -> bool {
        self.subject(|| catalog::node_subject(catalogue.datacenter(), name))
    }

    /// Whether a key may be seen.
    pub(crate) fn key_named(&self, catalogue: &Catalogue, key: &str) -> bool {
        self.subject(|| catalog::key_subject(catalogue.datacenter(), key))
    }

    /// Whether a session may be seen. Who knows its id can hold keys by it, so its node's right is not enough.
    pub(crate) fn session(&self, catalogue: &Catalogue, id: &str) -> bool {
        self.subject(|| catalog::session_subject(catalogue.datacenter(), id))
    }

    /// Whether a user event may be seen.
    pub(crate) fn event(&self, catalogue: &Catalogue, event: &UserEvent) -> bool {
        self.subject(|| catalog::event_subject(catalogue.datacenter(), &event.name, &event.id))
    }

    /// Whether a check may be seen: its service's, else its node's right decides.
    pub(crate) fn check(&self, catalogue: &Catalogue, check: &Check) -> bool {
        if check.service_name.is_empty() {
            self.node(catalogue, &check.node)
        } else {
            self.service(catalogue, &check.service_name)
        }
    }

    fn subject(&self, subject: impl FnOnce() -> String) -> bool {
        self.0.as_ref().is_none_or(|who| who.may_read(&subject()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_out_different_things_has_different_names() {
        let queries = ["", "passing", "tag=a", "tag=a&tag=b", "tag=at1:b", "tag=b&tag=a", "node-meta=a:b", "tag=p"];
        let key = |query: &&str| Sieve::of::<Health>(&Params::parse(query)).unwrap().key();
        let keys: std::collections::BTreeSet<String> = queries.iter().map(key).collect();
        assert_eq!(keys.len(), queries.len(), "{keys:?}");
        assert_eq!(key(&""), "");
    }
}
