//! Where the judgement of one document gathers.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::document::{Fault, Identity};

/// What was found in one document.
pub(crate) struct Report {
    resource: String,
    ours: bool,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Report {
    pub(crate) fn new(identity: &Identity, ours: bool) -> Self {
        Report { resource: identity.to_string(), ours, faults: Vec::new(), warnings: Vec::new() }
    }

    /// Whether the document is our own.
    pub(crate) fn ours(&self) -> bool {
        self.ours
    }

    /// A fault, whoever's document it is.
    pub(crate) fn fault(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.faults.push(Fault::new(&self.resource, path, reason));
    }

    /// A fault of our own document; a warning of routerd's, which would let it pass.
    pub(crate) fn strict(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let found = Fault::new(&self.resource, path, reason);
        if self.ours { self.faults.push(found) } else { self.warnings.push(found) }
    }

    /// Something worth a look.
    pub(crate) fn warn(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.warnings.push(Fault::new(&self.resource, path, reason));
    }

    /// Hands on what was found.
    pub(crate) fn end(self, faults: &mut Vec<Fault>, warnings: &mut Vec<Fault>) {
        faults.extend(self.faults);
        warnings.extend(self.warnings);
    }
}
