//! The write-ahead log: the only file that an append waits for.
//!
//! Positions (`lsn`) count bytes from the log's first day. The log is cut into slots of equal size;
//! the file `wal/<slot, 16 hex digits>.wal` holds the positions from `slot × slot_bytes`, and spans
//! more slots only where one frame needs them. Files behind the last two checkpoints are used again
//! under a new name, so a file may hold old frames: a frame is valid only at the position it names.
//!
//! ```text
//! file   magic "TIDWAL01" │ slot u64 │ crc u32 │ zero, up to 32 bytes │ frames
//! frame  crc u32 (of len, lsn) │ len u32 │ lsn u64 │ records (len bytes) │ zero, up to a multiple of 8
//! ```
//!
//! # Invariants
//! 1. A frame is written only where the file has room for it already: running out of space is met
//!    in [`Wal::ensure_room`], before anything was judged.
//! 2. Frames of a file follow one another without gap. The last frame of the last file may be torn;
//!    broken bytes anywhere else are damage, are told, and hide nothing behind them.
//! 3. After a failed write or sync the log takes nothing more.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::disk::{Disk, File};
use crate::record::{self, Broken};

const DIR: &str = "wal";
/// A file made ahead, under no position yet.
const SPARE: &str = "wal/spare";
const MAGIC: &[u8; 8] = b"TIDWAL01";
/// Bytes before the first frame.
const FILE_HEADER: u64 = FILE_HEADER_BYTES as u64;
const FILE_HEADER_BYTES: usize = 32;
/// Bytes before a frame's records.
pub const FRAME_HEADER: usize = 16;
/// Frames start at multiples of this.
const ALIGN: u64 = ALIGN_BYTES as u64;
const ALIGN_BYTES: usize = 8;
/// Released files that are kept for use again; more are removed.
const SPARES_MAX: usize = 2;
/// Bytes at the log's end, at least, that opening writes again: what may be written between two syncs
/// that no append asks for.
const REWRITTEN: u64 = 64 * 1024;
/// Bytes of a file that opening reads at a time.
const SEEN_BYTES: u64 = 256 * 1024;
/// Zeros written at a time when a file is made.
const ZEROS: usize = 256 * 1024;

/// The log, open for appending.
pub struct Wal {
    disk: Arc<dyn Disk>,
    slot_bytes: u64,
    /// All files there are, oldest first; the last is appended to.
    files: VecDeque<Span>,
    file: Option<Arc<dyn File>>,
    /// Where the next frame goes.
    end: u64,
    /// What was written and not yet synced.
    dirty: bool,
    /// Nothing before it is needed.
    released: u64,
    /// Whether a file was made ahead; see [`make_spare`].
    spare: bool,
}

/// The slots of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    slot: u64,
    slots: u64,
}

/// What replaying found besides the records.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Where the log ends.
    pub end: u64,
    /// Broken bytes that were passed over.
    pub damage: Vec<Damage>,
    /// Bytes of a torn frame that were cut off.
    pub cut: u64,
    /// Where the last frame starts.
    last: u64,
}

/// Broken bytes of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where they begin.
    pub lsn: u64,
    /// How many they are.
    pub len: u64,
    /// `None`: records. Else the header of a frame, behind which so many bytes of records are.
    pub header_of: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.header_of.is_some() { "a frame's header" } else { "records" };
        write!(f, "the write-ahead log at {}: {what} ({} bytes)", self.lsn, self.len)
    }
}

/// A file of the log.
pub fn path(slot: u64) -> String {
    format!("{DIR}/{slot:016x}.wal")
}

/// The checksum of a frame's header.
pub fn frame_crc(len: u32, lsn: u64) -> u32 {
    let mut covered = [0; 12];
    covered[..4].copy_from_slice(&len.to_le_bytes());
    covered[4..].copy_from_slice(&lsn.to_le_bytes());
    crc32c::crc32c(&covered)
}

fn file_header(slot: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&slot.to_le_bytes());
    let crc = crc32c::crc32c(&header[..16]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the log's first file is there and holds a frame at its start.
///
/// # Errors
/// What the disk says.
pub fn begins(disk: &dyn Disk) -> io::Result<bool> {
    let mut header = [0; FRAME_HEADER];
    match disk.open(&path(0)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?.read_at(&mut header, FILE_HEADER)?,
    };
    let mut fields = &header[..];
    let (crc, len) = (fields.get_u32_le(), fields.get_u32_le());
    Ok(crc == frame_crc(len, FILE_HEADER))
}

/// Starts a frame in an empty buffer: records are added behind.
pub fn begin_frame(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&[0; FRAME_HEADER]);
}

