//! `tidings room`: rooms of the hub door that are kept, and events sent to them.
//!
//! A kept room is a stream over its subject, `room.<room>`: with the stream it stays, and goes.

use std::io::Read;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::output::{Out, Show, date, number, safe, size};
use super::stream::{confirm, exists};
use super::units::{Limit, Size, Span};

const KEEP_EXAMPLES: &str = "Examples:
  tidings room keep ITB-1101 --for 7d
  tidings room keep '*' --for 1d --bytes-max 10GiB     # every room, in one stream";

const SEND_EXAMPLES: &str = "Examples:
  tidings room send ITB-1101 '{\"key\":\"power\",\"value\":\"on\"}'
  tidings room send ITB-1101 - < event.json";

/// What begins the subjects of rooms.
const PREFIX: &str = "room.";
/// The stream of all rooms.
const ALL: &str = "ROOMS";
/// How long the id of what came over a link is remembered, at most: longer than links are down.
const DUPLICATE_WINDOW_SECONDS: u64 = 24 * 60 * 60;

/// What can be done with rooms.
#[derive(Debug, clap::Subcommand)]
pub enum RoomCommand {
    /// Keep a room's events, so that who was away gets what it missed
    #[command(after_help = KEEP_EXAMPLES)]
    Keep(KeepArgs),
    /// List the rooms that are kept
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Keep a room no longer: what was kept of it goes
    Forget(ForgetArgs),
    /// Send an event to a room
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
}

/// Flags of `tidings room keep`.
#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    /// The room; '*' for every room
    room: String,
    /// How long events are kept, such as 7d, or none for ever [default: 7d]
    #[arg(long = "for", value_name = "SPAN|none")]
    keep: Option<Limit<Span>>,
    /// Most bytes that are kept, such as 10GiB; the oldest go
    #[arg(long, value_name = "SIZE|none")]
    bytes_max: Option<Limit<Size>>,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings room ls`.
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings room forget`.
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The room, as it was kept
    room: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings room send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The room
    room: String,
    /// The event's body; - reads it from standard input
    body: String,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    state: State,
}

#[derive(Deserialize)]
struct Config {
    name: String,
    subjects: Vec<String>,
    #[serde(default)]
    age_max: Option<String>,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    bytes: u64,
    #[serde(default)]
    last_time: Option<String>,
}

/// Does what was asked.
pub fn run(command: RoomCommand) -> Result<(), Failure> {
    match command {
        RoomCommand::Keep(args) => keep(&args),
        RoomCommand::Ls(args) => ls(&args),
        RoomCommand::Forget(args) => forget(&args),
        RoomCommand::Send(args) => send(&args),
    }
}

/// The stream of a room. Letters, digits and `-` stay; every other byte becomes `_XX`, in hex, so that no
/// two rooms share a name.
fn stream_of(room: &str) -> String {
    if room == "*" {
        return ALL.to_owned();
    }
    let mut name = String::from("ROOM_");
    for byte in room.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("_{other:02X}")),
        }
    }
    name
}

/// What a room's stream captures.
fn pattern_of(room: &str) -> String {
    if room == "*" { format!("{PREFIX}*") } else { format!("{PREFIX}{}", event::encode_token(room)) }
}

/// The room of a stream's subject.
fn room_of(subject: &str) -> Option<String> {
    match subject.strip_prefix(PREFIX)? {
        "*" | ">" => Some(String::from("*")),
        token => event::decode_token(token),
    }
}

