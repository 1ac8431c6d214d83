//! Commands, judged: what they come to as things stand, or why they cannot be.
//!
//! Judging changes nothing and reads no clock. What it gives names what it was judged by, so a command that lost a race
//! is judged again. Where all is as the command wants it already, nothing is written.

mod keys;
mod plan;
mod register;
mod sessions;
mod validate;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Moment, Subject};

use crate::address::Address;
use crate::command::{Command, Fire, Judged, Outcome, Refused, SetCheck};
use crate::limits::{EVENT_BYTES_MAX, EVENT_KEPT, OUTPUT_EVERY, REMOVAL_KEPT};
use crate::model::{Check, Status};
use crate::state::{State, header};
use crate::write::{Expectation, Write};
use plan::Plan;
use validate::{cut, name};

impl State {
    /// What a command comes to, as things stand.
    ///
    /// # Errors
    /// [`Refused`], in the original's words where there are some.
    pub fn judge(&self, command: &Command, now: Moment) -> Result<Judged, Refused> {
        match command {
            Command::Register(register) => register::judge(self, register, now),
            Command::Deregister { node, service_id, check_id } => deregister(self, node, service_id, check_id, now),
            Command::SetCheck(set) => set_check(self, set, now),
            Command::Maintenance { node, service_id, enable, reason } => {
                maintenance(self, node, service_id, *enable, reason, now)
            }
            Command::KeyPut(put) => keys::put(self, put, now),
            Command::KeyDelete { key, recurse, cas } => keys::delete(self, key, *recurse, *cas, now),
            Command::Txn(operations) => keys::transact(self, operations, now),
            Command::SessionCreate(create) => sessions::create(self, create, now),
            Command::SessionDestroy { id } => sessions::destroy(self, id, now),
            Command::SessionRenew { id } => sessions::renew(self, id),
            Command::Fire(fire) => fired(self, fire),
        }
    }
}

/// All of it, or nothing.
fn done(writes: Vec<Write>) -> Judged {
    Judged { writes, atomic: true, outcome: Outcome::Done }
}

/// The headers of a record: an event that says what it states.
fn headers(state: &State, subject: &Subject, kind: &str, expect: Expectation) -> Result<Headers, Refused> {
    let last = match expect {
        Expectation::Subject(last) | Expectation::Stream(last) => last,
        Expectation::Any => state.position(),
    };
    // One message follows each last position of a subject.
    let id = format!("{subject}/{last}");
    let source = format!("/catalog/{}", event::encode_token(state.datacenter()));
    let pairs = [("ce-specversion", "1.0"), ("ce-id", id.as_str()), ("ce-source", source.as_str()), ("ce-type", kind)];
    Headers::from_pairs(pairs).map_err(|why| Refused::invalid(format!("Invalid name: {why}")))
}

/// A record of what there is.
fn record(
    state: &State,
    address: &Address<'_>,
    kind: &str,
    payload: Vec<u8>,
    last: Option<u64>,
    now: Moment,
) -> Result<Write, Refused> {
    let subject = address.subject(state.datacenter())?;
    let expect = state.expect(&subject, last, now);
    let headers = headers(state, &subject, kind, expect)?.with("content-type", "application/json");
    let headers = headers.map_err(|why| Refused::invalid(why.to_string()))?;
    Ok(Write { subject, headers, payload: payload.into(), expect, removal: false, ttl: None })
}

/// Says that a thing went.
fn removal(state: &State, address: &Address<'_>, kind: &str, last: u64, now: Moment) -> Result<Write, Refused> {
    let subject = address.subject(state.datacenter())?;
    let expect = state.expect(&subject, Some(last), now);
    let headers = headers(state, &subject, kind, expect)?;
    Ok(Write { subject, headers, payload: Bytes::new(), expect, removal: true, ttl: Some(REMOVAL_KEPT) })
}

