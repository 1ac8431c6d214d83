//! Resources and their changes as they are shown.

use journal::Stored;
use plan::{Declared, Document, Identity, diff};
use serde_json::{Value, json};

use super::{APPLIED, Sources};
use crate::recorded::BY;

/// What becomes of a resource.
pub(super) struct Action {
    pub(super) identity: Identity,
    /// As it is to be; none: it goes.
    pub(super) document: Option<Document>,
    word: &'static str,
    changes: Vec<plan::Change>,
}

impl Action {
    pub(super) fn applied(old: Option<&Document>, new: &Document) -> Self {
        let changes = diff(old, Some(new));
        let word = match old {
            None => "created",
            Some(_) if changes.is_empty() => "unchanged",
            Some(_) => "changed",
        };
        Action { identity: new.identity(), document: Some(new.clone()), word, changes }
    }

    pub(super) fn deleted(old: &Document) -> Self {
        Action { identity: old.identity(), document: None, word: "deleted", changes: diff(Some(old), None) }
    }

    pub(super) fn word(&self) -> &'static str {
        self.word
    }

    pub(super) fn changes_anything(&self) -> bool {
        self.word != "unchanged"
    }
}

/// The answer to a change.
pub(super) fn answer(actions: &[Action], declared: &Declared, dry_run: bool) -> Value {
    let result = |action: &Action| {
        let Identity { api_version, kind, name } = &action.identity;
        let changes: Vec<Value> = action
            .changes
            .iter()
            .map(|change| json!({"path": change.path, "from": change.from, "to": change.to}))
            .collect();
        json!({"apiVersion": api_version, "kind": kind, "name": name, "action": action.word, "changes": changes})
    };
    let results: Vec<Value> = actions.iter().map(result).collect();
    let concerned = |fault: &&plan::Fault| actions.iter().any(|action| action.identity.to_string() == fault.resource);
    let warning = |fault: &plan::Fault| json!({"resource": fault.resource, "path": fault.path, "reason": fault.reason});
    let warnings: Vec<Value> = declared.warnings().iter().filter(concerned).map(warning).collect();
    json!({"results": results, "warnings": warnings, "dryRun": dry_run})
}

/// A resource in force, with where it comes from.
pub(super) fn whole(sources: &Sources, identity: &Identity) -> Option<Value> {
    if let Some(file) = sources.files.get(identity) {
        let status = json!({"origin": "file", "file": file.path().display().to_string(), "line": file.line()});
        return Some(with_status(&file.document, status));
    }
    let event = sources.events.get(identity)?;
    let status = json!({"origin": "api", "seq": event.seq, "time": event.time.to_string()});
    Some(with_status(&event.document, status))
}

fn with_status(document: &Document, status: Value) -> Value {
    let mut whole = document.to_json();
    if let Some(members) = whole.as_object_mut() {
        members.insert("status".to_owned(), status);
    }
    whole
}

/// A change that was recorded.
pub(super) fn history(stored: &Stored) -> Value {
    let headers = &stored.message.headers;
    let applied = headers.get("ce-type") == Some(APPLIED);
    let resource: Value = serde_json::from_slice(&stored.message.payload).unwrap_or_default();
    let mut entry = json!({
        "seq": stored.seq,
        "time": stored.time.to_string(),
        "action": if applied { "applied" } else { "deleted" },
        "by": headers.get(&format!("ce-{BY}")),
        "resource": resource,
    });
    if let (Some(members), Some(version)) = (entry.as_object_mut(), resource.get("apiVersion")) {
        members.insert("apiVersion".to_owned(), version.clone());
    }
    entry
}
