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

fn mirror(station: &Station, journal: &Arc<dyn Journal>, stream: &str, to: &str, there: &str) {
    let spec: MirrorSpec = serde_json::from_value(json!({"stream": stream, "to": [to], "as": there})).unwrap();
    Arc::clone(&station.body.mirrors).want(&station.body, journal, &[("copy".to_owned(), spec)].into());
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
        mirror(&world.b, &at_b, "BILLS", "hub", "FROM_B");
        mirror(&world.hub, &at_hub, "ORDERS", "b", "FROM_HUB");
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
        let (mirror, stream, previous) = ("copy", "BILLS", position - 1);
        let (envelope, more) = (envelope.encode(), Head::default());
        let head = Head { envelope: &envelope, run: 1, position, previous, mirror, stream, into, ..more }.encode();
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
    for into in ["ORDERS", "FROM_B", "no stream"] {
        let told = async || {
            // The first has the stream looked at.
            keeping.keep(&own, 1, into, "orders.x");
            let words = std::mem::take(&mut *keeping.rogue.heard.words.lock());
            assert!(!words.contains(&What::Confirmed), "{into}: {words:?}");
            words.iter().any(|word| matches!(word, What::Refused(_)))
        };
        until(told).await;
    }
    keeping.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rogue_says_is_kept_counts_for_its_own_alone() {
    let mut keeping = Keeping::new().await;
    for run in 0..64 {
        for (position, what) in [(1, What::Confirmed), (u64::MAX, What::Confirmed), (0, What::Refused("no".into()))] {
            for (origin, to) in [("hub/h1", "b"), ("hub/h1", "a"), ("b/b1", "hub"), ("b/b1", "b")] {
                let (origin, mirror, to) = (origin.to_owned(), "copy".to_owned(), to.to_owned());
                let word = KeptWord { origin, mirror, to, run, position, what: what.clone() };
                assert!(keeping.rogue.out.kept(&word.encode()));
            }
        }
    }
    keeping.goes_on().await;
}
