//! Acknowledgements, as clients send them on the reply subject of a delivery.
//!
//! ```text
//! $JS.ACK.<stream>.<consumer>.<attempt>.<position>.<order>.<time>.<pending>
//! $JS.ACK.<domain>.<account>.<stream>.<consumer>.<attempt>.<position>.<order>.<time>.<pending>[.<…>]
//! ```
//!
//! # Invariants
//! - What is malformed, or speaks of a delivery that was not made, changes nothing and is counted.
//! - An acknowledgement with a reply subject is answered once it survives a crash.
//!
//! # Cost
//! One look-up, six splits; nothing is allocated but what the journal is handed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use door::{Parcel, Principal};
use event::{Headers, Subject};
use journal::{Ack, AckError, AckToken};
use serde::Deserialize;

use super::posts::Post;
use super::{ACK, JetStream};

/// Dots behind `$JS.ACK.` in the first form.
const DOTS_FIRST: usize = 6;
/// As [`DOTS_FIRST`], in the second form, at least.
const DOTS_SECOND: usize = 8;

/// Acknowledgements that had no effect.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    /// Those that are no acknowledgement.
    pub(crate) malformed: AtomicU64,
    /// Those that the journal refused: forged, late, or for nobody.
    pub(crate) refused: AtomicU64,
}

/// What a subject says of the delivery that is acknowledged.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    /// `stream.consumer`.
    name: &'a str,
    attempt: u64,
    seq: u64,
    order: u64,
}

fn named(subject: &str) -> Option<Named<'_>> {
    let mut tail = subject.strip_prefix(ACK)?;
    let dots = memchr::memchr_iter(b'.', tail.as_bytes()).count();
    if dots != DOTS_FIRST {
        if dots < DOTS_SECOND {
            return None;
        }
        tail = tail.splitn(3, '.').nth(2)?;
    }
    let stream = tail.find('.')?;
    let end = stream + 1 + tail.get(stream + 1..)?.find('.')?;
    let mut rest = tail.get(end + 1..)?.split('.');
    let mut number = || rest.next()?.parse().ok();
    Some(Named { name: tail.get(..end)?, attempt: number()?, seq: number()?, order: number()? })
}

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Ack(Ack),
    /// Done, and a request for more.
    Next(&'a [u8]),
    /// Nothing that is known: taken as read.
    Nothing,
}

#[derive(Deserialize)]
struct Nak {
    delay: i64,
}

fn said(body: &[u8]) -> Said<'_> {
    match body {
        b"" | b"+ACK" | b"+OK" => Said::Ack(Ack::Done),
        b"+WPI" => Said::Ack(Ack::Progress),
        _ if body.starts_with(b"+NXT") => Said::Next(body.get(4..).unwrap_or_default()),
        _ if body.starts_with(b"-NAK") => {
            Said::Ack(Ack::Again { delay: Some(delay(body.get(4..).unwrap_or_default())) })
        }
        _ if body.starts_with(b"+TERM") => {
            let reason = body.get(5..).unwrap_or_default().trim_ascii();
            Said::Ack(Ack::Give { reason: String::from_utf8_lossy(reason).into_owned() })
        }
        _ => Said::Nothing,
    }
}

/// The delay that a negative acknowledgement names; none, where it names none that can be read.
fn delay(text: &[u8]) -> Duration {
    let text = text.trim_ascii();
    let nanos = if text.first() == Some(&b'{') {
        serde_json::from_slice::<Nak>(text).ok().and_then(|nak| u64::try_from(nak.delay).ok())
    } else {
        std::str::from_utf8(text).ok().and_then(unspoken)
    };
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Nanoseconds of a span as Go reads it: `1h30m`, `1.5s`, `100ms`.
fn unspoken(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (mut rest, mut nanos) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters)?;
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos += number.parse::<f64>().ok()? * size;
        rest = behind;
    }
    // A float beyond the range becomes the range's end.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let nanos = nanos as u64;
    Some(nanos)
}

/// Whether a client that asked is told that its acknowledgement was taken.
fn is_answered(ack_done: bool, told: &Result<(), AckError>) -> bool {
    match told {
        Ok(()) | Err(AckError::Already(_)) => true,
        Err(AckError::Unknown(_) | AckError::NotWanted) => !ack_done,
        Err(_) => false,
    }
}

