//! A controller of one process: its topology is edited in memory, and domains are whatever is declared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door_slimctl::{Answer, Board, Channel, Fault, View};
use event::Moment;
use mesh::control::{Act, Controller, Declared, DomainRule, Event};
use mesh::names::{Name, NodeId};
use mesh::plan::Shape;
use mesh::segment::{Edit, EditError, edit};
use mesh::topology::{Document, Mode, SegmentText, Topology};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

/// Acts that may wait for a channel.
const ACTS_MAX: usize = 64;

struct Inner {
    machine: Controller,
    channels: BTreeMap<u64, mpsc::Sender<Act>>,
    secrets: BTreeMap<Name, Vec<u8>>,
    segments: Vec<SegmentText>,
    last: u64,
}

/// See the module.
pub struct InMemory {
    began: Instant,
    inner: Mutex<Inner>,
    due: Notify,
    /// What a change needs to be presented; none: nothing.
    pub token: Option<String>,
}

impl InMemory {
    /// A controller that leads, with these domains and their secrets.
    pub fn new(domains: &[(&str, &str)], token: Option<&str>) -> Arc<Self> {
        let keys = |text: &str| {
            let mut key = [0; 32];
            key.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
            key
        };
        let secrets = domains.iter().map(|(name, secret)| (Name::parse(name).unwrap(), secret.as_bytes().to_vec()));
        let inner = Inner {
            machine: Controller::new(Box::new(keys)),
            channels: BTreeMap::new(),
            secrets: secrets.collect(),
            segments: Vec::new(),
            last: 0,
        };
        let token = token.map(str::to_owned);
        let board = Arc::new(InMemory { began: Instant::now(), inner: Mutex::new(inner), due: Notify::new(), token });
        board.happened(Event::Lead { epoch: 1 });
        board.declare();
        tokio::spawn(Arc::clone(&board).tick());
        board
    }

    fn now(&self) -> Moment {
        Moment::EPOCH.after(Duration::from_secs(1) + self.began.elapsed())
    }

    /// Tells the time when it is asked for.
    async fn tick(self: Arc<Self>) {
        loop {
            let wake = self.inner.lock().machine.wake();
            let wait = wake.map_or(Duration::from_secs(60), |at| at.since(self.now()));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.happened(Event::Tick),
                () = self.due.notified() => {}
            }
        }
    }

    fn happened(&self, event: Event) {
        let now = self.now();
        let mut inner = self.inner.lock();
        if let Event::Gone { session } = event {
            inner.channels.remove(&session);
        }
        inner.machine.handle(now, event);
        while let Some(act) = inner.machine.poll() {
            let session = match &act {
                Act::Tell { session, .. } | Act::Routes { session, .. } | Act::Reject { session, .. } => *session,
                Act::Report(_) => continue,
            };
            let last = matches!(act, Act::Reject { .. });
            if inner.channels.get(&session).is_some_and(|acts| acts.try_send(act).is_err() || last) {
                inner.channels.remove(&session);
            }
        }
        drop(inner);
        self.due.notify_one();
    }

    fn declare(&self) {
        let inner = self.inner.lock();
        let domains = inner.secrets.keys().map(|name| DomainRule { name: name.clone(), shape: Shape::FullMesh });
        let topology = Topology::check(&Document::default(), &inner.segments, None).unwrap();
        let declared = Declared { domains: domains.collect(), topology, ..Declared::default() };
        drop(inner);
        self.happened(Event::Resources(declared));
    }
}

impl Board for InMemory {
    fn own(&self) -> NodeId {
        NodeId::parse("own/controller").unwrap()
    }

    fn secret(&self, domain: &Name) -> Option<Vec<u8>> {
        self.inner.lock().secrets.get(domain).cloned()
    }

    fn open(&self) -> Answer<'_, Option<Channel>> {
        Box::pin(async {
            let (sender, acts) = mpsc::channel(ACTS_MAX);
            let mut inner = self.inner.lock();
            inner.last += 1;
            let session = inner.last;
            inner.channels.insert(session, sender);
            Some(Channel { session, acts })
        })
    }

    fn event(&self, event: Event) -> Answer<'_, ()> {
        self.happened(event);
        Box::pin(std::future::ready(()))
    }

    fn view(&self) -> Answer<'_, Result<View, Fault>> {
        let inner = self.inner.lock();
        let view = View { status: inner.machine.status(), segments: inner.machine.segments().all().to_vec() };
        Box::pin(std::future::ready(Ok(view)))
    }

    fn admit(&self, presented: Option<&str>, change: bool) -> Result<Arc<str>, Fault> {
        match &self.token {
            Some(token) if change && presented != Some(token) => Err(Fault::Denied(String::from("no"))),
            _ => Ok("somebody".into()),
        }
    }

    fn edit(&self, _: Arc<str>, change: Edit) -> Answer<'_, Result<Vec<String>, Fault>> {
        let outcome = edit(Mode::Edited, &mut self.inner.lock().segments, change).map_err(|error| match error {
            EditError::NoSegment(_) | EditError::NoLink { .. } => Fault::NotFound(error.to_string()),
            EditError::Exists(_) => Fault::Exists(error.to_string()),
            other => Fault::Precondition(other.to_string()),
        });
        self.declare();
        Box::pin(std::future::ready(outcome.map(|_| Vec::new())))
    }

    fn add_domain(&self, _: Arc<str>, name: Name, secret: String) -> Answer<'_, Result<(), Fault>> {
        self.inner.lock().secrets.insert(name, secret.into_bytes());
        self.declare();
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove_domain(&self, _: Arc<str>, name: Name) -> Answer<'_, Result<(), Fault>> {
        self.inner.lock().secrets.remove(&name);
        self.declare();
        Box::pin(std::future::ready(Ok(())))
    }
}
