//! The task of a messenger: dial, restore, carry, and again.
//!
//! ```text
//!  CONNECTING ──▶ CONNECTED ──▶ WAITING ──▶ CONNECTING …      until it is closed: CLOSED
//!        └──────── failed ────────▲
//! ```
//!
//! Invariants: what a hub was told of the subscriptions is remembered for each connection, and the difference to
//! what is wanted is told before any event is sent; an event leaves the buffer for good when its frame was
//! written as a whole.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::connect::{Connection, Dialler};
use crate::limits::{CLOSE_ANSWER, ROOMS_IN_CHANGE_MAX, WRITE};
use crate::messenger::{Event, State};
use crate::options::Options;
use crate::pace::Pace;
use crate::queue::{Brought, Queue};

/// How a messenger is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    No,
    /// When what waits is sent.
    Soon,
    /// At once.
    Now,
}

/// What is counted since the messenger was made.
#[derive(Debug, Default)]
pub struct Tally {
    pub connections: AtomicU64,
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub outgoing_dropped: AtomicU64,
    pub incoming_dropped: AtomicU64,
    pub malformed: AtomicU64,
}

/// Adds to a count.
pub fn count(to: &AtomicU64, more: u64) {
    to.fetch_add(more, Ordering::Relaxed);
}

/// Something that waits to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// Room, line break, body.
    Event(Bytes),
    /// Told when the hub has heard what was sent before.
    Mark(oneshot::Sender<()>),
}

/// What the handle and the task share.
#[derive(Debug)]
pub struct Shared {
    pub dialler: Dialler,
    pub options: Options,
    pub outgoing: Queue<Outgoing>,
    pub incoming: Queue<Event>,
    pub rooms: Mutex<BTreeSet<String>>,
    /// The rooms changed.
    pub changed: Notify,
    pub state: watch::Sender<State>,
    pub closing: watch::Sender<Closing>,
    /// Pings of this connection that are not answered, by number.
    pub asked: Mutex<VecDeque<(u64, oneshot::Sender<()>)>>,
    pub tally: Tally,
}

/// How a connection ended.
enum Ended {
    /// As it was to.
    Closed,
    /// The reason.
    Lost(String),
}

/// The change of subscriptions, as Go writes it.
#[derive(Serialize)]
struct Change<'a> {
    rooms: &'a [&'a String],
    create: bool,
}

/// Runs until it is closed. `first`: a connection that is there already, or why there is none.
pub async fn run(shared: Arc<Shared>, mut pace: Pace, first: Result<Connection, String>) {
    let mut next = first;
    loop {
        let connection = match next {
            Ok(connection) => connection,
            Err(why) => match redial(&shared, &mut pace, why).await {
                Some(connection) => connection,
                None => break,
            },
        };
        count(&shared.tally.connections, 1);
        shared.state.send_replace(State::Connected);
        let since = Instant::now();
        match carry(&shared, connection).await {
            Ended::Closed => break,
            Ended::Lost(why) => {
                pace.failed(since.elapsed());
                next = Err(why);
            }
        }
    }
    count(&shared.tally.outgoing_dropped, shared.outgoing.clear());
    shared.outgoing.close();
    shared.incoming.close();
    shared.state.send_replace(State::Closed);
}

/// Dials until it succeeds; `None`: it was closed meanwhile.
async fn redial(shared: &Shared, pace: &mut Pace, why: String) -> Option<Connection> {
    let mut closing = shared.closing.subscribe();
    let mut why: Arc<str> = why.into();
    loop {
        let (failures, wait) = (pace.failures(), pace.wait());
        shared.state.send_replace(State::Waiting { failures, error: Arc::clone(&why) });
        let dialled = async {
            tokio::time::sleep(wait).await;
            shared.state.send_replace(State::Connecting);
            // What was to be repeated was asked for at the beginning, if that connection came about.
            let first = shared.tally.connections.load(Ordering::Relaxed) == 0;
            shared.dialler.dial(shared.options.replay.as_ref().filter(|_| first)).await
        };
        let dialled = tokio::select! {
            dialled = dialled => dialled,
            _ = closing.wait_for(|closing| *closing != Closing::No) => return None,
        };
        match dialled {
            Ok(connection) => return Some(connection),
            Err(error) => {
                pace.failed(Duration::ZERO);
                why = error.to_string().into();
            }
        }
    }
}

/// Carries events in both directions until the connection ends.
async fn carry(shared: &Shared, connection: Connection) -> Ended {
    let (mut sink, mut stream) = connection.split();
    let mut closing = shared.closing.subscribe();
    let mut flying = None;
    let ended = {
        let mut reading = pin!(read(shared, &mut stream));
        let carried = async {
            let wrote = tokio::select! {
                why = &mut reading => Err(why),
                wrote = write(shared, &mut sink, &mut flying) => wrote,
            };
            match wrote {
                Err(why) => Ended::Lost(why),
                Ok(()) => {
                    // The close is said; what the hub still sends is taken.
                    let _late = timeout(CLOSE_ANSWER, reading).await;
                    Ended::Closed
                }
            }
        };
        tokio::select! {
            ended = carried => ended,
            _ = closing.wait_for(|closing| *closing == Closing::Now) => Ended::Closed,
        }
    };
    // Whoever waits for an answer learns that there is none.
    shared.asked.lock().clear();
    if let Some(frame) = flying {
        let frame: Bytes = frame;
        let bytes = frame.len();
        shared.outgoing.put_back(Outgoing::Event(frame), bytes);
    }
    ended
}

