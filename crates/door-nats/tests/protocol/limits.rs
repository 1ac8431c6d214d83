//! What is too much, and what is wrong.

use std::time::Duration;

use crate::support::{Client, serve};
use door_nats::Options;

async fn check(sent: &str, told: &str) {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    client.say(sent).await;
    client.is_told(told).await;
    Client::usual(&served).await.settle().await;
}

#[tokio::test]
async fn what_is_no_protocol_ends_the_connection_and_nothing_else() {
    check("HELLO\r\n", "Unknown Protocol Operation").await;
    check("GET / HTTP/1.1\r\n", "Unknown Protocol Operation").await;
    check("PUB a -1\r\n", "Unknown Protocol Operation").await;
    check("PUB a 2\r\nabc\r\n", "Unknown Protocol Operation").await;
    check("HPUB a 9 2\r\n", "Unknown Protocol Operation").await;
    check("PUB a 99999999999999999999\r\n", "Maximum Payload Violation").await;
    check("PUB a 1048577\r\n", "Maximum Payload Violation").await;
    check(&format!("SUB {} 1\r\n", "a".repeat(64 * 1024)), "maximum control line exceeded").await;
    check(
        "CONNECT {\"verbose\": 7}\r\n",
        "Invalid CONNECT: invalid type: integer `7`, expected a boolean at line 1 column 13",
    )
    .await;
    check("CONNECT {\"headers\":false,\"no_responders\":true}\r\n", "no responders requires headers support").await;
}

#[tokio::test]
async fn a_hundred_thousand_subscriptions_are_taken_and_leave_nothing() {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    let mut many = String::new();
    for sid in 0..100_000 {
        many.push_str(&format!("SUB s.{} {sid}\r\n", sid % 1000));
    }
    client.say(&many).await;
    client.settle().await;
    let mut none = String::new();
    for sid in 1000..100_000 {
        none.push_str(&format!("UNSUB {sid}\r\n"));
    }
    client.say(&none).await;
    client.say("PUB s.7 1\r\nx\r\n").await;
    client.hears("MSG s.7 7 1\r\nx\r\n").await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up_and_nobody_waits_for_it() {
    let options = Options { max_pending: 1024 * 1024, ..Options::default() };
    let served = serve(options).await;
    let mut slow = Client::usual(&served).await;
    slow.say("SUB flood 1\r\n").await;
    slow.settle().await;
    let mut quick = Client::usual(&served).await;
    let payload = "z".repeat(100_000);
    let message = format!("PUB flood 100000\r\n{payload}\r\n");
    // The operating system buffers some; the door's own buffer is full long before this ends.
    for _ in 0..400 {
        quick.say(&message).await;
        quick.settle().await;
        let served = crate::monitoring::get(served.monitor, "/varz").await;
        if served["slow_consumers"] == 1 {
            return;
        }
    }
    panic!("a client that does not read was kept");
}

#[tokio::test]
async fn silence_is_asked_about_and_ends_the_connection() {
    let options = Options { ping_interval: Duration::from_millis(50), ping_max: 2, ..Options::default() };
    let served = serve(options).await;
    let mut client = Client::silent(&served).await;
    client.say("CONNECT {\"verbose\":false}\r\n").await;
    assert_eq!(client.line().await, "PING");
    assert_eq!(client.line().await, "PING");
    client.is_told("Stale Connection").await;
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let served = serve(Options { max_connections: 1, ..Options::default() }).await;
    let first = Client::usual(&served).await;
    let mut second = Client::silent(&served).await;
    second.is_told("maximum connections exceeded").await;
    drop(first);
}
