//! The journal's suite, held against the engine on one real NATS server.

#[path = "support/bench.rs"]
mod bench;
mod support;

use std::sync::LazyLock;

use bench::Remote;
use support::Servers;

static SERVERS: LazyLock<Result<Servers, &'static str>> = LazyLock::new(|| Servers::start(1));

journal::journal_suite!(Remote::new(&SERVERS, 1));
