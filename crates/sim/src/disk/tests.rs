use super::*;

fn check(name: &str, seeds: u64, each: impl Fn(&SimDisk, &mut Chance)) {
    for seed in 0..seeds {
        let disk = SimDisk::new(seed);
        let mut chance = Chance::new(seed).branch(1);
        println!("{name}: seed {seed}");
        each(&disk, &mut chance);
    }
}

fn bytes_of(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn made(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.create(path).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file
}

#[test]
fn what_is_written_is_read_back() {
    check("read back", 1, |disk, chance| {
        let file = disk.create("a").unwrap();
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..500 {
            let offset = chance.index(5000);
            match chance.below(6) {
                0 => {
                    file.set_len(offset as u64).unwrap();
                    model.resize(offset, 0);
                }
                1 => {
                    file.allocate(offset as u64).unwrap();
                    model.resize(model.len().max(offset), 0);
                }
                2 => file.sync_data().unwrap(),
                _ => {
                    let bytes = vec![u8::try_from(chance.below(256)).unwrap(); chance.index(1500)];
                    file.write_at(&bytes, offset as u64).unwrap();
                    model.resize(model.len().max(offset + bytes.len()), 0);
                    model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            assert_eq!(bytes_of(disk, "a"), model);
        }
    });
}

#[test]
fn what_was_synced_survives_a_power_failure() {
    check("synced", 100, |disk, chance| {
        let file = made(disk, "a", &[7; 3000]);
        file.write_at(&[8; 1000], 3000).unwrap();
        disk.crash(chance);
        let bytes = bytes_of(disk, "a");
        assert!(bytes.len() >= 3000 && bytes[..2560].iter().all(|byte| *byte == 7));
        assert!(bytes[2560..3000].iter().all(|byte| *byte == 7), "the tail sector changes only by appended bytes");
        assert!(file.write_at(&[1], 0).is_err(), "a handle of before is of no use");
    });
}

#[test]
fn unsynced_writes_tear_at_sectors() {
    let (mut lost, mut kept, mut torn, mut holes) = (0, 0, 0, 0);
    for seed in 0..300 {
        let (disk, mut chance) = (SimDisk::new(seed), Chance::new(seed));
        let file = made(&disk, "a", &[1; 4096]);
        file.write_at(&[2; 4096], 0).unwrap();
        disk.crash(&mut chance);
        let bytes = bytes_of(&disk, "a");
        let sectors: Vec<bool> = bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
                sector[0] == 2
            })
            .collect();
        let news = sectors.iter().filter(|new| **new).count();
        match news {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
        holes += usize::from(sectors.windows(2).any(|pair| !pair[0] && pair[1]));
    }
    assert!(lost > 20 && kept > 20 && torn > 20 && holes > 20, "{lost} {kept} {torn} {holes}");
}

#[test]
fn names_survive_only_with_their_directory() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, mut chance) = (SimDisk::new(seed), Chance::new(seed));
        disk.make_dir("d/e").unwrap();
        disk.sync_dir("").unwrap();
        disk.sync_dir("d").unwrap();
        let file = disk.create("d/e/a").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        disk.crash(&mut chance);
        let names = disk.list("d/e").unwrap();
        assert!(names.len() <= 1);
        lost += usize::from(names.is_empty());
    }
    assert!(lost > 20 && lost < 100, "{lost}");
}

