//! The grammar by which readers choose: go-bexpr's, as the original's `?filter=` takes it.
//!
//! ```text
//! or    = and { "or" and }          and = not { "and" not }         not = "not" not | "(" or ")" | match
//! match = selector ("==" | "!=" | "contains" | "not contains" | "matches" | "not matches") value
//!       | selector "is empty" | selector "is not empty"
//!       | value ("in" | "not in") selector
//! selector = word { "." word | "[" text "]" }     value = word { "." word } | number | "text" | `text`
//! ```
//!
//! A selector through a list (`Checks.Status`) speaks of any element. What is not there equals nothing, and is empty.
//! Regular expressions are RE2's in all that the original's users write, and take time in proportion to the text.
//!
//! # Costs
//! Reading is linear in the text, which is bounded, as are nesting and patterns. Evaluating allocates nothing, but for
//! selectors of a whole map.

mod grammar;
mod select;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::limits::{FILTER_BYTES_MAX, REGEX_BYTES_MAX};
pub use select::{CatalogService, Found, Selectable, Shape};

/// Largest compiled regular expression, in bytes.
const REGEX_SIZE_MAX: usize = 256 * 1024;

/// Why a text is no expression. Begins as the original's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Failed to create boolean expression evaluator: {0}")]
pub struct FilterError(pub String);

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    In,
    Empty,
    Matches,
}

/// An expression as it was read.
#[derive(Debug, Clone)]
enum Tree {
    Any(Vec<Tree>),
    All(Vec<Tree>),
    Not(Box<Tree>),
    Match { path: Vec<Box<str>>, operator: Operator, value: Box<str> },
}

/// An expression that was found to fit.
#[derive(Debug, Clone)]
enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Match { path: Vec<Box<str>>, what: What },
}

#[derive(Debug, Clone)]
enum What {
    Text(Box<str>),
    Number(i64),
    Flag(bool),
    In(Box<str>),
    Empty,
    Matches(Regex),
}

/// An expression that was found to fit what it is evaluated against.
#[derive(Debug, Clone)]
pub struct Filter(Test);

impl Filter {
    /// Reads an expression for things of a kind.
    ///
    /// # Errors
    /// [`FilterError`]: malformed, too long, too deep, or it speaks of what such a thing has not.
    pub fn parse<S: Selectable + ?Sized>(text: &str) -> Result<Filter, FilterError> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(FilterError(format!("the expression has more than {FILTER_BYTES_MAX} bytes")));
        }
        let tree = grammar::read(text).map_err(FilterError)?;
        fit::<S>(tree).map(Filter).map_err(FilterError)
    }

    /// Whether a thing is chosen.
    pub fn matches<S: Selectable + ?Sized>(&self, thing: &S) -> bool {
        holds(&self.0, thing)
    }
}

fn fit<S: Selectable + ?Sized>(tree: Tree) -> Result<Test, String> {
    let all = |trees: Vec<Tree>| trees.into_iter().map(fit::<S>).collect::<Result<Vec<_>, _>>();
    Ok(match tree {
        Tree::Any(trees) => Test::Any(all(trees)?),
        Tree::All(trees) => Test::All(all(trees)?),
        Tree::Not(tree) => Test::Not(Box::new(fit::<S>(*tree)?)),
        Tree::Match { path, operator, value } => {
            let Some(shape) = S::shape(&path) else {
                return Err(format!("Selector {:?} is not valid", path.join(".")));
            };
            let what = what(shape, operator, value, &path)?;
            Test::Match { path, what }
        }
    })
}

fn what(shape: Shape, operator: Operator, value: Box<str>, path: &[Box<str>]) -> Result<What, String> {
    match (operator, shape) {
        (Operator::Equal, Shape::Text) => Ok(What::Text(value)),
        (Operator::Equal, Shape::Number) => match value.parse() {
            Ok(number) => Ok(What::Number(number)),
            Err(_) => Err(format!("Failed to convert value {value:?} to an integer")),
        },
        (Operator::Equal, Shape::Flag) => match &*value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(What::Flag(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(What::Flag(false)),
            _ => Err(format!("Failed to convert value {value:?} to a boolean")),
        },
        (Operator::In, Shape::Text | Shape::List | Shape::Map) => Ok(What::In(value)),
        (Operator::Empty, Shape::Text | Shape::List | Shape::Map) => Ok(What::Empty),
        (Operator::Matches, Shape::Text) => {
            if value.len() > REGEX_BYTES_MAX {
                return Err(format!("the regular expression has more than {REGEX_BYTES_MAX} bytes"));
            }
            let regex = RegexBuilder::new(&value).size_limit(REGEX_SIZE_MAX).build();
            regex.map(What::Matches).map_err(|why| format!("Failed to compile regular expression {value:?}: {why}"))
        }
        _ => {
            let name = match operator {
                Operator::Equal => "Equal",
                Operator::In => "In",
                Operator::Empty => "Is Empty",
                Operator::Matches => "Matches",
            };
            Err(format!("Invalid match operator {name:?} for selector {:?}", path.join(".")))
        }
    }
}

fn holds<S: Selectable + ?Sized>(test: &Test, thing: &S) -> bool {
    match test {
        Test::Any(tests) => tests.iter().any(|test| holds(test, thing)),
        Test::All(tests) => tests.iter().all(|test| holds(test, thing)),
        Test::Not(test) => !holds(test, thing),
        Test::Match { path, what: What::Empty } => {
            let mut empty = true;
            thing.select(path, &mut |found| empty &= found.is_empty());
            empty
        }
        Test::Match { path, what } => {
            let mut any = false;
            thing.select(path, &mut |found| any = any || is(what, &found));
            any
        }
    }
}

fn is(what: &What, found: &Found<'_>) -> bool {
    match (what, found) {
        (What::Text(value), Found::Text(text)) => **value == **text,
        (What::Number(value), Found::Number(number)) => value == number,
        (What::Flag(value), Found::Flag(flag)) => value == flag,
        (What::In(value), Found::Text(text)) => text.contains(&**value),
        (What::In(value), Found::List(texts)) => texts.iter().any(|text| **text == **value),
        (What::In(value), Found::Keys(keys)) => keys.contains(&&**value),
        (What::Matches(regex), Found::Text(text)) => regex.is_match(text),
        _ => false,
    }
}
