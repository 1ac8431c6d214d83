//! The router, its outermost layer, and what the host gives it.
//!
//! The outermost layer finds out who asks, counts, and writes problems. It is the only way in, so a
//! route cannot be forgotten by it.

mod browser;
mod listen;
mod meters;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use door::{Port, Views};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use listen::serve;
use meters::Meters;

use crate::problem::Problem;
use crate::session::call::Bodies;
use crate::session::federation::{Federation, NoFederation, is_push};
use crate::session::hub::{Hub, NoHub};
use crate::session::mesh::{Mesh, NoMesh};
use crate::session::resources::{NoResources, Resources};
use crate::session::schemas::{NoSchemas, Schemas};
use crate::session::view_follow::Encodings;
use crate::session::{
    consumers, events, federation, hub, mesh, messages, node, publish, resources, schemas, streams, views,
};

/// Prometheus text, when it has been gathered.
pub type MetricsText<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

/// Where the node's metrics come from, besides the door's own.
pub trait Metrics: Send + Sync {
    /// Gathers Prometheus text: what the journal holds is asked for, and takes a moment.
    fn text(&self) -> MetricsText<'_>;
}

/// No metrics besides the door's own.
#[derive(Debug, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    fn text(&self) -> MetricsText<'_> {
        Box::pin(std::future::ready(String::new()))
    }
}

/// What the host decides about the door.
#[derive(Clone)]
pub struct Options {
    /// How often an idle server-sent stream gives a sign of life.
    pub heartbeat: Duration,
    /// The stream that `GET /v1/events/{id}` looks through, where none is named.
    pub event_stream: String,
    /// The node's metrics.
    pub metrics: Arc<dyn Metrics>,
    /// Who keeps the schemas.
    pub schemas: Arc<dyn Schemas>,
    /// Who keeps the resources.
    pub resources: Arc<dyn Resources>,
    /// Who looks after facts between sites.
    pub federation: Arc<dyn Federation>,
    /// Who looks after the hub door.
    pub hub: Arc<dyn Hub>,
    /// Who looks after the mesh.
    pub mesh: Arc<dyn Mesh>,
    /// What is true now.
    pub views: Views,
    /// Ends what would go on for ever: followings, pushes, waits.
    pub shutdown: CancellationToken,
    /// Whether the door listens on loopback alone: then, while it is open, it takes no request that
    /// is addressed to a name other than `localhost`.
    pub local: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            heartbeat: Duration::from_secs(15),
            event_stream: "EVENTS".to_owned(),
            metrics: Arc::new(NoMetrics),
            schemas: Arc::new(NoSchemas),
            resources: Arc::new(NoResources),
            federation: Arc::new(NoFederation),
            hub: Arc::new(NoHub),
            mesh: Arc::new(NoMesh),
            views: Views::default(),
            shutdown: CancellationToken::new(),
            local: false,
        }
    }
}

/// What every handler has.
pub struct Door {
    pub(crate) port: Port,
    pub(crate) options: Options,
    pub(crate) meters: Meters,
    pub(crate) bodies: Bodies,
    pub(crate) encodings: Encodings,
    /// Changes when other tokens are put in force.
    pub(crate) access: watch::Receiver<u64>,
    document: OnceLock<Bytes>,
}

impl Door {
    /// The description of the API. Made at the first request: a start should not wait for it.
    pub(crate) fn document(&self) -> Bytes {
        // A description that is made of our own types can be written.
        self.document.get_or_init(|| openapi().to_json().map(Bytes::from).unwrap_or_default()).clone()
    }
}

/// Shared by all requests.
pub type Shared = Arc<Door>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings",
        description = "An event fabric: events are recorded once, and read live, from the past, or by consumers.",
        license(name = "Apache-2.0")
    ),
    tags(
        (name = "events", description = "CloudEvents"),
        (name = "messages", description = "Any bytes, by subject and by position"),
        (name = "streams", description = "Durable logs"),
        (name = "consumers", description = "Durable cursors with acknowledgement"),
        (name = "resources", description = "What the operator declares"),
        (name = "federation", description = "Facts between sites"),
        (name = "dynamic", description = "Configuration derived from facts"),
        (name = "hub", description = "Rooms, and who is connected to them"),
        (name = "mesh", description = "Nodes, links and routes between domains, and who can reach whom"),
        (name = "views", description = "What is true now, folded from streams"),
        (name = "schemas", description = "What payloads must be"),
        (name = "node", description = "The node itself")
    )
)]
struct Described;

