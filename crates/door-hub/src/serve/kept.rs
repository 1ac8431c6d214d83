//! Events of kept rooms on their way to another hub.
//!
//! ```text
//!   a stream ──▶ its consumer `hub-<link>` ──▶ the link's connection ──▶ acknowledged ──▶ done with
//!                      ▲                              │ lost
//!                      └────────── again ─────────────┘
//! ```
//!
//! A node of this kind is told where each event stands, and acknowledges it. Another hub is pinged after a few
//! events with a number, and its pong says that it read them.
//!
//! # Invariants
//! - At most so many events and bytes of a stream are sent and not acknowledged.
//! - What came from a hub goes to no hub.
//! - On each connection a stream's events go in order, from the first that is not acknowledged. One keeper at a
//!   time has a consumer: the next waits until it has let go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use door::{Principal, Took};
use event::{Moment, Pattern};
use journal::{Ack, AckToken, ConsumerConfig, ConsumerStart, Delivery, Fetch, StreamInfo};
use mesh::hub::{Custody, Load};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::receiver::{catalogue, newlines};
use super::shared::{Connection, Shared};
use crate::codec::{Control, Opcode, Place, Source, decode_room, write_event, write_frame};
use crate::limits::{CUSTODY_BYTES, CUSTODY_MESSAGES};
use crate::session::Kind;

/// How often it is looked whether there are other streams.
const LOOK: Duration = Duration::from_millis(200);
/// How long one fetch waits.
const FETCH_WAIT: Duration = Duration::from_secs(30);
/// Events asked of the consumer at a time.
const FETCH_BATCH: u64 = 64;
/// How long a consumer waits for an acknowledgement: longer than a connection lives that does not answer.
const ACK_WAIT: Duration = Duration::from_secs(120);
/// How long the consumer of a link that nobody declared is kept: a hub that was away for a week is looked for
/// by somebody.
const UNDECLARED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long to wait after a failure.
const REST: Duration = Duration::from_secs(1);
/// Longest name of a link within a consumer's, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// What is owed of one stream.
struct Owed {
    custody: Custody,
    tokens: BTreeMap<u64, AckToken>,
    /// What is to be sent next, when there is room.
    waits: Option<AckToken>,
}

#[derive(Default)]
struct State {
    /// By the stream's name on the wire.
    streams: BTreeMap<String, Owed>,
    /// Pings that were sent and not answered, with what they stand for.
    pings: VecDeque<(u64, String, u64)>,
    ping: u64,
}

/// One link's custody, while it is up on one connection.
pub(crate) struct Keeper {
    connection: Arc<Connection>,
    /// The name of the declared link that it is for.
    pub(crate) declared: Option<Arc<str>>,
    consumer: String,
    patterns: Vec<Pattern>,
    /// Where new consumers begin: when the link was declared, or came up.
    since: Moment,
    state: Mutex<State>,
    freed: Notify,
    over: CancellationToken,
    done: Mutex<Vec<AckToken>>,
}

impl Keeper {
    pub(crate) fn new(
        connection: &Arc<Connection>,
        declared: Option<Arc<str>>,
        link: &str,
        patterns: Vec<Pattern>,
        since: Moment,
    ) -> Self {
        Keeper {
            connection: Arc::clone(connection),
            consumer: consumer(declared.as_deref().unwrap_or(link)),
            declared,
            patterns,
            since,
            state: Mutex::default(),
            freed: Notify::new(),
            over: CancellationToken::new(),
            done: Mutex::default(),
        }
    }

    /// Ends it: what is owed goes again on the next connection.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// Events that are owed.
    pub(crate) fn owed(&self) -> usize {
        self.state.lock().streams.values().map(|owed| owed.custody.load().messages).sum()
    }

    /// The peer has one.
    pub(crate) fn acknowledged(&self, place: &Place) {
        let mut state = self.state.lock();
        if let Some(owed) = state.streams.get_mut(&place.stream) {
            owed.custody.acknowledged(place.seq);
            self.done.lock().extend(owed.tokens.remove(&place.seq));
        }
        drop(state);
        self.freed.notify_waiters();
        self.freed.notify_one();
    }

