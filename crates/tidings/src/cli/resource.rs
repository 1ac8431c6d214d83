//! Resources: put in force from files, listed, shown, compared, taken out of force.
//!
//! Files are read here, so that a fault is told with file, line and field; what is judged of resources
//! together is the node's to judge, and its faults are brought back to their lines. The node puts all of a
//! request in force, or nothing of it.

pub(super) mod files;
mod show;

use std::path::PathBuf;

use plan::{Fault, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use self::files::Files;
use super::client::{Client, Reach, Request};
use super::failure::{Failure, FaultTold};
use super::form::{Form, Format, Theirs};
use super::kinds::{KindParser, plain};
use super::output::{Colour, Out, preview, safe};

pub const APPLY_EXAMPLES: &str = "Examples:
  tidings apply -f group.yaml -f peers/           # files, and folders of *.yaml, *.yml and *.json
  tidings apply -f - --dry-run < group.yaml       # what would change, and whether it could
  tidings apply -f resources/ --offline           # the files alone, as a whole, without a node";

pub const GET_EXAMPLES: &str = "Examples:
  tidings get eg                                  # every EventGroup
  tidings get all
  tidings get eventpeer cloud -o yaml             # to edit, and to apply again";

pub const DELETE_EXAMPLES: &str = "Examples:
  tidings delete eventpeer cloud
  tidings delete -f peers/";

/// Characters of a value in a list of changes.
const VALUE_CHARS: usize = 80;

/// Where resources are.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// A file of resources in YAML or JSON, a folder of such, or - for standard input; may be repeated
    #[arg(long = "file", short = 'f', value_name = "FILE|DIR|-", required = true)]
    files: Vec<PathBuf>,
}

/// Flags of `tidings apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    from: FileArgs,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Check the files as a whole, without a node
    #[arg(long, conflicts_with = "dry_run")]
    offline: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    from: FileArgs,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings get`.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// The kind, by its name, plural or short name, in any case; or all
    #[arg(value_parser = KindParser)]
    kind: String,
    /// One of that kind
    name: Option<String>,
    /// Its version, where kind and name are not enough
    #[arg(long, value_name = "VERSION", requires = "name")]
    api_version: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings describe`.
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// The kind, by its name, plural or short name, in any case
    #[arg(value_parser = KindParser)]
    kind: String,
    /// The resource
    name: String,
    /// Its version, where kind and name are not enough
    #[arg(long, value_name = "VERSION")]
    api_version: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// The kind, by its name, plural or short name, in any case
    #[arg(value_parser = KindParser, required_unless_present = "files", requires = "names")]
    kind: Option<String>,
    /// The resources
    #[arg(value_name = "NAME", requires = "kind")]
    names: Vec<String>,
    /// Those of a file, of a folder, or of - for standard input, in place of kind and names; may be repeated
    #[arg(long = "file", short = 'f', value_name = "FILE|DIR|-", conflicts_with_all = ["kind", "names"])]
    files: Vec<PathBuf>,
    /// Their version, where kind and name are not enough
    #[arg(long, value_name = "VERSION", conflicts_with = "files")]
    api_version: Option<String>,
    /// Say what would go, and take nothing out of force
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// What became of resources.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Changed {
    results: Vec<Outcome>,
    warnings: Vec<FaultTold>,
}

/// What became of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Outcome {
    kind: String,
    name: String,
    action: String,
    changes: Vec<plan::Change>,
}

/// A fault as the rules tell it.
fn fault_of(told: &FaultTold) -> Fault {
    Fault::new(&told.resource, &told.path, &told.reason)
}

/// The kind that a word means; the word itself, where it is an operator's own.
fn kind_of(word: &str) -> &str {
    Kind::find(word).map_or(word, |kind| kind.name)
}

/// `tidings apply`.
pub fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let files = Files::read(&args.from.files)?;
    if args.offline {
        return offline(&files);
    }
    let (answer, changed) = send(&Client::new(&args.reach)?, &files, args.dry_run)?;
    tell(&args.form, &answer, &changed, args.dry_run)
}

