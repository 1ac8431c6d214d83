//! What a negotiation leads to: X25519, and ML-KEM-768 where the other side offers it.
//!
//! Source: agntcy/slim, `negotiation.rs` and `link_ecdh.rs`.

use ml_kem::kem::{Decapsulate as _, KeyExport as _, TryKeyInit as _};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Agreed, Fault, Offered, Rules};
use crate::codec::{Key, Kind, Negotiation, Reply, negotiation, reply};

/// Bytes of a key of X25519.
const KEY_BYTES: usize = 32;
/// Bytes of a key of ML-KEM-768.
const KEM_BYTES: usize = 1184;

/// An offer of this node, until it is answered.
pub(super) struct Offer {
    offered: Offered,
    domain: String,
    strict: bool,
    private: EphemeralPrivateKey,
    kem: Option<DecapsulationKey768>,
}

/// An offer, and how it is said. Links of replicas have no tags, so that the key which is shown is of no use to
/// anybody; it is shown because a link without any is refused.
pub(super) fn offer(rules: &Rules, offered: Offered) -> Option<(Offer, Vec<u8>)> {
    let kind = offered.kind;
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).ok()?;
    let public = private.compute_public_key().ok()?;
    let kem = if rules.enforce_pqc && kind != Kind::Peer { Some(decapsulation()?) } else { None };
    let shown = kem.as_ref().map(|kem| kem.encapsulation_key().to_bytes());
    let said = Reply {
        link: &offered.link,
        version: &rules.version,
        key: public.as_ref(),
        kind,
        node: &rules.node,
        deployment: &rules.domain,
        kem: shown.as_ref().map(|shown| &shown[..]),
    };
    let bytes = negotiation(&said, false);
    let (domain, strict) = (rules.domain.clone(), rules.strict);
    Some((Offer { offered, domain, strict, private, kem }, bytes))
}

fn decapsulation() -> Option<DecapsulationKey768> {
    let mut seed = [0; 64];
    SystemRandom::new().fill(&mut seed).ok()?;
    Some(DecapsulationKey768::from_seed(seed.into()))
}

impl Offer {
    /// What its answer leads to.
    pub(super) fn answered(self, answer: &Negotiation<'_>) -> Result<Agreed, Fault> {
        let Offered { link, kind } = &self.offered;
        if !answer.is_reply || answer.link != link {
            return Err(Fault::Link);
        }
        let same = answer.deployment.is_empty() || self.domain.is_empty() || answer.deployment == self.domain;
        // Whoever answers is at the address that was told; the bindings' own nodes do not say a name that they were given.
        if answer.kind != *kind || (*kind == Kind::Peer && !same) {
            return Err(Fault::Peer);
        }
        let (kind, node) = (*kind, answer.node.to_owned());
        let key = if kind == Kind::Peer { None } else { self.key(answer)? };
        Ok(Agreed { reply: Vec::new(), key, link: answer.link.to_owned(), kind, node })
    }

    /// The key of the link; none where the other side gives none and need not.
    fn key(self, answer: &Negotiation<'_>) -> Result<Option<Key>, Fault> {
        if answer.key.len() != KEY_BYTES {
            return match self.strict || self.kem.is_some() {
                true => Err(Fault::NoKey(answer.key.len())),
                false => Ok(None),
            };
        }
        let mixed = match self.kem {
            None => None,
            Some(kem) => {
                let secret = answer.kem.map(|shown| kem.decapsulate_slice(shown));
                Some(secret.and_then(Result::ok).ok_or(Fault::NoKem)?)
            }
        };
        let theirs = UnparsedPublicKey::new(&X25519, answer.key);
        // A key of low order leads to a secret of zeros, and is refused here.
        let key = agree_ephemeral(self.private, &theirs, |shared| {
            Key::derive(shared, mixed.as_ref().map(|mixed| &mixed[..]), answer.link)
        });
        key.ok().flatten().ok_or(Fault::BadKey).map(Some)
    }
}

/// Answers an offer that is in order.
pub(super) fn agree(rules: &Rules, offer: &Negotiation<'_>) -> Result<Agreed, Fault> {
    let keyed = offer.key.len() == KEY_BYTES;
    if !keyed && (rules.strict || rules.enforce_pqc) {
        return Err(Fault::NoKey(offer.key.len()));
    }
    let kem = offer.kem.filter(|kem| keyed && kem.len() == KEM_BYTES);
    if rules.enforce_pqc && kem.is_none() {
        return Err(Fault::NoKem);
    }
    let mixed = kem.map(encapsulate).transpose()?;
    let (secret, shown) = mixed.unzip();
    let (public, key) = match keyed {
        true => {
            let (public, key) = exchange(offer, secret.as_deref())?;
            (public, Some(key))
        }
        false => (Vec::new(), None),
    };
    let said = Reply {
        link: offer.link,
        version: &rules.version,
        key: &public,
        kind: offer.kind,
        node: &rules.node,
        deployment: &rules.domain,
        kem: shown.as_deref(),
    };
    // Replicas trust each other's headers: their links have a key, and no tags.
    let key = key.filter(|_| offer.kind != Kind::Peer);
    let (link, node) = (offer.link.to_owned(), offer.node.to_owned());
    Ok(Agreed { reply: reply(&said), key, link, kind: offer.kind, node })
}

/// Our public key, and the key of the link.
fn exchange(offer: &Negotiation<'_>, mixed: Option<&[u8]>) -> Result<(Vec<u8>, Key), Fault> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| Fault::BadKey)?;
    let public = private.compute_public_key().map_err(|_| Fault::BadKey)?.as_ref().to_vec();
    let theirs = UnparsedPublicKey::new(&X25519, offer.key);
    // A key of low order leads to a secret of zeros, and is refused here.
    let key = agree_ephemeral(private, &theirs, |shared| Key::derive(shared, mixed, offer.link));
    Ok((public, key.ok().flatten().ok_or(Fault::BadKey)?))
}

/// A secret for whoever has a key of ML-KEM-768, and what shows it to him.
fn encapsulate(kem: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let theirs = EncapsulationKey768::new_from_slice(kem).map_err(|_| Fault::BadKey)?;
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| Fault::BadKey)?;
    let (shown, secret) = theirs.encapsulate_deterministic(&seed.into());
    Ok((secret.to_vec(), shown.to_vec()))
}
