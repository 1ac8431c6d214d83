//! `EventGroup`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration;

/// How far a signature's time may lie from now, where nothing is said: routerd's own.
const REPLAY_WINDOW: Duration = Duration::from_secs(300);

/// What an `EventGroup` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct GroupSpec {
    /// This node's name in the group: the source of the facts that are told here.
    #[schemars(length(min = 1))]
    pub node_name: String,
    /// Node sets that peers are taken from. An EventPeer of the same node takes the place of one; the
    /// node itself is left out.
    #[serde(default)]
    pub peers_from: Vec<PeersSource>,
    /// How long facts are kept, and how many.
    #[serde(default)]
    pub retention: Retention,
    /// The keys that sign and are accepted.
    #[serde(default)]
    pub auth: GroupAuth,
    /// Where peers push to. With neither address nor port there is no listener of the group's own.
    #[serde(default)]
    pub listen: GroupListen,
    /// How far the time of a signature may lie from now, in either direction.
    #[serde(default = "replay_window", with = "duration::always")]
    #[schemars(with = "duration::Optional")]
    pub replay_window: Duration,
    /// Ours: whether peers may ask what became of a fact here.
    #[serde(default = "yes")]
    pub trace: bool,
    /// routerd's condition on the status of other resources. Carried, and not read: the group is always
    /// in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<BTreeMap<String, Value>>,
}

/// Where peers come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PeersSource {
    /// `SAMNodeSet/<name>`.
    #[schemars(length(min = 1))]
    pub resource: String,
    /// Whether the node set may be absent.
    #[serde(default)]
    pub optional: bool,
}

/// How long facts are kept, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Retention {
    /// Facts that are kept, at most; 0: no limit.
    #[serde(default)]
    pub max_events: u64,
    /// Age beyond which a fact is dropped; none: no limit.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Optional>")]
    pub max_age: Option<Duration>,
}

/// Keys of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct GroupAuth {
    /// How pushes are signed; there is one way.
    #[serde(default)]
    #[schemars(extend("enum" = ["", "hmac"]))]
    pub mode: String,
    /// Accepted and never read, as by routerd.
    #[serde(default)]
    pub secret_ref: String,
    /// The file of the key that all members share. It is the key named `default`.
    #[serde(default)]
    pub secret_file: String,
    /// Ours: further keys that are accepted, for rotation, or each bound to the nodes that hold it.
    #[serde(default)]
    pub keys: Vec<GroupKey>,
    /// Ours: the name of the key that signs. Else `default` where there is a secretFile, else the first
    /// of keys.
    #[serde(default)]
    pub signing_key: String,
}

/// A key that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct GroupKey {
    /// Names the key in logs and in signingKey.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The file that holds the key; white space around it is not part of it.
    #[schemars(length(min = 1))]
    pub secret_file: String,
    /// Nodes whose facts the key may sign; none: any node of the group.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub source_nodes: Vec<String>,
}

/// Where peers push to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct GroupListen {
    /// An address of this machine. Ours: empty with a port is loopback, or every address where open is said;
    /// to routerd it is no listener.
    #[serde(default)]
    pub address: String,
    /// The TCP port, 1 to 65535.
    #[serde(default)]
    #[schemars(extend("maximum" = 65535))]
    pub port: u16,
    /// Ours: TLS of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenTls>,
    /// Ours: whether an empty address is every address.
    #[serde(default)]
    pub open: bool,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate and those that vouch for it, as PEM.
    #[schemars(length(min = 1))]
    pub cert_file: String,
    /// Its private key, as PEM.
    #[schemars(length(min = 1))]
    pub key_file: String,
    /// Whose certificates peers must present, as PEM; none: peers need none.
    #[serde(default)]
    pub client_ca_file: String,
}

impl GroupSpec {
    /// The listener's address and port; `None`: the group has no listener of its own.
    pub fn listen_at(&self) -> Option<(&str, u16)> {
        let address = match (self.listen.address.as_str(), self.listen.open) {
            ("", true) => "::",
            ("", false) => "127.0.0.1",
            (address, _) => address,
        };
        (self.listen.port != 0).then_some((address, self.listen.port))
    }

    /// Whether there is a key to sign and to verify with.
    pub fn has_key(&self) -> bool {
        !self.auth.secret_file.is_empty() || !self.auth.keys.is_empty()
    }

    /// Every key: name, file, the nodes it is bound to (none: any).
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
        let shared = Some(self.auth.secret_file.as_str()).filter(|file| !file.is_empty());
        let shared = shared.map(|file| (DEFAULT_KEY, file, &[] as &[String]));
        let named = self.auth.keys.iter();
        let named = named.map(|key| (key.name.as_str(), key.secret_file.as_str(), key.source_nodes.as_slice()));
        shared.into_iter().chain(named)
    }

    /// The name of the key that signs; `None`: there is no key.
    pub fn signing_key(&self) -> Option<&str> {
        match self.auth.signing_key.as_str() {
            "" => self.keys().next().map(|(name, _, _)| name),
            name => Some(name),
        }
    }
}

/// The name of the key that `secretFile` is.
pub(crate) const DEFAULT_KEY: &str = "default";

fn replay_window() -> Duration {
    REPLAY_WINDOW
}

pub(super) fn yes() -> bool {
    true
}
