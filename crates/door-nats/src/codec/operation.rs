//! One operation of a client out of the bytes that have come so far.
//!
//! # Invariants
//! - Any bytes are judged without panic, and no byte is looked at twice but for a line that has not
//!   ended yet.
//! - What is returned borrows from the input: nothing is copied.

use memchr::memchr;

use crate::limits::CONNECT_BYTES_MAX;

/// A message to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Where it goes; not yet judged.
    pub subject: &'a [u8],
    /// Where an answer is awaited; empty: nowhere.
    pub reply: &'a [u8],
    /// The header block with its first line and the empty line at its end; empty: none.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Says who it is.
    Connect(&'a [u8]),
    /// Publishes.
    Publish(Publish<'a>),
    /// Subscribes.
    Subscribe {
        /// To what.
        subject: &'a [u8],
        /// As a member of this queue group; empty: of none.
        queue: &'a [u8],
        /// What the client calls the subscription.
        sid: &'a [u8],
    },
    /// Ends a subscription.
    Unsubscribe {
        /// Which.
        sid: &'a [u8],
        /// After so many messages in all; 0: now.
        max: u64,
    },
    /// Asks whether the server is there.
    Ping,
    /// Says that the client is there.
    Pong,
    /// Something that a server may be told and need not mind (`+OK`, `-ERR`, `INFO`).
    Ignored,
}

/// Why bytes are no operation. The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such verb, or its arguments are wrong.
    Unknown,
    /// The line is longer than it may be.
    LineTooLong,
    /// The payload, with its headers, is larger than it may be.
    PayloadTooLarge,
}

impl Fault {
    /// What the client is told.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Unknown => "Unknown Protocol Operation",
            Fault::LineTooLong => "maximum control line exceeded",
            Fault::PayloadTooLarge => "Maximum Payload Violation",
        }
    }
}

/// What the bytes that have come so far hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// An operation, and how many bytes it took.
    Operation(Operation<'a>, usize),
    /// No whole operation; at least so many bytes are needed in all.
    Need(usize),
    /// No operation.
    Fault(Fault),
}

/// Bytes that a first look takes in: a verb and a little more.
const VERB_BYTES_MAX: usize = 8;

/// The next operation in `bytes`, where lines have at most `line_max` bytes and payloads with their
/// headers `payload_max`.
pub fn next(bytes: &[u8], line_max: usize, payload_max: usize) -> Next<'_> {
    let Some(end) = memchr(b'\n', bytes) else {
        return unended(bytes, line_max);
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (verb, rest) = split_verb(line);
    let most = if verb.eq_ignore_ascii_case(b"CONNECT") { CONNECT_BYTES_MAX } else { line_max };
    if line.len() > most {
        return Next::Fault(Fault::LineTooLong);
    }
    let used = end + 1;
    let operation = match verb {
        b"PUB" | b"pub" => return publish(bytes, used, rest, false, payload_max),
        b"HPUB" | b"hpub" => return publish(bytes, used, rest, true, payload_max),
        b"SUB" | b"sub" => subscribe(rest),
        b"UNSUB" | b"unsub" => unsubscribe(rest),
        b"PING" | b"ping" => Some(Operation::Ping),
        b"PONG" | b"pong" => Some(Operation::Pong),
        b"CONNECT" | b"connect" => Some(Operation::Connect(rest)),
        b"+OK" | b"-ERR" | b"INFO" => Some(Operation::Ignored),
        other => return in_other_case(other, bytes, used, rest, payload_max),
    };
    operation.map_or(Next::Fault(Fault::Unknown), |operation| Next::Operation(operation, used))
}

/// A line that has not ended: whether it can still become one.
fn unended(bytes: &[u8], line_max: usize) -> Next<'_> {
    let (verb, _) = split_verb(bytes);
    let known: [&[u8]; 10] =
        [b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG", b"CONNECT", b"+OK", b"-ERR", b"INFO"];
    let verb = verb.strip_suffix(b"\r").unwrap_or(verb);
    let begins = |known: &&[u8]| known.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb));
    if !known.iter().any(begins) {
        return Next::Fault(Fault::Unknown);
    }
    let most = if verb.eq_ignore_ascii_case(b"CONNECT") { CONNECT_BYTES_MAX } else { line_max };
    if bytes.len() > most + 1 {
        return Next::Fault(Fault::LineTooLong);
    }
    Next::Need(bytes.len() + 1)
}

