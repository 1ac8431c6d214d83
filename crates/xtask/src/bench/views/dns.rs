//! Questions over UDP, asked by dnsperf: as many as it can, then half of that.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Bench;
use super::service;
use super::site::{Site, register, registration};
use crate::bench::spread::Spread;

/// Services that are asked for, with so many instances each.
const SERVICES: usize = 100;
const INSTANCES: usize = 10;
/// Seconds of each run.
const SECONDS: u64 = 10;
const SECONDS_QUICK: u64 = 3;
/// What is asked for in a second, at least, and p99 at half of that at most.
const RATE_MIN: f64 = 50_000.0;
const P99_MAX: Duration = Duration::from_millis(2);

/// Measures and prints.
pub fn run(bench: &Bench) -> Result<(), String> {
    let version = Command::new("dnsperf").arg("-h").output();
    version.map_err(|error| format!("no dnsperf here (on Debian: apt install dnsperf): {error}"))?;
    let [mut rate, mut cpu, mut lost, mut half, mut p50, mut p99] = [(); 6].map(|()| Spread::default());
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        let questions = fill(bench, &site).map_err(|said| site.told(&said))?;
        let before = site.node.cpu()?;
        let full = ask(bench, &site, &questions, None)?;
        cpu.add((site.node.cpu()?.saturating_sub(before)).as_secs_f64() / full.completed.max(1.0));
        rate.add(full.rate);
        lost.add(full.lost);
        let mut slow = ask(bench, &site, &questions, Some(RATE_MIN / 2.0))?;
        half.add(slow.rate);
        lost.add(slow.lost);
        p50.add_percentile(&mut slow.times, 50);
        p99.add_percentile(&mut slow.times, 99);
    }
    rate.print_rate("answers", Some(RATE_MIN));
    cpu.print_time("the node's CPU an answer", None);
    half.print_rate("answers at half the rate that is wanted", None);
    p50.print_time("p50 at that", None);
    p99.print_time("p99 at that", Some(P99_MAX));
    lost.print_count("questions without an answer");
    Ok(())
}

/// Registers what is asked for, and writes the questions: addresses and SRV in turn.
fn fill(bench: &Bench, site: &Site) -> Result<std::path::PathBuf, String> {
    let mut conn = site.connect()?;
    let mut questions = String::new();
    for service in 0..SERVICES {
        let name = format!("{}-{service}", service::NAME);
        for number in 0..INSTANCES {
            register(&mut conn, &registration(&name, service * INSTANCES + number, 0))?;
        }
        let kind = if service % 2 == 0 { "A" } else { "SRV" };
        questions.push_str(&format!("{name}.service.consul {kind}\n"));
    }
    let path = bench.folder.join("questions");
    std::fs::write(&path, questions).map_err(|error| error.to_string())?;
    Ok(path)
}

/// What dnsperf said.
#[derive(Debug, Default, PartialEq)]
struct Said {
    completed: f64,
    rate: f64,
    lost: f64,
    times: Vec<Duration>,
}

fn ask(bench: &Bench, site: &Site, questions: &Path, rate: Option<f64>) -> Result<Said, String> {
    let seconds = if bench.quick { SECONDS_QUICK } else { SECONDS };
    let mut command = Command::new("dnsperf");
    command.args(["-s", "127.0.0.1", "-p", &site.dns.port().to_string(), "-l", &seconds.to_string()]);
    command.arg("-d").arg(questions).args(["-c", "8", "-e", "-b", "2048"]);
    if let Some(rate) = rate {
        // The time of each answer, too.
        command.args(["-Q", &format!("{rate:.0}"), "-v"]);
    }
    let output = command.output().map_err(|error| format!("dnsperf: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = read(&text).ok_or_else(|| format!("dnsperf: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let failed = ["SERVFAIL", "NXDOMAIN", "REFUSED", "FORMERR"].iter().any(|code| text.contains(&format!("{code} ")));
    if failed { Err(format!("not every answer was one: {}", summary(&text))) } else { Ok(said) }
}

fn summary(text: &str) -> String {
    text.lines().filter(|line| line.contains("Response codes")).collect()
}

fn read(text: &str) -> Option<Said> {
    let value = |name: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        line.split_once(':')?.1.split_whitespace().next()?.parse().ok()
    };
    let time = |line: &str| {
        let seconds: f64 = line.strip_prefix("> ")?.rsplit(' ').next()?.parse().ok()?;
        Some(Duration::from_secs_f64(seconds.max(0.0)))
    };
    Some(Said {
        completed: value("Queries completed")?,
        rate: value("Queries per second")?,
        lost: value("Queries lost")?,
        times: text.lines().filter_map(time).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsperf_says_is_read() {
        let text = "> NOERROR web.service.consul A 0.000123\n> NOERROR x SRV 0.002000\nStatistics:\n\n  \
                    Queries sent:         6\n  Queries completed:    5 (83%)\n  Queries lost:         1 (0.00%)\n\n  \
                    Queries per second:   61234.5\n";
        let times = vec![Duration::from_micros(123), Duration::from_millis(2)];
        assert_eq!(read(text), Some(Said { completed: 5.0, rate: 61234.5, lost: 1.0, times }));
        assert_eq!(read("no"), None);
    }
}
