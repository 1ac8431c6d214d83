//! The place of a message in a trace, as its publisher says it: the header `traceparent` of W3C Trace Context, level 1.
//!
//! ```text
//! 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! version, trace (16 bytes), span (8 bytes), flags (1 byte; bit 0: sampled), in small hexadecimal digits
//! ```
//!
//! Of a version that is not known the first four fields count, as the specification asks. A CloudEvent says it in its
//! attribute `traceparent`, which is the header `ce-traceparent`.
//!
//! Cost: a block without it is walked once, line by line, without a copy.

use core::fmt;

/// The headers that say it, the first before the second.
const NAMES: [&str; 2] = ["traceparent", "ce-traceparent"];

/// The bit of the flags that asks for the trace to be recorded.
const SAMPLED: u8 = 1;

/// The id of a trace: never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent {
    /// The trace that the message is part of.
    pub trace: TraceId,
    /// The step of the trace that sent it: never zero.
    pub span: [u8; 8],
    /// Whether its publisher asks for the trace to be recorded.
    pub sampled: bool,
}

impl TraceId {
    /// Of bytes; `None`: they are all zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }

    /// Of 32 hexadecimal digits in small letters; `None`: the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        TraceId::new(bytes(text)?)
    }
}

impl TraceParent {
    /// Reads a header's value; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let [version] = bytes(fields.next()?)?;
        let trace = TraceId::parse(fields.next()?)?;
        let span: [u8; 8] = bytes(fields.next()?)?;
        let [flags] = bytes(fields.next()?)?;
        let last = version > 0 || fields.next().is_none();
        let known = version != u8::MAX && span != [0; 8] && last;
        known.then_some(TraceParent { trace, span, sampled: flags & SAMPLED != 0 })
    }

    /// What a header block says that is recorded; `None`: nothing, or its publisher does not ask for it.
    pub fn sampled(block: &[u8]) -> Option<Self> {
        let value = find(block)?;
        TraceParent::parse(core::str::from_utf8(value).ok()?).filter(|parent| parent.sampled)
    }
}

/// The value of the first line of either name.
fn find(block: &[u8]) -> Option<&[u8]> {
    let begin = |line: &[u8], name: &str| {
        let (start, rest) = line.split_at_checked(name.len())?;
        (start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')).then_some(name.len() + 1)
    };
    block.split(|byte| *byte == b'\n').find_map(|line| {
        let value = NAMES.iter().find_map(|name| begin(line, name))?;
        line.get(value..)
    })
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// As the header has it.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-", self.trace)?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", if self.sampled { SAMPLED } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[track_caller]
    fn check(block: &str, expected: bool) {
        assert_eq!(TraceParent::sampled(block.as_bytes()).is_some(), expected, "{block}");
    }

    #[test]
    fn a_publisher_asks_for_a_trace_by_the_header_of_the_specification() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!((parent.to_string().as_str(), parent.sampled), (GOOD, true));
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceId::parse(&parent.trace.to_string()), Some(parent.trace));
        check(&alloc::format!("a: b\r\ntraceparent: {GOOD}\r\n"), true);
        check(&alloc::format!("Ce-TraceParent:{GOOD}\r\n"), true);
        check(&alloc::format!("traceparent: {}00\r\n", GOOD.trim_end_matches("01")), false);
        check(&alloc::format!("tracestate: {GOOD}\r\nx: traceparent: {GOOD}\r\n"), false);
        check("", false);
    }

    #[test]
    fn what_is_no_traceparent_is_not_one() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let no_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let (upper, forbidden) = (GOOD.to_uppercase(), GOOD.replacen("00", "ff", 1));
        let (more, later) = (alloc::format!("{GOOD}-00"), alloc::format!("01{}-00", &GOOD[2..]));
        for bad in ["", "00", "00-", zeros, no_span, &upper, &forbidden, &more, &GOOD[1..], &GOOD[..53]] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
        assert!(TraceParent::parse(&later).is_some(), "a later version may have more");
    }

    proptest! {
        #[test]
        fn any_block_is_looked_through_without_panic(block: alloc::vec::Vec<u8>, text: alloc::string::String) {
            let _ = TraceParent::sampled(&block);
            if let Some(parent) = TraceParent::parse(&text) {
                prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
            }
        }
    }
}
