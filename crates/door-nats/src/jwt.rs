//! Users vouched for by JWT: an operator signs accounts, an account signs users, a user signs the nonce.
//!
//! What a user may do is in its JWT. All accounts share one space of subjects here, so that an account
//! is no more than the key that vouches; imports, exports and limits of accounts are not spoken.
//!
//! # Invariants
//! - What narrows a user and is not known here refuses it: a scoped signing key, and limits on where,
//!   when and how it may connect. Nobody is let in with more than was signed.
//! - A user that its account has revoked is refused, and so are all of an account that has expired.
//!
//! Source: NATS's JWT guide and the NKEYS specification, versions 1 and 2 of the claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::Pattern;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use thiserror::Error;

use crate::options::NatsPermissions;

/// First byte of an operator's key in its text.
const OPERATOR: u8 = 14 << 3;
/// First byte of an account's key.
const ACCOUNT: u8 = 0;
/// First byte of a user's key.
pub(crate) const USER: u8 = 20 << 3;

/// Longest JWT that is looked at, in bytes: far more than the lists of subjects that people write.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Why an operator or its accounts cannot be used. Quotes no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// A token is no JWT, or its signature does not hold.
    #[error("the JWT of the {0} is not one, or is not signed by whom it names")]
    Token(&'static str),
    /// An account is not the operator's.
    #[error("the account {0} is not signed by the operator")]
    Foreign(String),
}

/// The accounts whose users are let in.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// By each key that signs users.
    signers: BTreeMap<String, Arc<Account>>,
}

/// An account that vouches.
#[derive(Debug)]
struct Account {
    key: String,
    /// In seconds since 1970; 0: never.
    expires: u64,
    /// What its users may do where they do not say.
    rights: Rights,
    /// By user, or `*` for all: those signed up to this second are refused.
    revoked: BTreeMap<String, u64>,
}

