//! `tidings inbox`: names of the SLIM door whose messages are kept while their owner is away.
//!
//! An inbox is a stream: with it the messages stay, and go.

use serde_json::{Value, json};

use super::client::{Client, Reach};
use super::failure::Failure;
use super::kept::{self, Keeping, Kept};
use super::output::{Out, Show, safe};

pub const EXAMPLES: &str = "Examples:
  tidings inbox keep org/ns/app --for 7d
  tidings inbox ls
  tidings inbox subject org/ns/app      # as NameAcls and streams name it
  tidings inbox forget org/ns/app --yes";

/// Says in a stream's metadata whose inbox it is.
const NAME: &str = "slim-name";

/// What can be done with inboxes.
#[derive(Debug, clap::Subcommand)]
pub enum InboxCommand {
    /// Keep what is for a name whose owner is away, and deliver it when it comes
    #[command(after_help = EXAMPLES)]
    Keep(KeepArgs),
    /// List the inboxes
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Keep an inbox no longer: what was kept in it goes
    Forget(ForgetArgs),
    /// Say the subjects that a name stands for, for NameAcls, streams and traces
    Subject(SubjectArgs),
}

/// Flags of `tidings inbox keep`.
#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    /// The name, org/namespace/application
    name: String,
    #[command(flatten)]
    keeping: Keeping,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox forget`.
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The name, as it was kept
    name: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings inbox subject`.
#[derive(Debug, clap::Args)]
pub struct SubjectArgs {
    /// The name, org/namespace/application
    name: String,
}

/// Does what was asked.
pub fn run(command: InboxCommand) -> Result<(), Failure> {
    match command {
        InboxCommand::Keep(args) => keep(&args),
        InboxCommand::Ls(args) => ls(&args),
        InboxCommand::Forget(args) => forget(&args),
        InboxCommand::Subject(args) => subject(&args),
    }
}

/// The stream of a name, and what it captures.
fn place(name: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::usage(format!("'{}' is no name", safe(name)), "a name is org/namespace/application");
    host::inbox_of(name).ok_or_else(wrong)
}

fn keep(args: &KeepArgs) -> Result<(), Failure> {
    let (stream, pattern) = place(&args.name)?;
    let config = json!({
        "description": format!("What is for {} while its owner is away", args.name),
        "metadata": {NAME: args.name},
    });
    kept::keep(&Client::new(&args.reach)?, &stream, &pattern, &args.keeping, config)?;
    let mut out = Out::new();
    let (name, span) = (safe(&args.name), args.keeping.told());
    out.line(format!("what is for {name} is kept {span} while its owner is away"))?;
    out.flush()
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let streams = kept::streams(&Client::new(&args.reach)?)?;
    let named = |kept: &Kept| {
        let name = kept.config.metadata.get(NAME)?;
        host::inbox_of(name).filter(|(stream, _)| *stream == kept.config.name).map(|_| name.clone())
    };
    let all: Vec<(String, &Kept)> = streams.iter().filter_map(|kept| Some((named(kept)?, kept))).collect();
    let mut out = Out::new();
    if args.show.json {
        let row = |(name, kept): &(String, &Kept)| {
            json!({"name": name, "stream": kept.config.name, "for": kept.config.age_max,
                "messages": kept.state.messages, "bytes": kept.state.bytes, "last": kept.state.last_time})
        };
        let all: Vec<Value> = all.iter().map(row).collect();
        out.document(json!({"inboxes": all}).to_string().as_bytes())?;
        return out.flush();
    }
    let row = |(name, kept): &(String, &Kept)| [safe(name)].into_iter().chain(kept.cells()).collect();
    out.table(&["NAME", "FOR", "KEPT", "BYTES", "LAST (UTC)"], &[2, 3], all.iter().map(row).collect())?;
    out.flush()
}

fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let ((stream, _), name) = (place(&args.name)?, safe(&args.name));
    let held = |held: &str| format!("remove the {held} messages that are kept for {name}");
    kept::forget(&Client::new(&args.reach)?, &stream, args.yes, held)?;
    let mut out = Out::new();
    out.line(format!("nothing is kept for {name} any more"))?;
    out.flush()
}

fn subject(args: &SubjectArgs) -> Result<(), Failure> {
    let (_, pattern) = place(&args.name)?;
    let each = pattern.trim_start_matches("slim-inbox.");
    let mut out = Out::new();
    out.line(format!("slim.{}", each.trim_end_matches(".*")))?;
    out.line(format!("slim.{each}"))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_parts() {
        for bad in ["", "a", "a/b", "a/b/c/d", "a//c", "/a/b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        let (stream, pattern) = place("org/default/class").ok().unwrap();
        assert_eq!(stream, "SLIM_INBOX_873e580376ea963b_219303c7c93f9668_df365d4b83d27cb2");
        assert_eq!(pattern, "slim-inbox.873e580376ea963b.219303c7c93f9668.df365d4b83d27cb2.*");
    }
}
