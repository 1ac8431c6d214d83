//! Records told in words, and what the table makes of them.

use alloc::string::ToString;
use alloc::vec;

use super::*;
use proptest::prelude::*;

fn at(seconds: u64) -> Moment {
    Moment::EPOCH.after(Duration::from_secs(seconds))
}

/// A fact of node `a` with its observation and expiry; 0: none.
fn fact(id: &str, observed: u64, expires: u64) -> Fact {
    let mut fact = Fact::new("g", id, "x.observed");
    fact.source = "a".into();
    fact.subject = "10.0.0.1".into();
    fact.observed = (observed > 0).then(|| at(observed));
    fact.expires = (expires > 0).then(|| at(expires));
    fact
}

fn says(mut fact: Fact, value: &str) -> Fact {
    fact.payload.insert("value".into(), value.into());
    fact
}

fn withdrawn(mut fact: Fact) -> Fact {
    fact.withdrawn = true;
    fact
}

/// A table and the position of its last record.
struct Table {
    facts: Facts,
    seq: u64,
}

impl Table {
    fn new() -> Self {
        Table { facts: Facts::new("g"), seq: 0 }
    }

    /// Tells a fact: judged, recorded merged where it is news, folded.
    fn tell(&mut self, now: u64, fact: &Fact) -> (Judged, Option<Folded>) {
        let judged = self.facts.judge(fact);
        let folded = judged.is_news(false).then(|| {
            let merged = self.facts.merged(fact);
            self.record(now, &merged)
        });
        (judged, folded)
    }

    fn record(&mut self, now: u64, fact: &Fact) -> Folded {
        self.seq += 1;
        let stored = Stored { fact: fact.clone(), via: None };
        let folded = self.facts.fold(self.seq, at(now), &stored, at(now));
        self.facts.check();
        folded
    }

    fn ids(&self, now: u64) -> Vec<&str> {
        self.facts.live(at(now)).map(|entry| &*entry.id).collect()
    }
}

impl Facts {
    /// That every index agrees with the entries.
    fn check(&self) {
        let live = self.entries.values().filter(|entry| !entry.withdrawn).count();
        assert_eq!((self.by_observed.len(), self.by_seq.len()), (live, self.entries.len()));
        assert_eq!(self.by_end.len(), self.entries.values().filter(|entry| entry.end().is_some()).count());
        let abouts = self.entries.values().filter(|entry| !entry.withdrawn && entry.about().is_some());
        assert_eq!(self.about.len(), abouts.count());
        for (key, id) in &self.discovered {
            assert_eq!(self.entries.get(id).unwrap().discovery.as_ref(), Some(key));
        }
    }
}

/// Tells facts in order at their moments; each judged as said. Gives the table.
fn check(told: &[(u64, Fact, Judged)]) -> Table {
    let mut table = Table::new();
    for (now, fact, expected) in told {
        assert_eq!(table.tell(*now, fact).0, *expected, "{fact:?}");
    }
    table
}

#[test]
fn a_refresh_extends_and_never_shortens_or_immortalises() {
    let table = check(&[
        (1, fact("1", 1, 10), Judged::New),
        (1, fact("1", 1, 10), Judged::Duplicate),
        (2, fact("1", 2, 20), Judged::Refresh),
        (3, fact("1", 3, 15), Judged::Again),
        (3, fact("1", 3, 0), Judged::Again),
        (4, fact("1", 2, 30), Judged::Refresh),
        (4, fact("1", 1, 40), Judged::Duplicate),
        (5, fact("2", 1, 0), Judged::New),
        (6, fact("2", 1, 30), Judged::Refresh),
        (6, fact("2", 1, 0), Judged::Duplicate),
    ]);
    let entry = table.facts.get("1").unwrap();
    assert_eq!((entry.observed, entry.expires, entry.seq), (Some(at(2)), Some(at(30)), 3), "both are the later");
    assert_eq!(table.facts.get("2").unwrap().expires, Some(at(30)), "an expiry, once told, counts");
}

