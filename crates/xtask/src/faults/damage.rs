//! Files that are not what was written.
//!
//! A record is found by its payload, in whatever file it lies, so that these faults need not know the
//! format: the log and the segment of a stream are hit alike.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use super::{Acked, Outcome, STREAM, Site, Trouble, files, find, last};

/// Enough messages for more than one page.
const MESSAGES: usize = 3_000;

/// A flipped byte in the middle of the stream.
pub fn flipped_byte(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, MESSAGES)?;
    node.stop()?;
    let hit = MESSAGES / 2;
    let mark = Acked::payload(hit);
    let mut flipped = 0;
    for (path, mut bytes) in files(&launch.data) {
        if let Some(at) = find(&bytes, mark.as_bytes()) {
            bytes[at + mark.len() / 2] ^= 0x10;
            fs::write(&path, bytes).map_err(|error| error.to_string())?;
            flipped += 1;
        }
    }
    if flipped == 0 {
        return Err(Trouble::Wrong("the record is in no file".to_string()));
    }
    let node = launch.start()?;
    let seq = hit as u64 + 1;
    let damaged = acked.verify(&node, &[seq])?;
    if damaged != [seq] {
        return Err(Trouble::Wrong(format!("position {seq} was hit, named as damaged: {damaged:?}")));
    }
    let path = format!("/v1/streams/{STREAM}/messages/{seq}");
    let alone = node.connect()?.get(&path).map_err(|error| error.to_string())?;
    if alone.status < 400 || !alone.text().contains("damaged") {
        return Err(Trouble::Wrong(format!("read alone: {} {}", alone.status, alone.text())));
    }
    acked.goes_on(&node, &[seq])?;
    Ok(())
}

/// The file that holds the last message is cut in the middle of it, after a kill.
pub fn cut_tail(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, MESSAGES)?;
    node.kill()?;
    let mark = Acked::payload(MESSAGES - 1);
    let mut cut = 0;
    for (path, bytes) in files(&launch.data) {
        if let Some(at) = find(&bytes, mark.as_bytes()) {
            fs::write(&path, &bytes[..at + mark.len() / 2]).map_err(|error| error.to_string())?;
            cut += 1;
        }
    }
    if cut == 0 {
        return Err(Trouble::Wrong("the last record is in no file".to_string()));
    }
    let node = launch.start()?;
    acked.verify(&node, &[MESSAGES as u64])?;
    if last(&node)? < MESSAGES as u64 {
        // Its position was never readable after the cut, and is free.
        acked.payloads.pop();
    }
    acked.goes_on(&node, &[MESSAGES as u64])?;
    Ok(())
}

/// Rubbish stands behind the last record, as a torn write leaves it.
pub fn rubbish_tail(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, MESSAGES)?;
    node.kill()?;
    let mark = Acked::payload(MESSAGES - 1);
    for (path, bytes) in files(&launch.data) {
        if find(&bytes, mark.as_bytes()).is_some() {
            let rest = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1).next_multiple_of(8);
            let torn: Vec<u8> = bytes[..200].iter().map(|byte| byte ^ 0x5A).collect();
            let mut file = fs::OpenOptions::new().write(true).open(&path).map_err(|error| error.to_string())?;
            file.seek(SeekFrom::Start(rest as u64)).map_err(|error| error.to_string())?;
            file.write_all(&torn).map_err(|error| error.to_string())?;
        }
    }
    let node = launch.start()?;
    acked.verify(&node, &[])?;
    acked.goes_on(&node, &[])?;
    Ok(())
}

/// Every index is gone.
pub fn deleted_index(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, MESSAGES)?;
    node.stop()?;
    let mut deleted = 0;
    for (path, _) in files(&launch.data) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if [".idx", ".index", "index"].iter().any(|ending| name.ends_with(ending)) {
            fs::remove_file(&path).map_err(|error| error.to_string())?;
            deleted += 1;
        }
    }
    if deleted == 0 {
        return Err(Trouble::Cannot("the node keeps no index file for a stream of this size".to_string()));
    }
    let node = launch.start()?;
    acked.verify(&node, &[])?;
    acked.goes_on(&node, &[])?;
    Ok(())
}
