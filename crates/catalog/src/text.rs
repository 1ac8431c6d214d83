//! What repeats is kept once for all that say the same: names, tags, keys of metadata, lifetimes of checks.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::{DEFINITIONS_SHARED_MAX, TEXT_SHARED_BYTES_MAX, TEXTS_MAX};
use crate::model::Definition;

/// Texts that may stand at one place of the cache.
const WAYS: usize = 4;

const SETS: usize = TEXTS_MAX / WAYS;

const _: () = assert!(SETS.is_power_of_two());

/// The texts seen of late, bounded: a stranger who makes up names does not fill the memory. A text that was pushed out
/// is kept once more when it is seen again.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// [`SETS`] times [`WAYS`], each set with its latest first. Empty before the first text.
    cache: Vec<Option<Arc<str>>>,
    lifetimes: BTreeMap<(Option<Duration>, Option<Duration>), Arc<Definition>>,
}

/// FNV-1a: quick for short texts, and nothing but sharing depends on it.
fn hash(text: &str) -> usize {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    usize::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).unwrap_or(0)
}

impl Texts {
    /// The text, shared with all others that say the same where it can be.
    pub fn take(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return Arc::default();
        }
        if text.len() > TEXT_SHARED_BYTES_MAX {
            return text.into();
        }
        if self.cache.is_empty() {
            self.cache.resize(SETS * WAYS, None);
        }
        let first = (hash(text) % SETS) * WAYS;
        let Some(set) = self.cache.get_mut(first..first + WAYS) else { return text.into() };
        match set.iter().position(|known| known.as_deref() == Some(text)) {
            Some(place) => set[..=place].rotate_right(1),
            None => {
                set.rotate_right(1);
                set[0] = Some(text.into());
            }
        }
        set.first().cloned().flatten().unwrap_or_default()
    }

    /// A definition. Those that say lifetimes alone are few, and shared.
    pub fn definition(&mut self, definition: Definition) -> Arc<Definition> {
        let key = (definition.ttl, definition.deregister_after);
        let plain = Definition { ttl: key.0, deregister_after: key.1, ..Definition::default() };
        if definition != plain {
            return Arc::new(definition);
        }
        if self.lifetimes.len() >= DEFINITIONS_SHARED_MAX {
            self.lifetimes.clear();
        }
        Arc::clone(self.lifetimes.entry(key).or_insert_with(|| Arc::new(definition)))
    }
}