/// A user that an account vouches for.
pub(crate) struct Vouched {
    /// Its public key: the nonce is to be signed with it.
    pub(crate) key: String,
    /// What it is called.
    pub(crate) name: String,
    /// Whether the JWT is enough.
    pub(crate) bearer: bool,
    /// What it may do.
    pub(crate) permissions: NatsPermissions,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    nats: Nats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Nats {
    version: u32,
    signing_keys: Vec<Signer>,
    issuer_account: String,
    bearer_token: bool,
    default_permissions: Rights,
    revocations: BTreeMap<String, u64>,
    /// Networks that a user may come from.
    src: Value,
    /// Hours at which it may.
    times: Value,
    /// Kinds of connections that it may have.
    allowed_connection_types: Value,
    #[serde(flatten)]
    rights: Rights,
}

/// A key, alone or with a scope that narrows what it signs.
#[derive(Deserialize)]
#[serde(untagged)]
enum Signer {
    Key(String),
    Scoped(IgnoredAny),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rights {
    #[serde(rename = "pub")]
    publish: Subjects,
    #[serde(rename = "sub")]
    subscribe: Subjects,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Subjects {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Trust {
    /// Reads an operator's JWT, and those of its accounts.
    ///
    /// # Errors
    /// [`TrustError`] naming what cannot be used.
    pub fn read(operator: &str, accounts: &[String]) -> Result<Trust, TrustError> {
        let operator = claims(operator, &[OPERATOR]).ok_or(TrustError::Token("operator"))?;
        let mut operators: Vec<String> = operator.nats.signing_keys.into_iter().filter_map(Signer::key).collect();
        operators.push(operator.sub);
        let mut signers = BTreeMap::new();
        for account in accounts {
            let account = claims(account, &[OPERATOR]).ok_or(TrustError::Token("account"))?;
            if !operators.contains(&account.iss) || key(&account.sub, ACCOUNT).is_none() {
                return Err(TrustError::Foreign(account.sub));
            }
            let Nats { signing_keys, default_permissions, revocations, .. } = account.nats;
            let keys = signing_keys.into_iter().filter_map(Signer::key).chain([account.sub.clone()]);
            let account = Arc::new(Account {
                key: account.sub,
                expires: account.exp,
                rights: default_permissions,
                revoked: revocations,
            });
            signers.extend(keys.map(|key| (key, Arc::clone(&account))));
        }
        Ok(Trust { signers })
    }

    /// The user of a JWT; `None` where no account here vouches for it at this second.
    pub(crate) fn user(&self, token: &str, now: u64) -> Option<Vouched> {
        let user = claims(token, &[ACCOUNT])?;
        let account = self.signers.get(&user.iss)?;
        let meant = user.nats.issuer_account.is_empty() || user.nats.issuer_account == account.key;
        let before = |expires: u64| expires == 0 || now < expires;
        let in_time = before(user.exp) && before(account.expires) && now >= user.nbf;
        let revoked =
            [user.sub.as_str(), "*"].iter().any(|of| account.revoked.get(*of).is_some_and(|at| user.iat <= *at));
        if !meant || !in_time || revoked || user.nats.is_narrowed() || key(&user.sub, USER).is_none() {
            return None;
        }
        let permissions = user.nats.rights.or(&account.rights)?;
        Some(Vouched { key: user.sub, name: user.name, bearer: user.nats.bearer_token, permissions })
    }
}

impl Signer {
    /// The key, where all that it signs is good as it stands.
    fn key(self) -> Option<String> {
        match self {
            Signer::Key(key) => Some(key),
            Signer::Scoped(_) => None,
        }
    }
}

impl Nats {
    /// Whether it says where, when or how a user may connect.
    fn is_narrowed(&self) -> bool {
        let silent = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        ![&self.src, &self.times, &self.allowed_connection_types].into_iter().all(silent)
    }
}

impl Rights {
    fn is_silent(&self) -> bool {
        [&self.publish, &self.subscribe].iter().all(|subjects| subjects.allow.is_empty() && subjects.deny.is_empty())
    }

    /// These, or the others where these say nothing; `None` where one is no pattern, so that nothing is
    /// allowed by a slip.
    fn or(&self, others: &Rights) -> Option<NatsPermissions> {
        let rights = if self.is_silent() { others } else { self };
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::parse(text).ok()).collect::<Option<_>>();
        Some(NatsPermissions {
            publish_allow: patterns(&rights.publish.allow)?,
            publish_deny: patterns(&rights.publish.deny)?,
            subscribe_allow: patterns(&rights.subscribe.allow)?,
            subscribe_deny: patterns(&rights.subscribe.deny)?,
        })
    }
}

/// What a token claims, if it is signed by whom it names, in one of these roles.
fn claims(token: &str, issuers: &[u8]) -> Option<Claims> {
    let token = token.trim();
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let header: serde_json::Value = serde_json::from_slice(&decode(header)?).ok()?;
    if !matches!(header["alg"].as_str(), Some("ed25519" | "ed25519-nkey")) {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&decode(payload)?).ok()?;
    let issuer = issuers.iter().find_map(|role| key(&claims.iss, *role))?;
    // The first version signs the claims alone, later ones the header too.
    let signed = if claims.nats.version <= 1 { payload } else { signed };
    let holds = UnparsedPublicKey::new(&ED25519, issuer).verify(signed.as_bytes(), &decode(signature)?);
    holds.ok().map(|()| claims)
}

/// The 32 bytes of a public NKEY of a role: base32 of the role's byte, the key, and a CRC-16.
pub(crate) fn key(text: &str, role: u8) -> Option<[u8; 32]> {
    let (mut bits, mut have, mut bytes) = (0_u32, 0_u32, Vec::with_capacity(35));
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        have += 5;
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from((bits >> have) & 0xff).unwrap_or_default());
        }
    }
    let (body, check) = bytes.split_at_checked(33)?;
    let check = u16::from_le_bytes(<[u8; 2]>::try_from(check).ok()?);
    let (found, key) = body.split_first()?;
    (*found == role && crc16(body) == check).then(|| <[u8; 32]>::try_from(key).ok()).flatten()
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    struct Keys(Ed25519KeyPair, String);

