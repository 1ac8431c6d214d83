//! The catalogue as doors hold it, over a journal in memory: who may do what, and who is woken.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use catalog::{Behavior, CheckDraft, Command, Definition, Form, Register, SessionCreate, SetCheck, Status};
use door::catalogue::{PATTERN, STREAM, Sign};
use door::suite::Plain;
use door::{Access, Catalogue, Limits, Port, Principal};
use event::{Message, Moment, Pattern, Subject};
use journal::local::Local;
use journal::{Journal, Read, Stored, StreamConfig};

const NOW: Moment = Moment::from_nanos(1_700_000_000_000_000_000);

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// One who may publish and read these patterns.
fn who(publish: &[&str], read: &[&str]) -> Principal {
    let all = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
    Principal::new("who", all(publish), all(read), false)
}

/// A catalogue whose stream is followed.
async fn catalogue() -> Catalogue {
    let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(|| NOW)));
    let mut config = StreamConfig::new(STREAM, [pattern(PATTERN)]);
    (config.allow_ttl, config.allow_rollup, config.allow_atomic) = (true, true, true);
    journal.stream_create(config).await.unwrap();
    let port = Port::new(Arc::clone(&journal), Arc::new(Plain::default()), Access::open(), Limits::default());
    port.catalogue_changed();
    let catalogue = Catalogue::new(port, "dc1", "n1");
    catalogue.set_ready(true);
    tokio::spawn(follow(catalogue.clone(), journal));
    catalogue
}

async fn follow(catalogue: Catalogue, journal: Arc<dyn Journal>) {
    let mut next = 1;
    loop {
        let read = Read { wait: Some(Duration::from_secs(30)), ..Read::from(next, 256) };
        let Ok(page) = journal.read(STREAM, read).await else { return };
        next = page.next;
        catalogue.fold(&page.messages, next - 1);
    }
}

async fn run(catalogue: &Catalogue, command: Command) {
    catalogue.write(&Principal::anyone(), command).await.unwrap();
}

/// Registers a node `n1` with a check `c` that has a lifetime.
async fn register(catalogue: &Catalogue) {
    let definition = Definition { ttl: Some(Duration::from_secs(10)), ..Definition::default() };
    let check = CheckDraft { name: "c".into(), status: "passing".into(), definition, ..CheckDraft::default() };
    let mut register = Register::new(Form::Catalog, "n1");
    (register.address, register.checks) = ("10.0.0.1".into(), vec![check]);
    run(catalogue, Command::Register(Box::new(register))).await;
}

fn told(ttl: bool) -> Command {
    let (node, check_id) = ("N1".into(), "c".into());
    Command::SetCheck(SetCheck { node, check_id, status: Status::Passing, output: String::new(), ttl })
}

#[tokio::test]
async fn a_service_is_read_by_who_may_read_all_of_it() {
    let catalogue = catalogue().await;
    let check = |read: &[&str], not: &[&str], expected| {
        let not = not.iter().map(|text| pattern(text)).collect();
        let who = who(&[], read).denied(Vec::new(), not);
        assert_eq!(catalogue.may_read(&who, "Web"), expected, "{read:?}");
    };
    check(&["catalog.dc1.web.>"], &[], true);
    check(&["catalog.*.*.>"], &[], true);
    check(&[">"], &["catalog.dc1.db.>"], true);
    check(&["catalog.dc1.web.*"], &[], false);
    check(&["catalog.dc1.web.n1.>"], &[], false);
    check(&["catalog.dc1.web.>"], &["catalog.dc1.web.n1.>"], false);
    check(&[">"], &["catalog.dc1.web.n1.i1"], false);
    check(&["catalog.dc2.web.>"], &[], false);
}

#[tokio::test]
async fn signs_of_life_are_what_clients_say_who_may_and_go_with_what_they_are_of() {
    let catalogue = catalogue().await;
    register(&catalogue).await;
    let (check, session) = (Sign::check("n1", "c"), Sign::Session("s".into()));
    run(&catalogue, told(false)).await;
    let stranger = who(&["catalog.dc1.web.>"], &[">"]);
    assert!(catalogue.write(&stranger, told(true)).await.is_err());
    assert_eq!(catalogue.last_heard(&check), None, "neither what the node finds out, nor who may not");
    run(&catalogue, told(true)).await;
    assert!(catalogue.last_heard(&check).is_some());
    let create = SessionCreate {
        id: "s".into(),
        name: String::new(),
        node: "n1".into(),
        lock_delay: None,
        behavior: Behavior::Release,
        ttl: None,
        node_checks: None,
        service_checks: Vec::new(),
        agent: String::new(),
    };
    run(&catalogue, Command::SessionCreate(create)).await;
    assert_eq!(catalogue.last_heard(&session), None);
    run(&catalogue, Command::SessionRenew { id: "s".into() }).await;
    catalogue.forget_signs_of_gone();
    assert!(catalogue.last_heard(&check).is_some() && catalogue.last_heard(&session).is_some());
    run(&catalogue, Command::SessionDestroy { id: "s".into() }).await;
    let (node, check_id) = ("n1".into(), "c".into());
    run(&catalogue, Command::Deregister { node, service_id: String::new(), check_id }).await;
    catalogue.forget_signs_of_gone();
    assert_eq!((catalogue.last_heard(&check), catalogue.last_heard(&session)), (None, None));
}

/// Counts what is logged.
#[derive(Default)]
struct Lines(Arc<AtomicUsize>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_takes_one_line_of_the_log_a_page() {
    let catalogue = catalogue().await;
    let unfit = |seq| {
        let message = Message::new(Subject::parse("catalog.dc1.web.n1.i1").unwrap(), "no JSON");
        Stored { seq, time: NOW, message }
    };
    let lines = Lines::default();
    let count = Arc::clone(&lines.0);
    tracing::subscriber::with_default(lines, || {
        let page: Vec<Stored> = (1..=100).map(unfit).collect();
        catalogue.fold(&page, 100);
    });
    assert_eq!((catalogue.unfit(), count.load(Ordering::Relaxed)), (100, 1));
}
