//! Subjects made of subjects: which ones a transform takes, and what it makes of them.
//!
//! The grammar is NATS's. A source is a pattern. A destination is tokens, of which some stand for
//! parts of the subject: `$1` or `{{wildcard(1)}}` for what the first `*` of the source matched,
//! `>` at the end for what the source's `>` matched, and functions of them:
//!
//! | function | gives |
//! |---|---|
//! | `partition(n)`, `partition(n, 1, 2)` | FNV-1a (32 bits) of the subject, or of these wildcards, modulo `n` |
//! | `split(1, -)` | the wildcard cut at a delimiter |
//! | `splitfromleft(1, 3)`, `splitfromright(1, 3)` | the wildcard cut in two |
//! | `slicefromleft(1, 3)`, `slicefromright(1, 3)` | the wildcard cut in slices of a length |
//! | `left(1, 3)`, `right(1, 3)` | the wildcard's first or last bytes |
//! | `random(n)` | a number below `n`, from the chance that the caller brings |
//!
//! It knows no entropy. An empty source is `>`; an empty destination leaves the subject as it is, so
//! that such a transform is a filter. A [`Transform`] that breaks the grammar cannot be made.
//! Source: NATS documentation, *Subject Mapping and Partitioning*; the texts of errors are NATS's,
//! because clients show and test them.
//!
//! Cost: applying one costs a match of the source and one allocation.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use thiserror::Error;

use crate::{Pattern, Subject, SubjectError};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    text: String,
    destination: String,
    source: Pattern,
    steps: Vec<Step>,
    /// Where what `>` matched begins, in tokens of the subject; `None`: the destination has none.
    tail: Option<usize>,
}

/// Why there is no such transform. The texts name the token at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransformError {
    /// The source is no pattern, or source and destination do not both end with `>`, or the
    /// destination holds `*`.
    #[error("invalid subject")]
    Subject,
    /// As `Subject`, where the source is no pattern.
    #[error("invalid subject: {0}")]
    Source(SubjectError),
    /// The destination has an empty token, white space, or something behind `>`.
    #[error("invalid mapping destination: invalid transform in {0}")]
    Token(String),
    /// There is no such function.
    #[error("invalid mapping destination: unknown function in {0}")]
    Function(String),
    /// There are fewer wildcards in the source.
    #[error("invalid mapping destination: wildcard index out of range in {token}: [{index}]")]
    Index {
        /// The token.
        token: String,
        /// Which wildcard it names.
        index: usize,
    },
    /// A function lacks arguments.
    #[error("invalid mapping destination: not enough arguments passed to the function in {0}")]
    Few(String),
    /// A function has too many arguments.
    #[error("invalid mapping destination: too many arguments passed to the function in {0}")]
    Many(String),
    /// An argument is not what the function takes.
    #[error("invalid mapping destination: function argument is invalid or in the wrong format in {0}")]
    Argument(String),
}

/// What makes one token of the destination. Numbers of wildcards are places in the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Literal(String),
    Wildcard(usize),
    Partition { buckets: u32, places: Vec<usize> },
    Split { place: usize, delimiter: String },
    SplitFromLeft(usize, usize),
    SplitFromRight(usize, usize),
    SliceFromLeft(usize, usize),
    SliceFromRight(usize, usize),
    Left(usize, usize),
    Right(usize, usize),
    Random(u32),
}

