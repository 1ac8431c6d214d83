//! The inbox: what is kept, for whom, and what is not.

use door::NameRule;
use door_slim::{Options, inbox_of};
use event::Pattern;
use journal::{Read, StreamConfig};

use crate::support::*;

/// The name `org/ns/app` as numbers: what is hashed here is what a client hashes.
fn name(instance: Option<u128>) -> To {
    let (_, pattern) = inbox_of("org/ns/app").unwrap();
    let mut components = pattern.split('.').skip(1).map(|part| u64::from_str_radix(part, 16));
    let mut part = || components.next().unwrap().unwrap();
    To([part(), part(), part()], instance)
}

/// A door with an inbox of the name; and the inbox's stream.
async fn with_inbox() -> (Served, String) {
    let served = serve(Options::default()).await;
    let (stream, pattern) = inbox_of("org/ns/app").unwrap();
    let config = StreamConfig::new(&stream, vec![Pattern::parse(&pattern).unwrap()]);
    served.port.journal().stream_create(config).await.unwrap();
    served.port.catalogue_changed();
    (served, stream)
}

async fn publish(client: &Client, to: To, number: u32) {
    let session = Proto::default().number(3, 1).number(4, number.into()).number(2, 1);
    client.publish_with(&Head::to(to), session, content(&number.to_be_bytes()).1).await;
}

async fn messages(served: &Served, stream: &str) -> u64 {
    served.port.journal().stream_info(stream).await.unwrap().state.messages
}

async fn until(so: impl AsyncFn() -> bool) {
    let look = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
}

#[tokio::test]
async fn what_is_for_one_who_is_away_is_kept_and_comes_in_order() {
    let (served, stream) = with_inbox().await;
    let owner = name(Some(5));
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    for place in 0..200 {
        publish(&sender, owner, place).await;
    }
    // What a session sends again is kept once.
    publish(&sender, owner, 7).await;
    sender.hears_nothing().await;
    let mut client = Client::open_as(served.address, "owner", 2, None).await;
    client.subscribe(owner).await;
    for place in 200..400 {
        publish(&sender, owner, place).await;
    }
    for place in 0..400u32 {
        client.gets(&place.to_be_bytes()).await;
    }
    client.hears_nothing().await;
    assert_eq!(messages(&served, &stream).await, 0);
    assert!(served.door.counts().kept >= 200);
    // Nobody listens ahead of the owner any more.
    let subject = Pattern::parse(
        &inbox_of("org/ns/app").unwrap().1.replace("slim-inbox", "slim").replace('*', &format!("{:032x}", 5)),
    )
    .unwrap();
    until(async || served.port.fabric().keepers(subject.as_str(), door::Class::Client).ahead.is_none()).await;
}

#[tokio::test]
async fn what_a_stream_records_is_recorded_whether_it_is_kept_or_not() {
    let (served, stream) = with_inbox().await;
    let all = StreamConfig::new("NAMES", vec![Pattern::parse("slim.>").unwrap()]);
    served.port.journal().stream_create(all).await.unwrap();
    served.port.catalogue_changed();
    let owner = name(Some(5));
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    for place in 0..50 {
        publish(&sender, owner, place).await;
    }
    until(async || messages(&served, &stream).await == 50).await;
    let mut client = Client::open_as(served.address, "owner", 2, None).await;
    client.subscribe(owner).await;
    for place in 50..100 {
        publish(&sender, owner, place).await;
    }
    for place in 0..100u32 {
        client.gets(&place.to_be_bytes()).await;
    }
    client.hears_nothing().await;
    sender.hears_nothing().await;
    assert_eq!(messages(&served, "NAMES").await, 100);
    // What cannot be recorded is for nobody, and its sender is told.
    let full = StreamConfig {
        message_bytes_max: Some(1),
        ..StreamConfig::new("NAMES", vec![Pattern::parse("slim.>").unwrap()])
    };
    served.port.journal().stream_update(full).await.unwrap();
    served.port.catalogue_changed();
    publish(&sender, owner, 100).await;
    assert!(sender.told().await["error"].as_str().unwrap().contains("bytes"));
    client.hears_nothing().await;
}

