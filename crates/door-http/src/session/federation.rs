//! `/v1/federation`, `/v1/dynamic`, `/v1/plugins`: facts between sites, and what is derived from them.
//!
//! What is asked is named here, judged for its form and handed to the [`Federation`], which the host
//! gives; its answers are JSON and go out as they are. What peers push comes in by the routes that the
//! peers know, carries a signature in place of a token, and is the federation's own to judge.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use door::{NotAllowed, Principal, Verb};
use http_body_util::Full;
use serde_json::Value;
use std::sync::Arc;

use crate::codec::query::Query;
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json};

/// Longest wait for another effective configuration.
const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(600);

/// The header that says where a follower goes on.
const INDEX: HeaderName = HeaderName::from_static("tidings-index");

/// Headers of a signed push; either makes a request one.
const SIGNED: [&str; 2] = ["x-routerd-timestamp", "x-routerd-signature"];

/// Which facts, deliveries or runs: each field narrows.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The group.
    pub group: Option<String>,
    /// The peer.
    pub peer: Option<String>,
    /// The fact's id.
    pub event: Option<String>,
    /// The fact's type.
    pub kind: Option<String>,
    /// What became of it.
    pub status: Option<String>,
    /// The subscription.
    pub subscription: Option<String>,
    /// Facts that hold no longer, too.
    pub include_expired: bool,
    /// Most entries.
    pub limit: Option<usize>,
}

/// What is asked of the federation.
#[derive(Debug)]
pub enum Ask {
    /// State a fact: the JSON of the request.
    Emit {
        /// The group.
        group: String,
        /// `{type, subject?, id?, payload?, ttl?, observedAt?, dedupeKey?, sourceNode?, withdrawn?}`.
        body: Bytes,
    },
    /// Facts.
    Events(Which),
    /// What became of facts towards peers.
    Deliveries(Which),
    /// The same, counted by group and peer.
    Summary(Which),
    /// Calls of plugins.
    Runs(Which),
    /// Peers, with lag, queue and breaker.
    Peers(Which),
    /// What was received so far.
    Status,
    /// What is wrong.
    Doctor,
    /// Where a fact went.
    Trace {
        /// Its id.
        id: String,
        /// Its group, where several have the id.
        group: Option<String>,
        /// Whether peers are asked too.
        peers: bool,
    },
    /// Derived parts.
    Parts {
        /// Only those of this source.
        source: Option<String>,
    },
    /// The effective configuration.
    Effective {
        /// Only when it is another than this.
        index: Option<u64>,
        /// How long to wait for that.
        wait: Duration,
    },
    /// How the effective configuration differs from what was declared.
    Differences,
    /// Where a resource of the effective configuration comes from.
    Explain {
        /// Its apiVersion, where the name alone is not enough.
        api_version: Option<String>,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Plugins as declared.
    Plugins,
    /// A run of a plugin by hand.
    Run {
        /// The plugin.
        plugin: String,
        /// Whether nothing is to come of it.
        dry_run: bool,
        /// The group whose live facts it is given; with `event`, that one.
        which: Which,
    },
}

/// An answer of the federation.
#[derive(Debug)]
pub struct Told {
    /// Whether something was made.
    pub created: bool,
    /// Where a follower goes on.
    pub index: Option<u64>,
    /// The answer.
    pub body: Value,
}

impl From<Value> for Told {
    fn from(body: Value) -> Self {
        Told { created: false, index: None, body }
    }
}

/// What the federation answers, when it is done.
pub type Telling<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a peer sent.
pub type Push = Request<Body>;

/// What it is answered.
pub type PushAnswer = axum::http::Response<Full<Bytes>>;

/// Who looks after facts between sites.
pub trait Federation: Send + Sync {
    /// Does what is asked. Who asks was found allowed to, save that facts are published in its name.
    fn ask(&self, who: Principal, ask: Ask) -> Telling<'_, Result<Told, Problem>>;

