//! The stepped engine against the engine in memory: rollups, batches, markers, lives without end,
//! with checkpoints, kills and clean ends between them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use std::time::Duration;

use bench::{message, open, run};
use bytes::Bytes;
use event::{Moment, Transform};
use journal::limits::TTL_NEVER;
use journal::memory::Memory;
use journal::{Append, Discard, Expect, Proof, Read, Rollup, StreamConfig, Until};
use journal_disk::{Core, Op, Reader};

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn happens(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

struct Pair {
    dir: tempfile::TempDir,
    place: (u64, u64),
    chance: Chance,
    now: Moment,
    core: Option<Core>,
    memory: Memory,
}

fn shaped(chance: &mut Chance) -> StreamConfig {
    let mut config = bench::declared("S", "a.>");
    (config.allow_rollup, config.allow_atomic, config.allow_ttl) = (true, true, true);
    config.duplicate_window = Duration::from_millis(20);
    config.age_max = chance.happens(2).then(|| Duration::from_millis(100 + chance.below(3_000)));
    config.marker_ttl = (!chance.happens(3)).then(|| Duration::from_secs(1 + chance.below(3)));
    config.messages_per_subject_max = chance.happens(3).then(|| 1 + chance.below(3));
    config.messages_max = chance.happens(4).then(|| 3 + chance.below(20));
    config.bytes_max = chance.happens(4).then(|| 300 + chance.below(2_000));
    if chance.happens(4) {
        config.discard = Discard::New;
        config.discard_new_per_subject = config.messages_per_subject_max.is_some();
    }
    config.first = chance.below(3) * 50;
    config.transform = chance.happens(3).then(|| Transform::new("a.*", "b.{{partition(4,1)}}").unwrap());
    config
}

impl Pair {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Moment::from_nanos(1_000_000_000);
        let mut chance = Chance(seed);
        let config = shaped(&mut chance);
        let (mut core, mut memory) = (open(dir.path(), now), Memory::new());
        run(&mut core, now, |done| Op::Create(config.clone(), done)).unwrap();
        memory.stream_create(now, config).unwrap();
        Pair { dir, place: (seed, 0), chance, now, core: Some(core), memory }
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().unwrap()
    }

    fn step(&mut self) {
        self.now = self.now.after(Duration::from_millis(self.chance.below(60)));
        let now = self.now;
        self.core().tick(now);
        self.memory.tick(now);
        match self.chance.below(100) {
            0..60 => self.append(),
            60..75 => self.batch(),
            75..80 => self.delete(),
            80..84 => self.core().flush(now).unwrap(),
            84..88 => self.core().checkpoint(now).unwrap(),
            88..92 => {
                drop(self.core.take());
                self.core = Some(open(self.dir.path(), now));
            }
            92..95 => {
                self.core().close(now);
                drop(self.core.take());
                self.core = Some(open(self.dir.path(), now));
            }
            _ => self.now = now.after(Duration::from_secs(self.chance.below(3))),
        }
        let now = self.now;
        self.core().tick(now);
        self.memory.tick(self.now);
        self.compare();
        self.place.1 += 1;
    }

    fn appended(&mut self) -> Append {
        let chance = &mut self.chance;
        let mut append =
            message(&format!("a.{}", chance.below(6)), &"x".repeat(usize::try_from(chance.below(60)).unwrap()));
        append.id = chance.happens(4).then(|| Bytes::from(format!("id{}", chance.below(20))));
        append.ttl = match chance.below(6) {
            0 => Some(TTL_NEVER),
            1 | 2 => Some(Duration::from_millis(chance.below(2_500))),
            _ => None,
        };
        append.rollup = match chance.below(16) {
            0 => Some(Rollup::All),
            1 | 2 => Some(Rollup::Subject),
            _ => None,
        };
        if chance.happens(8) {
            let last = self.memory.stream_info("S").unwrap().state.last;
            append.expect = Expect { last: Some(last), ..Expect::default() };
        }
        append
    }

    fn append(&mut self) {
        let mut append = self.appended();
        if self.chance.happens(20) {
            let last = self.memory.stream_info("S").unwrap().state.last;
            append.at =
                Some((last + self.chance.below(6), self.now.before(Duration::from_millis(self.chance.below(500)))));
        }
        let now = self.now;
        let theirs = run(self.core(), now, |done| Op::Append(append.clone(), done));
        let ours = self.memory.append(now, append);
        assert_eq!(
            theirs.map(|receipt| journal::Receipt { proof: Proof::Memory, ..receipt }),
            ours,
            "{:?}",
            self.place
        );
    }

    fn batch(&mut self) {
        let count = 1 + self.chance.below(5);
        let appends: Vec<Append> = (0..count).map(|_| self.appended()).collect();
        let now = self.now;
        let theirs = run(self.core(), now, |done| Op::AppendAll(appends.clone(), done));
        let ours = self.memory.append_all(now, appends);
        assert_eq!(
            theirs.map(|receipt| journal::Receipt { proof: Proof::Memory, ..receipt }),
            ours,
            "{:?}",
            self.place
        );
    }

    fn delete(&mut self) {
        let last = self.memory.stream_info("S").unwrap().state.last;
        let (now, seq) = (self.now, last.saturating_sub(self.chance.below(8)));
        let theirs = run(self.core(), now, |done| Op::Delete("S".into(), seq, done));
        assert_eq!(theirs, self.memory.delete("S", seq), "{:?}", self.place);
    }

    fn compare(&mut self) {
        let place = self.place;
        let theirs = self.core().info("S").unwrap().state;
        let ours = self.memory.stream_info("S").unwrap().state;
        let reader = Reader::new(self.core().directory());
        for until in [None, Some(Until::Seq(ours.last.saturating_sub(place.1 % 9)))] {
            for last_per_subject in [false, true] {
                let read = Read { until, last_per_subject, ..Read::from(1, 10_000) };
                assert_eq!(reader.page("S", &read), self.memory.read("S", &read), "{place:?} {read:?}");
            }
        }
        assert_eq!(theirs, ours, "{place:?}");
        assert_eq!(reader.deleted("S", place.1, 50), self.memory.deleted("S", place.1, 50), "{place:?}");
    }
}

#[test]
fn what_is_said_of_an_append_is_done_as_in_memory() {
    for seed in 1..=10 {
        let mut pair = Pair::new(seed);
        (0..150).for_each(|_| pair.step());
    }
}