#[test]
fn a_later_observation_changes_what_a_fact_says() {
    let table = check(&[
        (1, says(fact("1", 5, 100), "a"), Judged::New),
        (1, says(fact("1", 5, 200), "b"), Judged::Duplicate),
        (1, says(fact("1", 4, 200), "b"), Judged::Duplicate),
        (1, says(fact("1", 6, 50), "b"), Judged::Changed),
        (1, says(fact("1", 5, 300), "a"), Judged::Duplicate),
        (1, says(fact("1", 9, 50), "b"), Judged::Again),
        (1, says(fact("1", 7, 50), "a"), Judged::Changed),
    ]);
    assert_eq!(table.facts.get("1").unwrap().expires, Some(at(100)), "another value shortens no life");
}

#[test]
fn an_id_belongs_to_its_source_while_the_fact_holds() {
    let mut other = fact("1", 9, 50);
    other.source = "b".into();
    let mut table = check(&[(1, fact("1", 1, 10), Judged::New), (1, other.clone(), Judged::Conflict)]);
    assert_eq!(table.record(1, &other).change, Change::Ignored);
    table.facts.expire(at(11));
    assert_eq!(table.tell(11, &other).1.unwrap().change, Change::New, "once it is over, the id is free");
}

#[test]
fn a_fact_holds_through_the_moment_of_its_expiry_and_then_goes() {
    let mut table = check(&[(1, fact("1", 1, 10), Judged::New), (1, fact("2", 2, 0), Judged::New)]);
    assert_eq!(table.facts.next_expiry(), Some(Moment::from_nanos(at(10).nanos() + 1)));
    assert_eq!((table.facts.expire(at(10)), table.ids(10)), (vec![], vec!["1", "2"]));
    let gone = table.facts.expire(at(11));
    assert_eq!(gone, [Gone { id: "1".into(), seq: 1, why: Why::Expired }]);
    assert_eq!((table.ids(11), table.facts.next_expiry(), table.facts.len()), (vec!["2"], None, 1));
    // A late copy is a copy; told for longer it holds again; so it does observed later.
    assert_eq!(table.tell(12, &fact("1", 1, 10)).0, Judged::Duplicate);
    assert_eq!(table.tell(13, &fact("1", 1, 30)).1.unwrap().change, Change::New);
    table.facts.expire(at(31));
    assert_eq!(table.tell(32, &fact("1", 32, 0)).1.unwrap().change, Change::New);
    // What was over when it came is recorded and does not hold.
    assert_eq!(table.tell(50, &fact("3", 1, 40)).1.unwrap(), Folded { change: Change::Ignored, gone: vec![] });
    assert_eq!(table.tell(50, &fact("3", 1, 40)).0, Judged::Duplicate);
    // How it ended is forgotten in the end.
    table.facts.expire(at(50 + 601));
    assert_eq!(table.facts.judge(&fact("3", 1, 40)), Judged::New);
}

