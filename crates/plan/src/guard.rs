//! The guard against observing ourselves: what this node captures is no observation.
//!
//! A node that captures an address answers for it, so a watcher beside it sees the address there, and
//! telling that would feed our own effect back as a fact. So an observation of an address that this
//! node captures is refused, and the claim is named.
//!
//! Captured is what an `AddressClaim` of this node names, derived or declared, and what the plan of a
//! mobility pool captures (`mobilityDataplane` of parts whose source is `MobilityPool/<pool>/node/<node>`).
//! The fact that a claim was derived from is no echo of it: whoever observed one of a derived claim's facts may go on
//! observing, or the claim would end by its own effect; anybody else is refused until those facts have
//! gone. What is captured on other evidence is refused only of this node itself, and of nobody.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use event::{Fact, Moment};
use serde_json::Value;
use thiserror::Error;

use crate::document::{API_VERSION, Document};
use crate::merge::RESERVED;
use crate::part::Part;

/// The type of facts that the plans of mobility pools are held against, as routerd does.
pub const OBSERVED_IPV4: &str = "routerd.client.ipv4.observed";

/// Longest lease of a mobility pool's plan: routerd's own.
const PLAN_LEASE_MAX: Duration = Duration::from_secs(10 * 60);

/// What captures an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The address that was observed.
    pub address: IpAddr,
    /// Who captures it, such as `AddressClaim/vip-9` or `MobilityPool/edge`.
    pub by: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, by) = (self.address, &self.by);
        write!(f, "federation observed event for {address} rejected: address is locally captured by {by}")
    }
}

/// Why it cannot be said whether an address is captured. The fact is refused; try again when the part is
/// mended or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GuardError {
    /// The part of a mobility pool is not what such a part is.
    #[error(
        "invalid active MobilityPool typed plan record prevents federation self-capture evaluation: {part}: {reason}"
    )]
    Plan {
        /// The source of the part.
        part: String,
        /// What is wrong.
        reason: String,
    },
}

/// What captures what a fact observes; `None`: nothing, or it observes no address.
///
/// `parts` are those that hold and were taken, `claims` the declared `AddressClaim`s (others are passed
/// over).
///
/// # Errors
/// [`GuardError`] where a mobility pool's part cannot be judged.
pub fn captured(
    fact: &Fact,
    parts: &[Part],
    claims: &[Document],
    own_node: &str,
    now: Moment,
) -> Result<Option<Claim>, GuardError> {
    if !fact.kind.ends_with(".observed") {
        return Ok(None);
    }
    let Some(address) = observed(fact) else { return Ok(None) };
    let claim = |by: String| Some(Claim { address, by });
    // Whose observation it is, where no evidence is known: ours or nobody's.
    let ours = fact.source.is_empty() || fact.source == own_node;
    for part in parts.iter().filter(|part| !part.is_expired(now)) {
        let evidence = part.origin.as_ref().map(|origin| origin.facts.as_slice()).unwrap_or_default();
        let known = |seen: &crate::FactRef| seen.id == fact.id || (!fact.source.is_empty() && seen.node == fact.source);
        let origin = evidence.iter().any(known) && fact.source != own_node;
        if origin || (evidence.is_empty() && !ours) {
            continue;
        }
        if let Some(name) = part.resources.iter().find_map(|document| claims_address(document, own_node, address)) {
            return Ok(claim(name));
        }
    }
    if ours && let Some(name) = claims.iter().find_map(|document| claims_address(document, own_node, address)) {
        return Ok(claim(name));
    }
    if ours && fact.kind == OBSERVED_IPV4 {
        return Ok(pool_captures(parts, address, now)?.and_then(claim));
    }
    Ok(None)
}

/// The address that a fact observes: that of `payload.address`, else of the subject.
fn observed(fact: &Fact) -> Option<IpAddr> {
    fact.payload.get("address").and_then(|text| address_of(text)).or_else(|| address_of(&fact.subject))
}

fn address_of(text: &str) -> Option<IpAddr> {
    prefix(text.trim()).map(|(address, _)| address)
}

/// An address and the bits that count: all of them, where nothing is said.
fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) if bits.len() == 1 || !bits.starts_with(['0', '+']) => {
            (address, Some(bits.parse().ok()?))
        }
        Some(_) => return None,
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits <= width).then(|| (address, bits.unwrap_or(width)))
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

/// The name of a claim of this node to the address.
fn claims_address(document: &Document, own_node: &str, address: IpAddr) -> Option<String> {
    if document.kind != "AddressClaim" || document.api_version != API_VERSION {
        return None;
    }
    let text = |key: &str| document.spec.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    let node = text("node");
    let mine = node.is_empty() || node == own_node;
    let captured = prefix(text("address")).is_some_and(|claimed| contains(claimed, address));
    (mine && captured).then(|| format!("AddressClaim/{}", document.name))
}

