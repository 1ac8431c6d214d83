//! `tidings catalog`: what services there are, over the node's Consul door.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::Request;
use super::consul::{At, Door};
use super::failure::{Failure, Problem};
use super::kinds::plain;
use super::output::{Colour, Out, Show, safe};

const REGISTER_EXAMPLES: &str = "Examples:
  echo '{\"Name\": \"web\", \"Port\": 8080, \"Check\": {\"TTL\": \"15s\"}}' | tidings catalog register -
  tidings catalog register web.json          # a service of this node, or several: {\"services\": [...]}
  tidings catalog register outside.json      # with \"Node\" and \"Address\": of any node";

const DEREGISTER_EXAMPLES: &str = "Examples:
  tidings catalog deregister web1                 # an instance of this node
  tidings catalog deregister web1 --node outside  # an instance of another node
  tidings catalog deregister --node outside       # a node with all that is on it";

/// Largest file of registrations, in bytes: beyond, the node refuses it anyway.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What can be done with the catalogue.
#[derive(Debug, clap::Subcommand)]
pub enum CatalogCommand {
    /// List services with their tags
    Services(ListArgs),
    /// List nodes
    Nodes(ListArgs),
    /// List the instances of a service, with their health
    Service(ServiceArgs),
    /// Register services from a file
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(RegisterArgs),
    /// Take an instance or a node out
    #[command(after_help = DEREGISTER_EXAMPLES)]
    Deregister(DeregisterArgs),
}

/// Flags of the listings.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    at: At,
}

/// Which instances of a service.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The service
    name: String,
    /// Only instances that pass every check
    #[arg(long)]
    passing: bool,
    /// Only instances with this tag; several: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only instances that an expression holds for, such as 'Service.Meta.version == 2'
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
}

/// Flags of `tidings catalog service`.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings catalog register`.
#[derive(Debug, clap::Args)]
pub struct RegisterArgs {
    /// A JSON file; - reads standard input
    file: PathBuf,
    #[command(flatten)]
    at: At,
}

/// Flags of `tidings catalog deregister`.
#[derive(Debug, clap::Args)]
pub struct DeregisterArgs {
    /// The instance's id
    #[arg(required_unless_present = "node")]
    id: Option<String>,
    /// The node that it is on, where that is not the one that is asked
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    at: At,
}

impl Which {
    /// The request for these instances.
    pub fn request(&self) -> Request {
        Request::get(&["health", "service", &self.name])
            .query_if("passing", self.passing.then_some("true"))
            .query_each("tag", &self.tags)
            .query_if("filter", self.filter.as_deref())
    }
}

/// Does what was asked.
pub fn run(command: CatalogCommand) -> Result<(), Failure> {
    match command {
        CatalogCommand::Services(args) => services(&args),
        CatalogCommand::Nodes(args) => nodes(&args),
        CatalogCommand::Service(args) => service(&args),
        CatalogCommand::Register(args) => register(&args),
        CatalogCommand::Deregister(args) => deregister(&args),
    }
}