#[test]
fn a_withdrawal_ends_a_fact_until_it_is_observed_again() {
    let mut table = check(&[(1, fact("1", 1, 0), Judged::New)]);
    let mut takes_back = withdrawn(Fact::new("g", "1", "anything"));
    takes_back.source = "a".into();
    takes_back.observed = Some(at(5));
    let merged = table.facts.merged(&takes_back);
    assert_eq!(
        (merged.kind.as_str(), merged.subject.as_str()),
        ("x.observed", "10.0.0.1"),
        "it passes the same filters"
    );
    assert_eq!(merged.expires, Some(at(5)), "over also for those who do not know withdrawals");
    let folded = table.tell(5, &takes_back).1.unwrap();
    assert_eq!(
        folded,
        Folded { change: Change::Withdrawn, gone: vec![Gone { id: "1".into(), seq: 1, why: Why::Withdrawn }] }
    );
    assert_eq!((table.ids(5), table.facts.len()), (vec![], 0));
    assert!(table.facts.get("1").unwrap().withdrawn, "it is kept, for peers to be told");
    assert_eq!(table.facts.after(1).count(), 1);
    assert_eq!(table.tell(6, &takes_back).0, Judged::Duplicate);
    assert_eq!(table.tell(6, &withdrawn(fact("1", 6, 0))).0, Judged::Again);
    assert_eq!(table.tell(6, &fact("1", 5, 0)).0, Judged::Duplicate, "the withdrawal wins at the same moment");
    assert_eq!(table.tell(6, &fact("1", 6, 0)).1.unwrap().change, Change::New);
    let expires = table.facts.get("1").unwrap().expires;
    assert_eq!(expires, Some(FOR_EVER), "it outlasts what a peer may still know of its first life");
    // A withdrawal that comes late withdraws nothing; one of what is not known forbids it.
    assert_eq!(table.tell(7, &withdrawn(fact("1", 5, 0))).0, Judged::Duplicate);
    assert_eq!(table.tell(7, &withdrawn(fact("2", 5, 0))).1.unwrap().change, Change::Withdrawn);
    assert_eq!(table.tell(8, &fact("2", 4, 0)).0, Judged::Duplicate);
    // It is kept as long as the fact would have held, at most a week; where that is not known, until no
    // copy can be on its way.
    const WEEK: u64 = 7 * 24 * 3600;
    table.tell(9, &withdrawn(fact("1", 9, 0)));
    table.facts.expire(at(7 + 601));
    assert!(table.facts.get("2").is_none() && table.facts.get("1").is_some());
    assert!(table.facts.expire(at(9 + WEEK)).is_empty() && table.facts.get("1").is_some());
    let gone = table.facts.expire(at(10 + WEEK));
    assert_eq!(gone.iter().map(|gone| (&*gone.id, gone.why)).collect::<Vec<_>>(), [("1", Why::Forgotten)]);
    assert!(table.facts.get("1").is_none());
}

#[test]
fn an_expired_event_ends_what_was_observed_before_it() {
    let expired = |id: &str, observed| {
        let mut fact = fact(id, observed, 1_000);
        fact.kind = "x.expired".into();
        fact
    };
    let mut other = fact("other", 1, 0);
    other.subject = "10.0.0.2".into();
    let told = [fact("1", 1, 0), other.clone(), expired("e", 5)];
    let mut table = Table::new();
    let mut gone = Vec::new();
    for fact in &told {
        gone.extend(table.tell(5, fact).1.unwrap().gone);
    }
    assert_eq!(gone, [Gone { id: "1".into(), seq: 1, why: Why::Ended }]);
    assert_eq!(table.ids(5), ["other", "e"]);
    // The other way round it is the same: recorded once, and never held.
    let mut turned = Table::new();
    for fact in told.iter().rev() {
        turned.tell(5, fact);
    }
    assert_eq!(turned.ids(5), table.ids(5));
    assert_eq!(turned.tell(5, &fact("1", 1, 0)).0, Judged::Duplicate);
    assert_eq!(turned.tell(6, &fact("1", 6, 0)).1.unwrap().change, Change::New, "seen again");
}

#[test]
fn of_discovery_facts_with_one_key_the_newest_holds() {
    let found = |id: &str, observed| {
        let mut fact = fact(id, observed, 1_000);
        fact.kind = DISCOVERED.into();
        fact.dedupe_key = "vm-1".into();
        fact.payload.insert("source".into(), "provider-discovery".into());
        fact
    };
    let mut table = Table::new();
    table.tell(1, &found("a", 5));
    let folded = table.tell(2, &found("b", 6)).1.unwrap();
    assert_eq!(folded.gone, [Gone { id: "a".into(), seq: 1, why: Why::Replaced }]);
    let folded = table.tell(3, &found("c", 4)).1.unwrap();
    assert_eq!(folded, Folded { change: Change::Ignored, gone: vec![] }, "an older late arrival never holds");
    assert_eq!(table.tell(3, &found("c", 4)).0, Judged::Duplicate);
    assert_eq!(table.ids(3), ["b"]);
    let folded = table.tell(4, &found("d", 6)).1.unwrap();
    assert_eq!(
        (folded.change, table.ids(4)),
        (Change::New, vec!["d"]),
        "of two observed at once the one recorded later"
    );
    let mut plain = found("e", 9);
    plain.payload.clear();
    table.tell(5, &plain);
    assert_eq!(table.ids(5), ["d", "e"], "others keep to themselves");
}

