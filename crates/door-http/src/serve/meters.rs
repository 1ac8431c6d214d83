//! The door's counters: requests by route, method and status, and how long each took to answer.
//!
//! Counting takes no lock: every route's counters are there from the start.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "other"];

/// Every status that this door gives; others count as the last.
const STATUSES: [u16; 20] =
    [200, 201, 202, 204, 207, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 429, 500, 503, 0];

/// Upper bounds, in microseconds: from a memory read to a stalled disk.
const BUCKETS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

#[derive(Default)]
struct Meter {
    counts: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Counters of every route.
pub struct Meters {
    routes: HashMap<String, Box<Meter>>,
    names: Vec<String>,
}

impl Meters {
    /// Counters for these routes, and for what reaches none.
    pub fn of<'a>(routes: impl Iterator<Item = &'a String>) -> Self {
        let mut names: Vec<String> = routes.cloned().collect();
        names.push(String::new());
        names.sort_unstable();
        Meters { routes: names.iter().map(|name| (name.clone(), Box::default())).collect(), names }
    }

    /// Counts one request.
    pub fn count(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let Some(meter) = self.routes.get(route) else {
            return;
        };
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let status = STATUSES.iter().position(|code| *code == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        let counts = meter.counts.get(method).and_then(|statuses| statuses.get(status));
        for counter in counts.into_iter().chain(meter.buckets.get(bucket)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        meter.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Appends Prometheus text.
    pub fn write(&self, out: &mut String) {
        // Writing to a text cannot fail.
        let _infallible = self.try_write(out);
    }

    fn try_write(&self, out: &mut String) -> std::fmt::Result {
        out.push_str("# HELP tidings_http_requests Requests answered.\n# TYPE tidings_http_requests counter\n");
        for (route, meter) in self.meters() {
            for (method, statuses) in METHODS.iter().zip(&meter.counts) {
                for (status, count) in STATUSES.iter().zip(statuses) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        write!(out, "tidings_http_requests_total{{route=\"{route}\",method=\"{method}\",")?;
                        writeln!(out, "status=\"{status}\"}} {count}")?;
                    }
                }
            }
        }
        out.push_str("# HELP tidings_http_request_seconds Time until a request was answered.\n");
        out.push_str("# TYPE tidings_http_request_seconds histogram\n");
        for (route, meter) in self.meters() {
            let mut total = 0;
            for (place, bucket) in meter.buckets.iter().enumerate() {
                total += bucket.load(Ordering::Relaxed);
                let bound = BUCKETS.get(place).map_or("+Inf".to_owned(), |bound| seconds(*bound));
                writeln!(out, "tidings_http_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {total}")?;
            }
            let sum = seconds(meter.micros.load(Ordering::Relaxed));
            writeln!(out, "tidings_http_request_seconds_sum{{route=\"{route}\"}} {sum}")?;
            writeln!(out, "tidings_http_request_seconds_count{{route=\"{route}\"}} {total}")?;
        }
        Ok(())
    }

    /// Those that counted anything, by name.
    fn meters(&self) -> impl Iterator<Item = (&str, &Meter)> {
        let all = self.names.iter().filter_map(|name| self.routes.get(name).map(|meter| (name.as_str(), &**meter)));
        all.filter(|(_, meter)| meter.buckets.iter().any(|bucket| bucket.load(Ordering::Relaxed) > 0))
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
