//! What streams carry: server-sent events, or messages of gRPC, each with its frame.
//!
//! Not tonic: it encodes each message into a buffer of each stream's own, and what is told here is encoded once for
//! all streams. A message's frame is a byte that says that it is not compressed, and its length in four.

use bytes::Bytes;
use prost::Message as _;

use super::message::{CheckServiceNode, Event, EventBatch, Payload, ServiceHealth, ServiceListUpdate};
use super::topic::{Item, Told};
use crate::codec::json::Object;
use crate::codec::shape;
use crate::limits::PIECE_BYTES;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// Server-sent events.
    Events,
    /// gRPC.
    Grpc,
}

/// Bytes, and where what happened at each position begins.
pub(crate) type Marked = (Bytes, Vec<(u64, usize)>);

impl Format {
    /// A snapshot, in pieces, with its end.
    pub(crate) fn snapshot(self, at: u64, items: &[Item]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut out = Vec::new();
        if self == Format::Events {
            // Who is cut before the end has nothing to go on from.
            out.extend_from_slice(b"event: snapshot\nid: 0\ndata: {}\n\n");
        }
        for item in items {
            match self {
                Format::Events => event(&mut out, item, None),
                Format::Grpc => frame(&mut out, &message(at, item)),
            }
            if out.len() >= PIECE_BYTES {
                pieces.push(std::mem::take(&mut out).into());
            }
        }
        match self {
            Format::Events => out.extend_from_slice(format!("event: end\nid: {at}\ndata: {{}}\n\n").as_bytes()),
            Format::Grpc => frame(&mut out, &Event { index: at, payload: Some(Payload::EndOfSnapshot(true)) }),
        }
        pieces.push(out.into());
        pieces
    }

    /// What happened, in its order.
    pub(crate) fn changes(self, told: &[Told]) -> Marked {
        let (mut out, mut marks) = (Vec::new(), Vec::new());
        for group in told.chunk_by(|one, two| one.0 == two.0) {
            let Some((at, _)) = group.first() else { continue };
            marks.push((*at, out.len()));
            match self {
                // The last of a position says it: who is cut before that is told all of it again.
                Format::Events => {
                    for (place, (at, item)) in group.iter().enumerate() {
                        event(&mut out, item, (place + 1 == group.len()).then_some(*at));
                    }
                }
                Format::Grpc => frame(&mut out, &batch(*at, group)),
            }
        }
        (out.into(), marks)
    }

    /// What is told to one reader alone, before a snapshot that it did not ask for.
    pub(crate) fn snapshot_follows(self) -> Bytes {
        let mut out = Vec::new();
        if self == Format::Grpc {
            frame(&mut out, &Event { index: 0, payload: Some(Payload::NewSnapshotToFollow(true)) });
        }
        out.into()
    }

    /// What says that a stream is alive, where that is not the connection's to say.
    pub(crate) fn alive(self) -> Bytes {
        if self == Format::Events { Bytes::from_static(b":\n\n") } else { Bytes::new() }
    }
}

fn event(out: &mut Vec<u8>, item: &Item, at: Option<u64>) {
    let mut data = String::new();
    let name = match item {
        Item::Put(health) => {
            shape::health(&mut data, health);
            "put"
        }
        Item::Removed { service, node, id } => {
            let mut object = Object::new(&mut data);
            object.text("Node", node).text("ServiceID", id).text("ServiceName", service);
            object.end();
            "remove"
        }
        Item::Name { name, there } => {
            let mut object = Object::new(&mut data);
            object.text("ServiceName", name);
            object.end();
            if *there { "put" } else { "remove" }
        }
    };
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    if let Some(at) = at {
        out.extend_from_slice(format!("\nid: {at}").as_bytes());
    }
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn message(index: u64, item: &Item) -> Event {
    let payload = match item {
        Item::Put(health) => {
            let instance = Some(CheckServiceNode::from(&**health));
            Payload::ServiceHealth(Box::new(ServiceHealth { op: 0, instance }))
        }
        Item::Removed { service, node, id } => {
            let instance = Some(CheckServiceNode::named(service, node, id));
            Payload::ServiceHealth(Box::new(ServiceHealth { op: 1, instance }))
        }
        Item::Name { name, there } => {
            Payload::Service(ServiceListUpdate { op: i32::from(!there), name: name.to_string() })
        }
    };
    Event { index, payload: Some(payload) }
}

/// What happened at one position: one message, whatever it is.
fn batch(index: u64, group: &[Told]) -> Event {
    match group {
        [(_, item)] => message(index, item),
        _ => {
            let events = group.iter().map(|(at, item)| message(*at, item)).collect();
            Event { index, payload: Some(Payload::EventBatch(EventBatch { events })) }
        }
    }
}

fn frame(out: &mut Vec<u8>, message: &Event) {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    out.push(0);
    out.extend_from_slice(&length.to_be_bytes());
    message.encode_raw(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn name(name: &str) -> Item {
        Item::Name { name: Arc::from(name), there: true }
    }

    #[test]
    fn the_last_event_of_a_position_says_it() {
        let (bytes, marks) = Format::Events.changes(&[(3, name("a")), (3, name("b")), (5, name("c"))]);
        let text = std::str::from_utf8(&bytes).unwrap();
        let expected = "event: put\ndata: {\"ServiceName\":\"a\"}\n\nevent: put\nid: 3\ndata: {\"ServiceName\":\"b\"}\n\n\
                        event: put\nid: 5\ndata: {\"ServiceName\":\"c\"}\n\n";
        assert_eq!(text, expected);
        assert_eq!(marks.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 5]);
        assert!(text.get(marks[1].1..).unwrap().starts_with("event: put\nid: 5"));
    }

    #[test]
    fn what_shares_a_position_is_one_message() {
        let (bytes, _) = Format::Grpc.changes(&[(3, name("a")), (3, name("b")), (5, name("c"))]);
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let first = Event::decode(&bytes[5..5 + length]).unwrap();
        assert!(matches!(&first.payload, Some(Payload::EventBatch(batch)) if batch.events.len() == 2));
        assert_eq!(first.index, 3);
        let second = Event::decode(&bytes[5 + length + 5..]).unwrap();
        assert!(matches!(&second.payload, Some(Payload::Service(update)) if update.name == "c"));
    }
}
