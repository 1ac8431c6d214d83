//! `View`: what is true now, folded from a stream.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::{JsonPath, Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::quoted;
use super::group::yes;
use crate::declared::{Judged, Report};
use crate::duration;

/// What a `View` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewSpec {
    /// The stream that is folded. It may be made later than the view.
    #[schemars(length(min = 1))]
    pub stream: String,
    /// Only messages whose subject one of these patterns matches; none: all of the stream.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub filters: Vec<String>,
    /// What a message is about. Nothing said: its whole subject.
    #[serde(default)]
    pub key: ViewKey,
    /// What puts; nothing said: every message that does not remove.
    #[serde(default)]
    pub put: ViewWhen,
    /// What removes.
    #[serde(default)]
    pub remove: ViewRemove,
    /// How long a fact holds after it was recorded; none: until it is removed.
    #[serde(default, with = "duration::maybe", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<duration::Optional>")]
    pub ttl: Option<Duration>,
    /// What grows with each change of a fact: a message with a lower one than is held is ignored.
    #[serde(default)]
    pub version: ViewVersion,
    /// Places in the JSON data that are kept, each by its last name, such as display_name or owner.id; none: the
    /// whole payload, as it came.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub fields: Vec<String>,
    /// How much is kept in memory.
    #[serde(default)]
    pub limits: ViewLimits,
}

/// Where the key stands: one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewKey {
    /// Tokens of the subject, from 1; several are joined with dots.
    #[serde(default)]
    #[schemars(inner(range(min = 1)))]
    pub tokens: Vec<u32>,
    /// A CloudEvents attribute, such as subject.
    #[serde(default)]
    pub attribute: String,
    /// A header.
    #[serde(default)]
    pub header: String,
    /// A place in the JSON data, such as user.id or `items[0].id`.
    #[serde(default)]
    pub path: String,
}

/// Which messages: any whose type or subject matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewWhen {
    /// CloudEvents types; * and > as in patterns.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub types: Vec<String>,
    /// Patterns of subjects.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub subjects: Vec<String>,
}

/// Which messages remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewRemove {
    /// CloudEvents types; * and > as in patterns.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub types: Vec<String>,
    /// Patterns of subjects.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub subjects: Vec<String>,
    /// Whether a message with an empty payload removes.
    #[serde(default = "yes")]
    pub empty: bool,
}

impl Default for ViewRemove {
    fn default() -> Self {
        ViewRemove { types: Vec::new(), subjects: Vec::new(), empty: true }
    }
}

/// Where the version stands: one of these; nothing said: there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewVersion {
    /// A CloudEvents attribute.
    #[serde(default)]
    pub attribute: String,
    /// A header.
    #[serde(default)]
    pub header: String,
    /// A place in the JSON data: a whole number, or a text such as an RFC 3339 time in UTC.
    #[serde(default)]
    pub path: String,
}

/// How much is kept in memory. Beyond, the facts that changed longest ago go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViewLimits {
    /// Facts, at most; 0: no limit.
    #[serde(default)]
    pub rows: u64,
    /// Bytes of keys and values, with 256 for each fact, at most; 0: no limit.
    #[serde(default)]
    pub bytes: u64,
    /// Removals that are remembered, at most, for readers that were away; 0: the default, 65536.
    #[serde(default)]
    pub removals: u64,
}

impl Judged for ViewSpec {
    fn judge(&mut self, report: &mut Report) {
        patterns("spec.filters", &self.filters, report);
        patterns("spec.put.types", &self.put.types, report);
        patterns("spec.put.subjects", &self.put.subjects, report);
        patterns("spec.remove.types", &self.remove.types, report);
        patterns("spec.remove.subjects", &self.remove.subjects, report);
        let tokens = !self.key.tokens.is_empty();
        one_of(
            "spec.key",
            "tokens, attribute, header and path",
            tokens,
            [&self.key.attribute, &self.key.header, &self.key.path],
            report,
        );
        let version = &self.version;
        one_of(
            "spec.version",
            "attribute, header and path",
            false,
            [&version.attribute, &version.header, &version.path],
            report,
        );
        path("spec.key.path", &self.key.path, report);
        path("spec.version.path", &version.path, report);
        attribute("spec.key.attribute", &self.key.attribute, report);
        attribute("spec.version.attribute", &version.attribute, report);
        let mut names: Vec<String> = Vec::new();
        for (index, field) in self.fields.iter().enumerate() {
            let place = format!("spec.fields[{index}]");
            match JsonPath::parse(field).map(|path| path.last_name().map(String::from)) {
                Err(error) => report.fault(place, format!("{error}")),
                Ok(None) => report.fault(place, "names no field: what would it be called?"),
                Ok(Some(name)) if names.contains(&name) => {
                    report.fault(place, format!("would be called {}, as another is", quoted(&name)));
                }
                Ok(Some(name)) => names.push(name),
            }
        }
        shortest(&self.filters, &self.key.tokens, report);
    }
}

/// A token that no subject of a filter has gives no key.
fn shortest(filters: &[String], tokens: &[u32], report: &mut Report) {
    let Some(most) = tokens.iter().max() else { return };
    for filter in filters.iter().filter(|filter| !filter.ends_with('>')) {
        let count = filter.split('.').count();
        if u32::try_from(count).is_ok_and(|count| count < *most) {
            report.fault(
                "spec.key.tokens",
                format!("names token {most}, where subjects of {} have {count}", quoted(filter)),
            );
        }
    }
}

fn patterns(place: &str, texts: &[String], report: &mut Report) {
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = Pattern::parse(text) {
            report.fault(format!("{place}[{index}]"), format!("must be a pattern such as user.*.deleted: {error}"));
        }
    }
}

fn one_of(place: &str, names: &str, first: bool, others: [&String; 3], report: &mut Report) {
    let count = usize::from(first) + others.iter().filter(|text| !text.is_empty()).count();
    if count > 1 {
        report.fault(place, format!("says {count} places, where one of {names} may be said"));
    }
}

fn path(place: &str, text: &str, report: &mut Report) {
    if let Some(error) = Some(text).filter(|text| !text.is_empty()).and_then(|text| JsonPath::parse(text).err()) {
        report.fault(place, format!("{error}"));
    }
}

/// Attributes are lower-case letters and digits (CloudEvents 1.0, section 3).
fn attribute(place: &str, name: &str, report: &mut Report) {
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        report.fault(place, "must be the name of an attribute: lower-case letters and digits");
    }
}
