//! One target's task: takes what waits, and brings it there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use door::Principal;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::{Outlet, Waiting};
use crate::codec::write_event;
use crate::options::{Format, Target};
use crate::serve::dial::{Address, Asking, Poster, upgrade};
use crate::serve::http::take;
use crate::serve::outbound::Closed;
use crate::serve::shared::{Connection, Newcomer, Shared};
use crate::session::{Dropped, Kind};

/// The port of a repeater.
const REPEATER_PORT: u16 = 7101;
/// Rooms to which a target has an open WebSocket at a time.
const OPEN_MAX: usize = 256;
/// How often a WebSocket that takes nothing more is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Bytes waiting on a WebSocket beyond which the next event waits in the target's queue.
const PRESSED_BYTES: usize = 256 * 1024;

/// Why an event did not arrive.
enum Failed {
    /// It may arrive when it is tried again.
    Again(String),
    /// It never will.
    Never(String),
}

/// A WebSocket for one room.
struct Open {
    connection: Arc<Connection>,
    used: Instant,
}

/// What a target's task has open.
struct Hands {
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
    address: Result<Address, String>,
    poster: Poster,
    open: BTreeMap<Bytes, Open>,
}

/// Serves a target until it is over; what waits then is dropped and counted.
pub(super) async fn run(shared: Arc<Shared>, outlet: Arc<Outlet>) {
    let with_scheme = outlet.target.address.contains("://");
    let address = Address::parse(&outlet.target.address, REPEATER_PORT, with_scheme);
    let (poster, open) = (Poster::default(), BTreeMap::new());
    let mut hands = Hands { shared, outlet: Arc::clone(&outlet), address, poster, open };
    loop {
        let Some(waiting) = outlet.next() else {
            tokio::select! {
                () = outlet.filled.notified() => continue,
                () = hands.idle() => continue,
                () = outlet.over.cancelled() => break,
            }
        };
        tokio::select! {
            () = Box::pin(hands.bring(&waiting)) => {}
            () = outlet.over.cancelled() => {
                hands.dropped(Dropped::Ended);
                break;
            }
        }
        hands.close_idle();
    }
    while outlet.next().is_some() {
        hands.dropped(Dropped::Ended);
    }
    for (_, open) in std::mem::take(&mut hands.open) {
        open.connection.goodbye(1001, Closed::Idle);
        hands.counted(-1);
    }
}

impl Hands {
    fn target(&self) -> &Target {
        &self.outlet.target
    }

    fn dropped(&self, why: Dropped) {
        self.outlet.dropped.fetch_add(1, Ordering::Relaxed);
        self.shared.totals.dropped(why, 1);
    }

