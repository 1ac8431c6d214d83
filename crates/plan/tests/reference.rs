//! The reference in `docs/resources.md` is what the schemas say.
//!
//! After a change of the kinds: `TIDINGS_REFERENCE=write cargo test -p plan --test reference`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;
use std::path::PathBuf;

use plan::{Explained, KINDS, explain};
use serde_json::Value;

const BEGIN: &str = "<!-- kinds: from the schemas; crates/plan/tests/reference.rs holds it -->\n";
const END: &str = "<!-- kinds: end -->\n";

/// A field and those within it, as rows of a table.
fn rows(told: &Explained, path: &str, out: &mut String) {
    for field in &told.fields {
        let inner = explain(&format!("{}.{}", told.path, field.name)).unwrap();
        let place = format!("{path}.{}", field.name);
        let default = field.default.as_ref().map(|value| match value {
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        });
        let said = if field.required { "required".to_owned() } else { default.unwrap_or_default() };
        let mut doc = field.doc.replace('\n', " ").replace('|', "\\|");
        if !inner.allowed.is_empty() {
            let allowed: Vec<String> = inner.allowed.iter().map(|value| format!("`{value}`")).collect();
            write!(doc, " One of {}.", allowed.join(", ")).unwrap();
        }
        writeln!(out, "| `{place}` | {} | {said} | {doc} |", field.type_name).unwrap();
        let within = if field.type_name.starts_with("list") { format!("{place}[]") } else { place };
        rows(&inner, &within, out);
    }
}

fn reference() -> String {
    let mut out = String::new();
    for kind in KINDS {
        let versions: Vec<String> = kind.api_versions().map(|version| format!("`{version}`")).collect();
        writeln!(
            out,
            "\n### {}\n\n{} In {}; on the command line `{}`, `{}`.\n",
            kind.name,
            kind.doc,
            versions.join(" and "),
            kind.plural,
            kind.short
        )
        .unwrap();
        writeln!(out, "| field | type | default | what it says |\n|---|---|---|---|").unwrap();
        rows(&explain(&format!("{}.spec", kind.name)).unwrap(), "spec", &mut out);
    }
    out.push('\n');
    out
}

#[test]
fn the_reference_is_what_the_schemas_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/resources.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let wanted = reference();
    if std::env::var("TIDINGS_REFERENCE").is_ok_and(|word| word == "write") {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    assert!(found == wanted, "docs/resources.md is not what the kinds say; the head of this test says how to write it");
}
