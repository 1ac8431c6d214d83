//! `tidings segment`: which parts the mesh has, who reaches whom in them, and what a change would do to that.

use std::path::PathBuf;

use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::mesh::{note_scope, text};
use super::output::{Colour, Out, Show, safe};
use super::resource::files::Files;

const ADD_EXAMPLES: &str = "Examples:
  tidings segment add default --link a:b --link b:c        # a chain
  tidings segment add default --link 'hub:*'               # a star, whoever comes
  tidings segment add 'cust-$domain' --link 'hub:$domain'  # one for each domain: they see the hub, not each other
  tidings segment add slow --link a:c:10                   # a hop that costs 10";

const CHECK_EXAMPLES: &str = "Examples:
  tidings segment check -f new.yaml          # who could reach whom, that could not before, and the other way round
  tidings segment check --without default    # what would be lost with a segment";

/// What can be done with segments.
#[derive(Debug, clap::Subcommand)]
pub enum SegmentCommand {
    /// List the segments, their domains and links
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Declare a segment, or declare it otherwise
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Declare a segment no longer
    #[command(alias = "remove")]
    Rm(RmArgs),
    /// Prove a change before it is applied: who gains and who loses whom, each with a path that shows it; exit code 1
    /// where a declared invariant forbids it
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Say why one domain can reach another, or why not
    Explain(ExplainArgs),
}

/// Flags of `tidings segment ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings segment add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The segment; with $domain in it, one for each domain that it does not name
    name: String,
    /// Domains that are linked: DOMAIN:NEIGHBOR[,NEIGHBOR…][:WEIGHT]; * is any domain, $domain that of the template; may
    /// be repeated
    #[arg(long = "link", value_name = "LINK", required = true)]
    links: Vec<String>,
    /// Say whether it could be, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings segment rm`.
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The segment
    name: String,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings segment check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Resources that would be applied: a file in YAML or JSON, a folder of such, or - for standard input; may be
    /// repeated
    #[arg(long = "file", short = 'f', value_name = "FILE|DIR|-", required_unless_present = "without")]
    files: Vec<PathBuf>,
    /// A segment that would be gone; may be repeated
    #[arg(long, value_name = "SEGMENT")]
    without: Vec<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings segment explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// A domain
    from: String,
    /// Another
    to: String,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(command: SegmentCommand) -> Result<(), Failure> {
    match command {
        SegmentCommand::Ls(args) => ls(&args),
        SegmentCommand::Add(args) => add(&args),
        SegmentCommand::Rm(args) => rm(&args),
        SegmentCommand::Check(args) => check(&args),
        SegmentCommand::Explain(args) => explain(&args),
    }
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let columns = [("SEGMENT", "/name"), ("DOMAINS", "/domains"), ("LINKS", "/links"), ("FROM", "/origin")];
    super::mesh::show(&args.reach, args.show, &Request::get(&["mesh", "segments"]), "segments", &columns)
}

/// `DOMAIN:NEIGHBOR[,NEIGHBOR…][:WEIGHT]` as a member of a spec.
fn link(text: &str) -> Result<Value, Failure> {
    let wrong = || Failure::usage(format!("'{text}' is no link"), "write it as in --link hub:a,b or --link a:b:10");
    let mut parts = text.split(':');
    let (domain, neighbors) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
    let neighbors: Vec<&str> = neighbors.split(',').map(str::trim).collect();
    if domain.is_empty() || neighbors.iter().any(|neighbor| neighbor.is_empty()) {
        return Err(wrong());
    }
    let weight = parts.next().map(str::parse::<u32>).transpose().map_err(|_| wrong())?;
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(json!({"domain": domain.trim(), "neighbors": neighbors, "weight": weight.unwrap_or(1)}))
}

/// One row for each domain and weight, with all its neighbours.
fn merged(links: Vec<Value>) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    for link in links {
        let same = |row: &&mut Value| row["domain"] == link["domain"] && row["weight"] == link["weight"];
        match (rows.iter_mut().find(same), link["neighbors"].as_array()) {
            (Some(row), Some(more)) => {
                if let Some(neighbors) = row["neighbors"].as_array_mut() {
                    let new: Vec<Value> = more.iter().filter(|name| !neighbors.contains(name)).cloned().collect();
                    neighbors.extend(new);
                }
            }
            _ => rows.push(link),
        }
    }
    rows
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let links = merged(args.links.iter().map(|text| link(text)).collect::<Result<Vec<_>, _>>()?);
    let resource = json!({
        "apiVersion": plan::API_VERSION, "kind": "Segment", "metadata": {"name": args.name}, "spec": {"links": links},
    });
    let request = Request::post(&["resources"]).query_if("dryRun", args.dry_run.then_some(true)).json(&resource);
    let answer: Value = Client::new(&args.reach)?.ask_json(&request)?;
    let mut out = Out::new();
    let action = text(&answer["results"][0]["action"]);
    let would = if args.dry_run { " (not done)" } else { "" };
    out.line(format!("segment {} {action}{would}", safe(&args.name)))?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        eprintln!("warning: {} {}", text(&warning["path"]), text(&warning["reason"]));
    }
    out.flush()
}

