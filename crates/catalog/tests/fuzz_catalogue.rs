//! Strangers' bytes as filters and as records: judged without panic; a filter that is taken chooses, and a record that is
//! taken is the same when it is recorded again.
//!
//! Run with a fuzzer: `cargo bolero test -p catalog filters`. With `cargo test` each target takes its corpus and a
//! bounded number of random inputs.

#![allow(clippy::unwrap_used, reason = "a test")]

use catalog::filter::{CatalogService, Filter};
use catalog::{Check, Command, Form, Health, Node, Register, Service, State};
use event::{Headers, Message, Moment, Subject};
use journal::Stored;

/// Inputs of each target with `cargo test`: a second or so.
const ITERATIONS: usize = 20_000;

const SUBJECTS: [&str; 6] = [
    "catalog.dc1.web.n1.x",
    "catalog.dc1.db.n1.x",
    "catalog.dc1.%node.n1",
    "catalog.dc1.%kv.k",
    "catalog.dc1.%session.s",
    "catalog.dc1.%event.e.1",
];

/// Random bytes seldom make what is read: most inputs are spelt with its own words.
fn spelt(input: &[u8], words: &[&str]) -> String {
    match input.split_first() {
        Some((choice, rest)) if choice % 4 != 0 => {
            rest.iter().map(|byte| words.get(usize::from(*byte) % words.len()).copied().unwrap_or_default()).collect()
        }
        _ => String::from_utf8_lossy(input).into_owned(),
    }
}

/// An instance that there is something to say of.
fn instance() -> Health {
    let mut state = State::new("dc1");
    let record =
        r#"{"Service":{"Tags":["a","b"],"Meta":{"k":"v"},"Port":80},"Checks":[{"CheckID":"c","Status":"passing"}]}"#;
    fold(&mut state, 1, SUBJECTS[0], record.as_bytes(), Headers::EMPTY);
    (**state.instance("n1", "x").unwrap()).clone()
}

fn fold(state: &mut State, seq: u64, subject: &str, payload: &[u8], headers: Headers) -> bool {
    let subject = Subject::parse(subject).unwrap();
    let message = Message { subject, reply: None, headers, payload: payload.to_vec().into() };
    state.fold(&Stored { seq, time: Moment::from_nanos(seq), message }, &mut Vec::new()).is_ok()
}

#[test]
fn filters() {
    const WORDS: [&str; 40] = [
        "Service.Service",
        "Service.Tags",
        "Service.Meta.k",
        "Service.Port",
        "Checks.Status",
        "Node.Node",
        "Checks",
        " ",
        " ",
        "==",
        "!=",
        " in ",
        " not in ",
        " contains ",
        " not contains ",
        " matches ",
        " is empty",
        " is not empty",
        " and ",
        " or ",
        "not ",
        "(",
        ")",
        "\"a\"",
        "`v`",
        "a",
        "80",
        "-1.5",
        "[\"k\"]",
        ".",
        "é",
        "\n",
        "\"",
        "`",
        "\\",
        "(a|b)*",
        "Service.Weights.Passing",
        "Service.EnableTagOverride",
        "true",
        "\"(\"",
    ];
    let health = instance();
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let text = spelt(input, &WORDS);
        match Filter::parse::<Health>(&text) {
            Ok(filter) => {
                let negated = Filter::parse::<Health>(&format!("not ({text})"));
                if let Ok(negated) = negated {
                    assert_ne!(filter.matches(&health), negated.matches(&health), "{text}");
                }
            }
            Err(error) => assert!(error.to_string().starts_with("Failed to create boolean expression evaluator: ")),
        }
        let _others = (
            Filter::parse::<Check>(&text).map(|filter| filter.matches(&*health.checks[0])),
            Filter::parse::<Node>(&text).map(|filter| filter.matches(&*health.node)),
            Filter::parse::<Service>(&text).map(|filter| filter.matches(&*health.service)),
            Filter::parse::<CatalogService<'_>>(&text).map(|filter| filter.matches(&CatalogService(&health))),
        );
    });
}

