//! The HTTP door: the CloudEvents intake, streams and consumers as JSON, server-sent events.
//!
//! - [`codec`]: bytes to requests and back, pure, fuzzed;
//! - [`session`]: requests to the verbs of [`door::Port`], and its answers to responses;
//! - [`serve`]: the router, the counters, and the listening.
//!
//! Errors are RFC 9457 problem JSON ([`problem`]); the API describes itself at `/openapi.json`.
//!
//! # Invariants
//! - Payloads and event data are never parsed and printed again: what comes out is what went in.
//! - Nothing here queues without a bound: bodies, connections, pages and live buffers have limits
//!   ([`limits`]), and beyond them the client is told to wait.
//! - What a client may do is the port's to judge, never this crate's.

pub mod codec;
pub mod limits;
pub mod problem;
pub mod serve;
pub mod session;

pub use serve::{Metrics, MetricsText, NoMetrics, Options, openapi, router, serve};
pub use session::federation::{
    Ask, Federation, NoFederation, Push, PushAnswer, Telling, Told, Which, captured, failed_run, no_such,
};
pub use session::hub::{Hub, NoHub};
pub use session::mesh::{Mesh, MeshAnswer, MeshQuestion, NoMesh, RoutesWanted, mesh_away, no_mesh, no_such_in_mesh};
pub use session::resources::{
    Answer as ResourceAnswer, Faulty, Named, NoResources, Resources, ambiguous, faulty, no_resource,
};
pub use session::schemas::{Answer as SchemaAnswer, NoSchemas, SchemaView, Schemas, no_schema};