    fn keys(role: u8, seed: u8) -> Keys {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let mut body = vec![role];
        body.extend(pair.public_key().as_ref());
        body.extend(crc16(&body).to_le_bytes());
        let (mut text, mut bits, mut have) = (String::new(), 0_u32, 0);
        for byte in body {
            bits = (bits << 8) | u32::from(byte);
            have += 8;
            while have >= 5 {
                have -= 5;
                text.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(bits >> have) as usize & 31]));
            }
        }
        Keys(pair, text)
    }

    fn token(by: &Keys, of: &Keys, mut claims: Value, version: u32) -> String {
        claims["iss"] = json!(by.1);
        claims["sub"] = json!(of.1);
        if version > 1 {
            claims["nats"]["version"] = json!(version);
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (header, payload) = (encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), encode(&claims));
        let signed = if version > 1 { format!("{header}.{payload}") } else { payload.clone() };
        format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(by.0.sign(signed.as_bytes())))
    }

    #[test]
    fn an_operator_vouches_for_accounts_and_they_for_users() {
        let (operator, account, user) = (keys(OPERATOR, 1), keys(ACCOUNT, 2), keys(USER, 3));
        for version in [1, 2] {
            let accounts = [token(&operator, &account, json!({"nats": {}}), version)];
            let trust = Trust::read(&token(&operator, &operator, json!({}), 2), &accounts).unwrap();
            let claims = json!({"name": "ann", "exp": 100, "nats": {"pub": {"allow": ["a.>"], "deny": ["a.b"]}}});
            let found = trust.user(&token(&account, &user, claims.clone(), version), 99).unwrap();
            assert_eq!((found.name.as_str(), &found.key, found.bearer), ("ann", &user.1, false));
            assert_eq!(found.permissions.publish_deny, [Pattern::parse("a.b").unwrap()]);
            assert!(trust.user(&token(&account, &user, claims, version), 100).is_none(), "too late");
            let slip = json!({"nats": {"pub": {"allow": ["a..b"]}}});
            assert!(trust.user(&token(&account, &user, slip, version), 0).is_none(), "no pattern");
        }
    }

    #[test]
    fn what_is_signed_by_anybody_else_is_worth_nothing() {
        let (operator, account, user) = (keys(OPERATOR, 1), keys(ACCOUNT, 2), keys(USER, 3));
        let own = token(&operator, &operator, json!({}), 2);
        let trust = Trust::read(&own, &[token(&operator, &account, json!({}), 2)]).unwrap();
        let other = keys(ACCOUNT, 9);
        assert!(trust.user(&token(&other, &user, json!({}), 2), 0).is_none());
        let good = token(&account, &user, json!({}), 2);
        assert!(trust.user(&good, 0).is_some());
        let forged = good.replacen(good.split('.').nth(1).unwrap(), &URL_SAFE_NO_PAD.encode("{}"), 1);
        for bad in ["", "a.b.c", forged.as_str(), good.trim_end_matches(|c| c != '.')] {
            assert!(trust.user(bad, 0).is_none(), "{bad}");
        }
        let stranger = keys(OPERATOR, 8);
        let foreign = Trust::read(&own, &[token(&stranger, &account, json!({}), 2)]);
        assert!(matches!(foreign, Err(TrustError::Foreign(_))));
        assert!(matches!(Trust::read("x", &[]), Err(TrustError::Token("operator"))));
    }

    #[test]
    fn nobody_gets_more_than_was_signed() {
        let (operator, account, user, scoped) = (keys(OPERATOR, 1), keys(ACCOUNT, 2), keys(USER, 3), keys(ACCOUNT, 4));
        let own = token(&operator, &operator, json!({}), 2);
        let trusts = |of_account: Value| Trust::read(&own, &[token(&operator, &account, of_account, 2)]).unwrap();
        let by = |signer: &Keys, claims: Value| token(signer, &user, claims, 2);
        let signed_at = |second: u64| json!({"iat": second});

        let plain = trusts(json!({}));
        assert!(plain.user(&by(&account, signed_at(7)), 8).is_some());
        for narrow in [
            json!({"src": ["10.0.0.0/8"]}),
            json!({"times": [{"start": "1"}]}),
            json!({"allowed_connection_types": ["MQTT"]}),
        ] {
            assert!(plain.user(&by(&account, json!({"nats": narrow})), 8).is_none(), "{narrow}");
        }
        let scope = json!({"nats": {"signing_keys": [{"kind": "user_scope", "key": scoped.1, "template": {}}]}});
        assert!(trusts(scope).user(&by(&scoped, json!({})), 8).is_none(), "its scope is not known");
        assert!(trusts(json!({"nats": {"signing_keys": [scoped.1]}})).user(&by(&scoped, json!({})), 8).is_some());
        for of in [user.1.as_str(), "*"] {
            let revoked = trusts(json!({"nats": {"revocations": {of: 7}}}));
            assert!(revoked.user(&by(&account, signed_at(7)), 8).is_none(), "{of}");
            assert!(revoked.user(&by(&account, signed_at(8)), 8).is_some(), "signed again since");
        }
        assert!(trusts(json!({"exp": 8})).user(&by(&account, signed_at(7)), 8).is_none(), "the account has expired");
    }

    #[test]
    fn a_public_key_is_told_from_anything_else() {
        let text = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        assert!(key(text, USER).is_some() && key(text, ACCOUNT).is_none());
        for bad in ["", "U", "SDXU", &text.replace('4', "5"), &text.to_lowercase()] {
            assert!(key(bad, USER).is_none(), "{bad}");
        }
    }
}