#[tokio::test]
async fn an_inbox_keeps_for_so_many_instances_and_tells_the_sender_of_the_next() {
    let (served, stream) = with_inbox().await;
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    let most = u32::try_from(door_slim::limits::INBOX_INSTANCES_MAX).unwrap();
    for instance in 0..most {
        publish(&sender, name(Some(u128::from(instance) + 1)), instance).await;
    }
    sender.hears_nothing().await;
    publish(&sender, name(Some(u128::MAX / 2)), 0).await;
    assert!(sender.told().await["error"].as_str().unwrap().contains("its inbox does not take it"));
    until(async || messages(&served, &stream).await == u64::from(most)).await;
    let mut client = Client::open_as(served.address, "owner", 2, None).await;
    client.subscribe(name(Some(9))).await;
    client.gets(&8u32.to_be_bytes()).await;
    publish(&sender, name(Some(u128::MAX / 2)), 0).await;
    until(async || messages(&served, &stream).await == u64::from(most)).await;
}

#[tokio::test]
async fn an_inbox_that_is_forgotten_keeps_and_holds_back_nothing() {
    let (served, stream) = with_inbox().await;
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    publish(&sender, name(Some(5)), 1).await;
    until(async || messages(&served, &stream).await == 1).await;
    served.port.journal().stream_delete(&stream).await.unwrap();
    served.port.catalogue_changed();
    let subject = inbox_of("org/ns/app").unwrap().1.replace("slim-inbox", "slim").replace('*', &format!("{:032x}", 5));
    let keepers = || served.port.fabric().keepers(&subject, door::Class::Client);
    until(async || keepers().untaken.is_none() && keepers().ahead.is_none()).await;
    publish(&sender, name(Some(5)), 2).await;
    assert_eq!(sender.told().await["error"], "nobody subscribed the name");
}

#[tokio::test]
async fn what_a_rule_closes_to_all_is_not_kept_and_nobody_writes_into_an_inbox() {
    let (served, stream) = with_inbox().await;
    let subjects = vec![Pattern::parse("slim.>").unwrap()];
    served.port.set_name_rules(vec![NameRule { subjects, publish: None, subscribe: Some(Vec::new()) }]);
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    publish(&sender, name(None), 1).await;
    assert!(sender.told().await["error"].as_str().unwrap().contains("its inbox does not take it"));
    let inside = event::Subject::parse(&inbox_of("org/ns/app").unwrap().1.replace('*', "any")).unwrap();
    assert!(served.port.may_publish(&door::Principal::anyone(), &inside).is_err());
    let page = served.port.journal().read(&stream, Read::from(1, 10)).await.unwrap();
    assert!(page.messages.is_empty());
}

#[tokio::test]
async fn nodes_that_share_a_journal_have_no_inboxes() {
    let served = serve(Options::default()).await;
    served.port.set_shared();
    let (stream, pattern) = inbox_of("org/ns/app").unwrap();
    let config = StreamConfig::new(&stream, vec![Pattern::parse(&pattern).unwrap()]);
    let refused = served.port.stream_put(&door::Principal::anyone(), config).await.unwrap_err();
    assert!(refused.to_string().contains("shares its engine"), "{refused}");
}

#[tokio::test]
async fn what_is_kept_of_one_segment_holds_up_nobody_elses() {
    let (served, stream) = with_inbox().await;
    let owner = name(Some(5));
    let mut sender = Client::open_as(served.address, "sender", 2, None).await;
    publish(&sender, owner, 1).await;
    until(async || messages(&served, &stream).await == 1).await;
    let page = served.port.journal().read(&stream, Read::from(1, 1)).await.unwrap();
    // The same as another node would bring it, in a segment in which the owner is not.
    let subject = inbox_of("org/ns/app").unwrap().1.replace("slim-inbox", "slim").replace('*', &format!("{:032x}", 5));
    let headers = format!("{}: customer-a\r\n", door::WITHIN_HEADER);
    let foreign = door::Parcel {
        headers: headers.as_bytes(),
        ..door::Parcel::new(&subject, &page.messages.first().unwrap().message.payload)
    };
    let ahead = served.port.fabric().keepers(&subject, door::Class::Client).ahead.unwrap();
    assert_eq!(ahead.offer(&foreign, door::NOBODY, &mut |_| ()).0, 1);
    until(async || messages(&served, &stream).await == 2).await;
    let mut client = Client::open_as(served.address, "owner", 2, None).await;
    client.subscribe(owner).await;
    client.gets(&1u32.to_be_bytes()).await;
    publish(&sender, owner, 2).await;
    client.gets(&2u32.to_be_bytes()).await;
    client.hears_nothing().await;
    sender.hears_nothing().await;
    let page = served.port.journal().read(&stream, Read::from(1, 9)).await.unwrap();
    let left: Vec<&str> = page.messages.iter().map(|stored| stored.message.subject.as_str()).collect();
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|subject| subject.ends_with("@customer-a")), "{left:?}");
}
