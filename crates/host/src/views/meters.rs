//! What declared views count, as a scrape of metrics writes it.

use door::{Standing, Views};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use view::Told;

use crate::scrape::{Encoded, gauge};

/// Most views that are shown one by one: about 1 KiB of text each.
const VIEWS_SHOWN_MAX: usize = 1_000;

/// What there is to count of one view.
#[derive(Debug)]
struct Counts {
    view: String,
    following: u64,
    rows: u64,
    bytes: u64,
    position: u64,
    waited_for: u64,
    told: Told,
}

/// What there is to count of all, to be written.
#[derive(Debug)]
pub(crate) struct ViewCounts {
    shown: Vec<Counts>,
    left_out: u64,
}

impl ViewCounts {
    /// As it is now.
    pub(super) fn of(views: &Views) -> Self {
        let all = views.all();
        let counts = all.iter().take(VIEWS_SHOWN_MAX).map(|view| {
            let (following, waited_for) = (u64::from(view.standing() == Standing::Ready), view.waited_for() as u64);
            view.read(|fold| Counts {
                view: view.name().to_string(),
                following,
                rows: fold.table().len() as u64,
                bytes: fold.bytes() as u64,
                position: fold.index().position(),
                waited_for,
                told: fold.told(),
            })
        });
        ViewCounts { shown: counts.collect(), left_out: all.len().saturating_sub(VIEWS_SHOWN_MAX) as u64 }
    }

    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        value: impl Fn(&Counts) -> u64,
    ) -> Encoded {
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let mut family = encoder.encode_descriptor(name, help, None, gauge(0).metric_type())?;
        for counts in &self.shown {
            gauge(value(counts)).encode(family.encode_family(&[("view", counts.view.as_str())])?)?;
        }
        Ok(())
    }
}

impl Collector for ViewCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let encoder = &mut encoder;
        self.gauges(encoder, ("tidings_view_following", "1: the view follows its stream"), |view| view.following)?;
        self.gauges(encoder, ("tidings_view_rows", "Rows that it holds"), |view| view.rows)?;
        self.gauges(encoder, ("tidings_view_bytes", "Bytes of them, with 256 a row"), |view| view.bytes)?;
        let names = ("tidings_view_position", "The position of its stream up to which it is folded");
        self.gauges(encoder, names, |view| view.position)?;
        let names = ("tidings_view_waited_for", "Different things that readers wait for");
        self.gauges(encoder, names, |view| view.waited_for)?;
        let help = "Messages, and rows that ended without one, by what came of them";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("tidings_view_changes", help, None, kind)?;
        for Counts { view, told, .. } in &self.shown {
            for (outcome, count) in [
                ("applied", told.applied),
                ("passed", told.passed),
                ("old", told.old),
                ("unfit", told.unfit),
                ("expired", told.expired),
                ("evicted", told.evicted),
            ] {
                let labels = [("view", view.as_str()), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        gauge(encoder, "tidings_views_left_out", "Views that are not shown, because there are too many", self.left_out)
    }
}