#[test]
fn what_leaves_the_stream_leaves_the_table() {
    let mut table = Table::new();
    for id in ["1", "2", "3"] {
        table.tell(1, &fact(id, 1, 0));
    }
    table.tell(2, &says(fact("1", 2, 0), "more"));
    let gone = table.facts.forget_before(4, at(3));
    assert_eq!(gone.iter().map(|gone| &*gone.id).collect::<Vec<_>>(), ["2", "3"]);
    assert_eq!(table.ids(3), ["1"], "its latest record is still there");
    assert_eq!(table.facts.judge(&fact("2", 1, 0)), Judged::Duplicate, "a late copy is known as one");
    table.facts.check();
}

#[test]
fn a_clock_that_was_ahead_does_not_hide_what_is_told_later() {
    let mut table = Table::new();
    assert_eq!(table.facts.stamp("1", at(5)), at(5));
    table.tell(600, &says(fact("1", 600, 700), "a"));
    let stamped = table.facts.stamp("1", at(5));
    assert_eq!((stamped > at(600), table.facts.stamp("1", at(601))), (true, at(601)));
    let mut later = says(fact("1", 0, 700), "b");
    later.observed = Some(stamped);
    assert_eq!(table.tell(5, &later).0, Judged::Changed);
    table.facts.expire(at(800));
    assert!(table.facts.stamp("1", at(5)) > stamped, "nor does it when it is over");
    assert!(table.facts.is_ahead_of(at(5)) && !table.facts.is_ahead_of(at(800)) && !table.facts.is_ahead_of(at(799)));
}

#[test]
fn peers_are_told_what_the_table_knows() {
    let mut table = Table::new();
    table.record(1, &says(fact("1", 1, 100), "a"));
    let later = says(fact("1", 2, 50), "b");
    table.record(2, &later);
    let told = table.facts.get("1").unwrap().complete(later.clone());
    assert_eq!((told.expires, told.payload), (Some(at(100)), later.payload));
    let bare = withdrawn(Fact { source: "a".into(), observed: Some(at(3)), ..Fact::new("g", "1", "?") });
    table.record(3, &bare);
    let told = table.facts.get("1").unwrap().complete(bare);
    assert_eq!((told.kind.as_str(), told.subject.as_str(), told.expires), ("x.observed", "10.0.0.1", Some(at(3))));
}

#[test]
fn the_end_of_what_somebody_may_hold_for_ever_is_kept_and_told() {
    let mut table = Table::new();
    table.tell(1, &fact("1", 1, 0));
    table.tell(2, &fact("1", 2, 10));
    let gone = table.facts.expire(at(11));
    assert_eq!(gone, [Gone { id: "1".into(), seq: 2, why: Why::Withdrawn }]);
    let entry = table.facts.get("1").unwrap().clone();
    assert!(entry.withdrawn && !table.facts.after(1).any(|entry| entry.seq != 2) && table.facts.is_empty());
    // A peer that knows the first state is told that it is over.
    let mut peer = Table::new();
    peer.tell(1, &fact("1", 1, 0));
    let folded = peer.tell(12, &entry.complete(fact("1", 2, 10))).1.unwrap();
    assert_eq!((folded.change, folded.gone.len(), peer.ids(12)), (Change::Ignored, 1, vec![]));
    // The same where the record is read after its end.
    let mut late = Table::new();
    late.record(1, &fact("1", 1, 0));
    late.record(20, &fact("1", 2, 10));
    assert!(late.facts.get("1").unwrap().withdrawn);
}

#[test]
fn records_that_are_read_again_give_the_same_table() {
    // Two that were told at once and do not know of each other: the expiry of the first counts for both.
    let records = [says(fact("1", 1, 10), "a"), says(fact("1", 2, 0), "b"), fact("2", 1, 5), fact("2", 8, 20)];
    for late in [1, 9, 15, 100] {
        let mut table = Facts::new("g");
        for (seq, record) in (1..).zip(&records) {
            table.fold(seq, at(1), &Stored { fact: record.clone(), via: None }, at(late));
        }
        assert_eq!(table.get("1").and_then(|entry| entry.expires), Some(at(10)), "read at {late}");
        let gone = table.expire(at(late)).len();
        assert_eq!(gone, table.by_seq.len().abs_diff(2), "read at {late}");
    }
}

