//! What was found, as records.

use std::collections::HashSet;
use std::net::IpAddr;

use catalog::{Health, Node, Status};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::zone::Zone;

/// SRV's priority: the original's, for every instance.
const PRIORITY: u16 = 1;
/// Longest string of a TXT record, in bytes (RFC 1035, 3.3.14).
const TXT_BYTES_MAX: usize = 255;
/// Times of the SOA, in seconds: the original's.
const SOA_REFRESH: i32 = 3600;
const SOA_RETRY: i32 = 600;
const SOA_EXPIRE: i32 = 86_400;

/// A record of the answer, and what is told with it where there is room.
#[derive(Debug, Clone)]
pub struct Group {
    /// In the answer section.
    pub answer: Record,
    /// In the additional section.
    pub extra: Vec<Record>,
}

impl From<Record> for Group {
    fn from(answer: Record) -> Self {
        Group { answer, extra: Vec::new() }
    }
}

/// Records of an answer, as many as may be.
#[derive(Debug, Default)]
pub struct Groups {
    /// The records.
    pub groups: Vec<Group>,
    /// Whether there are more.
    pub left_out: bool,
}

/// Numbers that look like chance, from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a product of 64 by 64 bits: below the bound.
        usize::try_from((u128::from(self.next()) * bound as u128) >> 64).unwrap_or(0)
    }

    /// Puts things into any order, each as likely as the others.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

/// Where something is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// At an address.
    Ip(IpAddr),
    /// Under another name.
    Named(Name),
}

impl Place {
    /// Reads an address as it was registered; `None`: it can be neither.
    pub fn read(text: &str) -> Option<Place> {
        if let Ok(ip) = text.parse() {
            return Some(Place::Ip(ip));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() >= Name::MAX_LENGTH {
            return None;
        }
        let named = Name::from_labels(text.split('.').map(str::as_bytes)).ok()?;
        Some(Place::Named(named))
    }
}

/// An address as a record; `None`: the type is another's.
pub fn address(name: &Name, ttl: u32, ip: IpAddr, asked: RecordType) -> Option<Record> {
    let data = match (ip, asked) {
        (IpAddr::V4(ip), RecordType::A | RecordType::ANY) => RData::A(A(ip)),
        (IpAddr::V6(ip), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(ip)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), ttl, data))
}

fn place_record(name: &Name, ttl: u32, place: &Place) -> Option<Record> {
    match place {
        Place::Ip(ip) => address(name, ttl, *ip, RecordType::ANY),
        Place::Named(other) => Some(cname(name, ttl, other)),
    }
}

fn cname(name: &Name, ttl: u32, other: &Name) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(other.clone())))
}

/// The SOA. The serial number is the time, in seconds.
pub fn soa(zone: &Zone, now: u64) -> Record {
    let serial = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
    let data = SOA::new(zone.ns.clone(), zone.hostmaster.clone(), serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, 0);
    Record::from_rdata(zone.domain.clone(), 0, RData::SOA(data))
}

/// A name below the zone's datacenter: `<labels>.<kind>.<dc>.<domain>`; `None` where a label does not fit.
pub fn below(zone: &Zone, labels: &str, kind: &str) -> Option<Name> {
    let all = labels.split('.').chain([kind, &zone.datacenter]).map(str::as_bytes);
    Name::from_labels(all).and_then(|name| name.append_domain(&zone.domain)).ok()
}

fn spelt(zone: &Zone, ip: IpAddr) -> Option<Name> {
    let hex = match ip {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    };
    below(zone, &hex, "addr")
}

/// Where an instance is reached: at its own address, else at its node's.
fn place_of(instance: &Health) -> Option<Place> {
    let own = &instance.service.address;
    Place::read(if own.is_empty() { &instance.node.address } else { own })
}

/// Addresses of instances, in their order, each once; at most `max`.
///
/// A name cannot stand beside addresses (RFC 1034, 3.6.2). So the first instance decides: where it has a name, that
/// is the answer; else the answer is every address of the asked type.
pub fn addresses(name: &Name, ttl: u32, asked: RecordType, instances: &[impl AsRef<Health>], max: usize) -> Groups {
    let (mut seen, mut found) = (HashSet::new(), Groups::default());
    for place in instances.iter().filter_map(|instance| place_of(instance.as_ref())) {
        let record = match &place {
            Place::Named(other) if found.groups.is_empty() => {
                found.groups.push(cname(name, ttl, other).into());
                return found;
            }
            Place::Named(_) => continue,
            Place::Ip(ip) => address(name, ttl, *ip, asked),
        };
        let Some(record) = record else { continue };
        if !seen.insert(place) {
            continue;
        }
        if found.groups.len() == max {
            found.left_out = true;
            break;
        }
        found.groups.push(record.into());
    }
    found
}

