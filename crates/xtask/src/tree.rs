//! The project as tidy sees it: the texts of its files and the manifests of its crates.
//!
//! A [`Tree`] is plain data, so that every rule can be tried on a made-up one. Cost of reading the
//! real one: one `git ls-files`, one `cargo metadata --no-deps`, and the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate of the workspace.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder, relative to the root.
    pub folder: String,
    /// Its licence, if it names one.
    pub licence: Option<String>,
    /// Crates of the workspace that it depends on, other than for tests.
    pub inner: BTreeSet<String>,
    /// Crates from elsewhere that it depends on, other than for tests.
    pub outer: BTreeSet<String>,
}

/// The project.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Texts by path relative to the root, `/` between the parts. Files that are no UTF-8 have none.
    pub texts: BTreeMap<String, String>,
    /// All paths, those without a text too.
    pub paths: BTreeSet<String>,
    /// The crates.
    pub packages: Vec<Package>,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// What a program prints, or why it failed.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{program} {}: {}", arguments.join(" "), said.trim()));
    }
    String::from_utf8(done.stdout).map_err(|error| format!("{program}: {error}"))
}

/// Reads the project at the root.
pub fn read() -> Result<Tree, String> {
    let mut tree = Tree { packages: packages()?, ..Tree::default() };
    let root = root();
    for path in paths(&root)? {
        // A file may be listed and gone: removed, not yet committed.
        if let Ok(bytes) = std::fs::read(root.join(&path)) {
            if let Ok(text) = String::from_utf8(bytes) {
                tree.texts.insert(path.clone(), text);
            }
            tree.paths.insert(path);
        }
    }
    Ok(tree)
}

fn paths(root: &Path) -> Result<Vec<String>, String> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    if let Ok(listed) = listed {
        return Ok(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_string).collect());
    }
    // No git, or an unpacked archive: walk.
    let (mut found, mut waiting) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = waiting.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", ".venv", "tidings-data"].contains(&name.as_str()) {
                waiting.push(path);
            } else if path.is_file() {
                let relative = path.strip_prefix(root).unwrap_or(&path);
                found.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

fn packages() -> Result<Vec<Package>, String> {
    let printed = output("cargo", &["metadata", "--no-deps", "--offline", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    let root = root();
    Ok(list(&metadata["packages"]).map(|package| read_package(package, &root)).collect())
}

fn read_package(package: &Value, root: &Path) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok()).unwrap_or(&manifest);
    let mut read = Package {
        name: text(&package["name"]),
        folder: folder.to_string_lossy().replace('\\', "/"),
        licence: package["license"].as_str().map(str::to_string),
        ..Package::default()
    };
    for dependency in list(&package["dependencies"]) {
        if dependency["kind"].as_str() == Some("dev") {
            continue;
        }
        let place = if dependency["path"].is_string() { &mut read.inner } else { &mut read.outer };
        place.insert(text(&dependency["name"]));
    }
    read
}

/// The elements of a JSON array; none of anything else.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
