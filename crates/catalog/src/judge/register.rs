//! Registrations: of agents and of catalogues.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use event::Moment;

use super::done;
use super::plan::Plan;
use super::validate::{address, cut, meta, name, reachable, runnable, status, uuid, weights};
use crate::address::lower;
use crate::command::{CheckDraft, Form, Judged, Refused, RefusedKind, Register, ServiceDraft};
use crate::limits::{DEREGISTER_AFTER_MIN, INTERVAL_MIN, TAGS_MAX};
use crate::map::Map;
use crate::model::{Check, Definition, Json, Node, Service, ServiceAddress, Status};
use crate::state::State;

pub(super) fn judge(state: &State, register: &Register, now: Moment) -> Result<Judged, Refused> {
    let judged = match register.form {
        Form::Catalog => catalog(state, register, now),
        Form::Agent { replace_existing_checks } => agent(state, register, replace_existing_checks, now),
    };
    // The original answers a catalogue's registration with 500 whatever is wrong with it.
    judged.map_err(|refused| match (register.form, refused.kind) {
        (Form::Catalog, RefusedKind::Invalid) => Refused { kind: RefusedKind::Failed, ..refused },
        _ => refused,
    })
}

fn catalog(state: &State, register: &Register, now: Moment) -> Result<Judged, Refused> {
    if !register.datacenter.is_empty() && *lower(&register.datacenter) != **state.datacenter() {
        return Err(Refused::failed("No path to datacenter"));
    }
    if register.node.is_empty() {
        return Err(Refused::failed("Must provide node"));
    }
    if register.address.is_empty() && !register.skip_node_update {
        return Err(Refused::failed("Must provide address if SkipNodeUpdate is not set"));
    }
    let mut plan = Plan::new(state, &register.node, now);
    node(state, register, &mut plan)?;
    let mut registered = None;
    if let Some(draft) = &register.service {
        if draft.name.is_empty() {
            return Err(Refused::failed("Must provide service name with ID"));
        }
        let made = service(draft)?;
        registered = Some(Arc::clone(&made.id));
        plan.put_service(made);
    }
    for draft in &register.checks {
        let owner = plan.service(&draft.service_id).map(|service| Arc::clone(&service.id));
        if !draft.service_id.is_empty() && owner.is_none() && registered.as_deref() != Some(&draft.service_id) {
            let node = &register.node;
            return Err(Refused::failed(format!(
                "failed inserting check: Missing service registration on node {node:?}"
            )));
        }
        let id = if draft.id.is_empty() { &draft.name } else { &draft.id };
        let check = check(&mut plan, id, &draft.name, &draft.service_id, draft, &register.agent)?;
        let status = status(&draft.status)?.unwrap_or(Status::Critical);
        plan.put_check(Check { status, output: cut(&draft.output).into(), ..check });
    }
    Ok(done(plan.writes()?))
}

fn node(state: &State, register: &Register, plan: &mut Plan<'_>) -> Result<(), Refused> {
    name("node", &register.node)?;
    address("node", &register.address)?;
    if !register.id.is_empty() {
        uuid(&register.id)?;
    }
    let pairs = register.node_meta.iter().map(|(key, value)| (key, value));
    meta(pairs, false).map_err(|why| Refused::failed(format!("Invalid Node Meta: {why}")))?;
    for (_, each) in &register.tagged_addresses {
        address("node", each)?;
    }
    let old = plan.node();
    if register.skip_node_update && old.is_some() {
        return Ok(());
    }
    let id = if register.id.is_empty() {
        old.map(|old| Arc::clone(&old.id)).unwrap_or_default()
    } else {
        register.id.as_str().into()
    };
    let made = Node {
        id,
        node: register.node.as_str().into(),
        address: register.address.as_str().into(),
        datacenter: Arc::clone(state.datacenter()),
        tagged_addresses: texts(&register.tagged_addresses),
        meta: texts(&register.node_meta),
        created: 0,
        changed: 0,
    };
    plan.put_node(made);
    Ok(())
}

