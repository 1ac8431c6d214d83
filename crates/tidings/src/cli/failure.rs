//! Why a command did not do what it was told, as a person reads it and as a script sees it.
//!
//! One exit code per kind of failure; `docs/cli.md` lists them. Nothing here ever holds a token.

use std::fmt;
use std::process::ExitCode;

use serde::Deserialize;

/// Exit code: the node refused, or the command found something wrong.
pub const EXIT_REFUSED: u8 = 1;
/// Exit code: the command line, or a file that it names, cannot be used. Also clap's.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the node cannot be reached.
pub const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: what was asked for does not exist.
pub const EXIT_NOT_FOUND: u8 = 4;
/// Exit code: interrupted, as shells count SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What an answer of `application/problem+json` says (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What went wrong, in a few words.
    pub title: String,
    /// What went wrong this time.
    pub detail: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do about it, where the node says so.
    #[serde(alias = "help", alias = "action")]
    pub hint: Option<String>,
    /// In a batch: which event it is about, from 0.
    pub index: Option<u32>,
    /// Of resources: what is wrong with which.
    pub faults: Box<[FaultTold]>,
    /// Whether the same request may succeed later: the node sent `Retry-After`.
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

/// What is wrong with a resource, as the node tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FaultTold {
    /// `apiVersion/kind/name`.
    pub resource: String,
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The node answered and refused. Worth trying again only where it said `Retry-After`.
    Refused(Problem),
    /// What was named does not exist.
    NotFound(Problem),
    /// The command line or a file that it names cannot be used. Not worth trying again unchanged.
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// No node answered. Worth trying again once one runs.
    Unreachable {
        /// The base URL that was tried.
        server: String,
        /// What the attempt met.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The command ran and found something wrong, which it has already shown.
    Found,
    /// A file cannot be used; why was already shown.
    Unusable,
    /// The user interrupted.
    Interrupted,
    /// Whoever read the output went away: not worth a word.
    Closed,
}

impl Failure {
    /// A failure of the command line, with what to do.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Usage { what: what.into(), hint: hint.into() }
    }

    /// The node answered with something that is not its API.
    pub fn strange(what: impl fmt::Display) -> Self {
        Failure::Refused(Problem {
            title: "the answer is not that of a Tidings node".to_owned(),
            detail: what.to_string(),
            hint: Some("check --server, and that the command line and the node are of one version".to_owned()),
            ..Problem::default()
        })
    }

    /// Turns a failed write to standard output into a failure.
    pub fn output(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::Closed;
        }
        Failure::usage(format!("cannot write the output: {error}"), "check where standard output leads")
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) | Failure::Found => ExitCode::from(EXIT_REFUSED),
            Failure::NotFound(_) => ExitCode::from(EXIT_NOT_FOUND),
            Failure::Usage { .. } | Failure::Unusable => ExitCode::from(EXIT_USAGE),
            Failure::Unreachable { .. } => ExitCode::from(EXIT_UNREACHABLE),
            Failure::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
            Failure::Closed => ExitCode::SUCCESS,
        }
    }

    /// Whether the same request may succeed later, and after how many seconds at the earliest.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Failure::Unreachable { .. } => Some(0),
            Failure::Refused(problem) => match problem.status {
                429 | 503 => Some(problem.retry_after_seconds.unwrap_or(0)),
                502 | 504 => Some(0),
                _ => None,
            },
            _ => None,
        }
    }

    /// Says it on standard error.
    pub fn report(&self) {
        let text = self.to_string();
        if !text.is_empty() {
            eprintln!("{text}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, detail, hint) = match self {
            Failure::Refused(problem) | Failure::NotFound(problem) => {
                (problem.title.as_str(), problem.detail.as_str(), problem.advice())
            }
            Failure::Usage { what, hint } => (what.as_str(), "", hint.clone()),
            Failure::Unreachable { server, cause, hint } => {
                return write!(f, "error: cannot reach a node at {server}\n  {cause}\n  try: {hint}");
            }
            Failure::Interrupted => return f.write_str("interrupted"),
            Failure::Found | Failure::Unusable | Failure::Closed => return Ok(()),
        };
        write!(f, "error: {}", what.trim_end_matches('.'))?;
        if !detail.is_empty() && !detail.eq_ignore_ascii_case(what) {
            write!(f, "\n  {detail}")?;
        }
        if !hint.is_empty() {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// What to do: the node's own advice, or what the status stands for.
    fn advice(&self) -> String {
        if let Some(hint) = &self.hint {
            return hint.clone();
        }
        let advice = match self.status {
            401 => "give a token with --token-file FILE or TIDINGS_TOKEN_FILE",
            403 => "use a token that is allowed this, or ask whoever runs the node to allow it",
            404 => "see what there is: tidings stream ls; tidings consumer ls STREAM",
            413 => "send less at once, or raise the limit of the stream or the node",
            429 | 503 => return self.later(),
            _ => "",
        };
        advice.to_owned()
    }

    fn later(&self) -> String {
        match self.retry_after_seconds {
            Some(seconds) => format!("again in {seconds} s: the node is pushing back; see its /readyz"),
            None => "again in a moment: the node is pushing back; see its /readyz".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_happened_and_what_to_do() {
        let problem = Problem {
            title: "The stream does not exist".into(),
            detail: "no stream is named 'ORDERS'".into(),
            status: 404,
            ..Problem::default()
        };
        let text = Failure::NotFound(problem).to_string();
        assert_eq!(
            text,
            "error: The stream does not exist\n  no stream is named 'ORDERS'\n  try: see what there is: tidings \
             stream ls; tidings consumer ls STREAM"
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |status| Failure::Refused(Problem { status, ..Problem::default() });
        assert_eq!(refused(503).retry_after_seconds(), Some(0));
        assert_eq!(refused(400).retry_after_seconds(), None);
        assert_eq!(Failure::usage("a", "b").retry_after_seconds(), None);
    }
}
