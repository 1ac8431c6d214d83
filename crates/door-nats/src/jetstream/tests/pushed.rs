//! Pushes.

use super::*;

fn pushing(rest: &str) -> ConsumerConfig {
    let mut config = without_acks();
    config.metadata.insert(String::from("_tidings.nats"), format!(r#"{{"deliver_subject":"to.me"{rest}}}"#));
    config
}

#[tokio::test(start_paused = true)]
async fn a_push_begins_when_somebody_listens_and_rests_when_nobody_does() {
    let table = Table::new().await;
    table.publish("a.b", "one");
    table.consumer(pushing("")).await;
    let (_queue, _) = table.listen("to.me", Some("workers"));
    table.pass(20).await;
    assert!(!table.jetstream.push_bound("S", "C"));
    let (inbox, id) = table.listen("to.*", None);
    table.pass(20).await;
    assert_eq!(inbox.taken(), ["a.b $JS.ACK.S.C.1.1.1.1000000000.0 one"]);
    assert!(table.jetstream.push_bound("S", "C"));
    table.fabric.leave(id);
    table.publish("a.b", "two");
    table.pass(200).await;
    assert!(inbox.taken().is_empty() && !table.jetstream.push_bound("S", "C"));
    let (inbox, _) = table.listen("to.me", None);
    table.pass(20).await;
    let line = inbox.taken().remove(0);
    assert!(line.starts_with("a.b $JS.ACK.S.C.1.2.2."), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_push_to_a_group_wants_members_of_a_group() {
    let table = Table::new().await;
    table.publish("a.b", "one");
    table.consumer(pushing(r#","deliver_group":"workers""#)).await;
    let (direct, _) = table.listen("to.>", None);
    table.pass(20).await;
    assert!(direct.taken().is_empty());
    let (member, _) = table.listen("to.me", Some("workers"));
    table.pass(20).await;
    assert_eq!(member.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_idle_says_so() {
    let table = Table::new().await;
    table.publish("a.b", "one");
    let (inbox, id) = table.listen("to.me", None);
    table.consumer(pushing(r#","idle_heartbeat":500000000"#)).await;
    assert_eq!(inbox.taken().len(), 1);
    table.pass(1100).await;
    let beat = "to.me 100 Idle Heartbeat Nats-Last-Consumer: 1|Nats-Last-Stream: 1|";
    assert_eq!(inbox.taken(), [beat, beat]);
    table.fabric.leave(id);
    table.pass(1100).await;
    assert!(inbox.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn flow_control_stops_a_push_that_is_not_answered() {
    let table = Table::new().await;
    let (inbox, _) = table.listen("to.me", None);
    table.consumer(pushing(r#","flow_control":true,"idle_heartbeat":5000000000"#)).await;
    let large = "x".repeat(256 * 1024);
    for _ in 0..20 {
        table.publish("a.b", &large);
    }
    let lines = inbox.taken();
    let question = lines.iter().find(|line| line.contains("FlowControl Request")).unwrap();
    assert_eq!(lines.len(), 9, "eight messages and one question");
    let subject = question.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(*question, format!("to.me {subject} 100 FlowControl Request"));
    table.pass(5100).await;
    let beat =
        format!("to.me 100 Idle Heartbeat Nats-Last-Consumer: 8|Nats-Last-Stream: 8|Nats-Consumer-Stalled: {subject}|");
    assert_eq!(inbox.taken(), [beat]);
    table.jetstream.flow(&Principal::anyone(), "$JS.FC.S.C.none");
    table.pass(300).await;
    assert!(inbox.taken().is_empty());
    table.jetstream.flow(&Principal::anyone(), &subject);
    table.pass(300).await;
    assert!(inbox.taken().len() > 8);
}

#[tokio::test(start_paused = true)]
async fn headers_alone_say_how_large_the_payload_is() {
    let table = Table::new().await;
    table.publish("a.b", "twelve bytes");
    let (inbox, _) = table.listen("to.me", None);
    table.consumer(ConsumerConfig { headers_only: true, ..pushing("") }).await;
    assert_eq!(inbox.taken(), ["a.b $JS.ACK.S.C.1.1.1.1000000000.0 Nats-Msg-Size: 12|"]);
}

#[tokio::test(start_paused = true)]
async fn a_push_keeps_to_its_rate_and_to_the_original_pace() {
    let table = Table::new().await;
    let (inbox, _) = table.listen("to.me", None);
    for _ in 0..3 {
        table.publish("a.b", "m");
        table.pass(500).await;
    }
    table.consumer(ConsumerConfig { replay_original: true, ..pushing("") }).await;
    assert_eq!(inbox.taken().len(), 1);
    table.pass(480).await;
    assert!(inbox.taken().is_empty());
    table.pass(600).await;
    assert_eq!(inbox.taken().len(), 2);
    table.journal.consumer_delete("S", "C").await.unwrap();
    let slow = ConsumerConfig { rate_limit_bps: Some(800), name: String::from("D"), ..pushing("") };
    table.consumer(slow).await;
    assert_eq!(inbox.taken().len(), 1, "some 40 bytes at 100 bytes a second");
    table.pass(300).await;
    assert!(inbox.taken().is_empty());
    table.pass(1000).await;
    assert_eq!(inbox.taken().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_pushes_is_not_pulled() {
    let table = Table::new().await;
    table.consumer(pushing("")).await;
    let (inbox, _) = table.listen("in.x", None);
    table.next("");
    assert_eq!(inbox.taken(), ["in.x 409 Consumer is push based"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_is_tried_again_later() {
    let table = Table::new().await;
    let (inbox, _) = table.listen("to.me", None);
    inbox.full.store(true, Ordering::SeqCst);
    table.consumer(ConsumerConfig { ack: AckPolicy::Explicit, ..pushing("") }).await;
    table.publish("a.b", "one");
    table.pass(500).await;
    inbox.full.store(false, Ordering::SeqCst);
    table.pass(500).await;
    assert_eq!(inbox.taken().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pushes_that_there_are_begin_when_the_door_opens() {
    let table = Table::new().await;
    table.publish("a.b", "one");
    table.journal.consumer_create("S", pushing("")).await.unwrap();
    let (inbox, _) = table.listen("to.me", None);
    let again = JetStream::new(table.jetstream.port.clone(), Options::default().jetstream, String::from("again"));
    table.pass(50).await;
    assert_eq!(inbox.taken().len(), 1);
    drop(again);
}
