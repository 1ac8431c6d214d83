//! A place in a JSON document, as people write it: `user.id`, `items[0].name`, `["a.b"].c`.
//!
//! The grammar alone: what stands at the place is looked up by whoever holds the document. `$` at the beginning may
//! be left out; `$` alone is the whole document. A name with a dot, a bracket or a quote in it stands in brackets and
//! quotes; `\` before a quote or a `\` takes its meaning away there.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Most steps of a path: what JSON readers allow of nesting.
const STEPS_MAX: usize = 128;

/// Most bytes of a path.
const PATH_BYTES_MAX: usize = 1_024;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To the member of an object.
    Name(String),
    /// To the item of a list, from 0.
    Index(usize),
}

/// A place in a JSON document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonPath(Vec<Step>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// Nothing is said.
    #[error("is empty; write a path such as user.id or items[0].name")]
    Empty,
    /// Longer, or deeper, than any document.
    #[error("is too long")]
    TooLong,
    /// A step that is none, after so many bytes.
    #[error("is no path such as user.id or items[0].name: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
}

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`], with the place.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let rooted = rest.len() < text.len();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (step, left) = if let Some(inner) = rest.strip_prefix('[') {
                bracketed(inner, at)?
            } else if let Some(after) = rest.strip_prefix('.').filter(|_| rooted || !steps.is_empty()) {
                named(after, at)?
            } else if steps.is_empty() && !rooted {
                named(rest, at)?
            } else {
                return Err(PathError::Malformed { what: "neither '.' nor '['", at });
            };
            steps.push(step);
            rest = left;
            if steps.len() > STEPS_MAX {
                return Err(PathError::TooLong);
            }
        }
        Ok(JsonPath(steps))
    }

    /// The steps from the document's root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The name of the last step that has one.
    pub fn last_name(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
    }
}

fn named(text: &str, at: usize) -> Result<(Step, &str), PathError> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.contains([']', '"', '\'']) || name.contains(char::is_whitespace) {
        return Err(PathError::Malformed { what: "no plain name", at });
    }
    Ok((Step::Name(name.to_owned()), rest))
}

/// What stands behind `[`.
fn bracketed(text: &str, at: usize) -> Result<(Step, &str), PathError> {
    let wrong = |what| PathError::Malformed { what, at };
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let (digits, rest) = text.split_once(']').ok_or_else(|| wrong("no ']'"))?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let index = digits.parse().ok().filter(|_| plain).ok_or_else(|| wrong("no number in brackets"))?;
        return Ok((Step::Index(index), rest));
    };
    let (mut name, mut escaped) = (String::new(), false);
    for (place, c) in text.char_indices().skip(1) {
        if escaped {
            name.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            let rest = text.get(place + 1..).unwrap_or_default();
            let rest = rest.strip_prefix(']').ok_or_else(|| wrong("no ']'"))?;
            return Ok((Step::Name(name), rest));
        } else {
            name.push(c);
        }
    }
    Err(wrong("no closing quote"))
}

impl FromStr for JsonPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        JsonPath::parse(text)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Name(name) if plain(name) => write!(f, ".{name}")?,
                Step::Name(name) => {
                    f.write_str("[\"")?;
                    for c in name.chars() {
                        if matches!(c, '"' | '\\') {
                            f.write_str("\\")?;
                        }
                        write!(f, "{c}")?;
                    }
                    f.write_str("\"]")?;
                }
            }
        }
        Ok(())
    }
}

fn plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['.', '[', ']', '"', '\'']) && !name.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(JsonPath::parse(text).map(|path| path.to_string()).as_deref(), Ok(shown), "{text}");
    }

    #[test]
    fn paths_as_people_write_them() {
        check("user_id", "$.user_id");
        check("$.user.id", "$.user.id");
        check("items[0].name", "$.items[0].name");
        check("[\"a.b\"]['c\\'d']", "$[\"a.b\"][\"c'd\"]");
        check("$", "$");
        check("$[3]", "$[3]");
        assert_eq!(JsonPath::parse("a.b[1]").unwrap().last_name(), Some("b"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_place() {
        for bad in ["", ".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a[+1]", "a['x", "a b", "$a", "a]b", "a[0]b"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(JsonPath::parse("a..b"), Err(PathError::Malformed { what: "no plain name", at: 1 }));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(names in proptest::collection::vec(".{0,8}", 0..6), index: u16) {
            let steps = names.into_iter().map(Step::Name).chain([Step::Index(index.into())]).collect();
            let path = JsonPath(steps);
            prop_assert_eq!(JsonPath::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = JsonPath::parse(&text);
        }
    }
}
