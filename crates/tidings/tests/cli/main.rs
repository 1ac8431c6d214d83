//! The command line as its users meet it: the binary, its output, its exit codes.

mod commands;
mod demo;
mod follow;
mod stub;
