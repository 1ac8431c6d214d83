//! A view as a file: what it holds at an index, so that a restart folds only what came after.
//!
//! ```text
//!  0  magic "TVEW"                4
//!  4  version                     u32     1
//!  8  digest of the declaration   32      SHA-256
//! 40  when the stream was made    u64     nanoseconds since the epoch
//! 48  epoch                       u32
//! 52  index                       u64     position in its upper 44 bits, step in the lower 20
//! 60  floor                       u64     likewise: what was removed up to here may not be known
//! 68  counts                      6 × u64 applied, passed, old, unfit, expired, evicted
//! 116 N: entries                  u64
//!     N entries
//!     SHA-256 of all so far       32
//!
//! entry    kind u8 │ key u32 + bytes │ changed u64 │ rest
//! 1 row              rest: created u64 │ time u64 │ expires u64, 0: never │ version │ value u32 + bytes
//! 2 removal          no rest
//! 3 removed version  rest: version
//! version  0 │ 1, i128 │ 2, text u32 + bytes
//! ```
//!
//! All numbers are little-endian. A file that is damaged, or of another version, is no checkpoint: the view is folded
//! anew from its stream, which is the truth.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use event::Moment;
use ring::digest::{Context, SHA256};
use thiserror::Error;
use view::rule::{Rule, Version};
use view::{Bounds, Change, Entry, Fold, Index, Row, Told};

const MAGIC: [u8; 4] = *b"TVEW";
const VERSION: u32 = 1;

/// Bytes of a SHA-256.
pub(super) const DIGEST_BYTES: usize = 32;

/// Kinds of entries.
const ROW: u8 = 1;
const REMOVAL: u8 = 2;
const REMOVED_VERSION: u8 = 3;

/// What a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Of the declaration.
    pub(super) digest: [u8; DIGEST_BYTES],
    /// When the stream was made.
    pub(super) created: Moment,
    /// The history that its indexes belong to.
    pub(super) epoch: u32,
}

/// Why a file is no checkpoint.
#[derive(Debug, Error)]
pub(super) enum Unusable {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its bytes are not those that were written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It is of a later version of this program.
    #[error("it is of version {0}")]
    Version(u32),
}

/// What is written of a fold: taken out under its lock, encoded outside.
pub(super) struct Picture {
    index: Index,
    floor: u64,
    told: Told,
    rows: Vec<(Arc<str>, Entry<Row>)>,
    removals: Vec<(Arc<str>, u64)>,
    gone: Vec<(Arc<str>, u64, Version)>,
}

impl Picture {
    /// Of a fold. Copies no value.
    pub(super) fn of(fold: &Fold) -> Self {
        let table = fold.table();
        let changes = table.since(table.floor(), usize::MAX).map(|changes| changes.changes).unwrap_or_default();
        let removals = changes.iter().filter_map(|change| match change {
            Change::Removed(key, at) => Some((Arc::clone(key), *at)),
            Change::Put(..) => None,
        });
        Picture {
            index: fold.index(),
            floor: table.floor(),
            told: fold.told(),
            rows: table.iter().map(|(key, entry)| (Arc::clone(key), entry.clone())).collect(),
            removals: removals.collect(),
            gone: fold.gone().map(|(key, at, version)| (Arc::clone(key), at, version.clone())).collect(),
        }
    }

    /// Where it was taken.
    pub(super) fn index(&self) -> Index {
        self.index
    }

    fn encode(&self, identity: &Identity, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&identity.digest)?;
        out.write_all(&identity.created.nanos().to_le_bytes())?;
        out.write_all(&identity.epoch.to_le_bytes())?;
        let told = &self.told;
        let counts = [told.applied, told.passed, told.old, told.unfit, told.expired, told.evicted];
        let entries = (self.rows.len() + self.removals.len() + self.gone.len()) as u64;
        for number in [self.index.raw(), self.floor].into_iter().chain(counts).chain([entries]) {
            out.write_all(&number.to_le_bytes())?;
        }
        for (key, Entry { value: row, created, changed }) in &self.rows {
            head(out, ROW, key, *changed)?;
            let expires = row.expires.map_or(0, Moment::nanos);
            for number in [*created, row.time.nanos(), expires] {
                out.write_all(&number.to_le_bytes())?;
            }
            version(out, row.version.as_ref())?;
            text(out, &row.value)?;
        }
        for (key, at) in &self.removals {
            head(out, REMOVAL, key, *at)?;
        }
        for (key, at, of) in &self.gone {
            head(out, REMOVED_VERSION, key, *at)?;
            version(out, Some(of))?;
        }
        Ok(())
    }
}

