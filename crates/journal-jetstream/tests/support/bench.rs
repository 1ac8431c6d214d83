//! The suite's bench on real servers.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use event::Moment;
use journal::Journal;
use journal::suite::Bench;
use journal_jetstream::{JetStream, Options};
use tokio::runtime::{Builder, Runtime};

use super::support::Servers;

/// Longest real wait for a story that only shows that nothing happens.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// Stories that cannot be told on JetStream, and why. docs/scale.md tells users.
const CANNOT: [(&str, &str); 12] = [
    ("a_batch_is_refused_as_one", "the servers do not say which message of a batch was recorded before"),
    ("the_clock_may_step_back", "the servers' clock is not ours to move"),
    ("memory_storage_forgets_messages_and_keeps_the_stream", "messages in memory are in the servers', which stay up"),
    ("retention_by_bytes_keeps_the_newest", "the servers count bytes as they store them"),
    ("what_comes_again_comes_before_what_is_new", "the servers give back in the order of the refusals"),
    ("what_a_gone_worker_left_goes_to_another", "the servers give back in an order of their own"),
    ("an_ephemeral_consumer_goes_when_nobody_asks", "the servers keep it while the wait of a delivery runs"),
    ("positions_may_be_given", "the servers give positions themselves"),
    ("a_token_without_a_tag_must_be_of_a_delivery", "the servers do not tell what each delivery was"),
    ("a_watcher_is_told", "the servers' notices are not handed on to watchers yet"),
    ("discard_new_refuses_when_full", "the servers count bytes as they store them, ids too"),
    ("deliveries_are_counted_on", "the servers deliver again in the order in which the waits end"),
];

struct Open {
    runtime: Runtime,
    journal: JetStream,
}

pub struct Remote {
    address: String,
    replicas: u8,
    open: Option<Open>,
    advance_max: Duration,
    restart: Duration,
    missing: Option<&'static str>,
}

impl Remote {
    /// On an account of its own.
    pub fn new(servers: &Result<Servers, &'static str>, replicas: u8) -> Self {
        let mut bench = Remote {
            address: String::new(),
            replicas,
            open: None,
            advance_max: Duration::MAX,
            restart: Duration::ZERO,
            missing: None,
        };
        match servers {
            Ok(servers) => {
                bench.address = servers.next_account();
                bench.connect();
            }
            Err(reason) => bench.missing = Some(reason),
        }
        bench
    }

    fn connect(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let options = Options { replicas: self.replicas, ..Options::new(self.address.parse().expect("an address")) };
        let journal = runtime.block_on(JetStream::connect(options)).expect("an engine");
        self.open = Some(Open { runtime, journal });
    }
}

impl Bench for Remote {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.open.as_ref().expect("it is open").journal.clone())
    }

    fn idle(&mut self) {
        sleep(Duration::from_micros(200));
    }

    fn advance(&mut self, span: Duration) {
        sleep(span.min(self.advance_max));
    }

    fn step_back(&mut self, _span: Duration) {}

    fn now(&self) -> Moment {
        let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        Moment::from_nanos(u64::try_from(since.as_nanos()).expect("before 2554"))
    }

    fn durable(&self) -> bool {
        true
    }

    fn reopen(&mut self, crash: bool) {
        let Open { runtime, journal } = self.open.take().expect("it is open");
        if !crash {
            runtime.block_on(journal.close());
        }
        drop(journal);
        runtime.shutdown_background();
        sleep(self.restart);
        self.connect();
    }

    fn cannot(&mut self, story: &str) -> Option<&'static str> {
        match story {
            "a_push_goes_on_until_it_is_closed" => self.advance_max = LONG_ENOUGH,
            // An ephemeral consumer lives on the servers: it goes when it was inactive for long enough.
            "consumers_survive_as_declared" => self.restart = Duration::from_secs(6),
            _ => {}
        }
        let reason = CANNOT.iter().find(|(name, _)| *name == story).map(|(_, reason)| *reason);
        let alone = (self.replicas > 1 && story == "preconditions_hold_or_refuse")
            .then_some("a cluster leaves an append unanswered that expects a last message id");
        let reason = self.missing.or(reason).or(alone);
        if let Some(reason) = reason {
            eprintln!("not told: {reason}");
        }
        reason
    }

    fn counts_sizes(&self) -> bool {
        false
    }
}