/// SRV records of instances, in their order, each node, address and port once; at most `max`.
pub fn services(zone: &Zone, name: &Name, ttl: u32, instances: &[impl AsRef<Health>], max: usize) -> Groups {
    let (mut seen, mut told, mut found) = (HashSet::new(), HashSet::new(), Groups::default());
    for instance in instances.iter().map(AsRef::as_ref) {
        let Some((target, place)) = target(zone, instance) else { continue };
        let port = u16::try_from(instance.service.port).unwrap_or(0);
        if !seen.insert((target.clone(), port)) {
            continue;
        }
        if found.groups.len() == max {
            found.left_out = true;
            break;
        }
        let data = RData::SRV(SRV::new(PRIORITY, weight(instance), port, target.clone()));
        let answer = Record::from_rdata(name.clone(), ttl, data);
        let mut extra = Vec::new();
        if let Some(place) = place.filter(|_| told.insert(target.clone())) {
            extra.extend(place_record(&target, ttl, &place));
            if zone.meta_txt {
                extra.extend(meta(&target, ttl, &instance.node));
            }
        }
        found.groups.push(Group { answer, extra });
    }
    found
}

/// What an SRV record names, and where that is, if it is ours to say.
fn target(zone: &Zone, instance: &Health) -> Option<(Name, Option<Place>)> {
    let place = place_of(instance)?;
    if !instance.service.address.is_empty() {
        return match place {
            Place::Ip(ip) => Some((spelt(zone, ip)?, Some(Place::Ip(ip)))),
            Place::Named(other) => Some((other, None)),
        };
    }
    match (below(zone, &instance.node.node, "node"), place) {
        (Some(node), place) => Some((node, Some(place))),
        // A name that DNS cannot spell.
        (None, Place::Ip(ip)) => Some((spelt(zone, ip)?, Some(Place::Ip(ip)))),
        (None, Place::Named(other)) => Some((other, None)),
    }
}

fn weight(instance: &Health) -> u16 {
    let warns = instance.checks.iter().any(|check| check.status != Status::Passing);
    let weights = &instance.service.weights;
    let weight = if warns { weights.warning } else { weights.passing };
    u16::try_from(weight.max(0)).unwrap_or(u16::MAX)
}

/// Records of a node, under its own name.
pub fn node(zone: &Zone, name: &Name, asked: RecordType, node: &Node) -> Vec<Group> {
    let ttl = zone.node_ttl();
    let mut groups: Vec<Group> = Vec::new();
    match Place::read(&node.address) {
        Some(Place::Ip(ip)) => groups.extend(address(name, ttl, ip, asked).map(Group::from)),
        Some(Place::Named(other)) => groups.push(cname(name, ttl, &other).into()),
        None => {}
    }
    if matches!(asked, RecordType::TXT | RecordType::ANY) {
        groups.extend(meta(name, ttl, node).map(Group::from));
    } else if zone.meta_txt
        && let Some(group) = groups.first_mut()
    {
        group.extra.extend(meta(name, ttl, node));
    }
    groups
}

/// A node's metadata: `key=value`, one record each.
fn meta<'a>(name: &'a Name, ttl: u32, node: &'a Node) -> impl Iterator<Item = Record> + 'a {
    node.meta.iter().map(move |(key, value)| {
        let text = format!("{key}={value}");
        let strings = text.as_bytes().chunks(TXT_BYTES_MAX).collect();
        Record::from_rdata(name.clone(), ttl, RData::TXT(TXT::from_bytes(strings)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_or_a_name_or_of_no_use() {
        let named = |text: &str| matches!(Place::read(text), Some(Place::Named(_)));
        assert_eq!(Place::read("::1"), Some(Place::Ip("::1".parse().unwrap())));
        assert!(named("db.example.com") && named("db.example.com.") && named("localhost"));
        for bad in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(5000)] {
            assert_eq!(Place::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_shuffle_keeps_all_and_favours_none() {
        let mut first = [0_u32; 4];
        for seed in 0..4000 {
            let mut things = [0, 1, 2, 3];
            Chance::new(seed).shuffle(&mut things);
            first[things[0]] += 1;
            things.sort_unstable();
            assert_eq!(things, [0, 1, 2, 3]);
        }
        assert!(first.iter().all(|count| (800..1200).contains(count)), "{first:?}");
    }
}
