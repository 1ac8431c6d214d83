//! The receiving end of one subscription.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use door::{ListenerId, Parcel, Port, Principal, Taker, Took};
use event::Pattern;
use parking_lot::{Mutex, RwLock};

use crate::codec::push_message;
use crate::serve::Outbound;

/// The names of subscriptions that have had all that they asked for.
pub(crate) type Finished = Mutex<Vec<Box<[u8]>>>;

/// See the module.
pub(crate) struct Subscriber {
    pub(crate) out: Arc<Outbound>,
    pub(crate) sid: Box<[u8]>,
    /// Whether the client takes headers.
    pub(crate) headed: bool,
    pub(crate) delivered: AtomicU64,
    /// After so many messages it is over; 0: never.
    pub(crate) max: AtomicU64,
    pub(crate) port: Port,
    pub(crate) listener: OnceLock<ListenerId>,
    pub(crate) finished: Arc<Finished>,
    /// Where some of what it may be given is denied: who judges each message.
    pub(crate) guard: Option<Guard>,
}

/// What a client may do now: while it is connected its rights may grow.
pub(crate) type Rights = Arc<RwLock<Principal>>;

/// Judges each message.
pub(crate) struct Guard {
    pub(crate) who: Rights,
    /// Whether the pattern itself matches what is denied; else only what comes by another address is judged.
    pub(crate) within: bool,
}

impl Guard {
    /// That of a subscription; `None`: nothing is denied.
    pub(crate) fn of(rights: &Rights, pattern: &Pattern) -> Option<Self> {
        let who = rights.read();
        let within = who.is_denied_some_of(pattern);
        (within || who.is_ruled()).then(|| Guard { who: Arc::clone(rights), within })
    }

    fn refuses(&self, subject: &str) -> bool {
        let who = self.who.read();
        (self.within && !who.may_read(subject)) || !who.is_open_to(subject)
    }
}

impl Subscriber {
    /// Ends it after `max` messages in all; whether it is over already.
    pub(crate) fn limit(&self, max: u64) -> bool {
        self.max.store(max, Ordering::Release);
        max == 0 || self.delivered.load(Ordering::Acquire) >= max
    }

    fn finish(&self) {
        if let Some(listener) = self.listener.get() {
            self.port.leave(*listener);
        }
        self.finished.lock().push(self.sid.clone());
    }
}

impl Taker for Subscriber {
    fn take(&self, parcel: &Parcel<'_>) -> Took {
        if self.guard.as_ref().is_some_and(|guard| guard.refuses(parcel.subject)) {
            return Took::No;
        }
        let count = self.delivered.fetch_add(1, Ordering::AcqRel) + 1;
        let max = self.max.load(Ordering::Acquire);
        if max > 0 && count > max {
            return Took::No;
        }
        let took = self.out.put(|bytes| push_message(bytes, parcel, &self.sid, self.headed));
        if took != Took::No {
            self.out.messages.fetch_add(1, Ordering::Relaxed);
            self.out.message_bytes.fetch_add(parcel.payload.len() as u64, Ordering::Relaxed);
        }
        if max > 0 && count == max {
            self.finish();
        }
        took
    }

    fn flush(&self) {
        self.out.flush();
    }

    fn wake(&self) {
        self.out.wake();
    }

    fn is_pressed(&self) -> bool {
        self.out.is_pressed()
    }

    fn is_laden(&self) -> bool {
        self.out.is_laden()
    }
}
