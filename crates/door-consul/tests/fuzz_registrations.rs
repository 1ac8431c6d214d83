//! Bodies of requests that change something, as anybody may send them: read without panic, and what is taken of them is
//! a record that every reader of the stream understands.
//!
//! Run with a fuzzer: `cargo bolero test -p door-consul any_body_of_a_registration_is_judged`. With `cargo test` it
//! takes a bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use catalog::{Command, State};
use door_consul::codec::{Params, Route, route};
use door_consul::{Options, command};
use event::Moment;
use journal::Stored;

/// Inputs with `cargo test`: some seconds.
const ITERATIONS: usize = 2_000;

const NOW: Moment = Moment::from_nanos(1_700_000_000_000_000_000);

/// What may be asked, with a body that is taken.
const SEEDS: [(&str, &str); 9] = [
    (
        "/v1/agent/service/register",
        r#"{"ID":"web1","Name":"web","Tags":["v1"],"Address":"10.0.0.1","Port":80,"Meta":{"a":"b"},"Weights":{"Passing":2,"Warning":1},
            "TaggedAddresses":{"lan":{"Address":"10.0.0.1","Port":80}},"Check":{"CheckID":"c","TTL":"15s","Status":"passing"}}"#,
    ),
    (
        "/v1/agent/service/register?replace-existing-checks=true",
        r#"{"Name":"db","EnableTagOverride":true,"Checks":[{"HTTP":"http://x","Interval":"10s","Timeout":"1s",
            "Header":{"A":["b"]},"Method":"PUT","Body":"x","TLSSkipVerify":true},{"TCP":"x:1","Interval":"1m"}]}"#,
    ),
    ("/v1/agent/check/register", r#"{"Name":"c","TTL":"10s","Notes":"n","DeregisterCriticalServiceAfter":"90m"}"#),
    ("/v1/agent/check/update/c", r#"{"Status":"warning","Output":"o"}"#),
    (
        "/v1/catalog/register",
        r#"{"Node":"n1","ID":"40e4a748-2192-161a-0510-9bf59fe950b5","Address":"10.0.0.1","Datacenter":"dc1","NodeMeta":{"a":"b"},
            "TaggedAddresses":{"lan":"10.0.0.1"},"Service":{"Service":"web","Kind":"connect-proxy","Proxy":{"DestinationServiceName":"x"}},
            "Check":{"Name":"c","Status":"passing","ServiceID":"web","Definition":{"TCP":"x:1","Interval":"10s"}}}"#,
    ),
    ("/v1/catalog/deregister", r#"{"Node":"n1","ServiceID":"web","CheckID":""}"#),
    (
        "/v1/session/create",
        r#"{"Name":"s","Node":"tidings","LockDelay":"15s","TTL":"30s","Behavior":"delete","Checks":[]}"#,
    ),
    (
        "/v1/txn",
        r#"[{"KV":{"Verb":"set","Key":"a/b","Value":"eA==","Flags":1}},{"KV":{"Verb":"get-tree","Key":"a"}},
            {"KV":{"Verb":"cas","Key":"c","Index":0,"Value":""}},{"KV":{"Verb":"delete","Key":"d"}}]"#,
    ),
    ("/v1/kv/a%2Fb?flags=3", "value"),
];

/// A seed, changed at up to four places.
fn changed(seed: &str, changes: &[u8]) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for change in changes.chunks_exact(4).take(4) {
        let &[high, low, how, what] = change else { break };
        let place = usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
        match how % 4 {
            0 => bytes.insert(place, what),
            1 if place < bytes.len() => _ = bytes.remove(place),
            2 => bytes.truncate(place),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = what),
        }
    }
    bytes
}

fn read(path: &str, body: Vec<u8>) -> Option<Command> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let Ok(Route::To(endpoint, name)) = route("PUT", path) else { panic!("{path} is no endpoint") };
    let options = Options::default();
    let fault = match command(&options, (endpoint, "PUT"), name, &Params::parse(query), Bytes::from(body)) {
        Ok(command) => return Some(command),
        Err(fault) => fault,
    };
    assert!((400..=500).contains(&fault.status) && fault.text.len() < 4_096, "{fault:?}");
    None
}

/// Judges a command, and folds what it comes to.
fn run(state: &mut State, command: &Command) {
    let Ok(judged) = state.judge(command, NOW) else { return };
    let needs = state.needs(command);
    assert!(!needs.is_empty() || judged.writes.is_empty() || matches!(command, Command::Txn(_)), "{command:?}");
    for write in judged.writes {
        let stored = Stored { seq: state.position() + 1, time: NOW, message: write.append().message };
        let folded = state.fold(&stored, &mut Vec::new());
        assert_eq!(folded, Ok(()), "{stored:?}");
    }
    let again = state.judge(command, NOW);
    assert!(again.is_ok() || matches!(command, Command::Txn(_)), "{command:?}: {again:?}");
}

#[test]
fn every_seed_is_taken() {
    let mut state = State::new("dc1");
    for (path, body) in SEEDS {
        let command = read(path, body.as_bytes().to_vec()).unwrap_or_else(|| panic!("{path} is refused"));
        let judged = state.judge(&command, NOW).map(|judged| judged.writes.len());
        assert!(judged.as_ref().is_ok_and(|writes| *writes > 0), "{path}: {judged:?}");
        run(&mut state, &command);
    }
}

#[test]
fn any_body_of_a_registration_is_judged() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let Some((choice, changes)) = input.split_first() else { return };
        let (path, seed) = SEEDS[usize::from(*choice) % SEEDS.len()];
        let mut state = State::new("dc1");
        for (path, body) in SEEDS {
            read(path, body.as_bytes().to_vec()).into_iter().for_each(|command| run(&mut state, &command));
        }
        for body in [changed(seed, changes), changes.to_vec()] {
            read(path, body).into_iter().for_each(|command| run(&mut state, &command));
        }
    });
}
