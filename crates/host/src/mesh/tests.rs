//! Nodes of a mesh in one process, over TCP on the loopback, with plans as a controller would tell them.

use std::sync::Arc;
use std::time::Duration;

use ::mesh::names::{LinkId, Name, NodeId};
use ::mesh::node::Report;
use ::mesh::plan::{Generation, LinkKind, LinkPlan, Plan, SegmentPlan};
use bytes::Bytes;
use door::{Fabric, Heard, Subscription};
use event::{Message, Pattern, Subject};
use journal::{Append, Journal, Read, StreamConfig};
use plan::MirrorSpec;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::body::Body;
use super::custody::Custody;
use super::{ControlSlot, accept};
use crate::live::Live;

mod keepers;
mod kept;
mod mirrors;
mod rogue;
mod traced;

/// How long anything may take here.
const LONG: Duration = Duration::from_secs(10);

struct Station {
    body: Arc<Body>,
    live: Arc<Live>,
    address: String,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

async fn station(id: &str) -> Station {
    station_with(id, ControlSlot::default()).await
}

/// A station where nodes may look for their controller.
async fn station_with(id: &str, controls: ControlSlot) -> Station {
    let live = Arc::new(Live::default());
    let (body, run) = Body::new(NodeId::parse(id).unwrap(), 7, Arc::clone(&live), Custody::default());
    live.set_far(Arc::clone(&body) as Arc<dyn door::Far>, run.wished());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(run.run(Arc::clone(&body)));
    tokio::spawn(accept::listen(Arc::clone(&body), listener, controls));
    Station { body, live, address }
}

/// A chain of domains `a`, `b`, `c`..., of one node each, all in one segment; each dials the one before.
async fn chain(domains: &[&str], generation: u64) -> Vec<Station> {
    let mut stations = Vec::new();
    for domain in domains {
        stations.push(station(&format!("{domain}/1")).await);
    }
    let edges: Vec<_> = domains.windows(2).map(|pair| (name(pair[0]), name(pair[1]), 1)).collect();
    let all: Vec<Name> = domains.iter().map(|domain| name(domain)).collect();
    let segment = Arc::new(SegmentPlan { name: name("s"), domains: all, edges });
    for (at, station) in stations.iter().enumerate() {
        let mut reports = station.body.reports();
        let link = |to: usize, dial: Option<&str>| LinkPlan {
            id: LinkId::parse(&format!("{}-{}", at.min(to), at.max(to))).unwrap(),
            kind: LinkKind::Remote,
            domain: name(domains[to]),
            node: None,
            dial: dial.map(Into::into),
            key: [9; 32],
            segments: vec![name("s")],
        };
        let before = (at > 0).then(|| link(at - 1, Some(&stations[at - 1].address)));
        let after = (at + 1 < domains.len()).then(|| link(at + 1, None));
        let links: Vec<_> = before.into_iter().chain(after).collect();
        let gateways = links.iter().map(|link| (link.domain.clone(), station.body.id.clone())).collect();
        let generation = Generation { epoch: 1, number: generation };
        let plan = Plan { generation, segments: vec![Arc::clone(&segment)], gateways, links, ..Plan::default() };
        station.body.plan(plan).await;
        while at > 0 && !matches!(reports.recv().await, Ok(Report::Full { .. })) {}
    }
    stations
}

/// Waits until messages of a subject that enter at a station go beyond it, or until they do not.
async fn wanted(station: &Station, subject: &str, there: bool) {
    let leads = async {
        while (station.live.way(subject).hops().count() > 0) != there {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, leads).await.unwrap();
}

fn message(subject: &str, payload: String) -> Message {
    Message {
        reply: Some(Subject::parse("r.1").unwrap()),
        ..Message::new(Subject::parse(subject).unwrap(), Bytes::from(payload))
    }
}

async fn next(subscription: &mut Subscription) -> Message {
    match timeout(LONG, subscription.next()).await.unwrap() {
        Some(Heard::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_cross_a_chain_of_domains_once_each_and_in_order_while_they_are_wanted() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let listen = |at: usize, pattern: &str| {
        Subscription::new(Arc::clone(&stations[at].live) as _, &[Pattern::parse(pattern).unwrap()], 10_000, 1 << 24)
    };
    assert!(stations[0].live.way("news.x").is_empty());
    let (mut near, mut far) = (listen(1, "news.*"), listen(2, "news.>"));
    wanted(&stations[0], "news.x", true).await;
    // The interest of `b` and that of `c` come one after the other.
    while stations[0]
        .body
        .ask(|node| node.beyond("news.x").direct.iter().map(|leg| leg.envelope.to.len()).sum::<usize>())
        < 2
    {
        tokio::task::yield_now().await;
    }
    for number in 0..1_000 {
        assert_eq!(stations[0].live.deliver(&message("news.x", number.to_string())), 1, "one copy for both");
    }
    for number in 0..1_000 {
        for subscription in [&mut near, &mut far] {
            let heard = next(subscription).await;
            assert_eq!((&heard.payload[..], heard.reply.unwrap().as_str()), (number.to_string().as_bytes(), "r.1"));
        }
    }
    assert_eq!(stations[1].live.deliver(&message("news.y", "both".into())), 2);
    assert_eq!(&next(&mut near).await.payload[..], b"both");
    assert_eq!(&next(&mut far).await.payload[..], b"both");
    drop((near, far));
    wanted(&stations[0], "news.x", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_planned_no_more_ends_and_one_that_is_planned_again_comes_back() {
    let stations = chain(&["a", "b"], 1).await;
    let _wants = Subscription::new(Arc::clone(&stations[0].live) as _, &[Pattern::parse("x").unwrap()], 10, 1 << 20);
    wanted(&stations[1], "x", true).await;
    let full = stations[1].body.ask(|node| node.plan().clone());
    let generation = |number| Generation { epoch: 2, number };
    stations[1].body.plan(Plan { generation: generation(1), links: Vec::new(), ..full.clone() }).await;
    wanted(&stations[1], "x", false).await;
    stations[1].body.plan(Plan { generation: generation(2), ..full }).await;
    wanted(&stations[1], "x", true).await;
}

/// A journal in memory, in which what is brought to a station is kept.
fn journal(station: &Station) -> Arc<dyn Journal> {
    let journal: Arc<dyn Journal> = Arc::new(journal::local::Local::new(Arc::new(crate::clock::now)));
    station.body.custody.record_in(Arc::clone(&journal));
    journal
}

async fn append(journal: &Arc<dyn Journal>, number: usize) {
    let (done, receipt) = tokio::sync::oneshot::channel();
    let taken = Box::new(|result| drop(done.send(result)));
    journal.append(Append::new(message("orders.x", number.to_string())), taken);
    receipt.await.unwrap().unwrap();
}

async fn until(so: impl AsyncFn() -> bool) {
    let look = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_in_the_moment_in_which_he_begins_to_listen_is_answered_however_far_away() {
    let stations = chain(&["a", "b", "c"], 1).await;
    let listen = |at: usize, pattern: &str| {
        Subscription::new(Arc::clone(&stations[at].live) as _, &[Pattern::parse(pattern).unwrap()], 10, 1 << 20)
    };
    let mut questions = listen(2, "ask");
    wanted(&stations[0], "ask", true).await;
    for number in 0..200 {
        let inbox = format!("_INBOX.n{number}.1");
        let mut answers = listen(0, &inbox);
        let reply = Some(Subject::parse(&inbox).unwrap());
        stations[0].live.deliver(&Message { reply, ..message("ask", number.to_string()) });
        let asked = next(&mut questions).await;
        let answer = Message::new(asked.reply.unwrap(), asked.payload);
        assert_eq!(stations[2].live.deliver(&answer), 1, "one copy, whether the interest has come or not");
        assert_eq!(&next(&mut answers).await.payload[..], number.to_string().as_bytes());
    }
}
