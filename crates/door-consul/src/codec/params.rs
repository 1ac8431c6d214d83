//! The query of a request: what it asks to be read, how fresh, and how long it waits.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::duration;
use super::fault::Fault;

/// The parameters of a query, decoded, in their order. What cannot be decoded is left out, as the original does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// How fresh an answer must be. One node answers all three alike; headers say what was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Nothing was said.
    #[default]
    Leader,
    /// `?stale`.
    Stale,
    /// `?consistent`.
    Consistent,
}

/// What every reading request may say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The position that the reader has; 0: answer at once.
    pub index: u64,
    /// The content that the reader has, where it waits by content.
    pub hash: Option<String>,
    /// How long to wait; `None`: as long as is usual.
    pub wait: Option<Duration>,
    /// How fresh.
    pub consistency: Consistency,
    /// An answer that was read before will do.
    pub cached: bool,
    /// For eyes.
    pub pretty: bool,
}

impl Reading {
    /// Whether the reader waits for a change.
    pub fn blocks(&self) -> bool {
        self.index > 0 || self.hash.is_some()
    }
}

impl Params {
    /// Reads what stands behind the `?`.
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Params(pairs.filter_map(pair).collect())
    }

    /// The first value of a name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a name; empty where it has none.
    pub fn text(&self, name: &str) -> &str {
        self.first(name).unwrap_or_default()
    }

    /// All values of a name, in their order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// Whether a name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// A name that is true by being there, unless its value says otherwise.
    ///
    /// # Errors
    /// 400 where the value is neither true nor false.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.first(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => truth(value).ok_or_else(|| Fault::bad(format!("Invalid value for ?{name}"))),
        }
    }

    /// A number that changes nothing where it is not there.
    ///
    /// # Errors
    /// 400 where the value is no number of 64 bits.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.first(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        unsigned(text).map(Some).ok_or_else(|| Fault::bad(format!("Invalid {name} value \"{text}\"")))
    }

    /// `?node-meta=key:value`, as often as it is there.
    pub fn node_meta(&self) -> Vec<(String, String)> {
        let pairs = self.all("node-meta").map(|pair| pair.split_once(':').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// What every reading request may say.
    ///
    /// # Errors
    /// 400, in the original's words.
    pub fn reading(&self) -> Result<Reading, Fault> {
        self.refuse_enterprise()?;
        let consistency = self.consistency()?;
        let cached = self.has("cached");
        if cached && consistency == Consistency::Consistent {
            return Err(Fault::bad("Cannot specify ?cached with ?consistent, conflicting semantics."));
        }
        let wait = match self.first("wait").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let nanos = duration::parse(text).ok_or_else(|| Fault::bad("Invalid wait time"))?;
                u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
            }
        };
        let index = match self.first("index").filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => unsigned(text).ok_or_else(|| Fault::bad("Invalid index"))?,
        };
        let hash = self.first("hash").filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Reading { index, hash, wait, consistency, cached, pretty: self.has("pretty") })
    }

    /// What only the original's other edition has.
    ///
    /// # Errors
    /// 400, in the original's words.
    pub fn refuse_enterprise(&self) -> Result<(), Fault> {
        for (name, what) in [("ns", "Namespaces are"), ("partition", "Partitions are")] {
            // The names that the original gives what everyone has are taken.
            if self.first(name).is_some_and(|value| !value.is_empty() && value != "default") {
                let why =
                    format!("Bad request: Invalid query parameter: \"{name}\" - {what} a Consul Enterprise feature");
                return Err(Fault::bad(why));
            }
        }
        Ok(())
    }

    fn consistency(&self) -> Result<Consistency, Fault> {
        let (mut stale, consistent) = (self.has("stale"), self.has("consistent"));
        if let Some(text) = self.first("max_stale").filter(|text| !text.is_empty()) {
            if duration::parse(text).is_none() {
                return Err(Fault::bad(format!("Invalid max_stale value \"{text}\"")));
            }
            stale = true;
        }
        match (stale, consistent, self.has("leader")) {
            (true, true, _) => Err(Fault::bad("Cannot specify ?stale with ?consistent, conflicting semantics.")),
            (true, _, true) => Err(Fault::bad("Cannot specify ?stale with ?leader, conflicting semantics.")),
            (_, true, true) => Err(Fault::bad("Cannot specify ?consistent with ?leader, conflicting semantics.")),
            (true, false, false) => Ok(Consistency::Stale),
            (false, true, false) => Ok(Consistency::Consistent),
            (false, false, _) => Ok(Consistency::Leader),
        }
    }
}

fn pair(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Some((spaced(name)?, spaced(value)?))
}

/// Text of a query, where a plus stands for a space.
fn spaced(text: &str) -> Option<String> {
    if text.contains('+') { decoded(&text.replace('+', " ")) } else { decoded(text) }
}

/// Text without its percent signs; `None` where they stand for nothing, or for no UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = bytes.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A number of 64 bits in digits alone.
pub fn unsigned(text: &str) -> Option<u64> {
    // A sign would be taken by the standard library, and is not by Go's.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What Go takes for true and false.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(query: &str, text: &str) {
        assert_eq!(Params::parse(query).reading(), Err(Fault::bad(text.to_owned())), "{query}");
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_the_originals_words() {
        refused("index=abc", "Invalid index");
        refused("index=-1", "Invalid index");
        refused("index=+1", "Invalid index");
        refused("index=18446744073709551616", "Invalid index");
        refused("wait=xyz", "Invalid wait time");
        refused("wait=5", "Invalid wait time");
        refused("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics.");
        refused("max_stale=zz", "Invalid max_stale value \"zz\"");
        refused("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics.");
        let ns = "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature";
        refused("ns=x", ns);
        assert_eq!(Params::parse("passing=foo").flag("passing"), Err(Fault::bad("Invalid value for ?passing")));
    }

    #[test]
    fn what_can_be_read_is() {
        let reading = Params::parse("index=18446744073709551615&wait=-5s&stale&pretty").reading().unwrap();
        let expected = Reading { index: u64::MAX, consistency: Consistency::Stale, pretty: true, ..Reading::default() };
        assert_eq!(reading, expected);
        assert_eq!(Params::parse("wait=2s").reading().unwrap().wait, Some(Duration::from_secs(2)));
        assert_eq!(Params::parse("wait=0s&index=").reading().unwrap(), Reading::default());
        let params = Params::parse("tag=a%20b&tag=c+d&bad=%zz&passing&node-meta=k:v:w&&=x");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), ["a b", "c d"]);
        assert!(!params.has("bad") && params.flag("passing").unwrap());
        assert_eq!(params.node_meta(), [(String::from("k"), String::from("v:w"))]);
        for (value, expected) in [("1", true), ("t", true), ("true", true), ("0", false), ("F", false)] {
            assert_eq!(Params::parse(&format!("passing={value}")).flag("passing"), Ok(expected));
        }
    }
}
