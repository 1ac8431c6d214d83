//! What this node's part in the mesh has counted, for a scrape of metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh::node::{Node, Refusal};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::body::Body;
use crate::scrape::{Encoded, counter, counters, gauge, gauges};

/// The counts of a node's links.
#[derive(Clone)]
pub(crate) struct MeshCounts(pub(crate) Arc<Body>);

impl std::fmt::Debug for MeshCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshCounts").field("node", &self.0.id).finish()
    }
}

impl Collector for MeshCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let (body, encoder) = (&self.0, &mut encoder);
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &body.counts;
        let (links, conns, sources) = (body.ask(Node::links), body.conns(), body.ask(Node::sources));
        let up = links.iter().filter(|link| link.up.is_some()).count() as u64;
        let states = [("planned", links.len() as u64), ("up", up)];
        gauges(encoder, "tidings_mesh_links", "Links of this node", "state", &states)?;
        let wishes = sources.iter().map(|source| source.wishes).sum();
        gauge(encoder, "tidings_mesh_wishes", "What others are known to want", wishes)?;
        counter(encoder, "tidings_mesh_connected", "Links that were made", of(&counts.connected))?;
        counter(encoder, "tidings_mesh_rejected", "Connections that came and were not taken", of(&counts.rejected))?;
        counter(encoder, "tidings_mesh_messages", "Messages that came over links", of(&counts.messages))?;
        counter(encoder, "tidings_mesh_messages_bytes", "Bytes of their payloads", of(&counts.message_bytes))?;
        counter(encoder, "tidings_mesh_malformed", "Messages that came and cannot be", of(&counts.malformed))?;
        // A link that ends between the two is counted a moment later, never twice.
        let ended = of(&counts.dropped);
        let dropped = ended + conns.iter().map(|conn| of(&conn.out.counts.dropped)).sum::<u64>();
        counter(encoder, "tidings_mesh_dropped", "Messages that links had no room for", dropped)?;
        counter(encoder, "tidings_mesh_traced", "Messages whose path was noted", of(&body.traces.noted))?;
        counter(encoder, "tidings_mesh_trace_lost", "Paths that were too many to be noted", of(&body.traces.lost))?;
        let reasons = Refusal::ALL.iter().zip(&counts.refused);
        let refused: Vec<(&str, u64)> = reasons.map(|(why, count)| (why.word(), of(count))).collect();
        counters(encoder, "tidings_mesh_refused", "Messages and interests that were refused, by reason", &refused)
    }
}
