//! Secrets and what they sign.
//!
//! A signature is HMAC-SHA256 over the decimal timestamp, a line feed and the body as it is sent, in
//! lowercase hex (the wire facts, section 2). Nothing else is signed: not the path, host or peer.
//!
//! # Invariants
//! - No secret can be printed; the bytes of a file are wiped once the key is made of them.
//! - Checking a signature takes the same work whichever key made it, and whether one did.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use federation::intake::Binding;
use ring::hmac;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::limits::{KEYS_MAX, SECRET_BYTES_MAX};

/// Characters of a signature.
const SIGNATURE_CHARS: usize = 64;

/// What two nodes share, as a key of HMAC-SHA256. Equal secrets sign alike.
#[derive(Clone)]
pub struct Secret {
    key: Arc<hmac::Key>,
}

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read. It may be there later.
    #[error("the secret file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is nothing but white space.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
    /// It is no secret that somebody wrote.
    #[error("the secret file {} has more than {SECRET_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
}

impl Secret {
    /// A secret of these bytes, as they are.
    pub fn new(bytes: &[u8]) -> Self {
        Secret { key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)) }
    }

    /// The signature of a body sent at `timestamp` (Unix seconds): 64 characters of lowercase hex.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        let text = hex(self.tag(timestamp, body).as_ref());
        text.iter().map(|&byte| char::from(byte)).collect()
    }

    fn tag(&self, timestamp: i64, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(timestamp.to_string().as_bytes());
        context.update(b"\n");
        context.update(body);
        context.sign()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.tag(0, b"").as_ref().ct_eq(other.tag(0, b"").as_ref()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Reads a secret: the bytes of a file without the white space around them. Blocks on the file.
///
/// # Errors
/// [`SecretError`] where the file cannot be read, holds nothing, or holds too much.
pub fn read_secret(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(1_024));
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong(path.to_owned()));
    }
    match trimmed(&bytes) {
        [] => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(Secret::new(secret)),
    }
}

/// Bytes without the white space of Unicode at both ends. Bytes that are no UTF-8 are no white space.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_start().len());
    let bytes = &bytes[start..];
    let end = match bytes.utf8_chunks().last() {
        Some(chunk) if chunk.invalid().is_empty() => chunk.valid().len() - chunk.valid().trim_end().len(),
        _ => 0,
    };
    &bytes[..bytes.len() - end]
}

/// A secret, and what it lets its holder say.
#[derive(Debug, Clone)]
pub struct Key {
    /// The group and sources that it is bound to, under the key's name.
    pub binding: Binding,
    /// The secret.
    pub secret: Secret,
}

/// The keys that are accepted, and the one that signs. Immutable: a rotation makes another ring.
#[derive(Debug, Default)]
pub struct KeyRing {
    signing: Option<Key>,
    accepted: Vec<Key>,
}

impl KeyRing {
    /// A ring that accepts these keys, [`KEYS_MAX`] at most, and signs with none.
    pub fn new(mut accepted: Vec<Key>) -> Self {
        if accepted.len() > KEYS_MAX {
            tracing::warn!(
                keys = accepted.len(),
                most = KEYS_MAX,
                "there are too many keys; the last are not accepted"
            );
            accepted.truncate(KEYS_MAX);
        }
        KeyRing { signing: None, accepted }
    }

    /// The ring, signing with a key, which it need not accept.
    #[must_use]
    pub fn signing_with(self, key: Key) -> Self {
        KeyRing { signing: Some(key), ..self }
    }

    /// The key that signs.
    pub fn signing(&self) -> Option<&Key> {
        self.signing.as_ref()
    }

    /// The keys that are accepted.
    pub fn accepted(&self) -> &[Key] {
        &self.accepted
    }

