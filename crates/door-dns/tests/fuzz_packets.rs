//! Any bytes, as anybody may send them, are answered or dropped without panic, in no more bytes than may be.

use std::sync::Arc;

use catalog::{Health, Node, Service};
use door_dns::{Carrier, Found, Options, Want, Zone, answer};
use hickory_proto::op::Message;

fn found(want: &Want) -> Found {
    match want {
        Want::Service { .. } => {
            let instance = |number: u8| {
                let node = Node { node: format!("n{number}").into(), address: "192.0.2.1".into(), ..Node::default() };
                let address: Arc<str> = if number.is_multiple_of(5) { "db.service.consul" } else { "10.0.0.1" }.into();
                let service = Service { address, port: i64::from(number), ..Service::default() };
                Arc::new(Health { node: node.into(), service: service.into(), checks: Vec::new(), position: 1 })
            };
            Found::Service { instances: (1..200).map(instance).collect(), more: true }
        }
        Want::Node(_) => Found::Node(None),
        Want::Owners(_) => Found::Owners(Vec::new()),
    }
}

#[test]
fn any_packets_are_answered_or_dropped() {
    let zone = Zone::new(&Options::default(), "dc1", "n1").unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        for (carrier, size) in [(Carrier::Udp, 65_467), (Carrier::Tcp, 65_535)] {
            let Some(answer) = answer(bytes, carrier, &zone, 1, 1, found) else { continue };
            assert!(answer.len() <= size && answer.get(..2) == bytes.get(..2));
            assert!(answer.get(2).is_some_and(|flags| flags & 0x80 != 0));
            Message::from_vec(&answer).unwrap();
        }
    });
}

#[test]
fn any_names_are_answered_or_dropped() {
    let zone = Zone::new(&Options::default(), "dc1", "n1").unwrap();
    bolero::check!().with_type::<(Vec<Vec<u8>>, u16, u8)>().for_each(|(labels, kind, suffix)| {
        let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let below: &[&[u8]] = match suffix % 4 {
            0 => &[b"service", b"consul"],
            1 => &[b"node", b"dc1", b"CONSUL"],
            2 => &[b"in-addr", b"arpa"],
            _ => &[],
        };
        for label in labels.iter().take(8).map(Vec::as_slice).chain(below.iter().copied()) {
            let label = label.get(..label.len().min(63)).unwrap_or_default();
            if !label.is_empty() {
                packet.push(u8::try_from(label.len()).unwrap());
                packet.extend(label);
            }
        }
        packet.push(0);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        let answered = answer(&packet, Carrier::Udp, &zone, 1, 1, found).unwrap();
        assert!(answered.len() <= 512);
        Message::from_vec(&answered).unwrap();
    });
}
