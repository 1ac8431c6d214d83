//! What a name asks for.
//!
//! ```text
//!  [tag.]service.service[.dc].<domain>    _service._tag.service[.dc].<domain>
//!  node.node[.dc].<domain>                <8 or 32 hex digits>.addr[.dc].<domain>
//!  4.3.2.1.in-addr.arpa                   <32 nibbles>.ip6.arpa
//! ```
//!
//! Compared without regard to case. `_tcp` and `_udp` as the tag mean none. A name that only stands on the way to
//! others (`service.consul`, `dc1.consul`) exists, and has no records: resolvers that ask from the top down, label by
//! label, must not be told that there is nothing below.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

use crate::zone::Zone;

/// What a name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The domain itself.
    Apex,
    /// `ns.<domain>`: this node.
    Ns,
    /// A name on the way to others.
    Between,
    /// Instances of a service; names in lower case.
    Service {
        /// The service.
        name: String,
        /// The tag that they have.
        tag: Option<String>,
    },
    /// A node; its name in lower case.
    Node(String),
    /// An address that is spelt in the name itself.
    Address(IpAddr),
    /// Who has an address.
    Reverse(IpAddr),
    /// Nothing that there is.
    Nothing,
    /// Not of this domain.
    Elsewhere,
}

/// What leads to the next label, of the kinds of names.
const KINDS: [&str; 3] = ["service", "node", "addr"];

/// What a name asks for, in a zone.
pub fn asked(zone: &Zone, name: &Name) -> Asked {
    let labels: Vec<&[u8]> = name.iter().collect();
    let Some(split) = labels.len().checked_sub(zone.labels.len()) else {
        return reverse(name);
    };
    let (below, domain) = labels.split_at(split);
    let own = domain.iter().zip(zone.labels.iter().rev()).all(|(label, own)| label.eq_ignore_ascii_case(own));
    if !own {
        return reverse(name);
    }
    let mut lower = Vec::with_capacity(below.len());
    for label in below {
        match std::str::from_utf8(label) {
            Ok(label) => lower.push(label.to_lowercase()),
            Err(_) => return Asked::Nothing,
        }
    }
    within(zone, &lower)
}

fn within(zone: &Zone, labels: &[String]) -> Asked {
    let Some(place) = labels.iter().rposition(|label| KINDS.contains(&label.as_str())) else {
        return match labels {
            [] => Asked::Apex,
            [only] if only == "ns" => Asked::Ns,
            [only] if *only == zone.datacenter => Asked::Between,
            _ => Asked::Nothing,
        };
    };
    let (before, rest) = labels.split_at(place);
    match rest {
        [_] => {}
        [_, datacenter] if *datacenter == zone.datacenter => {}
        _ => return Asked::Nothing,
    }
    if before.is_empty() {
        return Asked::Between;
    }
    match rest.first().map(String::as_str) {
        Some("service") => service(before),
        Some("node") => Asked::Node(before.join(".")),
        _ => address(before),
    }
}

fn service(labels: &[String]) -> Asked {
    match labels {
        [only] if matches!(only.as_str(), "_tcp" | "_udp") => Asked::Between,
        [service, tag] if service.starts_with('_') && tag.starts_with('_') => {
            let tag = tag.get(1..).filter(|tag| !matches!(*tag, "tcp" | "udp")).map(str::to_owned);
            Asked::Service { name: service.get(1..).unwrap_or_default().to_owned(), tag }
        }
        [tags @ .., name] => {
            let tag = (!tags.is_empty()).then(|| tags.join("."));
            Asked::Service { name: name.clone(), tag }
        }
        [] => Asked::Between,
    }
}

fn address(labels: &[String]) -> Asked {
    let [hex] = labels else { return Asked::Nothing };
    if !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Asked::Nothing;
    }
    match hex.len() {
        8 => u32::from_str_radix(hex, 16).map_or(Asked::Nothing, |bits| Asked::Address(Ipv4Addr::from(bits).into())),
        32 => u128::from_str_radix(hex, 16).map_or(Asked::Nothing, |bits| Asked::Address(Ipv6Addr::from(bits).into())),
        _ => Asked::Nothing,
    }
}

fn reverse(name: &Name) -> Asked {
    if !name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa")) {
        return Asked::Elsewhere;
    }
    match name.parse_arpa_name() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => Asked::Reverse(net.addr()),
        _ => Asked::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn check(name: &str, expected: Asked) {
        let zone = Zone::new(&Options::default(), "dc1", "n1").unwrap();
        assert_eq!(asked(&zone, &Name::from_labels(name.split('.').map(str::as_bytes)).unwrap()), expected, "{name}");
    }

    fn of(name: &str, tag: Option<&str>) -> Asked {
        Asked::Service { name: name.into(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn services_are_asked_for_in_two_ways() {
        check("web.service.consul", of("web", None));
        check("WEB.Service.DC1.Consul", of("web", None));
        check("v1.web.service.consul", of("web", Some("v1")));
        check("a.b.web.service.dc1.consul", of("web", Some("a.b")));
        check("_web._tcp.service.consul", of("web", None));
        check("_web._v1.service.consul", of("web", Some("v1")));
        check("service.service.consul", of("service", None));
        check("web.service.dc2.consul", Asked::Nothing);
        check("web.service.dc1.x.consul", Asked::Nothing);
    }

    #[test]
    fn nodes_and_addresses() {
        check("n1.node.consul", Asked::Node("n1".into()));
        check("N1.example.node.dc1.consul", Asked::Node("n1.example".into()));
        check("7f000001.addr.dc1.consul", Asked::Address("127.0.0.1".parse().unwrap()));
        check("00000000000000000000000000000001.addr.consul", Asked::Address("::1".parse().unwrap()));
        for bad in ["7f0001.addr.consul", "7f00000g.addr.consul", "+f000001.addr.consul", "a.7f000001.addr.consul"] {
            check(bad, Asked::Nothing);
        }
        check("4.3.2.1.in-addr.arpa", Asked::Reverse("1.2.3.4".parse().unwrap()));
        check("3.2.1.in-addr.arpa", Asked::Nothing);
        let ip6 = format!("1.{}ip6.arpa", "0.".repeat(31));
        check(&ip6, Asked::Reverse("::1".parse().unwrap()));
        check("999.3.2.1.in-addr.arpa", Asked::Nothing);
    }

    #[test]
    fn what_stands_on_the_way_exists() {
        check("consul", Asked::Apex);
        check("ns.consul", Asked::Ns);
        for between in ["service.consul", "service.dc1.consul", "dc1.consul", "node.consul", "_tcp.service.consul"] {
            check(between, Asked::Between);
        }
        check("dc2.consul", Asked::Nothing);
        check("x.query.consul", Asked::Nothing);
        check("www.example.com", Asked::Elsewhere);
        check("com", Asked::Elsewhere);
    }
}
