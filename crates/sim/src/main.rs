//! `sim`: runs seeds against the embedded engine and tells which fail, and how to see it again.

use std::process::ExitCode;

use sim::world::{self, Counts, Menu, Report};
use sim::{federation, hub, mesh, seeds, views};

const USAGE: &str = "\
Runs the embedded engine on a simulated disk, beside the engine in memory; or, with `federation`, sites
that exchange facts over links that fail; or, with `hub`, hubs whose links flap; or, with `views`, a catalogue that is
followed through crashes; or, with `mesh`, domains whose nodes, links and plans come and go; or, with `controller`,
the controllers that make these plans.

Usage: sim [federation|hub|views|mesh|controller] [--seeds N] [--from S] [--ops K] [--faults all|crash|flip|none] [--twice] [--log] [--whole]

  --seeds N    how many seeds [default: 100]
  --from S     the first seed [default: 1]
  --ops K      steps of each run [default: 300]
  --faults F   what goes wrong [default: by the seed]; of the engine alone
  --twice      runs each seed twice and compares what was answered and what is on the disk
  --log        prints every step of every run
  --whole      prints a failing run as it is, without taking out steps that do not matter";

/// What is run.
#[derive(Clone, Copy)]
enum World {
    Engine,
    Federation,
    Hub,
    Views,
    Mesh,
    Controller,
}

/// What was asked for.
struct Args {
    world: World,
    seeds: u64,
    from: u64,
    ops: usize,
    menu: Option<Menu>,
    twice: bool,
    log: bool,
    whole: bool,
}

fn args() -> Result<Option<Args>, String> {
    let mut args = Args {
        world: World::Engine,
        seeds: 100,
        from: 1,
        ops: 300,
        menu: None,
        twice: false,
        log: false,
        whole: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("'{text}' is not a number"));
        match word.as_str() {
            "federation" => args.world = World::Federation,
            "hub" => args.world = World::Hub,
            "views" => args.world = World::Views,
            "mesh" => args.world = World::Mesh,
            "controller" => args.world = World::Controller,
            "--seeds" => args.seeds = number(value()?)?,
            "--from" => args.from = number(value()?)?,
            "--ops" => args.ops = usize::try_from(number(value()?)?).unwrap_or(usize::MAX),
            "--faults" => args.menu = Some(Menu::parse(&value()?)?),
            "--twice" => args.twice = true,
            "--log" => args.log = true,
            "--whole" => args.whole = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("'{other}' is not known\n\n{USAGE}")),
        }
    }
    Ok(Some(args))
}

/// Runs one seed; gives whether it went well.
fn seed(args: &Args, seed: u64, total: &mut Counts) -> bool {
    let menu = args.menu.unwrap_or_else(|| Menu::of(seed));
    let report = world::run_seed(seed, args.ops, menu);
    total.add(&report.counts);
    if args.log {
        print!("{report}");
    }
    if report.failure.is_some() {
        let shown = if args.whole { report } else { world::shrink(seed, args.ops, menu, report) };
        tell(args, seed, menu, &shown);
        return false;
    }
    if args.twice {
        let again = world::run_seed(seed, args.ops, menu);
        if again.digest != report.digest {
            println!("seed {seed}: twice the same seed, not twice the same bytes");
            let pairs = report.log.iter().zip(&again.log).enumerate();
            if let Some((place, (one, two))) = pairs.into_iter().find(|(_, (one, two))| one != two) {
                println!("  line {place}:\n    {one}\n    {two}");
            }
            return false;
        }
    }
    true
}

/// A world that a word of the command line names.
struct Named<Counts> {
    word: &'static str,
    run: fn(u64, usize) -> seeds::Report<Counts>,
    shrink: fn(u64, usize, seeds::Report<Counts>) -> seeds::Report<Counts>,
}

/// Runs one seed of a named world; gives what it met, and whether it went well.
fn named<Counts: std::fmt::Debug + Copy>(args: &Args, seed: u64, world: &Named<Counts>) -> (Counts, bool) {
    let report = (world.run)(seed, args.ops);
    let (counts, digest) = (report.counts, report.digest);
    if args.log {
        print!("{report}");
    }
    if report.failure.is_some() {
        let shown = if args.whole { report } else { (world.shrink)(seed, args.ops, report) };
        println!("seed {seed} FAILED");
        print!("{shown}");
        let (word, ops) = (world.word, args.ops);
        println!("  see it again: cargo run -p sim -- {word} --seeds 1 --from {seed} --ops {ops} --whole\n");
        return (counts, false);
    }
    let same = !args.twice || (world.run)(seed, args.ops).digest == digest;
    if !same {
        println!("seed {seed}: twice the same seed, not twice the same bytes");
    }
    (counts, same)
}

/// Runs seeds of a named world; gives what they met, and how many failed.
fn all<Counts: std::fmt::Debug + Copy + Default>(
    args: &Args,
    seeds: std::ops::Range<u64>,
    world: &Named<Counts>,
    add: fn(&mut Counts, &Counts),
) -> (String, usize) {
    let (mut total, mut failed) = (Counts::default(), 0);
    for seed in seeds {
        let (counts, good) = named(args, seed, world);
        add(&mut total, &counts);
        failed += usize::from(!good);
    }
    (format!("{total:?}"), failed)
}

fn tell(args: &Args, seed: u64, menu: Menu, report: &Report) {
    println!("seed {seed} FAILED ({menu})");
    print!("{report}");
    println!(
        "  see it again: cargo run -p sim -- --seeds 1 --from {seed} --ops {} --faults {menu} --whole\n",
        args.ops
    );
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if !args.whole {
        // A panic is a failure like any other; what it said is in the report.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let range = args.from..args.from.saturating_add(args.seeds);
    let (met, failed) = match args.world {
        World::Engine => {
            let mut total = Counts::default();
            let failed = range.filter(|each| !seed(&args, *each, &mut total)).count();
            (format!("{total:?}"), failed)
        }
        World::Federation => {
            let world = Named { word: "federation", run: federation::run_seed, shrink: federation::shrink };
            all(&args, range, &world, federation::Counts::add)
        }
        World::Hub => {
            let world = Named { word: "hub", run: hub::run_seed, shrink: hub::shrink };
            all(&args, range, &world, hub::Counts::add)
        }
        World::Views => {
            let world = Named { word: "views", run: views::run_seed, shrink: views::shrink };
            all(&args, range, &world, views::Counts::add)
        }
        World::Mesh => {
            let world = Named { word: "mesh", run: mesh::run_seed, shrink: mesh::shrink };
            all(&args, range, &world, mesh::Counts::add)
        }
        World::Controller => {
            let world = Named { word: "controller", run: mesh::control::run_seed, shrink: mesh::control::shrink };
            all(&args, range, &world, mesh::control::Counts::add)
        }
    };
    println!("{met}\n{} seeds, {failed} failed", args.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
