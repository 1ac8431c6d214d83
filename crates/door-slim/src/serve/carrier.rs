//! What a link's messages do.
//!
//! # Cost
//! A message to a name that is known: a pass over its fields, its tag, and for each receiver another pass, another
//! tag and one copy.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use door::{Class, ConnectionId, Keepers, NOBODY, Parcel, Principal, PublishError, Published, Spread, Taker, Way};
use event::{Headers, Message, Subject};
use journal::{Append, AppendError};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, info};

use super::shared::{Connection, Shared, Terms};
use super::subscriptions::Subscriptions;
use crate::codec::{self, Answer, Encoded, Header, Kind, Name, Publish, Session as Said, ack, answer, forwarded_bytes};
use crate::codec::{partial, subject};
use crate::counts::add;
use crate::limits::WAYS_KEPT_MAX;
use crate::session::{Agreed, Dropped, Fault, Session, Step};

/// Statuses of gRPC.
const INVALID_ARGUMENT: u16 = 3;
const PERMISSION_DENIED: u16 = 7;
const ABORTED: u16 = 10;
pub(crate) const UNAUTHENTICATED: u16 = 16;

/// What is known of a name to one who publishes.
struct Known {
    subject: Subject,
    way: Arc<Way>,
    allowed: bool,
    /// A stream keeps it, or a schema is bound to it.
    handled: bool,
    captured: bool,
    keepers: Keepers,
    catalogue: u64,
    access: Option<u64>,
}

/// See the module.
pub(crate) struct Carrier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
    session: Session,
    subscriptions: Subscriptions,
    ways: HashMap<(Encoded, bool), Known>,
    /// By which tokens and rules the link was judged last.
    access: Option<u64>,
    changed: watch::Receiver<()>,
    first: Vec<Arc<dyn Taker>>,
    pressed: Vec<Arc<dyn Taker>>,
    /// The headers of the last message, and by what they were made.
    block: String,
    block_of: Vec<u8>,
}

impl Carrier {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Self {
        Carrier::of(shared, connection, Session::new(shared.rules()))
    }

    /// One of a session that has begun.
    pub(crate) fn of(shared: &Arc<Shared>, connection: &Arc<Connection>, session: Session) -> Self {
        Carrier {
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            session,
            subscriptions: Subscriptions::new(shared, connection),
            ways: HashMap::new(),
            access: None,
            changed: shared.access.clone(),
            first: Vec::new(),
            pressed: Vec::new(),
            block: String::new(),
            block_of: Vec::new(),
        }
    }

    /// Whether the link is negotiated.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Does what a message is to do.
    pub(crate) fn message(&mut self, raw: &[u8]) {
        if self.connection.out.is_over() || !self.is_welcome() {
            return;
        }
        let step = match self.session.handle(raw) {
            Ok(step) => step,
            Err(fault) => return self.fault(&fault),
        };
        match step {
            Step::Open(agreed) => self.open(*agreed),
            Step::Subscribe(_, _, id) | Step::Unsubscribe(_, id) if self.class() == Class::Remote => {
                self.dropped(Dropped::NotAllowed);
                self.acknowledge(id, Err(String::from("a link between domains subscribes nothing by itself")));
            }
            Step::Subscribe(name, texts, id) => {
                let outcome = self.subscriptions.add(name, texts, id);
                self.acknowledge(id, outcome);
            }
            Step::Unsubscribe(name, id) => {
                let outcome = self.subscriptions.remove(&name, id);
                self.acknowledge(id, outcome);
            }
            Step::Publish(publish) => self.publish(&publish),
            Step::Heard => {}
            Step::Dropped(why) => self.dropped(why),
        }
    }

    /// Tells the sender of a message that is larger than is taken, as far as its beginning says who he is.
    pub(crate) fn too_large(&mut self, begin: &[u8], size: usize) {
        self.dropped(Dropped::TooLarge);
        if !self.is_open() {
            return self.end(INVALID_ARGUMENT, "the first message of a link must negotiate it");
        }
        let max = self.shared.options.message_bytes_max;
        let why = format!("the message has {size} bytes; this node takes {max}");
        if let Some((header, said)) = partial(begin) {
            self.answer(&header, said, &why);
        }
    }

    /// Ends a link whose bytes cannot be read.
    pub(crate) fn unreadable(&mut self) {
        self.dropped(Dropped::Malformed);
        self.end(12, "compressed messages are not taken");
    }

    /// Ends a link that was not negotiated in time.
    pub(crate) fn late(&mut self) {
        add(&self.shared.totals.refused, 1);
        self.end(4, "the link was not negotiated in time");
    }

