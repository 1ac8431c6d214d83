//! Who may know whom: the manifests against the two tables of `ARCHITECTURE.md`.
//!
//! The first table, behind the line `<!-- tidy: edges -->`, has a row for each crate: its name, its
//! floor (`pure`, `rim` or `broom`), the crates of the workspace that it may know, and, on the pure
//! floor, the crates from elsewhere too. The second, behind `<!-- tidy: only -->`, has a row for each
//! crate from elsewhere that only some may know.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::tree::{Package, Tree};

const MAP: &str = "ARCHITECTURE.md";
const EDGES: &str = "<!-- tidy: edges -->";
const ONLY: &str = "<!-- tidy: only -->";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["common", "core", "helper", "helpers", "misc", "shared", "types", "util", "utils"];

struct Row {
    line: usize,
    cells: Vec<String>,
}

/// Compares the manifests with the tables.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(map) = tree.texts.get(MAP) else {
        return vec![Finding::new(MAP, 0, "is missing: it lists the allowed edges")];
    };
    let mut findings = Vec::new();
    for (mark, columns) in [(EDGES, 4), (ONLY, 2)] {
        if table(map, mark).iter().filter(|row| row.cells.len() == columns).count() == 0 {
            findings.push(Finding::new(MAP, 0, format!("has no table of {columns} columns behind '{mark}'")));
        }
    }
    let rows = table(map, EDGES).into_iter().filter(|row| row.cells.len() == 4);
    let allowed: BTreeMap<String, Row> = rows.map(|row| (row.cells[0].clone(), row)).collect();
    for package in &tree.packages {
        findings.extend(check_manifest(package));
        match allowed.get(&package.name) {
            None => findings.push(Finding::new(MAP, 0, format!("does not list the crate '{}'", package.name))),
            Some(row) => findings.extend(check_row(tree, package, row)),
        }
    }
    for (name, row) in &allowed {
        if !tree.packages.iter().any(|package| package.name == *name) {
            findings.push(Finding::new(MAP, row.line, format!("lists the crate '{name}', which does not exist")));
        }
    }
    findings.extend(check_only(tree, map));
    findings
}

fn check_manifest(package: &Package) -> Vec<Finding> {
    let path = format!("{}/Cargo.toml", package.folder);
    let mut findings = Vec::new();
    if EMPTY_NAMES.contains(&package.name.as_str()) {
        findings.push(Finding::new(&path, 0, format!("the name '{}' says nothing: name what it holds", package.name)));
    }
    if package.folder != format!("crates/{}", package.name) {
        findings.push(Finding::new(&path, 0, format!("the crate '{}' belongs in crates/{0}", package.name)));
    }
    if package.licence.is_none() {
        findings.push(Finding::new(&path, 0, "has no licence: add license.workspace = true"));
    }
    findings
}

fn check_row(tree: &Tree, package: &Package, row: &Row) -> Vec<Finding> {
    let path = format!("{}/Cargo.toml", package.folder);
    let mut findings = Vec::new();
    let (inner, outer) = (names(&row.cells[2]), names(&row.cells[3]));
    for strange in package.inner.difference(&inner) {
        let what = format!("'{}' may not know '{strange}': {MAP}, line {}", package.name, row.line);
        findings.push(Finding::new(&path, 0, what));
    }
    for stale in inner.difference(&package.inner) {
        let what = format!("'{}' may know '{stale}' and does not: take the edge out", package.name);
        findings.push(Finding::new(MAP, row.line, what));
    }
    match row.cells[1].as_str() {
        "rim" | "broom" => return findings,
        "pure" => {}
        other => findings.push(Finding::new(MAP, row.line, format!("there is no floor '{other}'"))),
    }
    for strange in package.outer.difference(&outer) {
        let what = format!("'{}' is pure and may not know '{strange}': {MAP}, line {}", package.name, row.line);
        findings.push(Finding::new(&path, 0, what));
    }
    let lib = format!("{}/src/lib.rs", package.folder);
    if !tree.texts.get(&lib).is_some_and(|text| text.lines().any(|line| line == "#![no_std]")) {
        findings.push(Finding::new(&lib, 0, "is on the pure floor and lacks the line #![no_std]"));
    }
    findings
}

fn check_only(tree: &Tree, map: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in table(map, ONLY).into_iter().filter(|row| row.cells.len() == 2) {
        let (restricted, allowed) = (names(&row.cells[0]), names(&row.cells[1]));
        for package in tree.packages.iter().filter(|package| !allowed.contains(&package.name)) {
            for strange in package.outer.intersection(&restricted) {
                let what = format!("'{}' may not know '{strange}': {MAP}, line {}", package.name, row.line);
                findings.push(Finding::new(&format!("{}/Cargo.toml", package.folder), 0, what));
            }
        }
    }
    findings
}

/// The rows of the table behind a mark, without its head.
fn table(map: &str, mark: &str) -> Vec<Row> {
    let lines = map.lines().enumerate().skip_while(|(_, line)| line.trim() != mark).skip(1);
    let lines = lines.skip_while(|(_, line)| line.trim().is_empty());
    lines
        .take_while(|(_, line)| line.starts_with('|'))
        .skip(2)
        .map(|(number, line)| {
            let cells = line.trim().trim_matches('|').split('|');
            Row { line: number + 1, cells: cells.map(|cell| cell.trim().trim_matches('*').to_string()).collect() }
        })
        .collect()
}

fn names(cell: &str) -> BTreeSet<String> {
    let words = cell.split([',', ' ']).map(|word| word.trim_matches('`'));
    words.filter(|word| !word.is_empty() && *word != "nothing" && *word != "any").map(str::to_string).collect()
}
