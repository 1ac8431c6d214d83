//! Stories of reading.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use event::Subject;

use super::bench::{Table, message, pattern};
use crate::{Append, Read, ReadError, Start};

const SECOND: Duration = Duration::from_secs(1);

/// `next` and `last`.
pub fn a_page_says_where_to_go_on(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let empty = table.read("S", Read::from(1, 10));
    assert_eq!((empty.messages.len(), empty.next, empty.last), (0, 1, 0));
    table.put_many("a.b", 7);
    let (mut from, mut all) = (1, Vec::new());
    loop {
        let page = table.read("S", Read::from(from, 3));
        assert!(page.messages.len() <= 3 && page.damaged.is_empty());
        all.extend(page.messages.iter().map(|stored| stored.seq));
        from = page.next;
        if page.next > page.last {
            break;
        }
    }
    assert_eq!((all, from), ((1..=7).collect::<Vec<u64>>(), 8));
    assert_eq!(table.matching("S", Start::Seq(0), &[]).len(), 7);
    assert_eq!(table.matching("S", Start::Seq(100), &[]).len(), 0);
    assert_eq!(table.matching("S", Start::New, &[]).len(), 0);
}

/// At or after.
pub fn a_read_may_start_at_a_moment(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let mut moments = Vec::new();
    for _ in 0..4 {
        table.advance(SECOND);
        moments.push(table.bench().now());
        table.put("a.b", "x");
    }
    table.advance(SECOND);
    for (place, moment) in (1..).zip(moments) {
        assert_eq!(table.matching("S", Start::Time(moment), &[]).first(), Some(&place));
    }
    let now = table.bench().now();
    assert_eq!(table.matching("S", Start::Time(now), &[]).len(), 0);
}

/// One filter, several, wildcards, none that match.
pub fn a_filtered_read_gives_what_matches(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for number in 0..30 {
        table.put(&format!("a.{}.{}", number % 3, number % 5), "x");
    }
    let all: Vec<u64> = (1..=30).collect();
    let expect = |keep: &dyn Fn(u64) -> bool| all.iter().copied().filter(|seq| keep(seq - 1)).collect::<Vec<u64>>();
    assert_eq!(table.matching("S", Start::Seq(1), &["a.1.2"]), expect(&|n| n % 3 == 1 && n % 5 == 2));
    assert_eq!(table.matching("S", Start::Seq(1), &["a.1.*"]), expect(&|n| n % 3 == 1));
    assert_eq!(table.matching("S", Start::Seq(16), &["a.*.4", "a.2.0"]), {
        expect(&|n| n >= 15 && (n % 5 == 4 || n % 3 == 2 && n % 5 == 0))
    });
    assert_eq!(table.matching("S", Start::Seq(1), &["a.>"]), all);
    assert_eq!(table.matching("S", Start::Seq(1), &["a.9.9", "b.>"]), []);
    let read = Read { filters: [pattern("a.1.*")].into(), ..Read::from(1, 4) };
    let page = table.read("S", read);
    assert_eq!(page.messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2, 5, 8, 11]);
    assert!(page.next > 11 && page.next <= 14, "{}", page.next);
}

/// In order of position; with filters and from a position too.
pub fn the_last_of_each_subject(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.x", "a.y", "a.x", "a.z", "a.y", "a.x"] {
        table.put(subject, "p");
    }
    let mut check = |filters: &[&str], from: u64, expected: &[u64]| {
        let filters = filters.iter().map(|text| pattern(text)).collect();
        let read = Read { last_per_subject: true, filters, ..Read::from(from, 100) };
        let page = table.read("S", read);
        assert_eq!(page.messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), expected);
        assert!(page.next > page.last);
    };
    check(&[], 1, &[4, 5, 6]);
    check(&["a.y", "a.z"], 1, &[4, 5]);
    check(&[], 5, &[5, 6]);
    let read = Read { last_per_subject: true, ..Read::from(1, 2) };
    let page = table.read("S", read);
    assert_eq!(page.messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [4, 5]);
    let read = Read { last_per_subject: true, ..Read::from(page.next, 2) };
    assert_eq!(table.read("S", read).messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [6]);
}

