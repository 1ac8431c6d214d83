//! `tidings mesh graph`: domains and what links them, as text, for Graphviz, or as a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::fmt::Write;

use serde::Deserialize;

use crate::cli::client::{Client, Reach, Request};
use crate::cli::failure::Failure;
use crate::cli::output::{Colour, Out, safe};

pub const EXAMPLES: &str = "Examples:
  tidings mesh graph
  tidings mesh graph --as dot | dot -Tpng > mesh.png
  tidings mesh graph --as svg --segment default > mesh.svg";

/// Width and height of the picture, in its units.
const SIDE: f64 = 720.0;
/// From the middle to the domains.
const RADIUS: f64 = 260.0;
/// Half the width of a domain's box for each character of its longest line.
const HALF_CHARACTER: f64 = 4.6;
/// How far the lines of segments between the same two domains stand apart.
const APART: f64 = 9.0;
/// Colours of segments, taken in turn: told apart by those who see few colours too.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b4c9a", "#555555"];

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Drawing {
    /// Lines of text
    Text,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
    /// As the node told it
    Json,
}

/// Flags of `tidings mesh graph`.
#[derive(Debug, clap::Args)]
pub struct GraphArgs {
    /// How it is drawn
    #[arg(long = "as", value_enum, default_value = "text", value_name = "DRAWING")]
    drawing: Drawing,
    /// Only this segment
    #[arg(long, value_name = "NAME")]
    segment: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Graph {
    domains: Vec<Domain>,
    segments: Vec<Segment>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Domain {
    name: String,
    nodes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Segment {
    name: String,
    domains: Vec<String>,
    edges: Vec<Edge>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Edge {
    between: [String; 2],
    weight: u32,
    /// Whether a link of it is up.
    up: bool,
}

/// Does what was asked.
pub fn run(args: &GraphArgs) -> Result<(), Failure> {
    let request = Request::get(&["mesh", "graph"]).query_if("segment", args.segment.as_ref());
    let answer = Client::new(&args.reach)?.ask(&request)?;
    let mut out = Out::new();
    if args.drawing == Drawing::Json {
        out.document(&answer)?;
        return out.flush();
    }
    let graph: Graph = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    match args.drawing {
        Drawing::Dot => out.bytes(dot(&graph).as_bytes())?,
        Drawing::Svg => out.bytes(svg(&graph).as_bytes())?,
        Drawing::Text | Drawing::Json => as_text(&mut out, &graph)?,
    }
    out.flush()
}

fn as_text(out: &mut Out, graph: &Graph) -> Result<(), Failure> {
    out.line(out.paint(Colour::Bold, "domains"))?;
    for domain in &graph.domains {
        let nodes = if domain.nodes.is_empty() { "no node".to_owned() } else { safe(&domain.nodes.join(", ")) };
        out.line(format!("  {}: {nodes}", safe(&domain.name)))?;
    }
    for segment in &graph.segments {
        out.line(out.paint(Colour::Bold, &format!("segment {}", safe(&segment.name))))?;
        for edge in &segment.edges {
            let [left, right] = &edge.between;
            let weight = if edge.weight > 1 { format!(" (weight {})", edge.weight) } else { String::new() };
            let state = if edge.up { String::new() } else { out.paint(Colour::Yellow, "  down") };
            let line = if edge.up { "---" } else { "- -" };
            out.line(format!("  {} {line} {}{weight}{state}", safe(left), safe(right)))?;
        }
        let linked: BTreeSet<&String> = segment.edges.iter().flat_map(|edge| &edge.between).collect();
        for domain in segment.domains.iter().filter(|domain| !linked.contains(domain)) {
            out.line(format!("  {} {}", safe(domain), out.paint(Colour::Yellow, "linked with nobody")))?;
        }
    }
    Ok(())
}

/// A text in quotation marks, as Graphviz reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped_quotes(text))
}

fn escaped_quotes(text: &str) -> String {
    safe(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// For Graphviz.
fn dot(graph: &Graph) -> String {
    let mut text = String::from("graph mesh {\n  node [shape=box, style=rounded];\n");
    for domain in &graph.domains {
        let lines = std::iter::once(&domain.name).chain(&domain.nodes);
        let label = lines.map(|line| escaped_quotes(line)).collect::<Vec<_>>().join("\\n");
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {} [label=\"{label}\"];", quoted(&domain.name));
    }
    for (index, segment) in graph.segments.iter().enumerate() {
        for edge in &segment.edges {
            let style = if edge.up { "solid" } else { "dashed" };
            let [left, right] = &edge.between;
            let weight = if edge.weight > 1 { format!(" ({})", edge.weight) } else { String::new() };
            let label = quoted(&format!("{}{weight}", segment.name));
            let _ = writeln!(
                text,
                "  {} -- {} [label={label}, color=\"{}\", style={style}];",
                quoted(left),
                quoted(right),
                colour(index)
            );
        }
    }
    text.push_str("}\n");
    text
}

/// A text as XML has it.
fn escaped(text: &str) -> String {
    safe(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A place in the picture.
type Point = (f64, f64);

/// A picture: the domains in a ring, a line for each edge of each segment.
fn svg(graph: &Graph) -> String {
    let legend = 22.0 * f64::from(u32::try_from(graph.segments.len()).unwrap_or(u32::MAX));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIDE} {}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        SIDE + legend
    );
    let places = places(graph);
    let mut drawn: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (index, segment) in graph.segments.iter().enumerate() {
        for edge in &segment.edges {
            let [left, right] = &edge.between;
            let (Some(from), Some(to)) = (places.get(left.as_str()), places.get(right.as_str())) else { continue };
            let before = drawn.entry((left, right)).or_default();
            line(&mut text, *from, *to, f64::from(*before) * APART, colour(index), edge.up);
            *before += 1;
        }
    }
    for domain in &graph.domains {
        if let Some(place) = places.get(domain.name.as_str()) {
            node(&mut text, domain, *place);
        }
    }
    for (index, segment) in graph.segments.iter().enumerate() {
        let y = SIDE + 22.0 * f64::from(u32::try_from(index).unwrap_or(u32::MAX));
        let (colour, name) = (colour(index), escaped(&segment.name));
        let _ = writeln!(
            text,
            "<line x1=\"20\" y1=\"{y}\" x2=\"56\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"64\" y=\"{}\">{name}</text>",
            y + 4.0
        );
    }
    text.push_str("</svg>\n");
    text
}

fn places(graph: &Graph) -> BTreeMap<&str, Point> {
    let count = f64::from(u32::try_from(graph.domains.len().max(1)).unwrap_or(u32::MAX));
    let place = |(index, domain): (usize, &'_ Domain)| {
        let angle = TAU * f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / count - TAU / 4.0;
        (domain.name.clone(), (SIDE / 2.0 + RADIUS * angle.cos(), SIDE / 2.0 + RADIUS * angle.sin()))
    };
    let placed: BTreeMap<String, Point> = graph.domains.iter().enumerate().map(place).collect();
    graph.domains.iter().filter_map(|domain| Some((domain.name.as_str(), *placed.get(&domain.name)?))).collect()
}

fn line(text: &mut String, from: Point, to: Point, aside: f64, colour: &str, up: bool) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1.0);
    let (ox, oy) = (-dy / length * aside, dx / length * aside);
    let dashes = if up { "" } else { " stroke-dasharray=\"6 5\"" };
    let _ = writeln!(
        text,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"3\"{dashes}/>",
        from.0 + ox,
        from.1 + oy,
        to.0 + ox,
        to.1 + oy
    );
}

fn node(text: &mut String, domain: &Domain, (x, y): Point) {
    let nodes = domain.nodes.join(", ");
    let longest = domain.name.chars().count().max(nodes.chars().count());
    let half = 12.0 + HALF_CHARACTER * f64::from(u32::try_from(longest).unwrap_or(u32::MAX));
    let _ = writeln!(
        text,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"46\" rx=\"8\" fill=\"#f7f7f7\" stroke=\"#333\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\
         <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
        x - half,
        y - 23.0,
        half * 2.0,
        y - 4.0,
        escaped(&domain.name),
        y + 14.0,
        escaped(&nodes)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let told = serde_json::json!({
            "domains": [{"name": "a", "nodes": ["a1"]}, {"name": "hub", "nodes": ["h1", "h2"]}],
            "segments": [{"name": "s<1>", "domains": ["a", "hub"],
                "edges": [{"between": ["a", "hub"], "weight": 2, "up": false}]}],
        });
        serde_json::from_value(told).unwrap()
    }

    #[track_caller]
    fn check(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn graphviz_is_given_each_domain_and_edge() {
        let edge = "\"a\" -- \"hub\" [label=\"s<1> (2)\", color=\"#0072b2\", style=dashed];";
        check(&dot(&graph()), &["\"hub\" [label=\"hub\\nh1\\nh2\"];", edge]);
    }

    #[test]
    fn a_picture_has_each_domain_edge_and_segment_and_no_strangers_marks() {
        let text = svg(&graph());
        check(&text, &["<svg ", ">hub</text>", ">h1, h2</text>", "stroke-dasharray", "s&lt;1&gt;", "</svg>"]);
        assert_eq!(text.matches("<line ").count(), 2);
    }
}