/// Takes what comes; gives why nothing comes any more. Pings are answered below.
async fn read(shared: &Shared, stream: &mut SplitStream<Connection>) -> String {
    loop {
        let message = match timeout(shared.options.read_deadline, stream.next()).await {
            Err(_) => return String::from("nothing came from the hub for too long"),
            Ok(None) => return String::from("the hub closed the connection"),
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(Some(Ok(message))) => message,
        };
        let frame = match message {
            Message::Binary(frame) => frame,
            Message::Close(why) => {
                if !shared.outgoing.is_closed() {
                    // The hub began: the answer goes while the end is waited for.
                    let _end = timeout(CLOSE_ANSWER, stream.next()).await;
                }
                let why = why.map(|why| format!(": {} {}", u16::from(why.code), why.reason));
                return format!("the hub closed the connection{}", why.unwrap_or_default());
            }
            Message::Pong(number) => {
                answered(shared, &number);
                continue;
            }
            other => {
                count(&shared.tally.malformed, u64::from(other.is_text()));
                continue;
            }
        };
        let bytes = frame.len();
        let Some(event) = event(frame) else {
            count(&shared.tally.malformed, 1);
            continue;
        };
        match shared.incoming.push(event, bytes).await {
            Brought::In(dropped) => {
                count(&shared.tally.received, 1);
                count(&shared.tally.incoming_dropped, dropped);
            }
            Brought::Dropped => {
                count(&shared.tally.received, 1);
                count(&shared.tally.incoming_dropped, 1);
            }
            Brought::Wait(_) | Brought::Closed => return String::from("nobody receives any more"),
        }
    }
}

/// A pong came: its ping is answered, and those before. One without a number answers the oldest.
fn answered(shared: &Shared, number: &[u8]) {
    let mut asked = shared.asked.lock();
    let upto = match <[u8; 8]>::try_from(number) {
        Ok(number) => u64::from_be_bytes(number),
        Err(_) => asked.front().map_or(0, |(oldest, _)| *oldest),
    };
    while let Some((_, who)) = asked.pop_front_if(|(number, _)| *number <= upto) {
        // Who asked may have given up.
        let _gone = who.send(());
    }
}

/// A frame taken apart at its first line break.
fn event(frame: Bytes) -> Option<Event> {
    let at = frame.iter().position(|byte| *byte == b'\n')?;
    let room = std::str::from_utf8(frame.get(..at)?).ok()?.to_owned();
    Some(Event { room, body: frame.slice(at + 1..) })
}

/// Tells the subscriptions and sends what waits, until all is sent and it is to be closed. What is in `flying`
/// afterwards was not written as a whole.
async fn write(
    shared: &Shared,
    sink: &mut SplitSink<Connection, Message>,
    flying: &mut Option<Bytes>,
) -> Result<(), String> {
    let (mut told, mut pings) = (BTreeSet::new(), 0_u64);
    loop {
        let mut changed = pin!(shared.changed.notified());
        changed.as_mut().enable();
        tell_rooms(shared, sink, &mut told).await?;
        let next = tokio::select! {
            biased;
            () = changed => continue,
            next = shared.outgoing.pop() => next,
        };
        let message = match next {
            None => return send(sink, Message::Close(None)).await,
            Some(Outgoing::Event(frame)) => {
                *flying = Some(frame.clone());
                Message::Binary(frame)
            }
            Some(Outgoing::Mark(who)) => {
                pings += 1;
                shared.asked.lock().push_back((pings, who));
                Message::Ping(Bytes::copy_from_slice(&pings.to_be_bytes()))
            }
        };
        // A change that came with it goes before it.
        tell_rooms(shared, sink, &mut told).await?;
        send(sink, message).await?;
        count(&shared.tally.sent, u64::from(flying.take().is_some()));
    }
}

/// Tells the hub what is wanted more, or no longer, than it was told on this connection.
async fn tell_rooms(
    shared: &Shared,
    sink: &mut SplitSink<Connection, Message>,
    told: &mut BTreeSet<String>,
) -> Result<(), String> {
    let wanted = {
        let wanted = shared.rooms.lock();
        if *wanted == *told {
            return Ok(());
        }
        wanted.clone()
    };
    let changes = [(told.difference(&wanted).collect::<Vec<_>>(), false), (wanted.difference(told).collect(), true)];
    for (rooms, create) in changes {
        for rooms in rooms.chunks(ROOMS_IN_CHANGE_MAX) {
            let change = crate::event_v2::to_json(&Change { rooms, create }).map_err(|error| error.to_string())?;
            let text = String::from_utf8(change).map_err(|error| error.to_string())?;
            send(sink, Message::Text(text.into())).await?;
        }
    }
    *told = wanted;
    Ok(())
}

async fn send(sink: &mut SplitSink<Connection, Message>, message: Message) -> Result<(), String> {
    match timeout(WRITE, sink.send(message)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(String::from("the hub takes nothing")),
    }
}
