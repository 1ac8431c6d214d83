//! `tidings trace`: the way of a message through the mesh, hop by hop, and how many took it.

use serde_json::Value;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::mesh::{note_scope, text};
use super::output::{Colour, Out, Show, safe};

pub const EXAMPLES: &str = "Examples:
  tidings trace orders.7.paid                  # a message that enters at the node that is asked
  tidings trace orders.7.paid --from shop/s1   # one that enters at another node";

/// Flags of `tidings trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The subject of the message
    subject: String,
    /// The node at which it enters, as DOMAIN/NODE [default: the node that is asked]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(args: &TraceArgs) -> Result<(), Failure> {
    let request = Request::get(&["mesh", "trace"]).query("subject", &args.subject).query_if("from", args.from.as_ref());
    let answer = Client::new(&args.reach)?.ask(&request)?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let told: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    note_scope(&told);
    let head = format!("{} from {}", safe(&args.subject), text(&told["from"]));
    out.line(out.paint(Colour::Bold, &head))?;
    let here = text(&told["here"]);
    if !here.is_empty() {
        out.line(format!("  here: {here}"))?;
    }
    let paths = told["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
    for path in paths {
        told_path(&mut out, path)?;
    }
    if paths.is_empty() {
        out.line("  it goes nowhere beyond this node")?;
    }
    for reason in told["why"].as_array().into_iter().flatten() {
        out.line(format!("  {}", out.paint(Colour::Yellow, &text(reason))))?;
    }
    out.flush()
}

fn told_path(out: &mut Out, path: &Value) -> Result<(), Failure> {
    let to = text(&path["to"]);
    let segment = text(&path["segment"]);
    let by = if segment.is_empty() { "within the domain".to_owned() } else { format!("in segment {segment}") };
    out.line(format!("  to {}, {by}", out.paint(Colour::Green, &to)))?;
    for hop in path["hops"].as_array().into_iter().flatten() {
        let link = text(&hop["link"]);
        let carried = text(&hop["carried"]);
        let took = if carried.is_empty() { String::new() } else { format!("  ({carried} took it)") };
        out.line(format!("    -> {}{}{took}", text(&hop["node"]), out.paint(Colour::Faint, &format!("  {link}"))))?;
    }
    let wanted = text(&path["wanted"]);
    if !wanted.is_empty() {
        out.line(format!("    wanted there: {wanted}"))?;
    }
    Ok(())
}
