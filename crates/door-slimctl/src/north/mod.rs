//! What operators ask of the controller and change: the original's command line works against it.
//!
//! Names are shown by their texts, where a node told them.

mod lists;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Response;
use mesh::names::{Name, NodeId};
use mesh::segment::Edit;
use mesh::topology::SegmentText;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::board::Fault;
use crate::grpc::{Call, Calls, Code, Incoming, Reply, Status};
use crate::limits::{ASK_DEADLINE, LIST_DEADLINE};
use crate::proto::control::{Connections, Empty, Entry, RouteEntry, Routes};
use crate::proto::plane::{AddDomain, Between, Named, SERVICE, TopologyLink, Warnings};
use crate::south::{Asked, Nodes};

/// Answers operators.
pub(crate) struct Desk {
    nodes: Arc<Nodes>,
}

impl Desk {
    pub(crate) fn new(nodes: Arc<Nodes>) -> Self {
        Desk { nodes }
    }
}

/// How a fault is told.
pub(crate) fn status(fault: &Fault) -> Status {
    let code = match fault {
        Fault::Denied(_) => Code::PermissionDenied,
        Fault::NotFound(_) => Code::NotFound,
        Fault::Exists(_) => Code::AlreadyExists,
        Fault::Precondition(_) => Code::FailedPrecondition,
        Fault::Invalid(_) => Code::InvalidArgument,
        Fault::Unavailable(_) => Code::Unavailable,
    };
    Status::new(code, fault.to_string())
}

impl Calls for Desk {
    fn answer(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Response<Reply>> + Send>> {
        Box::pin(async move { self.call(call).await.unwrap_or_else(Reply::refused) })
    }
}

impl Desk {
    async fn call(&self, call: Call) -> Result<Response<Reply>, Status> {
        let Call { path, presented, mut body, .. } = call;
        let unknown = || Status::new(Code::Unimplemented, "unknown service or method");
        let method = path.strip_prefix(SERVICE).ok_or_else(unknown)?;
        let change = method.starts_with("Add") || method.starts_with("Remove");
        let fault = |fault: Fault| status(&fault);
        let who = self.nodes.board.admit(presented.as_deref(), change).map_err(fault)?;
        let reply = match method {
            "ListNodes" => Reply::all(&lists::nodes(&self.nodes, &self.view().await?)),
            "ListRoutes" => {
                let asked = request(&mut body).await?;
                Reply::all(&lists::routes(&self.nodes, &self.view().await?, &asked))
            }
            "ListLinks" => {
                let asked: Between = request(&mut body).await?;
                Reply::all(&lists::links(&self.view().await?, &asked))
            }
            "ListSegments" => Reply::all(&[lists::segments(&self.view().await?)]),
            "ListDomains" => Reply::all(&[lists::domains(&self.view().await?)]),
            "ListNodeRoutes" => {
                let entries = node_routes(&self.nodes, &self.node(&mut body).await?).await.map_err(fault)?;
                Reply::all(&[Routes { original_message_id: String::new(), entries, done: true }])
            }
            "ListConnections" => {
                let entries = node_connections(&self.nodes, &self.node(&mut body).await?).await.map_err(fault)?;
                Reply::all(&[Connections { original_message_id: String::new(), entries, done: true }])
            }
            _ if change => self.change(who, method, &mut body).await.map_err(fault)?,
            _ => return Err(unknown()),
        };
        Ok(reply)
    }

    /// The node that is asked for. `domain/node`, as listings show it.
    async fn node(&self, body: &mut Incoming) -> Result<NodeId, Status> {
        let asked: Named = request(body).await?;
        let node = NodeId::parse(&asked.name);
        let missing = || Status::new(Code::NotFound, format!("there is no node {}", asked.name));
        let node = node.map_err(|_| missing())?;
        let known = self.view().await?.status.nodes.iter().any(|view| view.id == node);
        if known { Ok(node) } else { Err(missing()) }
    }

    async fn view(&self) -> Result<crate::board::View, Status> {
        self.nodes.board.view().await.map_err(|fault| status(&fault))
    }

