//! One connection's state: who it is, what it subscribed to, and what its operations do.
//!
//! A session is handed bytes, and says how many it took. It owns no socket and never waits: where it
//! cannot go on, it says what to wait for, and is called again with the bytes that are left.

mod authenticate;
mod publish;
mod shared;
mod subscriber;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use door::{Class, Listener, Principal, Taker};
use event::Pattern;
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::codec::{Connect, Fault, Next, Operation, error_line, next};
use crate::jetstream::Request;
use crate::serve::{Closed, Outbound};

use authenticate::{Admitted, admit, is_slow};
use publish::Ways;
pub(crate) use shared::{Connection, Shared, Totals};
use subscriber::{Finished, Guard, Subscriber};

/// Why a session did not take all bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// More bytes must come: at least so many in all.
    Bytes(usize),
    /// The journal has enough to do.
    Journal,
    /// The connection's own requests must be done first.
    Requests,
    /// A slow proof must be judged first.
    Proof,
    /// The connection is over.
    Closed,
}

/// Requests of one connection, done one after the other.
pub(crate) type Requests = mpsc::Sender<(Principal, Request)>;

/// A proof that is judged elsewhere, because that takes long.
#[derive(Default)]
enum Proof {
    #[default]
    None,
    Wanted(Box<Connect>),
    Judged(Option<Admitted>),
}