fn routes() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(node::get_index))
        .routes(routes!(node::get_healthz))
        .routes(routes!(node::get_readyz))
        .routes(routes!(node::get_metrics))
        .routes(routes!(node::get_openapi))
        .routes(routes!(events::post_events))
        .routes(routes!(events::get_event))
        .routes(routes!(publish::post_publish))
        .routes(routes!(publish::get_subscribe))
        .routes(routes!(streams::list_streams))
        .routes(routes!(streams::get_stream, streams::put_stream, streams::delete_stream))
        .routes(routes!(streams::get_subjects))
        .routes(routes!(streams::post_purge))
        .routes(routes!(messages::get_messages))
        .routes(routes!(messages::get_message, messages::delete_message))
        .routes(routes!(messages::get_last))
        .routes(routes!(consumers::list_consumers))
        .routes(routes!(consumers::get_consumer, consumers::put_consumer, consumers::delete_consumer))
        .routes(routes!(consumers::post_pause))
        .routes(routes!(consumers::post_fetch))
        .routes(routes!(consumers::post_ack))
        .routes(routes!(consumers::post_nak))
        .routes(routes!(consumers::post_term))
        .routes(routes!(consumers::post_progress))
        .routes(routes!(schemas::list_schemas))
        .routes(routes!(schemas::get_schema, schemas::put_schema, schemas::delete_schema))
        .routes(routes!(resources::list_resources, resources::post_resources))
        .routes(routes!(resources::get_resource, resources::delete_resource))
        .routes(routes!(resources::get_history))
        .routes(routes!(federation::post_fact))
        .routes(routes!(federation::list_facts))
        .routes(routes!(federation::list_deliveries))
        .routes(routes!(federation::summarise_deliveries))
        .routes(routes!(federation::list_runs))
        .routes(routes!(federation::list_peers))
        .routes(routes!(federation::get_status))
        .routes(routes!(federation::get_doctor))
        .routes(routes!(federation::get_trace))
        .routes(routes!(federation::list_parts))
        .routes(routes!(federation::get_effective))
        .routes(routes!(federation::get_differences))
        .routes(routes!(federation::explain_resource))
        .routes(routes!(federation::list_plugins))
        .routes(routes!(federation::post_run))
        .routes(routes!(hub::get_hub))
        .routes(routes!(mesh::get_nodes))
        .routes(routes!(mesh::get_links))
        .routes(routes!(mesh::get_routes))
        .routes(routes!(mesh::get_domains))
        .routes(routes!(mesh::get_segments))
        .routes(routes!(mesh::get_mirrors))
        .routes(routes!(mesh::get_graph))
        .routes(routes!(mesh::get_trace, mesh::post_trace))
        .routes(routes!(mesh::get_explain))
        .routes(routes!(mesh::post_check))
        .routes(routes!(views::list_views))
        .routes(routes!(views::get_view))
        .routes(routes!(views::get_view_row))
        .split_for_parts();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", token);
    (router, document)
}

/// The description of the API, as `/openapi.json` gives it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().1
}

/// The door's router: everything that HTTP clients can reach.
pub fn router(port: Port, options: Options) -> Router {
    let (router, document) = routes();
    let meters = Meters::of(document.paths.paths.keys());
    let (changes, access) = watch::channel(0);
    port.when_access_changes(Arc::new(move || changes.send_modify(|times| *times += 1)));
    let (bodies, encodings, document) = (Bodies::default(), Encodings::default(), OnceLock::new());
    let shared = Arc::new(Door { port, options, meters, bodies, encodings, access, document });
    router
        .fallback(async |uri: Uri| Problem::no_route(&uri))
        .method_not_allowed_fallback(async |method: Method| Problem::method(&method))
        .layer(from_fn_with_state(Arc::clone(&shared), around))
        .with_state(shared)
}

/// The token that a request presents.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Routes that need no token, so that probes need no secrets.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

async fn around(State(door): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (uri, method) = (request.uri().clone(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = if is_probe(uri.path()) {
        next.run(request).await
    } else if is_push(&method, uri.path(), request.headers()) {
        door.options.federation.receive(request).await.map(Body::new)
    } else {
        let known = door.port.authenticate(bearer(request.headers())).map_err(Problem::from);
        match known.and_then(|who| browser::admit(&door, &request).map(|()| who)) {
            Ok(who) => {
                request.extensions_mut().insert(who);
                next.run(request).await
            }
            Err(problem) => problem.into_response(),
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.write(uri.path(), response);
    }
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    door.meters.count(route, &method, response.status(), began.elapsed());
    response
}
