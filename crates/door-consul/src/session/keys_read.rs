//! How keys are read: one, all below a prefix, or only their names.

use std::sync::Arc;

use catalog::{Pair, State, Touch};

use crate::answers::{Content, Kind};
use crate::codec::json::{list, texts};
use crate::codec::{Params, shape};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Keys {
    /// One, in JSON.
    #[default]
    One,
    /// One, as its value is.
    Raw,
    /// All below.
    Tree,
    /// The names of all below, up to the next separator where there is one.
    Names(String),
}

impl Keys {
    pub(crate) fn of(params: &Params) -> Self {
        if params.has("keys") {
            Keys::Names(params.text("separator").to_owned())
        } else if params.has("recurse") {
            Keys::Tree
        } else if params.has("raw") {
            Keys::Raw
        } else {
            Keys::One
        }
    }

    /// Names the question.
    pub(crate) fn key(&self) -> String {
        if *self == Keys::One { String::new() } else { format!("{self:?}") }
    }

    /// Whether a name is a prefix.
    pub(crate) fn is_many(&self) -> bool {
        matches!(self, Keys::Tree | Keys::Names(_))
    }

    pub(crate) fn touch(&self, name: &str) -> Touch {
        if self.is_many() { Touch::Keys(name.into()) } else { Touch::Key(name.into()) }
    }

    pub(crate) fn changed(&self, state: &State, name: &str) -> u64 {
        if self.is_many() { state.prefix_changed(name) } else { state.key_changed(name) }
    }

    /// The answer about one key; what is not there is 404 without a body, and can be waited for.
    pub(crate) fn one(&self, found: Option<Arc<Pair>>) -> Content {
        let Some(pair) = found else {
            return absent();
        };
        if *self == Keys::Raw {
            return Content { status: 200, kind: Kind::Raw, body: pair.value.clone(), ..Content::default() };
        }
        let mut out = String::new();
        list(&mut out, [pair], |out, pair| shape::pair(out, &pair, true));
        Content::json(out)
    }

    /// The answer about all below a prefix, likewise.
    pub(crate) fn many(&self, found: &[Arc<Pair>], prefix: &str) -> Content {
        if found.is_empty() {
            return absent();
        }
        let mut out = String::new();
        if let Keys::Names(separator) = self {
            let mut names: Vec<&str> = found.iter().map(|pair| cut(&pair.key, prefix, separator)).collect();
            names.dedup();
            texts(&mut out, names);
        } else {
            list(&mut out, found, |out, pair| shape::pair(out, pair, true));
        }
        Content::json(out)
    }
}

fn absent() -> Content {
    Content { status: 404, kind: Kind::None, ..Content::default() }
}

/// A key up to and with the first separator behind a prefix.
fn cut<'a>(key: &'a str, prefix: &str, separator: &str) -> &'a str {
    if separator.is_empty() {
        return key;
    }
    let found = key.get(prefix.len()..).and_then(|rest| rest.find(separator));
    found.and_then(|at| key.get(..prefix.len() + at + separator.len())).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_the_separator() {
        for (key, prefix, separator, cut_at) in [
            ("a/b/c", "", "/", "a/"),
            ("a/b/c", "a/", "/", "a/b/"),
            ("a/b", "a/", "/", "a/b"),
            ("a/b/c", "a/", "", "a/b/c"),
            ("a::b::c", "a", "::", "a::"),
        ] {
            assert_eq!(cut(key, prefix, separator), cut_at);
        }
    }
}
