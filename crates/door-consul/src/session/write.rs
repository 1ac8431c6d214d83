//! What changes the catalogue, and what its writer is told.

use bytes::Bytes;
use catalog::{Command, Fire, Outcome, RefusedKind, Status};
use door::catalogue::WriteError;
use door::{Catalogue, Principal, PublishError};

use super::keys::{self, answer};
use super::register::{self, Home};
use crate::codec::json::{Object, list};
use crate::codec::{Endpoint, Fault, Params, shape, shown};
use crate::limits::{EVENT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::options::Options;

/// What a writer is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// The HTTP status.
    pub(crate) status: u16,
    /// JSON, or nothing.
    pub(crate) body: String,
}

/// Whether a request changes something.
pub(crate) fn is_write(endpoint: Endpoint, method: &str) -> bool {
    method != "GET" && !matches!(endpoint, Endpoint::AgentReload)
}

/// Makes the change that a request asks for.
///
/// # Errors
/// [`Fault`]: it cannot be read, is not allowed, or cannot be.
pub(crate) async fn write(
    catalogue: &Catalogue,
    options: &Options,
    who: &Principal,
    (endpoint, method): (Endpoint, &str),
    name: String,
    params: &Params,
    body: Bytes,
) -> Result<Written, Fault> {
    let key = name.clone();
    let command = command(options, (endpoint, method), name, params, body)?;
    let fired = if let Command::Fire(fire) = &command { Some(fire.clone()) } else { None };
    let written = catalogue.write(who, command).await.map_err(|error| refusal(&error))?;
    match fired {
        Some(fire) => Ok(event(&fire, written.position)),
        None => told(endpoint, &key, &written.outcome, written.position),
    }
}

/// What a request that changes something comes to: its endpoint with the method, the name in its path, its
/// parameters and its body.
///
/// # Errors
/// [`Fault`]: it cannot be read.
pub fn command(
    options: &Options,
    (endpoint, method): (Endpoint, &str),
    name: String,
    params: &Params,
    body: Bytes,
) -> Result<Command, Fault> {
    match endpoint {
        Endpoint::Key if method == "DELETE" => keys::delete(name, params),
        Endpoint::Key if body.len() > VALUE_BYTES_MAX => Err(Fault::too_large(VALUE_BYTES_MAX)),
        Endpoint::Key => keys::put(name, params, body),
        Endpoint::Transaction => keys::transaction(&body),
        Endpoint::EventFire if body.len() > EVENT_BYTES_MAX => Err(Fault::too_large(EVENT_BYTES_MAX)),
        Endpoint::EventFire => keys::fire(name, params, body, new_id()).map(Command::Fire),
        _ => of_services(options, endpoint, name, params, &body),
    }
}

/// Of services, checks, nodes and sessions.
fn of_services(
    options: &Options,
    endpoint: Endpoint,
    name: String,
    params: &Params,
    body: &[u8],
) -> Result<Command, Fault> {
    let home = Home { node: &options.node, address: &options.address };
    let (node, none) = (options.node.clone(), String::new());
    let named = |what: &'static str| if name.is_empty() { Err(Fault::bad(what)) } else { Ok(name.clone()) };
    Ok(match endpoint {
        Endpoint::AgentServiceRegister => register::agent_service(body, home, params.flag("replace-existing-checks")?)?,
        Endpoint::AgentCheckRegister => register::agent_check_register(body, home)?,
        Endpoint::AgentServiceDeregister => {
            Command::Deregister { node, service_id: named("Missing service ID")?, check_id: none }
        }
        Endpoint::AgentCheckDeregister => {
            Command::Deregister { node, service_id: none, check_id: named("Missing check ID")? }
        }
        Endpoint::AgentServiceMaintenance => {
            let service_id = named("Missing service ID")?;
            Command::Maintenance { node, service_id, enable: enable(params)?, reason: params.text("reason").to_owned() }
        }
        Endpoint::AgentMaintenance => {
            let reason = params.text("reason").to_owned();
            Command::Maintenance { node, service_id: none, enable: enable(params)?, reason }
        }
        Endpoint::AgentCheckPass | Endpoint::AgentCheckWarn | Endpoint::AgentCheckFail => {
            let status = match endpoint {
                Endpoint::AgentCheckPass => Status::Passing,
                Endpoint::AgentCheckWarn => Status::Warning,
                _ => Status::Critical,
            };
            register::set_check(home, &named("Missing check ID")?, status, params.text("note").to_owned())
        }
        Endpoint::AgentCheckUpdate => register::check_update(body, home, &named("Missing check ID")?)?,
        Endpoint::CatalogRegister => register::catalog_register(body, &options.datacenter)?,
        Endpoint::CatalogDeregister => register::catalog_deregister(body, &options.datacenter)?,
        Endpoint::SessionCreate => keys::session_create(body, &options.node, new_id())?,
        Endpoint::SessionDestroy => Command::SessionDestroy { id: named("Missing session")? },
        Endpoint::SessionRenew => Command::SessionRenew { id: named("Missing session")? },
        _ => return Err(Fault::not_found("")),
    })
}

