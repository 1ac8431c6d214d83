//! `/v1/mesh`: the nodes, links and routes of the mesh, who can reach whom and why, and what a change of that
//! would do.
//!
//! A controller that leads answers for the whole mesh; any other node for what it was told itself, and says so
//! (`scope`: `mesh` or `node`). Asking needs a token that may administer, or that may read everything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use door::{NotAllowed, Verb};
use event::{Subject, TraceId};
use serde_json::Value;

use crate::limits::DECLARATION_BYTES_MAX;
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json, subject};

/// Longest name that can be asked about, in bytes: `domain/node`, each a DNS label.
const NAME_BYTES_MAX: usize = 127;

/// What is asked of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshQuestion {
    /// The nodes: who they are, whether they are connected, which plan they have.
    Nodes,
    /// The links: between whom, of which segments, in which state.
    Links,
    /// Where subjects go: what is wanted where.
    Routes(RoutesWanted),
    /// The domains: their nodes, and the segments that they are in.
    Domains,
    /// The segments: their domains and links.
    Segments,
    /// Domains and edges of every segment, or of one.
    Graph(Option<String>),
    /// Streams that are kept in other domains, and how far.
    Mirrors,
    /// The way of a message of the subject that enters at a node; `None`: at this one.
    Trace {
        /// The subject.
        subject: Subject,
        /// `domain/node`, or the name of a node of this domain.
        from: Option<String>,
    },
    /// What nodes noted of the messages of a trace, which their publisher asked for.
    Traced(TraceId),
    /// Publishes an empty message, for who listens now, and tells where it would go and where it went.
    Probe {
        /// The subject: the caller may publish to it.
        subject: Subject,
        /// As of [`MeshQuestion::Trace`].
        from: Option<String>,
    },
    /// Whether and why one domain can reach another.
    Explain {
        /// A domain.
        from: String,
        /// Another.
        to: String,
    },
    /// Who could reach whom before and after these resources were applied, or `without` them deleted.
    Check {
        /// Resources as JSON.
        resources: Bytes,
        /// Segments by name that would be gone.
        without: Vec<String>,
    },
}

/// What is asked of routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutesWanted {
    /// Only where messages of this subject go.
    pub subject: Option<Subject>,
    /// As this node knows it, as `domain/node` or the name of a node of this domain.
    pub at: Option<String>,
    /// At most so many patterns of each node or domain.
    pub limit: Option<usize>,
}

/// What a question gives, when it is answered.
pub type MeshAnswer<'a> = Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send + 'a>>;

/// Who looks after the mesh.
pub trait Mesh: Send + Sync {
    /// Answers.
    fn ask(&self, question: MeshQuestion) -> MeshAnswer<'_>;

    /// Why the node's part in the mesh is not well; `None`: it is.
    fn ailment(&self) -> Option<String>;
}

/// No mesh.
#[derive(Debug, Default)]
pub struct NoMesh;

impl Mesh for NoMesh {
    fn ask(&self, _question: MeshQuestion) -> MeshAnswer<'_> {
        Box::pin(std::future::ready(Err(no_mesh())))
    }

    fn ailment(&self) -> Option<String> {
        None
    }
}

/// This node is in no mesh.
pub fn no_mesh() -> Problem {
    let detail = "this node is in no mesh; start it with --controller, or with --join ADDRESS";
    Problem::new(StatusCode::NOT_FOUND, "no-mesh", "This node is in no mesh", detail)
}

/// Something that was asked about is not there.
pub fn no_such_in_mesh(what: &str, name: &str) -> Problem {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    let detail = format!("there is no {what} '{shown}'");
    Problem::new(StatusCode::NOT_FOUND, "not-in-mesh", "There is no such thing in the mesh", detail)
        .with("hint", "see what there is: tidings mesh domains; tidings mesh nodes; tidings segment ls")
}

/// Who could not be asked just now.
pub fn mesh_away(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "mesh-away", "It cannot be asked just now", detail)
}