impl Transform {
    /// The transform of a source to a destination.
    ///
    /// # Errors
    /// [`TransformError`] naming what is wrong.
    pub fn new(source: &str, destination: &str) -> Result<Transform, TransformError> {
        let pattern = match source {
            "" => Pattern::all(),
            text => Pattern::parse(text).map_err(TransformError::Source)?,
        };
        let mut made = Transform {
            text: source.to_string(),
            destination: destination.to_string(),
            source: pattern,
            steps: Vec::new(),
            tail: None,
        };
        if destination.is_empty() {
            return Ok(made);
        }
        let tokens: Vec<String> = made.source.tokens().map(ToString::to_string).collect();
        let wildcards: Vec<usize> =
            tokens.iter().enumerate().filter(|(_, token)| *token == "*").map(|(place, _)| place).collect();
        let tail = tokens.last().filter(|last| *last == ">").map(|_| tokens.len() - 1);
        for token in destination.split('.') {
            if made.tail.is_some() {
                return Err(TransformError::Token(token.to_string()));
            }
            match token {
                "" => return Err(TransformError::Token(String::new())),
                "*" => return Err(TransformError::Subject),
                ">" => made.tail = Some(tail.ok_or(TransformError::Subject)?),
                token => made.steps.push(step(token, &wildcards)?),
            }
        }
        if made.tail != tail {
            return Err(TransformError::Subject);
        }
        Ok(made)
    }

    /// The source, as it was given.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The source as a pattern.
    pub fn pattern(&self) -> &Pattern {
        &self.source
    }

    /// The destination.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// What becomes of a subject. `None` where the source does not match it, or what becomes of it
    /// is no subject. `chance` is what `random` draws from.
    pub fn apply(&self, subject: &Subject, chance: u64) -> Option<Subject> {
        if !self.source.matches(subject.as_str()) {
            return None;
        }
        if self.destination.is_empty() {
            return Some(subject.clone());
        }
        let tokens: Vec<&str> = subject.tokens().collect();
        let mut made = String::with_capacity(subject.as_str().len() + self.destination.len());
        for step in &self.steps {
            if !made.is_empty() {
                made.push('.');
            }
            step.write(&tokens, subject.as_str(), chance, &mut made);
        }
        for token in tokens.iter().skip(self.tail.unwrap_or(tokens.len())) {
            if !made.is_empty() {
                made.push('.');
            }
            made.push_str(token);
        }
        Subject::new(made).ok()
    }
}

/// Reads one token of a destination.
fn step(token: &str, wildcards: &[usize]) -> Result<Step, TransformError> {
    let place = |index: usize| match index {
        // Anything below the first wildcard is the first token, as in NATS.
        0 if !wildcards.is_empty() => Ok(0),
        index => match wildcards.get(index.wrapping_sub(1)) {
            Some(place) => Ok(*place),
            None => Err(TransformError::Index { token: token.to_string(), index }),
        },
    };
    if let Some(index) = token.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()) {
        return place(index).map(Step::Wildcard);
    }
    let Some(inner) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
        if token.contains(char::is_whitespace) {
            return Err(TransformError::Token(token.to_string()));
        }
        return Ok(Step::Literal(token.to_string()));
    };
    let unknown = || TransformError::Function(token.to_string());
    let (name, rest) = inner.trim().split_once('(').ok_or_else(unknown)?;
    let arguments = rest.strip_suffix(')').ok_or_else(unknown)?;
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let wrong = || TransformError::Argument(token.to_string());
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| i32::try_from(*n).is_ok()).ok_or_else(wrong);
    let index = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let counted = |least: usize, most: usize| match arguments.len() {
        count if count < least || arguments.first().is_none_or(|first| first.is_empty()) => {
            Err(TransformError::Few(token.to_string()))
        }
        count if count > most => Err(TransformError::Many(token.to_string())),
        _ => Ok(()),
    };
    let two = || {
        counted(2, 2)?;
        let length = number(arguments[1])? as usize;
        Ok::<_, TransformError>((place(index(arguments[0])?)?, length))
    };
    let pair = |make: fn(usize, usize) -> Step| two().map(|(place, length)| make(place, length));
    match name.trim().to_ascii_lowercase().as_str() {
        "wildcard" => {
            counted(1, 1)?;
            place(index(arguments[0])?).map(Step::Wildcard)
        }
        "partition" => {
            counted(1, usize::MAX)?;
            let places = arguments.iter().skip(1).map(|text| place(index(text)?)).collect::<Result<_, _>>()?;
            Ok(Step::Partition { buckets: number(arguments[0])?, places })
        }
        "split" => {
            counted(2, 2)?;
            let delimiter = arguments[1].to_string();
            if delimiter.is_empty() || delimiter.contains(' ') {
                return Err(wrong());
            }
            Ok(Step::Split { place: place(index(arguments[0])?)?, delimiter })
        }
        "random" => {
            counted(1, 1)?;
            number(arguments[0]).map(Step::Random)
        }
        "splitfromleft" => pair(Step::SplitFromLeft),
        "splitfromright" => pair(Step::SplitFromRight),
        "slicefromleft" => pair(Step::SliceFromLeft),
        "slicefromright" => pair(Step::SliceFromRight),
        "left" => pair(Step::Left),
        "right" => pair(Step::Right),
        _ => Err(unknown()),
    }
}

