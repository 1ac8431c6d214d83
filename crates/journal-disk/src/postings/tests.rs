use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::disk::File;

/// A file that only reads, and counts how many bytes.
struct Bytes {
    bytes: Vec<u8>,
    read: AtomicUsize,
}

impl File for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.read.fetch_add(len, Ordering::Relaxed);
        Ok(len)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn file(bytes: Vec<u8>) -> Arc<Bytes> {
    Arc::new(Bytes { bytes, read: AtomicUsize::new(0) })
}

#[derive(Debug, Clone, Copy)]
struct Record {
    subject: u32,
    seq: u64,
    offset: u32,
    time: u64,
    size: u32,
}

/// Records from steps of subject, gap, size and time.
fn segment(steps: &[(u32, u64, u32, u64)]) -> Vec<Record> {
    let (mut seq, mut offset, mut time) = (1000, 64, 5_000);
    let mut records = Vec::new();
    for (subject, gap, size, wait) in steps {
        seq += 1 + gap;
        time += wait;
        records.push(Record { subject: *subject, seq, offset, time, size: *size });
        offset += size;
    }
    records
}

fn built(records: &[Record]) -> Builder {
    let mut builder = Builder::new();
    for record in records {
        assert!(builder.push(record.subject, record.seq, record.offset, record.time, record.size));
    }
    builder
}

/// Holds builder and index against the plain list of records.
fn check(records: &[Record], probes: &[(u32, u64)]) {
    let builder = built(records);
    let index = Index::open(file(builder.finish())).unwrap();
    check_one(records, probes, &builder, &index);
    let (early, late) = records.split_at(records.len() * 2 / 3);
    let mut resumed = Builder::resume(&Index::open(file(built(early).finish())).unwrap()).unwrap();
    for record in late {
        assert!(resumed.push(record.subject, record.seq, record.offset, record.time, record.size));
    }
    assert_eq!(resumed.finish(), builder.finish());
    check_one(records, probes, &resumed, &index);
}

fn check_one(records: &[Record], probes: &[(u32, u64)], builder: &Builder, index: &Index) {
    assert_eq!(index.summary(), builder.summary());
    index.check().unwrap();
    for (subject, from) in probes {
        let expected: Vec<(u64, u32)> = records
            .iter()
            .filter(|record| record.subject == *subject && record.seq >= *from)
            .map(|record| (record.seq, record.offset))
            .collect();
        assert_eq!(builder.next(*subject, *from), expected.first().copied());
        assert_eq!(index.next(*subject, *from).unwrap(), expected.first().copied());
        let mut cursor = index.cursor(*subject, *from).unwrap();
        let found: Vec<_> = std::iter::from_fn(|| cursor.advance().unwrap()).collect();
        assert_eq!(found, expected);
        check_locate(records, *from, builder.locate(*from));
        check_locate(records, *from, index.locate(*from));
        let time = 5_000 + *from % 4_000;
        check_locate_time(records, time, builder.locate_time(time));
        check_locate_time(records, time, index.locate_time(time));
    }
    let mut counts = std::collections::BTreeMap::new();
    records.iter().for_each(|record| *counts.entry(record.subject).or_insert(0u32) += 1);
    let counts: Vec<(u32, u32)> = counts.into_iter().collect();
    assert_eq!(index.subjects().collect::<io::Result<Vec<_>>>().unwrap(), counts);
    let mut ours: Vec<_> = builder.subjects().collect();
    ours.sort_unstable();
    assert_eq!(ours, counts);
}

fn check_locate(records: &[Record], from: u64, found: Option<u32>) {
    let expected = records.iter().position(|record| record.seq >= from);
    let found = found.map(|offset| records.iter().position(|record| record.offset == offset).unwrap());
    match (expected, found) {
        (Some(expected), Some(found)) => assert!(found <= expected && expected - found <= 64),
        (expected, found) => assert_eq!(expected, found),
    }
}

fn check_locate_time(records: &[Record], time: u64, found: Option<(u64, u32)>) {
    let expected = records.iter().position(|record| record.time >= time);
    let found = found.map(|place| records.iter().position(|record| (record.seq, record.offset) == place).unwrap());
    match (expected, found) {
        (Some(expected), Some(found)) => assert!(found <= expected && expected - found <= 64),
        (expected, found) => assert_eq!(expected, found),
    }
}

fn steps(subjects: u32) -> impl Strategy<Value = Vec<(u32, u64, u32, u64)>> {
    let gap = prop_oneof![60 => Just(0u64), 1 => 0u64..9, 1 => Just(u64::from(u32::MAX))];
    proptest::collection::vec((0..subjects, gap, 40u32..400, 0u64..9), 0..700)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn few_subjects_agree_with_a_list(steps in steps(3), probes in proptest::collection::vec((0u32..4, 990u64..2500), 1..20)) {
        check(&segment(&steps), &probes);
    }

    #[test]
    fn many_subjects_agree_with_a_list(steps in steps(5000), probes in proptest::collection::vec((0u32..5001, 990u64..2500), 1..20)) {
        check(&segment(&steps), &probes);
    }

    #[test]
    fn strange_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(Index::open(file(bytes)).is_err());
    }
}