fn may_ask(call: &Call) -> Result<(), Problem> {
    if call.who.is_admin() || call.who.reads_everything() {
        return Ok(());
    }
    Err(NotAllowed { who: Arc::clone(call.who.name()), verb: Verb::Read, what: "the mesh".to_owned() }.into())
}

async fn answer(door: &Shared, question: MeshQuestion) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &door.options.mesh.ask(question).await?))
}

async fn plain(door: &Shared, call: Call, question: MeshQuestion) -> Result<Response, Problem> {
    call.no_query()?;
    may_ask(&call)?;
    answer(door, question).await
}

/// A name that was asked about.
fn name(parameter: &str, text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Problem::query(parameter, "must be a name of 1 to 127 bytes"));
    }
    Ok(text.to_owned())
}

/// The nodes of the mesh.
#[utoipa::path(get, path = "/v1/mesh/nodes", tag = "mesh",
    responses((status = 200, description = "The nodes, by domain and name", body = Object)))]
pub async fn get_nodes(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    plain(&door, call, MeshQuestion::Nodes).await
}

/// The links of the mesh.
#[utoipa::path(get, path = "/v1/mesh/links", tag = "mesh",
    responses((status = 200, description = "The links, by their ends", body = Object)))]
pub async fn get_links(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    plain(&door, call, MeshQuestion::Links).await
}

/// Where subjects go.
#[utoipa::path(get, path = "/v1/mesh/routes", tag = "mesh",
    params(
        ("subject" = Option<String>, Query, description = "Only where messages of this subject go"),
        ("at" = Option<String>, Query, description = "As this node knows it: domain/node"),
        ("limit" = Option<u64>, Query, description = "Patterns of each node or domain, at most; 100"),
    ),
    responses((status = 200, description = "Which domains and nodes want what", body = Object)))]
pub async fn get_routes(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["subject", "at", "limit"], &[])?;
    may_ask(&call)?;
    let subject = query.text("subject").map(subject).transpose()?;
    let at = query.text("at").map(|text| name("at", text)).transpose()?;
    let number = |text: &str| text.parse().map_err(|_| Problem::query("limit", "must be a number"));
    let limit = query.text("limit").map(number).transpose()?;
    answer(&door, MeshQuestion::Routes(RoutesWanted { subject, at, limit })).await
}

/// The domains of the mesh.
#[utoipa::path(get, path = "/v1/mesh/domains", tag = "mesh",
    responses((status = 200, description = "The domains, by name", body = Object)))]
pub async fn get_domains(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    plain(&door, call, MeshQuestion::Domains).await
}

/// The segments of the mesh.
#[utoipa::path(get, path = "/v1/mesh/segments", tag = "mesh",
    responses((status = 200, description = "The segments, by name", body = Object)))]
pub async fn get_segments(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    plain(&door, call, MeshQuestion::Segments).await
}

/// Streams that are kept in other domains.
#[utoipa::path(get, path = "/v1/mesh/mirrors", tag = "mesh",
    responses((status = 200, description = "The mirrors, and how far each domain has them", body = Object)))]
pub async fn get_mirrors(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    plain(&door, call, MeshQuestion::Mirrors).await
}

/// Domains and edges.
#[utoipa::path(get, path = "/v1/mesh/graph", tag = "mesh",
    params(("segment" = Option<String>, Query, description = "Only this segment")),
    responses((status = 200, description = "Domains, and the edges of each segment", body = Object)))]
pub async fn get_graph(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["segment"], &[])?;
    may_ask(&call)?;
    let segment = query.text("segment").map(|text| name("segment", text)).transpose()?;
    answer(&door, MeshQuestion::Graph(segment)).await
}

/// The way of a message: the one that a message of a subject would go, or what is noted of those of a trace.
#[utoipa::path(get, path = "/v1/mesh/trace", operation_id = "get_mesh_trace", tag = "mesh",
    params(
        ("subject" = Option<String>, Query, description = "The subject of a message"),
        ("from" = Option<String>, Query, description = "The node at which it enters, as domain/node; else this one"),
        ("id" = Option<String>, Query, description = "A trace that a publisher asked for, by the header `traceparent`"),
    ),
    responses(
        (status = 200, description = "Where it goes, or went, hop by hop", body = Object),
        (status = 404, description = "There is no such node or trace", content_type = "application/problem+json"),
        (status = 503, description = "The node cannot be asked", content_type = "application/problem+json"),
    ))]
