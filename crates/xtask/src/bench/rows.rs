//! A benchmark of named rows: which are wanted, the machine that they ran on, how they ended.

use std::fs;
use std::path::PathBuf;

use super::{LOAD_MAX, load, machine};
use crate::flags::Flags;
use crate::node;

/// Rounds of each row, where none are asked for.
const ROUNDS: u64 = 3;
/// Rounds of a quick run.
const ROUNDS_QUICK: u64 = 1;

/// What is run, with what, and how much of it.
pub struct Bench {
    /// The optimised node.
    pub binary: PathBuf,
    /// A folder of its own, which goes afterwards.
    pub folder: PathBuf,
    /// Whether less of everything is done.
    pub quick: bool,
    /// How often each row is measured.
    pub rounds: u64,
}

impl Bench {
    /// So many, or fewer in a quick run.
    pub fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// A name, what it measures, and the measuring.
pub type Row = (&'static str, &'static str, fn(&Bench) -> Result<(), String>);

/// Runs the rows that are wanted; `false` where one of them failed. A figure that is missed is no failure.
/// `also` is printed with what there is to say of the machine.
pub fn run(flags: &mut Flags, name: &str, rows: &[Row], also: &[(&str, String)]) -> Result<bool, String> {
    let quick = flags.has("quick");
    let rounds = flags.number("rounds")?.unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS }).max(1);
    let only: Vec<String> = flags.all("only").iter().flat_map(|names| names.split(',').map(str::to_string)).collect();
    flags.nothing_left()?;
    if let Some(unknown) = only.iter().find(|name| rows.iter().all(|row| row.0 != name.as_str())) {
        let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
        return Err(format!("there is no row '{unknown}'; there are {}", names.join(", ")));
    }
    let folder = node::scratch(name)?;
    let binary = node::build(true)?;
    let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
    let busy = load() > LOAD_MAX;
    for (name, value) in machine(&folder)? {
        println!("{name:<9} {value}");
    }
    for (name, value) in also {
        println!("{name:<9} {value}");
    }
    println!("rounds    {rounds}; medians (least to greatest)");
    let bench = Bench { binary, folder: folder.clone(), quick, rounds };
    let mut failed = 0;
    for (name, title, row) in rows.iter().filter(|row| only.is_empty() || only.iter().any(|name| name == row.0)) {
        println!("\n{name}: {title}");
        if let Err(reason) = row(&bench) {
            println!("FAILED: {reason}");
            failed += 1;
        }
    }
    let _left_behind = fs::remove_dir_all(&folder);
    if busy {
        println!("\nNOT VALID: the machine was busy when this began; run it again on a quiet one");
    }
    Ok(failed == 0)
}