#[test]
fn what_came_by_a_peer_is_not_owed() {
    let mut table = Table::new();
    table.tell(1, &fact("1", 1, 0));
    let entry = table.facts.get("1").unwrap();
    assert!(entry.is_own("a") && !entry.is_own("b") && !entry.is_own(""));
    let stored = Stored { fact: fact("2", 1, 0), via: Some("b".to_string()) };
    table.facts.fold(9, at(1), &stored, at(1));
    assert!(!table.facts.get("2").unwrap().is_own("a"));
}

#[test]
fn many_facts_cost_no_more_than_few() {
    // No clock here: what is asked is that the work is done in seconds where a scan for each takes hours.
    let mut table = Facts::new("g");
    for seq in 1..=100_000_u64 {
        let stored = Stored { fact: fact(&alloc::format!("fact-{seq}"), seq, seq + 200_000), via: None };
        assert_eq!(table.judge(&stored.fact), Judged::New);
        table.fold(seq, at(seq), &stored, at(seq));
    }
    for seq in 1..=100_000_u64 {
        assert_eq!(table.judge(&fact(&alloc::format!("fact-{seq}"), seq, 0)), Judged::Duplicate);
    }
    let gone: usize = (1..=100_001).map(|seq| table.expire(at(seq + 200_000)).len()).sum();
    assert_eq!((gone, table.len()), (100_000, 0));
}

/// What a node tells of itself: an id, what was observed, and how.
fn tellings() -> impl Strategy<Value = Vec<(u8, u8, u8, bool)>> {
    proptest::collection::vec((0..4_u8, 0..3_u8, 0..40_u8, proptest::bool::weighted(0.2)), 1..24)
}

/// Origin tells; a receiver gets its records in any order, any number of times, and in the end all of them.
/// Gives what holds at both.
fn in_any_order(told: Vec<(u8, u8, u8, bool)>, picks: &[prop::sample::Index]) -> [Vec<Entry>; 2] {
    let mut origin = Table::new();
    let mut records = Vec::new();
    for (now, (id, value, life, takes_back)) in (1..).zip(told) {
        let mut fact = says(fact(&id.to_string(), now, now + 100 + u64::from(life)), &value.to_string());
        fact.subject = (id / 2).to_string();
        if id == 3 {
            fact.kind = "x.expired".into();
        }
        fact.withdrawn = takes_back && id != 3;
        if origin.facts.judge(&fact).is_news(false) {
            records.push(origin.facts.merged(&fact));
            origin.tell(now, &fact);
        }
    }
    let mut receiver = Table::new();
    let mut appended = BTreeSet::new();
    let any_order = picks.iter().filter(|_| !records.is_empty()).map(|pick| pick.get(&records));
    for fact in any_order.chain(records.iter().rev()) {
        if receiver.facts.judge(fact).is_news(true) {
            let merged = receiver.facts.merged(fact);
            assert!(appended.insert(crate::stored::message_id(&merged)), "one record a state");
            receiver.record(100, &merged);
        }
    }
    [origin, receiver].map(|table| {
        let live = table.facts.live(at(100)).cloned();
        live.map(|entry| Entry { seq: 0, recorded: Moment::EPOCH, outlasted: false, ..entry }).collect()
    })
}

proptest! {
    #[test]
    fn whatever_order_records_arrive_in_the_table_is_the_same(
        mut told in tellings(), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        told.iter_mut().for_each(|(id, .., takes_back)| (*id, *takes_back) = (*id % 3, false));
        let [origin, receiver] = in_any_order(told, &picks);
        prop_assert_eq!(receiver, origin);
    }

    #[test]
    fn who_missed_a_withdrawal_holds_no_other_facts_and_none_shorter(
        told in tellings(), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let [origin, receiver] = in_any_order(told, &picks);
        prop_assert_eq!(receiver.len(), origin.len());
        for (received, own) in receiver.iter().zip(&origin) {
            prop_assert!(received.expires >= own.expires, "{:?} {:?}", received, own);
            let expires = own.expires;
            prop_assert_eq!(&Entry { expires, ..received.clone() }, own);
        }
    }
}
