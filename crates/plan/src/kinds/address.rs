//! Addresses and URLs in fields: judged, never resolved.

use alloc::string::String;
use core::net::IpAddr;

/// An address with the number of its leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// `10.0.0.0/8`, or an address alone.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => widest,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= widest)?
            }
            Some(_) => return None,
        };
        Some(Cidr { address, bits })
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether some address is in both.
    pub(crate) fn overlaps(&self, other: &Cidr) -> bool {
        self.is_ipv4() == other.is_ipv4() && {
            let bits = self.bits.min(other.bits);
            self.leading(bits) == other.leading(bits)
        }
    }

    fn leading(&self, bits: u8) -> u128 {
        let (value, width) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32_u32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        value.checked_shr(width - u32::from(bits)).unwrap_or(0)
    }
}

/// Why a text is not the URL of a peer.
pub(crate) fn endpoint_fault(text: &str) -> Option<&'static str> {
    let rest = match text.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        _ => return Some("must use http or https"),
    };
    authority_fault(rest)
}

/// Why an address with one of the schemes, or with none, is none.
pub(crate) fn address_fault(text: &str, schemes: &[&str], reason: &'static str) -> Option<&'static str> {
    match text.split_once("://") {
        Some((scheme, rest)) if schemes.contains(&scheme) => authority_fault(rest),
        Some(_) => Some(reason),
        None => authority_fault(text),
    }
}

/// Why what follows a scheme is no host, port and path.
fn authority_fault(rest: &str) -> Option<&'static str> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return Some("must include a host");
    }
    if authority.contains('@') {
        return Some("cannot hold a user or a password");
    }
    if rest.contains(['?', '#']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("cannot hold a query, a fragment or white space");
    }
    let host = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
    let port = host.rsplit_once(':').map(|(_, port)| port);
    match port {
        Some(port) if port.parse::<u16>().map_or(true, |port| port == 0) => Some("has a port that is not 1..65535"),
        _ => None,
    }
}

/// Why a text is not the path of a file on this machine.
pub(crate) fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
}

/// A text in quotes, for a sentence.
pub(crate) fn quoted(text: &str) -> String {
    alloc::format!("{:?}", crate::document::shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_overlap_where_an_address_is_in_both() {
        let cidr = |text| Cidr::parse(text).unwrap();
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.88.60.9")));
        assert!(!cidr("10.88.60.0/24").overlaps(&cidr("10.88.61.0/24")));
        assert!(cidr("0.0.0.0/0").overlaps(&cidr("192.0.2.1/32")));
        assert!(!cidr("0.0.0.0/0").overlaps(&cidr("::/0")));
        assert!(cidr("2001:db8::/32").overlaps(&cidr("2001:db8:1::1")));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "x"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn endpoints_are_urls_with_a_host() {
        for good in ["http://10.99.0.7:8787", "https://node.example/base/", "http://[::1]:7070"] {
            assert_eq!(endpoint_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "node:1",
            "ftp://node",
            "http://",
            "http://:80",
            "http://a@b",
            "http://a?x",
            "http://a:0",
            "http://a:b",
        ] {
            assert!(endpoint_fault(bad).is_some(), "{bad}");
        }
    }
}