fn in_other_case<'a>(verb: &[u8], bytes: &'a [u8], used: usize, rest: &'a [u8], payload_max: usize) -> Next<'a> {
    let mut upper = [0; VERB_BYTES_MAX];
    let Some(place) = upper.get_mut(..verb.len()) else {
        return Next::Fault(Fault::Unknown);
    };
    place.copy_from_slice(verb);
    place.make_ascii_uppercase();
    let operation = match &*place {
        b"PUB" => return publish(bytes, used, rest, false, payload_max),
        b"HPUB" => return publish(bytes, used, rest, true, payload_max),
        b"SUB" => subscribe(rest),
        b"UNSUB" => unsubscribe(rest),
        b"PING" => Some(Operation::Ping),
        b"PONG" => Some(Operation::Pong),
        b"CONNECT" => Some(Operation::Connect(rest)),
        b"-ERR" | b"+OK" | b"INFO" => Some(Operation::Ignored),
        _ => None,
    };
    operation.map_or(Next::Fault(Fault::Unknown), |operation| Next::Operation(operation, used))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn split_verb(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().take(VERB_BYTES_MAX + 1).position(|byte| is_blank(*byte)).unwrap_or(line.len());
    let (verb, rest) = line.split_at(end);
    (verb, rest.trim_ascii())
}

/// The words of a line: at most `N`, and how many there are.
fn words<const N: usize>(line: &[u8]) -> Option<([&[u8]; N], usize)> {
    let mut found: [&[u8]; N] = [&[]; N];
    let mut count = 0;
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_blank(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some((found, count));
        }
        let end = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        *found.get_mut(count)? = word;
        count += 1;
        rest = tail;
    }
}

fn number(word: &[u8]) -> Option<usize> {
    // Nine digits cannot overflow; more are beyond every limit.
    if word.is_empty() || word.len() > 9 {
        return None;
    }
    word.iter().try_fold(0_usize, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + usize::from(byte - b'0')))
}

fn publish<'a>(bytes: &'a [u8], used: usize, line: &[u8], headed: bool, payload_max: usize) -> Next<'a> {
    // The words are cut out of `bytes` again, so that they live as long as it.
    let line = bytes.get(..used).and_then(|head| {
        let start = line.as_ptr() as usize - head.as_ptr() as usize;
        head.get(start..start + line.len())
    });
    let unknown = Next::Fault(Fault::Unknown);
    let Some((words, count)) = line.and_then(words::<4>) else {
        return unknown;
    };
    let sizes = if headed { 2 } else { 1 };
    let (subject, reply, sizes) = match (words, count - sizes.min(count)) {
        ([subject, a, b, _], 1) => (subject, &[][..], [a, b]),
        ([subject, reply, a, b], 2) => (subject, reply, [a, b]),
        _ => return unknown,
    };
    let (headers, total) = match (headed, number(sizes[0]), number(sizes[1])) {
        (true, Some(headers), Some(total)) if headers <= total => (headers, total),
        (true, Some(_), None) if sizes[1].len() > 9 => return Next::Fault(Fault::PayloadTooLarge),
        (false, Some(total), _) => (0, total),
        (false, None, _) if sizes[0].len() > 9 && sizes[0].iter().all(u8::is_ascii_digit) => {
            return Next::Fault(Fault::PayloadTooLarge);
        }
        _ => return unknown,
    };
    if total > payload_max {
        return Next::Fault(Fault::PayloadTooLarge);
    }
    let end = used + total;
    match bytes.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        None | Some([] | [b'\r']) => return Next::Need(end + 2),
        Some(_) => return unknown,
    }
    let body = bytes.get(used..end).unwrap_or_default();
    let (headers, payload) = body.split_at(headers.min(body.len()));
    Next::Operation(Operation::Publish(Publish { subject, reply, headers, payload }), end + 2)
}

fn subscribe(line: &[u8]) -> Option<Operation<'_>> {
    match words::<3>(line)? {
        ([subject, sid, _], 2) => Some(Operation::Subscribe { subject, queue: &[], sid }),
        ([subject, queue, sid], 3) => Some(Operation::Subscribe { subject, queue, sid }),
        _ => None,
    }
}

