//! Reads an expression.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use winnow::ascii::{multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, fail, opt, peek, preceded, repeat, terminated};
use winnow::prelude::*;
use winnow::stream::AsChar;
use winnow::token::{one_of, take_till, take_while};

use super::{Operator, Tree};
use crate::limits::FILTER_DEPTH_MAX;

/// Reads all of a text.
///
/// # Errors
/// Where, and that nothing fits there.
pub(super) fn read(text: &str) -> Result<Tree, String> {
    let mut rest = text;
    let whole = delimited(multispace0, |input: &mut &str| any(input, 0), (multispace0, eof)).parse_next(&mut rest);
    whole.map_err(|_| {
        let offset = text.len() - rest.len();
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{line}:{column} ({offset}): no match found, expected a selector, a value or an operator")
    })
}

fn any(input: &mut &str, depth: usize) -> ModalResult<Tree> {
    chain(input, "or", |input| all(input, depth)).map(|mut trees| match trees.pop() {
        Some(only) if trees.is_empty() => only,
        last => Tree::Any(trees.into_iter().chain(last).collect()),
    })
}

fn all(input: &mut &str, depth: usize) -> ModalResult<Tree> {
    chain(input, "and", |input| not(input, depth)).map(|mut trees| match trees.pop() {
        Some(only) if trees.is_empty() => only,
        last => Tree::All(trees.into_iter().chain(last).collect()),
    })
}

/// One or more, with a word between.
fn chain(
    input: &mut &str,
    word: &'static str,
    mut each: impl FnMut(&mut &str) -> ModalResult<Tree>,
) -> ModalResult<Vec<Tree>> {
    let mut trees = Vec::from([each(input)?]);
    while opt((multispace1, word, multispace1)).parse_next(input)?.is_some() {
        trees.push(cut_err(&mut each).parse_next(input)?);
    }
    Ok(trees)
}

fn not(input: &mut &str, depth: usize) -> ModalResult<Tree> {
    if depth > FILTER_DEPTH_MAX {
        return cut_err(fail).parse_next(input);
    }
    if opt(terminated("not", multispace1)).parse_next(input)?.is_some() {
        return not(input, depth + 1).map(|tree| Tree::Not(Box::new(tree)));
    }
    if opt(('(', multispace0)).parse_next(input)?.is_some() {
        return cut_err(terminated(|input: &mut &str| any(input, depth + 1), (multispace0, ')'))).parse_next(input);
    }
    matched(input)
}

/// An operator as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Equal,
    Contains,
    Matches,
    Empty,
    In,
}

fn matched(input: &mut &str) -> ModalResult<Tree> {
    // A bare word may be either side: what it is, the operator says.
    let first = alt((path, value.map(|text| Vec::from([text.into_boxed_str()])))).parse_next(input)?;
    let (word, negated) = cut_err(operator).parse_next(input)?;
    let right = alt((path.map(|path| path.join(".")), value));
    let (path, operator, value) = match word {
        Word::In => (cut_err(path).parse_next(input)?, Operator::In, first.join(".")),
        Word::Empty => (first, Operator::Empty, String::new()),
        Word::Equal => (first, Operator::Equal, cut_err(right).parse_next(input)?),
        Word::Contains => (first, Operator::In, cut_err(right).parse_next(input)?),
        Word::Matches => (first, Operator::Matches, cut_err(right).parse_next(input)?),
    };
    let test = Tree::Match { path, operator, value: value.into_boxed_str() };
    Ok(if negated { Tree::Not(Box::new(test)) } else { test })
}

fn operator(input: &mut &str) -> ModalResult<(Word, bool)> {
    let sign = alt(("==".value((Word::Equal, false)), "!=".value((Word::Equal, true))));
    let named = alt((
        ("is", multispace1, "not", multispace1, "empty").value((Word::Empty, true)),
        ("is", multispace1, "empty").value((Word::Empty, false)),
        terminated(("not", multispace1, "in").value((Word::In, true)), multispace1),
        terminated("in".value((Word::In, false)), multispace1),
        terminated(("not", multispace1, "contains").value((Word::Contains, true)), multispace1),
        terminated("contains".value((Word::Contains, false)), multispace1),
        terminated(("not", multispace1, "matches").value((Word::Matches, true)), multispace1),
        terminated("matches".value((Word::Matches, false)), multispace1),
    ));
    alt((delimited(multispace0, sign, multispace0), preceded(multispace1, named))).parse_next(input)
}

/// `Service.Meta.k`, `Service.Meta["odd key"]`.
fn path(input: &mut &str) -> ModalResult<Vec<Box<str>>> {
    let first = word.parse_next(input)?;
    let index = delimited(('[', multispace0), quoted, (multispace0, ']'));
    let step = alt((preceded('.', alt((word, digits))), index.map(String::into_boxed_str)));
    let rest: Vec<Box<str>> = repeat(0.., step).parse_next(input)?;
    let mut path = Vec::from([first]);
    path.extend(rest);
    Ok(path)
}

fn word(input: &mut &str) -> ModalResult<Box<str>> {
    let inner = take_while(0.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '-'));
    (one_of(AsChar::is_alpha), inner).take().map(Box::from).parse_next(input)
}

fn digits(input: &mut &str) -> ModalResult<Box<str>> {
    take_while(1.., AsChar::is_dec_digit).map(Box::from).parse_next(input)
}

/// A number, or a text in quotes.
fn value(input: &mut &str) -> ModalResult<String> {
    let behind = peek(alt((eof.void(), multispace1.void(), ')'.void())));
    let fraction = opt(('.', take_while(1.., AsChar::is_dec_digit)));
    let number = terminated((opt('-'), take_while(1.., AsChar::is_dec_digit), fraction).take(), behind);
    alt((number.map(String::from), quoted)).parse_next(input)
}

fn quoted(input: &mut &str) -> ModalResult<String> {
    let raw = delimited('`', take_till(0.., '`'), '`').map(String::from);
    let escaped = delimited('"', take_till(0.., '"'), '"').map(unescaped);
    alt((raw, escaped)).parse_next(input)
}

/// A text between double quotes, which cannot hold one.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(next @ ('\\' | 'n' | 't' | 'r'))) => {
                plain.push(match next {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    same => same,
                });
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    plain
}
