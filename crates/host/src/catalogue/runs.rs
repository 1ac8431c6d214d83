//! The checks that this node makes: each in a task of its own, at its own pace.
//!
//! # Invariants
//! - A check that goes, changes, or becomes another node's stops at once. One that stays as it was is not disturbed
//!   by what happens to others.
//! - Only so many look at once; the others wait for their [turn](Turns). The first look comes at a moment within
//!   the first interval that the check's name decides, so that a restart does not make them all look at once.
//! - Only what differs is written.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Command, Definition, SetCheck, Status, Touch};
use door::{Catalogue, Principal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::probe::{Finding, Means, Probe, look};
use super::turns::{Slow, Turns};

/// How long an answer may take where the check does not say: the original's own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long it may take at most, whatever the check says: so long a turn is taken.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How often the checks to make are looked at, at most: many are registered together.
const SETTLE: Duration = Duration::from_millis(100);
/// Longest wait for the first look.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(10);

/// Names a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    node: Arc<str>,
    service: Arc<str>,
    check: Arc<str>,
}

struct Running {
    definition: Arc<Definition>,
    end: CancellationToken,
}

/// What all checks share.
struct Ground {
    catalogue: Catalogue,
    itself: Principal,
    turns: Turns,
    means: Means,
}

/// Makes the checks of this node until told to end.
pub(super) async fn run(catalogue: Catalogue, end: CancellationToken) {
    let Ok(means) = tokio::task::spawn_blocking(Means::read).await else { return };
    let ground =
        Arc::new(Ground { catalogue: catalogue.clone(), itself: Principal::anyone(), turns: Turns::new(), means });
    let mut running: HashMap<Place, Running> = HashMap::new();
    loop {
        let change = catalogue.wait(&[Touch::Checks]);
        reconcile(&ground, &mut running, &end);
        tokio::select! {
            () = end.cancelled() => break,
            () = change => {}
        }
        tokio::select! {
            () = end.cancelled() => break,
            () = sleep(SETTLE) => {}
        }
    }
}

/// Stops what is not wanted any more, and starts what is new.
fn reconcile(ground: &Arc<Ground>, running: &mut HashMap<Place, Running>, end: &CancellationToken) {
    let wanted: HashMap<Place, Arc<Definition>> = ground.catalogue.read(|state| {
        let checks = state.checks_to_run(ground.catalogue.node());
        let looked_at = checks.filter_map(|check| {
            let definition = check.definition.as_ref().filter(|definition| probe(definition).is_some())?;
            let place = Place {
                node: Arc::clone(&check.node),
                service: Arc::clone(&check.service_id),
                check: Arc::clone(&check.check_id),
            };
            Some((place, Arc::clone(definition)))
        });
        looked_at.collect()
    });
    running.retain(|place, task| {
        let stays = wanted.get(place).is_some_and(|definition| *definition == task.definition);
        if !stays {
            task.end.cancel();
        }
        stays
    });
    for (place, definition) in wanted {
        if running.contains_key(&place) {
            continue;
        }
        let task = Running { definition: Arc::clone(&definition), end: end.child_token() };
        tokio::spawn(repeat(Arc::clone(ground), place.clone(), definition, task.end.clone()));
        running.insert(place, task);
    }
}

/// What a definition has this node look at; none: somebody tells.
fn probe(definition: &Definition) -> Option<Probe> {
    if let Some(url) = &definition.http {
        let headers = definition.header.iter();
        let headers =
            headers.flat_map(|(name, values)| values.iter().map(|value| (name.to_string(), value.to_string())));
        let method = if definition.method.is_empty() { "GET" } else { &definition.method };
        return Some(Probe::Http {
            url: url.to_string(),
            method: method.to_owned(),
            headers: headers.collect(),
            body: definition.body.to_string(),
            unverified: definition.tls_skip_verify,
        });
    }
    definition.tcp.as_ref().map(|address| Probe::Tcp(address.to_string()))
}

/// Looks again and again.
async fn repeat(ground: Arc<Ground>, place: Place, definition: Arc<Definition>, end: CancellationToken) {
    let Some(probe) = probe(&definition) else { return };
    let pace = definition.interval.unwrap_or(catalog::limits::INTERVAL_MIN).max(catalog::limits::INTERVAL_MIN);
    let mut ticks = interval_at(Instant::now() + first_look(&place, pace), pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut run, mut slow, within) = ((Status::Critical, 0), Slow::default(), within(&definition));
    let looking = async {
        loop {
            ticks.tick().await;
            let finding = ground.turns.take(&mut slow, || look(&probe, within, &ground.means)).await;
            run = if finding.status == run.0 { (run.0, run.1 + 1) } else { (finding.status, 1) };
            if counts(&definition, run) {
                tell(&ground, &place, finding).await;
            }
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = looking => {}
    }
}

/// How long a look may take.
fn within(definition: &Definition) -> Duration {
    definition.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX)
}

/// Whether so many in a row are enough to say so.
fn counts(definition: &Definition, (status, times): (Status, u32)) -> bool {
    let needed = match status {
        Status::Passing | Status::Warning => definition.successes_before_passing,
        Status::Critical => definition.failures_before_critical,
    };
    times >= needed
}

/// A moment within the first interval that the check's name decides.
fn first_look(place: &Place, pace: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    let span = u64::try_from(pace.min(FIRST_LOOK_MAX).as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hasher.finish() % span)
}

async fn tell(ground: &Ground, place: &Place, finding: Finding) {
    let Place { node, check, .. } = place;
    let command = Command::SetCheck(SetCheck {
        node: node.to_string(),
        check_id: check.to_string(),
        status: finding.status,
        output: finding.output,
        ttl: false,
    });
    if let Err(error) = ground.catalogue.write(&ground.itself, command).await {
        // It may just have been deregistered; the next look tells it again.
        debug!(%error, %node, %check, "what a check found is not recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_in_a_row_as_asked_for_are_enough() {
        let check = |successes, failures, run, expected| {
            let definition = Definition {
                successes_before_passing: successes,
                failures_before_critical: failures,
                ..Definition::default()
            };
            assert_eq!(counts(&definition, run), expected, "{successes} {failures} {run:?}");
        };
        check(0, 0, (Status::Passing, 1), true);
        check(2, 0, (Status::Passing, 1), false);
        check(2, 0, (Status::Warning, 2), true);
        check(2, 3, (Status::Critical, 2), false);
        check(2, 3, (Status::Critical, 3), true);
    }

    #[test]
    fn a_look_has_an_end() {
        let check = |timeout: Option<u64>, expected| {
            let definition = Definition { timeout: timeout.map(Duration::from_secs), ..Definition::default() };
            assert_eq!(within(&definition), expected, "{timeout:?}");
        };
        check(None, TIMEOUT_DEFAULT);
        check(Some(0), TIMEOUT_DEFAULT);
        check(Some(30), Duration::from_secs(30));
        check(Some(3600), TIMEOUT_MAX);
    }

    #[test]
    fn the_first_look_comes_within_the_first_interval() {
        let place = |check: &str| Place { node: "n".into(), service: "s".into(), check: check.into() };
        for name in ["a", "b", "c"] {
            assert!(first_look(&place(name), Duration::from_secs(2)) < Duration::from_secs(2));
        }
        assert_ne!(first_look(&place("a"), FIRST_LOOK_MAX), first_look(&place("b"), FIRST_LOOK_MAX));
    }
}