fn deregister(state: &State, node: &str, service: &str, check: &str, now: Moment) -> Result<Judged, Refused> {
    if node.is_empty() {
        return Err(Refused::failed("Must provide node"));
    }
    let mut plan = Plan::new(state, node, now);
    if !service.is_empty() {
        plan.remove_instance(service);
    } else if !check.is_empty() {
        plan.remove_check(check);
    } else {
        plan.remove_all();
        let writes = plan.writes()?;
        return Ok(Judged { atomic: false, ..done(writes) });
    }
    Ok(done(plan.writes()?))
}

fn set_check(state: &State, set: &SetCheck, now: Moment) -> Result<Judged, Refused> {
    let found = state.check(&set.node, &set.check_id);
    let has_ttl = |check: &Check| check.definition.as_ref().is_some_and(|definition| definition.ttl.is_some());
    let Some(old) = found.filter(|check| !set.ttl || has_ttl(check)) else {
        let id = &set.check_id;
        return Err(if set.ttl {
            Refused::failed(format!("CheckID {id:?} does not have associated TTL"))
        } else {
            Refused::not_found(format!("Unknown check ID {id:?}"))
        });
    };
    let output = cut(&set.output);
    // What a check says first is news.
    let waits = !old.output.is_empty() && now.since(old.recorded) < OUTPUT_EVERY;
    if old.status == set.status && (*old.output == *output || waits) {
        return Ok(done(Vec::new()));
    }
    let check = Check { status: set.status, output: output.into(), ..(**old).clone() };
    let mut plan = Plan::new(state, &set.node, now);
    plan.put_check(check);
    Ok(done(plan.writes()?))
}

/// The check that stands for the maintenance of an instance, or of a node.
fn maintenance_id(service: &str) -> String {
    if service.is_empty() { "_node_maintenance".into() } else { format!("_service_maintenance:{service}") }
}

fn maintenance(
    state: &State,
    node: &str,
    service: &str,
    enable: bool,
    reason: &str,
    now: Moment,
) -> Result<Judged, Refused> {
    let instance = state.instance(node, service);
    if !service.is_empty() && instance.is_none() {
        return Err(Refused::not_found(format!("No service registered with ID {service:?}")));
    }
    let mut plan = Plan::new(state, node, now);
    let id = maintenance_id(service);
    if !enable {
        plan.remove_check(&id);
        return Ok(done(plan.writes()?));
    }
    if state.check(node, &id).is_some() {
        return Ok(done(Vec::new()));
    }
    let (what, title) = if service.is_empty() { ("node", "Node") } else { ("service", "Service") };
    let notes = match reason {
        "" => format!(
            "Maintenance mode is enabled for this {what}, but no reason was provided. This is a default message."
        ),
        reason => cut(reason).into(),
    };
    let mut check = plan.new_check(&id, &format!("{title} Maintenance Mode"), service);
    check.status = Status::Critical;
    check.notes = notes.into();
    plan.put_check(check);
    Ok(done(plan.writes()?))
}

fn fired(state: &State, fire: &Fire) -> Result<Judged, Refused> {
    if fire.name.is_empty() {
        return Err(Refused::invalid("Missing name"));
    }
    name("event", &fire.name)?;
    if fire.payload.len() > EVENT_BYTES_MAX {
        return Err(Refused::too_large("user event exceeds sane limit of 65536 bytes before encoding"));
    }
    let address = Address::Event { name: fire.name.as_str().into(), id: fire.id.as_str().into() };
    let subject = address.subject(state.datacenter())?;
    // Fired once, though it be judged again.
    let expect = Expectation::Subject(0);
    let mut headers = headers(state, &subject, "catalog.event.fired", expect)?;
    let filters = [
        (header::NODE_FILTER, &fire.node_filter),
        (header::SERVICE_FILTER, &fire.service_filter),
        (header::TAG_FILTER, &fire.tag_filter),
    ];
    for (name, filter) in filters {
        if !filter.is_empty() {
            headers = headers.with(name, filter).map_err(|why| Refused::invalid(format!("Invalid filter: {why}")))?;
        }
    }
    let ttl: Option<Duration> = Some(EVENT_KEPT);
    let write = Write { subject, headers, payload: fire.payload.clone(), expect, removal: false, ttl };
    Ok(done(alloc::vec![write]))
}
