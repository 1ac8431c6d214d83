//! What is known of one stream at a place in its segments, so that opening reads only what follows.
//!
//! ```text
//! streams/<stream>/state.<number>, a blob of
//! head_len u32 │ head │ table │ window, where head is
//! base u64 │ len u64                                    the place: a segment and a length of it
//! messages, bytes, first, first_time, last, last_time, subjects, deleted: u64 each │ first_timed u8
//! last_id: 0 u8, or 1 u8 │ len u16 │ bytes
//! gone (see its drawing) │ expiries u32 │ expiries × (moment u64 │ seq u64)
//! ```
//!
//! All of it can be found again by reading the segments, but the ids of messages that were removed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use event::Moment;
use journal::StreamState;

use crate::blob;
use crate::disk::Disk;
use crate::gone::Gone;
use crate::segment;
use crate::stream::Stream;
use crate::subjects::SubjectTable;
use crate::window::Window;

const MAGIC: &[u8; 8] = b"TIDSTA01";
const VERSION: u32 = 1;
/// Bytes that say how long the head is.
const HEAD_LEN: usize = 4;
/// The name before the number.
pub const PREFIX: &str = "state";

/// What a snapshot holds.
pub struct Snapshot {
    /// The segment that the place is in; 0: there was none.
    pub base: u64,
    /// How much of it is accounted for.
    pub len: u64,
    /// What the stream held.
    pub state: StreamState,
    /// Whether `state.first_time` is known.
    pub first_timed: bool,
    /// The id last recorded.
    pub last_id: Option<Bytes>,
    /// Positions that hold nothing.
    pub gone: Gone,
    /// When messages expire.
    pub expiries: BinaryHeap<Reverse<(Moment, u64)>>,
    /// Subjects.
    pub table: SubjectTable,
    /// Ids.
    pub window: Window,
}

/// What a stream's snapshot will say, taken down without copying what is large.
pub struct Taken {
    head: Vec<u8>,
    table: SubjectTable,
    window: Window,
}

impl Taken {
    /// Bytes that it will have, about.
    pub fn bytes(&self) -> u64 {
        (self.head.len() + self.table.memory_bytes() + self.window.memory_bytes()) as u64
    }
}

/// Takes down a stream, as of what is committed.
///
/// # Errors
/// Never, in memory.
pub fn take(stream: &Stream) -> io::Result<Taken> {
    let live = stream.shared.live.read();
    let (base, len) = live.segments.back().map_or((0, 0), |segment| (segment.base, segment.len));
    let state = live.state;
    let mut out = vec![0; HEAD_LEN];
    for number in [
        base,
        len,
        state.messages,
        state.bytes,
        state.first,
        state.first_time.nanos(),
        state.last,
        state.last_time.nanos(),
        state.subjects,
        state.deleted,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(live.first_timed));
    match &stream.last_id {
        None => out.push(0),
        Some(id) => {
            out.push(1);
            out.extend_from_slice(&u16::try_from(id.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(id);
        }
    }
    live.gone.encode(&mut out);
    let mut expiries: Vec<(Moment, u64)> =
        stream.expiries.iter().map(|Reverse(each)| *each).filter(|(_, seq)| live.holds(*seq)).collect();
    // What goes by no age has no moment: the last there is.
    expiries.extend(stream.eternal.iter().filter(|seq| live.holds(**seq)).map(|seq| (journal::rules::NEVER, *seq)));
    expiries.sort_unstable();
    out.extend_from_slice(&u32::try_from(expiries.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (moment, seq) in expiries {
        out.extend_from_slice(&moment.nanos().to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
    }
    let head = u32::try_from(out.len() - HEAD_LEN).map_err(io::Error::other)?;
    if let Some(place) = out.first_chunk_mut::<HEAD_LEN>() {
        *place = head.to_le_bytes();
    }
    Ok(Taken { head: out, table: live.table.clone(), window: stream.window.clone() })
}

fn decode(reader: &mut dyn io::Read) -> Option<Snapshot> {
    let mut len = [0; HEAD_LEN];
    reader.read_exact(&mut len).ok()?;
    let mut head = Vec::new();
    reader.take(u64::from(u32::from_le_bytes(len))).read_to_end(&mut head).ok()?;
    let input = &mut &head[..];
    let mut numbers = [0; 10];
    for number in &mut numbers {
        *number = input.try_get_u64_le().ok()?;
    }
    let [base, len, messages, bytes_held, first, first_time, last, last_time, subjects, deleted] = numbers;
    let state = StreamState {
        messages,
        bytes: bytes_held,
        first,
        first_time: Moment::from_nanos(first_time),
        last,
        last_time: Moment::from_nanos(last_time),
        subjects,
        deleted,
        damaged: 0,
    };
    let first_timed = input.try_get_u8().ok()? == 1;
    let last_id = match input.try_get_u8().ok()? {
        0 => None,
        _ => {
            let len = usize::from(input.try_get_u16_le().ok()?);
            let (id, rest) = input.split_at_checked(len)?;
            *input = rest;
            Some(Bytes::copy_from_slice(id))
        }
    };
    let gone = Gone::decode(input)?;
    let mut expiries = BinaryHeap::new();
    for _ in 0..input.try_get_u32_le().ok()? {
        let moment = Moment::from_nanos(input.try_get_u64_le().ok()?);
        expiries.push(Reverse((moment, input.try_get_u64_le().ok()?)));
    }
    let table = SubjectTable::decode(reader).ok()?;
    let window = Window::decode(reader).ok()?;
    Some(Snapshot { base, len, state, first_timed, last_id, gone, expiries, table, window })
}

/// Writes a snapshot under a number.
///
/// # Errors
/// What the disk says.
pub fn write(disk: &dyn Disk, stream: u32, number: u64, taken: &Taken) -> io::Result<()> {
    blob::write(disk, &segment::dir(stream), &format!("{PREFIX}.{number}"), MAGIC, VERSION, &|out| {
        out.write_all(&taken.head)?;
        taken.table.encode(out)?;
        taken.window.encode(out)
    })
}

/// Reads the one under a number.
///
/// # Errors
/// `InvalidData` where it is damaged; otherwise what the disk says.
pub fn read(disk: &dyn Disk, stream: u32, number: u64) -> io::Result<Snapshot> {
    let name = format!("{PREFIX}.{number}");
    let (_, mut reader) = blob::open(disk, &segment::dir(stream), &name, MAGIC)?;
    decode(&mut reader).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("'{name}' is malformed")))
}
