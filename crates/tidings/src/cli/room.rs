//! `tidings room`: rooms of the hub door that are kept, and events sent to them.
//!
//! A kept room is a stream over its subject, `room.<room>`: with the stream it stays, and goes.

use std::io::Read;

use serde_json::{Value, json};

use super::client::{Client, Reach, Request};
use super::failure::Failure;
use super::kept::{self, Keeping, Kept};
use super::output::{Out, Show, safe};

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
    #[command(flatten)]
    keeping: Keeping,
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
    let (stream, pattern) = (stream_of(&args.room), pattern_of(&args.room));
    let seconds = args.keeping.span().map_or(u64::MAX, |span| span.0.as_secs());
    let window = seconds.clamp(1, DUPLICATE_WINDOW_SECONDS);
    let config = json!({
        "description": format!("Events of the room {}", args.room),
        "duplicate_window": format!("{window}s"),
    });
    kept::keep(&Client::new(&args.reach)?, &stream, &pattern, &args.keeping, config)?;
    let mut out = Out::new();
    let what = if args.room == "*" { String::from("every room") } else { format!("the room {}", safe(&args.room)) };
    out.line(format!("{what} is kept {}, in the stream {stream}", args.keeping.told()))?;
    out.flush()
}

fn ls(args: &LsArgs) -> Result<(), Failure> {
    let streams = kept::streams(&Client::new(&args.reach)?)?;
    let rooms = |kept: &Kept| {
        let rooms: Option<Vec<String>> = kept.config.subjects.iter().map(|subject| room_of(subject)).collect();
        rooms.filter(|rooms| !rooms.is_empty())
    };
    let all: Vec<(Vec<String>, &Kept)> = streams.iter().filter_map(|kept| Some((rooms(kept)?, kept))).collect();
    let mut out = Out::new();
    if args.show.json {
        let row = |(rooms, kept): &(Vec<String>, &Kept)| {
            json!({"rooms": rooms, "stream": kept.config.name, "for": kept.config.age_max,
                "events": kept.state.messages, "bytes": kept.state.bytes, "last": kept.state.last_time})
        };
        let all: Vec<Value> = all.iter().map(row).collect();
        out.document(json!({"rooms": all}).to_string().as_bytes())?;
        return out.flush();
    }
    let row = |(rooms, kept): &(Vec<String>, &Kept)| {
        let rooms: Vec<String> = rooms.iter().map(|room| safe(room)).collect();
        [rooms.join(", ")].into_iter().chain(kept.cells()).chain([kept.config.name.clone()]).collect()
    };
    let header = ["ROOM", "FOR", "EVENTS", "BYTES", "LAST (UTC)", "STREAM"];
    out.table(&header, &[2, 3], all.iter().map(row).collect())?;
    out.flush()
}

fn forget(args: &ForgetArgs) -> Result<(), Failure> {
    let room = safe(&args.room);
    let held = |held: &str| format!("remove the {held} events that are kept of the room {room}");
    kept::forget(&Client::new(&args.reach)?, &stream_of(&args.room), args.yes, held)?;
    let mut out = Out::new();
    out.line(format!("the room {room} is kept no longer"))?;
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
