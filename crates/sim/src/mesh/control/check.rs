//! What must hold of a plan, and of the world at rest.

use std::collections::{BTreeMap, BTreeSet};

use mesh::control::LinkState;
use mesh::names::{LinkId, Name};
use mesh::plan::{LinkKind, Plan};

use super::Door;
use super::run::World;

/// How far the loads of a domain's gateways may be apart: a move is worth it from two on.
const SPREAD: usize = 2;

/// A plan is sound in itself.
pub fn plan(plan: &Plan) -> Result<(), String> {
    let names: BTreeSet<&Name> = plan.segments.iter().map(|segment| &segment.name).collect();
    let mut links = BTreeSet::new();
    for link in &plan.links {
        if !links.insert(&link.id) {
            return Err(format!("{} is in the plan {} twice", link.id, plan.generation));
        }
        let carries = !link.segments.is_empty() && link.segments.iter().all(|segment| names.contains(segment));
        if (link.kind == LinkKind::Remote) != carries {
            return Err(format!("{} carries {:?} in {}", link.id, link.segments, plan.generation));
        }
    }
    for segment in &plan.segments {
        let inside = |name: &Name| segment.domains.binary_search(name).is_ok();
        let sorted = segment.edges.is_sorted() && segment.domains.is_sorted();
        if !sorted
            || !segment.edges.iter().all(|(one, two, weight)| one < two && inside(one) && inside(two) && *weight > 0)
        {
            return Err(format!("the segment {} is not in order", segment.name));
        }
    }
    for (neighbor, node) in &plan.gateways {
        let adjacent = plan.segments.iter().any(|segment| {
            [&node.domain, neighbor].into_iter().all(|name| segment.domains.binary_search(name).is_ok())
        });
        if !adjacent {
            return Err(format!("{node} is a gateway to {neighbor}, which shares no segment"));
        }
    }
    Ok(())
}

/// All is as it is to be.
pub fn at_rest(world: &World) -> Result<(), String> {
    let controller = world.controllers.last().ok_or("no controller")?;
    let status = controller.status();
    for body in &world.bodies {
        let view = status.nodes.iter().find(|view| view.id == body.id).ok_or(format!("{} is not known", body.id))?;
        if !view.connected || view.told != view.acked || body.plan.generation != view.told {
            return Err(format!(
                "{} follows {}, was told {}, told {}",
                body.id, body.plan.generation, view.told, view.acked
            ));
        }
        let live: Vec<_> = controller.live().of(&body.id.domain).cloned().collect();
        if body.plan.segments != live {
            return Err(format!("{} has other segments than can be walked", body.id));
        }
    }
    let walked = controller.live().pairs();
    let held = |pair: &(Name, Name)| walked.contains_key(pair) || (closed(world, &pair.0) && closed(world, &pair.1));
    if let Some(pair) = controller.segments().pairs().into_keys().find(|pair| !held(pair)) {
        return Err(format!("no path leads over {pair:?}"));
    }
    let mut expected = peers(world)?;
    expected.extend(pairs(world)?);
    let made: BTreeMap<_, _> =
        world.connections().map(|(link, one, two)| ((link.clone(), one.domain.clone()), (one, two))).collect();
    let open = world.connections().count();
    if open != expected.len() || made.len() != open {
        return Err(format!("{open} connections stand where there are to be {}", expected.len()));
    }
    if let Some(missing) = expected.iter().find(|link| !made.contains_key(*link)) {
        return Err(format!("{missing:?} has no connection"));
    }
    keys(world)?;
    loads(world)
}

/// Whether nobody of a domain can be dialled by others.
fn closed(world: &World, name: &Name) -> bool {
    let mut doors = world.setting.doors.iter().enumerate();
    doors.any(|(domain, door)| super::domain_name(domain) == name.as_str() && *door == Door::Closed)
}

