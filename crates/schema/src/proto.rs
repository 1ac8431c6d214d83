//! Protobuf: the wire format held against a message's descriptor, without building the message.
//!
//! The descriptors are laid out once as [`Layout`]s. Checking walks the bytes, allocates nothing while
//! they are right, and finds the path of the field only once something is wrong. Source: Protocol
//! Buffers documentation, "Encoding".
//!
//! # Invariants
//! - What passes is decoded by a protobuf decoder without error; the tests hold it against one.
//! - Work is in proportion to the bytes; nesting is at most [`DEPTH_MAX`].

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions,
};

use crate::fault::{Fault, Invalid};
use crate::limits::{DEPTH_MAX, MESSAGES_MAX};
use crate::wire::{Reader, Tag, Wire};

/// A message's descriptor, laid out for checking.
#[derive(Debug)]
pub(crate) struct ProtoSchema {
    descriptor: MessageDescriptor,
    layouts: Vec<Layout>,
    strict: bool,
}

#[derive(Debug)]
struct Layout {
    name: String,
    /// By number; a number is a field's or an extension's, never both.
    fields: Vec<Field>,
    /// Numbers of required fields.
    required: Vec<u32>,
}

#[derive(Debug)]
struct Field {
    number: u32,
    name: String,
    shape: Shape,
    repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    Message(usize),
    Group(usize),
}

impl Shape {
    fn wire(self) -> Wire {
        match self {
            Shape::Varint => Wire::Varint,
            Shape::Fixed64 => Wire::Fixed64,
            Shape::Fixed32 => Wire::Fixed32,
            Shape::Text | Shape::Bytes | Shape::Message(_) => Wire::Length,
            Shape::Group(_) => Wire::GroupStart,
        }
    }
}

impl ProtoSchema {
    /// Finds the message in the descriptor set and lays out what it reaches.
    pub(crate) fn compile(set: &[u8], message: &str, strict: bool) -> Result<Self, Invalid> {
        let pool = DescriptorPool::decode(set)
            .map_err(|error| Invalid::new("spec.descriptor", format!("is not a whole descriptor set: {error}")))?;
        let Some(descriptor) = pool.get_message_by_name(message.trim_start_matches('.')) else {
            let known: Vec<String> = pool.all_messages().take(8).map(|each| each.full_name().to_owned()).collect();
            let why = format!("'{message}' is not in the descriptor set, which has {}", known.join(", "));
            return Err(Invalid::new("spec.message", why));
        };
        Ok(ProtoSchema { layouts: lay_out(&descriptor)?, descriptor, strict })
    }

    /// Holds bytes of the wire format against the message.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.walk(&mut Reader::new(bytes), 0, None, 0)
    }

    /// Holds the message's canonical JSON against it.
    pub(crate) fn check_json(&self, json: &[u8]) -> Result<(), Fault> {
        let options = DeserializeOptions::new().deny_unknown_fields(self.strict);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
        let made = DynamicMessage::deserialize_with_options(self.descriptor.clone(), tracked, &options);
        if let Err(error) = made {
            let path = track.path().to_string();
            return Err(Fault::at(if path == "." { "" } else { &path }, error.to_string()));
        }
        reader.end().map_err(|error| Fault::whole(error.to_string()))
    }

    /// The canonical JSON of bytes of the wire format.
    pub(crate) fn to_json(&self, bytes: &[u8]) -> Result<serde_json::Value, Fault> {
        self.check(bytes)?;
        let message =
            DynamicMessage::decode(self.descriptor.clone(), bytes).map_err(|error| Fault::whole(error.to_string()))?;
        let options = SerializeOptions::new().skip_default_fields(true).use_proto_field_name(true);
        let json = message.serialize_with_options(serde_json::value::Serializer, &options);
        json.map_err(|error| Fault::whole(error.to_string()))
    }

    /// Walks one message, to the reader's end, or to the end of the group `group`.
    fn walk(&self, reader: &mut Reader<'_>, layout: usize, group: Option<u32>, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::whole(format!("is nested deeper than {DEPTH_MAX} messages")));
        }
        let Some(layout) = self.layouts.get(layout) else {
            return Err(Fault::whole("has no layout"));
        };
        let begin = *reader;
        let mut seen = 0_u64;
        while let Some(tag) = reader.tag()? {
            if tag.wire == Wire::GroupEnd {
                return if group == Some(tag.number) { layout.complete(seen) } else { Err(stray_end(tag)) };
            }
            let before = *reader;
            match layout.field(tag.number) {
                Some(field) => {
                    self.value(reader, field, tag.wire, depth)
                        .map_err(|fault| fault.within(&field.step(begin, before)))?;
                    seen |= layout.required_bit(tag.number);
                }
                None if self.strict => {
                    return Err(Fault::whole(format!("{} has no field {}", layout.name, tag.number)));
                }
                None => reader.skip(tag, depth)?,
            }
        }
        match group {
            Some(number) => Err(Fault::whole(format!("the group {number} does not end"))),
            None => layout.complete(seen),
        }
    }

    fn value(&self, reader: &mut Reader<'_>, field: &Field, wire: Wire, depth: usize) -> Result<(), Fault> {
        let expected = field.shape.wire();
        if wire == expected {
            return self.one(reader, field, depth);
        }
        let packs = matches!(field.shape, Shape::Varint | Shape::Fixed32 | Shape::Fixed64);
        if wire == Wire::Length && field.repeated && packs {
            let mut packed = Reader::new(reader.length()?);
            while !packed.is_empty() {
                self.one(&mut packed, field, depth)?;
            }
            return Ok(());
        }
        Err(Fault::whole(format!("is written as {wire}, where {expected} belongs")))
    }

    fn one(&self, reader: &mut Reader<'_>, field: &Field, depth: usize) -> Result<(), Fault> {
        match field.shape {
            Shape::Varint => reader.varint().map(|_| ()),
            Shape::Fixed64 => reader.take(8).map(|_| ()),
            Shape::Fixed32 => reader.take(4).map(|_| ()),
            Shape::Bytes => reader.length().map(|_| ()),
            Shape::Text => match std::str::from_utf8(reader.length()?) {
                Ok(_) => Ok(()),
                Err(_) => Err(Fault::whole("is not UTF-8")),
            },
            Shape::Message(layout) => self.walk(&mut Reader::new(reader.length()?), layout, None, depth + 1),
            Shape::Group(layout) => self.walk(reader, layout, Some(field.number), depth + 1),
        }
    }
}

