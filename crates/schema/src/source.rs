//! `.proto` files to a descriptor set, so that nobody needs another compiler.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why files cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}{}{why}", place(*line))]
pub struct SourceError {
    /// The file, as it was named or imported.
    pub file: String,
    /// Its line, from 1; 0 where it is not known.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

fn place(line: usize) -> String {
    if line == 0 { String::from(": ") } else { format!(":{line}: ") }
}

/// Compiles `.proto` files and what they import into one descriptor set. Imports are looked for in
/// `includes`; where there are none, beside each file.
///
/// # Errors
/// [`SourceError`] naming file and, where it is known, line.
pub fn compile_proto(files: &[PathBuf], includes: &[PathBuf]) -> Result<Vec<u8>, SourceError> {
    let beside = |file: &PathBuf| match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut includes = includes.to_vec();
    if includes.is_empty() {
        includes = files.iter().map(beside).collect();
        includes.dedup();
    }
    let mut compiler = protox::Compiler::new(includes).map_err(|error| told(&error))?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(files).map_err(|error| told(&error))?;
    Ok(compiler.encode_file_descriptor_set())
}

fn told(error: &protox::Error) -> SourceError {
    let debugged = format!("{error:?}");
    let file = error.file().unwrap_or_default().to_owned();
    let why = error.to_string();
    let (line, why) = located(&debugged, &file).unwrap_or((0, why));
    SourceError { file, line, why }
}

/// The compiler says `file:line:column: reason` when it is asked for everything.
fn located(text: &str, file: &str) -> Option<(usize, String)> {
    let rest = text.get(text.find(file)? + file.len()..)?.strip_prefix(':')?;
    let (line, rest) = rest.split_once(':')?;
    let (_column, why) = rest.split_once(": ")?;
    Some((line.parse().ok()?, why.lines().next()?.to_owned()))
}