impl Step {
    fn write(&self, tokens: &[&str], subject: &str, chance: u64, out: &mut String) {
        let token = |place: &usize| tokens.get(*place).copied().unwrap_or_default();
        match self {
            Step::Literal(text) => out.push_str(text),
            Step::Wildcard(place) => out.push_str(token(place)),
            Step::Partition { buckets, places } => {
                let hash = match places.as_slice() {
                    [] => fnv(FNV_BASIS, subject.as_bytes()),
                    places => places.iter().fold(FNV_BASIS, |hash, place| fnv(hash, token(place).as_bytes())),
                };
                number(hash.checked_rem(*buckets).unwrap_or(0), out);
            }
            Step::Random(max) => {
                let drawn = u32::try_from(chance >> 33).unwrap_or(0);
                number(drawn.checked_rem(*max).unwrap_or(0), out);
            }
            Step::Split { place, delimiter } => {
                let parts = token(place).split(delimiter.as_str()).filter(|part| !part.is_empty());
                join(parts, out);
            }
            Step::SplitFromLeft(place, at) => join(cut(token(place), *at), out),
            Step::SplitFromRight(place, at) => {
                let text = token(place);
                join(cut(text, text.len().saturating_sub(*at)), out);
            }
            Step::SliceFromLeft(place, size) => slices(token(place), 0, *size, out),
            Step::SliceFromRight(place, size) => {
                let text = token(place);
                slices(text, text.len().checked_rem(*size).unwrap_or(0), *size, out);
            }
            Step::Left(place, size) => {
                let text = token(place);
                out.push_str(text.get(..*size).filter(|part| !part.is_empty()).unwrap_or(text));
            }
            Step::Right(place, size) => {
                let text = token(place);
                let part = text.len().checked_sub(*size).and_then(|from| text.get(from..));
                out.push_str(part.filter(|part| !part.is_empty()).unwrap_or(text));
            }
        }
    }
}

const FNV_BASIS: u32 = 0x811c_9dc5;

fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn number(value: u32, out: &mut String) {
    // Writing to a string does not fail.
    let _written = write!(out, "{value}");
}

fn join<'a>(parts: impl Iterator<Item = &'a str>, out: &mut String) {
    for (place, part) in parts.enumerate() {
        if place > 0 {
            out.push('.');
        }
        out.push_str(part);
    }
}

/// A text in two, or whole where it cannot be cut there.
fn cut(text: &str, at: usize) -> impl Iterator<Item = &str> {
    let (left, right) = text.split_at_checked(at).unwrap_or((text, ""));
    [left, right].into_iter().filter(|part| !part.is_empty())
}

