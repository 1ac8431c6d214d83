//! Much at a time: links that flap, wishes without number, long names, and what does not speak the protocol at all.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;

/// Messages that `b` says and `hub` hears meanwhile.
const MEANWHILE: usize = 200;

impl World {
    /// `b` talks to `hub` meanwhile, which hears each once and in order.
    async fn meanwhile(&mut self, rogue: impl AsyncFn(&World, usize)) {
        for number in 0..MEANWHILE {
            rogue(self, number).await;
            self.b.live.deliver(&message("meanwhile", number.to_string()));
            for heard in [&mut self.heard_hub, &mut self.heard_b] {
                assert_eq!(next(heard).await.payload, number.to_string().as_bytes());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_and_channels_that_flap_hold_up_nobody() {
    let mut world = World::new().await;
    let mut rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let (link, key) = (rogue.link.clone(), world.secrets["a"].clone());
    let flap = async |world: &World, number: usize| {
        if number.is_multiple_of(2) {
            let opened = dial(&world.hub.address, hello(&link, "a/a1", "hub"), &LinkKey::new(link.key), b"a/a1").await;
            drop(opened.unwrap().start());
        } else {
            drop(registered(world, "a/a1", &key, &register()).await);
        }
    };
    world.meanwhile(flap).await;
    let strange = async |world: &World, number: usize| {
        let mut socket = TcpStream::connect(&world.hub.address).await.unwrap();
        let said: &[u8] = match number % 5 {
            0 => b"GET / HTTP/1.1\r\n\r\n",
            1 => b"TDNL\x01\x01\xff\xff",
            2 => b"TDNL\x01\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x30",
            3 => b"TDNL\x02\x01\x00\x00",
            _ => &[0xff; 512],
        };
        // It may have closed already.
        let _closed = socket.write_all(said).await;
    };
    world.meanwhile(strange).await;
    let newest = Generation { epoch: u64::MAX, number: u64::MAX };
    let later = Word::register(&Endpoints::default(), newest, Vec::new());
    let depose = async |world: &World, _| drop(registered(world, "a/a1", &key, &later).await);
    depose(&world, 0).await;
    let (control, talk) = registered(&world, "a/a1", &key, &register()).await;
    (rogue.control, rogue._talk) = (control, talk);
    rogue.again(&world).await;
    world.lives(&rogue, &["x"]).await;
    assert_eq!(world.governor.view().await.unwrap().status.epoch, Some(7), "it leads as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_wishes_holds_up_nobody_and_goes_as_it_came() {
    let mut world = World::new().await;
    let rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let of_a = |world: &World| {
        let sources = world.hub.body.ask(mesh::node::Node::sources);
        sources.iter().find(|known| known.source == domain("a", "customer-a")).map_or(0, |known| known.wishes)
    };
    let before = of_a(&world);
    let plain = |number: usize| (0..100).map(|each| format!("storm.{number}.{each}")).collect::<Vec<_>>();
    let deep = |number: usize| {
        let token = |place: usize| if (number >> (place % 8)) & 1 == 0 { "*".to_owned() } else { format!("{place}") };
        vec![(0..60).map(token).collect::<Vec<_>>().join(".") + &format!(".{number}")]
    };
    let long = |number: usize| vec![format!("{number}.{}", "x".repeat(1_000))];
    let storm = async |_: &World, number: usize| {
        for patterns in [plain(number), deep(number), long(number)] {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            rogue.wants(&rogue.own(), &patterns);
        }
        rogue.note(&Note::Ask(vec![domain("hub", "customer-a")]));
    };
    world.meanwhile(storm).await;
    until(async || of_a(&world) == before + 102 * MEANWHILE as u64).await;
    rogue.heard.notes.lock().clear();
    world.lives(&rogue, &["x"]).await;
    rogue.note(&Note::Gone(vec![rogue.own()]));
    until(async || of_a(&world) == 0).await;
    rogue.wants(&rogue.own(), &["fence.>"]);
    world.lives(&rogue, &["storm.1.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_without_number_that_are_refused_hold_up_nobody() {
    let mut world = World::new().await;
    let rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let to_b = Envelope { to: vec![(name("b"), Deliver::direct())], ..rogue.envelope() }.encode();
    let before = (world.refused(Refusal::DestinationSegment), world.refused(Refusal::Shape));
    let flood = async |_: &World, number: usize| {
        for each in 0..20 {
            let subject = format!("flood.{number}.{each}");
            rogue.send(&Letter { head: &to_b, subject: &subject, payload: &[0; 1_000], ..Letter::default() });
        }
        // All of it fits into what waits for the rogue's own link at the most.
        let head = vec![u8::try_from(number % 256).unwrap(); 10_000];
        rogue.send(&Letter { head: &head, subject: "flood", ..Letter::default() });
    };
    world.meanwhile(flood).await;
    let all = MEANWHILE as u64;
    until(async || world.refused(Refusal::DestinationSegment) == before.0 + 20 * all).await;
    until(async || world.refused(Refusal::Shape) == before.1 + all).await;
    world.lives(&rogue, &["x"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_without_end_to_the_controller_hold_up_nobody() {
    let mut world = World::new().await;
    let mut rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let link = rogue.link.id.to_string();
    let up = Link { link: link.clone(), peer: "hub/h1".to_owned(), dialled: Some("127.0.0.1:1".to_owned()) };
    let control = Arc::clone(&rogue.control);
    let reports = async |_: &World, number: usize| {
        for word in [
            Word::Down { link: link.clone(), why: "x".repeat(10_000) },
            Word::Up { up: up.clone() },
            Word::Links { up: vec![up.clone(); 1_000] },
            Word::Acked { plan: (number as u64, 1), failed: vec![(link.clone(), "made up".to_owned()); 1_000] },
            Word::Told { number: number as u64, answer: Ok(json!({"never": "asked"})) },
        ] {
            control.control(&word.encode());
        }
    };
    world.meanwhile(reports).await;
    let between = world.hub.body.ask(|node| node.plan().links.iter().any(|link| link.domain == name("b")));
    assert!(between, "the others are linked as before");
    (rogue.control, rogue._talk) = registered(&world, "a/a1", &world.secrets["a"], &register()).await;
    rogue.link = planned(&mut rogue._talk).await;
    rogue.again(&world).await;
    world.lives(&rogue, &["x"]).await;
}