/// An event as it was fired.
fn event(fired: &Fire, position: u64) -> Written {
    let event = catalog::UserEvent {
        id: fired.id.as_str().into(),
        name: fired.name.as_str().into(),
        payload: fired.payload.clone(),
        node_filter: fired.node_filter.as_str().into(),
        service_filter: fired.service_filter.as_str().into(),
        tag_filter: fired.tag_filter.as_str().into(),
        position,
        time: event::Moment::EPOCH,
    };
    let mut body = String::new();
    shape::event(&mut body, &event);
    Written { status: 200, body }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn enable(params: &Params) -> Result<bool, Fault> {
    match params.text("enable") {
        "" => Err(Fault::bad("Missing value for enable")),
        value => crate::codec::truth(value)
            .ok_or_else(|| Fault::bad(format!("Invalid value for enable: \"{}\"", shown(value)))),
    }
}

fn told(endpoint: Endpoint, name: &str, outcome: &Outcome, position: u64) -> Result<Written, Fault> {
    let mut body = String::new();
    match (endpoint, outcome) {
        (Endpoint::Transaction, Outcome::Txn(txn)) => {
            let (made, body) = answer(txn, position);
            return Ok(Written { status: if made { 200 } else { 409 }, body });
        }
        (Endpoint::SessionCreate, Outcome::Session(session)) => {
            let mut object = Object::new(&mut body);
            object.text("ID", &session.id);
            object.end();
        }
        (Endpoint::SessionRenew, Outcome::Session(session)) => {
            list(&mut body, [session], |out, session| shape::session(out, session));
        }
        (Endpoint::SessionRenew, _) => {
            return Err(Fault::not_found(format!("Session id '{}' not found", shown(name))));
        }
        (_, Outcome::Flag(flag)) => body.push_str(if *flag { "true" } else { "false" }),
        (Endpoint::CatalogRegister | Endpoint::CatalogDeregister | Endpoint::SessionDestroy, _) => {
            body.push_str("true");
        }
        _ => {}
    }
    Ok(Written { status: 200, body })
}

fn refusal(error: &WriteError) -> Fault {
    match error {
        WriteError::Refused(refused) => {
            let status = match refused.kind {
                RefusedKind::Invalid => 400,
                RefusedKind::NotFound => 404,
                RefusedKind::Failed => 500,
                RefusedKind::TooLarge => 413,
            };
            Fault::new(status, refused.text.clone())
        }
        WriteError::Publish(PublishError::NotAllowed(_)) => Fault::denied(),
        WriteError::Publish(PublishError::PayloadTooLarge { .. }) => Fault::new(413, error.to_string()),
        WriteError::Publish(PublishError::Unfit(_)) => Fault::bad(error.to_string()),
        WriteError::Publish(PublishError::Journal(_)) | WriteError::Contended => Fault::internal(error.to_string()),
        WriteError::NotReady => Fault::internal("No cluster leader"),
    }
}
