//! Watchers by blocking query: each asks again when it was answered.

use super::crowd::{Answer, Crowd};
use super::service::{self, Figures, LOOK, NAME, PATIENCE, Watching};
use super::site::Site;
use super::{Bench, LARGE, Load, SMALL};

/// The share of the original's processor time that ours may take.
const SHARE: u32 = 10;

/// 500 watchers.
pub fn small(bench: &Bench) -> Result<(), String> {
    run(bench, &SMALL)
}

/// 5,000 watchers.
pub fn large(bench: &Bench) -> Result<(), String> {
    run(bench, &LARGE)
}

fn run(bench: &Bench, load: &Load) -> Result<(), String> {
    let mut figures = Figures::default();
    for _ in 0..bench.rounds {
        let site = Site::start(&bench.binary, &bench.folder)?;
        round(bench, load, &site, &mut figures).map_err(|said| site.told(&said))?;
    }
    figures.print(load, SHARE);
    Ok(())
}

fn round(bench: &Bench, load: &Load, site: &Site, figures: &mut Figures) -> Result<(), String> {
    service::fill(&mut site.connect()?, load.instances)?;
    let (mut crowd, mut pollers) = (Crowd::new()?, Pollers(Vec::new()));
    for _ in 0..load.watchers {
        crowd.join(site.consul, &request(0))?;
        pollers.0.push(Poller::default());
    }
    let begun = std::time::Instant::now();
    while pollers.0.iter().any(|poller| poller.index == 0) {
        crowd.turn(LOOK, &mut |member, bytes, _| pollers.heard(member, bytes, &mut Vec::new()))?;
        if begun.elapsed() > PATIENCE {
            return Err("not everybody was answered at first".to_string());
        }
    }
    service::measure(bench, site, &mut crowd, &mut pollers, figures)
}

fn request(index: u64) -> Vec<u8> {
    let path = format!("/v1/health/service/{NAME}?passing&stale&index={index}&wait=5m");
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// All of them.
struct Pollers(Vec<Poller>);

#[derive(Default)]
struct Poller {
    answer: Answer,
    index: u64,
}

impl Watching for Pollers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn heard(&mut self, member: usize, bytes: &[u8], told: &mut Vec<(usize, u64)>) -> Result<Option<Vec<u8>>, String> {
        let poller = self.0.get_mut(member).ok_or("nobody")?;
        let Some(whole) = poller.answer.take(bytes)? else { return Ok(None) };
        if whole.index <= poller.index {
            return Err(format!("the index {} came after {}", whole.index, poller.index));
        }
        poller.index = whole.index;
        told.push((member, whole.mark.ok_or("an answer without an instance")?));
        Ok(Some(request(whole.index)))
    }
}
