//! Protobuf data as people read it: decoded here, by the schema that the node binds to the subject.
//!
//! The node is asked once for its list, and again at most every [`LIST_LIFETIME`] while events come; each
//! schema is fetched when there is data for it. A node that cannot be asked leaves the data as it is:
//! showing an event never fails for its schema.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use event::{Headers, Message, Pattern, Subject};
use schema::Schema;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Request};
use super::record::{Decoded, Record};
use super::schema::fetched;

/// How long a list of schemas counts as new, while events come.
const LIST_LIFETIME: Duration = Duration::from_secs(5);

/// What decodes.
pub struct Decoder {
    client: Option<Client>,
    listed: Option<Instant>,
    bound: Vec<Bound>,
    compiled: HashMap<(String, String), Option<Rc<Schema>>>,
}

struct Bound {
    name: String,
    /// Changes with each change of the schema.
    version: String,
    subjects: Vec<Pattern>,
}

#[derive(Deserialize)]
struct Listed {
    schemas: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    name: String,
    spec: Spec,
    status: Value,
}

#[derive(Deserialize)]
struct Spec {
    subjects: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
}

impl Decoder {
    /// One that asks a node; with `raw`, one that decodes nothing.
    pub fn new(client: &Client, raw: bool) -> Self {
        let client = (!raw).then(|| client.clone());
        Decoder { client, listed: None, bound: Vec::new(), compiled: HashMap::new() }
    }

    /// Decodes what a schema is bound to.
    pub fn decode(&mut self, record: &mut Record) {
        let Some(client) = self.client.clone() else { return };
        if self.listed.is_none_or(|listed| listed.elapsed() > LIST_LIFETIME) {
            self.list(&client);
        }
        let bound = self.bound.iter().filter(|bound| bound.subjects.iter().any(|each| each.matches(&record.subject)));
        for key in bound.map(|bound| (bound.name.clone(), bound.version.clone())).collect::<Vec<_>>() {
            let schema =
                self.compiled.entry(key).or_insert_with_key(|(name, _)| fetched(&client, name).ok().map(Rc::new));
            let Some(schema) = schema.clone() else { continue };
            let Some(message) = message(&record.subject, record.payload(), record.content_type()) else { continue };
            if let Ok(Some(value)) = schema.decode(&message) {
                record.decoded = Some(Decoded { schema: schema.name().to_owned(), value });
                return;
            }
        }
    }

    fn list(&mut self, client: &Client) {
        self.listed = Some(Instant::now());
        let Ok(listed) = client.ask_json::<Listed>(&Request::get(&["schemas"])) else { return };
        let protobuf = listed.schemas.into_iter().filter(|schema| schema.spec.kind == "protobuf");
        let bound = protobuf.map(|schema| Bound {
            name: schema.name,
            version: schema.status.to_string(),
            subjects: schema.spec.subjects.iter().filter_map(|text| Pattern::parse(text).ok()).collect(),
        });
        self.bound = bound.collect();
        let bound = &self.bound;
        self.compiled
            .retain(|(name, version), _| bound.iter().any(|each| each.name == *name && each.version == *version));
    }
}

/// A message to hold against a schema.
pub fn message(subject: &str, data: Vec<u8>, content_type: &str) -> Option<Message> {
    let mut message = Message::new(Subject::parse(subject).ok()?, data);
    if !content_type.is_empty() {
        message.headers = Headers::from_pairs([("content-type", content_type)]).ok()?;
    }
    Some(message)
}
