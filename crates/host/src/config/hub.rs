//! What the hub door is told: its section of a configuration, as a file says it and complete.
//!
//! In a file the section is a mapping, or one word where only the address is meant: `hub: off`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::Listen;
use super::section::word_or_fields;
use crate::error::StartError;
use crate::units::{Size, Span};

/// Port of the hub where none is said: the original's own.
pub const HUB_PORT: u16 = 7100;

/// Longest time that may be asked for between two pings: an original messenger hangs up after 90 s without one.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Everything the door is told. `None` is the door's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Where messengers, repeaters and hubs connect.
    pub listen: Listen,
    /// Where other repeaters and devices connect, and `/send` is.
    pub repeater: Listen,
    /// Whether the original's multiplicities are kept, bug for bug.
    pub strict: bool,
    /// Names of the tokens that may connect as hubs; none: whoever may publish and read every room.
    pub hubs: Vec<String>,
    /// Names of the tokens that may connect as repeaters; none: whoever may publish and read every room.
    pub repeaters: Vec<String>,
    /// Origins of web pages that may connect, besides this host's own; `*`: any.
    pub origins: Vec<String>,
    /// Largest frame that is taken, in bytes; the node's limit where nothing is said.
    pub frame_bytes_max: Option<usize>,
    /// Most connections.
    pub connections_max: Option<usize>,
    /// Most rooms of one messenger.
    pub rooms_max: Option<usize>,
    /// Most events that wait for one connection.
    pub pending_max: Option<usize>,
    /// Most bytes that wait for one connection.
    pub pending_bytes_max: Option<usize>,
    /// How long a connection may take nothing while events wait for it.
    pub write_deadline: Option<Duration>,
    /// How often a connection is asked whether it is there.
    pub ping_interval: Option<Duration>,
}

impl Default for HubConfig {
    fn default() -> Self {
        HubConfig {
            listen: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HUB_PORT)),
            repeater: Listen::Off,
            strict: false,
            hubs: Vec::new(),
            repeaters: Vec::new(),
            origins: Vec::new(),
            frame_bytes_max: None,
            connections_max: None,
            rooms_max: None,
            pending_max: None,
            pending_bytes_max: None,
            write_deadline: None,
            ping_interval: None,
        }
    }
}

/// What one place says of the door. Every field may be left out; see [`HubConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubLayer(Fields);

/// The fields, as a file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    listen: Option<Listen>,
    repeater: Option<Listen>,
    strict_compat: Option<bool>,
    hubs: Option<Vec<String>>,
    repeaters: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    max_frame: Option<Size>,
    max_connections: Option<usize>,
    max_rooms: Option<usize>,
    max_pending: Option<usize>,
    max_pending_bytes: Option<Size>,
    write_deadline: Option<Span>,
    ping_interval: Option<Span>,
}

impl From<Listen> for Fields {
    fn from(listen: Listen) -> Self {
        Fields { listen: Some(listen), ..Fields::default() }
    }
}

impl<'de> Deserialize<'de> for HubLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(HubLayer)
    }
}

impl HubLayer {
    /// A layer that says where the door listens, and whether it is strict.
    #[must_use]
    pub fn listening(listen: Option<Listen>, repeater: Option<Listen>, strict_compat: Option<bool>) -> Self {
        HubLayer(Fields { listen, repeater, strict_compat, ..Fields::default() })
    }

    /// This layer over a weaker one, field by field; lists are taken whole.
    #[must_use]
    pub(super) fn over(self, weaker: HubLayer) -> HubLayer {
        let (ours, theirs) = (self.0, weaker.0);
        HubLayer(Fields {
            listen: ours.listen.or(theirs.listen),
            repeater: ours.repeater.or(theirs.repeater),
            strict_compat: ours.strict_compat.or(theirs.strict_compat),
            hubs: ours.hubs.or(theirs.hubs),
            repeaters: ours.repeaters.or(theirs.repeaters),
            origins: ours.origins.or(theirs.origins),
            max_frame: ours.max_frame.or(theirs.max_frame),
            max_connections: ours.max_connections.or(theirs.max_connections),
            max_rooms: ours.max_rooms.or(theirs.max_rooms),
            max_pending: ours.max_pending.or(theirs.max_pending),
            max_pending_bytes: ours.max_pending_bytes.or(theirs.max_pending_bytes),
            write_deadline: ours.write_deadline.or(theirs.write_deadline),
            ping_interval: ours.ping_interval.or(theirs.ping_interval),
        })
    }

    /// Every default filled, checked.
    pub(super) fn complete(self, payload_bytes_max: usize) -> Result<HubConfig, StartError> {
        let fields = self.0;
        let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        let frame = fields.max_frame.map(bytes);
        if frame.is_some_and(|frame| frame == 0 || frame > payload_bytes_max) {
            let reason = format!("must be 1 to limits.payload_max, which is {payload_bytes_max} bytes");
            return Err(StartError::invalid("hub.max_frame", reason));
        }
        for (name, most) in [
            ("hub.max_connections", fields.max_connections),
            ("hub.max_rooms", fields.max_rooms),
            ("hub.max_pending", fields.max_pending),
            ("hub.max_pending_bytes", fields.max_pending_bytes.map(bytes)),
        ] {
            if most == Some(0) {
                return Err(StartError::invalid(name, "must be 1 at least"));
            }
        }
        let ping = fields.ping_interval.map(|span| span.0);
        if ping.is_some_and(|ping| ping.is_zero() || ping > PING_INTERVAL_MAX) {
            return Err(StartError::invalid("hub.ping_interval", "must be more than 0 and at most 60s"));
        }
        let standard = HubConfig::default();
        Ok(HubConfig {
            listen: fields.listen.unwrap_or(standard.listen),
            repeater: fields.repeater.unwrap_or(standard.repeater),
            strict: fields.strict_compat.unwrap_or(standard.strict),
            hubs: fields.hubs.unwrap_or_default(),
            repeaters: fields.repeaters.unwrap_or_default(),
            origins: fields.origins.unwrap_or_default(),
            frame_bytes_max: frame,
            connections_max: fields.max_connections,
            rooms_max: fields.max_rooms,
            pending_max: fields.max_pending,
            pending_bytes_max: fields.max_pending_bytes.map(bytes),
            write_deadline: fields.write_deadline.map(|span| span.0),
            ping_interval: ping,
        })
    }
}
