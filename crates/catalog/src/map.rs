//! A small map that costs what it holds: pairs in the order of their keys, shared.
//!
//! There are a hundred thousand of them, most with none to four pairs, and none changes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Pairs in the order of their keys; no key twice. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Map<V>(Option<Arc<[Pair<V>]>>);

type Pair<V> = (Arc<str>, V);

impl<V> Default for Map<V> {
    fn default() -> Self {
        Map(None)
    }
}

impl<V> Map<V> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        let pairs = self.as_slice();
        let place = pairs.binary_search_by(|(each, _)| (**each).cmp(key)).ok()?;
        pairs.get(place).map(|(_, value)| value)
    }

    /// Key and value of each pair, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &V)> + Clone {
        self.as_slice().iter().map(|(key, value)| (key, value))
    }

    /// The pairs.
    pub fn as_slice(&self) -> &[(Arc<str>, V)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<V> FromIterator<(Arc<str>, V)> for Map<V> {
    /// Of pairs with the same key the last one counts.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        // A stable order, backwards, so that the last of a key comes first.
        pairs.reverse();
        pairs.sort_by(|(one, _), (two, _)| one.cmp(two));
        pairs.dedup_by(|(one, _), (two, _)| one == two);
        if pairs.is_empty() { Map(None) } else { Map(Some(pairs.into())) }
    }
}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
