//! A fact told here: what the API takes, and the fact that it is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use door::Principal;
use door_http::problem::Problem;
use door_http::{Told, Which, captured, no_such};
use event::units::Span;
use event::{Fact, Moment};
use federation::intake::Reject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Federation;
use super::group::{Found, Group, Refusal};

/// The body of a request. Field names are routerd's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Telling {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    payload: BTreeMap<String, String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    observed_at: Option<String>,
    #[serde(default)]
    dedupe_key: String,
    #[serde(default)]
    source_node: Option<String>,
    #[serde(default)]
    withdrawn: bool,
}

impl Telling {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            Problem::field(if path == "." { "" } else { &path }, &error.inner().to_string())
        })
    }

    /// The fact, told at `now` by a node, with an id that was made up where none is given.
    fn fact(self, group: &Group, now: Moment, made_up: impl FnOnce() -> String) -> Result<Fact, Problem> {
        let observed = match &self.observed_at {
            None => group.facts.lock().stamp(&self.id, now),
            Some(text) => Moment::parse(text).map_err(|error| Problem::field("observedAt", &error.to_string()))?,
        };
        let ttl = match &self.ttl {
            None => None,
            Some(text) => {
                let span: Span =
                    text.parse().map_err(|error: event::units::SpanError| Problem::field("ttl", &error.to_string()))?;
                if span.0 < Duration::from_secs(1) {
                    return Err(Problem::field("ttl", "must be at least 1s: expiries have whole seconds on the wire"));
                }
                Some(span.0)
            }
        };
        let mut kind = self.kind;
        if self.withdrawn && self.id.is_empty() {
            return Err(Problem::field("id", "is needed to take a fact back"));
        }
        if kind.is_empty() && self.withdrawn {
            // What is taken back is known by its id.
            let known = group.entry(&self.id);
            let known =
                known.ok_or_else(|| no_such("fact", &self.id, "tidings event list --group shows those that hold"))?;
            kind = known.kind.to_string();
        }
        let id = if self.id.is_empty() { made_up() } else { self.id };
        let mut fact = Fact::new(&group.name, id, kind);
        fact.source = self.source_node.unwrap_or_else(|| group.own_node());
        (fact.subject, fact.payload, fact.withdrawn) = (self.subject, self.payload, self.withdrawn);
        fact.dedupe_key = self.dedupe_key;
        fact.observed = Some(observed);
        fact.expires = ttl.map(|ttl| observed.after(ttl));
        federation::envelope::normalise(&mut fact).map_err(|error| {
            let what = error.to_string();
            let field = ["id", "group", "type"].into_iter().find(|field| what.contains(&format!("event {field} is")));
            Problem::field(field.unwrap_or(""), "must not be empty")
        })?;
        Ok(fact)
    }
}

impl Federation {
    /// Records a fact that is told here.
    pub(super) async fn emit(&self, who: &Principal, group: &str, body: &Bytes) -> Result<Told, Problem> {
        let group = self.group(group)?;
        let made_up = || {
            let chance = crate::entropy::seed().map_or(0, |[word, _]| word);
            format!("evt-{}-{chance:016x}", self.port.now().nanos())
        };
        let fact = Telling::read(body)?.fact(&group, self.port.now(), made_up)?;
        let taken = group.tell(who, &fact).await.map_err(problem)?;
        let body = json!({"id": fact.id, "group": group.name, "stream": group.stream, "seq": taken.seq,
            "duplicate": taken.duplicate, "sourceNode": fact.source});
        Ok(Told { created: !taken.duplicate, index: None, body })
    }

    /// Facts, oldest first; where there is a limit, the newest.
    pub(super) async fn facts(&self, which: &Which) -> Result<Told, Problem> {
        let limit = which.limit.unwrap_or(usize::MAX);
        let mut shown: Vec<(Moment, Value)> = Vec::new();
        for group in self.groups_of(which.group.as_deref())? {
            let now = self.port.now();
            let mut found = Vec::new();
            let wanted = |found: &Found| which.kind.as_ref().is_none_or(|kind| *kind == found.stored.fact.kind);
            if which.include_expired {
                group
                    .records(1, |each| {
                        found.push(each);
                        true
                    })
                    .await
                    .map_err(Problem::from)?;
            } else {
                let seqs: Vec<u64> = group.facts.lock().live(now).map(|entry| entry.seq).collect();
                for seq in seqs {
                    found.extend(group.read(seq).await);
                }
            }
            let entry = |found: &Found| group.entry(&found.stored.fact.id);
            shown.extend(found.iter().filter(|found| wanted(found)).map(|found| {
                let live = entry(found).is_some_and(|entry| entry.seq == found.seq && entry.is_live(now));
                (found.recorded, fact_json(found, live))
            }));
        }
        shown.sort_by_key(|(recorded, _)| *recorded);
        let skip = shown.len().saturating_sub(limit);
        let events: Vec<Value> = shown.into_iter().skip(skip).map(|(_, fact)| fact).collect();
        Ok(json!({ "events": events }).into())
    }
}

/// A fact as the API shows it.
pub(super) fn fact_json(found: &Found, live: bool) -> Value {
    let Found { seq, recorded, stored } = found;
    let fact = &stored.fact;
    let mut shown = json!({
        "id": fact.id, "group": fact.group, "type": fact.kind, "dedupeKey": fact.dedupe_key,
        "payload": fact.payload, "recordedAt": recorded.to_string(), "seq": seq, "live": live,
    });
    let optional = [
        ("sourceNode", Some(fact.source.clone()).filter(|text| !text.is_empty())),
        ("subject", Some(fact.subject.clone()).filter(|text| !text.is_empty())),
        ("observedAt", fact.observed.map(|moment| moment.to_string())),
        ("expiresAt", fact.expires.map(|moment| moment.to_string())),
        ("via", stored.via.clone()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            shown[name] = value.into();
        }
    }
    if fact.withdrawn {
        shown["withdrawn"] = true.into();
    }
    shown
}

/// Why a fact told here was not recorded, as a problem.
fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Publish(error) => Problem::from(error),
        Refusal::Reject(reject @ Reject::SelfCapture { .. }) => captured(reject.body().trim_end()),
        Refusal::Reject(reject) => Problem::request(reject.body().trim_end()),
    }
}
