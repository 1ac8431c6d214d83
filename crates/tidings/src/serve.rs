//! `tidings serve`: runs a node until it is told to stop.

use std::process::ExitCode;

/// Flags of `tidings serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {}

/// Runs a node until it is told to stop.
pub fn run(_args: ServeArgs) -> miette::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
