//! The broom: everything that is run on the project and is not the project.
//!
//! `cargo xtask COMMAND`. Knows no crate of the workspace: it reads their sources as text, builds
//! them with cargo, and speaks to the finished binary over HTTP like any stranger.

mod api;
mod bench;
mod check;
mod conformance;
mod crash;
mod faults;
mod flags;
mod http;
mod licences;
mod node;
mod random;
mod street;
mod tidy;
mod tree;

use std::process::ExitCode;

use check::{Tally, Wanted};
use crash::Plan;
use flags::Flags;

const HELP: &str = "\
cargo xtask COMMAND

  test [--long] [--only STEP]… [--seed S]
                           all tests: cargo, sim, fuzz, faults, crash, street
  crash [--kills N] [--seed S] [--release]
                           the crash loop alone
  faults                   the faults alone
  bench journal|http [--quick]
                           the figures of docs/benchmarks.md
  bench nats [--only ROW,…] [--rounds 3] [--server tidings|nats-server|both]
             [--nats-server PATH] [--quick] [--noisy] [--json|--markdown]
                           our NATS door beside nats-server
  bench federation [--only ROW,…] [--rounds 3] [--quick]
                           facts between nodes: latency, rates, dead peers, partitions
  bench hub [--only deliver,idle,stalled,triangle] [--rounds 3] [--quick]
                           messengers at hubs: rates, memory, those that stall, a triangle
  bench views [--only ROW,…] [--rounds 3] [--quick]
                           watchers of services, a storm of them, a large catalogue, DNS
  bench mesh [--only ROW,…] [--rounds 3] [--quick]
                           links between nodes and domains, the controller, the SLIM door
  conformance --nats-py DIR --nats-rs DIR [--suite NAME]… [--only TEST]…
      [--server PATH [--label NAME]] [--python PATH] [--jobs N] [--release]
                           the suites of the NATS clients, from checkouts of them
  tidy                     checks the shape of the house: edges, sizes, words, documents
  licences                 checks every dependency's licence and source
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command; `false` where it ran and found something wrong.
fn run(words: &[String]) -> Result<bool, String> {
    let (command, rest) = words.split_first().ok_or(HELP)?;
    let mut flags = Flags::parse(rest)?;
    let done = match command.as_str() {
        "test" => {
            let wanted = Wanted { long: flags.has("long"), only: flags.all("only"), seed: flags.number("seed")? };
            flags.nothing_left()?;
            check::run(&wanted)
        }
        "crash" => {
            let kills = flags.number("kills")?.unwrap_or(200);
            let seed = flags.number("seed")?.unwrap_or_else(random::fresh_seed);
            let plan = Plan { kills, seed, release: flags.has("release") };
            flags.nothing_left()?;
            crash::run(&plan)
        }
        "faults" => {
            let mut tally = Tally::default();
            faults::run_all(&node::build(flags.has("release"))?, &mut tally)?;
            Ok(tally.close())
        }
        "bench" => bench::run(&mut flags),
        "conformance" => {
            let wanted = conformance::Wanted::take(&mut flags)?;
            flags.nothing_left()?;
            conformance::run(wanted)
        }
        "tidy" => tidy::run(),
        "licences" => licences::run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        other => Err(format!("there is no command '{other}'\n\n{HELP}")),
    }?;
    flags.nothing_left()?;
    Ok(done)
}