    /// A signature by the signing key. `None` where there is none.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> Option<String> {
        Some(self.signing.as_ref()?.secret.sign(timestamp, body))
    }

    /// What the keys that made a signature are bound to: none, where it is no signature of theirs, and
    /// several, where groups share a secret.
    pub fn verify(&self, timestamp: i64, body: &[u8], signature: &[u8]) -> Vec<Binding> {
        // A text of another form is no signature, and its form is no secret.
        if signature.len() != SIGNATURE_CHARS || !signature.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Vec::new();
        }
        let matches: Vec<Choice> = self
            .accepted
            .iter()
            .map(|key| hex(key.secret.tag(timestamp, body).as_ref()).as_slice().ct_eq(signature))
            .collect();
        let made = |(key, _): &(&Key, Choice)| key.binding.clone();
        let pairs = self.accepted.iter().zip(matches).filter(|(_, matches)| bool::from(*matches));
        pairs.map(|pair| made(&pair)).collect()
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = b"0123456789abcdef0123456789abcdef";
    const TIMESTAMP: i64 = 1_748_600_000;
    const FACT: &[u8] = br#"{"id":"evt-1","group":"cloudedge","sourceNode":"onprem","type":"routerd.client.ipv4.observed","subject":"10.88.60.9/32","dedupeKey":"evt-1","payload":{"address":"10.88.60.9/32","mac":"aa:bb:cc:dd:ee:ff"},"observedAt":"2025-05-30T10:13:10Z","expiresAt":"2025-05-30T10:43:10Z"}"#;

    fn key(name: &str, group: &str, secret: &[u8]) -> Key {
        let binding = Binding { name: name.to_owned(), group: group.to_owned(), sources: None };
        Key { binding, secret: Secret::new(secret) }
    }

    fn names(ring: &KeyRing, timestamp: i64, body: &[u8], signature: &str) -> Vec<String> {
        ring.verify(timestamp, body, signature.as_bytes()).into_iter().map(|binding| binding.name).collect()
    }

    /// A golden vector, in both directions.
    fn check(secret: &[u8], body: &[u8], signature: &str) {
        let ring = KeyRing::new(vec![key("other", "g", b"another"), key("right", "g", secret)])
            .signing_with(key("right", "g", secret));
        assert_eq!(ring.sign(TIMESTAMP, body).unwrap(), signature);
        assert_eq!(names(&ring, TIMESTAMP, body, signature), ["right"]);
        assert!(names(&ring, TIMESTAMP + 1, body, signature).is_empty());
        assert!(names(&ring, TIMESTAMP, &[body, b" "].concat(), signature).is_empty());
        assert!(names(&ring, TIMESTAMP, body, &signature.to_uppercase()).is_empty());
        assert!(names(&ring, TIMESTAMP, body, &signature[1..]).is_empty());
        assert!(names(&ring, TIMESTAMP, body, &format!("{signature}0")).is_empty());
        assert!(names(&ring, TIMESTAMP, body, "").is_empty());
    }

    #[test]
    fn the_worked_vectors_hold_in_both_directions() {
        assert_eq!(FACT.len(), 275);
        check(FIRST, FACT, "6fde03d99d8be7a39efbf1d168737c46675c8a48940354efd5c6d05fc7df585d");
        let short = br#"{"id":"evt-1","type":"routerd.client.ipv4.observed"}"#;
        check(b"shared-key", short, "feaf85c8afb7fabd6ce806146c34e30f2088092f9a88a0a192ed3f9613dee5dc");
        check(FIRST, b"", "4e0a881ae943a24e8a902ab0452ce3d214ad3012969faaeca2ad5ab4dd90b013");
    }

    #[test]
    fn what_is_signed_is_what_the_envelope_says() {
        let signed = federation::envelope::signed_bytes(TIMESTAMP, FACT);
        let secret = Secret::new(FIRST);
        let whole = hex(hmac::sign(&secret.key, &signed).as_ref());
        assert_eq!(secret.sign(TIMESTAMP, FACT).as_bytes(), whole);
    }

    #[test]
    fn a_rotation_accepts_the_old_key_and_the_new() {
        let (old, new) = (key("old", "g", b"old"), key("new", "g", b"new"));
        let both = KeyRing::new(vec![old.clone(), new.clone()]).signing_with(new.clone());
        let after = KeyRing::new(vec![new.clone()]).signing_with(new);
        let by_old = old.secret.sign(1, b"x");
        assert_eq!(names(&both, 1, b"x", &by_old), ["old"]);
        assert_eq!(names(&both, 1, b"x", &both.sign(1, b"x").unwrap()), ["new"]);
        assert!(names(&after, 1, b"x", &by_old).is_empty());
        assert_eq!(KeyRing::new(vec![old]).sign(1, b"x"), None);
    }

    #[test]
    fn groups_that_share_a_secret_are_all_told() {
        let ring = KeyRing::new(vec![key("a", "one", b"same"), key("b", "two", b"same")]);
        assert_eq!(names(&ring, 1, b"x", &Secret::new(b"same").sign(1, b"x")), ["a", "b"]);
    }

    fn read(bytes: &[u8]) -> Result<Secret, SecretError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, bytes).unwrap();
        read_secret(&path)
    }

    #[test]
    fn a_secret_file_is_its_bytes_without_white_space_around_them() {
        let secret = Secret::new(b"a b");
        for text in ["a b", "a b\n", " \t\r\n\x0b\x0ca b\r\n", "\u{a0}a b\u{2003}\u{85}"] {
            assert_eq!(read(text.as_bytes()).unwrap(), secret, "{text:?}");
        }
        assert_eq!(read(b" \xff\x20\xfe ").unwrap(), Secret::new(b"\xff\x20\xfe"));
        assert_eq!(read(b"6162").unwrap(), Secret::new(b"6162"));
        assert_ne!(read(b"6162").unwrap(), Secret::new(b"ab"));
    }

    #[test]
    fn a_file_that_is_no_secret_is_named() {
        assert!(matches!(read(b""), Err(SecretError::Empty(_))));
        assert!(matches!(read(b" \n"), Err(SecretError::Empty(_))));
        assert!(matches!(read(&[b'x'; 70_000]), Err(SecretError::TooLong(_))));
        let missing = read_secret(Path::new("/nowhere/secret")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/secret"), "{missing}");
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", KeyRing::new(vec![key("a", "g", FIRST)]));
        assert!(printed.contains("Secret(..)") && !printed.contains("0123456789"), "{printed}");
    }
}