    /// A plain hub answered a ping: the one it names, or the oldest.
    pub(crate) fn ponged(&self, payload: &[u8]) {
        let mut state = self.state.lock();
        let number = match <[u8; 8]>::try_from(payload) {
            Ok(bytes) => u64::from_be_bytes(bytes),
            Err(_) if payload.is_empty() => match state.pings.front() {
                Some((number, _, _)) => *number,
                None => return,
            },
            Err(_) => return,
        };
        while let Some((_, stream, seq)) = state.pings.pop_front_if(|(each, _, _)| *each <= number) {
            if let Some(owed) = state.streams.get_mut(&stream) {
                owed.custody.acknowledged_to(seq);
                let left = owed.tokens.split_off(&(seq + 1));
                self.done.lock().extend(std::mem::replace(&mut owed.tokens, left).into_values());
            }
        }
        drop(state);
        self.freed.notify_waiters();
        self.freed.notify_one();
    }

    /// Whether one fits. From now on it is given back where the link ends before it is sent.
    fn fits(&self, stream: &str, delivery: &Delivery) -> bool {
        let mut state = self.state.lock();
        let Some(owed) = state.streams.get_mut(stream) else { return false };
        owed.waits = Some(delivery.token.clone());
        owed.custody.fits(delivery.stored.message.payload.len())
    }

    /// Sends one; whether the connection took it.
    fn send(&self, stream: &str, delivery: &Delivery, ping: bool) -> bool {
        let message = &delivery.stored.message;
        let Some(room) = decode_room(message.subject.as_str()) else { return true };
        let (seq, size) = (delivery.stored.seq, message.payload.len());
        let mut state = self.state.lock();
        let number = state.ping + 1;
        if let Some(owed) = state.streams.get_mut(stream) {
            // It fits: that was asked before.
            let _taken = owed.custody.sent(seq, size);
            owed.tokens.insert(seq, delivery.token.clone());
            owed.waits = None;
        }
        let ping = ping && self.connection.kind == Kind::Hub;
        if ping {
            state.ping = number;
            state.pings.push_back((number, stream.to_owned(), seq));
        }
        drop(state);
        let source = Source::of(message.headers.as_block());
        let (masks, kind) = (&self.connection.masks, self.connection.kind);
        let took = self.connection.out.put(1, size, |bytes| {
            if kind == Kind::Twin {
                let at = Control { at: Some(Place { stream: stream.to_owned(), seq }), ack: None };
                write_frame(bytes, Opcode::Text, masks.next(), &[&at.text()]);
            }
            write_event(bytes, masks.next(), &room, newlines(kind, source), &message.payload);
            if ping {
                write_frame(bytes, Opcode::Ping, masks.next(), &[&number.to_be_bytes()]);
            }
        });
        if took == Took::First {
            self.connection.out.wake();
        }
        took != Took::No
    }
}

/// The name of a link's consumers.
fn consumer(link: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if link.chars().all(fits) && link.len() <= NAME_BYTES_MAX {
        return format!("hub-{link}");
    }
    let hash = link
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let plain: String = link.chars().map(|c| if fits(c) { c } else { '_' }).take(NAME_BYTES_MAX).collect();
    format!("hub-{plain}-{hash:016x}")
}

/// A stream's name on the wire: another one where it was deleted and declared anew.
fn wire_name(info: &StreamInfo) -> String {
    format!("{}@{}", info.config.name, info.created.nanos())
}

