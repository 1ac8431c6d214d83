//! Rooms that are kept: history on connect, the last values, and other doors.

use door::{Heard, Principal};
use event::{Message, Pattern, Subject};
use journal::{Append, Read, StreamConfig};

use crate::support::{Client, Served, get, usual};

async fn keep(served: &Served, name: &str, pattern: &str) {
    let config = StreamConfig::new(name, [Pattern::parse(pattern).unwrap()]);
    served.port.stream_create(&Principal::anyone(), config).await.unwrap();
}

async fn asking(served: &Served, query: &str, rooms: &[&str]) -> Client {
    let mut client = Client::new(served.address, &format!("/connect/messenger?{query}")).await;
    client.text(&serde_json::json!({"rooms": rooms, "create": true}).to_string()).await;
    client
}

#[tokio::test]
async fn history_comes_first_and_then_what_follows_without_a_seam() {
    let served = usual().await;
    keep(&served, "ROOMS", "room.K").await;
    let mut sender = served.client("messenger").await;
    for turn in 0..600 {
        sender.binary(format!("K\n{turn}")).await;
    }
    sender.settle().await;
    served.until("all is recorded", |door| door.counts().events_in == 600).await;
    for query in ["since=1h", "since=1", "since=2020-01-01T00:00:00Z"] {
        let mut asking = asking(&served, query, &["K", "live"]).await;
        asking.settled().await;
        let mut asking = self::asking(&served, query, &["K", "live"]).await;
        for turn in 0..600 {
            asking.hears(&format!("K\n\n{turn}")).await;
        }
        sender.binary("live\nx").await;
        asking.hears("live\n\nx").await;
    }
    let mut asking = asking(&served, "since=598", &["*"]).await;
    for turn in 597..600 {
        asking.hears(&format!("K\n\n{turn}")).await;
    }
    for turn in 600..700 {
        sender.binary(format!("K\n{turn}")).await;
        asking.hears(&format!("K\n\n{turn}")).await;
    }
    assert_eq!(get(served.address, "/connect/messenger?since=1").await.0, 400);
    let mut plain = served.messenger(&["K"]).await;
    sender.binary("K\nlast").await;
    plain.hears("K\n\nlast").await;
}

#[tokio::test]
async fn the_last_value_of_each_key_comes_on_connect() {
    let served = usual().await;
    keep(&served, "ROOMS", "room.*").await;
    let mut sender = served.client("messenger").await;
    let event = |device: &str, key: &str, value: &str| {
        format!(r#"{{"target-device":{{"deviceID":"{device}"}},"key":"{key}","value":"{value}"}}"#)
    };
    for (device, key, value) in
        [("D1", "power", "on"), ("D1", "input", "hdmi"), ("D2", "power", "on"), ("D1", "power", "off")]
    {
        sender.binary(format!("K\n{}", event(device, key, value))).await;
    }
    sender.settle().await;
    served.until("all is recorded", |door| door.counts().events_in == 4).await;
    let mut asking = asking(&served, "last=1", &["K"]).await;
    for (device, key, value) in [("D1", "input", "hdmi"), ("D2", "power", "on"), ("D1", "power", "off")] {
        asking.hears(&format!("K\n\n{}", event(device, key, value))).await;
    }
    sender.binary("K\nnext").await;
    asking.hears("K\n\nnext").await;
}

#[tokio::test]
async fn a_rooms_event_is_read_by_other_doors_as_it_came_and_theirs_arrive_in_rooms() {
    let served = usual().await;
    keep(&served, "ROOMS", "room.K").await;
    let who = Principal::anyone();
    let mut live = served.port.subscribe(&who, &[Pattern::parse("room.>").unwrap()]).unwrap();
    let mut sender = served.client("messenger").await;
    let body = r#"{"generating-system":"S","key":"power","value":"<&>"}"#;
    for room in ["K", "U"] {
        sender.binary(format!("{room}\n{body}")).await;
        let Some(Heard::Message(message)) = live.next().await else { panic!("nothing came") };
        assert_eq!((message.subject.as_str(), &message.payload[..]), (&*format!("room.{room}"), body.as_bytes()));
        let event = event::cloud::Event::from_message(&message).unwrap().unwrap();
        assert_eq!((&*event.kind, &*event.source), ("hub.power", "/hub/S"));
    }
    let page = served.port.read(&who, "ROOMS", Read::from(1, 10)).await.unwrap();
    assert_eq!(page.messages[0].message.payload, body);
    let mut here = served.messenger(&["K", "U", "a.b"]).await;
    for subject in ["room.K", "room.U", "room.a%2Eb"] {
        let message = Message::new(Subject::parse(subject).unwrap(), body);
        served.port.publish(&who, Append::new(message)).await.unwrap();
    }
    here.hears(&format!("K\n{body}")).await;
    here.hears(&format!("U\n{body}")).await;
    here.hears(&format!("a.b\n{body}")).await;
}
