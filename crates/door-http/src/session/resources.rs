//! `/v1/resources`: what the operator declares, of any kind.
//!
//! All of it is for administrators: resources say where peers are and what runs on the node. What is
//! declared is the host's to judge, to record and to put in force ([`Resources`]); its answers are JSON
//! and go out as they are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use door::{NotAllowed, Principal, Verb};
use serde_json::{Value, json as object};

use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json};

/// Faults that one answer lists, at most; the first are what to mend first.
const FAULTS_MAX: usize = 100;

/// What a verb on resources gives, when it is done.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send + 'a>>;

/// A resource as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its kind, in any case.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its apiVersion, where kind and name are not enough.
    pub api_version: Option<String>,
}

/// A fault of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// `apiVersion/kind/name`.
    pub resource: String,
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Who keeps the resources.
pub trait Resources: Send + Sync {
    /// Those in force, whole, in the order of their identities; of one kind, in any case, where it is given.
    fn list(&self, kind: Option<&str>) -> Vec<Value>;

    /// One that is in force, whole.
    ///
    /// # Errors
    /// [`no_resource`] and [`ambiguous`].
    fn get(&self, named: &Named) -> Result<Value, Problem>;

    /// Puts the resources of a JSON body in force, all or none; `{"results", "warnings"}`.
    fn apply<'a>(&'a self, who: &'a str, body: Bytes, dry_run: bool) -> Answer<'a>;

    /// Takes one out of force; `{"results", "warnings"}`.
    fn delete<'a>(&'a self, who: &'a str, named: Named, dry_run: bool) -> Answer<'a>;

    /// What became of one, oldest first; `{"history"}`.
    fn history(&self, named: Named) -> Answer<'_>;
}

/// No resources, and none can be had.
#[derive(Debug, Default)]
pub struct NoResources;

impl NoResources {
    fn refuse<'a>() -> Answer<'a> {
        let detail = "this node keeps no resources";
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED, "no-resources", "There are no resources here", detail);
        Box::pin(std::future::ready(Err(problem)))
    }
}

impl Resources for NoResources {
    fn list(&self, _kind: Option<&str>) -> Vec<Value> {
        Vec::new()
    }

    fn get(&self, named: &Named) -> Result<Value, Problem> {
        Err(no_resource(named))
    }

    fn apply<'a>(&'a self, _who: &'a str, _body: Bytes, _dry_run: bool) -> Answer<'a> {
        NoResources::refuse()
    }

    fn delete<'a>(&'a self, _who: &'a str, named: Named, _dry_run: bool) -> Answer<'a> {
        Box::pin(std::future::ready(Err(no_resource(&named))))
    }

    fn history(&self, named: Named) -> Answer<'_> {
        Box::pin(std::future::ready(Err(no_resource(&named))))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// There is no such resource.
pub fn no_resource(named: &Named) -> Problem {
    let (kind, name) = (cut(&named.kind), cut(&named.name));
    let version = named.api_version.as_deref().map(|version| format!(" of {}", cut(version))).unwrap_or_default();
    let detail = format!("there is no {kind} '{name}'{version}; GET /v1/resources lists what there is");
    let problem = Problem::new(StatusCode::NOT_FOUND, "no-resource", "There is no such resource", detail);
    problem.with("kind", kind).with("name", name)
}

/// Resources of several versions have this kind and name.
pub fn ambiguous(named: &Named, versions: &[&str]) -> Problem {
    let versions = versions.join(", ");
    Problem::query("apiVersion", &format!("is needed: '{}' is there of {versions}", cut(&named.name)))
}

/// Resources that cannot be as they are: each fault names resource, path and reason.
pub fn faulty(faults: &[Faulty]) -> Problem {
    let more = match faults.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let shown = |fault: &Faulty| {
        let space = if fault.path.is_empty() { "" } else { " " };
        format!("{}{space}{} {}{more}", fault.resource, fault.path, fault.reason)
    };
    let detail = faults.first().map(shown).unwrap_or_default();
    let fault = |fault: &Faulty| object!({"resource": fault.resource, "path": fault.path, "reason": fault.reason});
    let listed: Vec<Value> = faults.iter().take(FAULTS_MAX).map(fault).collect();
    let title = "A resource is wrong; nothing was changed";
    Problem::new(StatusCode::BAD_REQUEST, "invalid-resource", title, detail).with("faults", listed)
}

fn administers(who: &Principal) -> Result<(), Problem> {
    if who.is_admin() {
        return Ok(());
    }
    Err(NotAllowed { who: Arc::clone(who.name()), verb: Verb::Administer, what: "resources".to_owned() }.into())
}

fn named(call: &Call, api_version: Option<&str>) -> Named {
    let (kind, name) = (call.param("kind").to_owned(), call.param("name").to_owned());
    Named { kind, name, api_version: api_version.map(str::to_owned) }
}

/// The resources in force.
#[utoipa::path(get, path = "/v1/resources", tag = "resources",
    params(("kind" = Option<String>, Query, description = "Only resources of this kind")),
    responses(
        (status = 200, description = "The resources, with where they come from", body = Object),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
    ))]
