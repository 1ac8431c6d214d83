//! What there is, as the original writes it: field by field, in its order. Source: answers of Consul 1.8.7, with what
//! newer ones added.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::{Check, Definition, Health, Map, Node, Pair, Service, ServiceAddress, Session, UserEvent, Weights};

use super::duration;
use super::json::{Object, list};

/// A proxy's settings where nothing was said.
const PROXY: &str = r#"{"MeshGateway":{},"Expose":{}}"#;

/// `{"Node":…,"Service":…,"Checks":[…]}`: an instance as `health/service` lists it.
pub fn health(out: &mut String, of: &Health) {
    let mut object = Object::new(out);
    node(object.key("Node"), &of.node);
    service(object.key("Service"), &of.service);
    list(object.key("Checks"), &of.checks, |out, each| check(out, each));
    object.end();
}

fn map(object: &mut Object<'_>, name: &str, values: &Map<Arc<str>>) {
    if values.is_empty() {
        object.raw(name, "null");
    } else {
        object.map(name, values.iter());
    }
}

/// A node.
pub fn node(out: &mut String, of: &Node) {
    let mut object = Object::new(out);
    object.text("ID", &of.id).text("Node", &of.node).text("Address", &of.address).text("Datacenter", &of.datacenter);
    map(&mut object, "TaggedAddresses", &of.tagged_addresses);
    map(&mut object, "Meta", &of.meta);
    object.number("CreateIndex", of.created).number("ModifyIndex", of.changed);
    object.end();
}

fn addresses(object: &mut Object<'_>, name: &str, values: &Map<ServiceAddress>) {
    let mut inner = Object::new(object.key(name));
    for (kind, address) in values.iter() {
        let mut one = Object::new(inner.key(kind));
        one.text("Address", &address.address).number("Port", address.port);
        one.end();
    }
    inner.end();
}

fn weights(object: &mut Object<'_>, name: &str, of: Weights) {
    let mut inner = Object::new(object.key(name));
    inner.number("Passing", of.passing).number("Warning", of.warning);
    inner.end();
}

/// A service as `health/service` and `catalog/node` show it.
pub fn service(out: &mut String, of: &Service) {
    let mut object = Object::new(out);
    if !of.kind.is_empty() {
        object.text("Kind", &of.kind);
    }
    object.text("ID", &of.id).text("Service", &of.service).texts("Tags", &*of.tags).text("Address", &of.address);
    if !of.tagged_addresses.is_empty() {
        addresses(&mut object, "TaggedAddresses", &of.tagged_addresses);
    }
    map(&mut object, "Meta", &of.meta);
    object.number("Port", of.port);
    if !of.socket_path.is_empty() {
        object.text("SocketPath", &of.socket_path);
    }
    weights(&mut object, "Weights", of.weights);
    object.flag("EnableTagOverride", of.enable_tag_override);
    object.raw("Proxy", of.proxy.as_ref().map_or(PROXY, |proxy| &proxy.0));
    object.raw("Connect", of.connect.as_ref().map_or("{}", |connect| &connect.0));
    object.number("CreateIndex", of.created).number("ModifyIndex", of.changed);
    object.end();
}

/// A check.
pub fn check(out: &mut String, of: &Check) {
    let mut object = Object::new(out);
    object.text("Node", &of.node).text("CheckID", &of.check_id).text("Name", &of.name);
    object.text("Status", of.status.as_str()).text("Notes", &of.notes).text("Output", &of.output);
    object.text("ServiceID", &of.service_id).text("ServiceName", &of.service_name);
    object.texts("ServiceTags", &*of.service_tags).text("Type", &of.kind);
    definition(object.key("Definition"), of.definition.as_deref());
    object.number("CreateIndex", of.created).number("ModifyIndex", of.changed);
    object.end();
}

/// How a check is made; what is not said is left out.
fn definition(out: &mut String, of: Option<&Definition>) {
    let mut object = Object::new(out);
    if let Some(of) = of {
        for (name, span) in [("Interval", of.interval), ("Timeout", of.timeout), ("TTL", of.ttl)] {
            if let Some(span) = span {
                object.text(name, &duration::print(span));
            }
        }
        if let Some(span) = of.deregister_after {
            object.text("DeregisterCriticalServiceAfter", &duration::print(span));
        }
        for (name, text) in [("HTTP", of.http.as_deref()), ("TCP", of.tcp.as_deref())] {
            if let Some(text) = text {
                object.text(name, text);
            }
        }
        for (name, text) in [("Method", &of.method), ("Body", &of.body)] {
            if !text.is_empty() {
                object.text(name, text);
            }
        }
        if !of.header.is_empty() {
            let mut inner = Object::new(object.key("Header"));
            for (name, values) in of.header.iter() {
                inner.texts(name, &**values);
            }
            inner.end();
        }
        if of.tls_skip_verify {
            object.flag("TLSSkipVerify", true);
        }
    }
    object.end();
}

