//! What doors count, as a scrape of metrics writes it.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Writing to a text cannot fail.
pub(crate) type Encoded = Result<(), std::fmt::Error>;

/// One that only grows.
pub(crate) fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// One that comes and goes.
pub(crate) fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// Several that come and go, told apart by a label.
pub(crate) fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    all: &[(&str, u64)],
) -> Encoded {
    let gauge = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let mut family = encoder.encode_descriptor(name, help, None, gauge(0).metric_type())?;
    for (of, value) in all {
        gauge(*value).encode(family.encode_family(&[(label, *of)])?)?;
    }
    Ok(())
}

/// Several that only grow, by reason.
pub(crate) fn counters(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, all: &[(&str, u64)]) -> Encoded {
    let mut family = encoder.encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
    for (reason, value) in all {
        ConstCounter::new(*value).encode(family.encode_family(&[("reason", *reason)])?)?;
    }
    Ok(())
}
