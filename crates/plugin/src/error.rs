//! Why a run came to nothing. Each says what to do about it.

use std::time::Duration;

use thiserror::Error;

use crate::executable::NotExecutable;
use crate::result::NotYaml;

/// Why a run came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the plugin '{plugin}' {fault}")]
pub struct RunError {
    /// The plugin's name.
    pub plugin: String,
    /// Why.
    pub fault: Fault,
    /// What it wrote to standard error, its first [`crate::STDERR_KEPT_BYTES_MAX`] bytes.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Its file cannot be run.
    #[error(transparent)]
    NotExecutable(NotExecutable),
    /// The operating system did not start it.
    #[error("could not be started: {reason}; run {executable} by hand as the node's user to see why")]
    Spawn {
        /// Its file.
        executable: String,
        /// Why.
        reason: String,
    },
    /// A limit of its declaration cannot be kept here.
    #[error("cannot be given the limit spec.limits.{limit}: {reason}; lower or remove it")]
    Limit {
        /// The limit's name in the declaration.
        limit: &'static str,
        /// Why.
        reason: String,
    },
    /// It had not ended in time, and was killed with all that it started.
    #[error("had not ended after {}, and was killed; make it faster, or raise spec.timeout", event::units::Span(*.0))]
    Timeout(Duration),
    /// Its answer is too long.
    #[error(
        "wrote more than {0} bytes to standard output, and was killed; let it say less, or raise spec.limits.stdoutBytes"
    )]
    StdoutTooLong(usize),
    /// It complains too much.
    #[error(
        "wrote more than {0} bytes to standard error, and was killed; let it say less, or raise spec.limits.stderrBytes"
    )]
    StderrTooLong(usize),
    /// It says that it failed.
    #[error("ended with the status {status}{}; its standard error says why", quoted(.said))]
    Exit {
        /// The status.
        status: i32,
        /// The last line of its standard error.
        said: String,
    },
    /// It was killed by a signal.
    #[error("died by the signal {signal}{}{}", meaning(*.signal), quoted(.said))]
    Signal {
        /// The signal's number.
        signal: i32,
        /// The last line of its standard error.
        said: String,
    },
    /// It was killed and does not end.
    #[error("was killed and does not end; look at what it waits for: it hangs in the kernel")]
    Stuck,
    /// It wrote nothing.
    #[error("wrote nothing to standard output; it must write one PluginResult, in YAML or JSON")]
    Nothing,
    /// What it wrote is no result.
    #[error("wrote something that is no result: {0}; it must write one PluginResult, in YAML or JSON")]
    NotYaml(NotYaml),
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ('{said}')") }
}

/// What the operating system means by a signal, where it is one of those that end a plugin's run.
fn meaning(signal: i32) -> &'static str {
    match signal {
        6 => " (SIGABRT: it gave itself up)",
        9 => " (SIGKILL: memory may have run out; see spec.limits.memoryBytes and the kernel's log)",
        11 => " (SIGSEGV: it has a fault)",
        15 => " (SIGTERM: somebody ended it)",
        24 => " (SIGXCPU: it used more processor time than spec.limits.cpu allows)",
        _ => "",
    }
}
