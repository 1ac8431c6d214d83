//! The catalogue: which streams there are, where each one's files end, and where in the log to go on.
//!
//! ```text
//! catalog.<number>, a blob (see the blob's drawing) of
//! lsn u64 │ next_stream u32 │ streams u32 │ streams × stream │ desk u32 │ desk × (len u32 │ bytes)
//! stream  id u32 │ created u64 │ last u64 │ snapshot u64 (0: none) │ json_len u32 │ declaration, JSON
//!         │ segments u32 │ segments × (base u64 │ len u64 │ first_time u64)
//! ```
//!
//! Version 2: declarations may have fields that version 1 did not know. Version 1 is read, too.
//!
//! Everything in the log before `lsn` is in the segments, durably, up to the lengths given here.
//! What lies behind those lengths comes from the log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use event::{Moment, Pattern, Transform};
use journal::{Discard, Republish, Retention, Source, SourceStart, Storage, StreamConfig};
use serde::{Deserialize, Serialize};

use crate::blob;
use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"TIDCAT01";
const VERSION: u32 = 2;
/// The oldest version that is read.
const VERSION_MIN: u32 = 1;
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
        blob::write(disk, "", &format!("{PREFIX}.{number}"), MAGIC, VERSION, &|out| out.write_all(bytes))
    }

    /// Reads the one under a number.
    ///
    /// # Errors
    /// `InvalidData` where it is damaged; otherwise what the disk says.
    pub fn read(disk: &dyn Disk, number: u64) -> io::Result<Catalog> {
        let name = format!("{PREFIX}.{number}");
        let (version, bytes) = blob::read(disk, "", &name, MAGIC)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            let said = format!("'{name}' has version {version}; this release reads {VERSION_MIN} to {VERSION}");
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
    #[serde(flatten)]
    since_2: Since2,
}

/// What version 2 added.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Since2 {
    #[serde(skip_serializing_if = "Option::is_none")]
    consumers_max: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_rollup: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_atomic: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_direct: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
    first: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker_ttl_nanos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transform: Option<StoredTransform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    republish: Option<(StoredTransform, bool)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<StoredSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<StoredSource>,
}

#[derive(Serialize, Deserialize)]
struct StoredTransform {
    source: String,
    destination: String,
}

#[derive(Serialize, Deserialize)]
struct StoredSource {
    stream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_nanos: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    transforms: Vec<StoredTransform>,
}

impl StoredTransform {
    fn of(transform: &Transform) -> Self {
        StoredTransform { source: transform.source().to_owned(), destination: transform.destination().to_owned() }
    }

    fn transform(&self) -> Result<Transform, String> {
        Transform::new(&self.source, &self.destination).map_err(|error| error.to_string())
    }
}

impl StoredSource {
    fn of(source: &Source) -> Self {
        let (start_seq, start_nanos) = match source.start {
            None => (None, None),
            Some(SourceStart::Seq(seq)) => (Some(seq), None),
            Some(SourceStart::Time(moment)) => (None, Some(moment.nanos())),
        };
        StoredSource {
            stream: source.stream.clone(),
            start_seq,
            start_nanos,
            filter: source.filter.as_ref().map(|filter| filter.as_str().to_owned()),
            transforms: source.transforms.iter().map(StoredTransform::of).collect(),
        }
    }

    fn source(&self) -> Result<Source, String> {
        let seq = self.start_seq.map(SourceStart::Seq);
        let filter = self.filter.as_ref().map(|text| Pattern::parse(text)).transpose();
        Ok(Source {
            stream: self.stream.clone(),
            start: seq.or(self.start_nanos.map(|nanos| SourceStart::Time(Moment::from_nanos(nanos)))),
            filter: filter.map_err(|error| error.to_string())?,
            transforms: self.transforms.iter().map(StoredTransform::transform).collect::<Result<_, _>>()?,
        })
    }
}

impl Since2 {
    fn of(config: &StreamConfig) -> Self {
        Since2 {
            consumers_max: config.consumers_max,
            allow_rollup: config.allow_rollup,
            allow_atomic: config.allow_atomic,
            allow_direct: config.allow_direct,
            sealed: config.sealed,
            first: config.first,
            marker_ttl_nanos: config.marker_ttl.map(nanos),
            transform: config.transform.as_ref().map(StoredTransform::of),
            republish: config.republish.as_ref().map(|each| (StoredTransform::of(&each.transform), each.headers_only)),
            mirror: config.mirror.as_ref().map(StoredSource::of),
            sources: config.sources.iter().map(StoredSource::of).collect(),
        }
    }

    /// Fills in a declaration.
    fn fill(&self, config: &mut StreamConfig) -> Result<(), String> {
        config.consumers_max = self.consumers_max;
        config.allow_rollup = self.allow_rollup;
        config.allow_atomic = self.allow_atomic;
        config.allow_direct = self.allow_direct;
        config.sealed = self.sealed;
        config.first = self.first;
        config.marker_ttl = self.marker_ttl_nanos.map(Duration::from_nanos);
        config.transform = self.transform.as_ref().map(StoredTransform::transform).transpose()?;
        config.republish = match &self.republish {
            None => None,
            Some((stored, headers_only)) => {
                Some(Republish { transform: stored.transform()?, headers_only: *headers_only })
            }
        };
        config.mirror = self.mirror.as_ref().map(StoredSource::source).transpose()?;
        config.sources = self.sources.iter().map(StoredSource::source).collect::<Result<_, _>>()?;
        Ok(())
    }
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
        since_2: Since2::of(config),
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
    let mut config = StreamConfig {
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
    };
    stored.since_2.fill(&mut config)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_of_version_1_is_read() {
        let json = br#"{"name":"A","subjects":["a.>"],"memory":false,"retention":0,"discard_new":false,
            "discard_new_per_subject":false,"messages_max":null,"bytes_max":null,"messages_per_subject_max":null,
            "age_max_nanos":null,"message_bytes_max":null,"duplicate_window_nanos":120000000000,"allow_ttl":true,
            "deny_delete":false,"deny_purge":false,"replicas":1}"#;
        assert_eq!(config_of(json), Ok(StreamConfig::new("A", [Pattern::parse("a.>").unwrap()])));
    }

    #[test]
    fn a_catalogue_comes_back() {
        let mut config = StreamConfig::new("A", [Pattern::parse("a.>").unwrap()]);
        config.age_max = Some(Duration::from_secs(9));
        config.retention = Retention::WorkQueue;
        config.metadata.insert("k".into(), "v".into());
        config.transform = Some(Transform::new("a.*", "b.$1").unwrap());
        config.republish = Some(Republish { transform: Transform::new("", "r.>").unwrap(), headers_only: true });
        let start = Some(SourceStart::Time(Moment::from_nanos(3)));
        config.sources = vec![Source::new("B"), Source { start, ..Source::new("C") }];
        (config.sealed, config.first, config.marker_ttl) = (true, 9, Some(Duration::from_secs(2)));
        (config.consumers_max, config.allow_rollup, config.allow_atomic) = (Some(3), true, true);
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
