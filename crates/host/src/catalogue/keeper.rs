//! What runs out: checks that nobody told to pass, sessions that nobody renewed or whose checks are critical,
//! instances that were critical for too long.
//!
//! # Invariants
//! - What ran out is written like any command, and so recorded. A node that was away gives everything its time once
//!   more: it does not know what was said meanwhile.
//! - Only what is this node's to count is looked at.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Command, SetCheck, State, Status};
use door::catalogue::Sign;
use door::{Catalogue, Principal};
use event::Moment;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often checks and sessions are looked at. A lifetime is kept to within this.
const LOOK: Duration = Duration::from_millis(500);
/// How many looks apart critical instances are looked at: every 30 s, as the original does.
const REAP_LOOKS: u32 = 60;
/// What a check says whose time ran out.
const EXPIRED: &str = "TTL expired";

/// Looks, and writes what ran out, until told to end.
pub(super) async fn keep(catalogue: Catalogue, end: CancellationToken) {
    let began = catalogue.port().now();
    let itself = Principal::anyone();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = ticks.tick() => {}
        }
        looks = looks.wrapping_add(1);
        let now = catalogue.port().now();
        let over = catalogue.read(|state| {
            let mut over = expired(&catalogue, state, began, now);
            over.extend(ended(&catalogue, state, began, now));
            if looks.is_multiple_of(REAP_LOOKS) {
                over.extend(reaped(&catalogue, state, now));
            }
            over
        });
        for command in over {
            if let Err(error) = catalogue.write(&itself, command).await {
                warn!(%error, "what ran out in the catalogue is not recorded; it is tried again");
            }
        }
        if looks.is_multiple_of(REAP_LOOKS) {
            catalogue.forget_signs_of_gone();
        }
    }
}

/// Whether so much time has passed since the latest of these.
fn is_over(span: Duration, since: impl IntoIterator<Item = Moment>, now: Moment) -> bool {
    since.into_iter().max().is_some_and(|latest| now.since(latest) > span)
}

/// Checks with a lifetime that were not told to pass within it.
fn expired(catalogue: &Catalogue, state: &State, began: Moment, now: Moment) -> Vec<Command> {
    let mut over = Vec::new();
    for check in state.checks_to_run(catalogue.node()) {
        let Some(ttl) = check.definition.as_ref().and_then(|definition| definition.ttl) else { continue };
        if check.status == Status::Critical && &*check.output == EXPIRED {
            continue;
        }
        let heard = catalogue.last_heard(&Sign::check(&check.node, &check.check_id));
        if is_over(ttl, [began, check.since].into_iter().chain(heard), now) {
            over.push(Command::SetCheck(SetCheck {
                node: check.node.to_string(),
                check_id: check.check_id.to_string(),
                status: Status::Critical,
                output: EXPIRED.to_owned(),
                ttl: false,
            }));
        }
    }
    over
}

/// Sessions that were not renewed, or with a check that is critical or gone.
fn ended(catalogue: &Catalogue, state: &State, began: Moment, now: Moment) -> Vec<Command> {
    let mut over = Vec::new();
    for session in state.sessions() {
        if *session.agent != **catalogue.node() {
            continue;
        }
        let heard = catalogue.last_heard(&Sign::Session(Arc::clone(&session.id)));
        let since = [began, session.began].into_iter().chain(heard);
        let is_late = session.ttl.is_some_and(|ttl| is_over(ttl, since, now));
        if is_late || state.is_session_broken(session) {
            info!(session = &*session.id, name = &*session.name, late = is_late, "a session ends");
            over.push(Command::SessionDestroy { id: session.id.to_string() });
        }
    }
    over
}

/// Instances with a check that is critical for longer than it may be.
fn reaped(catalogue: &Catalogue, state: &State, now: Moment) -> Vec<Command> {
    let mut over = Vec::new();
    for check in state.checks_to_run(catalogue.node()) {
        let Some(after) = check.definition.as_ref().and_then(|definition| definition.deregister_after) else {
            continue;
        };
        if check.status != Status::Critical || check.service_id.is_empty() {
            continue;
        }
        if is_over(after.max(catalog::limits::DEREGISTER_AFTER_MIN), Some(check.since), now) {
            info!(node = &*check.node, service = &*check.service_id, "critical for too long; deregistered");
            over.push(Command::Deregister {
                node: check.node.to_string(),
                service_id: check.service_id.to_string(),
                check_id: String::new(),
            });
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::{Behavior, Form, Register, SessionCreate};
    use door::suite::Plain;
    use door::{Access, Limits, Port};
    use journal::Stored;
    use journal::local::Local;

    const BEGAN: Moment = Moment::from_nanos(1_700_000_000_000_000_000);

    fn after(seconds: u64) -> Moment {
        BEGAN.after(Duration::from_secs(seconds))
    }

    /// Folds what a command comes to, as if it had been recorded then.
    fn fold(catalogue: &Catalogue, command: &Command, now: Moment) {
        let judged = catalogue.read(|state| state.judge(command, now)).unwrap();
        for write in judged.writes {
            let seq = catalogue.read(State::position) + 1;
            catalogue.fold(&[Stored { seq, time: now, message: write.append().message }], seq);
        }
    }

    #[test]
    fn a_session_that_was_never_renewed_has_its_time_from_when_it_began() {
        let journal = Arc::new(Local::new(Arc::new(|| BEGAN)));
        let port = Port::new(journal, Arc::new(Plain::default()), Access::open(), Limits::default());
        let catalogue = Catalogue::new(port, "dc1", "n1");
        let mut register = Register::new(Form::Catalog, "n1");
        register.address = String::from("10.0.0.1");
        fold(&catalogue, &Command::Register(Box::new(register)), BEGAN);
        let session = SessionCreate {
            id: String::from("s"),
            name: String::new(),
            node: String::from("n1"),
            lock_delay: None,
            behavior: Behavior::Release,
            ttl: Some(Duration::from_secs(10)),
            node_checks: None,
            service_checks: Vec::new(),
            agent: String::from("n1"),
        };
        fold(&catalogue, &Command::SessionCreate(session), after(100));
        let over = |now| catalogue.read(|state| ended(&catalogue, state, BEGAN, now)).len();
        assert_eq!((over(after(105)), over(after(111))), (0, 1));
    }
}
