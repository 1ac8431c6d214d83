//! Streams that are kept in other domains: once each, in order, without a gap, where it is let in, and nowhere else.

use std::collections::BTreeMap;
use std::env;
use std::net::TcpListener as Listener;
use std::process::{Child, Command, Stdio};

use ::mesh::acl::{AclRule, Who};
use journal::{Discard, StreamInfo};
use journal_jetstream::{JetStream, Options};
use serde_json::{Value, json};

use super::super::copies::SOURCE_HEADER;
use super::*;

/// Domains in a chain, each of one node with a journal of its own; the first has the stream ORDERS.
struct Chain {
    stations: Vec<Station>,
    journals: Vec<Arc<dyn Journal>>,
    generation: u64,
}

fn spec(spec: Value) -> MirrorSpec {
    serde_json::from_value(spec).unwrap()
}

impl Chain {
    async fn new(domains: &[&str]) -> Self {
        let in_memory = || -> Arc<dyn Journal> { Arc::new(journal::local::Local::new(Arc::new(crate::clock::now))) };
        Self::on(domains, domains.iter().map(|_| in_memory()).collect()).await
    }

    async fn on(domains: &[&str], journals: Vec<Arc<dyn Journal>>) -> Self {
        let stations = chain(domains, 1).await;
        for (station, journal) in stations.iter().zip(&journals) {
            station.body.custody.record_in(Arc::clone(journal));
        }
        let chain = Chain { stations, journals, generation: 0 };
        chain.make("ORDERS", "orders.>").await;
        chain
    }

    async fn make(&self, stream: &str, subjects: &str) {
        let config = StreamConfig::new(stream, [Pattern::parse(subjects).unwrap()]);
        self.journals[0].stream_create(config).await.unwrap();
    }

    fn last(&self) -> usize {
        self.stations.len() - 1
    }

    /// What is declared at a node from now on.
    fn declare(&self, at: usize, declared: &[(&str, Value)]) {
        let body = &self.stations[at].body;
        let declared: BTreeMap<_, _> =
            declared.iter().map(|(name, value)| ((*name).to_owned(), spec(value.clone()))).collect();
        body.mirrors.want(body, &self.journals[at], &declared);
    }