impl Wal {
    /// Opens the log and gives every whole record from `from` on, in order, to `visit`. Cuts a torn
    /// tail, and syncs what is left, so that all that was given survives a crash.
    ///
    /// # Errors
    /// What the disk says. Damage is no error.
    pub fn open(
        disk: Arc<dyn Disk>,
        slot_bytes: u64,
        from: u64,
        visit: &mut dyn FnMut(Bytes),
    ) -> io::Result<(Wal, Replayed)> {
        disk.make_dir(DIR)?;
        // Made now, or by one that died before it could say so.
        disk.sync_dir("")?;
        let mut wal = Wal::idle(disk, slot_bytes, from);
        wal.find_files()?;
        let mut replayed = Replayed { end: from, ..Replayed::default() };
        let spans: Vec<Span> = wal.files.iter().copied().collect();
        for (place, span) in spans.iter().enumerate() {
            let behind = spans.get(place + 1);
            if (span.slot + span.slots) * slot_bytes <= from && behind.is_some() {
                continue;
            }
            let followed = match behind {
                Some(behind) => wal.begun(*behind)?,
                None => false,
            };
            wal.replay_file(*span, from, followed, visit, &mut replayed)?;
        }
        wal.end = replayed.end;
        wal.settle(replayed.last)?;
        Ok((wal, replayed))
    }

    /// A log that no file was looked for.
    pub(crate) fn idle(disk: Arc<dyn Disk>, slot_bytes: u64, from: u64) -> Wal {
        Wal {
            disk,
            slot_bytes,
            files: VecDeque::new(),
            file: None,
            end: from,
            dirty: false,
            released: from,
            spare: false,
        }
    }

    fn find_files(&mut self) -> io::Result<()> {
        for name in self.disk.list(DIR)? {
            if DIR.len() + 1 + name.len() == SPARE.len() && SPARE.ends_with(&name) {
                // Whether it was filled is not known.
                self.disk.remove(SPARE)?;
            }
            let slot = name.strip_suffix(".wal").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let Some(slot) = slot else { continue };
            let len = self.disk.open(&path(slot))?.len()?;
            self.files.push_back(Span { slot, slots: (len / self.slot_bytes).max(1) });
        }
        Ok(())
    }

    /// Whether a file holds a frame at its start.
    fn begun(&self, span: Span) -> io::Result<bool> {
        let mut header = [0; FRAME_HEADER];
        self.disk.open(&path(span.slot))?.read_at(&mut header, FILE_HEADER)?;
        let mut fields = &header[..];
        let (crc, len) = (fields.get_u32_le(), fields.get_u32_le());
        Ok(crc == frame_crc(len, span.slot * self.slot_bytes + FILE_HEADER))
    }

    fn replay_file(
        &self,
        span: Span,
        from: u64,
        followed: bool,
        visit: &mut dyn FnMut(Bytes),
        replayed: &mut Replayed,
    ) -> io::Result<()> {
        let file = self.disk.open(&path(span.slot))?;
        let base = span.slot * self.slot_bytes;
        let len = file.len()?;
        let seen = Seen { file, len, at: 0, bytes: Bytes::new(), failed: None };
        let mut scan = Scan { base, at: from.saturating_sub(base).max(FILE_HEADER), seen, followed, replayed };
        scan.run(visit)?;
        scan.seen.failed.map_or(Ok(()), Err)
    }

    /// Opens the file that the end lies in, and makes what replay gave durable. The end is written
    /// again: after a sync that failed it may be read from memory and not be on the disk, and no
    /// later sync would say so.
    fn settle(&mut self, last_frame: u64) -> io::Result<()> {
        while let Some(last) = self.files.back().copied() {
            if last.slot * self.slot_bytes <= self.end {
                break;
            }
            // Made ahead and never written to.
            self.disk.remove(&path(last.slot))?;
            self.files.pop_back();
        }
        if let Some(last) = self.files.back().copied() {
            let file = self.disk.open(&path(last.slot))?;
            let base = last.slot * self.slot_bytes;
            let from = last_frame.min(self.end.saturating_sub(REWRITTEN)).max(base + FILE_HEADER);
            if from < self.end {
                let mut bytes = vec![0; usize::try_from(self.end - from).map_err(io::Error::other)?];
                let count = file.read_at(&mut bytes, from - base)?;
                file.write_at(bytes.get(..count).unwrap_or_default(), from - base)?;
            }
            file.sync_data()?;
            self.file = (self.end < self.end_of(last)).then_some(file);
        }
        Ok(())
    }

