//! A service whose first instance changes again and again, and how soon its watchers know.

use std::time::{Duration, Instant};

use super::site::{Site, register, registration};
use super::{Bench, Load, crowd::Crowd};
use crate::bench::spread::Spread;
use crate::http::Connection;
use crate::node::processor_time;

/// The service.
pub const NAME: &str = "web";
/// Changes that are measured.
const CHANGES: usize = 10;
const CHANGES_QUICK: usize = 3;
/// From one change to the next.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a watcher may take before its wake is lost.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long one look waits.
pub const LOOK: Duration = Duration::from_millis(20);
/// How long a node rests before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// Registers all instances, with the mark 0.
pub fn fill(conn: &mut Connection, instances: usize) -> Result<(), String> {
    (0..instances).try_for_each(|number| register(conn, &registration(NAME, number, 0)))
}

/// What the rounds came to.
#[derive(Default)]
pub struct Figures {
    p50: Spread,
    p99: Spread,
    most: Spread,
    cpu: Spread,
    load_cpu: Spread,
    put: Spread,
    memory: Spread,
}

/// What hears of changes.
pub trait Watching {
    /// How many watch.
    fn count(&self) -> usize;

    /// Takes what a connection read; tells who now knows of which change, and what is to be sent.
    fn heard(&mut self, member: usize, bytes: &[u8], told: &mut Vec<(usize, u64)>) -> Result<Option<Vec<u8>>, String>;
}

/// Changes the first instance again and again, and takes the times of all wakes.
pub fn measure(
    bench: &Bench,
    site: &Site,
    crowd: &mut Crowd,
    watching: &mut impl Watching,
    figures: &mut Figures,
) -> Result<(), String> {
    rest(crowd, watching, REST)?;
    figures.memory.add(site.resident()?);
    let mut conn = site.connect()?;
    let changes = bench.count(CHANGES, CHANGES_QUICK);
    let (mut times, mut puts) = (Vec::new(), Vec::new());
    let before = [site.node.cpu()?, processor_time(std::process::id())?];
    for mark in 1..=changes as u64 {
        let begun = Instant::now();
        let (mut wakes, put) = wake(&mut conn, crowd, watching, mark)?;
        times.append(&mut wakes);
        puts.push(put);
        if mark < changes as u64 {
            rest(crowd, watching, PAUSE.saturating_sub(begun.elapsed()))?;
        }
    }
    let after = [site.node.cpu()?, processor_time(std::process::id())?];
    let each = |place: usize| after[place].saturating_sub(before[place]).as_secs_f64() / changes as f64;
    figures.cpu.add(each(0));
    figures.load_cpu.add(each(1));
    figures.p50.add_percentile(&mut times, 50);
    figures.p99.add_percentile(&mut times, 99);
    figures.most.add_percentile(&mut times, 100);
    figures.put.add_percentile(&mut puts, 50);
    Ok(())
}

/// One change. How long it took until each watcher had read of it, once; and until its writer was answered.
fn wake(
    conn: &mut Connection,
    crowd: &mut Crowd,
    watching: &mut impl Watching,
    mark: u64,
) -> Result<(Vec<Duration>, Duration), String> {
    let (body, count) = (registration(NAME, 0, mark), watching.count());
    let (mut known, mut times, mut told) = (vec![false; count], Vec::with_capacity(count), Vec::new());
    let begun = Instant::now();
    let put = std::thread::scope(|scope| {
        let writer = scope.spawn(|| register(conn, &body).map(|()| begun.elapsed()));
        while times.len() < count {
            crowd.turn(LOOK, &mut |member, bytes, now| {
                let request = watching.heard(member, bytes, &mut told)?;
                for (who, heard) in told.drain(..) {
                    let known = known.get_mut(who).ok_or("nobody")?;
                    if heard != mark || std::mem::replace(known, true) {
                        return Err(format!("was told of change {heard} when {mark} was made"));
                    }
                    times.push(now.duration_since(begun));
                }
                Ok(request)
            })?;
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} of {count} wakes of change {mark} are lost", count - times.len()));
            }
        }
        writer.join().map_err(|_| "the writer panicked".to_string())?
    })?;
    Ok((times, put))
}

/// Lets so much time pass. Whoever is woken meanwhile was woken for nothing.
fn rest(crowd: &mut Crowd, watching: &mut impl Watching, time: Duration) -> Result<(), String> {
    let (begun, mut told) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        crowd.turn(LOOK.min(time), &mut |member, bytes, _| {
            let request = watching.heard(member, bytes, &mut told)?;
            match told.first() {
                Some((_, mark)) => Err(format!("was woken for nothing, with change {mark}")),
                None => Ok(request),
            }
        })?;
    }
    Ok(())
}

impl Figures {
    /// Prints them. The p99 is held to a tenth of the original's, the processor to a share of it.
    pub fn print(&self, load: &Load, share: u32) {
        const MEMORY_MAX: f64 = 100.0 * 1024.0 * 1024.0;
        self.p50.print_time("from the change being sent until it was read: p50", None);
        self.p99.print_time("the same, p99", Some(load.original_p99 / 10));
        self.most.print_time("the same, the longest", None);
        self.cpu.print_time("the node's CPU a change", Some(load.original_cpu / share));
        self.load_cpu.print_time("the load's CPU a change, for comparison", None);
        self.put.print_time("until the change was on disk and answered: p50", None);
        self.memory.print_bytes("the node's memory with all that watch", Some(MEMORY_MAX));
        println!("wakes lost, doubled or for nothing: none");
    }
}
