//! `HubLink` and `RepeaterTarget`: to which other hubs a node connects, and to whom its repeater sends.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::subscription::RetrySpec;
use crate::duration;

/// How long one push may take, where nothing is said: the original repeater's own.
const PUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection without an event stays, where nothing is said: the original repeater's own.
const IDLE: Duration = Duration::from_secs(5);

/// What a `HubLink` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct HubLinkSpec {
    /// Where the other hub listens: `ws://host:7100`, `wss://host`, or `host` and `host:port` alone, with
    /// port 7100 where none is said.
    #[schemars(length(min = 1))]
    pub address: String,
    /// Rooms whose events go to it; none: all.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub rooms: Vec<String>,
    /// The file of the token that is presented; none: none is.
    #[serde(default)]
    pub token_file: String,
    /// TLS towards it, where its address is wss.
    #[serde(default)]
    pub tls: HubTls,
}

/// TLS towards another hub, repeater or service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct HubTls {
    /// Whose certificates are trusted, as PEM; none: the public ones.
    #[serde(default)]
    pub ca_file: String,
    /// The certificate that is presented, as PEM; none: none is.
    #[serde(default)]
    pub cert_file: String,
    /// Its private key, as PEM.
    #[serde(default)]
    pub key_file: String,
}

/// What a `RepeaterTarget` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RepeaterTargetSpec {
    /// Who is sent to: `ws://host:7101` or `wss://host` for a repeater or a device, to whose address
    /// `/connect/<room>/<id>` is appended; `http://…` or `https://…` for whoever takes each event's body
    /// as a POST. Of `host` and `host:port` alone, a WebSocket, with port 7101 where none is said.
    #[schemars(length(min = 1))]
    pub address: String,
    /// Rooms whose events it is sent; `*`: every event.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub rooms: Vec<String>,
    /// The file of the token that is presented; none: none is.
    #[serde(default)]
    pub token_file: String,
    /// How long one push may take.
    #[serde(default = "push_timeout", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub timeout: Duration,
    /// How long a WebSocket without an event stays open.
    #[serde(default = "idle", with = "duration::always")]
    #[schemars(with = "duration::Positive")]
    pub idle: Duration,
    /// When a failed push over HTTP is tried again.
    #[serde(default)]
    pub retry: RetrySpec,
    /// TLS towards it, where its address is wss or https.
    #[serde(default)]
    pub tls: HubTls,
}

fn push_timeout() -> Duration {
    PUSH_TIMEOUT
}

fn idle() -> Duration {
    IDLE
}