    fn end_of(&self, span: Span) -> u64 {
        (span.slot + span.slots) * self.slot_bytes
    }

    /// Where the next frame goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes between the oldest position that is still needed and the end.
    pub fn held(&self) -> u64 {
        self.end.saturating_sub(self.released)
    }

    /// Bytes that its files take up.
    pub fn disk_bytes(&self) -> u64 {
        self.files.iter().map(|span| span.slots * self.slot_bytes).sum()
    }

    /// Makes sure that a frame with so many bytes of records can be written.
    ///
    /// # Errors
    /// What the disk says, a full one above all. The log is as it was.
    pub fn ensure_room(&mut self, records: usize) -> io::Result<()> {
        let need = (FRAME_HEADER + records) as u64 + ALIGN;
        let room = match (self.file.as_ref(), self.files.back()) {
            (Some(_), Some(last)) => self.end_of(*last).saturating_sub(self.end),
            _ => 0,
        };
        if room >= need {
            return Ok(());
        }
        if self.dirty {
            self.sync()?;
        }
        let slots = (need + FILE_HEADER).div_ceil(self.slot_bytes).max(1);
        let next = self.files.back().map_or(self.end / self.slot_bytes, |last| last.slot + last.slots);
        let slot = next.max(self.end.div_ceil(self.slot_bytes));
        let file = self.make_file(slot, slots)?;
        self.files.push_back(Span { slot, slots });
        self.file = Some(file);
        self.end = slot * self.slot_bytes + FILE_HEADER;
        Ok(())
    }

    fn make_file(&mut self, slot: u64, slots: u64) -> io::Result<Arc<dyn File>> {
        let path_new = path(slot);
        let spare = self.files.front().copied().filter(|span| {
            slots == 1 && span.slots == 1 && self.files.len() > 1 && self.end_of(*span) <= self.released
        });
        let file = match spare {
            Some(span) => {
                let file = self.disk.open(&path(span.slot))?;
                self.disk.rename(&path(span.slot), &path_new)?;
                self.files.pop_front();
                file
            }
            None if slots == 1 && self.spare => {
                self.spare = false;
                let file = self.disk.open(SPARE)?;
                self.disk.rename(SPARE, &path_new)?;
                file
            }
            None => new_file(self.disk.as_ref(), &path_new, slots * self.slot_bytes)?,
        };
        let prepared = file.write_at(&file_header(slot), 0).and_then(|()| file.sync_data());
        if let Err(error) = prepared.and_then(|()| self.disk.sync_dir(DIR)) {
            // Best effort: an unused file is removed at the next opening, too.
            let _unused = self.disk.remove(&path_new);
            return Err(error);
        }
        Ok(file)
    }

    /// Whether a file should be made ahead: the one in use is half full, and none waits.
    pub fn wants_spare(&self) -> bool {
        let used = self.files.back().map_or(0, |last| self.end.saturating_sub(last.slot * self.slot_bytes));
        let again = self.files.len() > 1 && self.files.front().is_some_and(|span| self.end_of(*span) <= self.released);
        !self.spare && !again && used > self.slot_bytes / 2
    }

    /// Says that [`make_spare`] made a file.
    pub fn spare_made(&mut self) {
        self.spare = true;
    }

    /// Writes a frame that [`begin_frame`] began, for which there is room. Not durable before
    /// [`Wal::sync`].
    ///
    /// # Errors
    /// What the disk says. The log must not be used any more.
    pub fn write(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        let file = self.file.clone().ok_or_else(|| io::Error::other("no room was made for the frame"))?;
        let len = u32::try_from(frame.len() - FRAME_HEADER).map_err(io::Error::other)?;
        let mut header = [0; FRAME_HEADER];
        header[..4].copy_from_slice(&frame_crc(len, self.end).to_le_bytes());
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..].copy_from_slice(&self.end.to_le_bytes());
        if let Some(place) = frame.get_mut(..FRAME_HEADER) {
            place.copy_from_slice(&header);
        }
        frame.resize(frame.len().next_multiple_of(ALIGN_BYTES), 0);
        let base = self.files.back().map_or(0, |last| last.slot * self.slot_bytes);
        self.dirty = true;
        file.write_at(frame, self.end - base)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// What the disk says. The log must not be used any more.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.dirty) {
            file.sync_data()?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Whether something written is not yet synced.
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// Says that nothing before `lsn` is needed any more.
    ///
    /// # Errors
    /// What the disk says of removing files; harmless.
    pub fn release(&mut self, lsn: u64) -> io::Result<()> {
        self.released = self.released.max(lsn);
        let free = self.files.iter().filter(|span| self.end_of(**span) <= self.released).count();
        for _ in SPARES_MAX..free {
            if let Some(span) = self.files.pop_front() {
                self.disk.remove(&path(span.slot))?;
            }
        }
        Ok(())
    }
}

