//! Values that take their parts from a line's JSON: `git.commit.{author}`, `{commit.id}`.
//!
//! `{name}` stands for the field of that name, `{a.b}` for a field within a field, `{{` for `{`.
//! Strings, numbers and booleans can be taken; anything else, or nothing, is an error that names the field.

use std::str::FromStr;

use serde_json::Value;

/// A text with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

/// How a field's text is put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// As it is.
    Plain,
    /// As one token of a subject.
    Token,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(open) = rest.find('{') {
            plain.push_str(&rest[..open]);
            rest = &rest[open + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let Some((field, after)) = rest.split_once('}').filter(|(field, _)| !field.is_empty()) else {
                return Err(format!(
                    "'{text}' has a '{{' without a field and '}}': write {{field}}, or {{{{ for a brace"
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Field(field.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }
}

impl Template {
    /// Fills the places from `line`.
    pub fn fill(&self, line: &Value, how: Fill) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field(field) => {
                    let value = taken(line, field)?;
                    match how {
                        Fill::Plain => text.push_str(&value),
                        Fill::Token => text.push_str(&event::encode_token(&value)),
                    }
                }
            }
        }
        Ok(text)
    }

    /// Whether it has a place to fill.
    pub fn varies(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(_)))
    }
}

fn taken(line: &Value, field: &str) -> Result<String, String> {
    let whole = line.get(field);
    let value = whole.or_else(|| field.split('.').try_fold(line, |value, name| value.get(name)));
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err(format!("its field '{field}' is not a string, a number or a boolean")),
        None => Err(format!("it has no field '{field}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &str, how: Fill, expected: Result<&str, &str>) {
        let line = json!({"author": "Ada L. King", "commit": {"id": 7, "ok": true}, "list": []});
        let filled = template.parse::<Template>().and_then(|template| template.fill(&line, how));
        match expected {
            Ok(text) => assert_eq!(filled.as_deref(), Ok(text), "{template}"),
            Err(part) => assert!(filled.clone().unwrap_err().contains(part), "{template}: {filled:?}"),
        }
    }

    #[test]
    fn places_are_filled_from_the_line() {
        check("git.commit", Fill::Plain, Ok("git.commit"));
        check("by {author}!", Fill::Plain, Ok("by Ada L. King!"));
        check("git.{author}.{commit.id}", Fill::Token, Ok("git.Ada%20L%2E%20King.7"));
        check("{commit.ok}{{x}", Fill::Plain, Ok("true{x}"));
    }

    #[test]
    fn what_cannot_be_filled_is_named() {
        check("{nobody}", Fill::Plain, Err("no field 'nobody'"));
        check("{commit.none}", Fill::Plain, Err("'commit.none'"));
        check("{list}", Fill::Plain, Err("'list' is not a string"));
        check("open {", Fill::Plain, Err("without a field"));
        check("{}", Fill::Plain, Err("without a field"));
    }
}
