//! What a publish does, and the ways that a connection keeps.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use door::{ConnectionId, NOBODY, Parcel, Way};
use event::{Headers, Message, Subject};

use super::{Session, Wait};
use crate::codec::{Publish, split_block};
use crate::jetstream::{ACK, API, FLOW, Request};
use crate::limits::WAYS_KEPT_MAX;

/// What the subjects of inboxes begin with.
const INBOX: &[u8] = b"_INBOX.";

/// What is known of a subject that the connection published to.
pub(super) struct Kept {
    subject: Subject,
    way: Arc<Way>,
    /// Whether the client may publish to it.
    allowed: bool,
    /// Whether a stream captures it, as of a version of the catalogue.
    captured: bool,
    /// Whether a schema is bound to it.
    judged: bool,
    catalogue: u64,
    /// What JetStream does with it.
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Request,
    Flow,
}

/// The ways that a connection keeps, by subject.
#[derive(Default)]
pub(super) struct Ways {
    kept: HashMap<Box<[u8]>, Arc<Kept>>,
    last: Option<Arc<Kept>>,
    /// The way of all subjects that begin so and have one token more.
    near: Option<(Box<str>, Arc<Way>)>,
}

impl Ways {
    pub(super) fn clear(&mut self) {
        *self = Ways::default();
    }

    /// Whether a receiver on the last way is pressed.
    pub(super) fn is_pressed(&self) -> bool {
        self.last.as_ref().is_some_and(|kept| kept.way.hops().any(|hop| hop.taker.is_pressed()))
    }
}

fn kind(subject: &str) -> Kind {
    if !subject.starts_with("$JS.") {
        Kind::Plain
    } else if subject.starts_with(API) {
        Kind::Request
    } else if subject.starts_with(FLOW) {
        Kind::Flow
    } else {
        Kind::Plain
    }
}

impl Session {
    pub(super) fn publish(&mut self, publish: Publish<'_>) -> Result<(), Wait> {
        self.known()?;
        if publish.subject.starts_with(ACK.as_bytes()) && self.shared.options.jetstream.enabled {
            self.acknowledge(publish);
            return Ok(());
        }
        let Some(kept) = self.kept(publish.subject) else {
            self.messages += 1;
            if self.asked_by_pattern(&publish) {
                self.agree();
            } else {
                self.refuse_subject(&publish);
            }
            return Ok(());
        };
        if kept.captured && self.shared.port.is_pressed() {
            return Err(Wait::Journal);
        }
        self.messages += 1;
        self.bytes += (publish.headers.len() + publish.payload.len()) as u64;
        if !kept.allowed {
            self.complain(&format!("Permissions Violation for Publish to \"{}\"", kept.subject));
            return Ok(());
        }
        let reply = match std::str::from_utf8(publish.reply) {
            Ok(reply) if reply.is_empty() || !kept.captured || Subject::parse(reply).is_ok() => reply,
            _ => {
                self.complain("Invalid Reply Subject");
                return Ok(());
            }
        };
        let (status, headers) = match publish.headers {
            [] => ("", &[][..]),
            block => {
                match split_block(block).and_then(|(status, lines)| Some((std::str::from_utf8(status).ok()?, lines))) {
                    Some(parts) => parts,
                    None => {
                        self.complain("Invalid Headers");
                        return Ok(());
                    }
                }
            }
        };
        let parcel = Parcel { subject: kept.subject.as_str(), reply, status, headers, payload: publish.payload };
        self.carry(&kept, &parcel)
    }

    /// A publish to what is no subject: nobody can have it, and whoever awaits an answer is told so at
    /// once. Clients that did not ask for judgement hang up on an error, so they are not sent one.
    fn refuse_subject(&mut self, publish: &Publish<'_>) {
        let texts = (std::str::from_utf8(publish.subject), std::str::from_utf8(publish.reply));
        match texts {
            (Ok(subject), Ok(reply)) if !self.connect.pedantic => {
                if !reply.is_empty() && self.connect.no_responders {
                    self.nobody(&Parcel { reply, ..Parcel::new(subject, b"") });
                }
                self.agree();
            }
            _ => self.complain("Invalid Publish Subject"),
        }
    }