/// Checks files by themselves.
fn offline(files: &Files) -> Result<(), Failure> {
    match plan::check(files.documents()) {
        Ok(declared) => {
            files.warn(declared.warnings().iter().cloned());
            let mut out = Out::new();
            out.line(format!("{} resources are fine by themselves", declared.documents().len()))?;
            out.flush()
        }
        Err(faults) => Err(files.refuse(&faults)),
    }
}

/// `tidings diff`: exit code 1 where something differs.
pub fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let files = Files::read(&args.from.files)?;
    let (answer, changed) = send(&Client::new(&args.reach)?, &files, true)?;
    tell(&args.form, &answer, &changed, true)?;
    match changed.results.iter().all(|outcome| outcome.action == "unchanged") {
        true => Ok(()),
        false => Err(Failure::Found),
    }
}

/// Sends the resources of files.
fn send(client: &Client, files: &Files, dry_run: bool) -> Result<(Vec<u8>, Changed), Failure> {
    let resources: Vec<Value> = files.documents().iter().map(plan::Document::to_json).collect();
    let request = Request::post(&["resources"]).query_if("dryRun", dry_run.then_some(true));
    let answer = client.ask(&request.json(&json!({ "resources": resources })));
    let answer = answer.map_err(|failure| match failure {
        Failure::Refused(problem) if !problem.faults.is_empty() => {
            files.refuse(&problem.faults.iter().map(fault_of).collect::<Vec<_>>())
        }
        other => other,
    })?;
    let changed: Changed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    files.warn(changed.warnings.iter().map(fault_of));
    Ok((answer, changed))
}

fn tell(form: &Form, answer: &[u8], changed: &Changed, dry_run: bool) -> Result<(), Failure> {
    let theirs = || Theirs::Document(serde_json::from_slice(answer).unwrap_or_default());
    form.show(answer, theirs, |out| {
        for outcome in &changed.results {
            told(out, outcome, dry_run)?;
        }
        Ok(())
    })
}

fn told(out: &mut Out, outcome: &Outcome, dry_run: bool) -> Result<(), Failure> {
    let (colour, would) = match outcome.action.as_str() {
        "unchanged" => (Colour::Faint, ""),
        action => {
            (if action == "deleted" { Colour::Yellow } else { Colour::Green }, if dry_run { " (not done)" } else { "" })
        }
    };
    let action = out.paint(colour, &safe(&outcome.action));
    out.line(format!("{}/{} {action}{would}", safe(&outcome.kind), safe(&outcome.name)))?;
    // Of what is new or gone the whole is no news, but where nothing is done it is what was asked for.
    let whole = matches!(outcome.action.as_str(), "created" | "deleted");
    for change in outcome.changes.iter().filter(|_| dry_run || !whole) {
        let value = |value: &Value| preview(&plain(value), VALUE_CHARS);
        let path = safe(&change.path);
        out.line(match (&change.from, &change.to) {
            (Some(from), Some(to)) => format!("  ~ {path}: {} -> {}", value(from), value(to)),
            (None, Some(to)) => format!("  + {path}: {}", value(to)),
            (Some(from), None) => format!("  - {path}: {}", value(from)),
            (None, None) => continue,
        })?;
    }
    Ok(())
}

/// `tidings get`.
pub fn get(args: &GetArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let kind = (!args.kind.eq_ignore_ascii_case("all")).then(|| kind_of(&args.kind));
    if let Some(name) = &args.name {
        let kind = kind.ok_or_else(|| Failure::usage("'all' is no kind of one resource", "name its kind"))?;
        let request = Request::get(&["resources", kind, name]).query_if("apiVersion", args.api_version.as_ref());
        let answer = client.ask(&request).map_err(|failure| hinted(failure, kind))?;
        let resource: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
        return args.form.show(
            &answer,
            || Theirs::Document(resource.clone()),
            |out| show::table(out, Some(kind), std::slice::from_ref(&resource)),
        );
    }
    let answer = client.ask(&Request::get(&["resources"]).query_if("kind", kind))?;
    let listed: Listed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    if listed.resources.is_empty() && args.form.format_or(Format::Table) == Format::Table {
        let kind = kind.map(|kind| format!(" of the kind {}", safe(kind))).unwrap_or_default();
        eprintln!("there is no resource{kind}; declare one with: tidings apply -f FILE");
        return Ok(());
    }
    let theirs = || Theirs::Document(json!({ "resources": listed.resources }));
    args.form.show(&answer, theirs, |out| show::table(out, kind, &listed.resources))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    resources: Vec<Value>,
}

