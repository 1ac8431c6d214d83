//! Secrets that stand in a resource itself. Resources are recorded, kept and shown: they name files.

use plan::{Document, Fault};
use serde_json::Value;

/// What a field's name ends with where its text is a secret; without what is neither letter nor digit.
const SECRET: [&str; 12] = [
    "secret",
    "secretkey",
    "password",
    "passphrase",
    "privatekey",
    "presharedkey",
    "psk",
    "token",
    "apikey",
    "authkey",
    "credential",
    "credentials",
];

/// A fault for each secret of a document. None of them shows it.
pub(super) fn inline_secrets(document: &Document) -> Vec<Fault> {
    let mut faults = Vec::new();
    let identity = document.identity().to_string();
    look(&document.spec, "spec", &mut |path, reason| faults.push(Fault::new(&identity, path, reason)));
    for (key, text) in &document.annotations {
        if let Some(reason) = secret(key, text) {
            faults.push(Fault::new(&identity, format!("metadata.annotations.{key}"), reason));
        }
    }
    faults
}

fn look(value: &Value, path: &str, found: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let inner = format!("{path}.{key}");
                match value {
                    Value::String(text) => secret(key, text).into_iter().for_each(|reason| found(&inner, reason)),
                    _ => look(value, &inner, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = format!("{path}[{index}]");
                match item {
                    Value::String(text) => secret("", text).into_iter().for_each(|reason| found(&inner, reason)),
                    _ => look(item, &inner, found),
                }
            }
        }
        _ => {}
    }
}

/// Why a text cannot stand there.
fn secret(key: &str, text: &str) -> Option<String> {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let named =
        SECRET.iter().any(|secret| plain.ends_with(secret)) && !text.trim().is_empty() && !text.starts_with('/');
    let key_block = text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----");
    (named || key_block).then(|| {
        let wanted = if key.is_empty() { String::from("a file") } else { format!("a file, as in '{key}File: /path'") };
        format!("holds a secret: resources are recorded and shown, so write it to a file and name {wanted}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(spec: Value, expected: &[&str]) {
        let value = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec});
        let document = plan::documents(value).unwrap().remove(0);
        let faults = inline_secrets(&document);
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, expected);
        assert!(faults.iter().all(|fault| !fault.to_string().contains("hunter2")));
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands_and_never_shown() {
        check(json!({"auth": {"secret": "hunter2"}}), &["spec.auth.secret"]);
        check(
            json!({"env": {"API_TOKEN": "hunter2", "DB-PASSWORD": "hunter2"}}),
            &["spec.env.API_TOKEN", "spec.env.DB-PASSWORD"],
        );
        check(json!({"peers": [{"preSharedKey": "hunter2"}]}), &["spec.peers[0].preSharedKey"]);
        check(json!({"list": ["-----BEGIN EC PRIVATE KEY-----\nhunter2"]}), &["spec.list[0]"]);
    }

    #[test]
    fn what_names_a_file_is_no_secret() {
        check(json!({"auth": {"secretFile": "/etc/key", "secretRef": "x", "signingKey": "new"}}), &[]);
        check(json!({"env": {"TOKEN": "/run/token", "PASSWORD": ""}, "keys": [{"name": "a"}], "token": 5}), &[]);
    }
}
