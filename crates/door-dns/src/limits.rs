//! Limits of this door, with their units and reasons.

use std::time::Duration;

/// Most bytes of a question: a header, one name, an OPT with cookies and padding. A longer packet is malformed.
pub const QUESTION_BYTES_MAX: usize = 4096;
/// Bytes of an answer over UDP to a client that says nothing (RFC 1035, 4.2.1).
pub const UDP_BYTES_PLAIN: u16 = 512;
/// Most bytes of an answer over UDP, whatever the client says: what fits into one datagram of IPv4 with its headers
/// and some room, as the original has it.
pub const UDP_BYTES_MAX: u16 = 65_467;
/// Bytes that we say we take over UDP (EDNS): what no usual network cuts in two.
pub const UDP_BYTES_OFFERED: u16 = 1232;
/// Most addresses in one answer over TCP: what 64 KiB hold.
pub const ADDRESSES_MAX: usize = 4096;
/// Most SRV records in one answer over TCP: what 64 KiB hold, with the addresses of their targets.
pub const SRV_MAX: usize = 1024;
/// Least bytes of a record in an answer: a compressed name, the fixed part, an IPv4 address. Bounds how many records
/// are made for a packet of some size.
pub const RECORD_BYTES_MIN: usize = 16;
/// How often a name that leads to another inside the domain is followed.
pub const CHASE_MAX: usize = 3;
/// Most names in one answer to the question who has an address.
pub const NAMES_MAX: usize = 64;
/// Most connections over TCP, of all clients together.
pub const CONNECTIONS_DEFAULT: usize = 1024;
/// How long a connection may take over one question, and over taking one answer: the usual of name servers.
pub const TCP_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How often a thread that waits for packets looks whether the door closes.
pub const STOP_LOOK: Duration = Duration::from_millis(200);
/// Most threads for UDP: beyond, they wait for the socket and not for each other's answers.
pub const THREADS_MAX: usize = 4;
/// The part of the time that may go into remembering who has which address: one in so many.
pub const REVERSE_SHARE: u32 = 20;

const _: () = assert!(RECORD_BYTES_MIN * ADDRESSES_MAX <= 65_536);
const _: () = assert!(UDP_BYTES_PLAIN < UDP_BYTES_MAX);
