//! What bounds schemas and the work of checking, with units and reasons.

/// Schemas in force at most: each is compiled and held in memory.
pub const SCHEMAS_MAX: usize = 1_000;

/// Patterns of one schema at most.
pub const SUBJECTS_MAX: usize = 64;

/// Longest name of a schema, in bytes: it is a token of a subject and a header's value.
pub const NAME_BYTES_MAX: usize = 64;

/// Largest resource as JSON, in bytes: it is recorded as one event, which every engine takes.
pub const RESOURCE_BYTES_MAX: usize = 960 * 1024;

/// Largest descriptor set, in bytes, before base64 makes it a third longer.
pub const DESCRIPTOR_BYTES_MAX: usize = 640 * 1024;

/// Message types that one schema may reach at most: each is laid out for checking.
pub const MESSAGES_MAX: usize = 5_000;

/// Largest data that is checked, in bytes. Checking happens on the publisher's way, and a tree of JSON
/// takes many times its text in memory.
pub const CHECKED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deepest nesting of protobuf messages: what protobuf's own decoders take.
pub const DEPTH_MAX: usize = 100;

/// Memory of one compiled regular expression at most, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Memory that matching one regular expression may use, in bytes.
pub const PATTERN_CACHE_BYTES_MAX: usize = 1024 * 1024;

/// Longest path of a field in a fault, in characters.
pub const FIELD_CHARS_MAX: usize = 200;

/// Longest reason in a fault, in characters: it travels in a header.
pub const WHY_CHARS_MAX: usize = 300;

const _: () = assert!(DESCRIPTOR_BYTES_MAX / 3 * 4 < RESOURCE_BYTES_MAX);
const _: () = assert!(RESOURCE_BYTES_MAX < event::limits::PAYLOAD_BYTES_DEFAULT);
