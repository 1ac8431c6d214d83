//! Texts that are kept once for all that say the same.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use crate::limits::{TEXT_SHARED_BYTES_MAX, TEXTS_MAX};

/// The texts seen of late, bounded: a stranger who makes up names does not fill the memory. When there are too many
/// all are forgotten, and those that repeat are soon known again.
#[derive(Debug, Clone, Default)]
pub struct Texts(BTreeSet<Arc<str>>);

impl Texts {
    /// The text, shared with all others that say the same where it can be.
    pub fn take(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return Arc::default();
        }
        if text.len() > TEXT_SHARED_BYTES_MAX {
            return text.into();
        }
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        if self.0.len() >= TEXTS_MAX {
            self.0.clear();
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}