/// A segment of `records` records of about `size` bytes over `subjects` subjects.
fn even(records: u32, subjects: u32, size: u32) -> Vec<Record> {
    let step = |number: u32| (number.wrapping_mul(2_654_435_761) % subjects, 0, size + number % 8, 1);
    segment(&(0..records).map(step).collect::<Vec<_>>())
}

#[test]
fn a_record_costs_at_most_four_bytes_of_index_with_a_thousand_subjects() {
    let records = even(90_000, 1_000, 176);
    let builder = built(&records);
    let on_disk = builder.finish().len() as f64 / 90_000.0;
    assert!(on_disk <= 4.0, "{on_disk}");
    let in_memory = (builder.memory_bytes() - 1_000 * 40) as f64 / 90_000.0;
    assert!(in_memory <= 6.0, "{in_memory}");
}

#[test]
fn a_record_costs_at_most_twelve_bytes_of_index_where_each_has_its_own_subject() {
    let steps: Vec<_> = (0..90_000u32).map(|number| (number, 0, 176 + number % 900, 1)).collect();
    let builder = built(&segment(&steps));
    let on_disk = builder.finish().len() as f64 / 90_000.0;
    assert!(on_disk <= 12.0, "{on_disk}");
    let in_memory = builder.memory_bytes() as f64 / 90_000.0;
    assert!(in_memory <= 36.0, "{in_memory}");
}

#[test]
fn a_match_reads_a_few_pages_however_long_the_segment_is() {
    for subjects in [1, 1_000, 90_000] {
        let records = even(90_000, subjects, 176);
        let file = file(built(&records).finish());
        let index = Index::open(file.clone()).unwrap();
        let probe = records[77_777];
        file.read.store(0, Ordering::Relaxed);
        assert_eq!(index.next(probe.subject, probe.seq).unwrap(), Some((probe.seq, probe.offset)));
        let read = file.read.load(Ordering::Relaxed);
        assert!(read <= 6 * PAGE_BYTES, "{read} bytes with {subjects} subjects");
    }
}

#[test]
fn what_does_not_follow_is_not_taken() {
    let mut builder = Builder::new();
    assert!(builder.push(1, 5, 100, 1, 50));
    assert!(!builder.push(1, 5, 200, 1, 50));
    assert!(!builder.push(1, 6, 149, 1, 50));
    assert!(builder.push(1, 6, 150, 0, 50));
    assert_eq!(builder.summary().last_time, 1);
    assert_eq!(builder.summary().records, 2);
}

/// Damage of any byte is found, at the latest by the read that needs it.
#[test]
fn every_flipped_bit_is_found() {
    let records = even(300, 40, 60);
    let bytes = built(&records).finish();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let found = Index::open(file(damaged)).map_err(|_| ()).and_then(|index| index.check().map_err(|_| ()));
        assert!(found.is_err(), "byte {place}");
        assert!(Index::open(file(bytes[..place].to_vec())).is_err(), "cut at {place}");
    }
}

/// With checksums that agree, content that makes no sense ends in an error or an answer.
#[test]
fn a_body_that_makes_no_sense_is_survived() {
    let records = even(2_000, 7, 60);
    let bytes = built(&records).finish();
    let head_at = HEADER_BYTES;
    let body = find_body(&bytes);
    for seed in 0..400usize {
        let mut damaged = bytes.clone();
        let at = body + seed * 97 % (bytes.len() - body);
        damaged[at] = damaged[at].wrapping_add(1 + seed as u8 % 200);
        reseal(&mut damaged, head_at, body);
        let index = Index::open(file(damaged)).unwrap();
        let _ = Builder::resume(&index);
        for subject in 0..8 {
            let Ok(mut cursor) = index.cursor(subject, 1_500) else { continue };
            for _ in 0..3_000 {
                if !matches!(cursor.advance(), Ok(Some(_))) {
                    break;
                }
            }
        }
        let _ = index.subjects().count();
    }
}

fn find_body(bytes: &[u8]) -> usize {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    bytes.len() - word(56)
}

fn reseal(bytes: &mut [u8], head_at: usize, body: usize) {
    let pages: Vec<u32> = bytes[body..].chunks(PAGE_BYTES).map(crc32c::crc32c).collect();
    let pages_at = body - 4 - pages.len() * 4;
    for (page, crc) in pages.iter().enumerate() {
        bytes[pages_at + page * 4..][..4].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[head_at..body - 4]);
    bytes[body - 4..body].copy_from_slice(&crc.to_le_bytes());
}
