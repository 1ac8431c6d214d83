//! What a node counts, as Prometheus reads it.
//!
//! Counters and histograms are kept as things happen; what the journal holds is asked for at each
//! scrape. Labels are bounded: [`STREAMS_SHOWN_MAX`] streams and [`CONSUMERS_SHOWN_MAX`] consumers
//! are shown, and what is left out is counted.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use journal::{ConsumerInfo, Health, Journal, StreamInfo};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::federation::Meters;
use crate::live::Live;

/// Most streams that are shown one by one: about 1 KiB of text each.
pub const STREAMS_SHOWN_MAX: usize = 1_000;

/// Most consumers that are shown one by one.
pub const CONSUMERS_SHOWN_MAX: usize = 1_000;

/// Shortest append that has a bucket of its own, in seconds: half of a quick fdatasync.
const APPEND_SECONDS_MIN: f64 = 0.000_05;

/// Buckets of the append histogram, each twice as wide as the one before: up to 1.6 s.
const APPEND_BUCKETS: u16 = 16;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What is counted of appends. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppendMetrics {
    recorded: Counter,
    duplicate: Counter,
    refused: Counter,
    bytes: Counter,
    seconds: Histogram,
}

impl AppendMetrics {
    pub(crate) fn recorded(&self, bytes: u64, took: Duration) {
        self.recorded.inc();
        self.bytes.inc_by(bytes);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn duplicate(&self) {
        self.duplicate.inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}

/// Everything a node counts.
pub(crate) struct Metrics {
    registry: Registry,
    appends: AppendMetrics,
    federation: Arc<Meters>,
    node: String,
    live: Arc<Live>,
    started: Instant,
    started_at: SystemTime,
}

impl Metrics {
    pub(crate) fn new(node: &str, live: Arc<Live>) -> Self {
        let mut registry = Registry::with_prefix("tidings");
        let outcomes = Family::<Outcome, Counter>::default();
        let outcome = |outcome| outcomes.get_or_create_owned(&Outcome { outcome });
        let appends = AppendMetrics {
            recorded: outcome("recorded"),
            duplicate: outcome("duplicate"),
            refused: outcome("refused"),
            bytes: Counter::default(),
            seconds: Histogram::new(exponential_buckets(APPEND_SECONDS_MIN, 2.0, APPEND_BUCKETS)),
        };
        registry.register("journal_appends", "Appends answered, by outcome", outcomes);
        registry.register_with_unit(
            "journal_append",
            "Bytes of subjects, headers and payloads recorded",
            Unit::Bytes,
            appends.bytes.clone(),
        );
        registry.register_with_unit(
            "journal_append_duration",
            "Time from taking an append in to its receipt",
            Unit::Seconds,
            appends.seconds.clone(),
        );
        let federation = Arc::new(Meters::new());
        federation.register(&mut registry);
        let node = node.to_owned();
        Metrics { registry, appends, federation, node, live, started: Instant::now(), started_at: SystemTime::now() }
    }

    /// What appends are counted with.
    pub(crate) fn appends(&self) -> AppendMetrics {
        self.appends.clone()
    }

    /// What facts between sites are counted with.
    pub(crate) fn federation(&self) -> Arc<Meters> {
        Arc::clone(&self.federation)
    }

    /// The text of a scrape, with what doors have counted.
    pub(crate) async fn render(&self, journal: &dyn Journal, doors: Vec<Box<dyn Collector>>) -> String {
        let mut streams = journal.streams().await;
        let mut left_out = streams.len().saturating_sub(STREAMS_SHOWN_MAX) as u64;
        streams.truncate(STREAMS_SHOWN_MAX);
        let mut consumers = Vec::new();
        for stream in streams.iter().filter(|stream| stream.consumers > 0) {
            // A stream that was deleted since it was listed has no consumers.
            let found = journal.consumers(&stream.config.name).await.unwrap_or_default();
            let room = CONSUMERS_SHOWN_MAX - consumers.len();
            left_out += found.len().saturating_sub(room) as u64;
            consumers.extend(found.into_iter().take(room));
        }
        let facts = Facts {
            node: self.node.clone(),
            health: journal.health(),
            streams,
            consumers,
            left_out,
            live: (self.live.subscribers(), self.live.delivered(), self.live.dropped()),
            uptime: self.started.elapsed(),
            started_at: self.started_at,
            resident_bytes: resident_bytes(),
        };
        let mut now = Registry::default();
        now.register_collector(Box::new(facts));
        doors.into_iter().for_each(|door| now.register_collector(door));
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _infallible = encode_registry(&mut text, &self.registry).and_then(|()| encode_registry(&mut text, &now));
        text
    }
}

/// What is asked for at a scrape.
#[derive(Debug)]
struct Facts {
    node: String,
    health: Health,
    streams: Vec<StreamInfo>,
    consumers: Vec<ConsumerInfo>,
    left_out: u64,
    live: (u64, u64, u64),
    uptime: Duration,
    started_at: SystemTime,
    resident_bytes: Option<u64>,
}

type Encoded = Result<(), fmt::Error>;

impl Facts {
    fn one(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &dyn EncodeMetric) -> Encoded {
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn per_stream(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&StreamInfo) -> Box<dyn EncodeMetric>,
    ) -> Encoded {
        let Some(first) = self.streams.first() else { return Ok(()) };
        let mut family = encoder.encode_descriptor(name, help, None, value(first).metric_type())?;
        for stream in &self.streams {
            let label = [("stream", stream.config.name.as_str())];
            value(stream).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    fn per_consumer(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&ConsumerInfo) -> Box<dyn EncodeMetric>,
    ) -> Encoded {
        let Some(first) = self.consumers.first() else { return Ok(()) };
        let mut family = encoder.encode_descriptor(name, help, None, value(first).metric_type())?;
        for consumer in &self.consumers {
            let label = [("stream", &*consumer.stream), ("consumer", consumer.config.name.as_str())];
            value(consumer).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        // A gauge of 1, since the older text format knows no information metrics.
        let one = ConstGauge::new(1_i64);
        let mut build = encoder.encode_descriptor("tidings_build_info", "What runs", None, one.metric_type())?;
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("node", self.node.as_str())];
        one.encode(build.encode_family(&labels)?)?;
        let started = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started = ConstGauge::new(started.as_secs_f64());
        Self::one(encoder, "process_start_time_seconds", "When the process began, since the epoch", &started)?;
        if let Some(bytes) = self.resident_bytes {
            let help = "Memory that the process holds";
            Self::one(encoder, "process_resident_memory_bytes", help, &gauge_of(bytes))?;
        }
        let uptime = ConstGauge::new(self.uptime.as_secs_f64());
        Self::one(encoder, "tidings_uptime_seconds", "Time since the node began", &uptime)
    }

    fn encode_journal(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let health = &self.health;
        let accepting = ConstGauge::new(i64::from(health.refusing.is_none()));
        Self::one(encoder, "tidings_journal_accepting", "1: the journal accepts and acknowledges", &accepting)?;
        let help = "Appends taken in and not yet answered";
        Self::one(encoder, "tidings_journal_waiting", help, &gauge_of(health.waiting))?;
        let oldest = ConstGauge::new(Duration::from_nanos(health.oldest_nanos).as_secs_f64());
        Self::one(encoder, "tidings_journal_oldest_waiting_seconds", "How long the oldest of them waits", &oldest)?;
        let help = "Records found damaged since the journal was opened";
        Self::one(encoder, "tidings_journal_damaged_records", help, &ConstCounter::new(health.damaged))
    }

    fn encode_streams(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        self.per_stream(encoder, ("tidings_stream_messages", "Messages there are"), |s| gauge(s.state.messages))?;
        self.per_stream(encoder, ("tidings_stream_bytes", "Bytes of them"), |s| gauge(s.state.bytes))?;
        self.per_stream(encoder, ("tidings_stream_first_seq", "First position there is"), |s| gauge(s.state.first))?;
        self.per_stream(encoder, ("tidings_stream_last_seq", "Last position given"), |s| gauge(s.state.last))?;
        self.per_stream(encoder, ("tidings_stream_subjects", "Distinct subjects"), |s| gauge(s.state.subjects))?;
        self.per_stream(encoder, ("tidings_stream_disk_bytes", "Bytes on disk"), |s| gauge(s.disk_bytes))?;
        self.per_stream(encoder, ("tidings_stream_damaged", "Records found damaged"), |s| gauge(s.state.damaged))
    }

    fn encode_consumers(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        self.per_consumer(encoder, ("tidings_consumer_pending", "Messages not yet delivered"), |c| gauge(c.pending))?;
        let names = ("tidings_consumer_ack_pending", "Deliveries outstanding");
        self.per_consumer(encoder, names, |c| gauge(c.ack_pending))?;
        let names = ("tidings_consumer_redelivered", "Of those, delivered more than once");
        self.per_consumer(encoder, names, |c| gauge(c.redelivered))?;
        self.per_consumer(encoder, ("tidings_consumer_waiting", "Fetches waiting"), |c| gauge(c.waiting))?;
        self.per_consumer(encoder, ("tidings_consumer_dead", "Messages given up"), |c| counter(c.dead))?;
        let help = "Streams and consumers that are not shown, because there are too many";
        Self::one(encoder, "tidings_metrics_left_out", help, &gauge_of(self.left_out))
    }

    fn encode_live(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let (subscribers, delivered, dropped) = self.live;
        Self::one(encoder, "tidings_live_subscribers", "Who listens now", &gauge_of(subscribers))?;
        Self::one(encoder, "tidings_live_delivered", "Messages handed to them", &ConstCounter::new(delivered))?;
        let help = "Messages dropped because a subscriber was slow";
        Self::one(encoder, "tidings_live_dropped", help, &ConstCounter::new(dropped))
    }
}

impl Collector for Facts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        self.encode_process(&mut encoder)?;
        self.encode_journal(&mut encoder)?;
        self.encode_streams(&mut encoder)?;
        self.encode_consumers(&mut encoder)?;
        self.encode_live(&mut encoder)
    }
}

fn gauge_of(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn gauge(value: u64) -> Box<dyn EncodeMetric> {
    Box::new(gauge_of(value))
}

fn counter(value: u64) -> Box<dyn EncodeMetric> {
    Box::new(ConstCounter::new(value))
}

/// Memory that this process holds, in bytes, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
