//! The journal's suite, held against the engine on a cluster of three real NATS servers, three copies.

#[path = "support/bench.rs"]
mod bench;
mod support;

use std::sync::LazyLock;

use bench::Remote;
use support::Servers;

static SERVERS: LazyLock<Result<Servers, &'static str>> = LazyLock::new(|| Servers::start(3));

journal::journal_suite!(Remote::new(&SERVERS, 3));