/// Looks after the streams that keep rooms of a link, until the link is down.
pub(super) async fn keep(shared: Arc<Shared>, keeper: Arc<Keeper>) {
    let mut running: BTreeMap<String, CancellationToken> = BTreeMap::new();
    let mut version = None;
    while !keeper.over.is_cancelled() {
        let now = catalogue(&shared.port);
        if version != Some(now) {
            version = Some(now);
            let streams = shared.port.journal().streams().await;
            let wanted = streams.iter().filter(|info| {
                info.config.subjects.iter().any(|subject| keeper.patterns.iter().any(|each| each.overlaps(subject)))
            });
            let wanted: BTreeMap<String, &StreamInfo> = wanted.map(|info| (wire_name(info), info)).collect();
            running.retain(|name, over| {
                wanted.contains_key(name) || {
                    over.cancel();
                    false
                }
            });
            for (name, info) in wanted {
                if running.contains_key(&name) {
                    continue;
                }
                let over = keeper.over.child_token();
                let (shared, keeper, stream) = (Arc::clone(&shared), Arc::clone(&keeper), info.config.name.clone());
                shared.tasks.clone().spawn(follow(shared, keeper, stream, name.clone(), over.clone()));
                running.insert(name, over);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = keeper.over.cancelled() => {}
        }
    }
}

/// Sends one stream's events until it is over, and gives back what is owed then.
async fn follow(shared: Arc<Shared>, keeper: Arc<Keeper>, stream: String, wire: String, over: CancellationToken) {
    let most = Load { messages: CUSTODY_MESSAGES, bytes: CUSTODY_BYTES };
    let owed = Owed { custody: Custody::new(most), tokens: BTreeMap::new(), waits: None };
    let turn = shared.links.turn(&format!("{}/{wire}", keeper.consumer));
    let _held = tokio::select! {
        held = turn.lock() => held,
        () = over.cancelled() => return,
    };
    keeper.state.lock().streams.insert(wire.clone(), owed);
    let mut began = false;
    while !over.is_cancelled() {
        let sent = tokio::select! {
            sent = Box::pin(send_some(&shared, &keeper, &stream, &wire, &mut began)) => sent,
            () = over.cancelled() => break,
        };
        if let Err(why) = sent {
            warn!(stream, consumer = keeper.consumer, "cannot read what is owed to a hub: {why}");
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = over.cancelled() => break,
            }
        }
    }
    let owed = keeper.state.lock().streams.remove(&wire);
    settle(&shared, &keeper);
    // In their order: what waited comes behind what was sent.
    for token in owed.into_iter().flat_map(|owed| owed.tokens.into_values().chain(owed.waits)) {
        let again = Ack::Again { delay: Some(Duration::ZERO) };
        shared.port.journal().acknowledge(token, again, false, Box::new(|_| ()));
    }
}

/// Tells the journal what the peer has.
fn settle(shared: &Shared, keeper: &Keeper) {
    let done = std::mem::take(&mut *keeper.done.lock());
    for token in done {
        shared.port.journal().acknowledge(token, Ack::Done, false, Box::new(|_| ()));
    }
}

/// Has a consumer on a stream; where there is none it begins at a moment. One that is not `kept` goes when
/// nobody has asked for long.
async fn ensure(
    shared: &Shared,
    stream: &str,
    consumer: &str,
    patterns: &[Pattern],
    since: Moment,
    kept: bool,
) -> Result<(), String> {
    let journal = shared.port.journal();
    let config = ConsumerConfig {
        description: String::from("what a hub has not acknowledged"),
        filters: patterns.to_vec(),
        start: ConsumerStart::Time(since),
        ack_wait: ACK_WAIT,
        dead_letter: false,
        ack_pending_max: Some(CUSTODY_MESSAGES as u64 * 2),
        inactive: (!kept).then_some(UNDECLARED),
        ..ConsumerConfig::new(consumer)
    };
    match journal.consumer_info(stream, consumer).await {
        Ok(info) if info.config.filters == config.filters => Ok(()),
        Ok(info) => {
            let changed = ConsumerConfig { start: info.config.start, ..config };
            journal.consumer_update(stream, changed).await.map(|_| ()).map_err(|error| error.to_string())
        }
        Err(_) => journal.consumer_create(stream, config).await.map(|_| ()).map_err(|error| error.to_string()),
    }
}

