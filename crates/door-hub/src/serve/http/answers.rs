//! What tells how the door is: `/status` and `/health`, in the original's shapes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use event::Moment;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Role, as_json};
use crate::codec::go_duration;
use crate::serve::shared::{Connection, Shared};
use crate::session::Kind;

/// What is said of one connection's buffer.
fn registration(shared: &Shared, connection: &Connection) -> Value {
    json!({
        "id": connection.label(),
        "buffer-capacity": shared.options.pending_messages_max,
        "buffer-utilization": connection.out.waiting_messages(),
    })
}

/// `GET /status`.
pub(super) fn status(shared: &Shared, role: Role) -> Answer {
    let (mut hubs, mut messengers, mut repeaters, mut peers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut mapping: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for connection in shared.connections.lock().values() {
        let said = registration(shared, connection);
        match connection.kind {
            Kind::Messenger => {
                for room in &connection.wishes.lock().rooms {
                    mapping.entry(room.to_string()).or_default().push(said.clone());
                }
                messengers.push(said);
            }
            Kind::Repeater => repeaters.push(said),
            Kind::Hub | Kind::Twin => hubs.push(said),
            Kind::Peer | Kind::Target => peers.push(said),
        }
    }
    let ailment = shared.ailment();
    let waiting = shared.port.health().waiting;
    let info = match role {
        Role::Hub => json!({"nexus": {
            "hubs": hubs,
            "messengers": messengers,
            "repeaters": repeaters,
            "messenger-mapping": mapping,
            // Subscriptions wait for nothing here.
            "registration-buffer": {"id": "registration", "buffer-capacity": 0, "buffer-utilization": 0},
            "distribution-buffer": {
                "id": "distribution",
                "buffer-capacity": shared.port.limits().in_flight_bytes_max,
                "buffer-utilization": shared.port.in_flight_bytes(),
            },
        }}),
        Role::Repeater => json!({"repeater": {
            "pumping-stations": peers,
            "http-buffer": {"buffer-cap": crate::limits::TARGET_QUEUE_MESSAGES, "buffer-util": shared.targets.waiting()},
            "hub-status": {
                "hub": &shared.options.node,
                "connection": "in this process",
                "subscription-list": [],
                "state": "good",
                "last-ping-time": Moment::EPOCH.to_string(),
            },
        }}),
    };
    let mut body = json!({
        "bin": "tidings",
        "statuscode": if ailment.is_none() { "healthy" } else { "sick" },
        "version": &shared.options.version,
        "uptime": go_duration(std::time::Duration::from_secs(shared.began.elapsed().as_secs())),
        "info": info,
    });
    if let (Some(why), Some(info)) = (ailment, body.get_mut("info")) {
        info["error"] = json!(why);
        info["journal-waiting"] = json!(waiting);
        return as_json(StatusCode::INTERNAL_SERVER_ERROR, &body);
    }
    as_json(StatusCode::OK, &body)
}

/// `GET /health`: a text in quotes, as the original's, though not its quotation.
pub(super) fn health(shared: &Shared) -> Answer {
    match shared.ailment() {
        None => as_json(StatusCode::OK, &json!("All is well.")),
        Some(why) => as_json(StatusCode::SERVICE_UNAVAILABLE, &json!(why)),
    }
}

fn moment(time: SystemTime) -> Moment {
    Moment::EPOCH.after(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// See [`HubDoor::status`](crate::HubDoor::status).
pub(in crate::serve) fn listing(shared: &Shared) -> Value {
    let connections: Vec<_> = shared.connections.lock().values().cloned().collect();
    let connections: Vec<Value> = connections
        .iter()
        .map(|connection| {
            json!({
                "id": connection.id.to_string(),
                "kind": connection.kind.text(),
                "address": connection.address.to_string(),
                "peer": connection.peer.as_deref(),
                "dialled": connection.dialled,
                "token": &**connection.who.name(),
                "rooms": connection.wishes.lock().rooms,
                "waitingBytes": connection.out.waiting(),
                "waitingEvents": connection.out.waiting_messages(),
                "events": connection.events.load(Ordering::Relaxed),
                "delivered": connection.out.messages.load(Ordering::Relaxed),
                "since": moment(connection.began_at).to_string(),
            })
        })
        .collect();
    json!({
        "node": &shared.options.node,
        "connections": connections,
        "links": shared.links.listing(),
        "targets": shared.targets.listing(),
    })
}
