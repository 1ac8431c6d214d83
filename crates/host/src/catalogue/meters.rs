//! What the catalogue and its doors count, as a scrape of metrics writes it.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::scrape::{Encoded, counter, counters, gauge, gauges};

/// What there is to count.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(super) instances: u64,
    pub(super) services: u64,
    pub(super) nodes: u64,
    pub(super) position: u64,
    pub(super) unfit: u64,
    pub(super) waited_for: u64,
    pub(super) consul: Option<door_consul::Counts>,
    pub(super) dns: Option<door_dns::Counts>,
}

/// The same, to be written.
#[derive(Debug)]
pub(crate) struct CatalogueCounts(pub(crate) Counts);

impl Collector for CatalogueCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let (counts, encoder) = (&self.0, &mut encoder);
        let sizes = [("instances", counts.instances), ("services", counts.services), ("nodes", counts.nodes)];
        gauges(encoder, "tidings_catalogue_entries", "What the catalogue holds", "kind", &sizes)?;
        gauge(encoder, "tidings_catalogue_position", "The position up to which it is folded", counts.position)?;
        let help = "Messages of its stream that were not of the catalogue";
        counter(encoder, "tidings_catalogue_unfit", help, counts.unfit)?;
        gauge(encoder, "tidings_catalogue_waited_for", "Different things that readers wait for", counts.waited_for)?;
        if let Some(counts) = &counts.consul {
            consul(encoder, counts)?;
        }
        counts.dns.as_ref().map_or(Ok(()), |counts| dns(encoder, counts))
    }
}

fn consul(encoder: &mut DescriptorEncoder<'_>, counts: &door_consul::Counts) -> Encoded {
    gauge(encoder, "tidings_consul_connections", "Connections now", counts.connections)?;
    counter(encoder, "tidings_consul_connected", "Connections taken", counts.connected)?;
    counter(encoder, "tidings_consul_refused", "Connections refused: too many", counts.refused)?;
    counter(encoder, "tidings_consul_requests", "Requests answered", counts.requests)?;
    counter(encoder, "tidings_consul_faults", "Requests answered with 400 and above", counts.faults)?;
    let open = [("blocked", counts.blocked), ("sse", counts.sse), ("grpc", counts.grpc)];
    gauges(encoder, "tidings_consul_readers", "Readers that wait or follow", "kind", &open)?;
    let ended = [("changed", counts.woken), ("timeout", counts.timed_out)];
    counters(encoder, "tidings_consul_unblocked", "Blocked readers that were answered, by reason", &ended)?;
    let answers = [("encoded", counts.encoded), ("unchanged", counts.unchanged), ("shared", counts.shared)];
    counters(encoder, "tidings_consul_answers", "Answers, by what they took", &answers)?;
    gauge(encoder, "tidings_consul_answers_kept", "Answers kept for the next who asks the same", counts.kept)?;
    gauge(encoder, "tidings_consul_answers_kept_bytes", "Bytes of them", counts.kept_bytes)?;
    counter(encoder, "tidings_consul_snapshots", "Snapshots built for streams", counts.snapshots)?;
    let begun = [("snapshot", counts.snapshots_sent), ("position", counts.resumed)];
    counters(encoder, "tidings_consul_streams_begun", "Streams, by what they began with", &begun)?;
    let batches = [("encoded", counts.batches), ("sent", counts.batches_sent)];
    counters(encoder, "tidings_consul_batches", "Batches of changes for streams", &batches)
}

fn dns(encoder: &mut DescriptorEncoder<'_>, counts: &door_dns::Counts) -> Encoded {
    let questions = [("udp", counts.questions_udp), ("tcp", counts.questions_tcp)];
    counters(encoder, "tidings_dns_questions", "Questions, by what carried them", &questions)?;
    counters(encoder, "tidings_dns_answers", "Answers, by response code", &counts.answers)?;
    counter(encoder, "tidings_dns_truncated", "Answers that said that something was left out", counts.truncated)?;
    counter(encoder, "tidings_dns_dropped", "Packets that deserved no answer", counts.dropped)?;
    counter(encoder, "tidings_dns_unsent", "Answers that could not be sent", counts.unsent)?;
    gauge(encoder, "tidings_dns_connections", "Connections over TCP now", counts.connections)?;
    counter(encoder, "tidings_dns_given_up", "Connections over TCP that were given up", counts.given_up)
}
