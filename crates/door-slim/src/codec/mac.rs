//! The tag over a header: HMAC-SHA256 with the link's own key.
//!
//! Source: agntcy/slim, `header_mac.rs` and `link_ecdh.rs`, by what is put in.

use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac::{self, HMAC_SHA256};

use super::message::Header;
use super::name::Name;

/// Bytes of a tag.
pub(crate) const TAG_BYTES: usize = 32;
/// What the bytes that are tagged begin with.
const DOMAIN: &[u8] = b"SLIM-DP-HDR-v1\0";
/// What keys are derived for.
const INFO: &[u8] = b"SLIM-DP-inter-node-hmac-v1";
/// The same where a key of ML-KEM is mixed in.
const INFO_MIXED: &[u8] = b"SLIM-DP-inter-node-hmac-v1-pq";

/// A link's key, with the link's name, which every tag covers.
#[derive(Clone)]
pub(crate) struct Key {
    key: hmac::Key,
    link: Box<str>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key as it is.
    pub(crate) fn new(bytes: &[u8], link: &str) -> Self {
        Key { key: hmac::Key::new(HMAC_SHA256, bytes), link: link.into() }
    }

    /// The key that follows from a shared secret of X25519, and one of ML-KEM where there is.
    pub(crate) fn derive(shared: &[u8], mixed: Option<&[u8]>, link: &str) -> Option<Self> {
        let mut secret = shared.to_vec();
        secret.extend_from_slice(mixed.unwrap_or_default());
        let info = [if mixed.is_some() { INFO_MIXED } else { INFO }];
        let derived = Salt::new(HKDF_SHA256, link.as_bytes()).extract(&secret);
        let mut bytes = [0; 32];
        derived.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes)).ok()?;
        Some(Key::new(&bytes, link))
    }

    /// Whether a header's tag is right. `scratch` is overwritten.
    pub(crate) fn verifies(&self, header: &Header<'_>, scratch: &mut Vec<u8>) -> bool {
        let Some(tag) = header.mac else { return false };
        cover(scratch, &self.link, header);
        hmac::verify(&self.key, scratch, tag).is_ok()
    }

    /// The tag of a header. `scratch` is overwritten.
    pub(crate) fn sign(&self, header: &Header<'_>, scratch: &mut Vec<u8>) -> [u8; TAG_BYTES] {
        cover(scratch, &self.link, header);
        let mut tag = [0; TAG_BYTES];
        for (place, byte) in tag.iter_mut().zip(hmac::sign(&self.key, scratch).as_ref()) {
            *place = *byte;
        }
        tag
    }
}

/// The last tag that was made, and of what: messages of one flow have the same header, and so the same tag.
#[derive(Default)]
pub(crate) struct Signer {
    scratch: Vec<u8>,
    header: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

impl Signer {
    /// The tag of a header that came as `bytes`.
    pub(super) fn sign(&mut self, key: &Key, header: &Header<'_>, bytes: &[u8]) -> [u8; TAG_BYTES] {
        if self.header != bytes || bytes.is_empty() {
            self.tag = key.sign(header, &mut self.scratch);
            self.header.clear();
            self.header.extend_from_slice(bytes);
        }
        self.tag
    }
}

/// Writes the bytes that are tagged.
fn cover(out: &mut Vec<u8>, link: &str, header: &Header<'_>) {
    out.clear();
    out.extend_from_slice(DOMAIN);
    counted(out, link);
    name(out, &header.source);
    name(out, &header.destination);
    counted(out, header.identity);
    out.extend_from_slice(&header.fanout.to_le_bytes());
    optional(out, header.recv_from);
    optional(out, header.forward_to);
    match header.error {
        None => out.push(0),
        Some(error) => out.extend_from_slice(&[1, u8::from(error)]),
    }
    out.extend_from_slice(&header.ttl.to_le_bytes());
}

fn counted(out: &mut Vec<u8>, text: &str) {
    // A header is far smaller than that.
    let count = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn optional(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        None => out.push(0),
        Some(number) => {
            out.push(1);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn name(out: &mut Vec<u8>, name: &Name<'_>) {
    out.push(1);
    match &name.encoded {
        None => out.push(0),
        Some(encoded) => {
            out.push(1);
            encoded.components.iter().for_each(|each| out.extend_from_slice(&each.to_le_bytes()));
            match encoded.id {
                None => out.push(0),
                Some(id) => {
                    out.push(1);
                    let [high, low] = [id >> 64, id & u128::from(u64::MAX)];
                    for half in [high, low] {
                        out.extend_from_slice(&u64::try_from(half).unwrap_or(u64::MAX).to_le_bytes());
                    }
                }
            }
        }
    }
    match &name.texts {
        None => out.push(0),
        Some(texts) => {
            out.push(1);
            texts.iter().for_each(|text| counted(out, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::Encoded;
    use super::*;

    #[test]
    fn a_tag_is_the_originals() {
        let name = |components, id, texts| Name { encoded: Some(Encoded { components, id: Some(id) }), texts };
        let source = name([1, 2, 3], 4, Some(["a", "b", "c"]));
        let destination = name([5, 6, 7], 8, Some(["x", "y", "z"]));
        let header = Header {
            source,
            destination,
            to: destination.encoded.unwrap(),
            identity: "id1",
            fanout: 2,
            ttl: 8,
            recv_from: None,
            forward_to: None,
            error: Some(false),
            mac: None,
        };
        let key = Key::new(b"01234567890123456789012345678901", "test-link");
        let mut scratch = Vec::new();
        let tag = key.sign(&header, &mut scratch);
        assert_eq!(scratch.len(), 165);
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d09d48e7de5ebf9c2e39d0a11c92dda3ef0261230f35cdc089b488b0797330bf");
        assert!(key.verifies(&Header { mac: Some(&tag), ..header }, &mut scratch));
        assert!(!key.verifies(&Header { mac: Some(&tag), ttl: 7, ..header }, &mut scratch));
        assert!(!key.verifies(&Header { mac: Some(&tag[..31]), ..header }, &mut scratch));
        assert!(!key.verifies(&header, &mut scratch), "no tag");
    }
}