    async fn change(&self, who: Arc<str>, method: &str, body: &mut Incoming) -> Result<Response<Reply>, Fault> {
        let board = &self.nodes.board;
        let done = || Ok(Reply::all(&[Empty {}]));
        match method {
            "AddSegment" => {
                let name = named(asked(body).await?)?;
                let segment = SegmentText { name, links: Vec::new() };
                board.edit(who, Edit::AddSegment(segment)).await?;
                done()
            }
            "RemoveSegment" => {
                board.edit(who, Edit::RemoveSegment(named(asked(body).await?)?)).await?;
                done()
            }
            "AddTopologyLink" => {
                let (segment, domain, neighbor) = link(asked(body).await?)?;
                let warnings = board.edit(who, Edit::AddLink { segment, domain, neighbor, weight: 1 }).await?;
                Ok(Reply::all(&[Warnings { warnings }]))
            }
            "RemoveTopologyLink" => {
                let (segment, domain, neighbor) = link(asked(body).await?)?;
                board.edit(who, Edit::RemoveLink { segment, domain, neighbor }).await?;
                done()
            }
            "AddDomain" => {
                let AddDomain { domain_name, secret } = asked(body).await?;
                board.add_domain(who, domain(&domain_name)?, secret).await?;
                done()
            }
            "RemoveDomain" => {
                let name = domain(&asked::<Named>(body).await?.name)?;
                board.remove_domain(who, name).await?;
                done()
            }
            _ => Err(Fault::Invalid(format!("there is no method {method}"))),
        }
    }
}

/// The one message of a call.
async fn request<M: Message + Default>(body: &mut Incoming) -> Result<M, Status> {
    match timeout(ASK_DEADLINE, body.next()).await {
        Ok(Some(message)) => message,
        Ok(None) => Err(Status::new(Code::InvalidArgument, "the call has no message")),
        Err(_) => Err(Status::new(Code::InvalidArgument, "the call took too long")),
    }
}

async fn asked<M: Message + Default>(body: &mut Incoming) -> Result<M, Fault> {
    request(body).await.map_err(|status| Fault::Invalid(status.text))
}

fn named(asked: Named) -> Result<String, Fault> {
    match asked.name.is_empty() {
        true => Err(Fault::Invalid(String::from("the name is empty"))),
        false => Ok(asked.name),
    }
}

fn domain(text: &str) -> Result<Name, Fault> {
    Name::parse(text).map_err(|error| Fault::Invalid(format!("'{text}' is no name of a domain: {error}")))
}

fn link(asked: TopologyLink) -> Result<(Option<String>, String, String), Fault> {
    let TopologyLink { domain_a, domain_b, segment } = asked;
    if domain_a.is_empty() || domain_b.is_empty() {
        return Err(Fault::Invalid(String::from("a link has two domains")));
    }
    Ok((Some(segment).filter(|segment| !segment.is_empty()), domain_a, domain_b))
}

/// The routes at a node: of an original one what it says, of one of ours what the controller knows.
pub(crate) async fn node_routes(nodes: &Nodes, node: &NodeId) -> Result<Vec<RouteEntry>, Fault> {
    match ask(nodes, node, Asked::Routes).await? {
        Some(entries) => Ok(entries),
        None => Ok(lists::routes_of(nodes, &nodes.board.view().await?, node)),
    }
}

/// The connections of a node: of an original one what it says, of one of ours what the controller knows.
pub(crate) async fn node_connections(nodes: &Nodes, node: &NodeId) -> Result<Vec<Entry>, Fault> {
    let view = nodes.board.view().await?;
    let Some(mut entries) = ask(nodes, node, Asked::Connections).await? else {
        return Ok(lists::connections_of(&view, node));
    };
    lists::name_peers(&view, node, &mut entries);
    Ok(entries)
}

/// Asks an original node; `None`: it is none.
async fn ask<T>(
    nodes: &Nodes,
    node: &NodeId,
    asked: impl FnOnce(oneshot::Sender<Vec<T>>) -> Asked,
) -> Result<Option<Vec<T>>, Fault> {
    let Some(asks) = nodes.asks(node) else { return Ok(None) };
    let (answer, told) = oneshot::channel();
    let busy = |_| Fault::Unavailable(format!("{node} has too many questions to answer"));
    asks.try_send(asked(answer)).map_err(busy)?;
    match timeout(LIST_DEADLINE, told).await {
        Ok(Ok(entries)) => Ok(Some(entries)),
        Ok(Err(_)) => Err(Fault::Unavailable(format!("{node} went before it answered"))),
        Err(_) => Err(Fault::Unavailable(format!("{node} does not answer"))),
    }
}
