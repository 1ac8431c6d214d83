//! The command line as its users meet it: the binary, its output, its exit codes.

mod commands;
mod demo;
mod federation;
mod follow;
#[path = "../process/mod.rs"]
mod process;
mod resource;
mod room;
mod stub;
