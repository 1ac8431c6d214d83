//! What became of facts towards peers: each delivery, and their counts.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, Reach};
use super::super::failure::Failure;
use super::super::form::{Form, Row, Theirs, cell, go_span, go_time};
use super::super::output::safe;
use super::{GROUPS_HINT, about, hinted};

pub const EXAMPLES: &str = "Examples:
  tidings event deliveries --group cloudedge --status failed
  tidings event deliveries --event-id evt-123 --peer cloud-a
  tidings fed event deliveries --peer cloud-a -o json --compat routerd";

pub const SUMMARY_EXAMPLES: &str = "Examples:
  tidings deliveries summary
  tidings deliveries summary --group cloudedge --peer cloud-a
  tidings fed deliveries summary --type routerd.mobility.shard.assigned -o json --compat routerd";

/// Flags of `tidings event deliveries`.
#[derive(Debug, clap::Args)]
pub struct DeliveriesArgs {
    /// Only this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this fact
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Only this peer
    #[arg(long, value_name = "NODE")]
    peer: Option<String>,
    /// Only what came out so
    #[arg(long, value_name = "STATUS", value_enum)]
    status: Option<Status>,
    /// Most deliveries: the newest
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings deliveries summary`.
#[derive(Debug, clap::Args)]
pub struct SummaryArgs {
    /// Only this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this peer
    #[arg(long, value_name = "NODE")]
    peer: Option<String>,
    /// Only facts of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Of facts that hold no longer, too
    #[arg(long)]
    include_expired: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// What became of a fact towards a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Status {
    /// It waits, or is under way
    Pending,
    /// The peer has it
    Delivered,
    /// The last attempt failed; it is tried again
    Failed,
    /// The peer's filters leave it out
    Skipped,
    /// It ended before it could be delivered
    Expired,
}

#[derive(Debug, Deserialize)]
struct Listed {
    deliveries: Vec<Delivery>,
}

/// A delivery as the node tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Delivery {
    event_id: String,
    group: String,
    peer: String,
    status: String,
    attempts: u64,
    last_attempt_at: Option<String>,
    last_error: Option<String>,
    delivered_at: Option<String>,
    event_expires_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Counted {
    summary: Vec<Count>,
}

/// Deliveries of one group to one peer, counted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Count {
    group: String,
    peer: String,
    events: u64,
    delivered: u64,
    #[serde(rename = "staleTTL")]
    stale_ttl: u64,
    failed: u64,
    pending: u64,
    max_lag_seconds: f64,
    min_expires_in_seconds: f64,
}

/// Lists deliveries.
pub fn list(args: &DeliveriesArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let status = args.status.map(|status| format!("{status:?}").to_ascii_lowercase());
    let request = about(&["deliveries"])
        .query_if("group", args.group.as_ref())
        .query_if("event", args.event_id.as_ref())
        .query_if("peer", args.peer.as_ref())
        .query_if("status", status)
        .query_if("limit", args.limit);
    let answer = client.ask(&request).map_err(hinted(GROUPS_HINT))?;
    let mut deliveries = serde_json::from_slice::<Listed>(&answer).map_err(Failure::strange)?.deliveries;
    let form = &args.form;
    if form.is_routerd() {
        deliveries.retain(|delivery| delivery.go_status().is_some());
    }
    let theirs = || Theirs::Go(deliveries.iter().enumerate().map(|(index, delivery)| delivery.go(index + 1)).collect());
    form.show(&answer, theirs, |out| {
        if deliveries.is_empty() && !form.is_routerd() {
            eprintln!("nothing was to be delivered that matches; peers are shown by: tidings federation peers");
            return Ok(());
        }
        let mut header = vec!["EVENT_ID", "PEER", "STATUS", "ATTEMPTS", "LAST_ATTEMPT", "LAST_ERROR", "DELIVERED"];
        if !form.is_routerd() {
            header.push("GROUP");
        }
        out.table(&header, &[3], deliveries.iter().map(|delivery| delivery.row(form)).collect())
    })
}

/// Counts deliveries by group and peer.
pub fn summary(args: &SummaryArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let request = about(&["deliveries", "summary"])
        .query_if("group", args.group.as_ref())
        .query_if("peer", args.peer.as_ref())
        .query_if("type", args.kind.as_ref())
        .query_if("includeExpired", args.include_expired.then_some(true));
    let answer = client.ask(&request).map_err(hinted(GROUPS_HINT))?;
    let counts = serde_json::from_slice::<Counted>(&answer).map_err(Failure::strange)?.summary;
    let form = &args.form;
    let theirs = || Theirs::RowsOrNull(counts.iter().map(Count::go).collect());
    form.show(&answer, theirs, |out| {
        if counts.is_empty() && !form.is_routerd() {
            eprintln!("nothing was to be delivered to any peer; peers are shown by: tidings federation peers");
            return Ok(());
        }
        let header =
            ["GROUP", "PEER", "EVENTS", "DELIVERED", "STALE_TTL", "FAILED", "PENDING", "MAX_LAG", "MIN_EXPIRES_IN"];
        out.table(&header, &[2, 3, 4, 5, 6], counts.iter().map(|count| count.row(form)).collect())
    })
}

impl Delivery {
    /// The status that routerd would have recorded; none where it records nothing.
    fn go_status(&self) -> Option<&str> {
        match self.status.as_str() {
            "skipped" => None,
            "expired" if self.attempts > 0 => Some("failed"),
            "expired" => Some("pending"),
            status => Some(status),
        }
    }

    fn go(&self, id: usize) -> Row {
        Row(vec![
            ("ID", json!(id)),
            ("EventID", json!(self.event_id)),
            ("Peer", json!(self.peer)),
            ("Status", json!(self.go_status())),
            ("Attempts", json!(self.attempts)),
            ("LastAttemptAt", go_time(self.last_attempt_at.as_deref())),
            ("LastError", json!(self.last_error.as_deref().unwrap_or_default())),
            ("DeliveredAt", go_time(self.delivered_at.as_deref())),
            ("EventExpiresAt", go_time(self.event_expires_at.as_deref())),
        ])
    }

    fn row(&self, form: &Form) -> Vec<String> {
        let status = if form.is_routerd() { self.go_status().unwrap_or_default() } else { &self.status };
        let mut row = vec![safe(&self.event_id), safe(&self.peer), safe(status), self.attempts.to_string()];
        row.push(form.moment(self.last_attempt_at.as_deref()));
        row.push(cell(self.last_error.as_deref().unwrap_or_default()));
        row.push(form.moment(self.delivered_at.as_deref()));
        if !form.is_routerd() {
            row.push(safe(&self.group));
        }
        row
    }
}

impl Count {
    fn go(&self) -> Row {
        Row(vec![
            ("group", json!(self.group)),
            ("peer", json!(self.peer)),
            ("events", json!(self.events)),
            ("delivered", json!(self.delivered)),
            ("staleTTL", json!(self.stale_ttl)),
            ("failed", json!(self.failed)),
            ("pending", json!(self.pending)),
            ("maxLagSeconds", Value::from(whole(self.max_lag_seconds))),
            ("minExpiresInSeconds", Value::from(whole(self.min_expires_in_seconds))),
        ])
    }

    fn row(&self, form: &Form) -> Vec<String> {
        let mut row = vec![safe(&self.group), safe(&self.peer)];
        row.extend([self.events, self.delivered, self.stale_ttl, self.failed, self.pending].map(|n| n.to_string()));
        let lag = if form.is_routerd() { go_span(whole(self.max_lag_seconds)) } else { lag(self.max_lag_seconds) };
        row.extend([lag, go_span(whole(self.min_expires_in_seconds))]);
        row
    }
}

/// Seconds without their fraction.
#[allow(clippy::cast_possible_truncation, reason = "a float becomes the nearest whole number there is")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}

/// How far behind, as people read it: in milliseconds below a second.
pub fn lag(seconds: f64) -> String {
    match seconds {
        seconds if seconds <= 0.0 => "-".to_owned(),
        seconds if seconds < 1.0 => format!("{:.0}ms", seconds * 1_000.0),
        seconds if seconds < 10.0 => format!("{seconds:.1}s"),
        seconds => go_span(whole(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::lag;

    #[test]
    fn a_lag_is_readable() {
        for (seconds, text) in [(0.0, "-"), (0.0124, "12ms"), (1.26, "1.3s"), (75.9, "1m15s")] {
            assert_eq!(lag(seconds), text);
        }
    }
}
