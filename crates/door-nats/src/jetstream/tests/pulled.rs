//! Requests for messages, and acknowledgements.

use super::*;
use journal::{PriorityConfig, PriorityPolicy};

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_given_what_is_there_and_told_how_it_ended() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, _) = table.listen("in.*", None);
    table.publish("a.b", "one");
    table.publish("a.b", "two");
    table.next("");
    let first = "a.b $JS.ACK.S.C.1.1.1.1000000000.1 one";
    assert_eq!(inbox.taken(), lines([first]));
    table.next(r#"{"batch":2,"no_wait":true}"#);
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.2.2.1000000000.0 two", "in.x 404 No Messages"]));
    table.next(r#"{"batch":2,"expires":100000000}"#);
    assert_eq!(inbox.taken(), lines([]));
    table.publish("a.b", "three");
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.3.3.1000000000.0 three"]));
    table.pass(200).await;
    let left = "in.x 408 Request Timeout Nats-Pending-Messages: 1|Nats-Pending-Bytes: 0|";
    assert_eq!(inbox.taken(), lines([left]));
    table.next(r#"{"batch":2,"expires":100000000,"no_wait":true}"#);
    table.publish("a.b", "four");
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.4.4.1200000000.0 four", "in.x 404 No Messages"]));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_as_nats_counts_them() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, _) = table.listen("in.*", None);
    table.publish("a.b", "hello");
    table.publish("a.b", "hello2");
    // A subject of 3, an acknowledgement of 30 and a payload of 5 bytes.
    table.next(r#"{"batch":5,"expires":300000000,"max_bytes":53}"#);
    let too_large = "in.x 409 Message Size Exceeds MaxBytes Nats-Pending-Messages: 4|Nats-Pending-Bytes: 15|";
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.1.1.1000000000.1 hello", too_large]));
    table.next(r#"{"batch":1,"max_bytes":6000}"#);
    let completed = "in.x 409 Batch Completed Nats-Pending-Messages: 0|Nats-Pending-Bytes: 5961|";
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.2.2.1000000000.0 hello2", completed]));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_said_in_the_words_of_nats() {
    let table = Table::new().await;
    let limits = ConsumerConfig {
        waiting_max: 1,
        batch_max: Some(10),
        bytes_max: Some(100),
        expires_max: Some(Duration::from_secs(90)),
        ..explicit()
    };
    table.consumer(limits).await;
    let (inbox, _) = table.listen("in.*", None);
    let cases = [
        (r#"{"batch":11}"#, "409 Exceeded MaxRequestBatch of 10"),
        (r#"{"batch":1,"expires":100000000000}"#, "409 Exceeded MaxRequestExpires of 1m30s"),
        (r#"{"batch":1,"max_bytes":101}"#, "409 Exceeded MaxRequestMaxBytes of 100"),
        (r#"{"batch":1,"min_pending":1}"#, "400 Bad Request - Not a Overflow Priority consumer"),
        (r#"{"batch":1,"id":"x"}"#, "400 Bad Request - Not a Pinned Client Priority consumer"),
        (r#"{"batch":1,"priority":10}"#, "400 Bad Request - Priority must be between 0 and 9"),
        (r#"{"expires":10,"idle_heartbeat":6}"#, "400 Bad Request - heartbeat value too large"),
    ];
    for (body, status) in cases {
        table.next(body);
        assert_eq!(inbox.taken(), [format!("in.x {status}")], "{body}");
    }
    table.next(r#"{"expires":10000000000}"#);
    table.next(r#"{"expires":10000000000}"#);
    assert_eq!(inbox.taken(), lines(["in.x 409 Exceeded MaxWaiting"]));
    table.next(r#"{"expires":10000000000,"idle_heartbeat":1000000}"#);
    assert_eq!(inbox.taken(), lines([]));
    table.journal.consumer_delete("S", "C").await.unwrap();
    assert_eq!(inbox.taken(), lines(["in.x 409 Consumer Deleted"]));
    let gone = table.request("$JS.API.CONSUMER.MSG.NEXT.S.D", "in.x", "").unwrap();
    Arc::clone(&table.jetstream).request(Principal::anyone(), gone).await;
    assert_eq!(inbox.taken(), lines(["in.x 503 Nats-Subject: $JS.API.CONSUMER.MSG.NEXT.S.D|"]));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_interest_ends_and_costs_nobody_a_message() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (left, id) = table.listen("in.x", None);
    table.next(r#"{"batch":10}"#);
    table.fabric.leave(id);
    table.publish("a.b", "one");
    assert_eq!(left.taken(), lines([]));
    let (inbox, _) = table.listen("in.x", None);
    table.next("");
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.1.1.1.1000000000.0 one"]));
    let info = table.journal.consumer_info("S", "C").await.unwrap();
    assert_eq!((info.waiting, info.ack_pending), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_hears_heartbeats() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, id) = table.listen("in.*", None);
    table.publish("a.b", "one");
    table.next(r#"{"batch":5,"expires":1000000000,"idle_heartbeat":300000000}"#);
    assert_eq!(inbox.taken().len(), 1);
    table.pass(700).await;
    let beat = "in.x 100 Idle Heartbeat Nats-Last-Consumer: 1|Nats-Last-Stream: 1|";
    assert_eq!(inbox.taken(), lines([beat, beat]));
    table.pass(400).await;
    let left = "in.x 408 Request Timeout Nats-Pending-Messages: 4|Nats-Pending-Bytes: 0|";
    assert_eq!(inbox.taken(), lines([beat, left]));
    table.pass(1000).await;
    assert_eq!(inbox.taken(), lines([]));
    table.fabric.leave(id);
}

#[tokio::test(start_paused = true)]
async fn a_pressed_receiver_is_waited_for() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, _) = table.listen("in.*", None);
    inbox.pressed.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        table.publish("a.b", "m");
    }
    table.next(r#"{"batch":5}"#);
    assert_eq!(inbox.taken().len(), 1);
    table.pass(300).await;
    assert_eq!(inbox.taken().len(), 0);
    inbox.pressed.store(false, Ordering::SeqCst);
    table.pass(300).await;
    assert_eq!(inbox.taken().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_do_what_they_say_and_are_answered_where_asked() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, _) = table.listen("in.*", None);
    for payload in ["one", "two", "three"] {
        table.publish("a.b", payload);
    }
    table.next("3");
    assert_eq!(inbox.taken().len(), 3);
    table.say("$JS.ACK.S.C.1.1.1.1.1", "in.x", "+ACK");
    table.say("$JS.ACK._.account.S.C.1.1.1.1.1", "in.x", "");
    assert_eq!(inbox.taken(), lines(["in.x", "in.x"]));
    table.say("$JS.ACK.S.C.1.2.2.1.1", "", "-NAK {\"delay\": 50000000}");
    table.say("$JS.ACK.S.C.1.3.3.1.1", "in.x", "+TERM not for us");
    assert_eq!(inbox.taken(), lines(["in.x"]));
    table.next("1");
    table.pass(40).await;
    assert_eq!(inbox.taken(), lines([]));
    table.pass(40).await;
    assert_eq!(inbox.taken(), lines(["a.b $JS.ACK.S.C.2.2.4.1000000000.0 two"]));
    table.publish("a.b", "four");
    table.say("$JS.ACK.S.C.2.2.4.1.1", "in.x", "+NXT {\"batch\":1,\"no_wait\":true}");
    assert_eq!(inbox.taken().len(), 1);
    let info = table.journal.consumer_info("S", "C").await.unwrap();
    assert_eq!((info.ack_floor, info.ack_pending), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn forged_and_malformed_acknowledgements_change_nothing() {
    let table = Table::new().await;
    table.consumer(explicit()).await;
    let (inbox, _) = table.listen("in.*", None);
    table.publish("a.b", "one");
    table.next("1");
    inbox.taken();
    for forged in ["$JS.ACK.S.C.1.99.99.1.1", "$JS.ACK.S.C.1.0.0.1.1"] {
        table.say(forged, "in.x", "");
        assert_eq!(inbox.taken(), lines([]), "{forged}");
    }
    for nobody in ["$JS.ACK.S.D.1.1.1.1.1", "$JS.ACK.T.C.1.1.1.1.1", "$JS.ACK.S.C.1.4", "$JS.ACK.S.C.x.1.1.1.1"] {
        table.say(nobody, "in.x", "");
        assert_eq!(inbox.taken(), [format!("in.x 503 Nats-Subject: {nobody}|")]);
    }
    let ignored = &table.jetstream.delivering.ignored;
    assert_eq!((ignored.malformed.load(Ordering::SeqCst), ignored.refused.load(Ordering::SeqCst)), (2, 4));
    assert_eq!(table.journal.consumer_info("S", "C").await.unwrap().ack_pending, 1);
}

#[tokio::test(start_paused = true)]
async fn one_client_is_pinned_and_another_waits_for_it() {
    let table = Table::new().await;
    let priority = Some(PriorityConfig::new(PriorityPolicy::Pinned, "g"));
    table.consumer(ConsumerConfig { priority, ..explicit() }).await;
    let (inbox, _) = table.listen("in.*", None);
    table.publish("a.b", "one");
    table.next(r#"{"batch":1,"group":"g"}"#);
    let line = inbox.taken().remove(0);
    let pin = line.split("Nats-Pin-Id: ").nth(1).unwrap().split('|').next().unwrap().to_owned();
    table.publish("a.b", "two");
    table.next(r#"{"batch":1,"group":"g","no_wait":true}"#);
    assert_eq!(inbox.taken(), lines(["in.x 404 No Messages"]));
    table.next(r#"{"batch":1,"group":"g","id":"wrong"}"#);
    assert_eq!(inbox.taken(), lines(["in.x 423 Nats-Pin-Id mismatch"]));
    table.next(&format!(r#"{{"batch":1,"group":"g","id":"{pin}"}}"#));
    assert!(inbox.taken().remove(0).ends_with(&format!("Nats-Pin-Id: {pin}| two")));
    table.next(r#"{"batch":1}"#);
    table.next(r#"{"batch":1,"group":"h"}"#);
    let refused = ["in.x 400 Bad Request - Priority Group missing", "in.x 400 Bad Request - Invalid Priority Group"];
    assert_eq!(inbox.taken(), lines(refused));
}
