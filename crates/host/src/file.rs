//! Configuration files: YAML, one document each, unknown fields refused by name and line.
//!
//! Not the meaning of the fields (see [`crate::config`]). Aliases, depth and size are bounded by the
//! parser's budget and [`FILE_BYTES_MAX`].

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;

use crate::config::Layer;
use crate::error::{FileFault, StartError};

/// Largest configuration or token file, in bytes. People write them; more is a wrong path.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a configuration: one file, or all `*.yaml` of a directory in the order of their names, a
/// later one over an earlier one.
///
/// # Errors
/// [`StartError`] naming the file, and the line where the fault lies in its text.
pub fn read_config(path: &Path) -> Result<Layer, StartError> {
    let unreadable = |error: std::io::Error| StartError::Unreadable { path: path.to_owned(), error };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return read_layer(path);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    if files.is_empty() {
        let reason = format!("the directory {} holds no *.yaml file", path.display());
        return Err(StartError::invalid("config", reason));
    }
    files.iter().try_fold(Layer::default(), |weaker, file| Ok(read_layer(file)?.over(weaker)))
}

fn read_layer(path: &Path) -> Result<Layer, StartError> {
    let text = read_text(path).map_err(|error| StartError::Unreadable { path: path.to_owned(), error })?;
    let mut layer: Layer = if is_blank(&text) {
        Layer::default()
    } else {
        parse(&text).map_err(|fault| StartError::File(fault.at(path, Some(text))))?
    };
    let base = path.parent().unwrap_or(Path::new(""));
    layer.rebase(base);
    Ok(layer)
}

/// Whether a YAML text says nothing.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// The text of a small file.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let length = fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        let reason = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

/// The token that is the first line of a file. Its text is in no message.
pub(crate) fn read_token(path: &Path) -> Result<String, String> {
    let text = read_text(path).map_err(|error| format!("the token cannot be read from {}: {error}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || line.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("the first line of {} is no token", path.display()));
    }
    Ok(line.to_owned())
}

/// Where and why a YAML text was refused.
pub(crate) struct YamlFault {
    /// From 1; 0 where it is not known.
    pub(crate) line: u64,
    /// From 1; 0 where it is not known.
    pub(crate) column: u64,
    /// Says what is wrong; may quote the text.
    pub(crate) reason: String,
    /// Says what is wrong and quotes only names of fields, never values.
    pub(crate) reason_without_values: String,
}

impl YamlFault {
    fn at(self, path: &Path, text: Option<String>) -> FileFault {
        FileFault { path: path.to_owned(), line: self.line, column: self.column, reason: self.reason, text }
    }
}

pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlFault> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| fault_of(&error))
}

/// Where and why the parser refused.
pub(crate) fn fault_of(error: &YamlError) -> YamlFault {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
    YamlFault { line, column, reason: reason(error), reason_without_values: reason_without_values(error) }
}

fn reason(error: &YamlError) -> String {
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            format!("there is no field '{field}'; the fields are {}", expected.join(", "))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            format!("'{variant}' is not one of {}", expected.join(", "))
        }
        YamlError::SerdeMissingField { field, .. } => format!("the field '{field}' is missing"),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => format!("the field '{key}' is given twice"),
        YamlError::Message { msg, .. } => msg.clone(),
        other => {
            let text = other.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn reason_without_values(error: &YamlError) -> String {
    match error {
        YamlError::SerdeUnknownField { .. } | YamlError::SerdeMissingField { .. } => reason(error),
        YamlError::DuplicateMappingKey { .. } => String::from("a field is given twice"),
        _ => String::from("the text has not the shape that it should have"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_first_line_of_a_small_file_and_what_is_none_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let check = |content: &str, expected: Result<&str, &str>| {
            let path = folder.path().join("token");
            fs::write(&path, content).unwrap();
            match (read_token(&path), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(reason), Err(part)) => assert!(reason.contains(part) && !reason.contains("s3cret"), "{reason}"),
                (found, _) => panic!("{found:?}"),
            }
        };
        check("s3cret\n", Ok("s3cret"));
        check("  s3cret \r\nfor the resolver\n", Ok("s3cret"));
        check("", Err("is no token"));
        check("\ns3cret\n", Err("is no token"));
        check("s3cret and more\n", Err("is no token"));
        check("s3cret\0\n", Err("is no token"));
        check(&"s3cret".repeat(1024 * 1024), Err("more than"));
        assert!(read_token(&folder.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
