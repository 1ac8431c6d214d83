//! Stories of links: what happens, and every output.

use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;

use super::*;

/// A machine, the time, and its outputs as lines.
struct Desk {
    links: Links,
    now: Moment,
}

fn text(output: Output) -> String {
    match output {
        Output::Dial { name, address } => format!("dial {name} at {address}"),
        Output::Close { connection, why } => format!("close {connection}: {}", why.word()),
        Output::Probe { connection } => format!("probe {connection}"),
        Output::Up { connection, link, target, .. } => {
            format!("up {link} on {connection}{}", if target.is_some() { ", dialled" } else { "" })
        }
        Output::Down { connection, link, why } => format!("down {link} on {connection}: {}", why.word()),
    }
}

impl Desk {
    fn new(me: &str, targets: &[&str]) -> Self {
        let mut desk = Desk { links: Links::new(me, 7), now: Moment::from_nanos(1_000_000_000_000) };
        let dials: Vec<String> = targets.iter().map(|name| format!("dial {name} at {name}:7100")).collect();
        desk.check(want(targets), &dials.iter().map(String::as_str).collect::<Vec<_>>());
        desk
    }

    fn drain(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.links.poll()).map(text).collect()
    }

    fn check(&mut self, input: Input, expected: &[&str]) {
        self.links.handle(self.now, input.clone());
        assert_eq!(self.drain(), expected, "after {input:?}");
    }

    /// Goes on to the next wake; gives how long that was.
    fn wake(&mut self, expected: &[&str]) -> Duration {
        let due = self.links.next_wake().unwrap();
        let waited = due.since(self.now);
        self.now = due;
        self.check(Input::Tick, expected);
        waited
    }

    fn state(&self, name: &str) -> TargetState {
        self.links.targets().find(|target| &*target.name == name).unwrap().state
    }
}

fn want(targets: &[&str]) -> Input {
    let target = |name: &&str| Target { name: Arc::from(*name), address: Arc::from(format!("{name}:7100")) };
    Input::Want(targets.iter().map(target).collect())
}

fn dialled(name: &str, connection: u64, peer: Option<&str>) -> Input {
    Input::Dialled { name: name.into(), outcome: Ok((connection, peer.map(Arc::from))) }
}

fn failed(name: &str) -> Input {
    Input::Dialled { name: name.into(), outcome: Err("refused".to_string()) }
}

fn accepted(connection: u64, peer: Option<&str>) -> Input {
    Input::Accepted { connection, peer: peer.map(Arc::from) }
}

fn lost(connection: u64) -> Input {
    Input::Lost { connection, why: "reset".to_string() }
}

#[test]
fn a_target_is_dialled_again_after_waits_that_grow_to_a_minute_and_the_wait_is_forgotten_once_it_is_steady() {
    let mut desk = Desk::new("a", &["x"]);
    let mut waits = Vec::new();
    for _ in 0..9 {
        desk.check(failed("x"), &[]);
        waits.push(desk.wake(&["dial x at x:7100"]).as_millis());
    }
    for (wait, most) in waits.iter().zip([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]) {
        assert!((most / 2..=most).contains(wait), "{waits:?}");
    }
    desk.check(dialled("x", 1, Some("b")), &["up b on 1, dialled"]);
    desk.check(lost(1), &["down b on 1: lost"]);
    assert!(desk.wake(&["dial x at x:7100"]) > Duration::from_secs(29), "it did not last");
    desk.check(dialled("x", 2, Some("b")), &["up b on 2, dialled"]);
    desk.now = desk.now.after(STEADY);
    desk.check(lost(2), &["down b on 2: lost"]);
    assert!(desk.wake(&["dial x at x:7100"]) <= Duration::from_secs(1));
}

#[test]
fn where_both_dialled_the_connection_of_the_smaller_id_stays() {
    // The smaller one, whose own came first, and last.
    let mut small = Desk::new("a", &["x"]);
    small.check(dialled("x", 1, Some("b")), &["up b on 1, dialled"]);
    small.check(accepted(2, Some("b")), &["probe 1"]);
    small.check(Input::Heard { connection: 1 }, &["close 2: doubled"]);
    let mut small = Desk::new("a", &["x"]);
    small.check(accepted(2, Some("b")), &["up b on 2"]);
    small.check(dialled("x", 1, Some("b")), &["close 2: doubled", "down b on 2: doubled", "up b on 1, dialled"]);
    small.check(lost(2), &[]);
    // The larger one.
    let mut large = Desk::new("b", &["x"]);
    large.check(dialled("x", 2, Some("a")), &["up a on 2, dialled"]);
    large.check(accepted(1, Some("a")), &["close 2: doubled", "down a on 2: doubled", "up a on 1"]);
    assert_eq!(large.state("x"), TargetState::Covered("a".into()));
    assert_eq!(large.links.next_wake(), None);
    large.check(lost(1), &["down a on 1: lost"]);
    assert!(large.wake(&["dial x at x:7100"]) <= Duration::from_secs(1));
}

