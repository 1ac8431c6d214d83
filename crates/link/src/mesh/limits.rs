//! Limits of native links, each with its unit and reason.

use std::time::Duration;

use event::limits::{HEADERS_BYTES_MAX, PAYLOAD_BYTES_MAX, SUBJECT_BYTES_MAX};

/// What every connection begins with.
pub const MAGIC: &[u8; 4] = b"TDNL";

/// The version of what follows. Another one is not spoken.
pub const VERSION: u8 = 1;

/// Bytes of one record as it is encrypted, with its tag: what Noise allows.
pub const RECORD_BYTES_MAX: usize = 65_535;

/// Bytes that encryption adds to a record.
pub const TAG_BYTES: usize = 16;

/// Bytes of one record before it is encrypted: a byte that says what it is, then frames.
pub const CHUNK_BYTES_MAX: usize = RECORD_BYTES_MAX - TAG_BYTES;

/// Bytes of records, unpacked, from which a batch is handed on: what was compressed well may be a thousand times what came.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes of the head of a message: the names of some hundred destinations.
pub const HEAD_BYTES_MAX: usize = 60_000;

/// Bytes of control or of a note in one frame. Who has more says it in parts.
pub const CONTROL_BYTES_MAX: usize = 16 << 20;

/// Bytes of a status line.
pub const STATUS_BYTES_MAX: usize = 256;

/// Bytes of the longest frame: the largest message with all that comes with it.
pub const FRAME_BYTES_MAX: usize =
    PAYLOAD_BYTES_MAX + HEADERS_BYTES_MAX + 2 * SUBJECT_BYTES_MAX + HEAD_BYTES_MAX + STATUS_BYTES_MAX + 64;

/// Bytes of transient messages that wait for one link before more are dropped: 70 ms of a gigabit line.
pub const WAITING_BYTES_MAX: usize = 8 << 20;

/// Bytes that wait for one link before a message in custody is to wait where it is kept.
pub const CUSTODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of control that wait for one link before it is given up: the interests of a million names.
pub const URGENT_BYTES_MAX: usize = 128 << 20;

/// Bytes that wait for one link from which those who send pause for a moment.
pub const PRESSED_BYTES: usize = 512 << 10;

/// How often each end says that it is there.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a link may be silent. It is looked at every [`HEARTBEAT`], and found silent twice before it ends.
pub const SILENCE_MAX: Duration = Duration::from_millis(1_900);

/// How long a connection and its handshake may take.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(4);

/// Bytes of the greeting: three names and a link's id.
pub const HELLO_BYTES_MAX: usize = 1_024;

/// Bytes of what each end tells of itself within the handshake.
pub const PAYLOAD_IN_HANDSHAKE_BYTES_MAX: usize = 4_096;

/// Connections in their handshake at a time: each costs a few curve operations.
pub const HANDSHAKES_MAX: usize = 256;

/// How far a peer must be, there and back, before what goes there is compressed: on a shorter way the line is faster.
pub const COMPRESS_ROUND_TRIP_MIN: Duration = Duration::from_millis(2);

/// Bytes of a record from which compressing is tried. Less fits into a packet.
pub const COMPRESS_BYTES_MIN: usize = 1_024;

/// Records that are sent as they are after one did not shrink.
pub const COMPRESS_REST_RECORDS: u32 = 32;

const _: () = assert!(HEARTBEAT.as_millis() * 3 < SILENCE_MAX.as_millis());
const _: () = assert!(SILENCE_MAX.as_millis() + 2 * HEARTBEAT.as_millis() < 3_000);
const _: () = assert!(CUSTODY_BYTES_MAX <= WAITING_BYTES_MAX && PRESSED_BYTES < CUSTODY_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize && CONTROL_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(HELLO_BYTES_MAX <= u16::MAX as usize && FRAME_BYTES_MAX <= u32::MAX as usize);
