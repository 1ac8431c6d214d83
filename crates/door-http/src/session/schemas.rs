//! `/v1/schemas`: what payloads must be, by subject.
//!
//! Changes are for administrators. A schema is seen by whoever's token touches one of its subjects:
//! readers decode with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use door::{NotAllowed, Principal, Verb};
use event::Pattern;
use serde_json::{Value, json as object};

use crate::limits::SCHEMA_BYTES_MAX;
use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json, subject};

/// What a verb on schemas gives, when it is done.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// A schema as it is shown.
#[derive(Debug)]
pub struct SchemaView {
    /// The subjects that it is bound to.
    pub subjects: Vec<Pattern>,
    /// What is listed: everything but what it is made of.
    pub summary: Value,
    /// The whole resource.
    pub resource: Value,
}

/// Who keeps the schemas.
pub trait Schemas: Send + Sync {
    /// Those in force, by name.
    fn list(&self) -> Vec<Arc<SchemaView>>;

    /// One that is in force.
    fn get(&self, name: &str) -> Option<Arc<SchemaView>>;

    /// Puts a schema in force, from the JSON of its resource; whether it is new.
    fn put<'a>(&'a self, name: &'a str, resource: Bytes) -> Answer<'a, (Arc<SchemaView>, bool)>;

    /// Takes a schema out of force.
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
}

/// No schemas, and none can be had.
#[derive(Debug, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn list(&self) -> Vec<Arc<SchemaView>> {
        Vec::new()
    }

    fn get(&self, _name: &str) -> Option<Arc<SchemaView>> {
        None
    }

    fn put<'a>(&'a self, name: &'a str, _resource: Bytes) -> Answer<'a, (Arc<SchemaView>, bool)> {
        Box::pin(std::future::ready(Err(no_schema(name))))
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Err(no_schema(name))))
    }
}

/// There is no such schema.
pub fn no_schema(name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = format!("there is no schema '{shown}'; GET /v1/schemas lists them");
    Problem::new(StatusCode::NOT_FOUND, "no-schema", "There is no such schema", detail).with("schema", shown)
}

fn sees(who: &Principal, view: &SchemaView) -> bool {
    who.is_admin() || view.subjects.iter().any(|pattern| who.touches(pattern))
}

fn administers(who: &Principal) -> Result<(), Problem> {
    if who.is_admin() {
        return Ok(());
    }
    Err(NotAllowed { who: Arc::clone(who.name()), verb: Verb::Administer, what: "schemas".to_owned() }.into())
}

/// The schemas in force, without what they are made of; with `subject`, those bound to it.
#[utoipa::path(get, path = "/v1/schemas", tag = "schemas",
    params(("subject" = Option<String>, Query, description = "Only schemas that are bound to this subject")),
    responses((status = 200, description = "The schemas, by name", body = Object)))]
pub async fn list_schemas(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    let query = call.query(&["subject"], &[])?;
    let wanted = query.text("subject").map(subject).transpose()?;
    let bound = |view: &SchemaView| match &wanted {
        Some(subject) => view.subjects.iter().any(|pattern| pattern.matches(subject.as_str())),
        None => true,
    };
    let views = door.options.schemas.list();
    let shown: Vec<&Value> =
        views.iter().filter(|view| sees(&call.who, view) && bound(view)).map(|view| &view.summary).collect();
    Ok(json(StatusCode::OK, &object!({ "schemas": shown })))
}

/// One schema, whole.
#[utoipa::path(get, path = "/v1/schemas/{schema}", tag = "schemas",
    params(("schema" = String, Path, description = "The schema")),
    responses(
        (status = 200, description = "The resource", body = Object),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn get_schema(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    let name = call.param("schema");
    let view = door.options.schemas.get(name).filter(|view| sees(&call.who, view)).ok_or_else(|| no_schema(name))?;
    Ok(json(StatusCode::OK, &view.resource))
}

/// Puts a schema in force, for every message that follows.
#[utoipa::path(put, path = "/v1/schemas/{schema}", tag = "schemas",
    params(("schema" = String, Path, description = "The schema; also its `metadata.name`")),
    request_body = Object,
    responses(
        (status = 200, description = "Changed", body = Object),
        (status = 201, description = "Created", body = Object),
        (status = 400, description = "A faulty field, named", content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 409, description = "It comes from a file of the node's", content_type = "application/problem+json"),
    ))]
pub async fn put_schema(State(door): State<Shared>, mut call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    administers(&call.who)?;
    let body = call.body(SCHEMA_BYTES_MAX).await?;
    let (view, created) = door.options.schemas.put(call.param("schema"), body).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &view.summary))
}

/// Takes a schema out of force. Its history stays.
#[utoipa::path(delete, path = "/v1/schemas/{schema}", tag = "schemas",
    params(("schema" = String, Path, description = "The schema")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 403, description = "Not an administrator", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
    ))]
pub async fn delete_schema(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    administers(&call.who)?;
    door.options.schemas.delete(call.param("schema")).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