/// An instance as `catalog/service` lists it: its node's and its own fields in one object.
pub fn catalog_service(out: &mut String, of: &Health) {
    let (node, service) = (&of.node, &of.service);
    let mut object = Object::new(out);
    object.text("ID", &node.id).text("Node", &node.node).text("Address", &node.address);
    object.text("Datacenter", &node.datacenter);
    map(&mut object, "TaggedAddresses", &node.tagged_addresses);
    map(&mut object, "NodeMeta", &node.meta);
    object.text("ServiceKind", &service.kind).text("ServiceID", &service.id).text("ServiceName", &service.service);
    object.texts("ServiceTags", &*service.tags).text("ServiceAddress", &service.address);
    if !service.tagged_addresses.is_empty() {
        addresses(&mut object, "ServiceTaggedAddresses", &service.tagged_addresses);
    }
    weights(&mut object, "ServiceWeights", service.weights);
    map(&mut object, "ServiceMeta", &service.meta);
    object.number("ServicePort", service.port).text("ServiceSocketPath", &service.socket_path);
    object.flag("ServiceEnableTagOverride", service.enable_tag_override);
    object.raw("ServiceProxy", service.proxy.as_ref().map_or(PROXY, |proxy| &proxy.0));
    object.raw("ServiceConnect", service.connect.as_ref().map_or("{}", |connect| &connect.0));
    object.number("CreateIndex", service.created).number("ModifyIndex", service.changed);
    object.end();
}

/// A service as `agent/services` shows it; its maps are never null.
pub fn agent_service(out: &mut String, of: &Service, datacenter: &str, hash: Option<&str>) {
    let mut object = Object::new(out);
    if !of.kind.is_empty() {
        object.text("Kind", &of.kind);
    }
    object.text("ID", &of.id).text("Service", &of.service).texts("Tags", &*of.tags);
    object.map("Meta", of.meta.iter()).number("Port", of.port).text("Address", &of.address);
    if !of.socket_path.is_empty() {
        object.text("SocketPath", &of.socket_path);
    }
    if !of.tagged_addresses.is_empty() {
        addresses(&mut object, "TaggedAddresses", &of.tagged_addresses);
    }
    weights(&mut object, "Weights", of.weights);
    object.flag("EnableTagOverride", of.enable_tag_override);
    if let Some(proxy) = &of.proxy {
        object.raw("Proxy", &proxy.0);
    }
    if let Some(connect) = &of.connect {
        object.raw("Connect", &connect.0);
    }
    if let Some(hash) = hash {
        object.text("ContentHash", hash);
    }
    object.text("Datacenter", datacenter);
    object.end();
}

/// A key and its value.
pub fn pair(out: &mut String, of: &Pair, with_value: bool) {
    let mut object = Object::new(out);
    object.number("LockIndex", of.lock_index).text("Key", &of.key).number("Flags", of.flags);
    if of.value.is_empty() || !with_value {
        object.raw("Value", "null");
    } else {
        object.text("Value", &STANDARD.encode(&of.value));
    }
    if let Some(session) = &of.session {
        object.text("Session", session);
    }
    object.number("CreateIndex", of.created).number("ModifyIndex", of.changed);
    object.end();
}

/// A session.
pub fn session(out: &mut String, of: &Session) {
    let mut object = Object::new(out);
    object.text("ID", &of.id).text("Name", &of.name).text("Node", &of.node);
    let delay = of.lock_delay.as_nanos();
    object.number("LockDelay", i128::try_from(delay).unwrap_or(i128::MAX)).text("Behavior", of.behavior.as_str());
    object.text("TTL", &of.ttl.map(lifetime).unwrap_or_default());
    object.texts("NodeChecks", &*of.node_checks);
    if of.service_checks.is_empty() {
        object.raw("ServiceChecks", "null");
    } else {
        list(object.key("ServiceChecks"), &*of.service_checks, |out, id| {
            let mut one = Object::new(out);
            one.text("ID", id).text("Namespace", "");
            one.end();
        });
    }
    // What older clients read in place of the two above.
    object.texts("Checks", of.checks());
    object.number("CreateIndex", of.created).number("ModifyIndex", of.changed);
    object.end();
}

/// A session's lifetime, which the original repeats as it was given: most give whole seconds.
fn lifetime(span: Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{}s", span.as_secs()) } else { duration::print(span) }
}

/// A user event.
pub fn event(out: &mut String, of: &UserEvent) {
    let mut object = Object::new(out);
    object.text("ID", &of.id).text("Name", &of.name);
    if of.payload.is_empty() {
        object.raw("Payload", "null");
    } else {
        object.text("Payload", &STANDARD.encode(&of.payload));
    }
    object.text("NodeFilter", &of.node_filter).text("ServiceFilter", &of.service_filter);
    object.text("TagFilter", &of.tag_filter).number("Version", 1).number("LTime", of.position);
    object.end();
}
