//! Resources in files: YAML or JSON, several documents a file; faults name file, line and field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::{Document, Fault, Identity, documents};
use serde_json::Value;

use super::secrets::inline_secrets;
use super::tree::{Tree, trees};
use crate::error::FileFault;
use crate::file::read_text;

/// A file that was read.
#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    trees: Vec<Tree>,
}

/// A resource of a file.
#[derive(Debug, Clone)]
pub struct FromFile {
    /// What it says.
    pub document: Document,
    file: Arc<File>,
    /// Which of the file's documents.
    tree: usize,
    /// Where in it.
    base: String,
}

impl FromFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Its line, from 1.
    pub fn line(&self) -> u64 {
        self.file.line(self.tree, &self.base).0
    }

    /// A fault of this resource.
    pub fn fault(&self, fault: &Fault) -> FileFault {
        self.file.fault(self.tree, &joined(&self.base, &fault.path), fault.to_string(), true)
    }
}

impl File {
    fn line(&self, tree: usize, path: &str) -> (u64, u64) {
        self.trees.get(tree).map_or((1, 1), |tree| tree.place(path))
    }

    fn fault(&self, tree: usize, path: &str, reason: String, show: bool) -> FileFault {
        let (line, column) = self.line(tree, path);
        FileFault { path: self.path.clone(), line, column, reason, text: show.then(|| self.text.clone()) }
    }
}

/// The resources of a folder's `*.yaml`, `*.yml` and `*.json` files, by identity.
///
/// # Errors
/// The first fault, with its file and line.
pub(super) fn read_folder(folder: &Path) -> Result<BTreeMap<Identity, FromFile>, FileFault> {
    let mut found: BTreeMap<Identity, FromFile> = BTreeMap::new();
    for path in resource_files(folder)? {
        for resource in read_file(&path)? {
            let identity = resource.document.identity();
            if let Some(other) = found.get(&identity) {
                let reason = format!("is declared at {}:{} too", other.path().display(), other.line());
                return Err(resource.fault(&Fault::new(&identity, "metadata.name", reason)));
            }
            found.insert(identity, resource);
        }
    }
    Ok(found)
}

/// The files of a folder that hold resources, by name. Hidden ones are left out.
fn resource_files(folder: &Path) -> Result<Vec<PathBuf>, FileFault> {
    let unreadable = |error: std::io::Error| nowhere(folder, format!("cannot read the folder of resources: {error}"));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
    files.retain(|path| !hidden(path) && !path.is_dir());
    files.sort();
    Ok(files)
}

fn nowhere(path: &Path, reason: String) -> FileFault {
    FileFault { path: path.to_owned(), line: 1, column: 1, reason, text: None }
}

/// The resources of a file, or of a folder's files.
///
/// # Errors
/// The first fault, with its file and line.
pub fn read_path(path: &Path) -> Result<Vec<FromFile>, FileFault> {
    if path.is_dir() { read_folder(path).map(|found| found.into_values().collect()) } else { read_file(path) }
}

fn read_file(path: &Path) -> Result<Vec<FromFile>, FileFault> {
    let text = read_text(path).map_err(|error| nowhere(path, format!("cannot be read: {error}")))?;
    read_string(path, text)
}

/// The resources of a text, which faults call by this name.
///
/// # Errors
/// The first fault, with its line.
pub fn read_string(path: &Path, text: String) -> Result<Vec<FromFile>, FileFault> {
    let trees = match trees(&text) {
        Ok(trees) => trees,
        Err(fault) => {
            let (path, line, column) = (path.to_owned(), fault.line.max(1), fault.column);
            return Err(FileFault { path, line, column, reason: fault.reason, text: Some(text) });
        }
    };
    let file = Arc::new(File { path: path.to_owned(), text, trees });
    let mut found = Vec::new();
    for (index, tree) in file.trees.iter().enumerate() {
        found.extend(of_tree(&file, index, &tree.value)?);
    }
    Ok(found)
}

fn of_tree(file: &Arc<File>, tree: usize, value: &Value) -> Result<Vec<FromFile>, FileFault> {
    let bases = bases(value);
    let documents = documents(value.clone()).map_err(|fault| {
        let named = |base: &&Base| base.identity == fault.resource || fault.resource.starts_with(&base.place);
        let base = bases.iter().rev().find(named).map_or("", |base| base.path.as_str());
        file.fault(tree, &joined(base, &fault.path), fault.to_string(), true)
    })?;
    let mut found = Vec::new();
    for (document, base) in documents.into_iter().zip(bases) {
        if let Some(fault) = inline_secrets(&document).first() {
            // The text around it would show the secret.
            return Err(file.fault(tree, &joined(&base.path, &fault.path), fault.to_string(), false));
        }
        found.push(FromFile { document, file: Arc::clone(file), tree, base: base.path });
    }
    Ok(found)
}

/// Where one resource of a document is.
struct Base {
    /// As [`plan::documents`] calls a resource that says no name.
    place: String,
    /// The path to it.
    path: String,
    /// As [`plan::documents`] calls one that says it.
    identity: String,
}

/// Where the resources of a document are, in the order in which [`plan::documents`] gives them.
fn bases(value: &Value) -> Vec<Base> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let identity = |item: &Value| {
        let name = item.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default();
        format!("{}/{}/{name}", text(item, "apiVersion"), text(item, "kind"))
    };
    let each = |items: &Value, place: &str, path: &str| {
        let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
        let base = |(index, item): (usize, &Value)| Base {
            place: format!("{place}[{index}]"),
            path: format!("{path}[{index}]"),
            identity: identity(item),
        };
        items.iter().enumerate().map(base).collect()
    };
    if value.is_array() {
        return each(value, "document", "");
    }
    if text(value, "kind") == "Router" && value.get("spec").is_some_and(|spec| spec.get("resources").is_some()) {
        return each(&value["spec"]["resources"], "spec.resources", "spec.resources");
    }
    match value.get("resources") {
        Some(resources) if value.get("kind").is_none() => each(resources, "resources", "resources"),
        _ => vec![Base { place: String::from("document"), path: String::new(), identity: identity(value) }],
    }
}

fn joined(base: &str, path: &str) -> String {
    match (base, path) {
        ("", path) => path.to_owned(),
        (base, "") => base.to_owned(),
        (base, path) => format!("{base}.{path}"),
    }
}