/// A file, of so many zeros.
fn new_file(disk: &dyn Disk, path_new: &str, len: u64) -> io::Result<Arc<dyn File>> {
    let file = match disk.create(path_new) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(path_new)?,
        other => other?,
    };
    let fill = || {
        file.allocate(len)?;
        // Written zeros, not merely allocated ones: a sync then has no metadata to write.
        let zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < len {
            let count = usize::try_from(len - at).unwrap_or(ZEROS).min(ZEROS);
            file.write_at(zeros.get(..count).unwrap_or_default(), at)?;
            at += count as u64;
        }
        Ok(())
    };
    if let Err(error) = fill() {
        // Best effort: an unused file is removed at the next opening, too.
        let _unused = disk.remove(path_new);
        return Err(error);
    }
    Ok(file)
}

/// Makes a file ahead, on another thread than the writer's: filling one takes as long as a hundred
/// syncs. The writer is told with [`Wal::spare_made`].
///
/// # Errors
/// What the disk says; harmless.
pub fn make_spare(disk: &dyn Disk, slot_bytes: u64) -> io::Result<()> {
    new_file(disk, SPARE, slot_bytes)?.sync_data()
}

/// Whether bytes are records, one behind the other.
fn are_whole(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(head) = record::check(bytes) else { return false };
        bytes = bytes.get(head.len..).unwrap_or_default();
    }
    true
}

/// A file of the log, read as far as it is looked at: opening holds no more of it.
struct Seen {
    file: Arc<dyn File>,
    len: u64,
    /// Where `bytes` are from.
    at: u64,
    bytes: Bytes,
    /// Why the disk did not give them. What was asked for then looks empty, and nothing may be
    /// written for it.
    failed: Option<io::Error>,
}

impl Seen {
    /// The place in `bytes` of the file's bytes between two offsets, as far as the file goes.
    fn range(&mut self, from: u64, to: u64) -> std::ops::Range<usize> {
        let (from, to) = (from.min(self.len), to.clamp(from.min(self.len), self.len));
        if (from < self.at || to > self.at + self.bytes.len() as u64) && self.failed.is_none() {
            let count = (to - from).max(SEEN_BYTES.min(self.len - from));
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            match self.file.read_at(&mut bytes, from) {
                Ok(count) => bytes.truncate(count),
                Err(error) => (bytes, self.failed) = (Vec::new(), Some(error)),
            }
            (self.at, self.bytes) = (from, bytes.into());
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(self.at)).unwrap_or(0).min(self.bytes.len());
        place(from)..place(to)
    }

    fn slice(&mut self, from: u64, to: u64) -> Bytes {
        let range = self.range(from, to);
        self.bytes.slice(range)
    }

    fn fixed<const N: usize>(&mut self, from: u64) -> Option<[u8; N]> {
        let range = self.range(from, from + N as u64);
        self.bytes.get(range)?.try_into().ok()
    }
}

/// One file being replayed.
struct Scan<'a> {
    base: u64,
    at: u64,
    seen: Seen,
    /// Whether the log goes on in another file: then nothing here is a torn tail.
    followed: bool,
    replayed: &'a mut Replayed,
}

