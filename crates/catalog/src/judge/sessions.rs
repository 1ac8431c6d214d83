//! Sessions: begun, asked for, ended.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;
use event::units::Span;

use super::keys::Keys;
use super::validate::name;
use super::{done, record, removal};
use crate::address::Address;
use crate::command::{Judged, Outcome, Refused, SessionCreate};
use crate::limits::{LOCK_DELAY_DEFAULT, LOCK_DELAY_MAX, SESSION_TTL_MAX, SESSION_TTL_MIN};
use crate::model::{Behavior, Session, Status};
use crate::state::State;
use crate::stored::{self, SessionRecord};

/// The check that every agent of the original has.
const ALIVE: &str = "serfHealth";

pub(super) fn create(state: &State, create: &SessionCreate, now: Moment) -> Result<Judged, Refused> {
    if create.node.is_empty() {
        return Err(Refused::failed("Must provide Node"));
    }
    name("session", &create.name)?;
    if let Some(ttl) = create.ttl.filter(|ttl| !ttl.is_zero())
        && !(SESSION_TTL_MIN..=SESSION_TTL_MAX).contains(&ttl)
    {
        let (nanos, least) = (ttl.as_nanos(), Span(SESSION_TTL_MIN));
        return Err(Refused::failed(format!("Invalid Session TTL '{nanos}', must be between [{least}=24h0m0s]")));
    }
    if state.node(&create.node).is_none() {
        return Err(Refused::failed("Missing node registration"));
    }
    let alive = state.check(&create.node, ALIVE).map(|_| String::from(ALIVE));
    let node_checks: Vec<String> = match &create.node_checks {
        Some(given) => given.clone(),
        None => alive.into_iter().collect(),
    };
    for id in node_checks.iter().chain(&create.service_checks) {
        match state.check(&create.node, id) {
            None => return Err(Refused::failed(format!("Missing check '{id}' registration"))),
            Some(check) if check.status == Status::Critical => {
                return Err(Refused::failed(format!("Check '{id}' is in {} state", Status::Critical.as_str())));
            }
            Some(_) => {}
        }
    }
    let all = |ids: &[String]| ids.iter().map(|id| Arc::from(id.as_str())).collect();
    let session = Session {
        id: create.id.as_str().into(),
        name: create.name.as_str().into(),
        node: create.node.as_str().into(),
        lock_delay: create.lock_delay.unwrap_or(LOCK_DELAY_DEFAULT).min(LOCK_DELAY_MAX),
        behavior: create.behavior,
        ttl: create.ttl.filter(|ttl| !ttl.is_zero()),
        node_checks: all(&node_checks),
        service_checks: all(&create.service_checks),
        agent: create.agent.as_str().into(),
        began: now,
        created: 0,
        changed: 0,
    };
    let payload = stored::written(&SessionRecord::from(&session)).map_err(Refused::failed)?;
    let address = Address::Session(create.id.as_str().into());
    let last = state.session(&create.id).map(|old| old.changed);
    let write = record(state, &address, "catalog.session.created", payload, last, now)?;
    Ok(Judged { outcome: Outcome::Session(Arc::new(session)), ..done(alloc::vec![write]) })
}

pub(super) fn renew(state: &State, id: &str) -> Result<Judged, Refused> {
    match state.session(id) {
        Some(session) => Ok(Judged { outcome: Outcome::Session(Arc::clone(session)), ..done(Vec::new()) }),
        None => Err(Refused::not_found(format!("Session id '{id}' not found"))),
    }
}

/// Its keys first, then itself: recorded in parts, what is left over is found again.
pub(super) fn destroy(state: &State, id: &str, now: Moment) -> Result<Judged, Refused> {
    let Some(session) = state.session(id) else { return Ok(done(Vec::new())) };
    let mut keys = Keys::new(state, now);
    for key in state.keys_held_by(id) {
        match session.behavior {
            Behavior::Release => keys.take_from(key, session.lock_delay),
            Behavior::Delete => keys.delete_of(key, session.lock_delay),
        }
    }
    let mut writes = keys.writes()?.0;
    let address = Address::Session(id.into());
    writes.push(removal(state, &address, "catalog.session.removed", session.changed, now)?);
    Ok(Judged { atomic: false, ..done(writes) })
}
