//! `/v1/hub`: who is connected to the hub door, and how its links and targets stand.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use door::{NotAllowed, Verb};
use serde_json::Value;

use crate::problem::Problem;
use crate::serve::Shared;
use crate::session::call::{Call, json};

/// Who looks after the hub door.
pub trait Hub: Send + Sync {
    /// Connections, links and targets.
    fn status(&self) -> Value;

    /// Why the door is not well; `None`: it is.
    fn ailment(&self) -> Option<String>;
}

/// No hub door.
#[derive(Debug, Default)]
pub struct NoHub;

impl Hub for NoHub {
    fn status(&self) -> Value {
        serde_json::json!({"connections": [], "links": [], "targets": []})
    }

    fn ailment(&self) -> Option<String> {
        None
    }
}

/// Connections, links and targets of the hub door.
#[utoipa::path(get, path = "/v1/hub", tag = "hub",
    responses((status = 200, description = "Connections, links and targets", body = Object)))]
pub async fn get_hub(State(door): State<Shared>, call: Call) -> Result<Response, Problem> {
    call.no_query()?;
    // Whoever listens to which room is told to those who may hear all of them.
    if !call.who.is_admin() && !call.who.reads_everything() {
        return Err(NotAllowed { who: Arc::clone(call.who.name()), verb: Verb::Read, what: "room.>".to_owned() }.into());
    }
    Ok(json(StatusCode::OK, &door.options.hub.status()))
}
