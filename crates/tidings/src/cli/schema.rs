//! `tidings schema`: say what payloads must be, by subject.

use std::path::{Path, PathBuf};

use host::schemas::read_schema;
use schema::{Resource, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::output::{Out, Show, safe};

/// What can be done with schemas.
#[derive(Debug, clap::Subcommand)]
pub enum SchemaCommand {
    /// Put the schemas of files in force, for every event that follows
    Apply(ApplyArgs),
    /// List the schemas in force
    Ls(LsArgs),
    /// Show one schema
    Show(ShowArgs),
    /// Take a schema out of force; its history stays
    Delete(DeleteArgs),
    /// Hold the content of a file against a schema, and record nothing
    Check(CheckArgs),
    /// Make a descriptor set of .proto files and what they import
    Compile(CompileArgs),
}

/// Flags of `tidings schema apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// A schema in YAML or JSON; may be repeated
    #[arg(long = "file", short = 'f', value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings schema ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only schemas that are bound to this subject
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings schema show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The schema
    name: String,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings schema delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// The schema
    name: String,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings schema check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The schema, as the node has it; with --file, as that says
    name: String,
    /// The data: a file, or - for standard input
    data: PathBuf,
    /// A schema in a file, in place of the node's
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// The media type that the data would be published with
    #[arg(long, value_name = "TYPE", default_value = "")]
    content_type: String,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings schema compile`.
#[derive(Debug, clap::Args)]
pub struct CompileArgs {
    /// The .proto files
    #[arg(required = true, value_name = "FILE.proto")]
    files: Vec<PathBuf>,
    /// Where imports are; beside each file where it is not given
    #[arg(long = "include", short = 'I', value_name = "DIR")]
    includes: Vec<PathBuf>,
    /// Where the descriptor set goes
    #[arg(long, short = 'o', value_name = "FILE")]
    out: PathBuf,
}

/// Does what was asked.
pub fn run(command: SchemaCommand) -> Result<(), Failure> {
    match command {
        SchemaCommand::Apply(args) => apply(&args),
        SchemaCommand::Ls(args) => list(&args),
        SchemaCommand::Show(args) => show(&args),
        SchemaCommand::Delete(args) => delete(&args),
        SchemaCommand::Check(args) => check(&args),
        SchemaCommand::Compile(args) => compile(&args),
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    schemas: Vec<Value>,
}

fn of_file(path: &Path) -> Result<Schema, Failure> {
    read_schema(path).map_err(|fault| Failure::usage(fault.to_string(), "docs/schemas.md says what a schema is"))
}

fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    // All are judged before any is sent.
    let schemas = args.files.iter().map(|file| of_file(file)).collect::<Result<Vec<_>, _>>()?;
    let client = Client::new(&args.reach)?;
    let mut out = Out::new();
    for schema in &schemas {
        let request = Request::new(ureq::http::Method::PUT, &["schemas", schema.name()]);
        client.ask(&request.json(&schema.resource().to_json()))?;
        let subjects: Vec<&str> = schema.subjects().iter().map(|pattern| pattern.as_str()).collect();
        out.line(format!("schema {} in force for {}", schema.name(), safe(&subjects.join(", "))))?;
    }
    out.flush()
}

fn list(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["schemas"]).query_if("subject", args.subject.as_ref()))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let listed: Listed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    if listed.schemas.is_empty() {
        eprintln!("no schema is in force; declare one with: tidings schema apply -f FILE");
        return Ok(());
    }
    out.table(&["NAME", "TYPE", "MODE", "SUBJECTS", "MESSAGE", "FROM"], &[], listed.schemas.iter().map(row).collect())?;
    out.flush()
}

fn row(schema: &Value) -> Vec<String> {
    let text = |value: &Value| safe(value.as_str().unwrap_or_default());
    let (spec, status) = (&schema["spec"], &schema["status"]);
    let subjects: Vec<&str> = spec["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let from = match status["file"].as_str() {
        Some(file) => safe(file),
        None => format!("TIDINGS:{}", status["seq"]),
    };
    vec![
        text(&schema["name"]),
        text(&spec["type"]),
        text(&spec["mode"]),
        safe(&subjects.join(", ")),
        text(&spec["message"]),
        from,
    ]
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&Request::get(&["schemas", &args.name]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let resource: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let (spec, status) = (&resource["spec"], &resource["status"]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let given = |value: &Value| if value.is_null() { String::new() } else { safe(&text(value)) };
    let subjects: Vec<&str> = spec["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let size =
        spec["descriptor"].as_str().map(|base64| format!("{} bytes", base64.trim_end_matches('=').len() * 3 / 4));
    out.fields(&[
        ("name", safe(&args.name)),
        ("type", given(&spec["type"])),
        ("mode", given(&spec["mode"])),
        ("subjects", safe(&subjects.join(", "))),
        ("message", given(&spec["message"])),
        ("strict", given(&spec["strict"])),
        ("accepts JSON", given(&spec["acceptJson"])),
        ("descriptor", size.unwrap_or_default()),
        ("from", given(&status["origin"])),
        ("file", given(&status["file"])),
        ("position", given(&status["seq"])),
        ("since", given(&status["time"])),
    ])?;
    if !spec["schema"].is_null() {
        let pretty = serde_json::to_string_pretty(&spec["schema"]).map_err(Failure::strange)?;
        for line in pretty.lines() {
            out.line(safe(line))?;
        }
    }
    out.flush()
}

fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    client.ask(&Request::new(ureq::http::Method::DELETE, &["schemas", &args.name]))?;
    let mut out = Out::new();
    out.line(format!("schema {} deleted", safe(&args.name)))?;
    out.flush()
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let schema = match &args.file {
        Some(file) => of_file(file)?,
        None => fetched(&Client::new(&args.reach)?, &args.name)?,
    };
    let data = match args.data.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()).map(String::into_bytes),
        false => std::fs::read(&args.data),
    };
    let shown = args.data.display().to_string();
    let data = data.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}"), "name a file, or -"))?;
    let message = super::decode::message("check", data, &args.content_type)
        .ok_or_else(|| Failure::usage("the media type cannot be a header", "leave --content-type out"))?;
    let mut out = Out::new();
    match schema.check(&message) {
        Ok(()) => {
            let decoded = schema.decode(&message).ok().flatten();
            if args.show.json {
                let answer = json!({"schema": schema.name(), "good": true, "decoded": decoded});
                out.document(answer.to_string().as_bytes())?;
            } else {
                out.line(format!("{shown} is what the schema {} says", schema.name()))?;
            }
            out.flush()
        }
        Err(fault) => {
            if args.show.json {
                let answer = json!({"schema": schema.name(), "good": false, "field": fault.field, "reason": fault.why});
                out.document(answer.to_string().as_bytes())?;
            } else {
                out.line(safe(&format!("{shown} is not what the schema {} says: {fault}", schema.name())))?;
            }
            out.flush()?;
            Err(Failure::Found)
        }
    }
}

/// A schema as the node has it, compiled here.
pub fn fetched(client: &Client, name: &str) -> Result<Schema, Failure> {
    let answer = client.ask(&Request::get(&["schemas", name]))?;
    Resource::from_json(&answer).and_then(Schema::compile).map_err(Failure::strange)
}

fn compile(args: &CompileArgs) -> Result<(), Failure> {
    let hint = "name the folders that imports start from with --include DIR";
    let set =
        schema::compile_proto(&args.files, &args.includes).map_err(|error| Failure::usage(error.to_string(), hint))?;
    std::fs::write(&args.out, &set).map_err(|error| {
        Failure::usage(format!("cannot write {}: {error}", args.out.display()), "name another file with --out")
    })?;
    let mut out = Out::new();
    out.line(format!("{} bytes of descriptors in {}", set.len(), args.out.display()))?;
    out.flush()
}
