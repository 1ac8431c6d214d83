//! Any bytes are judged without a panic, and as a protobuf decoder judges them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod cloud;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::{descriptor, json_schema, message, protobuf};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use schema::{Resource, Schema};
use serde_json::{Value, json};

fn compile(resource: &Value) -> Schema {
    Schema::compile(Resource::from_json(resource.to_string().as_bytes()).unwrap()).unwrap()
}

static SCHEMAS: LazyLock<[Schema; 4]> = LazyLock::new(|| {
    [
        compile(&protobuf("cloud.ClusterMetrics", json!({"acceptJson": true}))),
        compile(&protobuf("cloud.Notification", json!({"strict": true}))),
        compile(&protobuf("shapes.All", json!({}))),
        compile(&json_schema()),
    ]
});

static DECODERS: LazyLock<[MessageDescriptor; 3]> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(STANDARD.decode(descriptor()).unwrap().as_slice()).unwrap();
    ["cloud.ClusterMetrics", "cloud.Notification", "shapes.All"].map(|name| pool.get_message_by_name(name).unwrap())
});

fn judge(bytes: &[u8]) {
    for schema in SCHEMAS.iter() {
        let message = message("a", bytes);
        if let Err(fault) = schema.check(&message) {
            assert!(fault.field.chars().count() <= 201 && fault.why.chars().count() <= 301);
            assert!(!fault.to_string().contains(char::is_control));
        }
    }
    for (schema, decoder) in SCHEMAS.iter().zip(DECODERS.iter()) {
        let decoded = DynamicMessage::decode(decoder.clone(), bytes);
        match schema.check(&message("a", bytes)) {
            Ok(()) => {
                decoded.unwrap();
                schema.decode(&message("a", bytes)).unwrap();
            }
            Err(fault) if fault.why.contains("has no field") || fault.why.contains("is required") => {}
            // The decoder takes an entry of a map for a length and bytes, whatever it is written as.
            Err(fault) if fault.field.contains("children[") && fault.why.contains("is written as") => {}
            Err(fault) => assert!(decoded.is_err(), "{fault}: {bytes:02x?}"),
        }
    }
}

#[test]
fn an_entry_of_a_map_that_is_written_as_a_number_is_refused() {
    let bytes = [0x81, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0x38, 0];
    let fault = SCHEMAS[2].check(&message("a", &bytes)).unwrap_err();
    assert!(fault.why.contains("is written as a varint"), "{fault}");
    judge(&bytes);
}

#[test]
fn any_bytes_are_judged() {
    bolero::check!().for_each(|bytes: &[u8]| judge(bytes));
}

#[test]
fn fields_in_any_order_are_judged() {
    let fields = bolero::produce::<Vec<(u8, Vec<u8>)>>();
    bolero::check!().with_generator(fields).for_each(|fields| {
        let mut bytes = Vec::new();
        for (tag, value) in fields {
            bytes.push(tag & 0x7f);
            if tag & 7 == 2 {
                bytes.push(u8::try_from(value.len() & 0x7f).unwrap());
            }
            bytes.extend(value.iter().take(127));
        }
        judge(&bytes);
    });
}