    async fn append(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            append(&self.journals[0], number).await;
        }
    }

    async fn copy(&self, stream: &str) -> Option<StreamInfo> {
        self.journals[self.last()].stream_info(stream).await.ok()
    }

    /// Waits until the copy at the end has so many, and holds that they are the first so many of ORDERS.
    async fn has(&self, stream: &str, count: usize) {
        let held = async || self.copy(stream).await.map_or(0, |info| info.state.messages);
        let looked = timeout(LONG * 3, async {
            while held().await < count as u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(looked.await.is_ok(), "{} of {count}: {:#}", held().await, self.rows(0));
        let page = self.journals[self.last()].read(stream, Read::from(1, 5_000)).await.unwrap();
        let payloads: Vec<_> = page.messages.iter().map(|stored| stored.message.payload.clone()).collect();
        assert_eq!(payloads.len(), count);
        for (number, stored) in page.messages.iter().enumerate() {
            assert_eq!(&stored.message.payload[..], number.to_string().as_bytes());
            assert_eq!(stored.message.subject.as_str(), "orders.x");
            let source = format!("a/ORDERS/{}", number + 1);
            assert_eq!(stored.message.headers.get(SOURCE_HEADER), Some(source.as_str()));
        }
    }

    fn rows(&self, at: usize) -> Value {
        self.stations[at].body.mirrors.rows()
    }

    /// Waits until a mirror says why it does not get on, in words that hold all of these.
    async fn says(&self, at: usize, name: &str, words: &[&str]) {
        let why = || {
            let rows = self.rows(at);
            let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
            row.and_then(|row| Some(row["why"].as_str()?.to_owned())).unwrap_or_default()
        };
        let said = timeout(LONG, async {
            while !words.iter().all(|word| why().contains(word)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(said.await.is_ok(), "{words:?} {:#}", self.rows(at));
    }

    /// Cuts the links of a node and restores them; `between` is done while they are cut.
    async fn cut(&mut self, at: usize, between: impl AsyncFnOnce(&Chain)) {
        let full = self.stations[at].body.ask(|node| node.plan().clone());
        self.generation += 2;
        let generation = |number| Generation { epoch: 9, number };
        let (cut, healed) = (generation(self.generation), generation(self.generation + 1));
        self.stations[at].body.plan(Plan { generation: cut, links: Vec::new(), ..full.clone() }).await;
        between(self).await;
        self.stations[at].body.plan(Plan { generation: healed, ..full }).await;
    }
}

fn pushed() -> (&'static str, Value) {
    ("copy", json!({"stream": "ORDERS", "to": ["c"], "as": "COPY"}))
}

fn accepted() -> (&'static str, Value) {
    ("let in", json!({"stream": "COPY", "accept": ["a"]}))
}

fn pulled() -> (&'static str, Value) {
    ("fetch", json!({"stream": "ORDERS", "from": "a/1", "as": "COPY"}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_kept_two_domains_away_once_each_and_in_order_while_links_come_and_go() {
    for pulls in [false, true] {
        let mut mesh = Chain::new(&["a", "b", "c"]).await;
        if pulls {
            mesh.declare(2, &[pulled()]);
        } else {
            mesh.declare(0, &[pushed()]);
            mesh.declare(2, &[accepted()]);
        }
        mesh.append(0..1_500).await;
        mesh.has("COPY", 1_500).await;
        for round in 0..2 {
            mesh.cut(1, async |mesh| mesh.append(1_500 + round * 20..1_520 + round * 20).await).await;
        }
        mesh.has("COPY", 1_540).await;
        let at = if pulls { 2 } else { 0 };
        until(async || mesh.rows(at)[0]["owed"] == 0 && mesh.rows(at)[0]["state"] == "keeping").await;
        let row = &mesh.rows(at)[0];
        assert_eq!((&row["confirmed"], &row["as"]), (&1_540.into(), &"COPY".into()));
        until(async || mesh.rows(0)[0]["confirmed"] == 1_540).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_that_nobody_lets_in_and_nothing_is_remembered_of_it() {
    let mesh = Chain::new(&["a", "b", "c"]).await;
    let far = &mesh.journals[2];
    far.stream_create(StreamConfig::new("TAKEN", [Pattern::parse("other.>").unwrap()])).await.unwrap();
    mesh.append(0..1).await;
    let to = |there: &str| json!({"stream": "ORDERS", "to": ["c"], "as": there});
    let names: Vec<String> = (0..300).map(|number| format!("FREE_{number}")).collect();
    let mut declared: Vec<_> = names.iter().map(|name| (name.as_str(), to(name))).collect();
    declared.extend([("taken", to("TAKEN")), ("own", to("TIDINGS_MESH")), pushed()]);
    mesh.declare(2, &[accepted(), ("other", json!({"stream": "TAKEN", "accept": ["a/1"]}))]);
    mesh.declare(0, &declared);
    mesh.has("COPY", 1).await;
    mesh.says(0, "FREE_7", &["nobody at c/1 accepts it", "stream: FREE_7", "accept: [a]"]).await;
    mesh.says(0, "taken", &["is there already"]).await;
    mesh.says(0, "own", &["streams that nodes make for themselves"]).await;
    let streams: Vec<String> = far.streams().await.into_iter().map(|info| info.config.name).collect();
    assert_eq!(streams, ["COPY", "TAKEN", "TIDINGS_MESH"], "the last says how far COPY came");
    assert_eq!(far.stream_info("TAKEN").await.unwrap().state.messages, 0, "what is for others is not written to");
    // Who lets anything in lets in so much and no more.
    mesh.declare(2, &[("all", json!({"stream": "*", "accept": ["*"], "bytesMax": 5_000, "ageMax": "1h"}))]);
    let count = async || far.streams().await.len();
    until(async || count().await == 2 + 256).await;
    until(async || mesh.rows(0).to_string().contains("256 streams are kept here for the domain a")).await;
    let own = far.read("TIDINGS_MESH", Read::from(1, 5_000)).await.unwrap().messages;
    assert!(own.iter().all(|stored| stored.message.subject.as_str().starts_with("tidings.mesh.copy.")));
    let free = far.streams().await.into_iter().find(|info| info.config.name.starts_with("FREE")).unwrap().config;
    assert_eq!((free.bytes_max, free.age_max), (Some(5_000), Some(Duration::from_hours(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_made_anew_is_another() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..20).await;
    mesh.has("COPY", 20).await;
    mesh.journals[0].stream_delete("ORDERS").await.unwrap();
    mesh.make("ORDERS", "orders.>").await;
    mesh.append(0..5).await;
    mesh.says(0, "copy", &["'a/ORDERS' is not the stream that 'COPY' was begun with", "Delete 'COPY'"]).await;
    mesh.has("COPY", 20).await;
    mesh.journals[1].stream_delete("COPY").await.unwrap();
    mesh.has("COPY", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_lost_is_made_again_from_what_there_is_and_one_that_was_emptied_goes_on() {
    let mut mesh = Chain::new(&["a", "b", "c"]).await;
    mesh.declare(2, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..200).await;
    mesh.has("COPY", 200).await;
    mesh.cut(1, async |mesh| mesh.journals[2].stream_delete("COPY").await.unwrap()).await;
    mesh.append(200..210).await;
    mesh.has("COPY", 210).await;
    until(async || mesh.rows(0)[0]["owed"] == 0).await;
    let emptied = async |mesh: &Chain| mesh.journals[2].purge("COPY", journal::Purge::default()).await.unwrap();
    mesh.cut(1, async |mesh| assert_eq!(emptied(mesh).await, 210)).await;
    // It is read anew, as after a restart.
    mesh.declare(2, &[accepted(), ("more", json!({"stream": "MORE", "accept": ["a"]}))]);
    mesh.append(210..215).await;
    until(async || mesh.copy("COPY").await.unwrap().state.messages == 5).await;
    let stored = mesh.journals[2].last("COPY", &Pattern::all()).await.unwrap();
    assert_eq!((stored.seq, &stored.message.payload[..]), (215, &b"214"[..]));
}

/// Puts a number into a stream with a header that says where it is from.
async fn put_from(journal: &Arc<dyn Journal>, into: Option<&str>, number: usize, source: &str) {
    let subject = Subject::parse("orders.x").unwrap();
    let headers = event::Headers::EMPTY.with(SOURCE_HEADER, source).unwrap();
    let message = Message { headers, ..Message::new(subject, Bytes::from(number.to_string())) };
    let (done, receipt) = tokio::sync::oneshot::channel();
    let append = Append { into: into.map(str::to_owned), ..Append::new(message) };
    journal.append(append, Box::new(|result| drop(done.send(result))));
    receipt.await.unwrap().unwrap();
}

/// Declares what is let in and one more, so that the copies there are read anew, as after a restart.
fn anew(mesh: &Chain, at: usize) {
    mesh.declare(at, &[accepted(), ("more", json!({"stream": "MORE", "accept": ["a"]}))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_message_is_from_is_not_what_its_publisher_says() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..10).await;
    put_from(&mesh.journals[0], None, 10, &format!("a/ORDERS/{}", u64::MAX)).await;
    mesh.has("COPY", 11).await;
    anew(&mesh, 1);
    mesh.append(11..21).await;
    mesh.has("COPY", 21).await;
    let last = mesh.journals[1].read("COPY", Read::from(11, 1)).await.unwrap().messages.remove(0);
    let sources = last.message.headers.iter().filter(|(name, _)| *name == SOURCE_HEADER).count();
    assert_eq!(sources, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_there_does_not_come_again_although_its_sender_is_another() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..100).await;
    mesh.has("COPY", 100).await;
    until(async || mesh.rows(0)[0]["owed"] == 0).await;
    mesh.declare(0, &[]);
    until(async || mesh.journals[0].consumers("ORDERS").await.unwrap().is_empty()).await;
    mesh.journals[1].purge("COPY", journal::Purge::default()).await.unwrap();
    anew(&mesh, 1);
    mesh.append(100..105).await;
    mesh.declare(0, &[pushed()]);
    until(async || mesh.rows(0)[0]["confirmed"] == 105 && mesh.rows(0)[0]["owed"] == 0).await;
    let page = mesh.journals[1].read("COPY", Read::from(1, 5_000)).await.unwrap().messages;
    let held: Vec<_> = page.iter().map(|stored| String::from_utf8(stored.message.payload.to_vec()).unwrap()).collect();
    assert_eq!(held, ["100", "101", "102", "103", "104"]);
    // One that is made anew has all, whatever is marked of the one before.
    mesh.journals[1].stream_delete("COPY").await.unwrap();
    mesh.declare(1, &[accepted()]);
    mesh.append(105..110).await;
    mesh.has("COPY", 110).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_copy_goes_on() {
    let mesh = Chain::new(&["a", "b", "c"]).await;
    let accept = |stream: &str, of: &str| json!({"stream": stream, "accept": [of]});
    let onward = ("onward", json!({"stream": "COPY", "to": ["c"], "as": "SECOND"}));
    mesh.declare(2, &[("second", accept("SECOND", "b"))]);
    mesh.declare(1, &[accepted(), onward]);
    mesh.declare(0, &[("copy", json!({"stream": "ORDERS", "to": ["b"], "as": "COPY"}))]);
    let second = async |count: u64| {
        until(async || mesh.copy("SECOND").await.is_some_and(|info| info.state.messages >= count)).await;
        let page = mesh.journals[2].read("SECOND", Read::from(1, 100)).await.unwrap();
        assert_eq!(page.messages.len() as u64, count);
        for (number, stored) in page.messages.iter().enumerate() {
            assert_eq!(&stored.message.payload[..], number.to_string().as_bytes());
            let source = format!("b/COPY/{}", number + 1);
            assert_eq!(stored.message.headers.get(SOURCE_HEADER), Some(source.as_str()));
        }
    };
    mesh.append(0..10).await;
    second(10).await;
    mesh.declare(2, &[("second", accept("SECOND", "b")), ("more", accept("MORE", "b"))]);
    mesh.append(10..20).await;
    second(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_to_have_more_than_there_is_is_told_and_nothing_is_let_go_of() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..10).await;
    mesh.has("COPY", 10).await;
    put_from(&mesh.journals[1], Some("COPY"), 10, "a/ORDERS/1000").await;
    anew(&mesh, 1);
    mesh.append(10..20).await;
    mesh.says(0, "copy", &["has 'ORDERS' up to 1000", "ends here at 20", "Delete 'COPY'"]).await;
    assert_eq!(mesh.rows(0)[0]["confirmed"], 10);
    mesh.journals[1].stream_delete("COPY").await.unwrap();
    anew(&mesh, 1);
    mesh.declare(1, &[accepted()]);
    mesh.has("COPY", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_emptied_while_much_is_on_its_way_takes_none_of_it_from_its_middle() {
    let mesh = Chain::new(&["a", "b", "c"]).await;
    mesh.declare(2, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..10).await;
    mesh.has("COPY", 10).await;
    let far = &mesh.journals[2];
    let mut numbers: Vec<usize> = Vec::new();
    for round in 0..20 {
        mesh.append(10 + round * 200..210 + round * 200).await;
        // What is there now is read, then deleted; what comes between the two is read by its position later.
        let last = mesh.copy("COPY").await.unwrap().state.last;
        let page = far.read("COPY", Read::from(1, 5_000)).await.unwrap().messages;
        let read = page.iter().filter(|stored| stored.seq <= last);
        numbers
            .extend(read.map(|stored| std::str::from_utf8(&stored.message.payload).unwrap().parse::<usize>().unwrap()));
        let purge = journal::Purge { before: Some(last + 1), ..journal::Purge::default() };
        far.purge("COPY", purge).await.unwrap();
        // Nothing else is left to tell how far it came.
        far.purge("TIDINGS_MESH", journal::Purge::default()).await.unwrap();
        mesh.declare(2, &[accepted()]);
        anew(&mesh, 2);
    }
    until(async || mesh.rows(0)[0]["owed"] == 0 && mesh.rows(0)[0]["confirmed"] == 4_010).await;
    let page = far.read("COPY", Read::from(1, 5_000)).await.unwrap().messages;
    numbers.extend(
        page.iter().map(|stored| std::str::from_utf8(&stored.message.payload).unwrap().parse::<usize>().unwrap()),
    );
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..4_010).collect::<Vec<_>>(), "none is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_sender_that_ended_nothing_is_left() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.append(0..1).await;
    mesh.declare(1, &[("all", json!({"stream": "*", "accept": ["a"]}))]);
    let names: Vec<String> = (0..30).map(|number| format!("C{number}")).collect();
    let to = |name: &String| json!({"stream": "ORDERS", "to": ["c"], "as": name});
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), to(name))).collect();
    let senders = || mesh.stations[0].body.custody.senders();
    mesh.declare(0, &all);
    until(async || senders() == 30).await;
    mesh.declare(0, &[]);
    until(async || senders() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_recorded_is_not_confirmed_and_comes_again_without_a_gap() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..10).await;
    mesh.has("COPY", 10).await;
    let limit = async |most: Option<u64>| {
        let mut config = mesh.copy("COPY").await.unwrap().config;
        (config.messages_max, config.discard) = (most, if most.is_some() { Discard::New } else { Discard::Old });
        mesh.journals[1].stream_update(config).await.unwrap();
    };
    limit(Some(100)).await;
    mesh.append(10..700).await;
    mesh.says(0, "copy", &["messages_max"]).await;
    mesh.has("COPY", 100).await;
    assert_eq!(mesh.rows(0)[0]["confirmed"], 100);
    limit(None).await;
    mesh.has("COPY", 700).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_that_share_an_engine_record_each_message_once() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    mesh.append(0..10).await;
    mesh.has("COPY", 10).await;
    // As another gateway would that the messages came to meanwhile: this one does not know of it.
    for number in 10..13 {
        let subject = Subject::parse("orders.x").unwrap();
        let headers = event::Headers::EMPTY.with(SOURCE_HEADER, &format!("a/ORDERS/{}", number + 1)).unwrap();
        let message = Message { headers, ..Message::new(subject, Bytes::from(number.to_string())) };
        let (done, receipt) = tokio::sync::oneshot::channel();
        let append = Append { into: Some("COPY".into()), ..Append::new(message) };
        mesh.journals[1].append(append, Box::new(|result| drop(done.send(result))));
        receipt.await.unwrap().unwrap();
    }
    mesh.append(10..40).await;
    mesh.has("COPY", 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_names_holds_at_both_ends_and_is_told_by_name() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.append(0..3).await;
    let rule = |subscribe: &[&str]| AclRule {
        name: "secret".into(),
        subjects: vec![Pattern::parse("orders.>").unwrap()],
        publish: None,
        subscribe: Some(subscribe.iter().map(|who| Who::parse(who).unwrap()).collect()),
    };
    let rules = async |at: usize, number: u64, acl: Vec<AclRule>| {
        let plan = mesh.stations[at].body.ask(|node| node.plan().clone());
        let generation = Generation { epoch: 5, number };
        mesh.stations[at].body.plan(Plan { generation, acl: acl.into(), ..plan }).await;
    };
    // The receiver's own rule, which the sender does not know yet.
    rules(1, 1, vec![rule(&["domain:a"])]).await;
    mesh.declare(1, &[accepted()]);
    mesh.declare(0, &[pushed()]);
    let told = ["NameAcl/secret does not let the domain c subscribe to orders"];
    mesh.says(0, "copy", &told).await;
    mesh.says(0, "copy", &["c takes nothing"]).await;
    assert!(mesh.copy("COPY").await.is_none());
    rules(1, 2, Vec::new()).await;
    mesh.has("COPY", 3).await;
    // The source's: who asks is told.
    rules(0, 1, vec![rule(&["domain:a"])]).await;
    mesh.declare(0, &[]);
    mesh.declare(1, &[("fetch", json!({"stream": "ORDERS", "from": "a", "as": "FETCHED"}))]);
    mesh.says(1, "fetch", &["a/1 does not give it", told[0]]).await;
    rules(0, 2, vec![rule(&["domain:a", "domain:c"])]).await;
    mesh.has("FETCHED", 3).await;
    mesh.declare(1, &[("fetch", json!({"stream": "NONE", "from": "a/1"}))]);
    mesh.says(1, "fetch", &["there is no stream 'NONE' at a/1"]).await;
    mesh.declare(1, &[("fetch", json!({"stream": "TIDINGS", "from": "a", "as": "T"}))]);
    mesh.says(1, "fetch", &["'TIDINGS' is a stream of the node itself"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_anew_counts_and_nothing_is_left_of_what_is_declared_no_more() {
    let mesh = Chain::new(&["a", "c"]).await;
    mesh.make("MIXED", "mixed.>").await;
    let put = async |subject: &str| {
        let (done, receipt) = tokio::sync::oneshot::channel();
        let append = Append::new(message(subject, subject.to_owned()));
        mesh.journals[0].append(append, Box::new(|result| drop(done.send(result))));
        receipt.await.unwrap().unwrap();
    };
    let only = |filter: &str| ("mixed", json!({"stream": "MIXED", "to": ["*"], "filters": [filter]}));
    mesh.declare(1, &[("let in", json!({"stream": "MIXED", "accept": ["a"]}))]);
    mesh.declare(0, &[only("mixed.a")]);
    put("mixed.a").await;
    put("mixed.b").await;
    let held = async |count: u64| {
        until(async || mesh.copy("MIXED").await.is_some_and(|info| info.state.messages == count)).await
    };
    held(1).await;
    until(async || mesh.rows(0)[0]["owed"] == 0).await;
    mesh.declare(0, &[only("mixed.b")]);
    put("mixed.a").await;
    put("mixed.b").await;
    until(async || {
        let last = mesh.journals[1].last("MIXED", &Pattern::all()).await.unwrap();
        last.message.headers.get(SOURCE_HEADER) == Some("a/MIXED/4")
    })
    .await;
    let page = mesh.journals[1].read("MIXED", Read::from(1, 10)).await.unwrap();
    let subjects: Vec<_> = page.messages.iter().map(|stored| stored.message.subject.as_str()).collect();
    assert!(subjects == ["mixed.a", "mixed.b", "mixed.b"] || subjects == ["mixed.a", "mixed.b"], "{subjects:?}");
    let consumers = async || mesh.journals[0].consumers("MIXED").await.unwrap();
    assert_eq!(consumers().await.len(), 1);
    mesh.declare(0, &[]);
    until(async || consumers().await.is_empty()).await;
    assert_eq!(mesh.rows(0), json!([]));
    // Of one that was asked for it goes a day after it was last asked for.
    mesh.declare(1, &[("fetch", json!({"stream": "MIXED", "from": "a", "as": "FETCHED"}))]);
    until(async || consumers().await.len() == 1).await;
    assert_eq!(consumers().await[0].config.inactive, Some(Duration::from_hours(24)));
    let names: Vec<_> = (0..70).map(|number| format!("fetch-{number}")).collect();
    let from = |name: &str| json!({"stream": "MIXED", "from": "a", "as": name});
    mesh.declare(1, &names.iter().map(|name| (name.as_str(), from(name))).collect::<Vec<_>>());
    until(async || mesh.rows(1).to_string().contains("has asked for 'MIXED' 64 times already")).await;
    until(async || consumers().await.len() == 64).await;
    mesh.declare(1, &[("fetch", json!({"stream": "MIXED", "from": "a", "as": "FETCHED"}))]);
    until(async || mesh.rows(0)[0]["to"] == "c/1" && mesh.rows(0)[0]["name"] == "(c/1 asks) fetch").await;
}

/// A NATS server of its own, which ends with this.
struct Nats {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

impl Nats {
    /// `None`: there is no server's binary here, which `TIDINGS_NATS_SERVER` or the path would name.
    fn start() -> Option<Self> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let found = || env::split_paths(&paths).map(|path| path.join("nats-server")).find(|path| path.is_file());
        let binary = env::var_os("TIDINGS_NATS_SERVER").map(Into::into).or_else(found)?;
        let (folder, port) =
            (tempfile::tempdir().unwrap(), Listener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let mut command = Command::new(binary);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.port().to_string(), "-sd"]).arg(folder.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Nats { process, address: format!("nats://{port}"), _folder: folder })
    }

    async fn journal(&self) -> Arc<dyn Journal> {
        let connected = async {
            loop {
                match JetStream::connect(Options::new(self.address.parse().unwrap())).await {
                    Ok(journal) => return journal,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        Arc::new(timeout(LONG, connected).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_nats_servers_are_brought_and_fetched_and_go_nowhere_but_into_their_copies() {
    let (Some(one), Some(two)) = (Nats::start(), Nats::start()) else {
        return eprintln!("not told: there is no nats-server");
    };
    let journals = vec![one.journal().await, two.journal().await];
    let mesh = Chain::on(&["a", "c"], journals).await;
    // A stream of the receiver's that captures the same: it gets nothing of it.
    let own = StreamConfig::new("OWN", [Pattern::parse("orders.>").unwrap()]);
    mesh.journals[1].stream_create(own).await.unwrap();
    mesh.declare(1, &[accepted(), ("fetch", json!({"stream": "ORDERS", "from": "a/1", "as": "FETCHED"}))]);
    mesh.declare(0, &[("copy", json!({"stream": "ORDERS", "to": ["c"], "as": "COPY"}))]);
    mesh.append(0..300).await;
    mesh.has("COPY", 300).await;
    mesh.has("FETCHED", 300).await;
    assert_eq!(mesh.journals[1].stream_info("OWN").await.unwrap().state.messages, 0);
    // What the far side lost comes again, and the way goes on.
    mesh.journals[1].stream_delete("COPY").await.unwrap();
    mesh.append(300..310).await;
    mesh.has("COPY", 310).await;
    mesh.has("FETCHED", 310).await;
    // Nodes that share the engine: another one, which asks and sends as this one does, doubles nothing.
    let why = |row: &Value| row["why"].as_str().is_some_and(|why| why.contains("shares its engine"));
    let second = station("a/2").await;
    second.body.custody.record_in(Arc::clone(&mesh.journals[0]));
    let spec = spec(json!({"stream": "ORDERS", "to": ["c"], "as": "COPY"}));
    second.body.mirrors.want(&second.body, &mesh.journals[0], &[("copy".to_owned(), spec)].into());
    until(async || why(&second.body.mirrors.rows()[0])).await;
}
