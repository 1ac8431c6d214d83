//! What an expression can speak of, in each kind of thing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use crate::map::Map;
use crate::model::{Check, Health, Node, Service, ServiceAddress, Status};

/// What a selector leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// Texts, or things that can only be counted.
    List,
    /// A map, of which its keys are looked at.
    Map,
}

/// A value that a selector found.
#[derive(Debug, Clone)]
pub enum Found<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Texts.
    List(&'a [Arc<str>]),
    /// The keys of a map.
    Keys(Vec<&'a str>),
    /// So many things.
    Count(usize),
}

impl Found<'_> {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Found::Text(text) => text.is_empty(),
            Found::List(texts) => texts.is_empty(),
            Found::Keys(keys) => keys.is_empty(),
            Found::Count(count) => *count == 0,
            Found::Number(_) | Found::Flag(_) => false,
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Found::Text(_) => Shape::Text,
            Found::Number(_) => Shape::Number,
            Found::Flag(_) => Shape::Flag,
            Found::List(_) | Found::Count(_) => Shape::List,
            Found::Keys(_) => Shape::Map,
        }
    }
}

/// What an expression can be evaluated against.
pub trait Selectable {
    /// What a selector leads to; `None`: nowhere, in any such thing.
    fn shape(path: &[Box<str>]) -> Option<Shape>;

    /// Tells each value that a selector finds: none where it is not there, several through a list.
    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>));
}

/// An instance as `/v1/catalog/service` lists it: one flat thing.
#[derive(Debug, Clone, Copy)]
pub struct CatalogService<'a>(pub &'a Health);

/// What a path comes to: a value, or what would be there.
enum Place<'a> {
    There(Found<'a>),
    Absent(Shape),
}

impl<'a> Place<'a> {
    fn shape(&self) -> Shape {
        match self {
            Place::There(found) => found.shape(),
            Place::Absent(shape) => *shape,
        }
    }

    fn found(self) -> Option<Found<'a>> {
        if let Place::There(found) = self { Some(found) } else { None }
    }
}

/// The first word of a path, and the rest.
fn split(path: &[Box<str>]) -> Option<(&str, &[Box<str>])> {
    path.split_first().map(|(first, rest)| (&**first, rest))
}

fn leaf<'a>(found: Found<'a>, rest: &[Box<str>]) -> Option<Place<'a>> {
    rest.is_empty().then_some(Place::There(found))
}

fn text<'a>(text: &'a str, rest: &[Box<str>]) -> Option<Place<'a>> {
    leaf(Found::Text(text), rest)
}

fn texts<'a>(map: &'a Map<Arc<str>>, rest: &[Box<str>]) -> Option<Place<'a>> {
    match rest {
        [] => Some(Place::There(Found::Keys(map.iter().map(|(key, _)| &**key).collect()))),
        [key] => Some(map.get(key).map_or(Place::Absent(Shape::Text), |value| Place::There(Found::Text(value)))),
        _ => None,
    }
}

fn addresses<'a>(map: &'a Map<ServiceAddress>, rest: &[Box<str>]) -> Option<Place<'a>> {
    match rest {
        [] => Some(Place::There(Found::Keys(map.iter().map(|(key, _)| &**key).collect()))),
        [key, member] => match &**member {
            "Address" => {
                Some(map.get(key).map_or(Place::Absent(Shape::Text), |at| Place::There(Found::Text(&at.address))))
            }
            "Port" => {
                Some(map.get(key).map_or(Place::Absent(Shape::Number), |at| Place::There(Found::Number(at.port))))
            }
            _ => None,
        },
        _ => None,
    }
}

fn weights<'a>(service: &'a Service, rest: &[Box<str>]) -> Option<Place<'a>> {
    let [member] = rest else { return None };
    match &**member {
        "Passing" => Some(Place::There(Found::Number(service.weights.passing))),
        "Warning" => Some(Place::There(Found::Number(service.weights.warning))),
        _ => None,
    }
}

fn of_node<'a>(node: &'a Node, path: &[Box<str>]) -> Option<Place<'a>> {
    let (first, rest) = split(path)?;
    match first {
        "ID" => text(&node.id, rest),
        "Node" => text(&node.node, rest),
        "Address" => text(&node.address, rest),
        "Datacenter" => text(&node.datacenter, rest),
        "TaggedAddresses" => texts(&node.tagged_addresses, rest),
        "Meta" => texts(&node.meta, rest),
        _ => None,
    }
}

