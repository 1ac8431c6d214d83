//! The catalogue as doors hold it, over a journal in memory: who may do what, and who is woken.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]

use std::sync::Arc;

use door::catalogue::{PATTERN, STREAM};
use door::suite::Plain;
use door::{Access, Catalogue, Limits, Port, Principal};
use event::{Moment, Pattern};
use journal::local::Local;
use journal::{Journal, StreamConfig};

const NOW: Moment = Moment::from_nanos(1_700_000_000_000_000_000);

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// One who may publish and read these patterns.
fn who(publish: &[&str], read: &[&str]) -> Principal {
    let all = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
    Principal::new("who", all(publish), all(read), false)
}

/// A catalogue whose stream is not followed yet.
async fn catalogue() -> Catalogue {
    let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(|| NOW)));
    let mut config = StreamConfig::new(STREAM, [pattern(PATTERN)]);
    (config.allow_ttl, config.allow_rollup, config.allow_atomic) = (true, true, true);
    journal.stream_create(config).await.unwrap();
    let port = Port::new(journal, Arc::new(Plain::default()), Access::open(), Limits::default());
    port.catalogue_changed();
    let catalogue = Catalogue::new(port, "dc1", "n1");
    catalogue.set_ready(true);
    catalogue
}

#[tokio::test]
async fn a_service_is_read_by_who_may_read_all_of_it() {
    let catalogue = catalogue().await;
    let check = |read: &[&str], not: &[&str], expected| {
        let not = not.iter().map(|text| pattern(text)).collect();
        let who = who(&[], read).denied(Vec::new(), not);
        assert_eq!(catalogue.may_read(&who, "Web"), expected, "{read:?}");
    };
    check(&["catalog.dc1.web.>"], &[], true);
    check(&["catalog.*.*.>"], &[], true);
    check(&[">"], &["catalog.dc1.db.>"], true);
    check(&["catalog.dc1.web.*"], &[], false);
    check(&["catalog.dc1.web.n1.>"], &[], false);
    check(&["catalog.dc1.web.>"], &["catalog.dc1.web.n1.>"], false);
    check(&[">"], &["catalog.dc1.web.n1.i1"], false);
    check(&["catalog.dc2.web.>"], &[], false);
}
