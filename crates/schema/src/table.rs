//! Schemas compiled, and the table of those in force.
//!
//! # Invariant
//! A table is never changed: another takes its place.

use std::borrow::Cow;
use std::sync::Arc;

use event::{Headers, Message, Pattern, Wanted};
use serde_json::Value;

use crate::data::Data;
use crate::fault::{Fault, Invalid};
use crate::json::JsonSchema;
use crate::limits::{CHECKED_BYTES_MAX, SCHEMAS_MAX};
use crate::proto::ProtoSchema;
use crate::resource::{Mode, Resource, Type};

/// The header of a marked message that names the schema.
pub const NAME_HEADER: &str = "Tidings-Schema";

/// The header of a marked message that says what is wrong.
pub const ERROR_HEADER: &str = "Tidings-Schema-Error";

/// A schema, compiled.
#[derive(Debug)]
pub struct Schema {
    resource: Resource,
    subjects: Vec<Pattern>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Protobuf(ProtoSchema),
    Json(JsonSchema),
}

impl Schema {
    /// Compiles a resource that names no files.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub fn compile(resource: Resource) -> Result<Self, Invalid> {
        let subjects = resource.judged()?;
        let body = match resource.spec.kind {
            Type::Protobuf => {
                let message = resource.spec.message.as_deref();
                let message = message.ok_or_else(|| Invalid::new("spec.message", "is missing"))?;
                Body::Protobuf(ProtoSchema::compile(&resource.descriptor()?, message, resource.spec.strict)?)
            }
            Type::Json => {
                let schema = resource.spec.schema.as_ref();
                Body::Json(JsonSchema::compile(schema.ok_or_else(|| Invalid::new("spec.schema", "is missing"))?)?)
            }
        };
        Ok(Schema { resource, subjects, body })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.resource.metadata.name
    }

    /// What was declared.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The subjects that it is bound to.
    pub fn subjects(&self) -> &[Pattern] {
        &self.subjects
    }

    /// Holds a message's data against the schema.
    ///
    /// # Errors
    /// [`Fault`] with the path of the field.
    pub fn check(&self, message: &Message) -> Result<(), Fault> {
        if message.payload.len() > CHECKED_BYTES_MAX {
            let why = format!("has {} bytes; at most {CHECKED_BYTES_MAX} are checked", message.payload.len());
            return Err(Fault::whole(why));
        }
        let data = Data::of(message)?;
        match &self.body {
            Body::Json(json) => json.check(&data.bytes),
            Body::Protobuf(proto) if !data.json => proto.check(&data.bytes),
            Body::Protobuf(proto) if self.resource.spec.accept_json => proto.check_json(&data.bytes),
            Body::Protobuf(_) => {
                let message = self.resource.spec.message.as_deref().unwrap_or_default();
                Err(Fault::whole(format!("is said to be JSON, where the protobuf message {message} belongs")))
            }
        }
    }

    /// The data of a message as JSON, where the schema is protobuf and the data is not JSON already.
    ///
    /// # Errors
    /// [`Fault`] where the data is not what the schema says.
    pub fn decode(&self, message: &Message) -> Result<Option<Value>, Fault> {
        let Body::Protobuf(proto) = &self.body else { return Ok(None) };
        let data = Data::of(message)?;
        if data.json { Ok(None) } else { proto.to_json(&data.bytes).map(Some) }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No schema is bound to its subject, or it is what they say.
    Good,
    /// Its publisher is refused.
    Refuse {
        /// The schema.
        schema: String,
        /// What is wrong.
        fault: Fault,
    },
    /// It is recorded with these headers in place of its own.
    Mark(Headers),
}

/// The schemas in force.
#[derive(Debug, Default)]
pub struct Table {
    schemas: Vec<Arc<Schema>>,
    bound: Wanted<usize>,
}

impl Table {
    /// A table of schemas, in the order of their names.
    ///
    /// # Errors
    /// [`Invalid`] where there are too many.
    pub fn new(schemas: impl IntoIterator<Item = Arc<Schema>>) -> Result<Self, Invalid> {
        let mut schemas: Vec<Arc<Schema>> = schemas.into_iter().collect();
        if schemas.len() > SCHEMAS_MAX {
            return Err(Invalid::new("", format!("at most {SCHEMAS_MAX} schemas can be in force")));
        }
        schemas.sort_by(|a, b| a.name().cmp(b.name()));
        let mut bound = Wanted::default();
        for (place, schema) in schemas.iter().enumerate() {
            for pattern in &schema.subjects {
                bound.insert(pattern, place);
            }
        }
        Ok(Table { schemas, bound })
    }

    /// Whether no schema is in force.
    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }

    /// The schemas, in the order of their names.
    pub fn schemas(&self) -> &[Arc<Schema>] {
        &self.schemas
    }

    /// One schema.
    pub fn get(&self, name: &str) -> Option<&Arc<Schema>> {
        let place = self.schemas.binary_search_by(|schema| schema.name().cmp(name)).ok()?;
        self.schemas.get(place)
    }

    /// The schemas bound to a subject, in the order of their names.
    pub fn bound<'a>(&'a self, subject: &str) -> impl Iterator<Item = &'a Arc<Schema>> {
        let mut places = Vec::new();
        self.bound.each(subject, &mut |place| places.push(*place));
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| self.schemas.get(place))
    }

    /// Judges a message by every schema bound to its subject. A refusal goes before a mark. Headers that
    /// only this node may set are taken off where a schema is bound.
    pub fn judge(&self, message: &Message) -> Verdict {
        let mut bound = self.bound(message.subject.as_str()).peekable();
        if bound.peek().is_none() {
            return Verdict::Good;
        }
        let mut marked: Option<(&Schema, Fault)> = None;
        for schema in bound {
            let Err(fault) = schema.check(message) else { continue };
            if schema.resource.spec.mode == Mode::Refuse {
                return Verdict::Refuse { schema: schema.name().to_owned(), fault };
            }
            marked.get_or_insert((schema, fault));
        }
        let forged = |(name, _): (&str, &str)| own(name);
        match marked {
            Some((schema, fault)) => mark(schema, fault, &message.headers),
            None if message.headers.iter().any(forged) => match Headers::from_pairs(others(&message.headers)) {
                Ok(headers) => Verdict::Mark(headers),
                Err(_) => Verdict::Good,
            },
            None => Verdict::Good,
        }
    }
}

fn own(name: &str) -> bool {
    name.eq_ignore_ascii_case(NAME_HEADER) || name.eq_ignore_ascii_case(ERROR_HEADER)
}

fn others(headers: &Headers) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter(|(name, _)| !own(name))
}

fn mark(schema: &Schema, fault: Fault, headers: &Headers) -> Verdict {
    let said = fault.to_string();
    let why = ascii(&said);
    let marks = [(NAME_HEADER, schema.name()), (ERROR_HEADER, &*why)];
    match Headers::from_pairs(others(headers).chain(marks)) {
        Ok(headers) => Verdict::Mark(headers),
        Err(_) => {
            let fault = Fault::at(fault.field, format!("{}; and its headers leave no room for a mark", fault.why));
            Verdict::Refuse { schema: schema.name().to_owned(), fault }
        }
    }
}

/// HTTP gives headers back as ASCII.
fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| {
                if c.is_ascii() {
                    c
                } else if c == '…' {
                    '~'
                } else {
                    '?'
                }
            })
            .collect(),
    )
}
