//! The tokens by which a node proves that it belongs to a domain.
//!
//! `<id>:<seconds since 1970>:<nonce>:<claims>:<mac>`: the mac is HMAC-SHA256 under the domain's secret over all
//! before the last colon, in base64 for URLs. The id is `domain/node`, or that with `_` and whatever follows.
//!
//! A token may be presented again until it is too old, as with the original.
//!
//! Source: the shared secrets of agntcy/slim.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::limits::{SECRET_BYTES_MIN, TOKEN_SKEW, TOKEN_VALID};

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The domain's secret is too short for the original, which makes no token of it.
    #[error("the domain's secret has fewer than {SECRET_BYTES_MIN} bytes")]
    Secret,
    /// It is no token.
    #[error("the credentials are no token of a shared secret")]
    Malformed,
    /// It was made with another secret.
    #[error("the token was made with another secret")]
    Mac,
    /// It is too old, or of the future.
    #[error("the token is too old, or of the future")]
    Time,
    /// It is of another node.
    #[error("the token is of another node or domain")]
    Identity,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Bytes of what sets one token apart from another.
const NONCE_BYTES: usize = 12;
/// Letters and digits behind a node's name, in a token's id.
const SUFFIX: usize = 8;

/// A token that proves that a node belongs to a domain, made at a time since 1970.
///
/// # Errors
/// [`Unproven::Secret`], [`Unproven::Random`]; [`Unproven::Identity`] where the node or domain cannot be in a token.
pub fn make(secret: &[u8], domain: &str, node: &str, now: Duration) -> Result<String, Unproven> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(Unproven::Secret);
    }
    if format!("{domain}{node}").contains(|c: char| c == ':' || c.is_whitespace()) {
        return Err(Unproven::Identity);
    }
    let mut random = [0; NONCE_BYTES + SUFFIX];
    SystemRandom::new().fill(&mut random).map_err(|_| Unproven::Random)?;
    let (nonce, suffix) = random.split_at(NONCE_BYTES);
    let suffix: String = suffix.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let signed = format!("{domain}/{node}_{suffix}:{}:{}:", now.as_secs(), URL_SAFE_NO_PAD.encode(nonce));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    Ok(format!("{signed}:{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// Whether a token proves that a node belongs to a domain, at a time since 1970.
///
/// # Errors
/// [`Unproven`].
pub fn verify(token: &str, secret: &[u8], domain: &str, node: &str, now: Duration) -> Result<(), Unproven> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(Unproven::Secret);
    }
    let (signed, mac) = token.rsplit_once(':').ok_or(Unproven::Malformed)?;
    let [id, made, _, _] = *signed.split(':').collect::<Vec<_>>() else { return Err(Unproven::Malformed) };
    let made = made.parse().map(Duration::from_secs).map_err(|_| Unproven::Malformed)?;
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| Unproven::Malformed)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, signed.as_bytes(), &mac).map_err(|_| Unproven::Mac)?;
    if made > now + TOKEN_SKEW || now.saturating_sub(made) > TOKEN_VALID {
        return Err(Unproven::Time);
    }
    let rest = id.strip_prefix(domain).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.and_then(|rest| rest.strip_prefix(node)).ok_or(Unproven::Identity)?;
    (rest.is_empty() || rest.starts_with('_')).then_some(()).ok_or(Unproven::Identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"test-secret-0123456789-abcdefghijk";

    fn token(id: &str, made: u64, secret: &[u8]) -> String {
        let signed = format!("{id}:{made}:bm9uY2U:");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}:{}", URL_SAFE_NO_PAD.encode(tag))
    }

    #[test]
    fn a_token_proves_one_node_of_one_domain_for_a_while() {
        let now = Duration::from_secs(10_000);
        let check = |token: &str, expected| assert_eq!(verify(token, SECRET, "a", "n1", now), expected, "{token}");
        check(&token("a/n1", 10_000, SECRET), Ok(()));
        check(&token("a/n1_x8Yz", 10_005, SECRET), Ok(()));
        check(&token("a/n1", 6_400, SECRET), Ok(()));
        check(&token("a/n1", 6_399, SECRET), Err(Unproven::Time));
        check(&token("a/n1", 10_006, SECRET), Err(Unproven::Time));
        check(&token("a/n10", 10_000, SECRET), Err(Unproven::Identity));
        check(&token("b/n1", 10_000, SECRET), Err(Unproven::Identity));
        check(&token("a/n1", 10_000, b"another-secret-0123456789-abcdefgh"), Err(Unproven::Mac));
        for bad in ["", ":", "a:b:c:d", "a:b:c:d:e", "a:1:c:d:e:f", "a:1:c:d:&&"] {
            check(bad, Err(Unproven::Malformed));
        }
        assert_eq!(verify("", b"short", "a", "n1", now), Err(Unproven::Secret));
    }

    #[test]
    fn a_token_that_is_made_proves_what_it_says_and_none_is_like_another() {
        let now = Duration::from_secs(10_000);
        let (one, other) = (make(SECRET, "a", "n1", now).unwrap(), make(SECRET, "a", "n1", now).unwrap());
        assert_ne!(one, other);
        assert_eq!(verify(&one, SECRET, "a", "n1", now), Ok(()));
        assert_eq!(verify(&one, SECRET, "a", "n2", now), Err(Unproven::Identity));
        assert_eq!(make(b"short", "a", "n1", now), Err(Unproven::Secret));
        assert_eq!(make(SECRET, "a:b", "n1", now), Err(Unproven::Identity));
    }
}