/// Has the consumers of declared links be there, also while the links are down: what is recorded meanwhile is
/// owed. Looks until the door closes.
pub(super) async fn owe(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut before = None;
    while !stopping.is_cancelled() {
        let now = (catalogue(&shared.port), shared.links.owed());
        if before.as_ref() != Some(&now) {
            let mut failed = false;
            for info in shared.port.journal().streams().await {
                for (link, patterns, since) in &now.1 {
                    if !info.config.subjects.iter().any(|own| patterns.iter().any(|each| each.overlaps(own))) {
                        continue;
                    }
                    let made = ensure(&shared, &info.config.name, &consumer(link), patterns, *since, true).await;
                    if let Err(why) = made {
                        warn!(stream = info.config.name, link = &**link, "cannot keep what is owed to a hub: {why}");
                        failed = true;
                    }
                }
            }
            before = Some(now).filter(|_| !failed);
        }
        tokio::select! {
            () = tokio::time::sleep(if before.is_some() { LOOK } else { REST }) => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// Takes away the consumers of links that are not declared any more.
pub(super) async fn forget(shared: Arc<Shared>, links: Vec<Arc<str>>) {
    for info in shared.port.journal().streams().await {
        for link in &links {
            // It may never have been there.
            let _absent = shared.port.journal().consumer_delete(&info.config.name, &consumer(link)).await;
        }
    }
}

/// One fetch.
async fn send_some(shared: &Shared, keeper: &Keeper, stream: &str, wire: &str, began: &mut bool) -> Result<(), String> {
    let journal = shared.port.journal();
    let kept = keeper.declared.is_some();
    ensure(shared, stream, &keeper.consumer, &keeper.patterns, keeper.since, kept).await?;
    if !*began {
        // What was out on an earlier connection, or before a crash, comes first again, in its order: the peer
        // takes what stands below the highest that it has seen for a copy.
        journal.consumer_reset(stream, &keeper.consumer, None).await.map_err(|error| error.to_string())?;
        *began = true;
    }
    let fetch = Fetch { batch: FETCH_BATCH, wait: Some(FETCH_WAIT), no_wait: true, ..Fetch::default() };
    let fetched = shared.port.fetch(&Principal::anyone(), stream, &keeper.consumer, fetch).await;
    let mut deliveries = fetched.map_err(|error| error.to_string())?;
    let mut next = take_one(shared, keeper, &mut deliveries).await;
    while let Some(delivery) = next {
        let message = &delivery.stored.message;
        // What came from a hub goes to none; what no room's name makes is no event of a room.
        let is_room = decode_room(message.subject.as_str()).is_some();
        if !is_room || Source::of(message.headers.as_block()) == Source::Hub {
            journal.acknowledge(delivery.token, Ack::Done, false, Box::new(|_| ()));
            next = take_one(shared, keeper, &mut deliveries).await;
            continue;
        }
        while !keeper.fits(wire, &delivery) {
            keeper.freed.notified().await;
            settle(shared, keeper);
        }
        if !keeper.send(wire, &delivery, true) {
            return Err(String::from("the connection has ended"));
        }
        next = take_one(shared, keeper, &mut deliveries).await;
    }
    Ok(())
}

/// The next delivery; meanwhile the journal is told what the peer has.
async fn take_one(shared: &Shared, keeper: &Keeper, deliveries: &mut door::Deliveries) -> Option<Delivery> {
    loop {
        tokio::select! {
            delivery = deliveries.next() => return delivery,
            () = keeper.freed.notified() => settle(shared, keeper),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_named_by_the_link_in_letters_that_names_have() {
        assert_eq!(consumer("node-a"), "hub-node-a");
        let made = [consumer("ws://a:1"), consumer("ws://a.1"), consumer(&"a".repeat(300))];
        assert!(made.iter().all(|name| name.len() <= 255 && name.starts_with("hub-")));
        assert_ne!(made[0], made[1]);
    }
}