fn keep(args: &KeepArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let (name, pattern) = (stream_of(&args.room), pattern_of(&args.room));
    let known = match client.ask_json::<Info>(&Request::get(&["streams", &name])) {
        Ok(known) => Some(known),
        Err(Failure::NotFound(_)) => None,
        Err(failure) => return Err(failure),
    };
    if known.as_ref().is_some_and(|known| known.config.subjects != [pattern.clone()]) {
        let instead = format!("look at it with: tidings stream info {name}");
        return Err(exists("stream", &name, instead));
    }
    let mut config = json!({"subjects": [pattern],
        "description": format!("Events of the room {}", args.room)});
    let age = args.keep.unwrap_or(Limit("7d".parse().ok()));
    config["age_max"] = json!(age.0.map(|span| span.to_string()));
    let window = age.0.map_or(DUPLICATE_WINDOW_SECONDS, |span| span.0.as_secs().clamp(1, DUPLICATE_WINDOW_SECONDS));
    config["duplicate_window"] = json!(format!("{window}s"));
    if let Some(bytes) = args.bytes_max {
        config["bytes_max"] = json!(bytes.0.map(|size| size.0));
    }
    client.ask(&Request::new(Method::PUT, &["streams", &name]).json(&config))?;
    let mut out = Out::new();
    let span = age.0.map_or_else(|| String::from("for ever"), |span| format!("for {span}"));
    let what = if args.room == "*" { String::from("every room") } else { format!("the room {}", safe(&args.room)) };
    out.line(format!("{what} is kept {span}, in the stream {name}"))?;
    out.flush()
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let streams: Streams = client.ask_json(&Request::get(&["streams"]))?;
    let rooms = |info: &Info| {
        let rooms: Option<Vec<String>> = info.config.subjects.iter().map(|subject| room_of(subject)).collect();
        rooms.filter(|rooms| !rooms.is_empty())
    };
    let kept: Vec<(Vec<String>, &Info)> =
        streams.streams.iter().filter_map(|info| Some((rooms(info)?, info))).collect();
    let mut out = Out::new();
    if args.show.json {
        let row = |(rooms, info): &(Vec<String>, &Info)| {
            json!({"rooms": rooms, "stream": info.config.name, "for": info.config.age_max,
                "events": info.state.messages, "bytes": info.state.bytes, "last": info.state.last_time})
        };
        let all: Vec<Value> = kept.iter().map(row).collect();
        out.document(json!({"rooms": all}).to_string().as_bytes())?;
        return out.flush();
    }
    let row = |(rooms, info): &(Vec<String>, &Info)| {
        let rooms: Vec<String> = rooms.iter().map(|room| safe(room)).collect();
        let age = info.config.age_max.clone().unwrap_or_else(|| String::from("ever"));
        let last = info.state.last_time.as_deref().map(date).unwrap_or_default();
        vec![rooms.join(", "), age, number(info.state.messages), size(info.state.bytes), last, info.config.name.clone()]
    };
    let header = ["ROOM", "FOR", "EVENTS", "BYTES", "LAST (UTC)", "STREAM"];
    out.table(&header, &[2, 3], kept.iter().map(row).collect())?;
    out.flush()
}

fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let name = stream_of(&args.room);
    let info: Info = client.ask_json(&Request::get(&["streams", &name]))?;
    let events = number(info.state.messages);
    confirm(args.yes, &format!("remove the {events} events that are kept of the room {}", safe(&args.room)))?;
    client.ask(&Request::new(Method::DELETE, &["streams", &name]))?;
    let mut out = Out::new();
    out.line(format!("the room {} is kept no longer", safe(&args.room)))?;
    out.flush()
}

fn send(args: &SendArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let body = if args.body == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).map_err(Failure::output)?;
        body
    } else {
        args.body.clone().into_bytes()
    };
    let subject = format!("{PREFIX}{}", event::encode_token(&args.room));
    let answer = client.ask(&Request::post(&["publish", &subject]).body(body))?;
    let mut out = Out::new();
    out.document(&answer)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_streams_of_their_own() {
        assert_eq!(
            (stream_of("ITB-1101").as_str(), pattern_of("ITB-1101").as_str()),
            ("ROOM_ITB-1101", "room.ITB-1101")
        );
        assert_eq!((stream_of("*").as_str(), pattern_of("*").as_str()), ("ROOMS", "room.*"));
        assert_eq!((stream_of("a.b").as_str(), pattern_of("a.b").as_str()), ("ROOM_a_2Eb", "room.a%2Eb"));
        assert_ne!(stream_of("a_2Eb"), stream_of("a.b"));
        for room in ["ITB-1101", "a.b", "", "é x"] {
            assert_eq!(room_of(&pattern_of(room)).as_deref(), Some(room));
        }
        assert_eq!(room_of("orders.>"), None);
    }
}