fn unsubscribe(line: &[u8]) -> Option<Operation<'_>> {
    match words::<2>(line)? {
        ([sid, _], 1) => Some(Operation::Unsubscribe { sid, max: 0 }),
        // NATS takes a limit that is no number for none.
        ([sid, max], 2) => Some(Operation::Unsubscribe { sid, max: number(max).map_or(0, |max| max as u64) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(bytes: &[u8]) -> Next<'_> {
        next(bytes, 64, 100)
    }

    fn check(bytes: &str, expected: Operation<'_>) {
        assert_eq!(judge(bytes.as_bytes()), Next::Operation(expected, bytes.len()), "{bytes:?}");
        for end in 0..bytes.len() {
            let part = &bytes.as_bytes()[..end];
            match judge(part) {
                Next::Need(bytes) => assert!(bytes > end, "{part:?}"),
                // A line that a line feed alone ends may be whole earlier.
                Next::Operation(..) if !bytes.starts_with(['P', 'H']) => {}
                other => panic!("{part:?}: {other:?}"),
            }
        }
    }

    fn publish<'a>(subject: &'a str, reply: &'a str, headers: &'a str, payload: &'a str) -> Operation<'a> {
        let (subject, reply) = (subject.as_bytes(), reply.as_bytes());
        Operation::Publish(Publish { subject, reply, headers: headers.as_bytes(), payload: payload.as_bytes() })
    }

    #[test]
    fn every_form_of_every_operation() {
        check("PUB a 2\r\nhi\r\n", publish("a", "", "", "hi"));
        check("pub a  r\t0\r\n\r\n", publish("a", "r", "", ""));
        check("PUB a 4\r\nx\r\ny\r\n", publish("a", "", "", "x\r\ny"));
        check("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", publish("a", "", "NATS/1.0\r\n\r\n", "hi"));
        check("HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n", publish("a", "r", "NATS/1.0\r\n\r\n", ""));
        check("SUB a 1\r\n", Operation::Subscribe { subject: b"a", queue: b"", sid: b"1" });
        check("SUB _INBOX.x.*  1\r\n", Operation::Subscribe { subject: b"_INBOX.x.*", queue: b"", sid: b"1" });
        check("sub a q 1\r\n", Operation::Subscribe { subject: b"a", queue: b"q", sid: b"1" });
        check("UNSUB 2 \r\n", Operation::Unsubscribe { sid: b"2", max: 0 });
        check("Unsub 2 10\r\n", Operation::Unsubscribe { sid: b"2", max: 10 });
        check("PING\r\n", Operation::Ping);
        check("pong\n", Operation::Pong);
        check("CONNECT {\"a\": 1}\r\n", Operation::Connect(b"{\"a\": 1}"));
        check("+OK\r\n", Operation::Ignored);
    }

    #[test]
    fn what_is_no_operation() {
        let long = format!("SUB {} 1\r\n", "a".repeat(64));
        let longer = format!("PUB {}", "a".repeat(64));
        for (bytes, fault) in [
            ("HELLO\r\n", Fault::Unknown),
            ("GET / HTTP/1.1", Fault::Unknown),
            ("\r\n", Fault::Unknown),
            ("PUB a\r\n", Fault::Unknown),
            ("PUB a -1\r\n", Fault::Unknown),
            ("PUB a b c 1\r\n", Fault::Unknown),
            ("PUB a x\r\n", Fault::Unknown),
            ("PUB a 2\r\nhi!\r\n", Fault::Unknown),
            ("PUB a 101\r\n", Fault::PayloadTooLarge),
            ("PUB a 99999999999999999999\r\n", Fault::PayloadTooLarge),
            ("HPUB a 3 2\r\n", Fault::Unknown),
            ("HPUB a 3\r\n", Fault::Unknown),
            ("SUB a\r\n", Fault::Unknown),
            ("SUB a b c d\r\n", Fault::Unknown),
            ("UNSUB\r\n", Fault::Unknown),
            (&long, Fault::LineTooLong),
            (&longer, Fault::LineTooLong),
        ] {
            assert_eq!(judge(bytes.as_bytes()), Next::Fault(fault), "{bytes:?}");
        }
        let info = format!("CONNECT {}\r\n", "a".repeat(1000));
        assert!(matches!(judge(info.as_bytes()), Next::Operation(Operation::Connect(_), _)));
    }

    #[test]
    fn any_bytes_are_judged_without_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut rest = bytes;
            while let Next::Operation(_, used) = judge(rest) {
                assert!(used > 0);
                rest = &rest[used..];
            }
        });
    }
}
