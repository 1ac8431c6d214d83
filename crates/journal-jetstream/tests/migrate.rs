//! A journal in memory, moved to a real server.

mod support;

use std::sync::Arc;
use std::time::SystemTime;

use event::{Message, Moment, Pattern, Subject};
use journal::local::Local;
use journal::{Append, ConsumerConfig, ConsumerStart, Journal, Purge, Read, StreamConfig, answer};
use journal_jetstream::{JetStream, Options, migrate};
use support::Servers;

fn now() -> Moment {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    Moment::from_nanos(u64::try_from(since.as_nanos()).expect("before 2554"))
}

async fn put(journal: &dyn Journal, subject: &str, payload: String) {
    let (done, receipt) = answer(|| panic!("no receipt"));
    journal.append(Append::new(Message::new(Subject::parse(subject).expect("a subject"), payload)), done);
    receipt.await.expect("taken");
}

#[tokio::test]
async fn positions_messages_and_consumers_are_where_they_were_and_a_second_run_adds_nothing() {
    let servers = match Servers::start(1) {
        Ok(servers) => servers,
        Err(reason) => return eprintln!("not told: {reason}"),
    };
    let from = Arc::new(Local::new(Arc::new(now)));
    let mut config = StreamConfig::new("S", [Pattern::parse("a.*").expect("a pattern")]);
    config.messages_max = Some(1_000);
    from.stream_create(config.clone()).await.expect("created");
    for number in 1..=50 {
        put(&*from, &format!("a.{}", number % 3), number.to_string()).await;
    }
    from.purge("S", Purge { before: Some(11), ..Purge::default() }).await.expect("purged");
    for seq in [20, 21, 50] {
        from.delete("S", seq).await.expect("deleted");
    }
    let consumer = ConsumerConfig { start: ConsumerStart::Seq(31), ..ConsumerConfig::new("c") };
    from.consumer_create("S", consumer).await.expect("created");
    let to =
        JetStream::connect(Options::new(servers.next_account().parse().expect("an address"))).await.expect("an engine");
    let mut steps = 0;
    for (run, copied) in [(1, 37), (2, 0)] {
        let moved = migrate(from.clone(), &to, |_| steps += 1).await.expect("moved");
        assert_eq!(moved.len(), 1);
        assert_eq!((moved[0].copied, moved[0].messages, moved[0].last), (copied, (37, 37), (50, 50)), "run {run}");
    }
    assert!(steps > 0);
    let (theirs, ours) = (from.read("S", Read::from(1, 100)).await, to.read("S", Read::from(1, 100)).await);
    let bare =
        |page: journal::Page| page.messages.into_iter().map(|stored| (stored.seq, stored.message)).collect::<Vec<_>>();
    assert_eq!(bare(ours.expect("read")), bare(theirs.expect("read")));
    let info = to.consumer_info("S", "c").await.expect("a consumer");
    assert_eq!(info.config.start, ConsumerStart::Seq(from.consumer_info("S", "c").await.expect("one").ack_floor + 1));
    assert_eq!(to.stream_info("S").await.expect("a stream").config.messages_max, Some(1_000));
}
