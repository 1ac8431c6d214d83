//! `cargo xtask tidy`: the shape of the house, checked.
//!
//! Every rule is a pure function from a [`Tree`] to findings, so that each can be shown to fail on a
//! bad sample. A finding fails; a warning is only printed. The rules only ever get stricter.
//! Cost: well under two seconds.

mod documents;
mod edges;
mod rust;
mod sources;

use std::fmt;

use crate::tree::{self, Tree};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line, from 1; 0 where it is about the whole file.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
    /// Whether it is only a warning.
    pub warning: bool,
}

impl Finding {
    /// A finding that fails.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.to_string(), line, what: what.into(), warning: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.warning { "warning: " } else { "" };
        match self.line {
            0 => write!(f, "{mark}{}: {}", self.path, self.what),
            line => write!(f, "{mark}{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Reads the project and prints what is found.
pub fn run() -> Result<bool, String> {
    let tree = tree::read()?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    let failed = findings.iter().filter(|finding| !finding.warning).count();
    println!("tidy: {} files, {failed} findings, {} warnings", tree.paths.len(), findings.len() - failed);
    Ok(failed == 0)
}

/// All rules.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let rules: [fn(&Tree) -> Vec<Finding>; 3] = [edges::check, sources::check, documents::check];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

#[cfg(test)]
mod tests;