impl JetStream {
    /// See [`JetStream::acknowledge`].
    pub(super) fn acknowledged(self: &Arc<Self>, who: &Principal, subject: &str, reply: &str, body: &[u8]) {
        let Some(named) = named(subject) else {
            self.delivering.ignored.malformed.fetch_add(1, Ordering::Relaxed);
            return self.unheard(reply, subject);
        };
        let post = self.delivering.posts.get(named.name);
        let open = post.as_ref().map_or(who.reads_everything(), |post| post.is_open_to(who));
        if !open || named.seq == 0 {
            self.delivering.ignored.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let ack = match said(body) {
            Said::Ack(ack) => ack,
            Said::Nothing => return self.heard(reply),
            Said::Next(request) => {
                self.settle(post.as_ref(), &named, Ack::Done, "", subject);
                return self.more(who, post, reply, request);
            }
        };
        self.settle(post.as_ref(), &named, ack, reply, subject);
    }

    fn more(&self, who: &Principal, post: Option<Arc<Post>>, reply: &str, request: &[u8]) {
        if let (Some(post), Ok(reply)) = (post, Subject::parse(reply)) {
            self.ask(who, post, &reply, &Headers::EMPTY, request);
        }
    }

    fn settle(self: &Arc<Self>, post: Option<&Arc<Post>>, named: &Named<'_>, ack: Ack, reply: &str, subject: &str) {
        let (stream, consumer) = match post {
            Some(post) => (Arc::clone(&post.stream), Arc::clone(&post.consumer)),
            None => {
                let (stream, consumer) = named.name.split_once('.').unwrap_or_default();
                (Arc::from(stream), Arc::from(consumer))
            }
        };
        let token = AckToken { stream, consumer, tag: 0, seq: named.seq, attempt: named.attempt, order: named.order };
        if reply.is_empty() {
            let delivering = Arc::clone(&self.delivering);
            let done = Box::new(move |told: Result<(), AckError>| {
                if told.is_err() {
                    delivering.ignored.refused.fetch_add(1, Ordering::Relaxed);
                }
            });
            return self.port.journal().acknowledge(token, ack, false, done);
        }
        let (jetstream, reply, subject) = (Arc::clone(self), reply.to_owned(), subject.to_owned());
        let done_with = !matches!(ack, Ack::Again { .. } | Ack::Progress);
        let done = Box::new(move |told: Result<(), AckError>| {
            if is_answered(done_with, &told) {
                return jetstream.heard(&reply);
            }
            jetstream.delivering.ignored.refused.fetch_add(1, Ordering::Relaxed);
            if matches!(told, Err(AckError::NotFound { .. })) {
                jetstream.unheard(&reply, &subject);
            }
        });
        self.port.journal().acknowledge(token, ack, true, done);
    }

    /// Answers a double acknowledgement.
    fn heard(&self, reply: &str) {
        if !reply.is_empty() {
            self.port.send(reply, &Parcel::new(reply, b""));
        }
    }

    fn unheard(&self, reply: &str, subject: &str) {
        if let Ok(reply) = Subject::parse(reply) {
            self.no_responders(&reply, subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_a_delivery() {
        let expected = Named { name: "S.C", attempt: 2, seq: 30, order: 41 };
        assert_eq!(named("$JS.ACK.S.C.2.30.41.1795264255214856721.7").unwrap(), expected);
        assert_eq!(named("$JS.ACK._.hash.S.C.2.30.41.17952.7").unwrap(), expected);
        assert_eq!(named("$JS.ACK._.hash.S.C.2.30.41.17952.7.more").unwrap(), expected);
        let long = format!("$JS.ACK.S.C.1.{}.1.1.1", "9".repeat(40));
        for bad in ["$JS.ACK.", "$JS.ACK.S.C.1.4", "$JS.ACK.S.C.1.2.3.4.5.6", "$JS.ACK.S.C.x.2.3.4.5", &long, "a"] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_say_what_clients_mean() {
        let again = |nanos| Said::Ack(Ack::Again { delay: Some(Duration::from_nanos(nanos)) });
        let cases: [(&[u8], Said<'_>); 12] = [
            (b"", Said::Ack(Ack::Done)),
            (b"+ACK", Said::Ack(Ack::Done)),
            (b"+OK", Said::Ack(Ack::Done)),
            (b"+WPI", Said::Ack(Ack::Progress)),
            (b"-NAK", again(0)),
            (b"-NAK {\"delay\": 1500}", again(1500)),
            (b"-NAK 1.5s", again(1_500_000_000)),
            (b"-NAK 1h2m", again(3_720_000_000_000)),
            (b"-NAK {\"delay\": -5}", again(0)),
            (b"+TERM  not for me ", Said::Ack(Ack::Give { reason: String::from("not for me") })),
            (b"+NXT 5", Said::Next(b" 5")),
            (b"what", Said::Nothing),
        ];
        for (body, expected) in cases {
            assert_eq!(said(body), expected);
        }
        assert_eq!(said(b"-NAK 99999999999999999999h"), again(u64::MAX));
        assert_eq!(said(b"-NAK what"), again(0));
    }
}