impl Scan<'_> {
    /// The frame at an offset: the length of its records.
    fn frame(&mut self, at: u64) -> Option<u64> {
        let header: [u8; FRAME_HEADER] = self.seen.fixed(at)?;
        let mut fields = &header[..];
        let (crc, len) = (fields.get_u32_le(), fields.get_u32_le());
        let end = at + FRAME_HEADER as u64 + u64::from(len);
        (crc == frame_crc(len, self.base + at) && end <= self.seen.len).then_some(u64::from(len))
    }

    /// Whether a broken frame header once was this position's: it names it.
    fn named(&mut self, at: u64) -> bool {
        self.seen.fixed(at + 8).is_some_and(|field| u64::from_le_bytes(field) == self.base + at)
    }

    fn next_frame(&mut self, after: u64) -> Option<u64> {
        let mut at = after + ALIGN;
        while at + (FRAME_HEADER as u64) <= self.seen.len {
            // Its position first: this looks at every place of a file.
            if self.named(at) && self.frame(at).is_some() {
                return Some(at);
            }
            at += ALIGN;
        }
        None
    }

    fn run(&mut self, visit: &mut dyn FnMut(Bytes)) -> io::Result<()> {
        if self.frame(self.at).is_none() && !self.named(self.at) && self.next_frame(self.at).is_none() {
            // Nothing was written here: the log's end is where it was, unless it began here.
            if self.replayed.end >= self.base {
                self.replayed.end = self.replayed.end.max(self.base + FILE_HEADER);
            }
            return Ok(());
        }
        loop {
            let behind = self.next_frame_from(self.at);
            match (self.frame(self.at), behind) {
                (Some(len), behind) => {
                    let start = self.at + FRAME_HEADER as u64;
                    let torn = self.records(start, start + len, behind.is_some() || self.followed, visit)?;
                    self.replayed.last = self.base + self.at;
                    self.at = if torn { self.replayed.end - self.base } else { (start + len).next_multiple_of(ALIGN) };
                }
                (None, Some(next)) => {
                    let records = (next - self.at).saturating_sub(FRAME_HEADER as u64);
                    self.header_broke(records);
                    self.records(self.at + FRAME_HEADER as u64, next, true, visit)?;
                    self.at = next;
                }
                (None, None) => {
                    if self.followed && self.named(self.at) {
                        let records = self.chain(self.at + FRAME_HEADER as u64, visit);
                        self.header_broke(records);
                    }
                    break;
                }
            }
            self.replayed.end = self.base + self.at;
        }
        Ok(())
    }

    fn next_frame_from(&mut self, at: u64) -> Option<u64> {
        match self.frame(at) {
            Some(len) => {
                let next = (at + FRAME_HEADER as u64 + len).next_multiple_of(ALIGN);
                if self.frame(next).is_some() {
                    Some(next)
                } else if self.named(next) {
                    self.next_frame(next)
                } else {
                    None
                }
            }
            None => self.next_frame(at),
        }
    }

    /// Gives the records between two offsets. Where they are the last of the log and one is broken,
    /// the frame was torn, and nobody was answered: it is cut off whole, on disk too, since the
    /// effects of one commit belong together. Returns whether that happened.
    fn records(&mut self, from: u64, to: u64, followed: bool, visit: &mut dyn FnMut(Bytes)) -> io::Result<bool> {
        let bytes = self.seen.slice(from, to);
        if !followed && !are_whole(&bytes) {
            return self.cut(from, bytes.len() as u64).map(|()| true);
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.slice(at..);
            match record::check(&rest) {
                Ok(head) => {
                    visit(rest.slice(..head.len));
                    at += head.len;
                    continue;
                }
                Err(broken) => {
                    if rest.iter().all(|byte| *byte == 0) && rest.len() < ALIGN_BYTES {
                        break;
                    }
                    let len = skip(&rest, broken);
                    let lsn = self.base + from + at as u64;
                    self.replayed.damage.push(Damage { lsn, len: len as u64, header_of: None });
                    at += len;
                }
            }
        }
        Ok(false)
    }

    fn header_broke(&mut self, records: u64) {
        let lsn = self.base + self.at;
        self.replayed.damage.push(Damage { lsn, len: FRAME_HEADER as u64, header_of: Some(records) });
    }

    /// Gives records as long as they are whole; returns how many bytes they are.
    fn chain(&mut self, from: u64, visit: &mut dyn FnMut(Bytes)) -> u64 {
        let mut rest = self.seen.slice(from, u64::MAX);
        let mut len = 0;
        while let Ok(head) = record::check(&rest) {
            visit(rest.split_to(head.len));
            len += head.len as u64;
        }
        len
    }

    fn cut(&mut self, from: u64, len: u64) -> io::Result<()> {
        if let Some(error) = self.seen.failed.take() {
            return Err(error);
        }
        let frame = from - FRAME_HEADER as u64;
        self.seen.file.write_at(&[0; FRAME_HEADER], frame)?;
        self.replayed.cut += len;
        self.replayed.end = self.base + frame;
        // What lies behind must not look like a frame of this place.
        self.seen.len = frame;
        Ok(())
    }
}

/// How far to the next place where a record may begin, behind a broken one.
pub fn skip(bytes: &[u8], broken: Broken) -> usize {
    if let Broken::Checksum { len } = broken {
        let plausible = bytes.len() == len || bytes.get(len..).is_some_and(|rest| record::Head::read(rest).is_ok());
        if plausible {
            return len;
        }
    }
    (1..bytes.len()).find(|at| bytes.get(*at..).is_some_and(|rest| record::check(rest).is_ok())).unwrap_or(bytes.len())
}
