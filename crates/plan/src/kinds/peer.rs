//! `EventPeer`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// How long one push may take, where nothing is said: routerd's own.
pub(crate) const PUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// What an `EventPeer` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PeerSpec {
    /// The EventGroup.
    #[schemars(length(min = 1))]
    pub group_ref: String,
    /// The peer's name in the group.
    #[schemars(length(min = 1))]
    pub node_name: String,
    /// The URL that `/v1/events` is appended to, such as `http://10.99.0.7:8787`. It may have a path.
    #[schemars(length(min = 1))]
    pub endpoint: String,
    /// Which way facts go; there is one.
    #[serde(default)]
    #[schemars(extend("enum" = ["", "push"]))]
    pub direction: String,
    /// Types of facts that are pushed, each exactly; none: all.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub types: Vec<String>,
    /// Beginnings of the subjects that are pushed; none: all.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub subject_prefixes: Vec<String>,
    /// Ours: keys of this peer alone, bound to its nodeName.
    #[serde(default)]
    pub auth: PeerAuth,
    /// Ours: TLS towards the peer.
    #[serde(default)]
    pub tls: PeerTls,
    /// Ours: whether many facts go in one request to a peer that understands it.
    #[serde(default)]
    pub batch: Batch,
    /// Ours: how long one push may take.
    #[serde(default = "push_timeout", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub timeout: Duration,
}

/// Keys of one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PeerAuth {
    /// The file of the key that is shared with this peer. It is the key named `default`.
    #[serde(default)]
    pub secret_file: String,
    /// Further keys that are accepted from this peer.
    #[serde(default)]
    pub keys: Vec<PeerKey>,
    /// The name of the key that signs pushes to it. Else `default` where there is a secretFile, else the
    /// first of keys, else the group's.
    #[serde(default)]
    pub signing_key: String,
}

/// A key that is accepted from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PeerKey {
    /// Names the key in logs and in signingKey.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The file that holds the key; white space around it is not part of it.
    #[schemars(length(min = 1))]
    pub secret_file: String,
}

/// TLS towards a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PeerTls {
    /// Whose certificates are trusted, as PEM; none: the public ones.
    #[serde(default)]
    pub ca_file: String,
    /// The certificate that is presented, as PEM; none: none is.
    #[serde(default)]
    pub cert_file: String,
    /// Its private key, as PEM.
    #[serde(default)]
    pub key_file: String,
    /// The name that the peer's certificate must have; none: the endpoint's host.
    #[serde(default)]
    pub server_name: String,
}

/// Whether many facts go in one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("enum" = ["auto", "off"]))]
pub enum Batch {
    /// Where the peer understands it.
    #[default]
    Auto,
    /// Never: one fact a request.
    Off,
}

impl PeerAuth {
    /// Every key: name and file.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let shared = Some(self.secret_file.as_str()).filter(|file| !file.is_empty());
        let shared = shared.map(|file| (super::group::DEFAULT_KEY, file));
        shared.into_iter().chain(self.keys.iter().map(|key| (key.name.as_str(), key.secret_file.as_str())))
    }

    /// The name of the key that signs; `None`: the group's key does.
    pub fn signing_key(&self) -> Option<&str> {
        match self.signing_key.as_str() {
            "" => self.keys().next().map(|(name, _)| name),
            name => Some(name),
        }
    }
}

fn push_timeout() -> Duration {
    PUSH_TIMEOUT
}
