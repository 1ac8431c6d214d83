//! Who gets what: the routing matrix, copies, newlines, opcodes.

use door_hub::Options;

use crate::support::{Served, post, serve, usual};

const EVENT: &str = r#"{"key":"k"}"#;
const POSTED: &str = r#"{"affected-room":{"roomID":"A"}}"#;

/// Sends one event from a source; what a messenger in room A, one in `*`, two hubs and two repeaters get.
async fn check(served: &Served, source: &str, expected: [usize; 4]) {
    let (mut room, mut every) = (served.messenger(&["A"]).await, served.messenger(&["*"]).await);
    let (mut one, mut two) = (served.client("hub").await, served.client("hub").await);
    let (mut first, mut second) = (served.client("repeater").await, served.client("repeater").await);
    for client in [&mut one, &mut two, &mut first, &mut second] {
        client.settle().await;
    }
    if source == "post" {
        assert_eq!(post(served.address, "/event", POSTED).await, (200, "Processing event".into()));
    } else {
        let mut sender = served.client(source).await;
        sender.binary(format!("A\n{EVENT}")).await;
        sender.settle().await;
    }
    let mut counts = [0; 4];
    for (place, client) in
        [(0, &mut room), (1, &mut every), (2, &mut one), (2, &mut two), (3, &mut first), (3, &mut second)]
    {
        let came = client.settled().await;
        let event = if source == "post" { format!("A\n{POSTED}") } else { format!("A\n\n{EVENT}") };
        assert!(came.iter().all(|each| *each == event), "{source}: {came:?}");
        counts[place] += came.len();
    }
    assert_eq!(counts, expected, "from {source}: room, *, hubs, repeaters");
}

#[tokio::test]
async fn an_event_reaches_whom_the_matrix_says() {
    let served = usual().await;
    for (source, expected) in
        [("messenger", [1, 1, 2, 1]), ("post", [1, 1, 2, 1]), ("repeater", [1, 1, 2, 0]), ("hub", [1, 1, 0, 0])]
    {
        check(&served, source, expected).await;
    }
}

#[tokio::test]
async fn in_strict_mode_each_hub_gets_a_repeaters_event_twice() {
    let served = serve(Options { strict_compat: true, ..Options::default() }).await;
    for (source, expected) in [("messenger", [1, 1, 2, 1]), ("repeater", [1, 1, 4, 0]), ("hub", [1, 1, 0, 0])] {
        check(&served, source, expected).await;
    }
}

#[tokio::test]
async fn one_copy_comes_however_often_it_was_asked_for() {
    let served = usual().await;
    let mut both = served.messenger(&["A", "A", "*"]).await;
    both.subscribe(&["A"]).await;
    let mut sender = served.client("messenger").await;
    for room in ["A", "*"] {
        sender.binary(format!("{room}\nx")).await;
        both.hears(&format!("{room}\n\nx")).await;
    }
    both.unsubscribe(&["A"]).await;
    sender.binary("A\ny").await;
    both.hears("A\n\ny").await;
    both.text("{}").await;
    both.settle().await;
    sender.binary("A\nz").await;
    sender.settle().await;
    both.settle().await;
}

#[tokio::test]
async fn in_strict_mode_copies_are_as_many_as_subscriptions() {
    let served = serve(Options { strict_compat: true, ..Options::default() }).await;
    let mut both = served.messenger(&["A", "A", "*"]).await;
    let mut sender = served.client("messenger").await;
    sender.binary("A\nx").await;
    sender.settle().await;
    assert_eq!(both.settled().await.len(), 3);
    both.unsubscribe(&["A"]).await;
    sender.binary("A\nx").await;
    sender.binary("*\nx").await;
    sender.settle().await;
    assert_eq!(both.settled().await, ["A\n\nx", "A\n\nx", "*\n\nx", "*\n\nx"]);
    both.text("{}").await;
    both.settle().await;
    sender.binary("A\nx").await;
    sender.settle().await;
    both.settle().await;
}

#[tokio::test]
async fn who_sends_does_not_hear_itself_unless_it_posts() {
    let served = usual().await;
    let mut one = served.messenger(&["A"]).await;
    one.binary("A\n1").await;
    one.settle().await;
    assert_eq!(post(served.address, "/event", POSTED).await.0, 200);
    one.hears(&format!("A\n{POSTED}")).await;
}

#[tokio::test]
async fn repeaters_take_turns_and_the_second_begins() {
    let served = usual().await;
    let mut first = served.client("repeater").await;
    first.settle().await;
    let mut second = served.client("repeater").await;
    second.settle().await;
    let mut sender = served.client("messenger").await;
    for turn in 0..4 {
        sender.binary(format!("{turn}\n")).await;
    }
    for (client, turns) in [(&mut second, ["0", "2"]), (&mut first, ["1", "3"])] {
        for turn in turns {
            client.hears(&format!("{turn}\n\n")).await;
        }
    }
}

#[tokio::test]
async fn rooms_are_matched_by_their_bytes() {
    let served = usual().await;
    for room in ["ITB-1101", "", "A\r", "a.b", "*x", "Räume ü", " ", "%", "room.>"] {
        let mut here = served.messenger(&[room]).await;
        let mut other = served.messenger(&["other"]).await;
        let mut sender = served.client("messenger").await;
        sender.binary(format!("{room}\nbody\nmore\n")).await;
        here.hears(&format!("{room}\n\nbody\nmore\n")).await;
        other.settle().await;
    }
}

#[tokio::test]
async fn what_opcodes_mean_depends_on_who_sends() {
    let served = usual().await;
    let mut here = served.messenger(&["A"]).await;
    let mut sender = served.client("messenger").await;
    sender.text("A\nnot an event").await;
    sender.binary("A\n1").await;
    sender.settle().await;
    here.hears("A\n\n1").await;
    let mut hub = served.client("hub").await;
    hub.text("A\n2").await;
    here.hears("A\n\n2").await;
}
