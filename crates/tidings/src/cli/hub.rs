//! `tidings hub`: who is connected to the hub door, and how links and targets stand.

use serde_json::Value;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::kinds::plain;
use super::output::{Colour, Out, Show, safe};

/// What can be asked of the hub door.
#[derive(Debug, clap::Subcommand)]
pub enum HubCommand {
    /// Show connections, links to other hubs, and targets of the repeater
    Status(StatusArgs),
}

/// Flags of `tidings hub status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(command: HubCommand) -> Result<(), Failure> {
    let HubCommand::Status(args) = command;
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["hub"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let status: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    part(&mut out, &status, "connections", &["kind", "address", "rooms", "events", "delivered", "waitingBytes"])?;
    part(&mut out, &status, "links", &["name", "address", "state", "peer", "owed", "error"])?;
    part(
        &mut out,
        &status,
        "targets",
        &["name", "address", "format", "state", "waiting", "pushed", "dropped", "error"],
    )?;
    out.flush()
}

fn part(out: &mut Out, status: &Value, name: &str, columns: &[&str]) -> Result<(), Failure> {
    let rows: &[Value] = status[name].as_array().map(Vec::as_slice).unwrap_or_default();
    out.line(out.paint(Colour::Bold, &format!("{name}: {}", rows.len())))?;
    if rows.is_empty() {
        return Ok(());
    }
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(|item| safe(&plain(item))).collect::<Vec<_>>().join(", "),
        other => safe(&plain(other)),
    };
    let header: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()).collect();
    out.table(&header, &[], rows)
}