#[test]
fn the_larger_id_whose_dial_comes_late_lets_it_wait_until_the_other_one_has_answered() {
    let mut large = Desk::new("b", &["x"]);
    large.check(accepted(1, Some("a")), &["up a on 1"]);
    large.check(dialled("x", 2, Some("a")), &["probe 1"]);
    assert_eq!(large.state("x"), TargetState::Linked(2));
    large.check(Input::Heard { connection: 2 }, &[]);
    large.check(Input::Heard { connection: 1 }, &["close 2: doubled"]);
    assert_eq!(large.state("x"), TargetState::Covered("a".into()));
}

#[test]
fn a_peer_that_dials_again_takes_the_place_of_a_connection_that_died_unseen() {
    let mut desk = Desk::new("a", &["x"]);
    desk.check(dialled("x", 1, Some("b")), &["up b on 1, dialled"]);
    desk.check(accepted(2, Some("b")), &["probe 1"]);
    assert_eq!(desk.wake(&["close 1: silent", "down b on 1: silent", "up b on 2"]), PROBE);
    assert_eq!(desk.state("x"), TargetState::Covered("b".into()));
    // And at once, where the death was seen meanwhile.
    desk.check(accepted(3, Some("b")), &["probe 2"]);
    desk.check(lost(2), &["down b on 2: lost", "up b on 3"]);
    // Of those that wait the last one does.
    desk.check(accepted(4, Some("b")), &["probe 3"]);
    desk.check(accepted(5, Some("b")), &["close 4: doubled", "probe 3"]);
    desk.check(lost(5), &[]);
    desk.check(Input::Heard { connection: 3 }, &[]);
    assert!(desk.links.is_up(3) && desk.links.connection("b") == Some(3));
}

#[test]
fn a_link_to_itself_is_closed_on_both_ends_and_tried_again_only_after_long() {
    let mut desk = Desk::new("a", &["x"]);
    desk.check(accepted(1, Some("a")), &["close 1: itself"]);
    desk.check(dialled("x", 2, Some("a")), &["close 2: itself"]);
    assert!(desk.wake(&["dial x at x:7100"]) >= Duration::from_secs(30));
}

#[test]
fn two_addresses_of_one_hub_make_one_link_and_the_other_takes_over() {
    let mut desk = Desk::new("a", &["x", "y"]);
    desk.check(dialled("x", 1, Some("b")), &["up b on 1, dialled"]);
    desk.check(dialled("y", 2, Some("b")), &["probe 1"]);
    desk.check(Input::Heard { connection: 1 }, &["close 2: doubled"]);
    desk.check(want(&["y"]), &["close 1: unwanted", "down b on 1: unwanted"]);
    desk.wake(&["dial y at y:7100"]);
    desk.check(dialled("y", 3, Some("b")), &["up b on 3, dialled"]);
}

#[test]
fn peers_without_a_node_id_are_named_by_target_or_connection_and_never_taken_for_one_another() {
    let mut desk = Desk::new("a", &["x"]);
    desk.check(dialled("x", 1, None), &["up x on 1, dialled"]);
    desk.check(accepted(2, None), &["up connection-2 on 2"]);
    desk.check(accepted(3, None), &["up connection-3 on 3"]);
    desk.check(accepted(4, Some("x")), &["close 4: name-taken"]);
    desk.check(lost(2), &["down connection-2 on 2: lost"]);
    let names: Vec<_> = desk.links.links().map(|link| link.link.to_string()).collect();
    assert_eq!(names, ["connection-3", "x"]);
}

#[test]
fn targets_change_while_they_are_dialled_linked_or_waiting() {
    let mut desk = Desk::new("a", &["x"]);
    let moved = || Input::Want(vec![Target { name: "x".into(), address: "elsewhere:7100".into() }]);
    // Dialling: the answer is of the old address.
    desk.check(moved(), &[]);
    desk.check(dialled("x", 1, Some("b")), &["close 1: unwanted", "dial x at elsewhere:7100"]);
    desk.check(dialled("x", 2, Some("c")), &["up c on 2, dialled"]);
    // Linked.
    desk.check(moved(), &[]);
    desk.check(want(&["x"]), &["close 2: unwanted", "down c on 2: unwanted", "dial x at x:7100"]);
    // Waiting.
    desk.check(failed("x"), &[]);
    desk.check(moved(), &["dial x at elsewhere:7100"]);
    // Taken out while it is dialled, and taken in again.
    desk.check(want(&[]), &[]);
    assert_eq!(desk.links.targets().count(), 0);
    desk.check(dialled("x", 3, Some("b")), &["close 3: unwanted"]);
    desk.check(want(&["x"]), &["dial x at x:7100"]);
    desk.check(want(&[]), &[]);
    desk.check(want(&["x"]), &[]);
    desk.check(failed("x"), &["dial x at x:7100"]);
    desk.check(dialled("nobody", 4, None), &["close 4: unwanted"]);
}

#[test]
fn a_nudge_dials_at_once_and_a_clock_that_is_set_back_delays_nothing() {
    let mut desk = Desk::new("a", &["x", "y"]);
    desk.check(failed("x"), &[]);
    desk.check(failed("y"), &[]);
    desk.check(Input::Nudge(Some("x".into())), &["dial x at x:7100"]);
    desk.check(Input::Nudge(None), &["dial y at y:7100"]);
    desk.check(failed("x"), &[]);
    desk.now = Moment::from_nanos(5);
    desk.check(Input::Tick, &[]);
    assert!(desk.wake(&["dial x at x:7100"]) <= REDIAL_MAX);
}