/// Every two nodes of a domain are linked.
fn peers(world: &World) -> Result<BTreeSet<(LinkId, Name)>, String> {
    let mut links = BTreeSet::new();
    for body in &world.bodies {
        let domain = &body.id.domain;
        let count = world.bodies.iter().filter(|other| other.id.domain == *domain).count();
        let planned: Vec<_> = body.plan.links.iter().filter(|link| link.kind == LinkKind::Peer).collect();
        if planned.len() + 1 != count {
            return Err(format!("{} has {} peers of {count}", body.id, planned.len()));
        }
        links.extend(planned.into_iter().map(|link| (link.id.clone(), domain.clone())));
    }
    Ok(links)
}

/// Every two neighbours are linked, and all agree by whom. Gives each link with the domain that dials.
fn pairs(world: &World) -> Result<BTreeSet<(LinkId, Name)>, String> {
    let controller = world.controllers.last().ok_or("no controller")?;
    let status = controller.status();
    let mut links = BTreeSet::new();
    for ((one, two), segments) in controller.segments().pairs() {
        let ours = |from: &Name, to: &Name| (*from == one && *to == two) || (*from == two && *to == one);
        let held: Vec<_> = (status.links.iter())
            .filter(|link| link.kind == LinkKind::Remote && ours(&link.from.domain, &link.to_domain))
            .collect();
        let [link] = held.as_slice() else {
            if held.is_empty() && closed(world, &one) && closed(world, &two) {
                continue;
            }
            return Err(format!("{one} and {two} have {} links", held.len()));
        };
        let Some(to) = link.to.as_ref().filter(|_| link.state == LinkState::Applied && link.serves) else {
            return Err(format!("the link of {one} and {two} is {}", link.state));
        };
        if link.segments != segments {
            return Err(format!("{} carries {:?}", link.id, link.segments));
        }
        for body in &world.bodies {
            let (neighbor, end) = match &body.id.domain {
                domain if *domain == link.from.domain => (&to.domain, &link.from),
                domain if *domain == to.domain => (&link.from.domain, to),
                _ => continue,
            };
            if !body.plan.gateways.contains(&(neighbor.clone(), end.clone())) {
                return Err(format!("{} does not hold {end} for the gateway to {neighbor}", body.id));
            }
        }
        links.insert((link.id.clone(), link.from.domain.clone()));
    }
    Ok(links)
}

/// A key is known to the ends of its link, and to those that may take it, and to nobody else.
fn keys(world: &World) -> Result<(), String> {
    let mut known: BTreeMap<[u8; 32], BTreeSet<(LinkId, Name, bool)>> = BTreeMap::new();
    for body in &world.bodies {
        for link in &body.plan.links {
            let dials = link.dial.is_some();
            known.entry(link.key).or_default().insert((link.id.clone(), body.id.domain.clone(), dials));
        }
    }
    for holders in known.values() {
        let links: BTreeSet<_> = holders.iter().map(|(link, ..)| link).collect();
        let dials = holders.iter().filter(|(.., dials)| *dials).count();
        if links.len() != 1 || holders.len() != 2 || dials != 1 {
            return Err(format!("a key is held by {holders:?}"));
        }
    }
    Ok(())
}

/// Gateways share the load, where a link can be moved between them.
fn loads(world: &World) -> Result<(), String> {
    let status = world.controllers.last().ok_or("no controller")?.status();
    let shared = world.setting.doors.contains(&Door::Shared) || world.setting.doors.contains(&Door::Closed);
    for domain in status.domains.iter().filter(|_| !shared) {
        let ours = status.nodes.iter().filter(|node| node.id.domain == domain.name);
        let loads: Vec<usize> = ours.map(|node| node.remote_links).collect();
        let (least, most) = (loads.iter().min().copied().unwrap_or(0), loads.iter().max().copied().unwrap_or(0));
        if most >= least + SPREAD {
            return Err(format!("the gateways of {} hold {loads:?} links", domain.name));
        }
    }
    Ok(())
}