    /// Takes a request whose subject holds a wildcard, as a consumer's filter in it may; whether it is one.
    fn asked_by_pattern(&mut self, publish: &Publish<'_>) -> bool {
        let texts = (std::str::from_utf8(publish.subject), std::str::from_utf8(publish.reply));
        let (Ok(subject), Ok(reply), Some(admitted)) = (texts.0, texts.1, &self.admitted) else {
            return false;
        };
        let enabled = self.shared.options.jetstream.enabled;
        if !enabled || !subject.starts_with(API) || !admitted.who.may_publish(subject) {
            return false;
        }
        let parcel = Parcel { reply, ..Parcel::new(subject, publish.payload) };
        let Some(request) = asked(&parcel) else {
            return false;
        };
        let request = (admitted.api.clone(), request);
        self.hand(request);
        true
    }

    /// Acknowledgements go to the journal and nowhere else: each has a subject of its own, for which
    /// no way is looked up.
    fn acknowledge(&mut self, publish: Publish<'_>) {
        self.messages += 1;
        self.bytes += publish.payload.len() as u64;
        let texts = (std::str::from_utf8(publish.subject), std::str::from_utf8(publish.reply));
        let (Ok(subject), Ok(reply), Some(admitted)) = (texts.0, texts.1, &self.admitted) else {
            return self.complain("Invalid Publish Subject");
        };
        if admitted.who.may_publish(subject) {
            self.shared.jetstream.acknowledge(&admitted.api, subject, reply, publish.payload);
            return self.agree();
        }
        let complaint = format!("Permissions Violation for Publish to \"{subject}\"");
        self.complain(&complaint);
    }

    fn carry(&mut self, kept: &Arc<Kept>, parcel: &Parcel<'_>) -> Result<(), Wait> {
        let Some(admitted) = &self.admitted else {
            return Ok(());
        };
        let without = if self.connect.echo { NOBODY } else { self.connection.id };
        let jetstream = &self.shared.jetstream;
        if kept.captured {
            let Some(message) = message(kept, parcel) else {
                self.complain("Invalid Headers");
                return Ok(());
            };
            let (jetstream, who) = (Arc::clone(jetstream), admitted.who.clone());
            let answer = (!parcel.reply.is_empty()).then(|| self.near(parcel.reply));
            jetstream.publish(&who, &kept.way, without, message, answer);
            self.agree();
            return Ok(());
        }
        if kept.judged {
            return self.carry_judged(kept, parcel, without);
        }
        let mut request = None;
        match kept.kind {
            Kind::Plain => {}
            Kind::Flow => jetstream.flow(&admitted.api, parcel.subject),
            Kind::Request => {
                request = asked(parcel).and_then(|asked| jetstream.request_now(&admitted.api, asked));
            }
        }
        let request = request.map(|request| (admitted.api.clone(), request));
        let first = &mut self.first;
        let (taken, refused) = kept.way.offer(parcel, without, &mut |taker| first.push(Arc::clone(taker)));
        if taken + refused > 0 {
            self.shared.port.fabric().count(taken, refused);
        } else if kept.kind == Kind::Plain && !parcel.reply.is_empty() && self.connect.no_responders {
            self.nobody(parcel);
        }
        self.agree();
        if let Some(request) = request {
            // Where there is no room it is kept, and nothing more is taken until there is.
            self.hand(request);
        }
        Ok(())
    }

    /// A message that no stream captures and a schema is bound to.
    fn carry_judged(&mut self, kept: &Arc<Kept>, parcel: &Parcel<'_>, without: ConnectionId) -> Result<(), Wait> {
        let Some(mut message) = message(kept, parcel) else {
            self.complain("Invalid Headers");
            return Ok(());
        };
        if let Err(unfit) = self.shared.port.fit(&mut message) {
            // The text stands between quotes.
            self.complain(&unfit.to_string().replace('\'', "\""));
            return Ok(());
        }
        let first = &mut self.first;
        let (taken, refused) =
            kept.way.offer(&Parcel::of(&message), without, &mut |taker| first.push(Arc::clone(taker)));
        self.shared.port.fabric().count(taken, refused);
        if taken + refused == 0 && !parcel.reply.is_empty() && self.connect.no_responders {
            self.nobody(parcel);
        }
        self.agree();
        Ok(())
    }

    /// Tells whoever awaits an answer that nobody listens.
    fn nobody(&mut self, parcel: &Parcel<'_>) {
        let headers = format!("Nats-Subject: {}\r\n", parcel.subject);
        let told = Parcel { status: "503", headers: headers.as_bytes(), ..Parcel::new(parcel.reply, b"") };
        let way = self.shared.port.fabric().way(parcel.reply);
        let first = &mut self.first;
        way.offer(&told, NOBODY, &mut |taker| first.push(Arc::clone(taker)));
    }

