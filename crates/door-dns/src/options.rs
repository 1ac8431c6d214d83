//! What the door is told: by the host, typed and complete.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::limits;

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// The domain that it answers for, such as `consul.`
    pub domain: String,
    /// Where the node itself is reached, as `ns.<domain>` says; `None`: as the catalogue says of the node.
    pub address: Option<IpAddr>,
    /// Whether instances with a warning are left out too; those that are critical always are.
    pub only_passing: bool,
    /// How long answers about nodes may be kept. 0: not at all.
    pub node_ttl: Duration,
    /// How long answers about services may be kept, by name: `web`, or `we*` for all that begin so, or `*`. The exact
    /// name wins, then the longest beginning; what none matches is not kept.
    pub service_ttl: Vec<(String, Duration)>,
    /// Whether an answer over UDP that lacks something says so (TC), so that the client asks again over TCP.
    pub truncate: bool,
    /// Most answers over UDP to a client that offers no more than 512 bytes; `None`: as many as fit. The original: 3.
    pub udp_answers_max: Option<usize>,
    /// Most bytes of an answer over UDP, where a client offers more.
    pub udp_bytes_max: u16,
    /// Whether a node's metadata stand as TXT beside its addresses. Some clients of SRV do not bear it.
    pub meta_txt: bool,
    /// The token in whose name the catalogue is read, where tokens are in force. `None`: a stranger's.
    pub token: Option<String>,
    /// Threads for UDP; `None`: as many as there are processors, up to [`limits::THREADS_MAX`].
    pub threads: Option<usize>,
    /// Most connections over TCP.
    pub connections_max: usize,
    /// How long a connection may take over one question or one answer.
    pub tcp_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            domain: String::from("consul."),
            address: None,
            only_passing: false,
            node_ttl: Duration::ZERO,
            service_ttl: Vec::new(),
            truncate: true,
            udp_answers_max: None,
            udp_bytes_max: limits::UDP_BYTES_MAX,
            meta_txt: false,
            token: None,
            threads: None,
            connections_max: limits::CONNECTIONS_DEFAULT,
            tcp_deadline: limits::TCP_DEADLINE_DEFAULT,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("domain", &self.domain).finish_non_exhaustive()
    }
}
