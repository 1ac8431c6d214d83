//! `tidings trace`: the path that a message would take through the mesh, hop by hop, and the one that a message took.

use serde_json::Value;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::mesh::{note_scope, text};
use super::output::{Colour, Out, Show, safe};

pub const EXAMPLES: &str = "Examples:
  tidings trace orders.7.paid                         # a message that enters at the node that is asked
  tidings trace orders.7.paid --from shop/s1          # one that enters at another node
  tidings trace orders.7.paid --from shop/s1 --send   # an empty message is sent: where it would go, and where it went
  tidings trace --id 4bf92f3577b34da6a3ce929d0e0e4736 # the path that messages with this `traceparent` took";

/// Flags of `tidings trace`.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    /// The subject of the message
    #[arg(required_unless_present = "id")]
    subject: Option<String>,
    /// The node at which it enters, as DOMAIN/NODE [default: the node that is asked]
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// Publish an empty message there, for who listens now, and show where it went too; no stream records it
    #[arg(long)]
    send: bool,
    /// The path that the messages of this trace took: those whose publisher set the header `traceparent`, sampled
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["subject", "from", "send"])]
    id: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(args: &TraceArgs) -> Result<(), Failure> {
    let request = if args.send { Request::post } else { Request::get };
    let request = request(&["mesh", "trace"])
        .query_if("id", args.id.as_ref())
        .query_if("subject", args.subject.as_ref())
        .query_if("from", args.from.as_ref());
    let answer = Client::new(&args.reach)?.ask(&request)?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let told: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    note_scope(&told);
    match (&args.id, args.send) {
        (Some(_), _) => took(&mut out, &told)?,
        (None, true) => both(&mut out, &told)?,
        (None, false) => would(&mut out, &told, None, false)?,
    }
    out.flush()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Where a message would go; with what became of one, that beside each hop.
fn would(out: &mut Out, told: &Value, took: Option<&Value>, whole: bool) -> Result<(), Failure> {
    let head = format!("{} from {}", text(&told["subject"]), text(&told["from"]));
    out.line(out.paint(Colour::Bold, &head))?;
    let here = text(&told["here"]);
    let entered = took.and_then(|took| find(took, &text(&told["from"]), None));
    if let Some(note) = entered {
        let here = if here.is_empty() { "nobody".to_owned() } else { here };
        out.line(format!("  here: {here}   {}", out.paint(Colour::Green, &format!("went: {}", takers(note)))))?;
    } else if !here.is_empty() {
        out.line(format!("  here: {here}"))?;
    }
    let paths = list(&told["paths"]);
    for path in paths {
        would_path(out, path, took, whole)?;
    }
    if paths.is_empty() {
        out.line("  it goes nowhere beyond this node")?;
    }
    for reason in list(&told["why"]) {
        out.line(format!("  {}", out.paint(Colour::Yellow, &text(reason))))?;
    }
    Ok(())
}

fn would_path(out: &mut Out, path: &Value, took: Option<&Value>, whole: bool) -> Result<(), Failure> {
    let to = text(&path["to"]);
    let segment = text(&path["segment"]);
    let by = if segment.is_empty() { "within the domain".to_owned() } else { format!("in segment {segment}") };
    out.line(format!("  to {}, {by}", out.paint(Colour::Green, &to)))?;
    for hop in list(&path["hops"]) {
        let (node, link) = (text(&hop["node"]), text(&hop["link"]));
        let went = took.map(|took| match find(took, &node, Some(&link)) {
            Some(note) => out.paint(Colour::Green, &format!("   came {}: {}", after(note), takers(note))),
            None if whole => out.paint(Colour::Yellow, "   did not come"),
            None => out.paint(Colour::Yellow, "   not known"),
        });
        let link = out.paint(Colour::Faint, &format!("  {link}"));
        out.line(format!("    -> {node}{link}{}", went.unwrap_or_default()))?;
    }
    let wanted = text(&path["wanted"]);
    if !wanted.is_empty() {
        out.line(format!("    wanted there: {wanted}"))?;
    }
    Ok(())
}

/// What a node noted of a message that came by a link, by any where the link is not known; without one: that entered.
fn find<'a>(took: &'a Value, node: &str, link: Option<&str>) -> Option<&'a Value> {
    list(&took["notes"]).iter().find(|note| {
        let came = text(&note["came"]["link"]);
        // Of a node that nobody knows the domain stands there.
        let there = text(&note["node"]);
        let is = there == node || (!node.contains('/') && there.split('/').next() == Some(node));
        is && link.map_or(note["came"].is_null(), |link| !came.is_empty() && (link.is_empty() || link == came))
    })
}

/// Where a message would go, and where it went.
fn both(out: &mut Out, told: &Value) -> Result<(), Failure> {
    would(out, &told["would"], Some(&told["took"]), told["complete"] == true)?;
    if told["complete"] == false {
        let late = "not every node has told what became of it";
        out.line(format!("  {}", out.paint(Colour::Yellow, late)))?;
    }
    out.line("")?;
    if told["took"].is_null() {
        return out.line(out.paint(Colour::Yellow, "nothing is noted of it: too many messages are traced just now"));
    }
    took(out, &told["took"])
}

/// The path that messages took.
fn took(out: &mut Out, told: &Value) -> Result<(), Failure> {
    let notes = list(&told["notes"]);
    out.line(out.paint(Colour::Bold, &format!("trace {}", text(&told["trace"]))))?;
    let mut subject = String::new();
    for note in notes {
        let of = text(&note["subject"]);
        if of != subject {
            out.line(format!("  {}", out.paint(Colour::Green, &of)))?;
            subject = of;
        }
        took_note(out, note)?;
    }
    if let Some(lost @ 1..) = told["lost"].as_u64() {
        out.line(out.paint(Colour::Yellow, &format!("  and {lost} notes more that found no room")))?;
    }
    Ok(())
}

fn took_note(out: &mut Out, note: &Value) -> Result<(), Failure> {
    let came = match note["came"].is_null() {
        true => format!("entered at {}", text(&note["at"])),
        false => format!("{} from {} by {}", after(note), text(&note["came"]["node"]), text(&note["came"]["link"])),
    };
    let segment = text(&note["segment"]);
    let segment = if segment.is_empty() { String::new() } else { format!(" in segment {segment}") };
    out.line(format!("    {}  {}", text(&note["node"]), out.paint(Colour::Faint, &format!("{came}{segment}"))))?;
    out.line(format!("      {}", takers(note)))?;
    for why in list(&note["why"]) {
        out.line(format!("      {}", out.paint(Colour::Yellow, &text(why))))?;
    }
    Ok(())
}

/// When it came, since it was first noted.
fn after(note: &Value) -> String {
    let micros = note["afterMicros"].as_u64().unwrap_or_default();
    format!("after {}.{:03} ms", micros / 1_000, micros % 1_000)
}

/// Who took it, and where it went on to.
fn takers(note: &Value) -> String {
    let count = |field: &str| note[field].as_u64().unwrap_or_default();
    let counted = [
        (count("direct"), "who listen"),
        (count("groups"), "of groups"),
        (count("full"), "had no room"),
        (count("more"), "links more"),
    ];
    let mut said: Vec<String> =
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    for step in list(&note["sent"]) {
        let room = if step["taken"] == false { ", which had no room" } else { "" };
        said.push(format!("on to {}{room}", safe(step["node"].as_str().unwrap_or_default())));
    }
    if said.is_empty() { "nobody".to_owned() } else { said.join("; ") }
}
