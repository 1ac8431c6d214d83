//! Messages of another journal, recorded one behind the other in a stream that nothing else captures for.

mod support;

use event::{Message, Pattern, Subject, Transform};
use journal::{Append, AppendError, Expect, Journal, Read, Receipt, StreamConfig, answer};
use journal_jetstream::{JetStream, Options};
use support::Servers;

async fn put(journal: &JetStream, subject: &str, last: u64) -> Result<Receipt, AppendError> {
    let (done, receipt) = answer(|| panic!("no receipt"));
    let expect = Expect { stream: Some("COPY".into()), last: Some(last), ..Expect::default() };
    let message = Message::new(Subject::parse(subject).expect("a subject"), subject.to_owned());
    let id = Some(format!("a/S/{}", last + 1).into());
    journal.append(Append { into: Some("COPY".into()), id, expect, ..Append::new(message) }, done);
    receipt.await
}

#[tokio::test]
async fn what_is_meant_for_a_stream_goes_into_no_other_and_keeps_its_own_subject_there() {
    let servers = match Servers::start(1) {
        Ok(servers) => servers,
        Err(reason) => return eprintln!("not told: {reason}"),
    };
    let address = servers.next_account();
    let journal = JetStream::connect(Options::new(address.parse().expect("an address"))).await.expect("an engine");
    let pattern = |text: &str| Pattern::parse(text).expect("a pattern");
    journal.stream_create(StreamConfig::new("OWN", [pattern("own.>")])).await.expect("created");
    let mut copy = StreamConfig::new("COPY", [pattern("$MIRROR.COPY.>")]);
    copy.transform = Some(Transform::new("$MIRROR.COPY.>", ">").expect("a transform"));
    copy.metadata.insert("mirror-of".into(), "a/S".into());
    journal.stream_create(copy).await.expect("created");
    for subject in ["own.x", "nobody.wants.it", "$JS.API.STREAM.DELETE.OWN"] {
        let refused = put(&journal, subject, 0).await.expect_err("it is not captured");
        assert!(refused.to_string().contains("'COPY' does not capture"), "{refused}");
    }
    for (last, subject) in [(0, "own.x"), (1, "b.c.d")] {
        assert_eq!(put(&journal, &format!("$MIRROR.COPY.{subject}"), last).await.expect("recorded").seq, last + 1);
    }
    // A server that looks at the condition first refuses it, and one that looks at the id first has it.
    match put(&journal, "$MIRROR.COPY.b.c.d", 1).await {
        Ok(receipt) => assert!(receipt.duplicate),
        Err(error) => assert!(matches!(error, AppendError::LastSeq { expected: 1, found: 2 }), "{error}"),
    }
    let gap = put(&journal, "$MIRROR.COPY.late", 7).await;
    assert!(matches!(gap, Err(AppendError::LastSeq { expected: 7, found: 2 })), "{gap:?}");
    let page = journal.read("COPY", Read::from(1, 10)).await.expect("read");
    let subjects: Vec<_> = page.messages.iter().map(|stored| stored.message.subject.as_str()).collect();
    assert_eq!(subjects, ["own.x", "b.c.d"]);
    let info = journal.stream_info("COPY").await.expect("a stream");
    assert_eq!(info.config.metadata.get("mirror-of").map(String::as_str), Some("a/S"));
    assert_eq!(journal.stream_info("OWN").await.expect("a stream").state.messages, 0);
}