#[test]
fn records() {
    const WORDS: [&str; 48] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"Node\":",
        "\"Service\":",
        "\"Checks\":",
        "\"CheckID\":\"c\"",
        "\"Name\":\"n\"",
        "\"Status\":\"passing\"",
        "\"Status\":\"critical\"",
        "\"ID\":\"x\"",
        "\"Tags\":[\"a\"]",
        "\"Tags\":null",
        "\"Meta\":{\"k\":\"v\"}",
        "\"Port\":80",
        "\"Port\":-1",
        "\"Weights\":{\"Passing\":2}",
        "\"Proxy\":{\"a\":[1]}",
        "\"TaggedAddresses\":{\"lan\":{\"Address\":\"1.2.3.4\",\"Port\":1}}",
        "\"Address\":\"1.2.3.4\"",
        "\"Definition\":{\"TTL\":\"10s\"}",
        "\"Definition\":{\"HTTP\":\"http://a\",\"Interval\":\"1s\"}",
        "\"Definition\":null",
        "\"CreateIndex\":1",
        "\"ModifyIndex\":99",
        "\"Since\":5",
        "\"LockDelay\":1",
        "\"Behavior\":\"delete\"",
        "\"TTL\":\"x\"",
        "\"NodeChecks\":[\"c\"]",
        "null",
        "true",
        "1e9",
        "\"\\u00e9\"",
        "\"",
        "{\"Service\":{",
        "{\"Node\":{",
        "}}",
        "{\"Checks\":[{",
        "}]}",
        "},{",
        " ",
        "\"Service\":\"web\"",
        "\"n1\"",
        "\"\"",
    ];
    bolero::check!().with_iterations(ITERATIONS).for_each(|input: &[u8]| {
        let mut state = State::new("dc1");
        let parts = input.split(|byte| *byte == 255);
        for (place, part) in parts.enumerate() {
            let Some((choice, rest)) = part.split_first() else { continue };
            let subject = SUBJECTS[usize::from(*choice) % SUBJECTS.len()];
            let headers = Headers::from_block(rest.to_vec().into()).unwrap_or_default();
            fold(&mut state, place as u64 + 1, subject, spelt(rest, &WORDS).as_bytes(), headers);
        }
        restated(&state);
    });
}

/// What is recorded of an instance, once more, changes nothing.
fn restated(state: &State) {
    let Some(health) = state.instance("n1", "x") else { return };
    let (mut other, now) = (state.clone(), Moment::from_nanos(1_000));
    let maintain =
        |enable| Command::Maintenance { node: "n1".into(), service_id: "x".into(), enable, reason: String::new() };
    let before = (health.service.clone(), health.checks.clone());
    for enable in [true, false] {
        let Ok(judged) = other.judge(&maintain(enable), now) else { return };
        for write in judged.writes {
            let seq = other.position() + 1;
            let stored = Stored { seq, time: now, message: write.append().message };
            other.fold(&stored, &mut Vec::new()).expect("what is written is fit");
        }
    }
    let after = other.instance("n1", "x").expect("it stays");
    assert!(after.service.same(&before.0), "{:?} {:?}", after.service, before.0);
    let own = before.1.iter().filter(|check| !check.check_id.starts_with('_')).count();
    assert_eq!(after.checks.iter().filter(|check| !check.check_id.starts_with('_')).count(), own);
}

#[test]
fn drafts() {
    let now = Moment::from_nanos(1);
    bolero::check!().with_iterations(ITERATIONS).with_type::<(Vec<String>, i64, u8)>().for_each(
        |(texts, number, how)| {
            let text = |place: usize| texts.get(place).cloned().unwrap_or_default();
            let form = if how & 1 == 0 { Form::Catalog } else { Form::Agent { replace_existing_checks: how & 2 == 0 } };
            let mut register = Register::new(form, text(0));
            (register.address, register.id, register.skip_node_update) = (text(1), text(2), how & 4 == 0);
            register.node_meta = vec![(text(3), text(4))];
            register.service = (how & 8 == 0).then(|| catalog::ServiceDraft {
                name: text(5),
                id: text(6),
                address: text(7),
                tags: texts.clone(),
                meta: vec![(text(8), text(9))],
                port: *number,
                proxy: (how & 16 == 0).then(|| text(10)),
                ..catalog::ServiceDraft::default()
            });
            register.checks =
                vec![catalog::CheckDraft { id: text(11), name: text(12), ..catalog::CheckDraft::default() }];
            let mut state = State::new("dc1");
            let Ok(judged) = state.judge(&Command::Register(Box::new(register.clone())), now) else { return };
            for write in judged.writes {
                let stored = Stored { seq: state.position() + 1, time: now, message: write.append().message };
                state.fold(&stored, &mut Vec::new()).expect("what is written is fit");
            }
            let again = state.judge(&Command::Register(Box::new(register)), now).expect("taken once, taken again");
            assert!(again.writes.is_empty(), "told again nothing is written: {:?}", again.writes);
        },
    );
}
