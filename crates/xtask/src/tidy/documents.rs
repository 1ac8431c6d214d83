//! Documents: their links lead somewhere, the decisions are numbered and indexed, the two lists of
//! licences are one.

use std::collections::BTreeSet;

use super::Finding;
use crate::licences;
use crate::tree::Tree;

const ADRS: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";

/// Checks all documents.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let documents = tree.texts.iter().filter(|(path, _)| path.ends_with(".md"));
    let mut findings: Vec<Finding> = documents.flat_map(|(path, text)| check_links(tree, path, text)).collect();
    findings.extend(check_adrs(tree));
    findings.extend(check_deny(tree));
    findings
}

fn check_links(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for link in links(line).into_iter().filter(|_| !fenced) {
            if !resolves(tree, path, link) {
                findings.push(Finding::new(path, number + 1, format!("the link '{link}' leads nowhere")));
            }
        }
    }
    findings
}

/// The targets of `[…](target)` outside of code.
fn links(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let in_code = line[..at].bytes().filter(|b| *b == b'`').count() % 2 == 1;
        if let Some(length) = line[at + 2..].find(')').filter(|_| !in_code) {
            found.push(line[at + 2..at + 2 + length].split_whitespace().next().unwrap_or(""));
        }
    }
    found
}

fn resolves(tree: &Tree, from: &str, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if target.is_empty() { from.to_string() } else { join(from, target) };
    let folder = format!("{}/", path.trim_end_matches('/'));
    if !tree.paths.contains(&path) {
        return anchor.is_empty() && tree.paths.iter().any(|known| known.starts_with(&folder));
    }
    let text = tree.texts.get(&path).map_or("", String::as_str);
    anchor.is_empty() || text.lines().filter_map(heading).any(|heading| heading == anchor)
}

/// A path relative to the folder of another file.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { from.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor of a heading line.
fn heading(line: &str) -> Option<String> {
    let title = line.trim_start_matches('#');
    if title.len() == line.len() || !title.starts_with(' ') {
        return None;
    }
    let lower = title.trim().to_lowercase();
    let kept = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

fn check_adrs(tree: &Tree) -> Vec<Finding> {
    let index = tree.texts.get(INDEX).map_or("", String::as_str);
    let mut findings = Vec::new();
    let mut expected = 1;
    for path in tree.paths.iter().filter(|path| path.starts_with(ADRS) && path.ends_with(".md")) {
        let name = &path[ADRS.len()..];
        if name == "README.md" || name == "template.md" {
            continue;
        }
        let number = name.get(..4).filter(|_| name.get(4..5) == Some("-")).and_then(|digits| digits.parse().ok());
        if number != Some(expected) {
            findings.push(Finding::new(path, 0, format!("is to be numbered {expected:04}-…: no gaps, no doubles")));
        }
        expected = number.unwrap_or(expected) + 1;
        let title = tree.texts.get(path).and_then(|text| text.lines().next()).unwrap_or("");
        if !title.starts_with(&format!("# {}: ", name.get(..4).unwrap_or(""))) {
            findings.push(Finding::new(path, 1, "is to open with '# NNNN: what was decided'"));
        }
        if !index.contains(&format!("]({name})")) {
            findings.push(Finding::new(INDEX, 0, format!("does not list {name}")));
        }
    }
    findings
}

fn check_deny(tree: &Tree) -> Option<Finding> {
    let text = tree.texts.get("deny.toml")?;
    let from = text.find("\nallow = [")?;
    let list = text[from + 10..].split(']').next().unwrap_or("");
    let theirs: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_string).collect();
    let ours = licences::allowed_set();
    let odd: Vec<String> = theirs.symmetric_difference(&ours).cloned().collect();
    (!odd.is_empty())
        .then(|| Finding::new("deny.toml", 0, format!("and cargo xtask licences differ in {}", odd.join(", "))))
}