fn services(args: &ListArgs) -> Result<(), Failure> {
    let answer = Door::new(&args.at)?.ask(&Request::get(&["catalog", "services"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let services: BTreeMap<String, Vec<String>> =
        serde_json::from_slice(&answer).map_err(|error| super::consul::strange(&error))?;
    let row = |(name, tags): (&String, &Vec<String>)| vec![safe(name), safe(&tags.join(", "))];
    out.table(&["SERVICE", "TAGS"], &[], services.iter().map(row).collect())?;
    out.flush()
}

fn nodes(args: &ListArgs) -> Result<(), Failure> {
    let answer = Door::new(&args.at)?.ask(&Request::get(&["catalog", "nodes"]))?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let nodes: Vec<Value> = serde_json::from_slice(&answer).map_err(|error| super::consul::strange(&error))?;
    let text = |node: &Value, field: &str| safe(node[field].as_str().unwrap_or_default());
    let row = |node: &Value| {
        let meta = node["Meta"].as_object().map(pairs).unwrap_or_default();
        vec![text(node, "Node"), text(node, "Address"), text(node, "Datacenter"), text(node, "ID"), meta]
    };
    out.table(&["NODE", "ADDRESS", "DATACENTER", "ID", "META"], &[], nodes.iter().map(row).collect())?;
    out.flush()
}

fn pairs(map: &Map<String, Value>) -> String {
    let pairs: Vec<String> = map.iter().map(|(key, value)| safe(&format!("{key}={}", plain(value)))).collect();
    pairs.join(", ")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: InstanceNode,
    service: InstanceService,
    checks: Vec<InstanceCheck>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceNode {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceService {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: i64,
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceCheck {
    status: String,
    name: String,
    output: String,
}

impl Instance {
    fn row(&self, out: &Out) -> Vec<String> {
        let own = &self.service.address;
        let address = if own.is_empty() { &self.node.address } else { own };
        let worst = ["critical", "warning"];
        let worst = worst.into_iter().find_map(|status| self.checks.iter().find(|check| check.status == status));
        let (status, why) = match worst {
            None => (out.paint(Colour::Green, "passing"), String::new()),
            Some(check) => {
                let why = if check.output.is_empty() { &check.name } else { &check.output };
                (out.paint(Colour::Yellow, &safe(&check.status)), super::output::preview(why, 60))
            }
        };
        let place = safe(&format!("{address}:{}", self.service.port));
        vec![safe(&self.node.node), safe(&self.service.id), place, status, safe(&self.service.tags.join(", ")), why]
    }
}

fn service(args: &ServiceArgs) -> Result<(), Failure> {
    let answer = Door::new(&args.at)?.ask(&args.which.request())?;
    let mut out = Out::new();
    if args.show.json {
        out.document(&answer)?;
        return out.flush();
    }
    let instances: Vec<Instance> = serde_json::from_slice(&answer).map_err(|error| super::consul::strange(&error))?;
    if instances.is_empty() {
        return Err(Failure::NotFound(Problem {
            title: format!("there is no such instance of '{}'", safe(&args.which.name)),
            hint: Some("see what there is: tidings catalog services".to_owned()),
            ..Problem::default()
        }));
    }
    let rows = instances.iter().map(|instance| instance.row(&out)).collect();
    out.table(&["NODE", "ID", "ADDRESS", "STATUS", "TAGS", "WHY"], &[], rows)?;
    out.flush()
}

fn read(file: &Path) -> Result<Value, Failure> {
    let told = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot use {}: {error}", file.display()), "see: tidings catalog register --help")
    };
    let mut text = Vec::new();
    let size = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
    };
    if size.map_err(|error| told(&error))? as u64 > FILE_BYTES_MAX {
        return Err(told(&"it is larger than 16 MiB"));
    }
    serde_json::from_slice(&text).map_err(|error| told(&error))
}

/// The field of an object, whatever the case of its name.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// What a file asks for: where each registration goes, its name for people, its body.
fn registrations(document: &Value) -> Vec<(&'static [&'static str], String, &Value)> {
    const AGENT: &[&str] = &["agent", "service", "register"];
    const CATALOG: &[&str] = &["catalog", "register"];
    let named = |value: &Value, fields: &[&str]| {
        let found = fields.iter().find_map(|name| field(value, name)?.as_str());
        found.unwrap_or("a service").to_owned()
    };
    if let Some(all) = document.as_array().or_else(|| field(document, "services")?.as_array()) {
        return all.iter().flat_map(registrations).collect();
    }
    if field(document, "node").is_some() {
        return vec![(CATALOG, named(document, &["node"]), document)];
    }
    let service = field(document, "service").filter(|service| service.is_object()).unwrap_or(document);
    vec![(AGENT, named(service, &["id", "name"]), service)]
}

fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let document = read(&args.file)?;
    let all = registrations(&document);
    let door = Door::new(&args.at)?;
    let mut out = Out::new();
    for (path, name, body) in all {
        door.ask(&Request::new(Method::PUT, path).json(body))?;
        out.line(format!("registered {}", safe(&name)))?;
        out.flush()?;
    }
    Ok(())
}

fn deregister(args: &DeregisterArgs) -> Result<(), Failure> {
    let door = Door::new(&args.at)?;
    let put = |path: &[&str]| Request::new(Method::PUT, path);
    let what = match (&args.node, &args.id) {
        (Some(node), id) => {
            let mut body = json!({ "Node": node });
            if let Some(id) = id {
                body["ServiceID"] = json!(id);
            }
            door.ask(&put(&["catalog", "deregister"]).json(&body))?;
            id.as_ref().map_or_else(|| format!("the node {node}"), |id| format!("{id} on {node}"))
        }
        (None, Some(id)) => {
            door.ask(&put(&["agent", "service", "deregister", id]).body(Vec::new()))?;
            id.clone()
        }
        (None, None) => return Ok(()),
    };
    let mut out = Out::new();
    out.line(format!("deregistered {}", safe(&what)))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: Value, expected: &[(&str, &str)]) {
        let found: Vec<(String, String)> =
            registrations(&document).into_iter().map(|(path, name, _)| (path.join("/"), name)).collect();
        let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert_eq!(found, expected, "{document}");
    }

    #[test]
    fn a_file_holds_a_service_or_several_or_another_node() {
        check(json!({"Name": "web"}), &[("agent/service/register", "web")]);
        check(json!({"service": {"name": "web", "id": "w1"}}), &[("agent/service/register", "w1")]);
        let two = [("agent/service/register", "a"), ("agent/service/register", "b")];
        check(json!({"services": [{"name": "a"}, {"name": "b"}]}), &two);
        check(json!([{"name": "a"}, {"name": "b"}]), &two);
        check(json!({"Node": "n", "Service": {"Service": "x"}}), &[("catalog/register", "n")]);
        check(json!(3), &[("agent/service/register", "a service")]);
    }
}
