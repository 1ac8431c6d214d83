//! Publishing and subscribing.

use crate::support::{Client, serve};
use door_nats::Options;

#[tokio::test]
async fn a_message_goes_to_everyone_who_wants_it() {
    let served = serve(Options::default()).await;
    let (mut a, mut b) = (Client::usual(&served).await, Client::usual(&served).await);
    a.say("SUB a.* 1\r\nSUB a.> 2\r\n").await;
    a.settle().await;
    b.say("SUB a.b x\r\nPUB a.b 2\r\nhi\r\n").await;
    b.hears("MSG a.b x 2\r\nhi\r\n").await;
    a.hears("MSG a.b 1 2\r\nhi\r\nMSG a.b 2 2\r\nhi\r\n").await;
    b.say("PUB a.b.c reply.to 0\r\n\r\n").await;
    a.hears("MSG a.b.c 2 reply.to 0\r\n\r\n").await;
    b.hears_nothing().await;
}

#[tokio::test]
async fn headers_travel_as_they_are_and_only_to_who_takes_them() {
    let served = serve(Options::default()).await;
    let (mut with, mut without) = (Client::usual(&served).await, Client::new(&served, r#"{"verbose":false}"#).await);
    with.say("SUB h 1\r\n").await;
    with.settle().await;
    without.say("SUB h 1\r\n").await;
    without.settle().await;
    with.say("HPUB h 28 30\r\nNATS/1.0\r\nkEy: a\r\nkEy: b\r\n\r\nhi\r\n").await;
    with.hears("HMSG h 1 28 30\r\nNATS/1.0\r\nkEy: a\r\nkEy: b\r\n\r\nhi\r\n").await;
    without.hears("MSG h 1 2\r\nhi\r\n").await;
}

#[tokio::test]
async fn one_of_a_queue_group_gets_it() {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    client.say("SUB q g 1\r\nSUB q g 2\r\nSUB q other 3\r\nPUB q 1\r\nx\r\nPING\r\n").await;
    let mut heard = Vec::new();
    loop {
        match client.line().await.as_str() {
            "PONG" => break,
            "x" => {}
            line => heard.push(line.to_owned()),
        }
    }
    heard.sort();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("MSG q 1") || heard[0].starts_with("MSG q 2"), "{heard:?}");
    assert_eq!(heard[1], "MSG q 3 1");
}

#[tokio::test]
async fn whoever_wants_no_echo_hears_no_echo() {
    let served = serve(Options::default()).await;
    let mut other = Client::usual(&served).await;
    other.say("SUB e 1\r\n").await;
    other.settle().await;
    let mut client = Client::new(&served, r#"{"verbose":false,"echo":false}"#).await;
    client.say("SUB e 1\r\nPUB e 0\r\n\r\n").await;
    client.hears_nothing().await;
    other.hears("MSG e 1 0\r\n\r\n").await;
}

#[tokio::test]
async fn a_limit_counts_from_the_beginning() {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    client.say("SUB m 1\r\nPUB m 0\r\n\r\nUNSUB 1 2\r\nPUB m 0\r\n\r\nPUB m 0\r\n\r\n").await;
    client.hears("MSG m 1 0\r\n\r\nMSG m 1 0\r\n\r\n").await;
    client.hears_nothing().await;
    client.say("PUB m back 0\r\n\r\n").await;
    client.hears_nothing().await;
    client.say("SUB back 9\r\nPUB m back 0\r\n\r\n").await;
    client.hears("HMSG back 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: m\r\n\r\n\r\n").await;
    client.say("SUB n 2\r\nPUB n 0\r\n\r\nUNSUB 2 1\r\nPUB n 0\r\n\r\nUNSUB 7\r\n").await;
    client.hears("MSG n 2 0\r\n\r\n").await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn who_asks_nobody_is_told_so() {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    client.say("SUB in.* 1\r\nPUB nobody in.1 2\r\nhi\r\n").await;
    client.hears("HMSG in.1 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n").await;
    client.say("PUB no.*.one in.2 2\r\nhi\r\nPUB no..one 0\r\n\r\n").await;
    client.hears("HMSG in.2 1 40 40\r\nNATS/1.0 503\r\nNats-Subject: no.*.one\r\n\r\n\r\n").await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn a_talkative_server_says_ok() {
    let served = serve(Options::default()).await;
    let mut client = Client::silent(&served).await;
    client.say("CONNECT {}\r\n").await;
    client.hears("+OK\r\n").await;
    client.say("SUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\nPING\r\n").await;
    client.hears("+OK\r\n").await;
    let mut rest = vec![client.line().await, client.line().await, client.line().await];
    rest.sort();
    assert_eq!(rest, ["+OK", "MSG a 1 1", "x"]);
    client.hears("+OK\r\nPONG\r\n").await;
    client.say("PUB a.* 0\r\n\r\n").await;
    client.hears("-ERR 'Invalid Publish Subject'\r\n").await;
    client.say("SUB a..b 1\r\n").await;
    client.hears("-ERR 'Invalid Subject'\r\n").await;
}

#[tokio::test]
async fn bytes_may_come_in_any_pieces() {
    let served = serve(Options::default()).await;
    let mut client = Client::usual(&served).await;
    for byte in "SUB a 1\r\nPUB a 5\r\n\r\nxy\n\r\n".chars() {
        client.say(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }
    client.hears("MSG a 1 5\r\n\r\nxy\n\r\n").await;
    let large = "y".repeat(1_000_000);
    client.say(&format!("PUB a 1000000\r\n{large}\r\n")).await;
    client.hears(&format!("MSG a 1 1000000\r\n{large}\r\n")).await;
}

#[tokio::test]
async fn a_door_that_stops_says_so_and_hangs_up() {
    let served = serve(Options { lame_duck: std::time::Duration::from_millis(20), ..Options::default() }).await;
    let mut client = Client::usual(&served).await;
    served.door.lame_duck().await;
    assert!(client.line().await.contains("\"ldm\":true"));
    served.door.close().await;
}