/// See the module.
pub(crate) struct Session {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    out: Arc<Outbound>,
    nonce: String,
    connect: Connect,
    admitted: Option<Admitted>,
    proof: Proof,
    /// Whether the client is yet to be told what it has become.
    untold: bool,
    subscriptions: HashMap<Box<[u8]>, Arc<Subscriber>>,
    finished: Arc<Finished>,
    ways: Ways,
    requests: Requests,
    /// A request that found no room.
    refused: Option<(Principal, Request)>,
    /// Receivers that wait to be flushed.
    first: Vec<Arc<dyn Taker>>,
    messages: u64,
    bytes: u64,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, connection: Arc<Connection>, requests: Requests, nonce: String) -> Self {
        let out = Arc::clone(&connection.out);
        // Where nobody has to say who he is, a client may begin without a word.
        let admitted = if shared.wants_authentication() { None } else { admit(&shared, &Connect::unsaid(), "") };
        connection.admitted.store(admitted.is_some(), Ordering::Release);
        *connection.standing.lock() = admitted.as_ref().map(Admitted::standing);
        Session {
            shared,
            connection,
            out,
            nonce,
            connect: Connect::unsaid(),
            admitted,
            proof: Proof::None,
            untold: false,
            subscriptions: HashMap::new(),
            finished: Arc::default(),
            ways: Ways::default(),
            requests,
            refused: None,
            first: Vec::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Takes as many operations as it can; how many bytes they were, and why it stopped.
    pub(crate) fn process(&mut self, bytes: &[u8]) -> (usize, Wait) {
        self.forget_finished();
        self.grow();
        let (line_max, payload_max) = (self.shared.options.max_control_line, self.shared.options.max_payload);
        let mut used = 0;
        let wait = loop {
            if let Some(request) = self.refused.take()
                && !self.hand(request)
            {
                break Wait::Requests;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break Wait::Bytes(1);
            }
            match next(rest, line_max, payload_max) {
                Next::Operation(operation, taken) => match self.operate(operation) {
                    Ok(()) => used += taken,
                    Err(wait) => break wait,
                },
                Next::Need(bytes) => break Wait::Bytes(bytes),
                Next::Fault(fault) => break self.fault(fault),
            }
        };
        self.count();
        (used, wait)
    }

    /// Takes up rights that have become more.
    fn grow(&mut self) {
        if !self.connection.grown.swap(false, Ordering::AcqRel) {
            return;
        }
        let grown = self.connection.standing.lock().as_mut().and_then(|standing| standing.grown());
        if let (Some(admitted), Some((who, api))) = (&mut self.admitted, grown) {
            (admitted.who, admitted.api) = (who, api);
            // What was found for a subject was found for the rights before.
            self.ways = Ways::default();
        }
    }

    /// Sends what was handed to others meanwhile, and says whether one of them is pressed.
    pub(crate) fn flush(&mut self) -> bool {
        for taker in self.first.drain(..) {
            taker.flush();
        }
        self.ways.is_pressed()
    }

    fn count(&mut self) {
        self.connection.messages.fetch_add(mem::take(&mut self.messages), Ordering::Relaxed);
        self.connection.bytes.fetch_add(mem::take(&mut self.bytes), Ordering::Relaxed);
        self.connection.heard.store(self.connection.nanos(), Ordering::Relaxed);
    }

    fn hand(&mut self, request: (Principal, Request)) -> bool {
        match self.requests.try_send(request) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(request)) => {
                self.refused = Some(request);
                false
            }
            // The door is closing: nobody waits for the answer.
            Err(mpsc::error::TrySendError::Closed(_)) => true,
        }
    }

    fn operate(&mut self, operation: Operation<'_>) -> Result<(), Wait> {
        match operation {
            Operation::Publish(publish) => return self.publish(publish),
            Operation::Ping => {
                self.say(b"PONG\r\n");
                if mem::take(&mut self.untold) {
                    self.tell();
                }
            }
            Operation::Pong => self.ponged(),
            Operation::Connect(said) => return self.connect(said),
            Operation::Subscribe { subject, queue, sid } => {
                self.known()?;
                self.subscribe(subject, queue, sid);
            }
            Operation::Unsubscribe { sid, max } => {
                self.known()?;
                self.unsubscribe(sid, max);
            }
            Operation::Ignored => {}
        }
        Ok(())
    }

    /// Puts bytes for the client itself.
    fn say(&mut self, bytes: &[u8]) {
        self.out.say(bytes);
    }

    fn agree(&mut self) {
        if self.connect.verbose {
            self.say(b"+OK\r\n");
        }
    }

    fn complain(&mut self, text: &str) {
        debug!(connection = self.connection.id, "{text}");
        self.say(&error_line(text));
    }

    fn end(&mut self, text: &str, why: Closed) -> Wait {
        info!(connection = self.connection.id, address = %self.connection.address, "{text}");
        self.say(&error_line(text));
        self.out.close(why);
        Wait::Closed
    }

    fn fault(&mut self, fault: Fault) -> Wait {
        let why = match fault {
            Fault::Unknown => Closed::Protocol,
            Fault::LineTooLong => Closed::ControlLine,
            Fault::PayloadTooLarge => Closed::Payload,
        };
        self.end(fault.text(), why)
    }

    fn known(&mut self) -> Result<(), Wait> {
        if self.admitted.is_some() {
            return Ok(());
        }
        Err(self.end("Authorization Violation", Closed::Authentication))
    }

    fn ponged(&mut self) {
        let connection = &self.connection;
        if connection.asked.swap(0, Ordering::Relaxed) > 0 {
            let took = connection.nanos().saturating_sub(connection.asked_at.load(Ordering::Relaxed));
            connection.round_trip.store(took, Ordering::Relaxed);
        }
    }

    fn connect(&mut self, said: &[u8]) -> Result<(), Wait> {
        let connect: Connect = match serde_json::from_slice(said) {
            Ok(connect) => connect,
            Err(error) => return Err(self.end(&format!("Invalid CONNECT: {error}"), Closed::Protocol)),
        };
        if connect.protocol < 0 || connect.protocol > 1 {
            return Err(self.end("invalid client protocol", Closed::Protocol));
        }
        self.admitted = match mem::take(&mut self.proof) {
            Proof::Judged(admitted) => admitted,
            _ if is_slow(&self.shared) => {
                self.proof = Proof::Wanted(Box::new(connect));
                return Err(Wait::Proof);
            }
            _ => admit(&self.shared, &connect, &self.nonce),
        };
        let Some(admitted) = &self.admitted else {
            return Err(self.end("Authorization Violation", Closed::Authentication));
        };
        if connect.no_responders && !connect.headers {
            return Err(self.end("no responders requires headers support", Closed::Protocol));
        }
        self.connection.admitted.store(true, Ordering::Release);
        *self.connection.standing.lock() = Some(admitted.standing());
        {
            let mut about = self.connection.about.lock();
            about.name = connect.name.clone().unwrap_or_default();
            about.lang = connect.lang.clone().unwrap_or_default();
            about.version = connect.version.clone().unwrap_or_default();
            about.user = admitted.name.clone();
        }
        self.untold = connect.protocol >= 1;
        self.ways.clear();
        self.connect = connect;
        // What it proved itself with is not needed any more.
        (self.connect.pass, self.connect.auth_token, self.connect.sig, self.connect.jwt) = (None, None, None, None);
        self.agree();
        Ok(())
    }

    /// Tells a client that listens to such what it has become. Not before the first PONG: to a client that
    /// waits for one, anything else is an error.
    fn tell(&mut self) {
        let mut info = self.shared.info(&self.connection, None);
        info.connect_info = true;
        info.remote_account = Some("$G");
        self.say(&info.line());
    }

    fn subscribe(&mut self, subject: &[u8], queue: &[u8], sid: &[u8]) {
        let pattern = Pattern::new(bytes::Bytes::copy_from_slice(subject));
        let queue = std::str::from_utf8(queue).ok().filter(|queue| !queue.contains(['*', '>']));
        let (Ok(pattern), Some(queue)) = (pattern, queue) else {
            return self.complain("Invalid Subject");
        };
        let Some(admitted) = &self.admitted else {
            return;
        };
        if self.subscriptions.contains_key(sid) {
            return self.agree();
        }
        let max = self.shared.options.max_subscriptions;
        if max > 0 && self.subscriptions.len() >= max {
            return self.complain("maximum subscriptions exceeded");
        }
        let subscriber = Arc::new(Subscriber {
            out: Arc::clone(&self.out),
            sid: sid.into(),
            headed: self.connect.headers,
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
            port: self.shared.port.clone(),
            listener: std::sync::OnceLock::new(),
            finished: Arc::clone(&self.finished),
            guard: Guard::of(&admitted.rights, &pattern),
        });
        let shown = (pattern.as_str().to_owned(), queue.to_owned());
        let listener = Listener {
            patterns: vec![pattern],
            queue: (!queue.is_empty()).then(|| queue.into()),
            connection: self.connection.id,
            class: Class::Client,
            taker: Arc::clone(&subscriber) as Arc<dyn Taker>,
        };
        match self.shared.port.listen(&admitted.who, listener) {
            Ok(id) => {
                // Set once, here, before anybody can end it.
                let _new = subscriber.listener.set(id);
                self.subscriptions.insert(sid.into(), subscriber);
                self.connection.wishes.lock().insert(sid.into(), shown);
                self.connection.subscriptions.store(self.subscriptions.len(), Ordering::Relaxed);
                self.agree();
            }
            Err(_) if shown.1.is_empty() => {
                self.complain(&format!("Permissions Violation for Subscription to \"{}\"", shown.0));
            }
            Err(_) => {
                let (subject, queue) = shown;
                self.complain(&format!(
                    "Permissions Violation for Subscription to \"{subject}\" using queue \"{queue}\""
                ));
            }
        }
    }

    fn unsubscribe(&mut self, sid: &[u8], max: u64) {
        if let Some(subscriber) = self.subscriptions.get(sid)
            && subscriber.limit(max)
        {
            self.forget(sid);
        }
        self.agree();
    }

    fn forget(&mut self, sid: &[u8]) {
        if let Some(subscriber) = self.subscriptions.remove(sid) {
            if let Some(listener) = subscriber.listener.get() {
                self.shared.port.leave(*listener);
            }
            self.connection.wishes.lock().remove(sid);
            self.connection.subscriptions.store(self.subscriptions.len(), Ordering::Relaxed);
        }
    }

    fn forget_finished(&mut self) {
        let finished = mem::take(&mut *self.finished.lock());
        for sid in finished {
            self.forget(&sid);
        }
    }

    /// Judges a slow proof on a thread for such work, one for the whole door at a time, so that a storm
    /// of strangers holds up nobody who is in.
    pub(crate) async fn prove(&mut self) {
        let Proof::Wanted(connect) = mem::take(&mut self.proof) else {
            return;
        };
        let (shared, nonce) = (Arc::clone(&self.shared), self.nonce.clone());
        let _turn = self.shared.proving.lock().await;
        if self.out.closed().is_some() {
            return;
        }
        let judged = tokio::task::spawn_blocking(move || admit(&shared, &connect, &nonce)).await;
        self.proof = Proof::Judged(judged.unwrap_or(None));
    }

    /// Whether a request waits for room.
    pub(crate) async fn requests_have_room(&self) {
        // Closed: the session finds that out by itself.
        let _permit = self.requests.reserve().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for subscriber in self.subscriptions.values() {
            if let Some(listener) = subscriber.listener.get() {
                self.shared.port.leave(*listener);
            }
        }
        self.shared.leave(&self.connection);
    }
}