fn text(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a value has 4 GiB or more"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

fn head(out: &mut impl Write, kind: u8, key: &str, changed: u64) -> io::Result<()> {
    out.write_all(&[kind])?;
    text(out, key.as_bytes())?;
    out.write_all(&changed.to_le_bytes())
}

fn version(out: &mut impl Write, version: Option<&Version>) -> io::Result<()> {
    match version {
        None => out.write_all(&[0]),
        Some(Version::Number(number)) => {
            out.write_all(&[1])?;
            out.write_all(&number.to_le_bytes())
        }
        Some(Version::Text(of)) => {
            out.write_all(&[2])?;
            text(out, of.as_bytes())
        }
    }
}

/// Writes and digests.
struct Digesting<W> {
    to: W,
    digest: Context,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The bytes of a checkpoint, written to `to`.
fn write_to<W: Write>(to: W, identity: &Identity, picture: &Picture) -> io::Result<W> {
    let mut out = Digesting { to, digest: Context::new(&SHA256) };
    picture.encode(identity, &mut out)?;
    let Digesting { mut to, digest } = out;
    to.write_all(digest.finish().as_ref())?;
    Ok(to)
}

/// Writes a checkpoint beside the one that is there, and puts it in its place. Blocks on the disk.
///
/// # Errors
/// As the system says; the one that is there stays.
pub(super) fn write(path: &Path, identity: &Identity, picture: &Picture) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let file = write_to(io::BufWriter::new(File::create(&draft)?), identity, picture)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a checkpoint; `None`: there is none. Blocks on the disk.
///
/// # Errors
/// [`Unusable`].
pub(super) fn read(path: &Path, rule: &Rule, bounds: Bounds) -> Result<Option<(Identity, Fold)>, Unusable> {
    match fs::read(path) {
        Ok(bytes) => decode(&bytes, rule, bounds).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unusable> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Unusable::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, Unusable> {
        self.array().map(u64::from_le_bytes)
    }

    fn short(&mut self) -> Result<u32, Unusable> {
        self.array().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Unusable> {
        let count = usize::try_from(self.short()?).map_err(|_| Unusable::Damaged("a length"))?;
        self.take(count)
    }

    fn text(&mut self) -> Result<&'a str, Unusable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unusable::Damaged("a text is no UTF-8"))
    }

    fn version(&mut self) -> Result<Option<Version>, Unusable> {
        match self.array::<1>()? {
            [0] => Ok(None),
            [1] => Ok(Some(Version::Number(i128::from_le_bytes(self.array()?)))),
            [2] => Ok(Some(Version::Text(self.text()?.to_owned()))),
            _ => Err(Unusable::Damaged("a version of no kind")),
        }
    }
}

fn decode(bytes: &[u8], rule: &Rule, bounds: Bounds) -> Result<(Identity, Fold), Unusable> {
    let body = bytes.len().checked_sub(DIGEST_BYTES).and_then(|end| bytes.split_at_checked(end));
    let (body, digest) = body.ok_or(Unusable::Damaged("it is too short"))?;
    let mut reader = Reader(body);
    if reader.array()? != MAGIC {
        return Err(Unusable::Damaged("it does not begin as one"));
    }
    let found = reader.short()?;
    if found != VERSION {
        return Err(Unusable::Version(found));
    }
    if ring::digest::digest(&SHA256, body).as_ref() != digest {
        return Err(Unusable::Damaged("its checksum is another"));
    }
    let (digest, created, epoch) = (reader.array()?, Moment::from_nanos(reader.number()?), reader.short()?);
    let (index, floor) = (Index::from_raw(reader.number()?), reader.number()?);
    let mut counts = [0; 6];
    for count in &mut counts {
        *count = reader.number()?;
    }
    let [applied, passed, old, unfit, expired, evicted] = counts;
    let told = Told { applied, passed, old, unfit, expired, evicted };
    let mut fold = Fold::new(rule.clone(), bounds);
    for _ in 0..reader.number()? {
        entry(&mut reader, &mut fold)?;
    }
    fold.restore_index(index, floor, told);
    Ok((Identity { digest, created, epoch }, fold))
}

fn entry(reader: &mut Reader<'_>, fold: &mut Fold) -> Result<(), Unusable> {
    let [kind] = reader.array()?;
    let (key, changed) = (Arc::<str>::from(reader.text()?), reader.number()?);
    match kind {
        ROW => {
            let (created, time, expires) = (reader.number()?, reader.number()?, reader.number()?);
            let (time, expires) = (Moment::from_nanos(time), Some(expires).filter(|nanos| *nanos > 0));
            let version = reader.version()?;
            let value = Bytes::copy_from_slice(reader.bytes()?);
            let row = Row { value, time, version, expires: expires.map(Moment::from_nanos) };
            fold.restore(created, changed, key, row);
        }
        REMOVAL => fold.restore_removal(changed, key),
        REMOVED_VERSION => {
            let version = reader.version()?.ok_or(Unusable::Damaged("a removal without its version"))?;
            fold.restore_gone(changed, key, version);
        }
        _ => return Err(Unusable::Damaged("an entry of no kind")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{JsonPath, Message, Subject};
    use journal::Stored;
    use proptest::prelude::*;
    use std::time::Duration;
    use view::rule::Origin;

    fn rule() -> Rule {
        Rule {
            key: Origin::Subject(vec![2]),
            version: Some(Origin::Data(JsonPath::parse("v").unwrap())),
            ttl: Some(Duration::from_secs(5)),
            ..Rule::default()
        }
    }

    const IDENTITY: Identity = Identity { digest: [7; 32], created: Moment::from_nanos(9), epoch: 11 };

    fn folded(steps: &[(u8, u8)]) -> Fold {
        let mut fold = Fold::new(rule(), Bounds { removals_max: 4, ..Bounds::default() });
        for (seq, (key, what)) in (1..).zip(steps) {
            let payload = match what {
                0 => String::new(),
                1 => String::from("{\"v\":\"2026\"}"),
                other => format!("{{\"v\":{other}}}"),
            };
            let message = Message::new(Subject::parse(&format!("u.k{key}")).unwrap(), payload);
            let stored = Stored { seq, time: Moment::from_nanos(seq * 1_000_000_000), message };
            let _ = fold.fold(&stored, &mut Vec::new());
            fold.expire(stored.time, &mut Vec::new());
        }
        fold
    }

    fn bytes(fold: &Fold) -> Vec<u8> {
        write_to(Vec::new(), &IDENTITY, &Picture::of(fold)).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(steps in proptest::collection::vec((0_u8..5, 0_u8..6), 0..60)) {
            let fold = folded(&steps);
            let written = bytes(&fold);
            let bounds = Bounds { removals_max: 4, ..Bounds::default() };
            let (identity, read) = decode(&written, &rule(), bounds).unwrap();
            prop_assert_eq!(identity, IDENTITY);
            prop_assert_eq!(bytes(&read), written);
            prop_assert_eq!((read.index(), read.told(), read.bytes()), (fold.index(), fold.told(), fold.bytes()));
            prop_assert_eq!(read.next_expiry(), fold.next_expiry());
            let floor = fold.table().floor();
            prop_assert_eq!(read.table().since(floor, usize::MAX), fold.table().since(floor, usize::MAX));
        }

        #[test]
        fn any_damage_is_found(place: prop::sample::Index, bit in 0_u8..8) {
            let mut written = bytes(&folded(&[(0, 2), (1, 3), (0, 0)]));
            let place = place.index(written.len());
            written[place] ^= 1 << bit;
            prop_assert!(decode(&written, &rule(), Bounds::default()).is_err());
            prop_assert!(decode(&written[..place], &rule(), Bounds::default()).is_err());
        }
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.view");
        assert!(read(&path, &rule(), Bounds::default()).unwrap().is_none());
        for steps in [&[(0, 2)][..], &[(0, 2), (1, 3)]] {
            write(&path, &IDENTITY, &Picture::of(&folded(steps))).unwrap();
            let (_, fold) = read(&path, &rule(), Bounds::default()).unwrap().unwrap();
            assert_eq!(fold.table().len(), steps.len());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