    /// Takes what a peer pushed.
    fn receive(&self, push: Push) -> Telling<'_, PushAnswer>;
}

/// No federation.
#[derive(Debug, Default)]
pub struct NoFederation;

fn none() -> Problem {
    let detail = "this node takes part in no federation; declare an EventGroup";
    Problem::new(StatusCode::NOT_FOUND, "no-federation", "There is no federation", detail)
}

impl Federation for NoFederation {
    fn ask(&self, _who: Principal, _ask: Ask) -> Telling<'_, Result<Told, Problem>> {
        Box::pin(std::future::ready(Err(none())))
    }

    fn receive(&self, _push: Push) -> Telling<'_, PushAnswer> {
        let mut answer = PushAnswer::default();
        *answer.status_mut() = StatusCode::NOT_FOUND;
        Box::pin(std::future::ready(answer))
    }
}

/// There is no such group, fact, part or plugin.
pub fn no_such(what: &'static str, name: &str, hint: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = format!("there is no {what} '{shown}'; {hint}");
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail).with(what, shown)
}

/// A plugin that was run by hand gave nothing that can be used.
pub fn failed_run(detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "run-failed", "The run failed", detail)
}

/// What was told as observed is what this node itself brings about.
pub fn captured(detail: &str) -> Problem {
    let title = "This node captures what the fact claims to have observed";
    Problem::new(StatusCode::CONFLICT, "self-capture", title, detail)
}

/// Whether a request is a push of a peer, told from what clients send by its signature.
pub(crate) fn is_push(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    match path {
        "/v1/events" => method == Method::POST && SIGNED.iter().any(|name| headers.contains_key(*name)),
        "/v1/federation/batch" | "/v1/federation/trace/ask" => true,
        _ => false,
    }
}

/// Whether who asks may see what crosses sites: all of it may pass.
fn sees(who: &Principal) -> Result<(), Problem> {
    if who.is_admin() || who.reads_everything() {
        return Ok(());
    }
    Err(NotAllowed { who: Arc::clone(who.name()), verb: Verb::Read, what: "fed.>".to_owned() }.into())
}

fn administers(who: &Principal) -> Result<(), Problem> {
    if who.is_admin() {
        return Ok(());
    }
    Err(NotAllowed { who: Arc::clone(who.name()), verb: Verb::Administer, what: "plugins".to_owned() }.into())
}

fn which(query: &Query<'_>) -> Result<Which, Problem> {
    let text = |name| query.text(name).map(str::to_owned);
    Ok(Which {
        group: text("group"),
        peer: text("peer"),
        event: text("event"),
        kind: text("type"),
        status: text("status"),
        subscription: text("subscription"),
        include_expired: query.flag("includeExpired")?,
        limit: query.count("limit", usize::MAX)?,
    })
}

async fn tell(door: &Shared, who: &Principal, ask: Ask) -> Result<Response, Problem> {
    let told = door.options.federation.ask(who.clone(), ask).await?;
    let status = if told.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json(status, &told.body);
    if let Some(index) = told.index {
        response.headers_mut().insert(INDEX, HeaderValue::from(index));
    }
    Ok(response)
}

/// Asks for a list, which whoever may read everything may see.
async fn list(door: &Shared, call: Call, known: &[&str], ask: impl FnOnce(Which) -> Ask) -> Result<Response, Problem> {
    let ask = ask(which(&call.query(known, &[])?)?);
    // A body cannot be shared between threads, and there is none.
    let who = call.who;
    sees(&who)?;
    tell(door, &who, ask).await
}

/// States a fact in a group, to be told to its peers.
#[utoipa::path(post, path = "/v1/federation/{group}/events", tag = "federation",
    params(("group" = String, Path, description = "The group")),
    request_body = Object,
    responses(
        (status = 200, description = "It was there already", body = Object),
        (status = 201, description = "On disk", body = Object),
        (status = 400, description = "A faulty field, named", content_type = "application/problem+json"),
        (status = 404, description = "No such group", content_type = "application/problem+json"),
        (status = 409, description = "The node itself captures what it claims to observe", content_type = "application/problem+json"),
    ))]
