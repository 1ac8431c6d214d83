//! Registrations, as clients write them: of the agent, where a service's checks are made by the node, and of the
//! catalogue, where the client says all there is.

use std::time::Duration;

use catalog::{CheckDraft, Command, Definition, Form, Register, ServiceDraft, SetCheck, Status, Weights};
use serde_json::Value;

use crate::codec::{Fault, Fields, Why, parse, shown};

/// What begins a refusal of a body.
const DECODE: &str = "Request decode failed: ";

/// What registrations without a node are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home<'a> {
    /// This node's name.
    pub(crate) node: &'a str,
    /// Its address.
    pub(crate) address: &'a str,
}

/// A refusal of a body.
pub(crate) fn undecoded(why: Why) -> Fault {
    Fault::bad(format!("{DECODE}{why}"))
}

/// Reads an object to its last field.
pub(crate) fn object<T>(body: &[u8], read: impl FnOnce(&mut Fields<'_>) -> Result<T, Why>) -> Result<T, Fault> {
    let read = || {
        let value = parse(body)?;
        let mut fields = Fields::of(&value)?;
        let read = read(&mut fields)?;
        fields.end()?;
        Ok(read)
    };
    read().map_err(undecoded)
}

/// Reads an object within another.
fn inner<T>(value: &Value, read: impl FnOnce(&mut Fields<'_>) -> Result<T, Why>) -> Result<T, Why> {
    let mut fields = Fields::of(value)?;
    let read = read(&mut fields)?;
    fields.end()?;
    Ok(read)
}

/// `PUT /v1/agent/service/register`.
///
/// # Errors
/// [`Fault`]: it cannot be read, or a check is of a kind that is not made here.
pub(crate) fn agent_service(body: &[u8], home: Home<'_>, replace: bool) -> Result<Command, Fault> {
    let (service, checks) = object(body, |fields| {
        let mut service = service(fields, "Name")?;
        let mut checks: Vec<&Value> = fields.take("Check").into_iter().collect();
        checks.extend(fields.list("Checks")?);
        let checks = checks.into_iter().filter(|check| !is_nothing(check));
        let checks = checks.map(|check| inner(check, agent_check)).collect::<Result<Vec<_>, _>>()?;
        fields.ignore(&["Token", "Namespace", "Partition", "Locality", "Datacenter"]);
        if service.id.is_empty() {
            service.id.clone_from(&service.name);
        }
        Ok((service, checks))
    })?;
    if service.name.is_empty() {
        return Err(Fault::bad("Missing service name"));
    }
    let form = Form::Agent { replace_existing_checks: replace };
    let mut register = at_home(form, home);
    register.service = Some(service);
    register.checks = checks.into_iter().map(Made::check).collect::<Result<_, _>>()?;
    Ok(Command::Register(Box::new(register)))
}

/// `PUT /v1/agent/check/register`.
///
/// # Errors
/// As [`agent_service`].
pub(crate) fn agent_check_register(body: &[u8], home: Home<'_>) -> Result<Command, Fault> {
    let made = object(body, agent_check)?;
    if made.draft.name.is_empty() {
        return Err(Fault::bad("Missing check name"));
    }
    let mut register = at_home(Form::Agent { replace_existing_checks: false }, home);
    register.checks = vec![made.check()?];
    Ok(Command::Register(Box::new(register)))
}

fn at_home(form: Form, home: Home<'_>) -> Register {
    let mut register = Register::new(form, home.node);
    register.address = home.address.to_owned();
    register.agent = home.node.to_owned();
    register
}

/// `PUT /v1/agent/check/update/:id`.
///
/// # Errors
/// [`Fault`]: it cannot be read, or the status is none.
pub(crate) fn check_update(body: &[u8], home: Home<'_>, check_id: &str) -> Result<Command, Fault> {
    let (status, output) = object(body, |fields| Ok((fields.text("Status")?, fields.text("Output")?)))?;
    let status =
        Status::parse(&status).ok_or_else(|| Fault::bad(format!("Invalid check status: '{}'", shown(&status))))?;
    Ok(set_check(home, check_id, status, output))
}

/// How a check with a TTL stands.
pub(crate) fn set_check(home: Home<'_>, check_id: &str, status: Status, output: String) -> Command {
    let (node, check_id) = (home.node.to_owned(), check_id.to_owned());
    Command::SetCheck(SetCheck { node, check_id, status, output, ttl: true })
}

/// `PUT /v1/catalog/register`.
///
/// # Errors
/// [`Fault`]: it cannot be read.
pub(crate) fn catalog_register(body: &[u8], datacenter: &str) -> Result<Command, Fault> {
    let register = object(body, |fields| {
        let mut register = Register::new(Form::Catalog, fields.text("Node")?);
        register.id = fields.text("ID")?;
        register.address = fields.text("Address")?;
        register.datacenter = fields.text("Datacenter")?;
        register.tagged_addresses = fields.map("TaggedAddresses")?.unwrap_or_default().into_iter().collect();
        register.node_meta = fields.map("NodeMeta")?.unwrap_or_default().into_iter().collect();
        register.skip_node_update = fields.flag("SkipNodeUpdate")?;
        register.service = fields.take("Service").map(|value| inner(value, catalog_service)).transpose()?;
        let mut checks: Vec<&Value> = fields.take("Check").into_iter().collect();
        checks.extend(fields.list("Checks")?);
        register.checks = checks.into_iter().map(|check| inner(check, catalog_check)).collect::<Result<_, _>>()?;
        fields.ignore(&["WriteRequest", "Token", "Namespace", "Partition", "PeerName", "Locality"]);
        Ok(register)
    })?;
    same_datacenter(&register.datacenter, datacenter)?;
    Ok(Command::Register(Box::new(register)))
}

/// `PUT /v1/catalog/deregister`.
///
/// # Errors
/// [`Fault`]: it cannot be read.
pub(crate) fn catalog_deregister(body: &[u8], datacenter: &str) -> Result<Command, Fault> {
    let (command, named) = object(body, |fields| {
        let (node, named) = (fields.text("Node")?, fields.text("Datacenter")?);
        let (service_id, check_id) = (fields.text("ServiceID")?, fields.text("CheckID")?);
        fields.ignore(&["WriteRequest", "Token", "Namespace", "Partition", "PeerName", "Address"]);
        Ok((Command::Deregister { node, service_id, check_id }, named))
    })?;
    same_datacenter(&named, datacenter)?;
    Ok(command)
}

/// A datacenter other than this one leads nowhere.
///
/// # Errors
/// 500, in the original's words.
pub(crate) fn same_datacenter(named: &str, datacenter: &str) -> Result<(), Fault> {
    let same = named.is_empty() || named.eq_ignore_ascii_case(datacenter);
    if same { Ok(()) } else { Err(Fault::internal("No path to datacenter")) }
}

/// An instance's fields that both forms have; the name's field differs.
fn service(fields: &mut Fields<'_>, name: &str) -> Result<ServiceDraft, Why> {
    let tagged = match fields.take("TaggedAddresses") {
        None => Vec::new(),
        Some(Value::Object(kinds)) => {
            kinds.iter().map(|(kind, value)| tagged(kind, value)).collect::<Result<_, _>>()?
        }
        Some(_) => {
            return Err(String::from("json: cannot unmarshal into Go struct field .TaggedAddresses of type map"));
        }
    };
    Ok(ServiceDraft {
        kind: fields.text("Kind")?,
        id: fields.text("ID")?,
        name: fields.text(name)?,
        tags: fields.texts("Tags")?,
        address: fields.text("Address")?,
        tagged_addresses: tagged,
        meta: fields.map("Meta")?.unwrap_or_default().into_iter().collect(),
        port: fields.whole("Port")?.unwrap_or(0),
        socket_path: fields.text("SocketPath")?,
        weights: fields.take("Weights").map(|value| inner(value, weights)).transpose()?,
        enable_tag_override: fields.flag("EnableTagOverride")?,
        proxy: json(fields, "Proxy")?,
        connect: json(fields, "Connect")?,
    })
}

fn tagged(kind: &str, value: &Value) -> Result<(String, (String, i64)), Why> {
    let (address, port) = inner(value, |fields| Ok((fields.text("Address")?, fields.whole("Port")?.unwrap_or(0))))?;
    Ok((kind.to_owned(), (address, port)))
}

fn weights(fields: &mut Fields<'_>) -> Result<Weights, Why> {
    // What is not said is 0, and refused.
    Ok(Weights { passing: fields.whole("Passing")?.unwrap_or(0), warning: fields.whole("Warning")?.unwrap_or(0) })
}

/// An object that is handed on as it is; one without fields says nothing.
fn json(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, Why> {
    match fields.take(name) {
        None => Ok(None),
        Some(Value::Object(object)) if object.is_empty() => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value.to_string())),
        Some(_) => Err(format!("json: cannot unmarshal into Go struct field .{name} of type object")),
    }
}

fn catalog_service(fields: &mut Fields<'_>) -> Result<ServiceDraft, Why> {
    let mut draft = service(fields, "Service")?;
    if draft.id.is_empty() {
        draft.id.clone_from(&draft.name);
    }
    fields.ignore(&["Namespace", "Partition", "PeerName", "Locality", "LocallyRegisteredAsSidecar"]);
    fields.ignore(&["CreateIndex", "ModifyIndex", "ContentHash", "Datacenter"]);
    Ok(draft)
}

fn catalog_check(fields: &mut Fields<'_>) -> Result<CheckDraft, Why> {
    let id = fields.text("CheckID")?;
    let draft = CheckDraft {
        id: if id.is_empty() { fields.text("ID")? } else { id },
        name: fields.text("Name")?,
        status: fields.text("Status")?,
        notes: fields.text("Notes")?,
        output: fields.text("Output")?,
        service_id: fields.text("ServiceID")?,
        kind: fields.text("Type")?,
        definition: match fields.take("Definition") {
            None => Definition::default(),
            Some(value) => inner(value, definition)?.0,
        },
    };
    fields.ignore(&["Node", "ServiceName", "ServiceTags", "Namespace", "Partition", "PeerName", "ExposedPort"]);
    fields.ignore(&["CreateIndex", "ModifyIndex", "Interval", "Timeout", "ID"]);
    Ok(draft)
}

/// A check as the agent takes it, and what else it asked for.
struct Made {
    draft: CheckDraft,
    /// How it is to be made, where that is not by TTL, HTTP or TCP.
    foreign: Option<&'static str>,
}

impl Made {
    fn check(self) -> Result<CheckDraft, Fault> {
        match self.foreign {
            None => Ok(self.draft),
            Some("Script" | "ScriptArgs" | "Args" | "DockerContainerID") => Err(Fault::bad(
                "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or \
                 'enable_local_script_checks' to true",
            )),
            Some(kind) => Err(Fault::bad(format!("Invalid check: '{kind}' checks are not made by this node"))),
        }
    }
}

fn agent_check(fields: &mut Fields<'_>) -> Result<Made, Why> {
    let id = fields.text("CheckID")?;
    let (definition, foreign) = definition(fields)?;
    let draft = CheckDraft {
        id: if id.is_empty() { fields.text("ID")? } else { id },
        name: fields.text("Name")?,
        status: fields.text("Status")?,
        notes: fields.text("Notes")?,
        output: fields.text("Output")?,
        service_id: fields.text("ServiceID")?,
        kind: String::new(),
        definition,
    };
    fields.ignore(&["ID", "Token", "Namespace", "Partition", "Type"]);
    Ok(Made { draft, foreign })
}

/// How a check is made, and the first word of another way that was asked for.
fn definition(fields: &mut Fields<'_>) -> Result<(Definition, Option<&'static str>), Why> {
    const FOREIGN: [&str; 11] = [
        "Script",
        "ScriptArgs",
        "Args",
        "DockerContainerID",
        "GRPC",
        "UDP",
        "H2PING",
        "AliasNode",
        "AliasService",
        "OSService",
        "Shell",
    ];
    let some = |span: Duration| Some(span).filter(|span| !span.is_zero());
    let header = match fields.take("Header") {
        None => Vec::new(),
        Some(value) => inner(value, headers)?,
    };
    let definition = Definition {
        ttl: some(fields.span("TTL")?),
        http: fields.some_text("HTTP")?.map(Into::into),
        method: fields.text("Method")?.into(),
        header: header.into_iter().collect(),
        body: fields.text("Body")?.into(),
        tcp: fields.some_text("TCP")?.map(Into::into),
        interval: some(fields.span("Interval")?),
        timeout: some(fields.span("Timeout")?),
        tls_skip_verify: fields.flag("TLSSkipVerify")?,
        deregister_after: some(fields.span("DeregisterCriticalServiceAfter")?),
        successes_before_passing: times(fields, "SuccessBeforePassing")?,
        failures_before_critical: times(fields, "FailuresBeforeCritical")?,
    };
    fields.ignore(&["FailuresBeforeWarning", "TLSServerName", "OutputMaxSize", "GRPCUseTLS", "H2PingUseTLS"]);
    fields.ignore(&["DisableRedirects", "ProxyHTTP", "ProxyGRPC", "TCPUseTLS"]);
    fields.ignore(&["IntervalDuration", "TimeoutDuration", "DeregisterCriticalServiceAfterDuration"]);
    let mut foreign = None;
    for name in FOREIGN {
        let asked = fields.take(name).is_some_and(|value| !is_nothing(value));
        foreign = foreign.or(asked.then_some(name));
    }
    Ok((definition, foreign))
}

type HeaderLine = (std::sync::Arc<str>, std::sync::Arc<[std::sync::Arc<str>]>);

fn headers(fields: &mut Fields<'_>) -> Result<Vec<HeaderLine>, Why> {
    let mut lines = Vec::new();
    while let Some(name) = fields.next_name() {
        let values = fields.texts(name)?;
        lines.push((name.into(), values.into_iter().map(Into::into).collect()));
    }
    Ok(lines)
}

fn times(fields: &mut Fields<'_>, name: &str) -> Result<u32, Why> {
    let times = fields.whole(name)?.unwrap_or(0).max(0);
    Ok(u32::try_from(times).unwrap_or(u32::MAX))
}

/// Whether a value says nothing: Go's clients write what is not set so.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
