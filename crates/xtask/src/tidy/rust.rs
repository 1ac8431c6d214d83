//! Rust sources, read just closely enough: which characters are code, where functions and tests
//! begin and end. No parser: a source that does not compile may be misread, and does not get this far.

use std::ops::Range;

/// A function: its name, its first line (from 1), and how many lines it has with signature and braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name.
    pub name: String,
    /// First line.
    pub line: usize,
    /// Lines.
    pub lines: usize,
}

/// The source with every character of comments, strings and character literals blanked, newlines
/// kept, so that offsets and lines stay what they were.
pub fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => end_of_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_block(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' if !is_word(bytes, at.wrapping_sub(1)) || bytes[at - 1] == b'b' => end_of_raw(bytes, at),
            b'\'' => end_of_char(bytes, at),
            _ => at,
        };
        for byte in &mut masked[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&masked).into_owned()
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| at + length)
}

fn end_of_block(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'*')) => (depth, at) = (depth + 1, at + 2),
            (b'*', Some(b'/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"` or `r#"…"#`; `at` itself where it is neither.
fn end_of_raw(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let mut close = open + 1;
    while close < bytes.len() {
        let after = &bytes[close + 1..];
        if bytes[close] == b'"' && after.len() >= hashes && after[..hashes].iter().all(|b| *b == b'#') {
            return close + 1 + hashes;
        }
        close += 1;
    }
    bytes.len()
}

/// The end of a character literal; `at` itself for a lifetime.
fn end_of_char(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at + 1) {
        Some(b'\\') => {
            let from = (at + 3).min(bytes.len());
            bytes[from..].iter().position(|b| *b == b'\'').map_or(at, |length| from + length + 1)
        }
        Some(first) => {
            let length = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            let end = at + 1 + length;
            if bytes.get(end) == Some(&b'\'') { end + 1 } else { at }
        }
        None => at,
    }
}

/// The line of an offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// The end of the item that begins at or after an offset: behind its closing brace, or its `;`.
fn end_of_item(masked: &str, from: usize) -> Option<(usize, bool)> {
    let (mut round, mut braces) = (0_i32, 0_i32);
    for (offset, byte) in masked.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            b';' if round == 0 && braces == 0 => return Some((offset + 1, false)),
            _ => continue,
        }
        if byte == b'}' && braces == 0 && round == 0 {
            return Some((offset + 1, true));
        }
    }
    None
}

/// All functions with a body, in masked source.
pub fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (offset, _) in masked.match_indices("fn ") {
        if is_word(masked.as_bytes(), offset.wrapping_sub(1)) {
            continue;
        }
        let name: String = masked[offset + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = end_of_item(masked, offset);
        if let Some((end, true)) = end.filter(|_| !name.is_empty()) {
            let line = line_of(masked, offset);
            found.push(Function { name, line, lines: line_of(masked, end) - line + 1 });
        }
    }
    found
}

/// What is compiled for tests only, in masked source.
pub fn test_ranges(masked: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for mark in ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[tokio::test"] {
        for (offset, _) in masked.match_indices(mark) {
            let close = masked[offset..].find(']').map_or(masked.len(), |length| offset + length + 1);
            let end = end_of_item(masked, close).map_or(masked.len(), |(end, _)| end);
            found.push(offset..end);
        }
    }
    found
}

/// Whether a file holds tests only, by its place.
pub fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || name == "tests.rs" || name.ends_with("_tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lifetimes_are_not() {
        let source = "a // b\n\"c \\\" d\" e /* f /* g */ h */ i r#\"j \" k\"# 'l' '\\'' &'m n '\u{e9}' for_r\"o\"";
        let masked = mask(source);
        assert_eq!(masked.len(), source.len());
        let left: Vec<&str> = masked.split_whitespace().collect();
        assert_eq!(left, ["a", "e", "i", "&'m", "n", "for_r"]);
    }

    #[test]
    fn functions_are_measured_with_signature_and_braces() {
        let source =
            "pub fn one(\n  a: [u8; 3],\n) {\n  let f: fn(u8) = two;\n}\ntrait T { fn no(&self); }\nfn two() {}\n";
        let expected = [("one", 1, 5), ("two", 7, 1)];
        let found = functions(&mask(source));
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_only_for_tests_is_known() {
        let source = "fn a() { x }\n#[cfg(test)]\nmod tests {\n fn b() { y }\n}\nfn c() { z }";
        let ranges = test_ranges(source);
        let inside = |word: &str| ranges.iter().any(|range| range.contains(&source.find(word).unwrap()));
        assert_eq!(["x", "y", "z"].map(inside), [false, true, false]);
    }
}
