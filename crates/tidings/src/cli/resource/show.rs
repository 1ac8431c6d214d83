//! Resources as people see them.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::form::yaml;
use crate::cli::kinds::plain;
use crate::cli::output::{Colour, Out, date, preview, safe};

/// Characters of a cell.
const CELL_CHARS: usize = 60;

/// Changes that a description ends with: the newest.
const HISTORY_SHOWN: usize = 10;

/// What a table shows of a kind, beside name and origin.
fn columns(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "EventGroup" => &[("NODE", "/nodeName"), ("ADDRESS", "/listen/address"), ("PORT", "/listen/port")],
        "EventPeer" => &[("GROUP", "/groupRef"), ("NODE", "/nodeName"), ("ENDPOINT", "/endpoint"), ("TYPES", "/types")],
        "EventSubscription" => &[
            ("GROUP", "/groupRef"),
            ("TYPES", "/match/types"),
            ("PATTERNS", "/match/patterns"),
            ("PLUGIN", "/trigger/pluginRef"),
        ],
        "Plugin" => &[("EXECUTABLE", "/executable"), ("TIMEOUT", "/timeout"), ("CAPABILITIES", "/capabilities")],
        "FederationSLO" => {
            &[("GROUP", "/groupRef"), ("WARN", "/delivery/lagWarnSeconds"), ("FAIL", "/delivery/lagFailSeconds")]
        }
        "DynamicConfigPart" => &[("SOURCE", "/source"), ("GEN", "/generation"), ("EXPIRES", "/expiresAt")],
        "DynamicConfigSource" => &[("PLUGIN", "/pluginRef"), ("TTL", "/ttl")],
        "MobilityPool" => &[("PREFIX", "/prefix"), ("GROUP", "/groupRef")],
        "AddressClaim" => &[("ADDRESS", "/address"), ("NODE", "/node"), ("POOL", "/pool")],
        "HubLink" | "RepeaterTarget" => &[("ADDRESS", "/address"), ("ROOMS", "/rooms")],
        "Domain" => &[("SECRET", "/secretFile"), ("SHAPE", "/shape"), ("HUB", "/hub")],
        "NameAcl" => &[("SUBJECTS", "/subjects"), ("PUBLISH", "/publish"), ("SUBSCRIBE", "/subscribe")],
        "Route" => &[("SUBJECTS", "/subjects"), ("TO", "/to")],
        "Mirror" => &[("STREAM", "/stream"), ("TO", "/to"), ("FROM", "/from"), ("ACCEPT", "/accept"), ("AS", "/as")],
        "View" => &[("STREAM", "/stream"), ("FILTERS", "/filters")],
        _ => &[],
    }
}

/// Where a resource comes from.
fn origin(resource: &Value) -> String {
    let status = &resource["status"];
    match status["file"].as_str() {
        Some(file) => format!("{}:{}", safe(file), plain(&status["line"])),
        None if status["seq"].is_u64() => format!("TIDINGS:{}", status["seq"]),
        None => String::new(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => plain(other),
    }
}

/// Resources in a table: of one kind with what matters of it, of several by kind.
pub fn table(out: &mut Out, kind: Option<&str>, resources: &[Value]) -> Result<(), Failure> {
    let columns = kind.map(columns).unwrap_or_default();
    let mut header = if kind.is_some() { vec!["NAME"] } else { vec!["KIND", "NAME"] };
    header.extend(columns.iter().map(|(name, _)| *name));
    header.push("FROM");
    let row = |resource: &Value| {
        let mut row = if kind.is_some() { Vec::new() } else { vec![safe(&text(&resource["kind"]))] };
        row.push(safe(&text(&resource["metadata"]["name"])));
        let value = |path: &str| resource["spec"].pointer(path).map(text).unwrap_or_default();
        row.extend(columns.iter().map(|(_, path)| preview(&value(path), CELL_CHARS)));
        row.push(origin(resource));
        row
    };
    out.table(&header, &[], resources.iter().map(row).collect())
}

/// One resource, whole.
pub fn whole(out: &mut Out, resource: &Value) -> Result<(), Failure> {
    let field = |value: &Value| safe(&text(value));
    out.fields(&[
        ("name", field(&resource["metadata"]["name"])),
        ("kind", field(&resource["kind"])),
        ("apiVersion", field(&resource["apiVersion"])),
        ("from", origin(resource)),
        ("since", resource["status"]["time"].as_str().map(date).unwrap_or_default()),
    ])?;
    for part in ["annotations", "ownerRefs"] {
        section(out, part, &resource["metadata"][part])?;
    }
    section(out, "spec", &resource["spec"])
}

fn section(out: &mut Out, name: &str, value: &Value) -> Result<(), Failure> {
    if value.is_null() {
        return Ok(());
    }
    out.line(out.paint(Colour::Faint, name))?;
    for line in yaml(value)?.lines() {
        out.line(format!("  {}", safe(line)))?;
    }
    Ok(())
}

/// What became of a resource, oldest first.
pub fn history(out: &mut Out, entries: &[Value]) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    let skipped = entries.len().saturating_sub(HISTORY_SHOWN);
    let before =
        if skipped > 0 { format!(" (the newest {HISTORY_SHOWN} of {})", entries.len()) } else { String::new() };
    out.line(out.paint(Colour::Faint, &format!("history{before}")))?;
    let row = |entry: &Value| {
        let time = entry["time"].as_str().map(date).unwrap_or_default();
        vec![
            format!("  {time}"),
            safe(&text(&entry["action"])),
            format!("TIDINGS:{}", entry["seq"]),
            safe(&text(&entry["by"])),
        ]
    };
    let rows = entries.iter().skip(skipped).map(row).collect();
    out.table(&["  TIME", "ACTION", "POSITION", "BY"], &[], rows)
}
