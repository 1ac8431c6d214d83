//! The DNS door: services and nodes of the catalogue by name, over UDP and TCP.
//!
//! | room | what it is |
//! |---|---|
//! | [`question`] | a name to what it asks for; pure |
//! | [`records`] | what was found to records: addresses, SRV, CNAME, TXT, SOA; pure |
//! | [`answer`] | a packet to a packet; pure, fuzzed |
//! | `serve` | sockets: a few threads for UDP, tasks for TCP |
//!
//! # Invariants
//! - Every answer is read from the catalogue as it is when the question is answered; who has which address, in a
//!   large catalogue, as it was a moment ago.
//! - What a stranger sends costs at most one look into the catalogue and one packet, never a panic.
//! - Where answers had to be left out, the client is told (TC), unless that was turned off.
//! - A response is never answered: two servers cannot be made to talk to each other.
//!
//! Sources: RFC 1034, 1035, 2782, 3596, 6891; names and rules as Consul 1.8.7 gives them, as it was observed.

pub mod answer;
mod counts;
pub mod limits;
mod options;
pub mod question;
pub mod records;
mod serve;
mod zone;

pub use answer::{Carrier, Found, Want, answer};
pub use counts::{Counts, RCODES};
pub use options::Options;
pub use serve::{DnsDoor, DnsSockets};
pub use zone::{BadDomain, Zone};
