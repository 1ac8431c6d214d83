//! Streams that are kept elsewhere: what a rogue brings into them, and what it says of how far they came.

use super::*;

/// Messages of each stream at the end.
const MESSAGES: usize = 50;

/// `hub` keeps its orders at `b` too, and `b` its bills at `hub`.
struct Keeping {
    world: World,
    rogue: Rogue,
    at_hub: Arc<dyn Journal>,
    at_b: Arc<dyn Journal>,
}

/// A stream goes to another domain; from that one comes another, and the rogue's may come.
fn mirror(station: &Station, journal: &Arc<dyn Journal>, stream: &str, to: &str, there: &str, back: &str) {
    let push = json!({"stream": stream, "to": [to], "as": there});
    let let_in = |stream: &str, from: &str| json!({"stream": stream, "accept": [from]});
    let declared = [("copy", push), ("let in", let_in(back, to)), ("also", let_in("FROM_A", "a"))];
    let declared = declared.map(|(name, spec)| (name.to_owned(), serde_json::from_value::<MirrorSpec>(spec).unwrap()));
    Arc::clone(&station.body.mirrors).want(&station.body, journal, &declared.into());
}

async fn held(journal: &Arc<dyn Journal>, stream: &str) -> u64 {
    journal.stream_info(stream).await.map_or(0, |info| info.state.messages)
}

impl Keeping {
    async fn new() -> Self {
        let world = World::new().await;
        let (at_hub, at_b) = (journal(&world.hub), journal(&world.b));
        for (journal, stream) in [(&at_hub, "ORDERS"), (&at_b, "BILLS")] {
            let config = StreamConfig::new(stream, [Pattern::parse("orders.>").unwrap()]);
            journal.stream_create(config).await.unwrap();
            append(journal, 0).await;
        }
        mirror(&world.b, &at_b, "BILLS", "hub", "FROM_B", "FROM_HUB");
        mirror(&world.hub, &at_hub, "ORDERS", "b", "FROM_HUB", "FROM_B");
        let rogue = Rogue::new(&world).await;
        let keeping = Keeping { world, rogue, at_hub, at_b };
        keeping.holds(1).await;
        keeping
    }

    /// Waits until both streams are kept at the other, so many messages of each.
    async fn holds(&self, messages: u64) {
        let (at_hub, at_b) = (&self.at_hub, &self.at_b);
        until(async || held(at_hub, "FROM_B").await == messages && held(at_b, "FROM_HUB").await == messages).await;
    }

    /// The rogue brings a message to be kept.
    fn keep(&self, envelope: &Envelope, position: u64, into: &str, subject: &str) {
        let (flow, stream, previous, node, run, born) = ("push/copy", "BILLS", position - 1, "", 1, 7);
        let envelope = &envelope.encode();
        let floor = previous;
        let head = Head { envelope, node, flow, stream, into, run, born, floor, position, previous }.encode();
        let out = &self.rogue.out;
        assert_ne!(out.keep(&Letter { head: &head, subject, payload: b"rogue", ..Letter::default() }), Put::No);
        out.flush();
    }

    /// More is recorded; both are kept at the other, each message once and in order, and nothing else is.
    async fn goes_on(&mut self) {
        self.world.lives(&self.rogue, &["orders.x"]).await;
        for number in 1..MESSAGES {
            append(&self.at_hub, number).await;
            append(&self.at_b, number).await;
        }
        self.holds(MESSAGES as u64).await;
        assert_eq!(held(&self.at_hub, "ORDERS").await, MESSAGES as u64);
        for (journal, stream) in [(&self.at_hub, "FROM_B"), (&self.at_b, "FROM_HUB")] {
            let page = journal.read(stream, Read::from(1, 2 * MESSAGES)).await.unwrap();
            let payloads: Vec<_> = page.messages.iter().map(|stored| stored.message.payload.clone()).collect();
            assert!(payloads.iter().zip(0..).all(|(payload, number)| **payload == *number.to_string().as_bytes()));
        }
        self.world.lives(&self.rogue, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rogue_has_kept_goes_into_no_stream_of_others() {
    let mut keeping = Keeping::new().await;
    let (world, own) = (&keeping.world, keeping.rogue.envelope());
    let as_b = Envelope { origin: NodeId::parse("b/b1").unwrap(), ..own.clone() };
    for (envelope, why) in [
        (Envelope { to: vec![(name("b"), Deliver::direct())], ..own.clone() }, Refusal::DestinationSegment),
        (Envelope { segment: Some(name("customer-b")), ..as_b.clone() }, Refusal::LinkSegment),
        (as_b, Refusal::OriginSegment),
        (Envelope { origin: NodeId::parse("hub/h1").unwrap(), ..own.clone() }, Refusal::Path),
        (Envelope { here: Deliver::direct(), ..own.clone() }, Refusal::Shape),
    ] {
        let before = world.refused(why);
        keeping.keep(&envelope, 2, "FROM_B", "orders.x");
        until(async || world.refused(why) > before).await;
    }
    let before = world.refused(Refusal::PublishRule);
    keeping.keep(&own, 2, "FROM_B", "closed.x");
    until(async || world.refused(Refusal::PublishRule) > before).await;
    let before = world.refused(Refusal::Shape);
    keeping.rogue.out.keep(&Letter { head: b"made up", subject: "orders.x", ..Letter::default() });
    keeping.rogue.out.flush();
    until(async || world.refused(Refusal::Shape) > before).await;
    for into in ["ORDERS", "FROM_B", "TIDINGS", "FREE", "no stream", "FROM_A"] {
        let told = async || {
            // The first has the stream looked at, or made.
            keeping.keep(&own, 1, into, "orders.x");
            let words = std::mem::take(&mut *keeping.rogue.heard.words.lock());
            let confirmed = words.iter().any(|word| matches!(word, What::Confirmed(_)));
            assert!(!confirmed || into == "FROM_A", "{into}: {words:?}");
            // What was said of the stream before may come late.
            if into == "FROM_A" { confirmed } else { words.iter().any(|word| matches!(word, What::Refused(_))) }
        };
        until(told).await;
    }
    assert_eq!((held(&keeping.at_hub, "FROM_A").await, held(&keeping.at_hub, "FREE").await), (1, 0));
    keeping.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rogue_says_is_kept_counts_for_its_own_alone() {
    let mut keeping = Keeping::new().await;
    for run in 0..64 {
        for what in [
            What::Confirmed(1),
            What::Confirmed(u64::MAX),
            What::Again(Some(u64::MAX)),
            What::Refused("no".into()),
            What::Serving(0),
            What::Denied("no".into()),
        ] {
            for origin in ["a/a1", "hub/h1", "b/b1"] {
                let envelope = Envelope { origin: NodeId::parse(origin).unwrap(), ..keeping.rogue.envelope() };
                let (envelope, node, flow) = (envelope.encode(), String::new(), "push/copy".to_owned());
                let word = KeptWord { envelope, node, flow, run, what: what.clone() };
                assert!(keeping.rogue.out.kept(&word.encode()));
            }
        }
    }
    keeping.goes_on().await;
}