#[test]
fn a_rename_happens_whole_or_not() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let (disk, mut chance) = (SimDisk::new(seed), Chance::new(seed));
        made(&disk, "a", b"old");
        made(&disk, "b", b"new");
        disk.rename("b", "a").unwrap();
        assert_eq!(bytes_of(&disk, "a"), b"new");
        disk.crash(&mut chance);
        match (&bytes_of(&disk, "a")[..], disk.list("").unwrap().len()) {
            (b"old", 2) => old += 1,
            (b"new", 1) => new += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn a_killed_program_loses_nothing_written() {
    check("kill", 20, |disk, _| {
        let lock = disk.lock().unwrap();
        assert_eq!(disk.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
        disk.create("a").unwrap().write_at(b"abc", 0).unwrap();
        disk.kill();
        let again = disk.lock().unwrap();
        drop(lock);
        assert_eq!(bytes_of(disk, "a"), b"abc");
        assert!(disk.lock().is_err(), "the old guard frees nothing");
        drop(again);
        assert!(disk.lock().is_ok());
    });
}

#[test]
fn a_failed_sync_leaves_bytes_that_read_back_and_are_not_there() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, mut chance) = (SimDisk::new(seed), Chance::new(seed));
        let file = made(&disk, "a", &[1; 512]);
        file.write_at(&[2; 512], 0).unwrap();
        disk.set_faults(Faults { syncs: Countdown { after: 0, times: 1 }, ..Faults::default() });
        assert!(file.sync_data().is_err());
        assert_eq!(bytes_of(&disk, "a"), [2; 512]);
        file.sync_data().unwrap();
        disk.crash(&mut chance);
        lost += usize::from(bytes_of(&disk, "a") == [1; 512]);
    }
    assert!(lost > 20 && lost < 80, "{lost}");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    check("full", 1, |disk, _| {
        disk.set_capacity(Some(4096));
        let file = disk.create("a").unwrap();
        file.allocate(2048).unwrap();
        assert_eq!(file.allocate(8192).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.used(), 2048);
        file.write_at(&[1; 2048], 0).unwrap();
        assert_eq!(file.write_at(&[1; 4096], 2048).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 4096);
        disk.remove("a").unwrap();
        assert_eq!(disk.used(), 4096, "an open file holds its room");
        drop(file);
        assert_eq!(disk.used(), 0);
        disk.create("b").unwrap().write_at(&[1; 4096], 0).unwrap();
    });
}

#[test]
fn faults_come_by_countdown() {
    check("countdown", 1, |disk, chance| {
        let file = disk.create("a").unwrap();
        let one = Countdown { after: 1, times: 1 };
        disk.set_faults(Faults { writes: one, reads: one, ..Faults::default() });
        for expected in [true, false, true] {
            assert_eq!(file.write_at(b"x", 0).is_ok(), expected);
            assert_eq!(file.read_at(&mut [0], 0).is_ok(), expected);
        }
        disk.set_faults(Faults { read_only: true, ..Faults::default() });
        assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        disk.set_faults(Faults { power: Some(2), ..Faults::default() });
        assert!(file.write_at(b"x", 0).is_ok() && file.sync_data().is_ok() && !disk.is_down());
        assert!(disk.create("b").is_err() && disk.is_down() && disk.list("").is_err());
        disk.crash(chance);
        assert!(!disk.is_down() && disk.list("").is_ok());
    });
}

#[test]
fn a_bit_flips_where_it_says() {
    check("flip", 50, |disk, chance| {
        made(disk, "a", &[0; 2000]);
        made(disk, "b", &[5; 2000]);
        let flip = disk.flip(chance, |path| path == "b").unwrap();
        let mut expected = vec![5; 2000];
        expected[usize::try_from(flip.offset).unwrap()] ^= 1 << flip.bit;
        assert_eq!(bytes_of(disk, "b"), expected);
        disk.crash(chance);
        assert_eq!(bytes_of(disk, "b"), expected);
        assert!(disk.flip_at(&flip));
        assert_eq!(bytes_of(disk, "b"), [5; 2000]);
    });
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let (disk, mut chance) = (SimDisk::new(seed), Chance::new(seed));
        let mut digests = Vec::new();
        for round in 0..20 {
            disk.make_dir(&format!("d{}", chance.below(3))).unwrap();
            let file = disk.create(&format!("f{round}")).unwrap();
            file.write_at(&[round; 700], chance.below(2000)).unwrap();
            disk.set_faults(Faults { syncs: Countdown { after: 0, times: chance.below(2) }, ..Faults::default() });
            let _may_fail = file.sync_data();
            let _may_fail = disk.sync_dir("");
            if chance.happens(1, 3) {
                disk.crash(&mut chance);
            }
            digests.push(disk.digest());
        }
        digests
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