/// By literal and by pattern.
pub fn the_last_of_a_subject_or_pattern(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.x", "a.y", "a.x", "a.z"] {
        table.put(subject, "p");
    }
    for (text, expected) in
        [("a.x", Ok(3)), ("a.y", Ok(2)), ("a.*", Ok(4)), ("a.q", Err(ReadError::NoMessage)), (">", Ok(4))]
    {
        let last = table.journal().last("S", &pattern(text));
        assert_eq!(table.wait(last).map(|stored| stored.seq), expected, "{text}");
    }
}

/// Or the error says that there is none.
pub fn one_message_by_its_position(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.b", 3);
    for (seq, expected) in [(2, Ok(2)), (0, Err(ReadError::NoMessage)), (4, Err(ReadError::NoMessage))] {
        let got = table.journal().get("S", seq);
        assert_eq!(table.wait(got).map(|stored| stored.seq), expected);
    }
}

/// A read at the end waits for what its filters match, and for nothing else.
pub fn a_read_that_waits_follows(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    let read = Read { filters: [pattern("a.y")].into(), wait: Some(SECOND * 600), ..Read::from(1, 10) };
    let waiting = table.journal().read("S", read);
    let dropped = table.journal().read("S", Read { wait: Some(SECOND * 600), ..Read::from(3, 10) });
    drop(dropped);
    table.put("a.x", "3");
    table.put("a.y", "4");
    let page = table.wait(waiting).expect("a page");
    assert_eq!(page.messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [4]);
    let read = Read { start: Start::New, wait: Some(SECOND * 600), ..Read::from(1, 10) };
    let waiting = table.journal().read("S", read);
    table.put("a.z", "5");
    let page = table.wait(waiting).expect("a page");
    assert_eq!((page.messages.first().expect("one").seq, page.next), (5, 6));
}

/// With an empty page that says where to go on.
pub fn a_read_that_waits_ends_with_its_wait(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    let waiting = table.journal().read("S", Read { wait: Some(SECOND), ..Read::from(3, 10) });
    table.advance(SECOND + SECOND / 10);
    let page = table.wait(waiting).expect("a page");
    assert_eq!((page.messages.len(), page.next, page.last), (0, 3, 2));
}

/// Save that it holds at least one.
pub fn a_page_is_bounded_by_bytes(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for _ in 0..5 {
        table.put("a.b", &"x".repeat(1000));
    }
    let page = table.read("S", Read { bytes: 2500, ..Read::from(1, 10) });
    assert!((1..=2).contains(&page.messages.len()), "{}", page.messages.len());
    let page = table.read("S", Read { bytes: 10, ..Read::from(1, 10) });
    assert_eq!((page.messages.len(), page.next), (1, 2));
}

/// Byte order, after one, at most so many.
pub fn subjects_are_listed_in_order(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.c", "a.a", "a.b", "a.c", "a.a.x"] {
        table.put(subject, "p");
    }
    let mut check = |text: &str, after: Option<&str>, limit: usize, expected: &[(&str, u64, u64, u64)]| {
        let after = after.map(|text| Subject::parse(text).expect("a subject"));
        let listed = table.journal().subjects("S", &pattern(text), after, limit);
        let listed = table.wait(listed).expect("listed");
        let listed: Vec<_> =
            listed.iter().map(|each| (each.subject.as_str(), each.messages, each.first, each.last)).collect();
        assert_eq!(listed, expected);
    };
    check(">", None, 9, &[("a.a", 1, 2, 2), ("a.a.x", 1, 5, 5), ("a.b", 1, 3, 3), ("a.c", 2, 1, 4)]);
    check("a.*", Some("a.a"), 1, &[("a.b", 1, 3, 3)]);
    check("a.q", None, 9, &[]);
}

/// Every verb says so.
pub fn a_stream_that_is_not_there(table: &mut Table) {
    let missing = || ReadError::NotFound("S".into());
    let read = table.journal().read("S", Read::from(1, 1));
    assert_eq!(table.wait(read), Err(missing()));
    let got = table.journal().get("S", 1);
    assert_eq!(table.wait(got), Err(missing()));
    let last = table.journal().last("S", &pattern(">"));
    assert_eq!(table.wait(last), Err(missing()));
    let subjects = table.journal().subjects("S", &pattern(">"), None, 1);
    assert_eq!(table.wait(subjects), Err(missing()));
    assert!(table.append(Append::new(message("a", "x"))).is_err());
}