fn stray_end(tag: Tag) -> Fault {
    Fault::whole(format!("the group {} ends where it did not begin", tag.number))
}

impl Layout {
    fn field(&self, number: u32) -> Option<&Field> {
        // Most messages number their fields from 1 without gaps.
        let guess = self.fields.get((number as usize).wrapping_sub(1)).filter(|field| field.number == number);
        guess.or_else(|| {
            let place = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
            self.fields.get(place)
        })
    }

    /// The bit of a required field. Beyond 64 of them, the rest is not asked for.
    fn required_bit(&self, number: u32) -> u64 {
        let place = self.required.iter().take(64).position(|each| *each == number);
        place.map_or(0, |place| 1 << place)
    }

    fn complete(&self, seen: u64) -> Result<(), Fault> {
        let missing = |(place, _): &(usize, &u32)| seen & (1 << place) == 0;
        match self.required.iter().take(64).enumerate().find(missing) {
            None => Ok(()),
            Some((_, number)) => {
                let name = self.field(*number).map_or("", |field| &field.name);
                Err(Fault::at(name, "is required and missing"))
            }
        }
    }
}

impl Field {
    /// How a path names this occurrence. Counts those before it: done only once something is wrong.
    fn step(&self, begin: Reader<'_>, end: Reader<'_>) -> String {
        if !self.repeated {
            return self.name.clone();
        }
        let (mut reader, mut index) = (begin, 0_usize);
        while let Ok(Some(tag)) = reader.tag() {
            if reader.rest() <= end.rest() {
                break;
            }
            index += usize::from(tag.number == self.number);
            if reader.skip(tag, 0).is_err() {
                break;
            }
        }
        format!("{}[{index}]", self.name)
    }
}

/// The layouts of all messages that one reaches, its own first.
fn lay_out(root: &MessageDescriptor) -> Result<Vec<Layout>, Invalid> {
    let mut places: HashMap<String, usize> = HashMap::from([(root.full_name().to_owned(), 0)]);
    let mut found = vec![root.clone()];
    let mut layouts = Vec::new();
    while let Some(message) = found.get(layouts.len()).cloned() {
        let mut place = |message: &MessageDescriptor| {
            *places.entry(message.full_name().to_owned()).or_insert_with(|| {
                found.push(message.clone());
                found.len() - 1
            })
        };
        let mut fields: Vec<Field> = Vec::new();
        let mut required = Vec::new();
        for field in message.fields() {
            let shape = shape(&field.kind(), field.is_group(), &mut place);
            let repeated = field.cardinality() == Cardinality::Repeated;
            if field.cardinality() == Cardinality::Required {
                required.push(field.number());
            }
            fields.push(Field { number: field.number(), name: field.name().to_owned(), shape, repeated });
        }
        for field in message.extensions() {
            let shape = shape(&field.kind(), field.is_group(), &mut place);
            let name = format!("[{}]", field.full_name());
            let repeated = field.cardinality() == Cardinality::Repeated;
            fields.push(Field { number: field.number(), name, shape, repeated });
        }
        fields.sort_by_key(|field| field.number);
        layouts.push(Layout { name: message.full_name().to_owned(), fields, required });
        if found.len() > MESSAGES_MAX {
            return Err(Invalid::new("spec.message", format!("reaches more than {MESSAGES_MAX} messages")));
        }
    }
    Ok(layouts)
}

fn shape(kind: &Kind, group: bool, place: &mut impl FnMut(&MessageDescriptor) -> usize) -> Shape {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Shape::Fixed64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Shape::Fixed32,
        Kind::String => Shape::Text,
        Kind::Bytes => Shape::Bytes,
        Kind::Message(message) if group => Shape::Group(place(message)),
        Kind::Message(message) => Shape::Message(place(message)),
        _ => Shape::Varint,
    }
}
