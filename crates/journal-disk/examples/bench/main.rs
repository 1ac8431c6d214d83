//! The journal's benchmark: the engine beside a raw program, in one run.
//!
//! ```text
//! cargo run --release -p journal-disk --example bench -- [--quick] [--dir DIR] [--json]
//! ```
//! Every figure is the median of three rounds, with the least and the greatest. The raw program
//! writes the same bytes of records, 64 at a time, into a file that has its room already, with one
//! `fdatasync` for each write. Rounds of both sides take turns. Nothing is asserted: what must hold
//! is in `docs/benchmarks.md`.

mod append;
mod drive;
mod open;
mod read;
mod structures;

use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each figure.
const ROUNDS: usize = 3;

/// What went wrong, in words: the benchmark ends with it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Setup {
    quick: bool,
    dir: PathBuf,
}

impl Setup {
    /// A count, a twentieth of it where quick.
    fn scaled(&self, count: u64) -> u64 {
        if self.quick { count / 20 } else { count }
    }

    /// An empty directory.
    fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.join(name);
        remove(&dir)?;
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One figure: the median of its rounds, and their range.
struct Figure {
    name: String,
    unit: &'static str,
    median: f64,
    least: f64,
    greatest: f64,
}

#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(&mut self, name: impl Into<String>, unit: &'static str, mut rounds: Vec<f64>) -> f64 {
        rounds.sort_by(f64::total_cmp);
        let median = rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN);
        let least = rounds.first().copied().unwrap_or(f64::NAN);
        let greatest = rounds.last().copied().unwrap_or(f64::NAN);
        let figure = Figure { name: name.into(), unit, median, least, greatest };
        eprintln!("  {}: {} {unit}", figure.name, shown(median));
        self.0.push(figure);
        median
    }

    fn print(&self) {
        println!("{:<66} {:>12} {:<10} {:>12} {:>12}", "figure", "median", "unit", "least", "greatest");
        for figure in &self.0 {
            let (median, least, greatest) = (shown(figure.median), shown(figure.least), shown(figure.greatest));
            println!("{:<66} {median:>12} {:<10} {least:>12} {greatest:>12}", figure.name, figure.unit);
        }
    }

    fn json(&self) -> serde_json::Value {
        let of = |figure: &Figure| {
            serde_json::json!({
                "name": figure.name, "unit": figure.unit,
                "median": figure.median, "least": figure.least, "greatest": figure.greatest,
            })
        };
        self.0.iter().map(of).collect()
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut quick, mut json, mut dir) = (false, false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = true,
            "--dir" => dir = arguments.next(),
            // What this program asks of a child of itself.
            "--open" => return open::child(Path::new(&arguments.next().unwrap_or_default())),
            other => return Err(format!("unknown argument '{other}'; there are --quick, --dir DIR and --json").into()),
        }
    }
    let base =
        dir.map_or_else(|| std::env::current_dir().map(|dir| dir.join("target")), |dir| Ok(PathBuf::from(dir)))?;
    let setup = Setup { quick, dir: base.join(format!("bench-{}", std::process::id())) };
    std::fs::create_dir_all(&setup.dir)?;
    let mut figures = Figures::default();
    let ran = run(&setup, &mut figures);
    remove(&setup.dir)?;
    ran?;
    if json {
        println!("{}", serde_json::to_string_pretty(&figures.json())?);
    } else {
        figures.print();
    }
    Ok(())
}

fn run(setup: &Setup, figures: &mut Figures) -> Outcome<()> {
    append::throughput(setup, figures, 128)?;
    append::throughput(setup, figures, 1024)?;
    append::latency(setup, figures)?;
    structures::run(setup, figures);
    read::run(setup, figures)?;
    open::run(setup, figures)
}
