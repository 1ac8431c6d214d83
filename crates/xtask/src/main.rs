//! The broom: everything that is run on the project and is not the project.
//!
//! `cargo xtask COMMAND`. Knows no crate of the workspace: it reads their sources as text, builds
//! them with cargo, and speaks to the finished binary over HTTP like any stranger.

mod licences;
mod tidy;
mod tree;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

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
    let (command, _rest) = words.split_first().ok_or(HELP)?;
    match command.as_str() {
        "tidy" => tidy::run(),
        "licences" => licences::run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        other => Err(format!("there is no command '{other}'\n\n{HELP}")),
    }
}
