//! The rules of the kinds, row by row: what is taken, with which defaults, and what is refused with
//! which words: of each kind in `kinds`, those of the mesh in `mesh`, of documents together in `together`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod kinds;
mod mesh;
mod together;

use plan::{Declared, check, documents};
use serde_json::{Value, json};

const OURS: &str = "tidings.dev/v1";
const FEDERATION: &str = "federation.routerd.net/v1alpha1";
const PLUGIN: &str = "plugin.routerd.net/v1alpha1";
const CONFIG: &str = "config.routerd.net/v1alpha1";
const MOBILITY: &str = "mobility.routerd.net/v1alpha1";

fn resource(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn judged(resources: &[Value]) -> Result<Declared, Vec<String>> {
    let documents = documents(resources.to_vec().into()).map_err(|fault| vec![fault.to_string()])?;
    check(documents).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn taken(resources: &[Value]) -> Declared {
    let declared = judged(resources).unwrap();
    assert_eq!(declared.warnings(), []);
    declared
}

#[track_caller]
fn warned(resources: &[Value], warnings: &[&str]) -> Declared {
    let declared = judged(resources).unwrap();
    assert_eq!(declared.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(), warnings);
    declared
}

#[track_caller]
fn refused(resources: &[Value], faults: &[&str]) {
    assert_eq!(judged(resources).unwrap_err(), faults);
}

fn group() -> Value {
    resource(OURS, "EventGroup", "edge", json!({"nodeName": "a", "auth": {"secretFile": "/etc/key"}}))
}

fn plugin() -> Value {
    resource(OURS, "Plugin", "derive", json!({"executable": "/usr/bin/derive"}))
}

/// A spec of ours, alone: the fault without the resource's name.
#[track_caller]
fn spec_refused(kind: &str, spec: Value, faults: &[&str]) {
    let id = format!("{OURS}/{kind}/x ");
    let found = judged(&[resource(OURS, kind, "x", spec)]).unwrap_err();
    let found: Vec<&str> = found.iter().map(|fault| fault.strip_prefix(&id).unwrap_or(fault)).collect();
    assert_eq!(found, faults);
}

fn nodes() -> Value {
    json!({"nodes": [
        {"nodeRef": "a", "eventEndpoint": "http://10.0.0.1:8787", "role": "onprem"},
        {"nodeRef": "b", "eventEndpoint": "http://10.0.0.2:8787", "role": "cloud", "site": "x"},
        {"nodeRef": "c", "wireGuard": {"publicKey": "k"}},
    ]})
}
