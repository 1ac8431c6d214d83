//! The catalogue: which streams there are, where each one's files end, and where in the log to go on.
//!
//! ```text
//! catalog.<number>, a blob (see the blob's drawing) of
//! lsn u64 │ next_stream u32 │ streams u32 │ streams × stream │ desk u32 │ desk × (len u32 │ bytes)
//! stream  id u32 │ created u64 │ last u64 │ snapshot u64 (0: none) │ json_len u32 │ declaration, JSON
//!         │ segments u32 │ segments × (base u64 │ len u64 │ first_time u64)
//! ```
//!
//! Everything in the log before `lsn` is in the segments, durably, up to the lengths given here.
//! What lies behind those lengths comes from the log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use event::{Moment, Pattern};
use journal::{Discard, Retention, Storage, StreamConfig};
use serde::{Deserialize, Serialize};

use crate::blob;
use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"TIDCAT01";
const VERSION: u32 = 1;
/// The name before the number.
pub const PREFIX: &str = "catalog";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Where to go on in the log.
    pub lsn: u64,
    /// The next stream's number.
    pub next_stream: u32,
    /// The streams.
    pub streams: Vec<Listed>,
    /// What the consumers keep, theirs to read.
    pub desk: Vec<Vec<u8>>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub id: u32,
    /// When it was created.
    pub created: Moment,
    /// Its last position.
    pub last: u64,
    /// The number of its snapshot.
    pub snapshot: u64,
    /// Its declaration.
    pub config: Arc<StreamConfig>,
    /// Base, length and first moment of each segment.
    pub segments: Vec<(u64, u64, Moment)>,
}

impl Catalog {
    /// The catalogue's bytes.
    ///
    /// # Errors
    /// Where a declaration cannot be written down.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.next_stream.to_le_bytes());
        put_len(&mut out, self.streams.len());
        for stream in &self.streams {
            out.extend_from_slice(&stream.id.to_le_bytes());
            for number in [stream.created.nanos(), stream.last, stream.snapshot] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            let json = config_json(&stream.config)?;
            put_len(&mut out, json.len());
            out.extend_from_slice(&json);
            put_len(&mut out, stream.segments.len());
            for (base, len, time) in &stream.segments {
                for number in [*base, *len, time.nanos()] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        put_len(&mut out, self.desk.len());
        for bytes in &self.desk {
            put_len(&mut out, bytes.len());
            out.extend_from_slice(bytes);
        }
        Ok(out)
    }

    /// Reads what [`Catalog::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(mut bytes: &[u8]) -> Option<Catalog> {
        let input = &mut bytes;
        let mut catalog = Catalog {
            lsn: input.try_get_u64_le().ok()?,
            next_stream: input.try_get_u32_le().ok()?,
            ..Catalog::default()
        };
        for _ in 0..input.try_get_u32_le().ok()? {
            let mut stream = Listed {
                id: input.try_get_u32_le().ok()?,
                created: Moment::from_nanos(input.try_get_u64_le().ok()?),
                last: input.try_get_u64_le().ok()?,
                snapshot: input.try_get_u64_le().ok()?,
                config: Arc::new(config_of(take_counted(input)?).ok()?),
                segments: Vec::new(),
            };
            for _ in 0..input.try_get_u32_le().ok()? {
                let (base, len) = (input.try_get_u64_le().ok()?, input.try_get_u64_le().ok()?);
                stream.segments.push((base, len, Moment::from_nanos(input.try_get_u64_le().ok()?)));
            }
            catalog.streams.push(stream);
        }
        for _ in 0..input.try_get_u32_le().ok()? {
            catalog.desk.push(take_counted(input)?.to_vec());
        }
        Some(catalog)
    }