/// `tidings describe`.
pub fn describe(args: &DescribeArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let kind = kind_of(&args.kind);
    let asked = |request: Request| request.query_if("apiVersion", args.api_version.as_ref());
    let one = client.ask(&asked(Request::get(&["resources", kind, &args.name])));
    let resource: Value =
        serde_json::from_slice(&one.map_err(|failure| hinted(failure, kind))?).map_err(Failure::strange)?;
    let history = client.ask(&asked(Request::get(&["resources", kind, &args.name, "history"])));
    let history = match history {
        Ok(answer) => serde_json::from_slice(&answer).map_err(Failure::strange)?,
        // A resource of a file has none.
        Err(Failure::NotFound(_)) => json!({ "history": [] }),
        Err(failure) => return Err(failure),
    };
    let answer = json!({ "resource": resource, "history": history["history"] });
    let text = answer.to_string();
    args.form.show(
        text.as_bytes(),
        || Theirs::Document(answer.clone()),
        |out| {
            show::whole(out, &resource)?;
            show::history(out, answer["history"].as_array().map(Vec::as_slice).unwrap_or_default())
        },
    )
}

/// `tidings delete`.
pub fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let files = Files::read(&args.files)?;
    let of_files =
        files.documents().into_iter().map(|document| (document.kind, document.name, Some(document.api_version)));
    let kind = kind_of(args.kind.as_deref().unwrap_or_default());
    let named = args.names.iter().map(|name| (kind.to_owned(), name.clone(), args.api_version.clone()));
    let mut left: Vec<_> = of_files.chain(named).collect();
    let mut changed = Changed::default();
    // What others need goes after them: as long as some go, the rest is tried again.
    loop {
        let (mut again, mut refused) = (Vec::new(), None);
        let before = left.len();
        for (kind, name, version) in left {
            let request = Request::new(Method::DELETE, &["resources", &kind, &name]);
            let request =
                request.query_if("apiVersion", version.as_ref()).query_if("dryRun", args.dry_run.then_some(true));
            match client.ask(&request) {
                Ok(answer) => {
                    let answer: Changed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
                    changed.results.extend(answer.results);
                    files.warn(answer.warnings.iter().map(fault_of));
                }
                Err(Failure::Refused(problem)) if problem.status == 400 && !problem.faults.is_empty() => {
                    refused.get_or_insert(Failure::Refused(problem));
                    again.push((kind, name, version));
                }
                Err(failure) => {
                    gone(args, &changed)?;
                    return Err(hinted(failure, &kind));
                }
            }
        }
        match refused {
            None => return gone(args, &changed),
            Some(refused) if again.len() == before || args.dry_run => {
                gone(args, &changed)?;
                return Err(refused);
            }
            Some(_) => left = again,
        }
    }
}

/// Says what went.
fn gone(args: &DeleteArgs, changed: &Changed) -> Result<(), Failure> {
    let result = |outcome: &Outcome| json!({"kind": outcome.kind, "name": outcome.name, "action": outcome.action});
    let answer = json!({"results": changed.results.iter().map(result).collect::<Vec<_>>()}).to_string();
    tell(&args.form, answer.as_bytes(), changed, args.dry_run)
}

/// What to do where there is no such resource.
fn hinted(failure: Failure, kind: &str) -> Failure {
    match failure {
        Failure::NotFound(mut problem) => {
            problem.hint.get_or_insert_with(|| format!("see what there is: tidings get {}", safe(kind)));
            Failure::NotFound(problem)
        }
        other => other,
    }
}
