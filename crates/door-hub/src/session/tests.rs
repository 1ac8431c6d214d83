//! Sessions by script: frames in, what the hand was told out.

use super::*;
use crate::codec::write_frame;

#[derive(Default)]
struct Told {
    said: Vec<String>,
    out: Vec<u8>,
    busy_after: Option<usize>,
}

impl Hand for Told {
    fn event(&mut self, room: &[u8], payload: &[u8]) {
        self.said.push(format!("event {} {}", room.escape_ascii(), payload.escape_ascii()));
    }
    fn change(&mut self, change: Change) {
        self.said.push(format!("change {} {}", change.create, change.rooms.join(",")));
    }
    fn control(&mut self, control: Control) {
        self.said.push(format!("control {}", control.text().escape_ascii()));
    }
    fn dropped(&mut self, why: Dropped) {
        self.said.push(format!("dropped {}", why.text()));
    }
    fn pong(&mut self, payload: &[u8]) {
        self.said.push(format!("pong {}", payload.escape_ascii()));
    }
    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        write_frame(&mut self.out, opcode, None, &[payload]);
    }
    fn is_busy(&self) -> bool {
        self.busy_after.is_some_and(|after| self.said.len() >= after)
    }
}

fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Opcode::Binary, Some([1, 2, 3, 4]), &[payload]);
    bytes[0] = if fin { 0x80 } else { 0 } | opcode;
    bytes
}

fn run(kind: Kind, frames: &[(bool, u8, &[u8])]) -> (Vec<String>, Vec<u8>, Wait) {
    let mut whole: Vec<u8> = frames.iter().flat_map(|(fin, opcode, payload)| frame(*fin, *opcode, payload)).collect();
    let mut told = Told::default();
    let mut session = Session::new(kind, Side::Client, 64);
    let (_, wait) = session.process(&mut whole, &mut told);
    (told.said, told.out, wait)
}

fn check(kind: Kind, frames: &[(bool, u8, &[u8])], expected: &[&str]) {
    let (said, out, wait) = run(kind, frames);
    assert_eq!(said, expected, "{kind:?}");
    assert!(out.is_empty() && matches!(wait, Wait::Bytes(_)), "{kind:?} {out:?} {wait:?}");
}

#[test]
fn what_an_opcode_means_depends_on_who_sends_it() {
    let change = br#"{"rooms":["A"],"create":true}"#;
    check(Kind::Messenger, &[(true, 1, change)], &["change true A"]);
    check(Kind::Messenger, &[(true, 2, b"A\n{}")], &["event A {}"]);
    check(Kind::Messenger, &[(true, 1, b"A\n{}")], &[]);
    for kind in [Kind::Repeater, Kind::Hub, Kind::Peer] {
        check(kind, &[(true, 1, b"A\n{}"), (true, 2, b"B\n\n")], &["event A {}", "event B \\n"]);
    }
    check(
        Kind::Twin,
        &[(true, 1, br#"{"ack":{"stream":"S","seq":1}}"#), (true, 2, b"A\nx")],
        &["control {\\\"ack\\\":{\\\"stream\\\":\\\"S\\\",\\\"seq\\\":1}}", "event A x"],
    );
    check(Kind::Target, &[(true, 2, b"A\nx")], &[]);
}

#[test]
fn what_has_no_newline_is_dropped_and_the_connection_stays() {
    check(
        Kind::Messenger,
        &[(true, 2, b"A"), (true, 2, b"\n"), (true, 2, b"B\n")],
        &["dropped no-newline", "event  ", "event B "],
    );
    let mut told = Told::default();
    let mut session = Session::new(Kind::Peer, Side::Client, 64).lenient(true);
    session.process(&mut frame(true, 2, b"A"), &mut told);
    assert_eq!(told.said, ["event  "]);
}

#[test]
fn parts_make_one_message_with_pings_between() {
    let (said, out, _) = run(Kind::Hub, &[(false, 2, b"A"), (true, 9, b"x"), (false, 0, b"\n{"), (true, 0, b"}")]);
    assert_eq!(said, ["event A {}"]);
    assert_eq!(out, b"\x8a\x01x");
}

#[test]
fn faults_are_told_and_end_it() {
    let long = [b'a'; 40];
    for (frames, code) in [
        (&[(true, 0, &b"x"[..])][..], 1002_u16),
        (&[(false, 2, b"x"), (true, 2, b"y")], 1002),
        (&[(true, 3, b"x")], 1002),
        (&[(false, 2, &long), (true, 0, &long)], 1009),
        (&[(true, 2, &[b'a'; 65])], 1009),
    ] {
        let (_, out, wait) = run(Kind::Messenger, frames);
        let [high, low] = code.to_be_bytes();
        assert_eq!(out, [0x88, 2, high, low]);
        assert!(matches!(wait, Wait::Fault(fault) if fault.code() == code));
    }
}

#[test]
fn pings_are_echoed_and_a_close_is_answered() {
    let (said, out, wait) = run(Kind::Messenger, &[(true, 9, b"abc"), (true, 10, b""), (true, 8, b"\x03\xe8bye")]);
    assert_eq!(said, ["pong "]);
    assert_eq!(out, b"\x8a\x03abc\x88\x02\x03\xe8");
    assert_eq!(wait, Wait::Closed);
    assert_eq!(run(Kind::Messenger, &[(true, 8, b"")]).1, [0x88, 0]);
}

#[test]
fn a_busy_hand_is_given_nothing_more() {
    let mut bytes = [frame(true, 2, b"A\n1"), frame(true, 2, b"A\n2")].concat();
    let whole = bytes.len();
    let mut told = Told { busy_after: Some(1), ..Told::default() };
    let mut session = Session::new(Kind::Hub, Side::Client, 64);
    let (used, wait) = session.process(&mut bytes, &mut told);
    assert_eq!((used, wait), (whole / 2, Wait::Hand));
    told.busy_after = None;
    let (used, wait) = session.process(&mut bytes[used..], &mut told);
    assert_eq!((used, wait), (whole / 2, Wait::Bytes(2)));
    assert_eq!(told.said, ["event A 1", "event A 2"]);
}

#[test]
fn masks_differ_each_time() {
    let masks = Masks::from(1);
    assert_ne!(masks.next(), masks.next());
    assert_eq!(Masks::NONE.next(), None);
}