pub async fn post_fact(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let body = call.json_bytes().await?;
    let group = call.param("group").to_owned();
    tell(&door, &call.who, Ask::Emit { group, body }).await
}

/// Facts, newest last.
#[utoipa::path(get, path = "/v1/federation/events", tag = "federation",
    params(
        ("group" = Option<String>, Query, description = "Only this group"),
        ("type" = Option<String>, Query, description = "Only this type"),
        ("includeExpired" = Option<bool>, Query, description = "What holds no longer, too"),
        ("limit" = Option<u64>, Query, description = "Most facts: the newest"),
    ),
    responses((status = 200, description = "The facts", body = Object)))]
pub async fn list_facts(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    list(&door, call, &["group", "type", "includeExpired", "limit"], Ask::Events).await
}

/// What became of each fact towards each peer.
#[utoipa::path(get, path = "/v1/federation/deliveries", tag = "federation",
    params(
        ("group" = Option<String>, Query, description = "Only this group"),
        ("event" = Option<String>, Query, description = "Only this fact"),
        ("peer" = Option<String>, Query, description = "Only this peer"),
        ("status" = Option<String>, Query, description = "pending, delivered, failed, skipped or expired"),
        ("limit" = Option<u64>, Query, description = "Most deliveries: the newest"),
    ),
    responses((status = 200, description = "The deliveries", body = Object)))]
pub async fn list_deliveries(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    list(&door, call, &["group", "event", "peer", "status", "limit"], Ask::Deliveries).await
}

/// Deliveries, counted by group and peer.
#[utoipa::path(get, path = "/v1/federation/deliveries/summary", tag = "federation",
    params(
        ("group" = Option<String>, Query, description = "Only this group"),
        ("peer" = Option<String>, Query, description = "Only this peer"),
        ("type" = Option<String>, Query, description = "Only this type"),
        ("includeExpired" = Option<bool>, Query, description = "Of facts that hold no longer, too"),
    ),
    responses((status = 200, description = "One row a group and peer", body = Object)))]
pub async fn summarise_deliveries(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    list(&door, call, &["group", "peer", "type", "includeExpired"], Ask::Summary).await
}

/// Calls of plugins by subscriptions.
#[utoipa::path(get, path = "/v1/federation/runs", tag = "federation",
    params(
        ("subscription" = Option<String>, Query, description = "Only this subscription"),
        ("event" = Option<String>, Query, description = "Only runs with this fact"),
        ("status" = Option<String>, Query, description = "succeeded, failed, pending or dead"),
        ("limit" = Option<u64>, Query, description = "Most runs: the newest"),
    ),
    responses((status = 200, description = "The runs", body = Object)))]
pub async fn list_runs(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    list(&door, call, &["subscription", "event", "status", "limit"], Ask::Runs).await
}

/// Peers: what waits for each, how far behind it is, and whether it is tried.
#[utoipa::path(get, path = "/v1/federation/peers", tag = "federation",
    params(("group" = Option<String>, Query, description = "Only this group")),
    responses((status = 200, description = "The peers", body = Object)))]
pub async fn list_peers(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    list(&door, call, &["group"], Ask::Peers).await
}

/// What peers pushed to this door so far, as routerd tells it.
#[utoipa::path(get, path = "/v1/status", tag = "federation",
    responses((status = 200, description = "Counts of received facts", body = Object)))]
pub async fn get_status(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Status).await
}

/// What is wrong with the exchange of facts, by how much, and what to do.
#[utoipa::path(get, path = "/v1/federation/doctor", tag = "federation",
    responses((status = 200, description = "The checks", body = Object)))]
pub async fn get_doctor(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Doctor).await
}

/// Where a fact went: recorded, pushed, received, matched, run, derived; with `peers`, on other nodes too.
#[utoipa::path(get, path = "/v1/federation/trace/{id}", tag = "federation",
    params(
        ("id" = String, Path, description = "The fact's id"),
        ("group" = Option<String>, Query, description = "Its group"),
        ("peers" = Option<bool>, Query, description = "Ask the peers too"),
    ),
    responses((status = 200, description = "The hops, oldest first", body = Object)))]