    fn end(&self, status: u16, why: &str) {
        self.connection.out.end((status, why.to_owned()));
    }

    fn fault(&mut self, fault: &Fault) {
        add(&self.shared.totals.refused, 1);
        info!(address = %self.connection.address, %fault, "a link is refused");
        let status = if *fault == Fault::Peer { PERMISSION_DENIED } else { INVALID_ARGUMENT };
        self.end(status, &fault.to_string());
    }

    fn dropped(&self, why: Dropped) {
        debug!(address = %self.connection.address, why = why.text(), "a message is dropped");
        self.shared.totals.dropped(why);
        self.connection.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until other tokens or rules are put in force. Safe to drop while it waits.
    pub(crate) async fn access_changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has a link that only listens judged anew: it ends where its token means nobody any longer, and hears nothing that
    /// is closed to it.
    pub(crate) fn judge(&mut self) {
        self.is_welcome();
    }

    /// Whether the token that was presented still stands for somebody. Costs one load.
    fn is_welcome(&mut self) -> bool {
        let version = self.shared.port.access_version();
        if self.access == Some(version) {
            return true;
        }
        let outcome = match self.connection.trusted {
            true => Ok(self.shared.trusted()),
            false => self.shared.port.authenticate(self.connection.token.as_deref()),
        };
        match outcome {
            Ok(who) => {
                self.access = Some(version);
                let former = std::mem::replace(&mut *self.connection.who.lock(), who.clone());
                if self.class() == Class::Peer && !former.has_rights_of(&who) {
                    // It comes again, and is told what it may know now.
                    self.end(ABORTED, "the replica's rights changed");
                    return false;
                }
                self.subscriptions.judge();
                self.shared.remotes.judge(self.connection.id);
                true
            }
            Err(error) => {
                self.end(UNAUTHENTICATED, &error.to_string());
                false
            }
        }
    }

    fn open(&mut self, agreed: Agreed) {
        let Agreed { reply, key, link, kind, node } = agreed;
        if kind == Kind::Peer && !self.is_replica() {
            add(&self.shared.totals.refused, 1);
            return self.end(PERMISSION_DENIED, "a replica's token must read everything");
        }
        if let Some(former) = self.shared.former(&self.connection, kind, &link) {
            former.out.end((ABORTED, String::from("the link came again")));
        }
        debug!(address = %self.connection.address, %link, ?kind, %node, tagged = key.is_some(), "a link is open");
        // It is set once: a session opens once.
        let _first = self.connection.terms.set(Terms { key, link: link.clone(), kind, node });
        if self.class() == Class::Remote
            && let Err(why) = self.shared.remotes.opened(&self.shared, &self.connection, &link)
        {
            add(&self.shared.totals.refused, 1);
            info!(address = %self.connection.address, %link, why, "a link is refused");
            return self.end(ABORTED, &why);
        }
        self.connection.opened.notify_one();
        add(&self.shared.totals.negotiated, 1);
        if !reply.is_empty() {
            self.connection.out.say(&reply);
        }
        if kind == Kind::Peer {
            self.shared.own.replica(&self.connection);
        }
    }

    /// Whether whoever presented this may be told what is subscribed here. Where there are no tokens, the node's name is all
    /// that there is to tell by.
    fn is_replica(&self) -> bool {
        self.connection.trusted || self.shared.port.is_open() || self.connection.who.lock().reads_everything()
    }

    fn acknowledge(&self, id: u64, outcome: Result<(), String>) {
        if let Err(why) = &outcome {
            debug!(address = %self.connection.address, %why, "a subscription is refused");
        }
        if id != 0 {
            self.connection.out.say(&ack(id, outcome.as_ref().copied().map_err(String::as_str)));
        }
    }

    fn class(&self) -> Class {
        self.shared.class(&self.connection)
    }

    /// Tells the sender of a message what became of it. Who tells of a failure is told nothing.
    fn answer(&self, header: &Header<'_>, session: Said, why: &str) {
        tell(&self.connection, header, session, why);
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        let (header, size) = (&publish.header, publish.raw.len());
        add(&self.shared.totals.published, 1);
        add(&self.shared.totals.bytes_in, size as u64);
        self.connection.published.fetch_add(1, Ordering::Relaxed);
        let max = self.shared.options.message_bytes_max;
        if forwarded_bytes(publish) > max {
            self.dropped(Dropped::TooLarge);
            return self.answer(
                header,
                publish.session,
                &format!("the message has {size} bytes; this node takes {max}"),
            );
        }
        let key = (header.to.plain(), header.fanout != 1);
        if !self.look_up(key) {
            return self.dropped(Dropped::Malformed);
        }
        self.head(publish);
        let Some(known) = self.ways.get(&key) else { return };
        if !known.allowed {
            let why =
                format!("the token '{}' may not publish to '{}'", self.connection.who.lock().name(), known.subject);
            self.dropped(Dropped::NotAllowed);
            return self.answer(header, publish.session, &why);
        }
        if known.handled {
            return self.record(publish, key);
        }
        let parcel = Parcel { headers: self.block.as_bytes(), ..Parcel::new(known.subject.as_str(), publish.raw) };
        let first = &mut self.first;
        let mut push = |taker: &Arc<dyn Taker>| first.push(Arc::clone(taker));
        let (taken, refused) = hand(&known.way, &known.keepers, &parcel, self.connection.id, &mut push);
        self.shared.port.fabric().count(taken, refused);
        if taken == 0 {
            self.untaken(publish, key, refused > 0);
        }
    }

    /// Nobody took it.
    fn untaken(&self, publish: &Publish<'_>, key: (Encoded, bool), full: bool) {
        let kept = self.ways.get(&key).is_some_and(|known| known.keepers.untaken.is_some());
        self.dropped(Dropped::Unroutable);
        add(&self.shared.totals.unroutable, 1);
        let why = match full {
            _ if kept => "nobody who subscribed the name is there, and its inbox does not take it",
            true => "those who subscribed the name have no room",
            false => "nobody subscribed the name",
        };
        self.answer(&publish.header, publish.session, why);
    }

    /// Has what is known of a name looked up, where it is not current; whether there is such a name.
    fn look_up(&mut self, key: (Encoded, bool)) -> bool {
        let port = &self.shared.port;
        // Versions are read before what they stand for, so that a change meanwhile is noticed.
        let (catalogue, access) = (port.catalogue_version().wrapping_add(port.journal().version()), self.access);
        if let Some(known) = self.ways.get(&key)
            && known.catalogue == catalogue
            && known.access == access
            && port.fabric().is_current(&known.way)
        {
            return true;
        }
        let Some(subject) = subject(&key.0) else { return false };
        let spread = if key.1 { Spread::Every } else { Spread::One };
        self.shared.inboxes.ensure(&self.shared, &key.0);
        let way = port.fabric().way_from(subject.as_str(), self.class()).spread(spread);
        let captured = port.captured_by(&subject).is_some();
        let known = Known {
            allowed: self.connection.who.lock().may_publish(subject.as_str()),
            handled: captured || port.is_judged(&subject),
            captured,
            keepers: port.fabric().keepers(subject.as_str(), self.class()),
            way,
            subject,
            catalogue,
            access,
        };
        if self.ways.len() >= WAYS_KEPT_MAX && !self.ways.contains_key(&key) {
            self.ways.clear();
        }
        self.ways.insert(key, known);
        true
    }

    /// Makes the headers by which other doors see who and what. Mostly they are those of the message before.
    fn head(&mut self, publish: &Publish<'_>) {
        let (header, said) = (&publish.header, publish.session);
        let of = publish.who();
        let numbers = [said.session_type, said.message_type, said.session];
        let same = self.block_of.get(..of.len()) == Some(of)
            && self.block_of.get(of.len()..).is_some_and(|rest| rest.chunks(4).eq(numbers.map(u32::to_le_bytes)));
        if same {
            return;
        }
        self.block_of.clear();
        self.block_of.extend_from_slice(of);
        numbers.iter().for_each(|number| self.block_of.extend_from_slice(&number.to_le_bytes()));
        self.block.clear();
        for (name, value) in [("slim-source", &header.source), ("slim-destination", &header.destination)] {
            self.block.push_str(name);
            self.block.push_str(": ");
            self.block.push_str(&shown(value));
            self.block.push_str("\r\n");
        }
        let [session_type, message_type, session] = numbers;
        // Writing to a string does not fail.
        let _written = write!(
            self.block,
            "slim-session-type: {session_type}\r\nslim-message-type: {message_type}\r\nslim-session: {session}\r\n"
        );
    }

    fn whole(&self, publish: &Publish<'_>, subject: Subject) -> Option<Message> {
        let headers = Headers::from_block(Bytes::copy_from_slice(self.block.as_bytes())).ok()?;
        Some(Message { subject, reply: None, headers, payload: Bytes::copy_from_slice(publish.raw) })
    }

    /// A message that a stream keeps, or a schema is bound to: recorded first, or judged, and then delivered.
    fn record(&mut self, publish: &Publish<'_>, key: (Encoded, bool)) {
        let Some(known) = self.ways.get(&key) else { return };
        let Some(mut message) = self.whole(publish, known.subject.clone()) else {
            return self.dropped(Dropped::Malformed);
        };
        if !known.captured {
            if let Err(unfit) = self.shared.port.fit(&mut message) {
                self.dropped(Dropped::Journal);
                return self.answer(&publish.header, publish.session, &unfit.to_string());
            }
            let first = &mut self.first;
            let mut push = |taker: &Arc<dyn Taker>| first.push(Arc::clone(taker));
            let parcel = Parcel::of(&message);
            let (taken, refused) = hand(&known.way, &known.keepers, &parcel, self.connection.id, &mut push);
            self.shared.port.fabric().count(taken, refused);
            if taken == 0 {
                self.untaken(publish, key, refused > 0);
            }
            return;
        }
        let who: Principal = self.connection.who.lock().clone();
        let (way, keepers) = (Arc::clone(&known.way), known.keepers.clone());
        let (shared, connection, kept) = (Arc::clone(&self.shared), Arc::clone(&self.connection), message.clone());
        // Who is there gets it once it is recorded; where nobody is, an inbox.
        let done = move |outcome: Result<Published, PublishError>| match outcome {
            Ok(Published::Recorded(receipt)) if receipt.duplicate => {}
            // The stream was deleted meanwhile.
            Ok(_) | Err(PublishError::Journal(AppendError::NoStream(_))) => {
                let (taken, refused) =
                    hand(&way, &keepers, &Parcel::of(&kept), connection.id, &mut |taker| taker.wake());
                shared.port.fabric().count(taken, refused);
            }
            Err(error) => {
                shared.totals.dropped(Dropped::Journal);
                if let Ok(codec::Message::Publish(publish)) = codec::read(&kept.payload) {
                    tell(&connection, &publish.header, publish.session, &error.to_string());
                }
            }
        };
        self.shared.port.publish_from(&who, self.connection.id, None, Append::new(message), done);
    }

    /// Has sent what receivers took; how many of them are pressed, and of how many.
    pub(crate) fn flush(&mut self) -> (usize, usize) {
        let all = self.first.len();
        self.first.iter().for_each(|taker| taker.flush());
        self.pressed.clear();
        self.pressed.extend(self.first.drain(..).filter(|taker| taker.is_pressed()));
        (self.pressed.len(), all)
    }

    /// Whether one of those that were pressed is it still.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.iter().any(|taker| taker.is_pressed())
    }
}

