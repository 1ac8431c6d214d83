//! `tidings mesh`: the nodes, links, routes and domains of the mesh, its graph, and the streams kept in other
//! domains.
//!
//! A controller that leads answers for the whole mesh, any other node for what it was told itself: of the second
//! it is said on standard error.

mod graph;

use serde_json::Value;

use self::graph::GraphArgs;
use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::kinds::plain;
use super::output::{Colour, Out, Show, safe};

/// What can be asked of the mesh.
#[derive(Debug, clap::Subcommand)]
pub enum MeshCommand {
    /// List the nodes: whether they are connected, and whether they have the newest plan
    Nodes(ListArgs),
    /// List the links, their segments, and how they stand
    Links(ListArgs),
    /// List where subjects go: who wants what, and by which segment and neighbour
    Routes(RoutesArgs),
    /// List the domains, their nodes and segments
    Domains(ListArgs),
    /// List the streams that are kept in other domains, and how far they are there
    #[command(visible_alias = "mirrors")]
    Mirror(ListArgs),
    /// Draw the domains and what links them: as text, for Graphviz, or as a picture
    #[command(after_help = graph::EXAMPLES)]
    Graph(GraphArgs),
}

/// Flags of what lists.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings mesh routes`.
#[derive(Debug, clap::Args)]
pub struct RoutesArgs {
    /// Only where messages of this subject go
    subject: Option<String>,
    /// As this node knows it, DOMAIN/NODE [default: what clients of every node want, as the controller hears]
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    /// Patterns of each node or domain, at most [default: 100]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// A column: what heads it, and where its value stands.
type Column = (&'static str, &'static str);

const NODES: &[Column] = &[
    ("NODE", "/id"),
    ("STATE", "/state"),
    ("PLAN", "/plan"),
    ("WANTED", "/wanted"),
    ("LISTEN", "/listen"),
    ("EXTERNAL", "/external"),
    ("ROLE", "/role"),
];

const LINKS: &[Column] = &[
    ("LINK", "/id"),
    ("KIND", "/kind"),
    ("FROM", "/from"),
    ("TO", "/to"),
    ("STATE", "/state"),
    ("SEGMENTS", "/segments"),
    ("WHY", "/why"),
];

const ROUTES: &[Column] = &[
    ("PATTERN", "/pattern"),
    ("GROUP", "/queue"),
    ("WANTED BY", "/by"),
    ("SEGMENT", "/segment"),
    ("VIA", "/via"),
    ("FROM", "/from"),
    ("HOPS", "/hops"),
    ("STATE", "/state"),
];

const DOMAINS: &[Column] = &[
    ("DOMAIN", "/name"),
    ("SHAPE", "/shape"),
    ("NODES", "/nodes"),
    ("SEGMENTS", "/segments"),
    ("NEIGHBOURS", "/neighbors"),
];

const MIRRORS: &[Column] = &[
    ("MIRROR", "/name"),
    ("STREAM", "/stream"),
    ("FROM", "/from"),
    ("TO", "/to"),
    ("AS", "/as"),
    ("CONFIRMED", "/confirmed"),
    ("OWED", "/owed"),
    ("STATE", "/state"),
    ("WHY", "/why"),
];

/// Does what was asked.
pub fn run(command: MeshCommand) -> Result<(), Failure> {
    match command {
        MeshCommand::Nodes(args) => list(&args, "nodes", NODES),
        MeshCommand::Links(args) => list(&args, "links", LINKS),
        MeshCommand::Domains(args) => list(&args, "domains", DOMAINS),
        MeshCommand::Mirror(args) => list(&args, "mirrors", MIRRORS),
        MeshCommand::Routes(args) => {
            let request = Request::get(&["mesh", "routes"])
                .query_if("subject", args.subject.as_ref())
                .query_if("at", args.at.as_ref())
                .query_if("limit", args.limit);
            show(&args.reach, args.show, &request, "routes", ROUTES)
        }
        MeshCommand::Graph(args) => graph::run(&args),
    }
}

fn list(args: &ListArgs, what: &'static str, columns: &[Column]) -> Result<(), Failure> {
    show(&args.reach, args.show, &Request::get(&["mesh", what]), what, columns)
}

/// Asks, and shows what came as a table.
pub(super) fn show(reach: &Reach, how: Show, request: &Request, what: &str, columns: &[Column]) -> Result<(), Failure> {
    let answer = Client::new(reach)?.ask(request)?;
    let mut out = Out::new();
    if how.json {
        out.document(&answer)?;
        return out.flush();
    }
    let told: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    note_scope(&told);
    let unheard = text(&told["unheard"]);
    if !unheard.is_empty() {
        eprintln!("note: these nodes were not heard: {unheard}");
    }
    let rows = told[what].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        out.line(out.paint(Colour::Faint, "none"))?;
        return out.flush();
    }
    // A column that no row fills says nothing.
    let filled =
        |(_, place): &&Column| rows.iter().any(|row| row.pointer(place).is_some_and(|value| !text(value).is_empty()));
    let columns: Vec<&Column> = columns.iter().filter(filled).collect();
    let header: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let cell = |row: &Value, place: &str| row.pointer(place).map(text).unwrap_or_default();
    let rows = rows.iter().map(|row| columns.iter().map(|(_, place)| painted(&out, &cell(row, place))).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    out.table(&header, &[], rows)?;
    out.flush()
}

/// Says where the answer is of one node alone.
pub(super) fn note_scope(told: &Value) {
    if told["scope"] == "node" {
        let node = told["node"].as_str().unwrap_or("this node");
        eprintln!("note: this is what {} knows; ask the controller that leads for the whole mesh", safe(node));
    }
}

/// A value in a table: lists with commas.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => safe(&plain(other)),
    }
}

/// What is fine, and what wants a look, by the word for it.
fn painted(out: &Out, cell: &str) -> String {
    match cell {
        "up" | "applied" | "connected" | "current" => out.paint(Colour::Green, cell),
        "down" | "failed" | "away" | "pending" | "connecting" | "refused" => out.paint(Colour::Yellow, cell),
        _ => cell.to_owned(),
    }
}
