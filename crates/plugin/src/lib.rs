//! A reaction's code, outside the process, with a deadline.
//!
//! [`run`] starts a plugin's executable, hands it one request as JSON on standard input, and takes one
//! document in YAML or JSON from its standard output. What the document means is not read here.
//!
//! # What a plugin is given
//! - no arguments, the environment variable `PATH` and what its declaration says, nothing else;
//! - an empty folder of its own as working directory, which goes when it ends;
//! - a process group of its own.
//!
//! # Invariants
//! - When [`run`] returns, or is dropped, the whole group has been killed: what a plugin leaves running
//!   ends with it. A process that made itself a session of its own has left the group; it is not waited for.
//! - Nothing is read beyond [`Limits::stdout_bytes`] and [`Limits::stderr_bytes`], and no document is
//!   expanded beyond [`RESULT_BYTES_MAX`] and [`RESULT_NODES_MAX`].
//! - The group is killed before its leader is reaped, so that its number cannot be another's by then.
//!
//! # Cost
//! One process, three pipes and a folder a run. How many run at a time is the caller's to bound.

mod error;
mod executable;
mod pipe;
mod process;
mod result;
mod run;

pub use error::{Fault, RunError};
pub use executable::{NotExecutable, check_executable};
pub use result::{NotYaml, RESULT_BYTES_MAX, RESULT_NODES_MAX, parse_result};
pub use run::{
    Call, Limits, Ran, STDERR_BYTES_DEFAULT, STDERR_KEPT_BYTES_MAX, STDOUT_BYTES_DEFAULT, TIME_DEFAULT, run,
};
