//! Streams that are asked for, and whose stays what: over links that come and go.

use ::mesh::acl::{AclRule, Who};
use serde_json::Value;

use super::*;

fn orders() -> StreamConfig {
    StreamConfig::new("ORDERS", [Pattern::parse("orders.>").unwrap()])
}

fn push(to: &[&str], into: &str) -> MirrorSpec {
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    MirrorSpec { stream: "ORDERS".to_owned(), to, stream_there: into.to_owned(), ..MirrorSpec::default() }
}

fn pull(from: &str, into: &str) -> MirrorSpec {
    let (stream, from) = ("ORDERS".to_owned(), from.to_owned());
    MirrorSpec { stream, from, stream_there: into.to_owned(), ..MirrorSpec::default() }
}

/// Has a station keep what these say.
fn declare(station: &Station, journal: &Arc<dyn Journal>, mirrors: &[(&str, MirrorSpec)]) {
    let declared = mirrors.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect();
    station.body.mirrors.want(&station.body, journal, &declared);
}

async fn count(journal: &Arc<dyn Journal>, stream: &str) -> u64 {
    journal.stream_info(stream).await.map_or(0, |info| info.state.messages)
}

/// Whether a stream holds exactly the numbers from 0 on, once each and in order.
async fn holds(journal: &Arc<dyn Journal>, stream: &str, numbers: u64) {
    until(async || count(journal, stream).await >= numbers).await;
    let page = journal.read(stream, Read::from(1, 10_000)).await.unwrap();
    let held: Vec<u64> = page
        .messages
        .iter()
        .map(|stored| std::str::from_utf8(&stored.message.payload).unwrap().parse().unwrap())
        .collect();
    assert_eq!(held, (0..numbers).collect::<Vec<_>>(), "{stream}");
}

fn row(station: &Station, name: &str) -> Value {
    let rows = station.body.mirrors.rows();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap_or_default()
}

async fn says(station: &Station, name: &str, why: &str) {
    until(async || row(station, name)["why"].as_str().is_some_and(|said| said.contains(why))).await;
}

async fn fill(journal: &Arc<dyn Journal>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        append(journal, number).await;
    }
}

/// Has the middle of a chain lose its links, and find them again.
async fn cut(station: &Station, epoch: u64) {
    let full = station.body.ask(|node| node.plan().clone());
    for (number, links) in [(1, Vec::new()), (2, full.links.clone())] {
        station.body.plan(Plan { generation: Generation { epoch, number }, links, ..full.clone() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_asked_for_two_domains_away_and_comes_once_and_in_order_whatever_is_cut() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let (source, asker) = (journal(&stations[0]), journal(&stations[2]));
    source.stream_create(orders()).await.unwrap();
    declare(&stations[0], &source, &[]);
    declare(&stations[2], &asker, &[("copy", pull("a", "COPY")), ("named", pull("a/1", "NAMED"))]);
    fill(&source, 0..500).await;
    until(async || count(&asker, "COPY").await == 500).await;
    cut(&stations[1], 2).await;
    fill(&source, 500..700).await;
    holds(&asker, "COPY", 700).await;
    holds(&asker, "NAMED", 700).await;
    until(async || row(&stations[2], "copy")["owed"] == 0).await;
    let told = row(&stations[2], "copy");
    assert_eq!((&told["confirmed"], &told["state"]), (&700.into(), &"keeping".into()), "{told}");
    assert_eq!(row(&stations[0], "(c/1 asks) named")["to"], "c/1");
    // Who begins anew goes on behind what he has.
    declare(&stations[2], &asker, &[("named", pull("a/1", "NAMED"))]);
    fill(&source, 700..800).await;
    declare(&stations[2], &asker, &[("copy", pull("a", "COPY")), ("named", pull("a/1", "NAMED"))]);
    holds(&asker, "COPY", 800).await;
    holds(&asker, "NAMED", 800).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_why_he_gets_nothing() {
    let stations = chain(&["a", "b"], 1).await;
    let (source, asker) = (journal(&stations[0]), journal(&stations[1]));
    source.stream_create(orders()).await.unwrap();
    source.stream_create(StreamConfig::new("OWN", [Pattern::parse("tidings.x.>").unwrap()])).await.unwrap();
    source.stream_create(StreamConfig::new("DEAD", [Pattern::parse("dead.>").unwrap()])).await.unwrap();
    let mut until_had = StreamConfig::new("JOBS", [Pattern::parse("jobs.>").unwrap()]);
    until_had.retention = journal::Retention::Interest;
    source.stream_create(until_had).await.unwrap();
    declare(&stations[0], &source, &[]);
    let other = |stream: &str, from: &str| MirrorSpec { stream: stream.to_owned(), ..pull(from, "") };
    let all = [
        ("closed", pull("a", "COPY")),
        ("missing", other("NONE", "a")),
        ("own", other("OWN", "a")),
        ("dead", MirrorSpec { stream_there: "THE_DEAD".to_owned(), ..other("DEAD", "a") }),
        ("jobs", other("JOBS", "a")),
        ("nobody", pull("x", "X")),
        ("self", pull("b", "Y")),
        ("absent", pull("a/2", "Z")),
    ];
    let rules = |subscribe: &str| {
        let subscribe = Some(vec![Who::parse(subscribe).unwrap()]);
        let subjects = vec![Pattern::parse("orders.secret").unwrap()];
        vec![AclRule { name: "closes".into(), subjects, publish: None, subscribe }]
    };
    let plan = stations[0].body.ask(|node| node.plan().clone());
    let ruled = |number, rules: Vec<AclRule>| Plan {
        generation: Generation { epoch: 3, number },
        acl: rules.into(),
        ..plan.clone()
    };
    stations[0].body.plan(ruled(1, rules("domain:a"))).await;
    declare(&stations[1], &asker, &all);
    says(&stations[1], "closed", "the rule NameAcl/closes does not let the domain b subscribe to orders.>").await;
    says(&stations[1], "missing", "NONE").await;
    says(&stations[1], "own", "which nodes keep for themselves").await;
    says(&stations[1], "dead", "is a stream of the node itself").await;
    says(&stations[1], "jobs", "forgets what its consumers have had").await;
    says(&stations[1], "nobody", "there is no way to x").await;
    says(&stations[1], "self", "this node's own domain").await;
    says(&stations[1], "absent", "a/2 does not answer").await;
    fill(&source, 0..10).await;
    assert_eq!(count(&asker, "COPY").await, 0);
    stations[0].body.plan(ruled(2, rules("domain:b"))).await;
    holds(&asker, "COPY", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_domain_that_can_be_reached_is_every_one() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let journals: Vec<_> = stations.iter().map(journal).collect();
    journals[0].stream_create(orders()).await.unwrap();
    let accept =
        |stream: &str| MirrorSpec { stream: stream.to_owned(), accept: vec!["a".to_owned()], ..MirrorSpec::default() };
    declare(&stations[1], &journals[1], &[("all", accept("ALL"))]);
    declare(&stations[2], &journals[2], &[("any", accept("*"))]);
    declare(&stations[0], &journals[0], &[("all", push(&["*"], "ALL")), ("one", push(&["c/1"], "ONE"))]);
    fill(&journals[0], 0..50).await;
    holds(&journals[1], "ALL", 50).await;
    holds(&journals[2], "ALL", 50).await;
    holds(&journals[2], "ONE", 50).await;
}
