//! What is written comes back; what was not written is refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn moment() -> impl Strategy<Value = Moment> {
    any::<u64>().prop_map(Moment::from_nanos)
}

fn span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn start() -> impl Strategy<Value = ConsumerStart> {
    prop_oneof![
        Just(ConsumerStart::All),
        Just(ConsumerStart::Last),
        Just(ConsumerStart::New),
        any::<u64>().prop_map(ConsumerStart::Seq),
        moment().prop_map(ConsumerStart::Time),
        Just(ConsumerStart::LastPerSubject),
    ]
}

fn config() -> impl Strategy<Value = ConsumerConfig> {
    let ack = prop_oneof![Just(AckPolicy::Explicit), Just(AckPolicy::All), Just(AckPolicy::None)];
    let filter = "[a-z*]{1,3}(\\.[a-z]{1,3}){0,2}".prop_filter_map("a pattern", |text| Pattern::parse(&text).ok());
    let words = ("[a-zA-Z0-9_-]{1,20}", "\\PC{0,20}", any::<bool>(), vec(filter, 0..4), start(), ack);
    let waits = (span(), vec(span(), 0..4), option::of(any::<u64>()), any::<bool>(), limits());
    let rest = (option::of(moment()), option::of(span()), btree_map("\\PC{0,5}", "\\PC{0,5}", 0..4));
    (words, waits, rest).prop_map(|(words, waits, (pause_until, inactive, metadata))| {
        let (name, description, durable, filters, start, ack) = words;
        let (ack_wait, backoff, deliver_max, dead_letter, limits) = waits;
        ConsumerConfig {
            name,
            description,
            durable,
            filters,
            start,
            ack,
            ack_wait,
            backoff,
            deliver_max,
            dead_letter,
            pause_until,
            inactive,
            metadata,
            ..limits
        }
    })
}

/// What a declaration has besides.
fn limits() -> impl Strategy<Value = ConsumerConfig> {
    let some = || option::of(any::<u64>());
    let policy =
        prop_oneof![Just(PriorityPolicy::Overflow), Just(PriorityPolicy::Pinned), Just(PriorityPolicy::Prioritized)];
    let priority = (policy, vec("[a-z]{1,5}", 0..3), span());
    let priority = priority.prop_map(|(policy, groups, pinned_ttl)| PriorityConfig { policy, groups, pinned_ttl });
    let numbers = (some(), any::<u64>(), some(), some(), option::of(span()), some());
    (numbers, any::<[bool; 2]>(), option::of("\\PC{0,5}"), option::of(priority)).prop_map(
        |(numbers, [headers_only, replay_original], sample, priority)| {
            let (ack_pending_max, waiting_max, batch_max, bytes_max, expires_max, rate_limit_bps) = numbers;
            ConsumerConfig {
                ack_pending_max,
                waiting_max,
                batch_max,
                bytes_max,
                expires_max,
                rate_limit_bps,
                headers_only,
                replay_original,
                sample,
                priority,
                ..ConsumerConfig::new("")
            }
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    any::<[u64; 8]>().prop_map(|[cursor, until, delivered, order, dead, floor, acked, acked_order]| Position {
        cursor,
        until,
        delivered,
        order,
        dead,
        floor,
        acked,
        acked_order,
    })
}

fn flights() -> impl Strategy<Value = Vec<SavedFlight>> {
    let place = prop_oneof![moment().prop_map(SavedPlace::Out), "\\PC{0,20}".prop_map(SavedPlace::Dying)];
    let flight = (any::<[u64; 3]>(), moment(), moment(), place);
    btree_map(any::<u64>(), flight, 0..6).prop_map(|flights| {
        let saved = flights.into_iter();
        let one = |(seq, ([attempt, order, order_last], first, last, place)): (
            u64,
            ([u64; 3], Moment, Moment, SavedPlace),
        )| SavedFlight { seq, attempt, order, order_last, first, last, place };
        saved.map(one).collect()
    })
}

fn seqs() -> impl Strategy<Value = Vec<u64>> {
    btree_set(any::<u64>(), 0..6).prop_map(|seqs| seqs.into_iter().collect())
}

fn entry() -> impl Strategy<Value = Entry> {
    let name = || "\\PC{0,20}";
    prop_oneof![
        (name(), any::<[u64; 2]>(), moment(), config(), position(), seqs(), flights(), seqs()).prop_map(
            |(stream, [tag, origin], created, config, position, firsts, flights, spent)| Entry::Whole {
                stream,
                tag,
                created,
                config,
                position,
                origin,
                firsts,
                flights,
                spent
            }
        ),
        (name(), name(), any::<u64>(), position(), flights(), seqs(), seqs()).prop_map(
            |(stream, name, tag, position, flights, landed, spent)| Entry::Change {
                stream,
                name,
                tag,
                position,
                flights,
                landed,
                spent
            }
        ),
        (name(), name(), any::<u64>()).prop_map(|(stream, name, tag)| Entry::Gone { stream, name, tag }),
    ]
}

proptest! {
    #[test]
    fn a_change_comes_back(entries in vec(entry(), 0..5)) {
        prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes: Vec<u8>, kind in 0..5_u8) {
        let _ = decode(&bytes);
        let mut framed = Vec::from([VERSION, kind, u8::try_from(bytes.len().min(127)).unwrap()]);
        framed.extend(bytes);
        let _ = decode(&framed);
    }

    #[test]
    fn a_change_that_is_cut_is_refused(entry in entry(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&[entry]);
        let cut = cut.index(bytes.len() - 1) + 1;
        if cut > 1 {
            prop_assert!(decode(bytes.get(..cut).unwrap()).is_err());
        }
    }
}

/// Bytes of version 1, as written when it was new: what a node saved then is read for ever.
#[test]
fn version_1_is_read() {
    let bytes =
        [1, 2, 20, 1, b'S', 1, b'c', 5, 9, 0, 8, 8, 0, 6, 1, 7, 2, 10, 4, 0, 6, 1, 8, 3, 5, 1, b'S', 1, b'd', 5];
    let position =
        Position { cursor: 9, until: 0, delivered: 8, order: 8, dead: 0, floor: 6, acked: 6, acked_order: 0 };
    let (first, last, due) = (Moment::from_nanos(10), Moment::from_nanos(12), Moment::from_nanos(15));
    let flight = SavedFlight { seq: 7, attempt: 2, order: 0, order_last: 0, first, last, place: SavedPlace::Out(due) };
    let (stream, name) = (String::from("S"), String::from("c"));
    let (flights, landed) = (Vec::from([flight]), Vec::from([8]));
    let change = Entry::Change { stream, name, tag: 5, position, flights, landed, spent: Vec::new() };
    let gone = Entry::Gone { stream: String::from("S"), name: String::from("d"), tag: 5 };
    let entries = [change, gone];
    assert_eq!(decode(&bytes).unwrap(), entries);
    assert_eq!(decode(&[3]), Err(Corrupt("version")));
}