fn rm(args: &RmArgs) -> Result<(), Failure> {
    Client::new(&args.reach)?.ask(&Request::new(Method::DELETE, &["resources", "Segment", &args.name]))?;
    let mut out = Out::new();
    out.line(format!("segment {} removed", safe(&args.name)))?;
    out.flush()
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let files = Files::read(&args.files)?;
    let resources: Vec<Value> = files.documents().iter().map(plan::Document::to_json).collect();
    let request = Request::post(&["mesh", "segments", "check"]).query_each("without", &args.without);
    let answer = Client::new(&args.reach)?.ask(&request.json(&json!({ "resources": resources })));
    let answer = answer.map_err(|failure| match failure {
        Failure::Refused(problem) if !problem.faults.is_empty() => files.refuse(
            &problem
                .faults
                .iter()
                .map(|told| plan::Fault::new(&told.resource, &told.path, &told.reason))
                .collect::<Vec<_>>(),
        ),
        other => other,
    })?;
    let told: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
    } else {
        tell_check(&mut out, &told)?;
    }
    out.flush()?;
    let forbidden = told["violated"].as_array().is_some_and(|violated| !violated.is_empty());
    if forbidden { Err(Failure::Found) } else { Ok(()) }
}

fn rows<'a>(told: &'a Value, what: &str) -> &'a [Value] {
    told[what].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn tell_check(out: &mut Out, told: &Value) -> Result<(), Failure> {
    for (what, mark, colour) in [("gained", "+", Colour::Green), ("lost", "-", Colour::Yellow)] {
        for change in rows(told, what) {
            let line = format!("{mark} {} reaches {}", text(&change["from"]), text(&change["to"]));
            out.line(format!("{}  {}", out.paint(colour, &line), witness(change)))?;
        }
        if let Some(more @ 1..) = told["more"][what].as_u64() {
            out.line(out.paint(colour, &format!("{mark} and {more} pairs more")))?;
        }
    }
    if rows(told, "gained").is_empty() && rows(told, "lost").is_empty() {
        out.line("who reaches whom stays as it is")?;
    }
    for broken in rows(told, "violated") {
        let line = format!("forbidden: {}", text(&broken["invariant"]));
        out.line(format!("{}  {}", out.paint(Colour::Yellow, &line), witness(broken)))?;
    }
    Ok(())
}

/// The path that shows it, with its segment.
fn witness(change: &Value) -> String {
    let path = change["path"].as_array().map(Vec::as_slice).unwrap_or_default();
    if path.is_empty() {
        return String::new();
    }
    let path: Vec<String> = path.iter().map(text).collect();
    format!("by {} in segment {}", path.join(" - "), text(&change["segment"]))
}

fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let request = Request::get(&["mesh", "explain"]).query("from", &args.from).query("to", &args.to);
    let answer = Client::new(&args.reach)?.ask(&request)?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let told: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    note_scope(&told);
    let reaches = told["reaches"] == true;
    let (colour, verb) = if reaches { (Colour::Green, "reaches") } else { (Colour::Yellow, "does not reach") };
    out.line(out.paint(colour, &format!("{} {verb} {}", safe(&args.from), safe(&args.to))))?;
    for path in rows(&told, "paths") {
        out.line(format!("  {}, which costs {}", witness(path), text(&path["weight"])))?;
    }
    for reason in rows(&told, "why") {
        out.line(format!("  {}", text(reason)))?;
    }
    for rule in rows(&told, "acls") {
        out.line(format!("  {}", text(rule)))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Value>) {
        assert_eq!(link(text).ok(), expected, "{text}");
    }

    #[test]
    fn the_links_of_a_domain_are_one_row() {
        let links = ["a:b", "a:c,b", "b:c", "a:d:2"].map(|text| link(text).unwrap());
        let rows = merged(links.to_vec());
        assert_eq!(rows[0], json!({"domain": "a", "neighbors": ["b", "c"], "weight": 1}));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_link_is_a_domain_its_neighbours_and_perhaps_a_weight() {
        check("a:b", Some(json!({"domain": "a", "neighbors": ["b"], "weight": 1})));
        check("hub:a, b:7", Some(json!({"domain": "hub", "neighbors": ["a", "b"], "weight": 7})));
        check("hub:*", Some(json!({"domain": "hub", "neighbors": ["*"], "weight": 1})));
        for bad in ["a", "a:", ":b", "a:b:x", "a:b:1:2", "a:b,"] {
            check(bad, None);
        }
    }
}