fn of_service<'a>(service: &'a Service, path: &[Box<str>]) -> Option<Place<'a>> {
    let (first, rest) = split(path)?;
    match first {
        "Kind" => text(&service.kind, rest),
        "ID" => text(&service.id, rest),
        "Service" => text(&service.service, rest),
        "Tags" => leaf(Found::List(&service.tags), rest),
        "Address" => text(&service.address, rest),
        "TaggedAddresses" => addresses(&service.tagged_addresses, rest),
        "Meta" => texts(&service.meta, rest),
        "Port" => leaf(Found::Number(service.port), rest),
        "SocketPath" => text(&service.socket_path, rest),
        "Weights" => weights(service, rest),
        "EnableTagOverride" => leaf(Found::Flag(service.enable_tag_override), rest),
        _ => None,
    }
}

fn of_check<'a>(check: &'a Check, path: &[Box<str>]) -> Option<Place<'a>> {
    let (first, rest) = split(path)?;
    match first {
        "Node" => text(&check.node, rest),
        "CheckID" => text(&check.check_id, rest),
        "Name" => text(&check.name, rest),
        "Status" => text(check.status.as_str(), rest),
        "Notes" => text(&check.notes, rest),
        "Output" => text(&check.output, rest),
        "ServiceID" => text(&check.service_id, rest),
        "ServiceName" => text(&check.service_name, rest),
        "ServiceTags" => leaf(Found::List(&check.service_tags), rest),
        "Type" => text(&check.kind, rest),
        _ => None,
    }
}

fn of_catalog<'a>(node: &'a Node, service: &'a Service, path: &[Box<str>]) -> Option<Place<'a>> {
    let (first, rest) = split(path)?;
    match first {
        "ID" | "Node" | "Address" | "Datacenter" | "TaggedAddresses" => of_node(node, path),
        "NodeMeta" => texts(&node.meta, rest),
        "ServiceKind" => text(&service.kind, rest),
        "ServiceID" => text(&service.id, rest),
        "ServiceName" => text(&service.service, rest),
        "ServiceTags" => leaf(Found::List(&service.tags), rest),
        "ServiceAddress" => text(&service.address, rest),
        "ServiceTaggedAddresses" => addresses(&service.tagged_addresses, rest),
        "ServiceMeta" => texts(&service.meta, rest),
        "ServicePort" => leaf(Found::Number(service.port), rest),
        "ServiceWeights" => weights(service, rest),
        "ServiceEnableTagOverride" => leaf(Found::Flag(service.enable_tag_override), rest),
        _ => None,
    }
}

/// A check that says nothing: for its shapes.
fn blank_check() -> Check {
    Check {
        node: Arc::default(),
        check_id: Arc::default(),
        name: Arc::default(),
        status: Status::Passing,
        notes: Arc::default(),
        output: Arc::default(),
        service_id: Arc::default(),
        service_name: Arc::default(),
        service_tags: Arc::default(),
        kind: Arc::default(),
        definition: None,
        agent: Arc::default(),
        since: Moment::EPOCH,
        recorded: Moment::EPOCH,
        created: 0,
        changed: 0,
    }
}

fn shape(place: Option<Place<'_>>) -> Option<Shape> {
    place.map(|place| place.shape())
}

fn found<'a>(place: Option<Place<'a>>, tell: &mut dyn FnMut(Found<'a>)) {
    if let Some(found) = place.and_then(Place::found) {
        tell(found);
    }
}

impl Selectable for Node {
    fn shape(path: &[Box<str>]) -> Option<Shape> {
        shape(of_node(&Node::default(), path))
    }

    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>)) {
        found(of_node(self, path), tell);
    }
}

impl Selectable for Service {
    fn shape(path: &[Box<str>]) -> Option<Shape> {
        shape(of_service(&Service::default(), path))
    }

    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>)) {
        found(of_service(self, path), tell);
    }
}

impl Selectable for Check {
    fn shape(path: &[Box<str>]) -> Option<Shape> {
        shape(of_check(&blank_check(), path))
    }

    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>)) {
        found(of_check(self, path), tell);
    }
}

impl Selectable for Health {
    fn shape(path: &[Box<str>]) -> Option<Shape> {
        match split(path)? {
            ("Node", rest) => Node::shape(rest),
            ("Service", rest) => Service::shape(rest),
            ("Checks", []) => Some(Shape::List),
            ("Checks", rest) => Check::shape(rest),
            _ => None,
        }
    }

    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>)) {
        match split(path) {
            Some(("Node", rest)) => self.node.select(rest, tell),
            Some(("Service", rest)) => self.service.select(rest, tell),
            Some(("Checks", [])) => tell(Found::Count(self.checks.len())),
            Some(("Checks", rest)) => self.checks.iter().for_each(|check| check.select(rest, tell)),
            _ => {}
        }
    }
}

impl Selectable for CatalogService<'_> {
    fn shape(path: &[Box<str>]) -> Option<Shape> {
        shape(of_catalog(&Node::default(), &Service::default(), path))
    }

    fn select<'a>(&'a self, path: &[Box<str>], tell: &mut dyn FnMut(Found<'a>)) {
        found(of_catalog(&self.0.node, &self.0.service, path), tell);
    }
}
