//! A schema as it is declared: the resource, its JSON, and what must be so before it is compiled.
//!
//! ```yaml
//! apiVersion: tidings.dev/v1
//! kind: Schema
//! metadata: { name: cluster-metrics }
//! spec:
//!   subjects: [cluster.metrics]
//!   type: protobuf            # or json
//!   mode: refuse              # or mark
//!   message: cluster.ClusterMetrics
//!   descriptorFile: cluster.binpb
//! ```
//!
//! A resource that names files is a draft: [`Resource::inline`] puts their content in their place.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::Pattern;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Invalid;
use crate::limits::{DESCRIPTOR_BYTES_MAX, NAME_BYTES_MAX, RESOURCE_BYTES_MAX, SUBJECTS_MAX};

/// The version of the resource that this crate knows.
pub const API_VERSION: &str = "tidings.dev/v1";

/// The kind of the resource.
pub const KIND: &str = "Schema";

/// A declared schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Resource {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// What it is called.
    pub metadata: Metadata,
    /// What it says.
    pub spec: Spec,
    /// What a node said of it: taken, so that what a node shows can be applied again, and not kept.
    #[serde(default, skip_serializing)]
    pub status: Option<Value>,
}

/// What a resource is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Letters, digits, `-` and `_`; at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
}

/// In what the data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// The wire format of Protocol Buffers.
    Protobuf,
    /// JSON.
    Json,
}

/// What happens to data that is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its publisher is refused, and nothing is recorded.
    #[default]
    Refuse,
    /// It is recorded, with headers that say what is wrong.
    Mark,
}

/// What a schema says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// Patterns of the subjects that it is bound to.
    pub subjects: Vec<String>,
    /// In what the data is written.
    #[serde(rename = "type")]
    pub kind: Type,
    /// What happens to data that is wrong.
    #[serde(default)]
    pub mode: Mode,
    /// Protobuf: whether fields that the message does not have are wrong.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Protobuf: whether the canonical JSON of the message is taken where the content type says JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_json: bool,
    /// Protobuf: the full name of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Protobuf: a `FileDescriptorSet` with its imports, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// Protobuf: the file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor_file: Option<PathBuf>,
    /// JSON: the JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// JSON: the file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_file: Option<PathBuf>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Resource {
    /// Reads the JSON of a resource.
    ///
    /// # Errors
    /// [`Invalid`] naming the field, or line and column.
    pub fn from_json(json: &[u8]) -> Result<Self, Invalid> {
        if json.len() > RESOURCE_BYTES_MAX {
            return Err(Invalid::new("", format!("a schema may have at most {RESOURCE_BYTES_MAX} bytes")));
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let resource: Resource = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            Invalid::new(if path == "." { String::new() } else { path }, error.inner().to_string())
        })?;
        reader.end().map_err(|error| Invalid::new("", error.to_string()))?;
        Ok(resource)
    }

    /// The JSON of the resource.
    pub fn to_json(&self) -> Value {
        // Made of texts, flags and a tree of JSON: nothing of it cannot be JSON.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Puts the content of the files that it names in their place; relative paths are below `base`.
    ///
    /// # Errors
    /// [`Invalid`] naming the field and the file.
    pub fn inline(mut self, base: &Path) -> Result<Self, Invalid> {
        if let Some(file) = self.spec.descriptor_file.take() {
            let bytes = read(&base.join(file), "spec.descriptorFile")?;
            once(self.spec.descriptor.replace(STANDARD.encode(bytes)).is_some(), "spec.descriptor")?;
        }
        if let Some(file) = self.spec.schema_file.take() {
            let path = base.join(file);
            let schema = serde_json::from_slice(&read(&path, "spec.schemaFile")?)
                .map_err(|error| Invalid::new("spec.schemaFile", format!("{}: {error}", path.display())))?;
            once(self.spec.schema.replace(schema).is_some(), "spec.schema")?;
        }
        Ok(self)
    }

    /// Judges everything but what must be compiled; the patterns.
    pub(crate) fn judged(&self) -> Result<Vec<Pattern>, Invalid> {
        let must = |field: &str, value: &str, known: &str| {
            if value == known {
                return Ok(());
            }
            Err(Invalid::new(field, format!("must be '{known}'")))
        };
        must("apiVersion", &self.api_version, API_VERSION)?;
        must("kind", &self.kind, KIND)?;
        check_name(&self.metadata.name)?;
        let spec = &self.spec;
        if spec.subjects.is_empty() || spec.subjects.len() > SUBJECTS_MAX {
            return Err(Invalid::new("spec.subjects", format!("must be 1 to {SUBJECTS_MAX} patterns")));
        }
        if spec.descriptor_file.is_some() || spec.schema_file.is_some() {
            let field = if spec.schema_file.is_some() { "spec.schemaFile" } else { "spec.descriptorFile" };
            return Err(Invalid::new(field, "is for `tidings schema apply` and for folders; send the content instead"));
        }
        let foreign: &[(&str, bool)] = match spec.kind {
            Type::Protobuf => &[("spec.schema", spec.schema.is_some())],
            Type::Json => &[
                ("spec.descriptor", spec.descriptor.is_some()),
                ("spec.message", spec.message.is_some()),
                ("spec.strict", spec.strict),
                ("spec.acceptJson", spec.accept_json),
            ],
        };
        if let Some((field, _)) = foreign.iter().find(|(_, given)| *given) {
            return Err(Invalid::new(*field, "is not for this type of schema"));
        }
        let parse = |(place, text): (usize, &String)| {
            let wrong = |error| Invalid::new(format!("spec.subjects[{place}]"), format!("'{text}': {error}"));
            let pattern = Pattern::parse(text).map_err(wrong)?;
            let reserved = pattern.tokens().next() == Some("tidings") || pattern.tokens().next() == Some("$JS");
            if reserved {
                return Err(Invalid::new(format!("spec.subjects[{place}]"), "is the node's own"));
            }
            Ok(pattern)
        };
        spec.subjects.iter().enumerate().map(parse).collect()
    }

    /// The descriptor set's bytes.
    pub(crate) fn descriptor(&self) -> Result<Vec<u8>, Invalid> {
        let field = "spec.descriptor";
        let text = self.spec.descriptor.as_deref().ok_or_else(|| Invalid::new(field, "is missing"))?;
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = STANDARD.decode(compact).map_err(|error| Invalid::new(field, format!("is not base64: {error}")))?;
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            let why = format!("has {} bytes; at most {DESCRIPTOR_BYTES_MAX} are taken", bytes.len());
            return Err(Invalid::new(field, why));
        }
        Ok(bytes)
    }
}

/// Whether a text can name a schema.
///
/// # Errors
/// [`Invalid`] saying what a name is.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(fit) {
        return Ok(());
    }
    let why = format!("must be 1 to {NAME_BYTES_MAX} letters, digits, '-' or '_'");
    Err(Invalid::new("metadata.name", why))
}

fn once(twice: bool, field: &str) -> Result<(), Invalid> {
    if twice { Err(Invalid::new(field, "is given inline and as a file")) } else { Ok(()) }
}

fn read(path: &Path, field: &str) -> Result<Vec<u8>, Invalid> {
    let wrong = |why: String| Invalid::new(field, format!("{}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > RESOURCE_BYTES_MAX as u64 {
        return Err(wrong(format!("has more than {RESOURCE_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| wrong(error.to_string()))
}