    /// What is known of a subject, up to date; `None` where it is no subject.
    fn kept(&mut self, subject: &[u8]) -> Option<Arc<Kept>> {
        if let Some(last) = &self.ways.last
            && last.subject.as_bytes() == subject
            && self.is_current(last)
        {
            return Some(Arc::clone(last));
        }
        if let Some(kept) = self.ways.kept.get(subject)
            && self.is_current(kept)
        {
            self.ways.last = Some(Arc::clone(kept));
            return Some(Arc::clone(kept));
        }
        let kept = Arc::new(self.find(subject)?);
        // Subjects that are used once, such as inboxes and acknowledgements, are not worth keeping.
        if kept.kind == Kind::Plain && !subject.starts_with(INBOX) {
            if self.ways.kept.len() >= WAYS_KEPT_MAX {
                self.ways.kept.clear();
            }
            self.ways.kept.insert(subject.into(), Arc::clone(&kept));
            self.ways.last = Some(Arc::clone(&kept));
        }
        Some(kept)
    }

    /// The way of an inbox: asked for anew only where the last one led elsewhere.
    fn near(&mut self, subject: &str) -> Arc<Way> {
        let fabric = self.shared.port.fabric();
        let before = subject.rsplit_once('.').map_or("", |(before, _)| before);
        if let Some((prefix, way)) = &self.ways.near
            && **prefix == *before
            && fabric.is_current(way)
        {
            return Arc::clone(way);
        }
        let way = fabric.way(subject);
        self.ways.near = way.alike.then(|| (before.into(), Arc::clone(&way)));
        way
    }

    fn is_current(&self, kept: &Kept) -> bool {
        self.shared.port.catalogue_version() == kept.catalogue && self.shared.port.fabric().is_current(&kept.way)
    }

    fn find(&mut self, subject: &[u8]) -> Option<Kept> {
        let subject = Subject::new(Bytes::copy_from_slice(subject)).ok()?;
        let way = match subject.as_bytes().starts_with(INBOX) {
            true => self.near(subject.as_str()),
            false => self.shared.port.fabric().way(subject.as_str()),
        };
        let port = &self.shared.port;
        // Versions are read before what they stand for, so that a change meanwhile is noticed.
        let catalogue = port.catalogue_version();
        let kind = kind(subject.as_str());
        let streams = self.shared.options.jetstream.enabled;
        let captured = streams && kind == Kind::Plain && port.captured_by(&subject).is_some();
        let judged = port.is_judged(&subject);
        let allowed = self.admitted.as_ref().is_some_and(|admitted| admitted.who.may_publish(subject.as_str()));
        let kind = if streams { kind } else { Kind::Plain };
        Some(Kept { subject, way, allowed, captured, judged, catalogue, kind })
    }
}

/// The message to record: reply, headers and payload share one allocation.
fn message(kept: &Kept, parcel: &Parcel<'_>) -> Option<Message> {
    let (reply, headers) = (parcel.reply.as_bytes(), parcel.headers);
    let mut body = BytesMut::with_capacity(reply.len() + headers.len() + parcel.payload.len());
    body.put_slice(reply);
    body.put_slice(headers);
    body.put_slice(parcel.payload);
    let mut body = body.freeze();
    let reply = match body.split_to(reply.len()) {
        empty if empty.is_empty() => None,
        reply => Some(Subject::new(reply).ok()?),
    };
    let headers = match body.split_to(headers.len()) {
        empty if empty.is_empty() => Headers::EMPTY,
        block => Headers::from_block(block).ok()?,
    };
    Some(Message { subject: kept.subject.clone(), reply, headers, payload: body })
}

fn asked(parcel: &Parcel<'_>) -> Option<Request> {
    let reply = match parcel.reply {
        "" => None,
        reply => Some(Subject::parse(reply).ok()?),
    };
    let headers = match parcel.headers {
        [] => Headers::EMPTY,
        block => Headers::from_block(Bytes::copy_from_slice(block)).ok()?,
    };
    let payload = Bytes::copy_from_slice(parcel.payload);
    Some(Request { subject: parcel.subject.to_owned(), reply, headers, payload })
}