/// Hands a message to those who keep what is to come behind something, or else to everyone on its way, or else to those
/// who keep what nobody takes; how many took it, and how many would not.
fn hand(
    way: &Way,
    keepers: &Keepers,
    parcel: &Parcel<'_>,
    without: ConnectionId,
    first: &mut dyn FnMut(&Arc<dyn Taker>),
) -> (u64, u64) {
    let mut keep = |way: &Option<Arc<Way>>| way.as_ref().is_some_and(|way| way.offer(parcel, NOBODY, first).0 > 0);
    if keep(&keepers.ahead) {
        return (1, 0);
    }
    let (taken, refused) = way.offer(parcel, without, first);
    let mut keep = |way: &Option<Arc<Way>>| way.as_ref().is_some_and(|way| way.offer(parcel, NOBODY, first).0 > 0);
    if taken == 0 && keep(&keepers.untaken) { (1, refused) } else { (taken, refused) }
}

/// Tells the sender of a message what became of it. Who tells of a failure is told nothing.
fn tell(connection: &Connection, header: &Header<'_>, session: Said, why: &str) {
    if header.error == Some(true) || header.source.encoded.is_none() {
        return;
    }
    let context = json!({
        "session_id": session.session,
        "message_id": session.message,
        "session_message_type": session.message_type,
    });
    let text = json!({"error": why, "session_context": context}).to_string();
    let key = connection.terms.get().and_then(|terms| terms.key.as_ref());
    connection.out.say(&answer(&Answer { header, session, text: &text }, key));
}

/// A name as people read it, and its instance; its components in hexadecimal digits where its texts are missing, or
/// no part of a header.
fn shown(name: &Name<'_>) -> String {
    let plain =
        |text: &&str| !text.is_empty() && text.len() <= 256 && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    let encoded = name.encoded.unwrap_or(Encoded { components: [0; 3], id: None });
    let mut text = match name.texts {
        Some(texts) if texts.iter().all(plain) => texts.join("/"),
        _ => encoded.components.map(|each| format!("{each:016x}")).join("/"),
    };
    if let Some(id) = encoded.instance() {
        // Writing to a string does not fail.
        let _written = write!(text, "/{id:032x}");
    }
    text
}
