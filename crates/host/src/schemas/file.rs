//! Schemas in files: YAML or JSON, one resource each; errors name file, line and field.

use std::path::{Path, PathBuf};

use schema::{Invalid, Resource, Schema};

use crate::error::FileFault;
use crate::file::{parse, read_text};

/// Reads one schema and compiles it. Files that it names are beside it.
///
/// # Errors
/// [`FileFault`] naming file, line and field.
pub fn read_schema(path: &Path) -> Result<Schema, FileFault> {
    let (resource, text) = read_draft(path)?;
    compile(resource, path, &text)
}

/// The files of a folder that can be schemas, by name.
pub(super) fn schema_files(folder: &Path) -> Result<Vec<PathBuf>, FileFault> {
    let unreadable = |error: std::io::Error| fault(folder, "", "", format!("cannot read the folder: {error}"));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    let fits = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension {
            "yaml" | "yml" => true,
            // JSON Schemas that a resource names lie beside it.
            "json" => read_text(path).is_ok_and(|text| text.contains("\"apiVersion\"")),
            _ => false,
        }
    };
    files.retain(fits);
    files.sort();
    Ok(files)
}

/// The resource and the file's text.
pub(super) fn read_draft(path: &Path) -> Result<(Resource, String), FileFault> {
    let text = read_text(path).map_err(|error| fault(path, "", "", format!("cannot be read: {error}")))?;
    let resource = parse::<Resource>(&text).map_err(|wrong| FileFault {
        path: path.to_owned(),
        line: wrong.line.max(1),
        column: wrong.column,
        reason: wrong.reason,
        text: Some(text.clone()),
    })?;
    Ok((resource, text))
}

pub(super) fn compile(resource: Resource, path: &Path, text: &str) -> Result<Schema, FileFault> {
    let base = path.parent().unwrap_or(Path::new(""));
    let told = |invalid: Invalid| fault(path, text, &invalid.field, invalid.to_string());
    resource.inline(base).and_then(Schema::compile).map_err(told)
}

/// A fault in a field of a file: at the line that names the field's last part, where one does.
pub(super) fn fault(path: &Path, text: &str, field: &str, reason: String) -> FileFault {
    let key = field.split(['/', '[']).next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let names = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ").trim_start_matches('"');
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches('"').trim_start().starts_with(':'))
    };
    let found = (1..).zip(text.lines()).find(|(_, line)| !key.is_empty() && names(line));
    let (line, column) = found.map_or((1, 1), |(number, line)| (number, column(line)));
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    FileFault { path: path.to_owned(), line, column, reason, text }
}

fn column(line: &str) -> u64 {
    let indent = line.len() - line.trim_start().len();
    u64::try_from(indent).unwrap_or(0) + 1
}