    fn counted(&self, change: i64) {
        for counter in [&self.outlet.open, &self.shared.totals.targets] {
            counter.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Brings one event there, or gives it up.
    async fn bring(&mut self, waiting: &Waiting) {
        let mut wait = self.target().backoff;
        for attempt in 1..=self.target().attempts_max.max(1) {
            let tried = match self.target().format {
                Format::Http => self.post(waiting).await,
                Format::WebSocket => self.send(waiting).await,
            };
            let why = match tried {
                Ok(()) => {
                    *self.outlet.error.lock() = None;
                    self.outlet.pushed.fetch_add(1, Ordering::Relaxed);
                    self.shared.totals.pushed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(Failed::Again(why)) => why,
                Err(Failed::Never(why)) => {
                    *self.outlet.error.lock() = Some(why);
                    break;
                }
            };
            *self.outlet.error.lock() = Some(why);
            if attempt < self.target().attempts_max {
                self.shared.totals.retries.fetch_add(1, Ordering::Relaxed);
                sleep(wait).await;
                wait = (wait * 2).min(self.target().backoff_max);
            }
        }
        let why = self.outlet.error.lock().clone().unwrap_or_default();
        warn!(target = self.target().name, "an event is given up: {why}");
        self.dropped(Dropped::Undeliverable);
    }

    fn asking<'a>(shared: &'a Shared, target: &'a Target) -> Asking<'a> {
        Asking { token: target.token.as_ref(), tls: target.tls.as_ref().or(shared.options.client_tls.as_ref()) }
    }

    async fn post(&mut self, waiting: &Waiting) -> Result<(), Failed> {
        let address = self.address.as_ref().map_err(|why| Failed::Never(why.clone()))?;
        let asking = Hands::asking(&self.shared, &self.outlet.target);
        let posting = self.poster.post(address, &asking, waiting.body.clone());
        let answered = timeout(self.outlet.target.timeout, Box::pin(posting)).await;
        let status = answered.unwrap_or_else(|_| Err(String::from("it took too long"))).map_err(Failed::Again)?;
        match status.as_u16() {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => Err(Failed::Again(format!("it answered {status}"))),
            _ => Err(Failed::Never(format!("it answered {status}"))),
        }
    }

    async fn send(&mut self, waiting: &Waiting) -> Result<(), Failed> {
        let connection = self.connection(&waiting.room).await?;
        let deadline = Instant::now() + self.shared.options.write_deadline;
        while connection.out.waiting() > PRESSED_BYTES && connection.out.closed().is_none() {
            if Instant::now() > deadline {
                connection.out.close(Closed::SlowDeadline);
            }
            sleep(LOOK_AGAIN).await;
        }
        let took = connection.out.put(1, waiting.body.len(), |bytes| {
            write_event(bytes, connection.masks.next(), &waiting.room, 0, &waiting.body);
        });
        match took {
            door::Took::No => Err(Failed::Again(String::from("the connection ended"))),
            door::Took::Yes => Ok(()),
            door::Took::First => {
                connection.out.flush();
                Ok(())
            }
        }
    }

    /// The room's WebSocket, opened where there is none.
    async fn connection(&mut self, room: &Bytes) -> Result<Arc<Connection>, Failed> {
        if let Some(open) = self.open.get_mut(room) {
            if open.connection.out.closed().is_none() {
                open.used = Instant::now();
                return Ok(Arc::clone(&open.connection));
            }
            self.open.remove(room);
            self.counted(-1);
        }
        if self.open.len() >= OPEN_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.used).map(|(room, _)| room.clone())
            && let Some(open) = self.open.remove(&oldest)
        {
            open.connection.goodbye(1001, Closed::Idle);
            self.counted(-1);
        }
        let address = self.address.as_ref().map_err(|why| Failed::Never(why.clone()))?;
        let shared = &self.shared;
        let asking = Hands::asking(shared, &self.outlet.target);
        let name = String::from_utf8_lossy(room);
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%2D", "-");
        let path = format!("{}/connect/{}/{}", address.path, encoded(&name), encoded(&shared.options.node));
        let dialling = Box::pin(upgrade(address, &path, &asking, &[]));
        let dialled = timeout(shared.options.dial_deadline, dialling).await;
        let dialled = dialled.unwrap_or_else(|_| Err(String::from("it took too long"))).map_err(Failed::Again)?;
        let newcomer = Newcomer {
            kind: Kind::Target,
            address: dialled.address,
            peer: Some(Arc::from(&*self.outlet.target.name)),
            dialled: true,
            target: None,
            who: Principal::new(&self.outlet.target.name, Vec::new(), Vec::new(), false),
        };
        let connection = take(shared, newcomer, dialled.upgraded, None);
        self.counted(1);
        self.open.insert(room.clone(), Open { connection: Arc::clone(&connection), used: Instant::now() });
        Ok(connection)
    }

    /// Waits until a WebSocket was idle for long, and closes it.
    async fn idle(&mut self) {
        let idle = self.target().idle;
        match self.open.values().map(|open| open.used).min() {
            None => std::future::pending().await,
            Some(used) => sleep_until(used + idle).await,
        }
        self.close_idle();
    }

    fn close_idle(&mut self) {
        let (now, idle) = (Instant::now(), self.target().idle);
        let old = |open: &Open| now.duration_since(open.used) >= idle || open.connection.out.closed().is_some();
        let rooms: Vec<Bytes> = self.open.iter().filter(|(_, open)| old(open)).map(|(room, _)| room.clone()).collect();
        for open in rooms.iter().filter_map(|room| self.open.remove(room)) {
            open.connection.goodbye(1001, Closed::Idle);
            self.outlet.open.fetch_sub(1, Ordering::Relaxed);
            self.shared.totals.targets.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