/// Slices of a size behind a first one of `rest` bytes; what is left over at the end is one, too.
fn slices(text: &str, rest: usize, size: usize, out: &mut String) {
    if size == 0 || size >= text.len() {
        return out.push_str(text);
    }
    let mut at = if rest == 0 { size } else { rest };
    let mut from = 0;
    while from < text.len() {
        let Some(part) = text.get(from..at.min(text.len())) else {
            // The place lies within a character: what follows stays whole.
            let tail = text.get(from..).unwrap_or_default();
            return out.push_str(tail);
        };
        if from > 0 {
            out.push('.');
        }
        out.push_str(part);
        (from, at) = (at.min(text.len()), at + size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(source: &str, destination: &str, subject: &str, expected: Option<&str>) {
        let transform = Transform::new(source, destination).unwrap();
        let made = transform.apply(&Subject::parse(subject).unwrap(), 7 << 33);
        assert_eq!(made.as_ref().map(Subject::as_str), expected, "{source} → {destination} of {subject}");
    }

    #[test]
    fn wildcards_come_where_the_destination_says() {
        check("foo.*.*", "bar.$2.{{wildcard(1)}}", "foo.a.b", Some("bar.b.a"));
        check("foo.*", "$1", "foo.a", Some("a"));
        check("foo.*", "bar.$1", "baz.a", None);
        check("foo.>", "bar.>", "foo.a.b", Some("bar.a.b"));
        check("foo.*.>", "bar.{{ Wildcard( 1 ) }}.>", "foo.a.b.c", Some("bar.a.b.c"));
        check("", "all.>", "a.b", Some("all.a.b"));
        check("a.>", "", "a.b", Some("a.b"));
        check("a.*", "x.$fix.$1", "a.b", Some("x.$fix.b"));
        check("foo", "bar", "foo", Some("bar"));
    }

    #[test]
    fn functions_cut_and_number() {
        check("*", "{{splitfromleft(1,3)}}", "12345", Some("123.45"));
        check("*", "{{SplitFromRight(1,3)}}", "12345", Some("12.345"));
        check("*", "{{splitfromleft(1,5)}}", "12345", Some("12345"));
        check("*", "{{slicefromleft(1,2)}}", "12345", Some("12.34.5"));
        check("*", "{{slicefromleft(1,10)}}", "12345", Some("12345"));
        check("*", "{{sliceFromRight(1,2)}}", "12345", Some("1.23.45"));
        check("*", "{{split(1,-)}}", "-a-b--c-", Some("a.b.c"));
        check("*", "{{left(1,3)}}", "12345", Some("123"));
        check("*", "{{right(1,3)}}", "12345", Some("345"));
        check("*", "{{right(1,0)}}", "12345", Some("12345"));
        check("*.*", "p.{{partition(10,1,2)}}", "foo.bar", Some("p.0"));
        check(">", "{{partition(5)}}.>", "foo.bar", Some("1.foo.bar"));
        check("*", "r.{{random(5)}}", "x", Some("r.2"));
        check("*", "r.{{random(0)}}", "x", Some("r.0"));
    }

    #[test]
    fn what_breaks_the_grammar_cannot_be_made() {
        for (source, destination, said) in [
            ("foo.*", "bar.$2", "invalid mapping destination: wildcard index out of range in $2: [2]"),
            ("foo", "bar.$1", "invalid mapping destination: wildcard index out of range in $1: [1]"),
            ("foo.*", "{{wildcard()}}", "not enough arguments passed to the function in {{wildcard()}}"),
            ("foo.*", "{{wildcard(1,2)}}", "too many arguments"),
            ("foo.*", "{{wildcard(a)}}", "function argument is invalid"),
            ("foo.*", "{{split(1)}}", "not enough arguments"),
            ("foo.*", "{{unknown(1)}}", "unknown function in {{unknown(1)}}"),
            ("foo.>", "bar", "invalid subject"),
            ("foo", "bar.>", "invalid subject"),
            ("foo.*", "bar.*", "invalid subject"),
            ("foo..bar", "bar", "invalid subject"),
            ("foo.>", "bar.>.baz", "invalid transform in baz"),
            ("foo", "bar..baz", "invalid transform"),
        ] {
            let error = Transform::new(source, destination).unwrap_err().to_string();
            assert!(error.contains(said), "{source} → {destination}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_are_judged_without_panic(source in "[a*>.{}]{0,8}", destination in "[a-f$0-3{}().,*> ]{0,24}", subject in "[a-cä]{1,5}(\\.[a-c]{1,3}){0,3}") {
            if let Ok(transform) = Transform::new(&source, &destination) {
                let _made = transform.apply(&Subject::parse(&subject).unwrap(), 3);
            }
        }
    }
}
