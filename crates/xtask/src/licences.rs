//! `cargo xtask licences`: every dependency's licence is on the list, none is banned, all come from
//! crates.io. What cargo-deny does with `deny.toml`, without installing it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::{list, output};

/// Licences that may be linked into the binary. `deny.toml` has the same list.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that may not be there, and why.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "one TLS provider everywhere: ring"),
    ("aws-lc-rs", "one TLS provider everywhere: ring"),
    ("openssl-sys", "no C library on the user's machine: rustls"),
    ("native-tls", "no C library on the user's machine: rustls"),
    ("serde_yaml", "no longer kept: serde-saphyr"),
    ("serde_yml", "unsound: serde-saphyr"),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks what `Cargo.lock` resolves to.
pub fn run() -> Result<bool, String> {
    let printed = output("cargo", &["metadata", "--locked", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    let packages: Vec<&Value> = list(&metadata["packages"]).collect();
    let findings: Vec<String> = packages.iter().flat_map(|package| judge(package)).collect();
    for finding in &findings {
        println!("licences: {finding}");
    }
    println!("licences: {} packages, {} findings", packages.len(), findings.len());
    Ok(findings.is_empty())
}

fn judge(package: &Value) -> Vec<String> {
    let text = |field: &str| package[field].as_str().unwrap_or_default();
    let name = format!("{} {}", text("name"), text("version"));
    let mut findings = Vec::new();
    if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == text("name")) {
        findings.push(format!("{name} is banned: {reason}"));
    }
    if package["source"].is_string() && text("source") != CRATES_IO {
        findings.push(format!("{name} comes from {}, not from crates.io", text("source")));
    }
    match package["license"].as_str() {
        None => findings.push(format!("{name} names no licence")),
        Some(licence) if !allowed(licence) => findings.push(format!("{name} has the licence '{licence}'")),
        Some(_) => {}
    }
    findings
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is the old way to say `OR`.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at) && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut met = both(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at);
    }
    met
}

fn both(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at);
        *at += 1;
        return met && words.get(*at - 1) == Some(&")");
    }
    if words.get(*at) == Some(&"WITH") {
        let whole = words.get(*at + 1).map(|exception| format!("{word} WITH {exception}"));
        *at += 2;
        return whole.is_some_and(|whole| ALLOWED.contains(&whole.as_str()));
    }
    ALLOWED.contains(word)
}

/// The allowed licences, for the comparison with `deny.toml`.
pub fn allowed_set() -> BTreeSet<String> {
    ALLOWED.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_allowed_where_the_list_can_meet_it() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("(GPL-3.0 OR AGPL-3.0) AND MIT", false),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", true),
            ("GPL-2.0 WITH Classpath-exception", false),
            ("MIT/Apache-2.0", true),
            ("", false),
            ("(MIT", false),
        ] {
            assert_eq!(allowed(expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_banned_crate_a_strange_source_and_a_missing_licence_are_found() {
        let judged = |text: &str| judge(&serde_json::from_str(text).unwrap());
        let good = format!(r#"{{"name":"a","version":"1","license":"MIT","source":"{CRATES_IO}"}}"#);
        assert!(judged(&good).is_empty());
        assert!(judged(r#"{"name":"openssl-sys","version":"1","license":"MIT"}"#)[0].contains("banned"));
        assert!(judged(r#"{"name":"a","version":"1","license":"MIT","source":"git+https://x"}"#)[0].contains("git+"));
        assert!(judged(r#"{"name":"a","version":"1"}"#)[0].contains("names no licence"));
        assert!(judged(r#"{"name":"a","version":"1","license":"GPL-3.0"}"#)[0].contains("GPL-3.0"));
    }
}
