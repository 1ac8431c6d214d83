//! Ten thousand that come at once, as after a failover: at first with nothing, then with a position.

use std::time::{Duration, Instant};

use super::crowd::{Crowd, find};
use super::service::{self, LOOK, PATIENCE};
use super::site::Site;
use super::{Bench, push};
use crate::bench::figure;
use crate::bench::spread::Spread;

/// Those that come, and instances that they ask for.
const WATCHERS: usize = 10_000;
const WATCHERS_QUICK: usize = 1_000;
const INSTANCES: usize = 2_000;
/// Within which they come.
const WITHIN: Duration = Duration::from_secs(1);
/// Within which all are to have what they came for.
const SERVED_MAX: Duration = Duration::from_secs(5);
const RESUMED_MAX: Duration = Duration::from_secs(1);
/// Snapshots that are built for all of them, at most.
const BUILT_MAX: f64 = 2.0;
/// 2,000 instances are 1 MB as they are: the network would be measured.
const GZIP: &str = "Accept-Encoding: gzip\r\n";
/// What counts snapshots, in the name of a metric.
const METRIC: &str = "snapshots";
/// How long one stream is silent before it is known to have said all.
const SILENCE: Duration = Duration::from_millis(500);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let [mut served, mut longest, mut built, mut bytes] = [(); 4].map(|()| Spread::default());
    let [mut resumed, mut rebuilt] = [(); 2].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        let told = |said: String| site.told(&said);
        service::fill(&mut site.connect()?, INSTANCES).map_err(told)?;
        let (whole, position) = alone(&site).map_err(told)?;
        let before = site.metric(METRIC)?;
        let fresh = arrive(bench, &site, None, whole).map_err(told)?;
        served.add(fresh.took.as_secs_f64());
        longest.add(fresh.longest.as_secs_f64());
        let after = site.metric(METRIC)?;
        built.add(after - before);
        bytes.add(whole as f64);
        resumed.add(arrive(bench, &site, Some(position), 1).map_err(told)?.longest.as_secs_f64());
        rebuilt.add(site.metric(METRIC)? - after);
    }
    println!("{} come within {WITHIN:?}, the first time with nothing", bench.count(WATCHERS, WATCHERS_QUICK));
    bytes.print_bytes("one snapshot, as it is sent", None);
    served.print_time("from the first that came until the last had it", Some(SERVED_MAX));
    longest.print_time("the longest that one waited for it", None);
    let words = |count: &Spread| format!("{:.0}", count.median());
    figure("snapshots built", &words(&built), Some(("at most 2", built.median() <= BUILT_MAX)));
    resumed.print_time("the longest that one waited that came with a position", Some(RESUMED_MAX));
    figure("snapshots built", &words(&rebuilt), Some(("none", rebuilt.median() < 1.0)));
    Ok(())
}

/// What one stream is sent before it falls silent, in bytes, and the position that the service is at.
fn alone(site: &Site) -> Result<(usize, u64), String> {
    let mut crowd = Crowd::new()?;
    crowd.join(site.consul, &push::request(None, GZIP))?;
    let (mut seen, mut last) = (Vec::new(), Instant::now());
    while seen.is_empty() || last.elapsed() < SILENCE {
        crowd.turn(LOOK, &mut |_, bytes, now| {
            seen.extend_from_slice(bytes);
            last = now;
            Ok(None)
        })?;
        if last.elapsed() > PATIENCE {
            return Err("a stream says nothing".to_string());
        }
    }
    if !seen.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(&seen[..seen.len().min(500)]).into_owned());
    }
    let head = find(&seen, b"\r\n\r\n").ok_or("a head without an end")?;
    let path = format!("/v1/health/service/{}?stale", service::NAME);
    let answer = site.connect()?.get(&path).map_err(|error| error.to_string())?;
    let position = answer.header("x-consul-index").and_then(|index| index.parse().ok()).ok_or("no index")?;
    Ok((seen.len() - head, position))
}

/// How those that came were served.
struct Served {
    /// From when the first came until the last was served.
    took: Duration,
    /// From when one came until it was served, at most.
    longest: Duration,
}

/// So many come, evenly over a second; each is served when it has so many bytes behind the head of its answer.
fn arrive(bench: &Bench, site: &Site, after: Option<u64>, wanted: usize) -> Result<Served, String> {
    let (mut crowd, count) = (Crowd::new()?, bench.count(WATCHERS, WATCHERS_QUICK));
    let (request, begun) = (push::request(after, GZIP), Instant::now());
    let (mut had, mut heads, mut ready) = (vec![0_usize; count], vec![Vec::new(); count], 0);
    let (mut came, mut longest) = (Vec::with_capacity(count), Duration::ZERO);
    while ready < count {
        let share = begun.elapsed().as_micros() * count as u128 / WITHIN.as_micros();
        let due = usize::try_from(share).unwrap_or(count);
        // A few at a time, so that those that are here are read meanwhile.
        for _ in crowd.len()..due.min(count).min(crowd.len() + 64) {
            came.push(Instant::now());
            crowd.join(site.consul, &request)?;
        }
        let wait = if crowd.len() < count { Duration::ZERO } else { LOOK };
        crowd.turn(wait, &mut |member, bytes, now| {
            let before = had[member];
            had[member] += body_bytes(&mut heads[member], before, bytes)?;
            if before < wanted && had[member] >= wanted {
                ready += 1;
                longest = longest.max(now.duration_since(came[member]));
            }
            Ok(None)
        })?;
        if begun.elapsed() > PATIENCE + PATIENCE {
            return Err(format!("{} of {count} were not served", count - ready));
        }
    }
    Ok(Served { took: begun.elapsed(), longest })
}

/// How many of the bytes stand behind the head. The end of the head counts as the first.
fn body_bytes(head: &mut Vec<u8>, before: usize, bytes: &[u8]) -> Result<usize, String> {
    if before > 0 {
        return Ok(bytes.len());
    }
    head.extend_from_slice(bytes);
    let Some(end) = find(head, b"\r\n\r\n") else { return Ok(0) };
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(head).into_owned());
    }
    let behind = head.len() - end;
    *head = Vec::new();
    Ok(behind)
}
