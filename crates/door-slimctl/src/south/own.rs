//! What a tool asks of this node on a control channel of its own, without registering: its routes and connections.

use mesh::names::NodeId;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Nodes, end};
use crate::board::Fault;
use crate::grpc::{Code, Incoming, Part, Status, frame};
use crate::limits::ASK_DEADLINE;
use crate::north::{self, status};
use crate::parts::parts;
use crate::proto::control::{Ack, Connections, ControlMessage, Payload, Routes};

/// Answers the first message, and those that follow.
pub(super) async fn answer(
    nodes: &Nodes,
    first: ControlMessage,
    body: &mut Incoming,
    out: &mpsc::Sender<Part>,
    presented: Option<&str>,
) {
    let mut next = Some(first);
    while let Some(message) = next {
        if let Err(fault) = nodes.board.admit(presented, false) {
            return end(out, status(&fault));
        }
        match replies(nodes, message).await {
            Ok(replies) => {
                for reply in replies {
                    let Ok(()) = out.send(Part::Message(frame(&reply))).await else { return };
                }
            }
            Err(fault) => return end(out, status(&fault)),
        }
        next = match timeout(ASK_DEADLINE, body.next::<ControlMessage>()).await {
            Ok(Some(Ok(message))) => Some(message),
            Ok(Some(Err(status))) => return end(out, status),
            Ok(None) | Err(_) => None,
        };
    }
    end(out, Status::new(Code::Ok, ""));
}

async fn replies(nodes: &Nodes, message: ControlMessage) -> Result<Vec<ControlMessage>, Fault> {
    let (id, own): (String, NodeId) = (message.message_id, nodes.board.own());
    let payloads: Vec<Payload> = match message.payload {
        Some(Payload::RouteList(_)) => {
            let entries = north::node_routes(nodes, &own).await?;
            let parts = parts(entries).into_iter();
            parts
                .map(|(entries, done)| Routes { original_message_id: id.clone(), entries, done })
                .map(Payload::Routes)
                .collect()
        }
        Some(Payload::ConnectionList(_)) => {
            let entries = north::node_connections(nodes, &own).await?;
            let parts = parts(entries).into_iter();
            parts
                .map(|(entries, done)| Connections { original_message_id: id.clone(), entries, done })
                .map(Payload::Connections)
                .collect()
        }
        _ => {
            let messages = vec![String::from("this node takes commands from its own controller alone")];
            vec![Payload::Ack(Ack { original_message_id: id.clone(), success: false, messages })]
        }
    };
    Ok(payloads.into_iter().map(|payload| ControlMessage::new(id.clone(), payload)).collect())
}
