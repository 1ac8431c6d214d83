//! Query strings, in which every name must be known.
//!
//! # Invariants
//! - A name that the route does not know is refused by name: a misspelt `filter` must not list all.
//! - A name given twice is refused, save where the route says that it repeats.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use event::{Moment, Pattern};
use percent_encoding::percent_decode_str;

use crate::limits::QUERY_BYTES_MAX;
use crate::problem::Problem;
use event::units::Span;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

fn decode<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, Problem> {
    // A plus sign is a space in forms, which is what every HTTP client library writes queries as.
    if !text.contains(['+', '%']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(|text| Cow::Owned(text.into_owned())).map_err(|_| Problem::query(name, "is not UTF-8"))
}

impl<'a> Query<'a> {
    /// Reads a query string of which the names are known. Those in `repeat` may come more than once.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn parse(text: Option<&'a str>, known: &[&str], repeat: &[&str]) -> Result<Self, Problem> {
        let text = text.unwrap_or_default();
        if text.len() > QUERY_BYTES_MAX {
            return Err(Problem::query("", "the query string is too long"));
        }
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, name)?;
            let value = decode(&name, value)?;
            if !known.contains(&name.as_ref()) && !repeat.contains(&name.as_ref()) {
                let names: Vec<&str> = known.iter().chain(repeat).copied().collect();
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(Problem::query(&name, &format!("is not known here; known are: {known}")));
            }
            if !repeat.contains(&name.as_ref()) && pairs.iter().any(|(each, _)| *each == name) {
                return Err(Problem::query(&name, "is given more than once"));
            }
            pairs.push((name, value));
        }
        Ok(Query(pairs))
    }

    /// The text of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_ref())
    }

    /// Every text of a parameter that repeats.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_ref())
    }

    /// A parameter that parses.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|error: T::Err| Problem::query(name, &error.to_string()));
        self.text(name).map(parse).transpose()
    }

    /// A whole number.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::query(name, "must be a whole number, 0 or more"));
        self.text(name).map(parse).transpose()
    }

    /// A number between 1 and `max`.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn count(&self, name: &str, max: usize) -> Result<Option<usize>, Problem> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        let count = usize::try_from(number).ok().filter(|count| (1..=max).contains(count));
        count.map(Some).ok_or_else(|| Problem::query(name, &format!("must be 1 to {max}")))
    }

    /// A duration.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn span(&self, name: &str) -> Result<Option<std::time::Duration>, Problem> {
        let parse =
            |text: &str| text.parse().map(|Span(span)| span).map_err(|error| Problem::query(name, &error.to_string()));
        self.text(name).map(parse).transpose()
    }

    /// `true` or `false`; a parameter without a value is `true`.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Problem::query(name, "must be true or false")),
        }
    }

    /// A moment: RFC 3339, or a duration back from `now`.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn moment(&self, name: &str, now: Moment) -> Result<Option<Moment>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if let Ok(Span(back)) = text.parse() {
            return Ok(Some(now.before(back)));
        }
        // In a query a '+' of the offset arrives as a space, unless the client encoded it.
        let moment = Moment::parse(&restored_offset(text));
        moment.map(Some).map_err(|error| Problem::query(name, &format!("{error}, and not a duration, such as 1h")))
    }

    /// Patterns of a parameter that repeats.
    ///
    /// # Errors
    /// A problem naming the parameter.
    pub fn patterns(&self, name: &str) -> Result<Vec<Pattern>, Problem> {
        let parse = |text| Pattern::parse(text).map_err(|error| Problem::query(name, &error.to_string()));
        self.texts(name).map(parse).collect()
    }
}

fn restored_offset(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((head, offset)) if head.contains(['T', 't']) => format!("{head}+{offset}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_refused_by_name() {
        let query = Query::parse(Some("from=3&filter=a.%3E&filter=b"), &["from"], &["filter"]).unwrap();
        assert_eq!(query.number("from").unwrap(), Some(3));
        assert_eq!(query.patterns("filter").unwrap().len(), 2);
        for (text, named) in [("form=3", "form"), ("from=1&from=2", "from"), ("from=%ff", "from"), ("&&x", "x")] {
            let problem = Query::parse(Some(text), &["from"], &[]).err();
            let detail = problem.map(|problem| problem.detail().to_owned());
            assert!(detail.as_deref().is_some_and(|detail| detail.contains(named)), "{text}: {detail:?}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_duration_back() {
        let now = Moment::parse("2026-01-31T12:00:00Z").unwrap();
        for (text, expected) in [
            ("since=1h", "2026-01-31T11:00:00Z"),
            ("since=2026-01-31T12:00:00%2B01:00", "2026-01-31T11:00:00Z"),
            ("since=2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
        ] {
            let query = Query::parse(Some(text), &["since"], &[]).unwrap();
            assert_eq!(query.moment("since", now).unwrap(), Some(Moment::parse(expected).unwrap()), "{text}");
        }
        assert!(Query::parse(Some("since=soon"), &["since"], &[]).unwrap().moment("since", now).is_err());
    }
}
