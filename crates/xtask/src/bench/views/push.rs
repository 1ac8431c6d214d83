//! Watchers by server-sent events: a snapshot once, then each change.

use super::crowd::{Crowd, find, marks};
use super::service::{self, Figures, LOOK, NAME, PATIENCE, Watching};
use super::site::Site;
use super::{Bench, LARGE, Load, SMALL};

/// The share of the original's processor time that ours may take.
const SHARE: u32 = 100;

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
    let (mut crowd, mut readers) = (Crowd::new()?, Readers(Vec::new()));
    for _ in 0..load.watchers {
        crowd.join(site.consul, &request(None, ""))?;
        readers.0.push(Reader::default());
    }
    let begun = std::time::Instant::now();
    while readers.0.iter().any(|reader| !reader.live) {
        crowd.turn(LOOK, &mut |member, bytes, _| readers.heard(member, bytes, &mut Vec::new()))?;
        if begun.elapsed() > PATIENCE {
            return Err("not everybody had the snapshot".to_string());
        }
    }
    service::measure(bench, site, &mut crowd, &mut readers, figures)
}

/// The request for a stream; from a position on, where there is one. `more`: further lines of its head.
pub fn request(after: Option<u64>, more: &str) -> Vec<u8> {
    let last = after.map_or(String::new(), |after| format!("Last-Event-ID: {after}\r\n"));
    let path = format!("/v1/health/service/{NAME}");
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n{more}{last}\r\n").into_bytes()
}

/// All of them.
struct Readers(Vec<Reader>);

#[derive(Default)]
struct Reader {
    /// The beginning of an event that is not whole yet.
    kept: Vec<u8>,
    /// Whether the snapshot has ended.
    live: bool,
}

impl Watching for Readers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn heard(&mut self, member: usize, bytes: &[u8], told: &mut Vec<(usize, u64)>) -> Result<Option<Vec<u8>>, String> {
        let reader = self.0.get_mut(member).ok_or("nobody")?;
        reader.kept.extend_from_slice(bytes);
        if !reader.live {
            if reader.kept.starts_with(b"HTTP/1.1 ") && !reader.kept.starts_with(b"HTTP/1.1 200") {
                return Err(String::from_utf8_lossy(&reader.kept).into_owned());
            }
            let Some(end) = find(&reader.kept, b"event: end") else { return Ok(None) };
            reader.live = find(&reader.kept[end..], b"\n\n").is_some();
            if reader.live {
                reader.kept = Vec::new();
            }
            return Ok(None);
        }
        // An event is whole at its empty line; what frames it within the connection does not matter here.
        if find(&reader.kept, b"\n\n").is_none() {
            return Ok(None);
        }
        told.extend(marks(&reader.kept).max().map(|mark| (member, mark)));
        reader.kept.clear();
        Ok(None)
    }
}
