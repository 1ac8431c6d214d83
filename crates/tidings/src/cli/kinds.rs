//! The kinds of resources, offline: what there is, what a field is, and schemas for editors.

use std::fs;
use std::path::PathBuf;

use clap::builder::{PossibleValue, TypedValueParser};
use plan::{ExplainError, Explained, KINDS, Kind, explain, schema_of_any, schemas};
use serde_json::{Value, json};

use super::failure::Failure;
use super::form::{Form, Theirs};
use super::output::{Colour, Out};

/// The file of the schema of any resource.
const ANY: &str = "tidings.schema.json";

/// Flags of `tidings explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// A kind, or a field of one: EventPeer, eg.spec.listen.port, plugin.timeout
    #[arg(value_name = "KIND[.FIELD…]", value_parser = KindParser)]
    what: String,
    #[command(flatten)]
    form: Form,
}

/// Flags of `tidings kinds`.
#[derive(Debug, clap::Args)]
pub struct KindsArgs {
    /// Write the JSON Schemas to this folder, one a kind and one for any, so that an editor completes and checks
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "json"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// A kind by any of its names. Any word passes, since an operator's own kinds are known to the node
/// alone; what a shell offers are ours.
#[derive(Debug, Clone, Copy)]
pub struct KindParser;

impl TypedValueParser for KindParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        clap::builder::NonEmptyStringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let known = |kind: &'static Kind| PossibleValue::new(kind.plural).alias(kind.name).alias(kind.short);
        Some(Box::new(KINDS.iter().map(known)))
    }
}

/// `tidings explain`.
pub fn run_explain(args: &ExplainArgs) -> Result<(), Failure> {
    let told = explain(&args.what).map_err(|error| {
        let hint = match &error {
            ExplainError::Kind { .. } => "see the kinds there are: tidings kinds".to_owned(),
            ExplainError::Field { within, .. } => format!("see the fields there are: tidings explain {within}"),
        };
        Failure::usage(error.to_string(), hint)
    })?;
    let answer = serde_json::to_value(&told).map_err(Failure::strange)?;
    let text = serde_json::to_string_pretty(&answer).map_err(Failure::strange)?;
    args.form.show(text.as_bytes(), || Theirs::Document(answer), |out| shown(out, &told))
}

fn shown(out: &mut Out, told: &Explained) -> Result<(), Failure> {
    out.line(format!("{}  {}", out.paint(Colour::Bold, &told.path), told.type_name))?;
    let required = if told.required { "yes" } else { "no" };
    out.fields(&[
        ("required", required.to_owned()),
        ("default", told.default.as_ref().map(plain).unwrap_or_default()),
        ("one of", told.allowed.join(", ")),
    ])?;
    if let Some(kind) = Kind::named(&told.path) {
        let versions: Vec<&str> = kind.api_versions().collect();
        out.fields(&[("apiVersion", versions.join(", ")), ("names", format!("{}, {}", kind.plural, kind.short))])?;
    }
    out.line("")?;
    for paragraph in told.doc.lines() {
        out.line(paragraph)?;
    }
    if told.fields.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let row = |field: &plan::Field| {
        let default = field.default.as_ref().map(plain).unwrap_or_default();
        let said = if field.required { "required".to_owned() } else { default };
        vec![field.name.clone(), field.type_name.clone(), said, field.doc.lines().collect::<Vec<_>>().join(" ")]
    };
    out.table(&["FIELD", "TYPE", "DEFAULT", "WHAT IT IS"], &[], told.fields.iter().map(row).collect())
}

/// A value as people write it.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `tidings kinds`.
pub fn run_kinds(args: &KindsArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.out {
        return write(folder);
    }
    let told = |kind: &Kind| {
        let versions: Vec<&str> = kind.api_versions().collect();
        json!({"name": kind.name, "plural": kind.plural, "short": kind.short, "apiVersions": versions, "doc": kind.doc})
    };
    let answer: Value = KINDS.iter().map(told).collect();
    let text = serde_json::to_string_pretty(&answer).map_err(Failure::strange)?;
    args.form.show(
        text.as_bytes(),
        || Theirs::Document(answer),
        |out| {
            let row = |kind: &Kind| {
                let routerd = kind.routerd.unwrap_or("-").to_owned();
                vec![kind.name.to_owned(), kind.plural.to_owned(), kind.short.to_owned(), routerd, kind.doc.to_owned()]
            };
            out.table(
                &["KIND", "PLURAL", "SHORT", "ROUTERD'S VERSION", "WHAT IT IS"],
                &[],
                KINDS.iter().map(row).collect(),
            )
        },
    )
}

fn write(folder: &PathBuf) -> Result<(), Failure> {
    let shown = folder.display();
    let refused = |error: std::io::Error| {
        Failure::usage(format!("cannot write schemas to {shown}: {error}"), "name another folder with --out")
    };
    fs::create_dir_all(folder).map_err(refused)?;
    let each = schemas().map(|(kind, schema)| (format!("{}.schema.json", kind.name), schema));
    let mut files = 0_usize;
    for (name, schema) in each.chain([(ANY.to_owned(), schema_of_any())]) {
        let mut text = serde_json::to_string_pretty(&schema).map_err(Failure::strange)?;
        text.push('\n');
        fs::write(folder.join(name), text).map_err(refused)?;
        files += 1;
    }
    let mut out = Out::new();
    out.line(format!("{files} schemas in {shown}; as the first line of a YAML file, for an editor:"))?;
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.clone()).join(ANY);
    out.line(format!("# yaml-language-server: $schema={}", path.display()))?;
    out.flush()
}
