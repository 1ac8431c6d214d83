//! Sources: their size, their words, how they open.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Finding;
use super::rust::{functions, is_test_file, line_of, mask, test_ranges};
use crate::tree::Tree;

/// Lines from which a file is named: about what is read in one sitting.
const FILE_LINES_SOFT: usize = 600;
/// Lines beyond which a file is refused.
const FILE_LINES_MAX: usize = 1_000;
/// Lines beyond which a function is refused: one screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Exceptions, which may only shrink: `path function lines`, and `path word times`, one a line.
const RATCHET: &str = "crates/xtask/ratchet.txt";

/// What no code says, and what to say instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "use tracing"),
    ("#[ignore", "a test runs, or is skipped aloud with a reason"),
];
/// What no code outside of tests says.
const BANNED_OUTSIDE_TESTS: &[(&str, &str)] =
    &[(".unwrap()", "say what is wrong, or state with expect why it cannot be")];
/// What no test says.
const BANNED_IN_TESTS: &[(&str, &str)] = &[("thread::sleep", "wait for the event, or move the clock")];

/// Checks all sources.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ratchet = read_ratchet(tree, &mut findings);
    for (path, text) in &tree.texts {
        findings.extend(check_size(path, text));
        findings.extend(check_paths(path, text));
        if path.ends_with(".rs") {
            let masked = mask(text);
            findings.extend(check_opening(path, text));
            findings.extend(check_words(path, &masked, &mut ratchet));
            findings.extend(check_functions(path, &masked, &mut ratchet));
        }
    }
    for ((path, name), (_, line)) in ratchet {
        let what = format!("'{path} {name}' is as it must be now: take the line out");
        findings.push(Finding::new(RATCHET, line, what));
    }
    findings
}

fn check_size(path: &str, text: &str) -> Option<Finding> {
    let code = [".rs", ".py", ".sh", ".css", ".js", ".ts"].iter().any(|ending| path.ends_with(ending));
    let lines = text.lines().count();
    if !code || lines <= FILE_LINES_SOFT {
        return None;
    }
    let what =
        format!("has {lines} lines; aim for {FILE_LINES_SOFT}, never above {FILE_LINES_MAX}: split by ownership");
    Some(Finding { warning: lines <= FILE_LINES_MAX, ..Finding::new(path, 0, what) })
}

/// A path that only one machine has.
fn check_paths(path: &str, text: &str) -> Vec<Finding> {
    let places = ["home", "root", "work", "tmp", "Users", "workspace"].map(|place| format!("/{place}/"));
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for place in &places {
            let absolute = line.match_indices(place.as_str()).any(|(at, _)| {
                let before = line[..at].bytes().next_back();
                before.is_none_or(|b| !(b.is_ascii_alphanumeric() || b"._-/}$>*)]~%".contains(&b)))
            });
            if absolute {
                findings.push(Finding::new(path, number + 1, format!("names a path of one machine: {place}…")));
            }
        }
    }
    findings
}

fn check_opening(path: &str, text: &str) -> Option<Finding> {
    let inside = path.starts_with("crates/") && path.contains("/src/") && !is_test_file(path);
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    let opens = first.is_some_and(|line| line.starts_with("//!"));
    (inside && !opens).then(|| Finding::new(path, 1, "opens without //!: say what it is, and is not"))
}

fn check_words(path: &str, masked: &str, ratchet: &mut Ratchet) -> Vec<Finding> {
    let tests: Vec<Range<usize>> = test_ranges(masked);
    let in_tests = |offset: &usize| is_test_file(path) || tests.iter().any(|range| range.contains(offset));
    let mut findings = Vec::new();
    let mut ban = |words: &[(&str, &str)], here: &dyn Fn(&usize) -> bool| {
        for (word, instead) in words {
            let found = masked.match_indices(word).map(|(offset, _)| offset);
            let found: Vec<usize> = found.filter(|offset| here(offset) && begins(masked, *offset)).collect();
            let most = ratchet.remove(&(path.to_string(), word.to_string())).map_or(0, |(most, _)| most);
            if found.len() < most {
                let what = format!("says {word} {} times, no longer {most}: note it in {RATCHET}", found.len());
                findings.push(Finding::new(path, 0, what));
            } else if found.len() > most {
                let say =
                    |offset: &usize| Finding::new(path, line_of(masked, *offset), format!("says {word}: {instead}"));
                findings.extend(found.iter().map(say));
            }
        }
    };
    ban(BANNED, &|_| true);
    ban(BANNED_OUTSIDE_TESTS, &|offset| !in_tests(offset));
    ban(BANNED_IN_TESTS, &in_tests);
    findings
}

/// Whether no longer word ends at the offset.
fn begins(masked: &str, offset: usize) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = masked.as_bytes();
    !(offset > 0 && word(&bytes[offset - 1]) && word(&bytes[offset]))
}

type Ratchet = BTreeMap<(String, String), (usize, usize)>;

fn check_functions(path: &str, masked: &str, ratchet: &mut Ratchet) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in functions(masked).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
        let (name, lines) = (&function.name, function.lines);
        let what = match ratchet.remove(&(path.to_string(), name.clone())) {
            None => format!("the function '{name}' has {lines} lines, more than {FUNCTION_LINES_MAX}"),
            Some((most, _)) if lines > most => format!("the function '{name}' grew from {most} lines to {lines}"),
            Some((most, _)) if lines < most => {
                format!("the function '{name}' shrank from {most} lines to {lines}: note it in {RATCHET}")
            }
            Some(_) => continue,
        };
        findings.push(Finding::new(path, function.line, what));
    }
    findings
}

fn read_ratchet(tree: &Tree, findings: &mut Vec<Finding>) -> Ratchet {
    let mut ratchet = Ratchet::new();
    for (number, line) in tree.texts.get(RATCHET).map_or("", String::as_str).lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), words.last().and_then(|word| word.parse().ok())) {
            ([], _) => {}
            ([first, ..], _) if first.starts_with('#') => {}
            ([path, name, _], Some(lines)) => {
                ratchet.insert((path.to_string(), name.to_string()), (lines, number + 1));
            }
            _ => findings.push(Finding::new(RATCHET, number + 1, "is not 'path name number'")),
        }
    }
    ratchet
}
