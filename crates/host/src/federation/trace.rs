//! Where a fact went, told afterwards from what was recorded.
//!
//! The hops of one node: the records of the fact in its group's stream, what became of each towards each
//! peer, the runs it was in and the parts that came of them, and refusals. Peers that allow it are asked
//! for theirs. Costs a scan of the fact's type in the stream and of the ledger, both bounded by retention.

use door_http::Told;
use door_http::problem::Problem;
use event::Moment;
use federation::deliveries::{Delivery, Status};
use federation::stored::Stored;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Federation;
use super::group::{Found, Group};
use super::ledger::{Entry, Ledger};

/// One thing that happened to a fact.
struct Hop {
    at: Moment,
    what: String,
    detail: Value,
}

impl Hop {
    fn to_json(&self, node: &str) -> Value {
        json!({"node": node, "at": self.at.to_string(), "what": self.what, "detail": self.detail})
    }
}

/// What a record of a fact is, by what was there before.
fn record_hop(found: &Found, before: bool) -> Hop {
    let Found { seq, recorded, stored: Stored { fact, via } } = found;
    let what = match (fact.withdrawn, via, before) {
        (true, _, _) => "withdrawn",
        (false, _, true) => "refreshed",
        (false, Some(_), false) => "received",
        (false, None, false) => "recorded",
    };
    let mut detail = json!({"seq": seq, "type": fact.kind, "sourceNode": fact.source});
    let told = [
        ("subject", Some(fact.subject.clone()).filter(|text| !text.is_empty())),
        ("via", via.clone()),
        ("observedAt", fact.observed.map(|at| at.to_string())),
        ("expiresAt", fact.expires.map(|at| at.to_string())),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            detail[name] = value.into();
        }
    }
    Hop { at: *recorded, what: what.to_owned(), detail }
}

fn time(value: &Value) -> Option<Moment> {
    value.as_str().and_then(|text| Moment::parse(text).ok())
}

/// Whether an entry of the ledger speaks of a fact.
fn speaks_of(value: &Value, id: &str) -> bool {
    let is = |value: &Value| value.as_str() == Some(id) || value["id"].as_str() == Some(id);
    is(&value["id"]) || value["facts"].as_array().is_some_and(|facts| facts.iter().any(is))
}

/// What an entry of the ledger other than of deliveries says of a fact.
fn ledger_hop(entry: &Entry, group: &str, id: &str) -> Option<Hop> {
    let value: Value = serde_json::from_slice(&entry.data).ok()?;
    if !speaks_of(&value, id) || value["group"].as_str().is_some_and(|other| other != group) {
        return None;
    }
    let what = match entry.kind.as_str() {
        "fact.refused" => "refused",
        "part.dropped" => "dropped",
        "run" => match value["status"].as_str()? {
            "started" => "matched",
            "succeeded" => "derived",
            "dead" => "dead",
            _ => "run",
        },
        _ => return None,
    };
    let at = time(&value["endedAt"]).or_else(|| time(&value["startedAt"])).or_else(|| time(&value["at"]));
    Some(Hop { at: at.unwrap_or(entry.time), what: what.to_owned(), detail: value })
}

/// The hops of a fact on this node, oldest first.
pub(super) async fn hops(group: &Group, ledger: &Ledger, now: Moment, id: &str) -> Vec<Value> {
    let mut hops = Vec::new();
    let mut before = false;
    let scan = group.records(1, |found| {
        if found.stored.fact.id == id {
            hops.push(record_hop(&found, before));
            before = true;
        }
        true
    });
    // A stream that cannot be read has no hops to tell; the others are told.
    let _unread = scan.await;
    for token in ["refusals", "parts", "runs"] {
        let _unread = ledger.entries(token, |entry| hops.extend(ledger_hop(&entry, &group.name, id))).await;
    }
    hops.extend(group.deliveries_of(ledger, id).await.iter().map(|delivery| delivery_hop(&group.name, now, delivery)));
    if let Some(entry) = group.entry(id)
        && let Some(expires) = entry.expires.filter(|at| *at < now && !entry.withdrawn)
    {
        hops.push(Hop { at: expires, what: String::from("expired"), detail: json!({}) });
    }
    hops.sort_by_key(|hop| hop.at);
    let node = group.own_node();
    hops.iter().map(|hop| hop.to_json(&node)).collect()
}

fn delivery_hop(group: &str, now: Moment, delivery: &Delivery) -> Hop {
    let what = match delivery.status {
        Status::Delivered => "pushed",
        Status::Failed => "failed",
        Status::Skipped | Status::Expired => "skipped",
        Status::Pending => "pending",
    };
    let at = delivery.delivered.or(delivery.last_attempt).unwrap_or(now);
    Hop { at, what: what.to_owned(), detail: delivery_json(group, delivery) }
}

/// A delivery as the API shows it.
pub(super) fn delivery_json(group: &str, delivery: &Delivery) -> Value {
    let mut shown = json!({"eventId": *delivery.id, "group": group, "peer": *delivery.peer,
        "status": delivery.status.word(), "attempts": delivery.attempts, "seq": delivery.seq});
    let times = [
        ("lastAttemptAt", delivery.last_attempt),
        ("deliveredAt", delivery.delivered),
        ("eventExpiresAt", delivery.expires),
    ];
    for (name, at) in times {
        if let Some(at) = at {
            shown[name] = at.to_string().into();
        }
    }
    if let Some(error) = &delivery.last_error {
        shown["lastError"] = (**error).into();
    }
    shown
}

impl Federation {
    /// The hops of a fact here and, where asked for, at the peers of its group.
    ///
    /// # Errors
    /// Where there is no such group.
    pub(super) async fn trace(&self, id: &str, group: Option<&str>, ask_peers: bool) -> Result<Told, Problem> {
        let mut whole: Vec<Value> = Vec::new();
        let mut asked = Vec::new();
        let mut named = group.map(str::to_owned);
        for group in self.groups_of(group)? {
            let mut found = hops(&group, &self.ledger, self.port.now(), id).await;
            if !found.is_empty() {
                named.get_or_insert_with(|| group.name.clone());
            }
            whole.append(&mut found);
            if ask_peers {
                let peers = self.peers_of(&group.name);
                let answers = join_all(peers.iter().map(|peer| peer.ask(id))).await;
                for (peer, answer) in peers.iter().zip(answers) {
                    match answer {
                        Ok(Value::Array(mut theirs)) => {
                            asked.push(json!({"peer": peer.name, "answered": true}));
                            whole.append(&mut theirs);
                        }
                        Ok(_) => asked.push(
                            json!({"peer": peer.name, "answered": false, "error": "the answer is no list of hops"}),
                        ),
                        Err(error) => asked.push(json!({"peer": peer.name, "answered": false, "error": error})),
                    }
                }
            }
        }
        whole.sort_by_key(|hop| time(&hop["at"]));
        Ok(json!({"id": id, "group": named, "hops": whole, "asked": asked}).into())
    }
}