fn texts(pairs: &[(String, String)]) -> Map<Arc<str>> {
    pairs.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

fn agent(state: &State, register: &Register, replace: bool, now: Moment) -> Result<Judged, Refused> {
    let mut plan = Plan::new(state, &register.node, now);
    let Some(draft) = &register.service else {
        return lone_checks(state, register, plan);
    };
    if draft.name.is_empty() {
        return Err(Refused::invalid("Missing service name"));
    }
    reachable(&draft.address)?;
    let pairs = draft.meta.iter().map(|(key, value)| (key, value));
    meta(pairs, true).map_err(|why| Refused::invalid(format!("Invalid Service Meta: {why}")))?;
    let mut made = service(draft)?;
    fill_addresses(&mut made);
    let (id, service_name) = (Arc::clone(&made.id), Arc::clone(&made.service));
    plan.put_service(made);
    let many = register.checks.len() > 1;
    let mut named: Vec<String> = Vec::with_capacity(register.checks.len());
    for (place, draft) in register.checks.iter().enumerate() {
        let check_id = match (draft.id.as_str(), many) {
            ("", false) => format!("service:{id}"),
            ("", true) => format!("service:{id}:{}", place + 1),
            (given, _) => given.into(),
        };
        let title = format!("Service '{service_name}' check");
        let title = if draft.name.is_empty() { &title } else { &draft.name };
        agent_check(state, register, &mut plan, (&check_id, title, &id), draft)?;
        named.push(check_id);
    }
    if replace {
        plan.keep_checks(&id, |check| named.iter().any(|named| **named == *check.check_id));
    }
    Ok(done(plan.writes()?))
}

/// Checks without a service that is registered with them.
fn lone_checks(state: &State, register: &Register, mut plan: Plan<'_>) -> Result<Judged, Refused> {
    for draft in &register.checks {
        let id = if draft.id.is_empty() { &draft.name } else { &draft.id };
        if draft.name.is_empty() {
            return Err(Refused::invalid("Missing check name"));
        }
        let service = &draft.service_id;
        if !service.is_empty() && plan.service(service).is_none() {
            return Err(Refused::failed(format!("ServiceID {service:?} does not exist")));
        }
        agent_check(state, register, &mut plan, (id, &draft.name, service), draft)?;
    }
    Ok(done(plan.writes()?))
}

/// A check that this node makes: one that was there stands as it stood.
fn agent_check(
    state: &State,
    register: &Register,
    plan: &mut Plan<'_>,
    (id, title, service): (&str, &str, &str),
    draft: &CheckDraft,
) -> Result<(), Refused> {
    runnable(&draft.definition)?;
    let given = status(&draft.status)?;
    let agent = if register.agent.is_empty() { &register.node } else { &register.agent };
    let mut check = check(plan, id, title, service, draft, agent)?;
    let old = state.check(&register.node, id);
    (check.status, check.output) = match old {
        Some(old) => (old.status, Arc::clone(&old.output)),
        None => (given.unwrap_or(Status::Critical), cut(&draft.output).into()),
    };
    plan.put_check(check);
    Ok(())
}

fn check(
    plan: &mut Plan<'_>,
    id: &str,
    title: &str,
    service: &str,
    draft: &CheckDraft,
    agent: &str,
) -> Result<Check, Refused> {
    if id.is_empty() {
        return Err(Refused::invalid("Invalid check: CheckID or Name must be given"));
    }
    name("check", id)?;
    name("check", title)?;
    let mut check = plan.new_check(id, title, service);
    check.notes = cut(&draft.notes).into();
    let definition = bounded(&draft.definition);
    check.kind = match draft.kind.as_str() {
        "" if definition.http.is_some() => "http".into(),
        "" if definition.tcp.is_some() => "tcp".into(),
        "" if definition.ttl.is_some() => "ttl".into(),
        given => given.into(),
    };
    if !definition.is_empty() {
        check.definition = Some(Arc::new(definition));
        check.agent = agent.into();
    }
    Ok(check)
}

/// Spans that are too short are as long as they must be.
fn bounded(definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    definition.interval = definition.interval.map(|interval| interval.max(INTERVAL_MIN));
    definition.deregister_after =
        definition.deregister_after.filter(|span| !span.is_zero()).map(|span| span.max(DEREGISTER_AFTER_MIN));
    definition
}

fn service(draft: &ServiceDraft) -> Result<Service, Refused> {
    let id = if draft.id.is_empty() { &draft.name } else { &draft.id };
    name("service", &draft.name)?;
    name("service", id)?;
    address("service", &draft.address)?;
    if draft.tags.len() > TAGS_MAX {
        return Err(Refused::invalid(format!("Invalid service tags: more than {TAGS_MAX}")));
    }
    let given = draft.weights.unwrap_or_default();
    weights(given).map_err(|why| Refused::invalid(format!("Invalid Weights: {why}")))?;
    let pairs = draft.meta.iter().map(|(key, value)| (key, value));
    meta(pairs, false).map_err(|why| Refused::invalid(format!("Invalid Service Meta: {why}")))?;
    for (_, (each, _)) in &draft.tagged_addresses {
        address("service", each)?;
    }
    let addresses = draft.tagged_addresses.iter().map(|(key, (address, port))| {
        (Arc::from(key.as_str()), ServiceAddress { address: address.as_str().into(), port: *port })
    });
    Ok(Service {
        kind: draft.kind.as_str().into(),
        id: id.as_str().into(),
        service: draft.name.as_str().into(),
        tags: draft.tags.iter().map(|tag| Arc::from(tag.as_str())).collect(),
        address: draft.address.as_str().into(),
        tagged_addresses: addresses.collect(),
        meta: texts(&draft.meta),
        port: draft.port,
        socket_path: draft.socket_path.as_str().into(),
        weights: given,
        enable_tag_override: draft.enable_tag_override,
        proxy: json("Proxy", draft.proxy.as_deref())?,
        connect: json("Connect", draft.connect.as_deref())?,
        created: 0,
        changed: 0,
    })
}

fn json(what: &str, text: Option<&str>) -> Result<Option<Json>, Refused> {
    let Some(text) = text.map(str::trim).filter(|text| *text != "null") else { return Ok(None) };
    match serde_json::from_str::<&serde_json::value::RawValue>(text) {
        Ok(raw) => Ok(Some(Json(raw.get().into()))),
        Err(why) => Err(Refused::invalid(format!("Invalid {what}: {why}"))),
    }
}

/// What an agent fills in: an IP address under the names of its family.
fn fill_addresses(service: &mut Service) {
    let Ok(ip) = service.address.parse::<IpAddr>() else { return };
    let names = if ip.is_ipv4() { ["lan_ipv4", "wan_ipv4"] } else { ["lan_ipv6", "wan_ipv6"] };
    let own = ServiceAddress { address: Arc::clone(&service.address), port: service.port };
    let given = service.tagged_addresses.iter().map(|(key, value)| (Arc::clone(key), value.clone()));
    // Those that were given stand: of one key the last counts.
    service.tagged_addresses = names.into_iter().map(|key| (Arc::from(key), own.clone())).chain(given).collect();
}
