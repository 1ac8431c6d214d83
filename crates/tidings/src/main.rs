//! The binary: the only `main`.
//!
//! Picks the allocator and hands over to the command line. Knows no protocol and no engine.

mod cli;
mod serve;

/// Without huge pages: with them an idle node holds 14 MiB that it does not use, and starts later.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