pub async fn get_trace(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["subject", "from", "id"], &[])?;
    may_ask(&call)?;
    if let Some(id) = query.text("id") {
        if query.text("subject").or(query.text("from")).is_some() {
            return Err(Problem::query("id", "goes without 'subject' and 'from'"));
        }
        let what = "must be 32 hexadecimal digits in small letters, not all zero";
        let id = TraceId::parse(id).ok_or_else(|| Problem::query("id", what))?;
        return answer(&door, MeshQuestion::Traced(id)).await;
    }
    let subject = subject(query.text("subject").ok_or_else(|| Problem::query("subject", "is required, or 'id'"))?)?;
    let from = query.text("from").map(|text| name("from", text)).transpose()?;
    answer(&door, MeshQuestion::Trace { subject, from }).await
}

/// Publishes an empty message at a node, for who listens now, and tells where it would go and where it went. No stream
/// records it. At another node than this one that needs a token that may administer.
#[utoipa::path(post, path = "/v1/mesh/trace", operation_id = "post_mesh_trace", tag = "mesh",
    params(
        ("subject" = String, Query, description = "The subject of the message"),
        ("from" = Option<String>, Query, description = "The node at which it enters, as domain/node; else this one"),
    ),
    responses(
        (status = 200, description = "Where it would go and where it went, hop by hop", body = Object),
        (status = 403, description = "The token may not publish there", content_type = "application/problem+json"),
        (status = 404, description = "There is no such node", content_type = "application/problem+json"),
        (status = 503, description = "The node cannot be asked", content_type = "application/problem+json"),
    ))]
pub async fn post_trace(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["subject", "from"], &[])?;
    may_ask(&call)?;
    let subject = subject(query.text("subject").ok_or_else(|| Problem::query("subject", "is required"))?)?;
    door.port.may_publish(&call.who, &subject)?;
    let from = query.text("from").map(|text| name("from", text)).transpose()?;
    if from.is_some() && !call.who.is_admin() {
        // What a token may publish is said for this node alone.
        let (who, what) = (Arc::clone(call.who.name()), "other nodes".to_owned());
        return Err(NotAllowed { who, verb: Verb::Administer, what }.into());
    }
    answer(&door, MeshQuestion::Probe { subject, from }).await
}

/// Whether and why one domain can reach another.
#[utoipa::path(get, path = "/v1/mesh/explain", tag = "mesh",
    params(
        ("from" = String, Query, description = "A domain"),
        ("to" = String, Query, description = "Another"),
    ),
    responses(
        (status = 200, description = "The paths, or why there is none", body = Object),
        (status = 404, description = "There is no such domain", content_type = "application/problem+json"),
    ))]
pub async fn get_explain(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["from", "to"], &[])?;
    may_ask(&call)?;
    let wanted = |parameter: &'static str| {
        let text = query.text(parameter).ok_or_else(|| Problem::query(parameter, "is required"))?;
        name(parameter, text)
    };
    let (from, to) = (wanted("from")?, wanted("to")?);
    answer(&door, MeshQuestion::Explain { from, to }).await
}

/// Who could reach whom, before and after a change. Nothing is changed.
#[utoipa::path(post, path = "/v1/mesh/segments/check", tag = "mesh",
    params(("without" = Option<Vec<String>>, Query, description = "Segments that would be gone")),
    request_body = Object,
    responses(
        (status = 200, description = "What is gained and lost, each with a path that shows it", body = Object),
        (status = 400, description = "A faulty field, named", content_type = "application/problem+json"),
    ))]
pub async fn post_check(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    may_ask(&call)?;
    let query = call.query(&[], &["without"])?;
    let without = query.texts("without").map(|text| name("without", text)).collect::<Result<Vec<_>, _>>()?;
    let resources = call.body(DECLARATION_BYTES_MAX).await?;
    answer(&door, MeshQuestion::Check { resources, without }).await
}
