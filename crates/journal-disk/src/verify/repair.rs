//! Moves damaged bytes aside.

use std::collections::BTreeSet;
use std::io;

use event::Moment;

use super::aside::{DIR, flat, free_name, move_aside};
use super::{Finding, Part, Patches, Report, Safety};
use crate::blob;
use crate::catalog::Listed;
use crate::disk::Disk;
use crate::record::{self, Draft, Kind};
use crate::segment;
use crate::snapshot;

/// The name under which a file is written anew, beside its place.
const TEMPORARY: &str = "repair.tmp";
/// Bytes of one record that holds nothing, at most.
const FILLER_BYTES_MAX: u64 = 16 * 1024 * 1024;

const _: () = assert!(FILLER_BYTES_MAX < record::RECORD_BYTES_MAX as u64);

/// Records that hold nothing, `len` bytes of them. What is too short for a record stays zero: it is
/// passed over like damage.
pub fn filler(stream: u32, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = len;
    while left >= record::HEADER as u64 {
        let mut take = left.min(FILLER_BYTES_MAX);
        if left - take > 0 && left - take < record::HEADER as u64 {
            take -= record::HEADER as u64;
        }
        let payload = vec![0; usize::try_from(take).unwrap_or(record::HEADER) - record::HEADER];
        Draft { payload: &payload, ..Draft::bare(Kind::Void, stream, 0, Moment::EPOCH) }.encode(&mut out);
        left -= take;
    }
    out.resize(usize::try_from(len).unwrap_or(out.len()), 0);
    out
}

/// Does what the report asks for, and says so in it.
pub fn run(disk: &dyn Disk, report: &mut Report, listed: &[Listed], patches: Patches) -> io::Result<()> {
    if report.findings.is_empty() {
        return Ok(());
    }
    disk.make_dir(DIR)?;
    disk.sync_dir("")?;
    let mut recount = BTreeSet::new();
    for finding in &mut report.findings {
        let stream = listed.iter().find(|each| Some(&each.config.name) == finding.stream.as_ref());
        if let (Some(stream), Part::Records | Part::Segment) = (stream, finding.part) {
            recount.extend(finding.is_loss().then_some(stream.id));
        }
        match finding.part {
            // There is no other to open the directory with: it stays where it is.
            Part::Catalog if report.closed => {}
            Part::Catalog | Part::Snapshot | Part::Index => whole(disk, finding)?,
            Part::Segment => {}
            Part::SegmentHeader | Part::Records | Part::LogHeader | Part::LogRecords => copy_range(disk, finding)?,
        }
    }
    for (path, patches) in patches {
        patch(disk, &path, &patches)?;
    }
    for stream in listed.iter().filter(|stream| recount.contains(&stream.id)) {
        set_aside_derived(disk, stream, report)?;
    }
    disk.sync_dir(DIR)
}

fn whole(disk: &dyn Disk, finding: &mut Finding) -> io::Result<()> {
    finding.repaired = move_aside(disk, &finding.file)?.map(|to| format!("moved to {to}"));
    Ok(())
}

/// Copies a damaged range into `damaged/`, durably, before anything takes its place.
fn copy_range(disk: &dyn Disk, finding: &mut Finding) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(finding.len).map_err(io::Error::other)?];
    let found = disk.open(&finding.file)?.read_at(&mut bytes, finding.offset)?;
    bytes.truncate(found);
    let to = free_name(disk, &format!("{}.{}", flat(&finding.file), finding.offset))?;
    let file = disk.create(&to)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    disk.sync_dir(DIR)?;
    finding.repaired = Some(match (&finding.safety, finding.part) {
        (Safety::Copy(_), Part::Records) => format!("copied to {to}, and written anew from the log"),
        _ => format!("moved to {to}"),
    });
    Ok(())
}

/// Writes a file anew with some ranges replaced, and puts it in its place.
fn patch(disk: &dyn Disk, path: &str, patches: &[(u64, Vec<u8>)]) -> io::Result<()> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let found = file.read_at(&mut bytes, 0)?;
    bytes.truncate(found);
    for (offset, patch) in patches {
        let start = usize::try_from(*offset).map_err(io::Error::other)?;
        if bytes.len() < start + patch.len() {
            bytes.resize(start + patch.len(), 0);
        }
        bytes[start..start + patch.len()].copy_from_slice(patch);
    }
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let temporary = format!("{dir}/{TEMPORARY}");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// Moves aside what counts lost messages: the stream's snapshots, and the indexes of its segments
/// that lost some.
fn set_aside_derived(disk: &dyn Disk, stream: &Listed, report: &Report) -> io::Result<()> {
    let dir = segment::dir(stream.id);
    for number in blob::numbers(disk, &dir, snapshot::PREFIX)? {
        move_aside(disk, &format!("{dir}/{}.{number}", snapshot::PREFIX))?;
    }
    for (base, _, _) in &stream.segments {
        let path = segment::path(stream.id, *base);
        if report.findings.iter().any(|finding| finding.file == path && finding.part == Part::Records) {
            move_aside(disk, &segment::index_path(stream.id, *base))?;
        }
    }
    Ok(())
}
