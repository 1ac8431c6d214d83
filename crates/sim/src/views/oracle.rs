//! What is so after each position, as a child would keep it: no table, no index, all of it again for each message.

use std::collections::BTreeMap;

use journal::Stored;
use serde_json::Value;

use super::reader::{Facts, Moment, Short};
use super::story::SERVICES;

/// An instance: its service, port and checks, and where it last changed.
#[derive(Debug, Clone)]
struct Instance {
    service: String,
    said: String,
    changed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    addresses: BTreeMap<String, String>,
    instances: BTreeMap<(String, String), Instance>,
    kept: Facts,
    /// By service; under the empty name what the kept table holds.
    history: BTreeMap<String, Vec<Moment>>,
}

impl Oracle {
    /// Nothing is so.
    pub fn new() -> Self {
        let mut oracle = Oracle::default();
        oracle.note(None, None);
        oracle
    }

    /// What was so of a service after each position.
    pub fn history(&self, service: &str) -> &[Moment] {
        self.history.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is so of a service.
    pub fn now(&self, service: &str) -> &Facts {
        static NOTHING: Facts = Facts::new();
        self.history(service).last().map_or(&NOTHING, |moment| &moment.facts)
    }

    /// A message is recorded.
    pub fn fold(&mut self, stored: &Stored) -> Result<(), String> {
        let (at, payload) = (stored.seq, &stored.message.payload);
        let subject = stored.message.subject.to_string();
        match payload.len() {
            0 => _ = self.kept.remove(&(subject.clone(), String::new())),
            size => _ = self.kept.insert((subject.clone(), String::new()), (size.to_string(), at)),
        }
        let value: Value = if payload.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(payload).map_err(|why| why.to_string())?
        };
        let mut spoken = None;
        match subject.split('.').skip(2).collect::<Vec<_>>().as_slice() {
            ["%node", node] => self.node(at, node, &value),
            [service, node, id] => {
                let key = (node.to_string(), id.to_string());
                spoken = Some((service.to_string(), key.clone()));
                self.instance(at, service, key, &value);
            }
            other => return Err(format!("a subject that nobody meant: {other:?}")),
        }
        self.note(spoken, Some((subject, String::new())));
        Ok(())
    }

    fn node(&mut self, at: u64, node: &str, value: &Value) {
        match value["Node"]["Address"].as_str() {
            Some(address) => _ = self.addresses.insert(node.to_owned(), address.to_owned()),
            None => _ = self.addresses.remove(node),
        }
        let on_it = self.instances.iter_mut().filter(|((on, _), _)| on == node);
        on_it.for_each(|(_, instance)| instance.changed = at);
    }

    fn instance(&mut self, at: u64, service: &str, key: (String, String), value: &Value) {
        let old = self.instances.get(&key).filter(|old| old.service == service);
        if value.is_null() {
            if old.is_some() {
                self.instances.remove(&key);
            }
            return;
        }
        let checks = value["Checks"].as_array().into_iter().flatten();
        let checks: Vec<_> = checks.filter_map(|check| check["Status"].as_str()).collect();
        let said = format!("{} {}", value["Service"]["Port"], checks.join(","));
        if old.is_some_and(|old| old.said == said) {
            return;
        }
        self.instances.insert(key, Instance { service: service.to_owned(), said, changed: at });
    }

    /// Keeps what is so after a position, and what was spoken of: an instance of a service, and a subject.
    fn note(&mut self, instance: Option<(String, Short)>, subject: Option<Short>) {
        for service in SERVICES {
            let facts = self.instances.iter().filter(|(_, instance)| instance.service == service);
            let facts = facts.map(|(key, instance)| {
                let address = self.addresses.get(&key.0).map(String::as_str).unwrap_or_default();
                (key.clone(), (format!("{address}:{}", instance.said), instance.changed))
            });
            let spoken = instance.iter().filter(|(of, _)| of == service).map(|(_, key)| key.clone());
            let moment = Moment { facts: facts.collect(), spoken: spoken.collect() };
            self.history.entry(service.to_owned()).or_default().push(moment);
        }
        let moment = Moment { facts: self.kept.clone(), spoken: subject.into_iter().collect() };
        self.history.entry(String::new()).or_default().push(moment);
    }
}
