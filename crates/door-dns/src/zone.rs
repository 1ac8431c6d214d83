//! What the door answers for: the domain, the datacenter, how long answers may be kept.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;
use thiserror::Error;

use crate::limits;
use crate::options::Options;

/// The domain is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a domain: labels of 1 to 63 characters, joined by dots, at most 128 characters")]
pub struct BadDomain(pub String);

/// Longest domain, in bytes: below it there must be room for the names of services and nodes.
const DOMAIN_BYTES_MAX: usize = 128;

/// What the door answers for. Made once.
#[derive(Debug, Clone)]
pub struct Zone {
    pub(crate) domain: Name,
    /// The domain's labels in lower case, outermost first.
    pub(crate) labels: Vec<Vec<u8>>,
    pub(crate) datacenter: String,
    /// The name of this node.
    pub(crate) node: String,
    pub(crate) address: Option<IpAddr>,
    /// `ns.<domain>` and `hostmaster.<domain>`, for the SOA.
    pub(crate) ns: Name,
    pub(crate) hostmaster: Name,
    pub(crate) only_passing: bool,
    pub(crate) truncate: bool,
    pub(crate) meta_txt: bool,
    pub(crate) udp_answers_max: usize,
    pub(crate) udp_bytes_max: u16,
    node_ttl: u32,
    service_ttl: Vec<(String, u32)>,
}

fn seconds(span: Duration) -> u32 {
    // The highest bit means 0 (RFC 2181, 8).
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs())
}

impl Zone {
    /// What `options` say, for a datacenter and a node.
    ///
    /// # Errors
    /// [`BadDomain`].
    pub fn new(options: &Options, datacenter: &str, node: &str) -> Result<Zone, BadDomain> {
        let bad = || BadDomain(options.domain.clone());
        let text = options.domain.trim_matches('.');
        let labels: Vec<&[u8]> = text.split('.').map(str::as_bytes).collect();
        if text.len() > DOMAIN_BYTES_MAX || labels.iter().any(|label| label.is_empty()) {
            return Err(bad());
        }
        let domain = Name::from_labels(labels.iter().copied()).map_err(|_| bad())?;
        let under =
            |label: &[u8]| Name::from_labels([label]).and_then(|name| name.append_domain(&domain)).map_err(|_| bad());
        Ok(Zone {
            ns: under(b"ns")?,
            hostmaster: under(b"hostmaster")?,
            labels: labels.iter().rev().map(|label| label.to_ascii_lowercase()).collect(),
            domain,
            datacenter: datacenter.to_ascii_lowercase(),
            node: node.to_owned(),
            address: options.address,
            only_passing: options.only_passing,
            truncate: options.truncate,
            meta_txt: options.meta_txt,
            udp_answers_max: options.udp_answers_max.unwrap_or(usize::MAX),
            udp_bytes_max: options.udp_bytes_max.clamp(limits::UDP_BYTES_PLAIN, limits::UDP_BYTES_MAX),
            node_ttl: seconds(options.node_ttl),
            service_ttl: options.service_ttl.iter().map(|(name, ttl)| (name.to_lowercase(), seconds(*ttl))).collect(),
        })
    }

    /// For how many seconds an answer about nodes may be kept.
    pub fn node_ttl(&self) -> u32 {
        self.node_ttl
    }

    /// For how many seconds an answer about a service may be kept; the name in lower case.
    pub fn service_ttl(&self, service: &str) -> u32 {
        let weight = |rule: &str| match rule.strip_suffix('*') {
            Some(beginning) => service.starts_with(beginning).then_some(beginning.len()),
            None => (rule == service).then_some(usize::MAX),
        };
        let ruled = self.service_ttl.iter().filter_map(|(rule, ttl)| Some((weight(rule)?, *ttl)));
        ruled.max_by_key(|(weight, _)| *weight).map_or(0, |(_, ttl)| ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domain: &str, good: bool) {
        let options = Options { domain: domain.into(), ..Options::default() };
        assert_eq!(Zone::new(&options, "dc1", "n").is_ok(), good, "{domain}");
    }

    #[test]
    fn a_domain_has_labels_that_fit() {
        for good in ["consul.", "consul", "Service.Example.COM."] {
            check(good, true);
        }
        for bad in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(70)] {
            check(bad, false);
        }
    }

    #[test]
    fn the_exact_name_wins_then_the_longest_beginning() {
        let ttl = |name: &str, seconds| (String::from(name), Duration::from_secs(seconds));
        let service_ttl = vec![ttl("*", 1), ttl("web*", 3), ttl("we*", 2), ttl("Web-1", 9), ttl("old", u64::MAX)];
        let zone = Zone::new(&Options { service_ttl, ..Options::default() }, "dc1", "n").unwrap();
        for (name, expected) in [("web-1", 9), ("web-2", 3), ("west", 2), ("db", 1), ("old", 0x7fff_ffff)] {
            assert_eq!(zone.service_ttl(name), expected, "{name}");
        }
        assert_eq!(Zone::new(&Options::default(), "dc1", "n").unwrap().service_ttl("web"), 0);
    }
}
