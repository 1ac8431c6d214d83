//! What `tidings room` and `tidings inbox` have in common: something is kept by a stream that is made for it, under a name
//! and over a pattern that follow from what it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Request};
use super::failure::Failure;
use super::output::{date, number, size};
use super::stream::{confirm, exists};
use super::units::{Limit, Size, Span};

/// How long and how much is kept.
#[derive(Debug, clap::Args)]
pub struct Keeping {
    /// How long it is kept, such as 7d, or none for ever [default: 7d]
    #[arg(long = "for", value_name = "SPAN|none")]
    keep: Option<Limit<Span>>,
    /// Most bytes that are kept, such as 10GiB; the oldest go
    #[arg(long, value_name = "SIZE|none")]
    bytes_max: Option<Limit<Size>>,
}

impl Keeping {
    /// How long; `None`: for ever.
    pub fn span(&self) -> Option<Span> {
        self.keep.unwrap_or(Limit("7d".parse().ok())).0
    }

    /// The same in words.
    pub fn told(&self) -> String {
        self.span().map_or_else(|| String::from("for ever"), |span| format!("for {span}"))
    }
}

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Kept>,
}

/// A stream, as far as it matters here.
#[derive(Deserialize)]
pub struct Kept {
    pub config: Config,
    pub state: State,
}

/// As it is declared.
#[derive(Deserialize)]
pub struct Config {
    pub name: String,
    pub subjects: Vec<String>,
    #[serde(default)]
    pub age_max: Option<String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What it holds.
#[derive(Deserialize)]
pub struct State {
    pub messages: u64,
    pub bytes: u64,
    #[serde(default)]
    pub last_time: Option<String>,
}

impl Kept {
    /// For how long, how many, how many bytes, since when: the columns of a listing.
    pub fn cells(&self) -> [String; 4] {
        let age = self.config.age_max.clone().unwrap_or_else(|| String::from("ever"));
        let last = self.state.last_time.as_deref().map(date).unwrap_or_default();
        [age, number(self.state.messages), size(self.state.bytes), last]
    }
}

/// Every stream that the node shows.
pub fn streams(client: &Client) -> Result<Vec<Kept>, Failure> {
    client.ask_json::<Streams>(&Request::get(&["streams"])).map(|all| all.streams)
}

/// Makes the stream, or changes it; `config` says what is besides. One of that name over anything else is left alone.
pub fn keep(client: &Client, stream: &str, pattern: &str, keeping: &Keeping, mut config: Value) -> Result<(), Failure> {
    match client.ask_json::<Kept>(&Request::get(&["streams", stream])) {
        Ok(known) if known.config.subjects != [pattern] => {
            return Err(exists("stream", stream, format!("look at it with: tidings stream info {stream}")));
        }
        Ok(_) | Err(Failure::NotFound(_)) => {}
        Err(failure) => return Err(failure),
    }
    config["subjects"] = json!([pattern]);
    config["age_max"] = json!(keeping.span().map(|span| span.to_string()));
    if let Some(bytes) = keeping.bytes_max {
        config["bytes_max"] = json!(bytes.0.map(|size| size.0));
    }
    client.ask(&Request::new(Method::PUT, &["streams", stream]).json(&config)).map(drop)
}

/// Removes the stream with what it holds, once that is confirmed; `held` says what that is, given how many.
pub fn forget(client: &Client, stream: &str, yes: bool, held: impl FnOnce(&str) -> String) -> Result<(), Failure> {
    let kept: Kept = client.ask_json(&Request::get(&["streams", stream]))?;
    confirm(yes, &held(&number(kept.state.messages)))?;
    client.ask(&Request::new(Method::DELETE, &["streams", stream])).map(drop)
}