pub async fn list_resources(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["kind"], &[])?;
    administers(&call.who)?;
    let resources = door.options.resources.list(query.text("kind"));
    Ok(json(StatusCode::OK, &object!({ "resources": resources })))
}

/// Puts resources in force, all or none.
///
/// The body is one resource, a list, `{"resources": […]}`, or a `Router` of routerd. What would be in
/// force then is checked as a whole before anything is recorded.
#[utoipa::path(post, path = "/v1/resources", tag = "resources",
    params(("dryRun" = Option<bool>, Query, description = "Say what would change, and change nothing")),
    request_body = Object,
    responses(
        (status = 200, description = "What became of each, with the changes by path", body = Object),
        (status = 400, description = "Faults, each with resource, path and reason", content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 409, description = "One comes from a file of the node's", content_type = "application/problem+json"),
    ))]
pub async fn post_resources(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    let dry_run = call.query(&["dryRun"], &[])?.flag("dryRun")?;
    administers(&call.who)?;
    let body = call.json_bytes().await?;
    let answer = door.options.resources.apply(call.who.name(), body, dry_run).await?;
    Ok(json(StatusCode::OK, &answer))
}

/// One resource.
#[utoipa::path(get, path = "/v1/resources/{kind}/{name}", tag = "resources",
    params(
        ("kind" = String, Path, description = "Its kind"),
        ("name" = String, Path, description = "Its name"),
        ("apiVersion" = Option<String>, Query, description = "Its version, where kind and name are not enough"),
    ),
    responses(
        (status = 200, description = "The resource, with where it comes from", body = Object),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_resource(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["apiVersion"], &[])?;
    administers(&call.who)?;
    let found = door.options.resources.get(&named(&call, query.text("apiVersion")))?;
    Ok(json(StatusCode::OK, &found))
}

/// Takes a resource out of force. Its history stays.
#[utoipa::path(delete, path = "/v1/resources/{kind}/{name}", tag = "resources",
    params(
        ("kind" = String, Path, description = "Its kind"),
        ("name" = String, Path, description = "Its name"),
        ("apiVersion" = Option<String>, Query, description = "Its version, where kind and name are not enough"),
        ("dryRun" = Option<bool>, Query, description = "Say whether it could be, and change nothing"),
    ),
    responses(
        (status = 200, description = "What became of it", body = Object),
        (status = 400, description = "Others need it", content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "It comes from a file of the node's", content_type = "application/problem+json"),
    ))]
pub async fn delete_resource(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["apiVersion", "dryRun"], &[])?;
    let (named, dry_run) = (named(&call, query.text("apiVersion")), query.flag("dryRun")?);
    administers(&call.who)?;
    let answer = door.options.resources.delete(call.who.name(), named, dry_run).await?;
    Ok(json(StatusCode::OK, &answer))
}

/// What became of a resource, oldest first.
#[utoipa::path(get, path = "/v1/resources/{kind}/{name}/history", tag = "resources",
    params(
        ("kind" = String, Path, description = "Its kind"),
        ("name" = String, Path, description = "Its name"),
        ("apiVersion" = Option<String>, Query, description = "Its version, where kind and name are not enough"),
    ),
    responses(
        (status = 200, description = "Each change that is kept, with position, time and who asked for it", body = Object),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 404, description = "There never was one", content_type = "application/problem+json"),
    ))]
pub async fn get_history(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["apiVersion"], &[])?;
    administers(&call.who)?;
    let answer = door.options.resources.history(named(&call, query.text("apiVersion"))).await?;
    Ok(json(StatusCode::OK, &answer))
}
