//! `cargo xtask bench federation`: what the exchange of facts between two and more nodes costs.
//!
//! Every node is the optimised binary with a data folder of its own, driven over HTTP; what is between
//! nodes (links that are cut, peers that are light or dead) is in this program. One clock measures: the
//! one of this program, which states facts at one node and watches another. The nodes and this program
//! share the machine's cores. A row that finds a fact missing or doubled fails and shows no figure.

mod cut;
mod drain;
mod hole;
mod latency;
mod peers;
mod proxy;
mod site;

use std::fs;
use std::path::Path;

use site::Site;

use super::rows::{self, Bench, Row};
use crate::flags::Flags;

const ROWS: &[Row] = &[
    ("latency", "emit over HTTP at one node until the second has it on disk and shows it", latency::run),
    ("full", "the same, and what emit and receive cost, with empty and with full stores", latency::run_full),
    ("single", "a backlog pushed one fact a request, durable at both ends", drain::single),
    ("batch", "a backlog pushed in batches, durable at both ends", drain::batch),
    ("hole", "50 peers, one of them accepts and never answers", hole::run),
    ("cut", "a partition under 1,000 facts a second", cut::run),
];

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
pub fn run(flags: &mut Flags) -> Result<bool, String> {
    rows::run(flags, "bench-federation", ROWS, &[])
}

impl Bench {
    /// A node on an empty folder.
    fn site(&self, name: &str) -> Result<Site, String> {
        let folder = self.folder.join(name);
        let _absent = fs::remove_dir_all(&folder);
        Site::start(&self.binary, &folder, name)
    }

    /// Two nodes on empty folders that know the group, and not each other.
    fn pair(&self) -> Result<(Site, Site), String> {
        let (a, b) = (self.site("a")?, self.site("b")?);
        for site in [&a, &b] {
            site.declare(&[site.group()?])?;
        }
        Ok((a, b))
    }
}

/// A file with what it is to hold.
fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