pub async fn get_trace(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["group", "peers"], &[])?;
    let (group, peers) = (query.text("group").map(str::to_owned), query.flag("peers")?);
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Trace { id: call.param("id").to_owned(), group, peers }).await
}

/// Derived parts.
#[utoipa::path(get, path = "/v1/dynamic/parts", tag = "dynamic",
    params(("source" = Option<String>, Query, description = "Only those of this source")),
    responses((status = 200, description = "The parts", body = Object)))]
pub async fn list_parts(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let source = call.query(&["source"], &[])?.text("source").map(str::to_owned);
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Parts { source }).await
}

/// The effective configuration: declared, less what is masked, with live parts.
#[utoipa::path(get, path = "/v1/dynamic/effective", tag = "dynamic",
    params(
        ("index" = Option<u64>, Query, description = "The Tidings-Index of the last answer: waits for another"),
        ("wait" = Option<String>, Query, description = "How long, such as `5m`; then the same is given again"),
    ),
    responses((status = 200, description = "The configuration; Tidings-Index says where to go on", body = Object)))]
pub async fn get_effective(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["index", "wait"], &[])?;
    let (index, wait) = (query.number("index")?, query.span("wait")?);
    sees(&call.who)?;
    let wait = wait.unwrap_or(FOLLOW_WAIT_MAX / 2).min(FOLLOW_WAIT_MAX);
    let ended = door.options.shutdown.clone();
    tokio::select! {
        told = tell(&door, &call.who, Ask::Effective { index, wait }) => told,
        () = ended.cancelled() => Err(Problem::closed("the node stops")),
    }
}

/// How the effective configuration differs from what was declared.
#[utoipa::path(get, path = "/v1/dynamic/diff", tag = "dynamic",
    responses((status = 200, description = "What was added, suppressed, quarantined", body = Object)))]
pub async fn get_differences(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Differences).await
}

/// Where a resource of the effective configuration comes from.
#[utoipa::path(get, path = "/v1/dynamic/explain", tag = "dynamic",
    params(
        ("kind" = String, Query, description = "Its kind"),
        ("name" = String, Query, description = "Its name"),
        ("apiVersion" = Option<String>, Query, description = "Its apiVersion"),
    ),
    responses((status = 200, description = "Its origin", body = Object)))]
pub async fn explain_resource(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["kind", "name", "apiVersion"], &[])?;
    let needed = |name| query.text(name).map(str::to_owned).ok_or_else(|| Problem::query(name, "is needed"));
    let (kind, name) = (needed("kind")?, needed("name")?);
    let api_version = query.text("apiVersion").map(str::to_owned);
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Explain { api_version, kind, name }).await
}

/// Plugins as declared.
#[utoipa::path(get, path = "/v1/plugins", tag = "dynamic",
    responses((status = 200, description = "The plugins", body = Object)))]
pub async fn list_plugins(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    sees(&call.who)?;
    tell(&door, &call.who, Ask::Plugins).await
}

/// Runs a plugin by hand, on a group's live facts or on one of them.
#[utoipa::path(post, path = "/v1/plugins/{plugin}/run", tag = "dynamic",
    params(
        ("plugin" = String, Path, description = "The plugin"),
        ("group" = Option<String>, Query, description = "The group whose live facts it is given"),
        ("event" = Option<String>, Query, description = "Only this fact"),
        ("dryRun" = Option<bool>, Query, description = "Show what would be derived, and derive nothing"),
    ),
    responses((status = 200, description = "The result", body = Object)))]
pub async fn post_run(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["group", "event", "dryRun"], &[])?;
    administers(&call.who)?;
    let text = |name| query.text(name).map(str::to_owned);
    let which = Which { group: text("group"), event: text("event"), ..Which::default() };
    let (plugin, dry_run) = (call.param("plugin").to_owned(), query.flag("dryRun")?);
    tell(&door, &call.who, Ask::Run { plugin, dry_run, which }).await
}