    /// Writes it under a number.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(disk: &dyn Disk, number: u64, bytes: &[u8]) -> io::Result<()> {
        blob::write(disk, "", &format!("{PREFIX}.{number}"), MAGIC, VERSION, bytes)
    }

    /// Reads the one under a number.
    ///
    /// # Errors
    /// `InvalidData` where it is damaged; otherwise what the disk says.
    pub fn read(disk: &dyn Disk, number: u64) -> io::Result<Catalog> {
        let name = format!("{PREFIX}.{number}");
        let (version, bytes) = blob::read(disk, "", &name, MAGIC)?;
        if version != VERSION {
            let said = format!("'{name}' has version {version}; this release reads {VERSION}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, said));
        }
        Catalog::decode(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("'{name}' is malformed")))
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn take_counted<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = input.try_get_u32_le().ok()? as usize;
    let (taken, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(taken)
}

/// A declaration as it is stored. Fields that a later release adds have defaults.
#[derive(Serialize, Deserialize)]
struct StoredConfig {
    name: String,
    #[serde(default)]
    description: String,
    subjects: Vec<String>,
    memory: bool,
    retention: u8,
    discard_new: bool,
    discard_new_per_subject: bool,
    messages_max: Option<u64>,
    bytes_max: Option<u64>,
    messages_per_subject_max: Option<u64>,
    age_max_nanos: Option<u64>,
    message_bytes_max: Option<u32>,
    duplicate_window_nanos: u64,
    allow_ttl: bool,
    deny_delete: bool,
    deny_purge: bool,
    replicas: u8,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A declaration's stored form.
///
/// # Errors
/// Where it has none.
pub fn config_json(config: &StreamConfig) -> Result<Vec<u8>, String> {
    let stored = StoredConfig {
        name: config.name.clone(),
        description: config.description.clone(),
        subjects: config.subjects.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        memory: config.storage == Storage::Memory,
        retention: match config.retention {
            Retention::Limits => 0,
            Retention::Interest => 1,
            Retention::WorkQueue => 2,
        },
        discard_new: config.discard == Discard::New,
        discard_new_per_subject: config.discard_new_per_subject,
        messages_max: config.messages_max,
        bytes_max: config.bytes_max,
        messages_per_subject_max: config.messages_per_subject_max,
        age_max_nanos: config.age_max.map(nanos),
        message_bytes_max: config.message_bytes_max,
        duplicate_window_nanos: nanos(config.duplicate_window),
        allow_ttl: config.allow_ttl,
        deny_delete: config.deny_delete,
        deny_purge: config.deny_purge,
        replicas: config.replicas,
        metadata: config.metadata.clone(),
    };
    serde_json::to_vec(&stored).map_err(|error| error.to_string())
}

/// The declaration in a stored form.
///
/// # Errors
/// Where there is none in it.
pub fn config_of(json: &[u8]) -> Result<StreamConfig, String> {
    let stored: StoredConfig = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let patterns: Result<Vec<Pattern>, _> = stored.subjects.iter().map(|text| Pattern::parse(text)).collect();
    Ok(StreamConfig {
        name: stored.name,
        description: stored.description,
        subjects: patterns.map_err(|error| error.to_string())?,
        storage: if stored.memory { Storage::Memory } else { Storage::File },
        retention: match stored.retention {
            0 => Retention::Limits,
            1 => Retention::Interest,
            2 => Retention::WorkQueue,
            other => return Err(format!("unknown retention {other}")),
        },
        discard: if stored.discard_new { Discard::New } else { Discard::Old },
        discard_new_per_subject: stored.discard_new_per_subject,
        messages_max: stored.messages_max,
        bytes_max: stored.bytes_max,
        messages_per_subject_max: stored.messages_per_subject_max,
        age_max: stored.age_max_nanos.map(Duration::from_nanos),
        message_bytes_max: stored.message_bytes_max,
        duplicate_window: Duration::from_nanos(stored.duplicate_window_nanos),
        allow_ttl: stored.allow_ttl,
        deny_delete: stored.deny_delete,
        deny_purge: stored.deny_purge,
        replicas: stored.replicas,
        metadata: stored.metadata,
        ..StreamConfig::new(String::new(), [])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_comes_back() {
        let mut config = StreamConfig::new("A", [Pattern::parse("a.>").unwrap()]);
        config.age_max = Some(Duration::from_secs(9));
        config.retention = Retention::WorkQueue;
        config.metadata.insert("k".into(), "v".into());
        let catalog = Catalog {
            lsn: 7,
            next_stream: 3,
            streams: vec![Listed {
                id: 2,
                created: Moment::from_nanos(5),
                last: 11,
                snapshot: 1,
                config: Arc::new(config),
                segments: vec![(1, 99, Moment::from_nanos(6))],
            }],
            desk: vec![b"state".to_vec()],
        };
        let bytes = catalog.encode().unwrap();
        assert_eq!(Catalog::decode(&bytes), Some(catalog));
        for len in 0..bytes.len() {
            assert_eq!(Catalog::decode(&bytes[..len]), None, "{len}");
        }
    }
}
