//! What the node says of itself and of what is registered with it.

use std::sync::Arc;

use catalog::{Check, Health, Service, Status};
use door::Catalogue;

use super::sieve::{Sieve, Sight};
use crate::answers::{Content, Kind};
use crate::codec::json::{Object, list, texts};
use crate::codec::{Endpoint, Fault, Params, shape, shown};
use crate::options::Options;

/// The port that the original's gossip has, as members are shown with it.
const GOSSIP_PORT: u16 = 8301;
/// The service that is the node itself, which its agent does not list.
const ITSELF: &str = "consul";

/// An answer about the node; never waited for.
///
/// # Errors
/// [`Fault`]: what is asked for is not there, or the expression cannot be read.
pub(crate) fn answer(
    catalogue: &Catalogue,
    options: &Options,
    sight: &Sight,
    endpoint: Endpoint,
    name: &str,
    params: &Params,
) -> Result<Content, Fault> {
    let mut out = String::new();
    match endpoint {
        Endpoint::AgentSelf => itself(&mut out, options),
        Endpoint::AgentMembers => list(&mut out, [options], member),
        Endpoint::AgentVersion => {
            let mut object = Object::new(&mut out);
            object.text("SHA", "").text("BuildDate", "").text("HumanVersion", &options.version).text("FIPS", "");
            object.end();
        }
        Endpoint::CatalogDatacenters => texts(&mut out, [&options.datacenter]),
        Endpoint::StatusLeader => crate::codec::json::text(&mut out, &options.leader.to_string()),
        Endpoint::StatusPeers => texts(&mut out, [options.leader.to_string()]),
        Endpoint::CoordinateNodes => out.push_str("[]"),
        Endpoint::CoordinateDatacenters => list(&mut out, [options], |out, options| {
            let mut object = Object::new(out);
            object.text("Datacenter", &options.datacenter).text("AreaID", "wan").raw("Coordinates", "[]");
            object.end();
        }),
        Endpoint::AgentServices => {
            let sieve = Sieve::of::<Service>(params)?;
            let mut object = Object::new(&mut out);
            for health in own(catalogue, sight).iter().filter(|health| sieve.service(health)) {
                shape::agent_service(object.key(&health.service.id), &health.service, catalogue.datacenter(), None);
            }
            object.end();
        }
        Endpoint::AgentChecks => checks(&mut out, catalogue, sight, &Sieve::of::<Check>(params)?),
        Endpoint::AgentHealthById => return by_id(catalogue, sight, name, params),
        Endpoint::AgentHealthByName => return by_name(catalogue, sight, name, params),
        _ => return Err(Fault::not_found("")),
    }
    Ok(Content::json(out))
}

/// What is registered with this node, but itself.
fn own(catalogue: &Catalogue, sight: &Sight) -> Vec<Arc<Health>> {
    let node = Arc::clone(catalogue.node());
    let mut all: Vec<_> =
        catalogue.read(|state| state.node(&node).map(|node| node.instances().cloned().collect())).unwrap_or_default();
    all.retain(|health: &Arc<Health>| {
        &*health.service.service != ITSELF && sight.service(catalogue, &health.service.service)
    });
    all
}

fn checks(out: &mut String, catalogue: &Catalogue, sight: &Sight, sieve: &Sieve) {
    let name = Arc::clone(catalogue.node());
    let found = catalogue.read(|state| {
        let node = state.node(&name)?;
        Some((Arc::clone(node.node()), node.checks().cloned().collect::<Vec<_>>()))
    });
    let mut object = Object::new(out);
    if let Some((node, mut checks)) = found {
        checks.retain(|check| sight.check(catalogue, check) && sieve.check(&node, check));
        checks.sort_by(|one, two| one.check_id.cmp(&two.check_id));
        checks.iter().for_each(|check| shape::check(object.key(&check.check_id), check));
    }
    object.end();
}

fn by_id(catalogue: &Catalogue, sight: &Sight, id: &str, params: &Params) -> Result<Content, Fault> {
    let found = own(catalogue, sight).into_iter().find(|health| *health.service.id == *id);
    let health = found.ok_or_else(|| Fault::not_found(format!("ServiceId {} not found", shown(id))))?;
    let mut out = String::new();
    aggregate(&mut out, &health, catalogue);
    Ok(by_status(health.status(), out, params))
}

fn by_name(catalogue: &Catalogue, sight: &Sight, name: &str, params: &Params) -> Result<Content, Fault> {
    let mut all = own(catalogue, sight);
    all.retain(|health| *health.service.service == *name);
    let worst = all.iter().map(|health| health.status()).max();
    let worst = worst.ok_or_else(|| Fault::not_found(format!("ServiceName {} Not Found", shown(name))))?;
    let mut out = String::new();
    list(&mut out, &all, |out, health| aggregate(out, health, catalogue));
    Ok(by_status(worst, out, params))
}

fn aggregate(out: &mut String, health: &Health, catalogue: &Catalogue) {
    let mut object = Object::new(out);
    object.text("AggregatedStatus", health.status().as_str());
    shape::agent_service(object.key("Service"), &health.service, catalogue.datacenter(), None);
    list(object.key("Checks"), &health.checks, |out, check| shape::check(out, check));
    object.end();
}

/// The status tells how it stands, for those who read nothing else.
fn by_status(status: Status, body: String, params: &Params) -> Content {
    let code = match status {
        Status::Passing => 200,
        Status::Warning => 429,
        Status::Critical => 503,
    };
    if params.text("format") == "text" {
        let body = status.as_str().as_bytes().to_vec().into();
        return Content { status: code, kind: Kind::Raw, body, ..Content::default() };
    }
    Content { status: code, ..Content::json(body) }
}

fn member(out: &mut String, options: &Options) {
    let mut object = Object::new(out);
    object.text("Name", &options.node).text("Addr", &options.address).number("Port", GOSSIP_PORT);
    let mut tags = Object::new(object.key("Tags"));
    tags.text("build", &options.version).text("dc", &options.datacenter).text("id", &options.node_id);
    tags.text("port", &options.leader.port().to_string()).text("role", "consul").text("segment", "");
    tags.end();
    object.number("Status", 1).number("ProtocolMin", 1).number("ProtocolMax", 5).number("ProtocolCur", 2);
    object.number("DelegateMin", 2).number("DelegateMax", 5).number("DelegateCur", 4);
    object.end();
}

fn itself(out: &mut String, options: &Options) {
    let mut object = Object::new(out);
    let mut config = Object::new(object.key("Config"));
    config.text("Datacenter", &options.datacenter).text("PrimaryDatacenter", &options.datacenter);
    config.text("NodeName", &options.node).text("NodeID", &options.node_id).text("Revision", "tidings");
    config.flag("Server", true).text("Version", &options.version);
    config.end();
    object.raw("DebugConfig", "{}").raw("Coord", "null");
    member(object.key("Member"), options);
    let mut stats = Object::new(object.key("Stats"));
    stats.map("agent", [("check_monitors", "0"), ("check_ttls", "0")]);
    stats.map("consul", [("acl", "disabled"), ("bootstrap", "true"), ("leader", "true"), ("server", "true")]);
    stats.map("raft", [("state", "Leader"), ("num_peers", "0")]);
    stats.end();
    object.raw("Meta", "{}");
    object.end();
}