/// The mobility pool that captures an address. Any pool that cannot be judged is an error, so a broken
/// plan lets nothing through.
fn pool_captures(parts: &[Part], address: IpAddr, now: Moment) -> Result<Option<String>, GuardError> {
    let mut plans: BTreeMap<&str, (&Part, &str)> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.is_expired(now)) {
        let Some((pool, listener)) = reserved_source(&part.source) else { continue };
        let invalid = |reason: &str| GuardError::Plan { part: part.source.clone(), reason: reason.into() };
        envelope(part).map_err(invalid)?;
        if !listener && plans.insert(&part.source, (part, pool)).is_some() {
            return Err(invalid("the source has several parts"));
        }
    }
    let mut found = None;
    for (part, pool) in plans.into_values() {
        let Some(plan) = &part.mobility_dataplane else { continue };
        let invalid = |reason: String| GuardError::Plan { part: part.source.clone(), reason };
        if captures(plan, pool, address).map_err(invalid)? && found.is_none() {
            found = Some(format!("MobilityPool/{pool}"));
        }
    }
    Ok(found)
}

/// The pool of a reserved source, and whether it is that of its listener.
fn reserved_source(source: &str) -> Option<(&str, bool)> {
    let rest = source.strip_prefix(RESERVED)?;
    let mut segments = rest.split('/');
    let (pool, word, node, last) = (segments.next()?, segments.next()?, segments.next()?, segments.next());
    let clean = |segment: &str| !segment.is_empty() && segment.trim() == segment;
    let shaped = word == "node" && clean(pool) && clean(node) && segments.next().is_none();
    (shaped && last.is_none_or(|last| last == "arp-observer")).then_some((pool, last.is_some()))
}

fn envelope(part: &Part) -> Result<(), &'static str> {
    let Some(expires) = part.expires else { return Err("it has no expiry") };
    if part.generation != 1 {
        return Err("its generation is not 1");
    }
    if part.observed == Moment::EPOCH || part.digest.trim().is_empty() {
        return Err("it has no time of observation or no digest");
    }
    if expires <= part.observed || expires.since(part.observed) > PLAN_LEASE_MAX {
        return Err("its lease is not between 0 and 10 minutes");
    }
    Ok(())
}

/// Whether a pool's plan captures the address. Every address of it must lie in the pool's prefix.
fn captures(plan: &Value, pool: &str, address: IpAddr) -> Result<bool, String> {
    const LISTS: [&str; 3] = ["captures", "routes", "staticAddresses"];
    let map = plan.as_object().ok_or("the plan is not a mapping")?;
    if let Some(key) = map.keys().find(|key| *key != "poolPrefix" && !LISTS.contains(&key.as_str())) {
        return Err(format!("the plan has an unknown field {key}"));
    }
    if !LISTS.iter().any(|key| map.contains_key(*key)) {
        return Err("the plan has no known fields".into());
    }
    let prefix = map.get("poolPrefix").and_then(Value::as_str).unwrap_or_default();
    let scope = network(prefix).ok_or_else(|| format!("poolPrefix {prefix:?} is not a canonical IPv4 prefix"))?;
    let mut found = false;
    for key in LISTS {
        let items = match map.get(key) {
            None => continue,
            Some(Value::Array(items)) => items,
            Some(_) => return Err(format!("{key} is not a list")),
        };
        for item in items {
            let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("poolRef") != pool {
                return Err(format!("{key} holds an entry of the pool {:?}", text("poolRef")));
            }
            let (name, host) = if key == "routes" { ("destination", false) } else { ("address", true) };
            let (place, bits) = network(text(name))
                .filter(|(place, bits)| contains(scope, *place) && *bits >= scope.1 && (!host || *bits == 32))
                .ok_or_else(|| format!("{key} holds {:?}, which is not canonical or outside {prefix}", text(name)))?;
            let held = matches!(text("disposition"), "desired" | "protect-existing" | "hold");
            found |=
                key == "captures" && held && !text("captureType").trim().is_empty() && bits == 32 && place == address;
        }
    }
    Ok(found)
}

/// An IPv4 prefix with no bits beyond its length, spelt in the one way.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = prefix(text)?;
    let IpAddr::V4(v4) = address else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
    let spelt = format!("{}/{bits}", Ipv4Addr::from(u32::from(v4) & mask));
    (text == spelt).then_some((address, bits))
}
