//! The handle.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connect::Dialler;
use crate::limits::ROOM_BYTES_MAX;
use crate::pace::Pace;
use crate::queue::{Brought, Queue};
use crate::session::{Closing, Outgoing, Shared, Tally, count, run};
use crate::{BodyError, ConnectError, EventV2, Options, SendError};

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The room that it was sent into.
    pub room: String,
    /// The body. Hubs put line breaks before what messengers sent, one for each hop: see [`Event::trimmed`].
    pub body: Bytes,
}

impl Event {
    /// The body without line breaks at its beginning.
    pub fn trimmed(&self) -> Bytes {
        let plain = self.body.iter().position(|byte| *byte != b'\n').unwrap_or(self.body.len());
        self.body.slice(plain..)
    }

    /// The body as an event of the second version.
    ///
    /// # Errors
    /// [`BodyError`] where it is none.
    pub fn v2(&self) -> Result<EventV2, BodyError> {
        EventV2::from_body(&self.body)
    }
}

/// How a messenger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It dials.
    Connecting,
    /// It is connected.
    Connected,
    /// It will dial again.
    Waiting {
        /// Dials that failed, and connections that did not last, in a row.
        failures: u32,
        /// What went wrong last.
        error: Arc<str>,
    },
    /// It was closed.
    Closed,
}

/// What was counted since the messenger was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came about.
    pub connections: u64,
    /// Events that were written to a hub.
    pub sent: u64,
    /// Events that came.
    pub received: u64,
    /// Events that were to be sent and were dropped: the buffer was full, or it was closed before they went.
    pub outgoing_dropped: u64,
    /// Events that came and were dropped, because the buffer was full.
    pub incoming_dropped: u64,
    /// Frames that are no event: text, or without a line break, or with a room that is not UTF-8.
    pub malformed: u64,
    /// Events that wait to be sent.
    pub outgoing: usize,
    /// Events that wait to be received.
    pub incoming: usize,
}

/// A connection to a hub that is kept up. Dropped, it ends at once; [`Messenger::close`] sends first what waits.
#[derive(Debug)]
pub struct Messenger {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Messenger {
    /// Connects to a hub: `ws://host:port`, `wss://host:port` or `host:port`.
    ///
    /// # Errors
    /// [`ConnectError`]: always where trying again is of no use, and where the hub cannot be reached now, unless
    /// [`Options::keep_trying`].
    pub async fn connect(address: &str, options: Options) -> Result<Messenger, ConnectError> {
        let dialler = Dialler::new(address, &options).await?;
        let seed = RandomState::new().hash_one(address);
        let mut pace = Pace::new(options.redial_first, options.redial_max, seed);
        let first = match dialler.dial(options.replay.as_ref()).await {
            Ok(connection) => Ok(connection),
            Err(error) if error.is_final() || !options.keep_trying => return Err(error),
            Err(error) => {
                pace.failed(std::time::Duration::ZERO);
                Err(error.to_string())
            }
        };
        let state = match &first {
            Ok(_) => State::Connected,
            Err(why) => State::Waiting { failures: 1, error: why.as_str().into() },
        };
        let shared = Arc::new(Shared {
            dialler,
            outgoing: Queue::new(options.outgoing),
            incoming: Queue::new(options.incoming),
            options,
            rooms: Mutex::new(BTreeSet::new()),
            changed: Notify::new(),
            state: watch::Sender::new(state),
            closing: watch::Sender::new(Closing::No),
            asked: Mutex::default(),
            tally: Tally::default(),
        });
        let task = tokio::spawn(run(Arc::clone(&shared), pace, first));
        Ok(Messenger { shared, task: Mutex::new(Some(task)) })
    }

    /// Asks for the events of rooms; `*`: of all.
    ///
    /// # Errors
    /// [`SendError::Room`] where one cannot be called so; then none is asked for.
    pub fn subscribe<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) -> Result<(), SendError> {
        let rooms: Vec<String> = rooms.into_iter().map(|room| room.as_ref().to_owned()).collect();
        rooms.iter().try_for_each(|room| room_fits(room))?;
        self.shared.rooms.lock().extend(rooms);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// Asks no longer for the events of rooms.
    pub fn unsubscribe<R: AsRef<str>>(&self, rooms: impl IntoIterator<Item = R>) {
        let mut wanted = self.shared.rooms.lock();
        for room in rooms {
            wanted.remove(room.as_ref());
        }
        drop(wanted);
        self.shared.changed.notify_waiters();
    }

    /// The rooms whose events are asked for.
    pub fn rooms(&self) -> Vec<String> {
        self.shared.rooms.lock().iter().cloned().collect()
    }

    /// Sends an event into a room: it goes when the connection is there and those before it went. Where the
    /// buffer is full, its policy says what happens.
    ///
    /// # Errors
    /// [`SendError`] where the event was not taken.
    pub async fn send(&self, room: &str, body: impl AsRef<[u8]>) -> Result<(), SendError> {
        room_fits(room)?;
        let frame = Bytes::from([room.as_bytes(), b"\n", body.as_ref()].concat());
        let bytes = frame.len();
        match self.shared.outgoing.push(Outgoing::Event(frame), bytes).await {
            Brought::In(dropped) => {
                count(&self.shared.tally.outgoing_dropped, dropped);
                Ok(())
            }
            Brought::Dropped => {
                count(&self.shared.tally.outgoing_dropped, 1);
                Err(SendError::Full)
            }
            Brought::Wait(_) | Brought::Closed => Err(SendError::Closed),
        }
    }

    /// Sends an event into its affected room.
    ///
    /// # Errors
    /// [`SendError`] where the event was not taken.
    pub async fn send_event(&self, event: &EventV2) -> Result<(), SendError> {
        let body = event.to_body().map_err(|error| SendError::Body(error.0))?;
        self.send(&event.affected_room.room, body).await
    }

    /// Waits until the hub has heard everything that was said before: changes of the subscriptions, and events.
    /// It is asked for a pong behind them. A Tidings node then delivers by the subscriptions; an original one may
    /// still have them in a queue.
    ///
    /// # Errors
    /// [`SendError::Lost`] where the connection was lost before the answer came: it may have heard all or not.
    /// [`SendError::Closed`].
    pub async fn heard(&self) -> Result<(), SendError> {
        let (tell, told) = oneshot::channel();
        if !self.shared.outgoing.mark(Outgoing::Mark(tell)) {
            return Err(SendError::Closed);
        }
        told.await.map_err(|_| if self.shared.outgoing.is_closed() { SendError::Closed } else { SendError::Lost })
    }

    /// The next event, which is waited for; `None`: it was closed, and all was received. May be given up at
    /// any time: nothing is lost.
    pub async fn receive(&self) -> Option<Event> {
        self.shared.incoming.pop().await
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// How it is, to be followed.
    pub fn states(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        let tally = &self.shared.tally;
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            connections: read(&tally.connections),
            sent: read(&tally.sent),
            received: read(&tally.received),
            outgoing_dropped: read(&tally.outgoing_dropped),
            incoming_dropped: read(&tally.incoming_dropped),
            malformed: read(&tally.malformed),
            outgoing: self.shared.outgoing.len(),
            incoming: self.shared.incoming.len(),
        }
    }

    /// Takes nothing more to send, sends what waits where it is connected, and closes. What cannot be sent within
    /// [`Options::close_deadline`] is dropped and counted. Received events can still be taken.
    pub async fn close(&self) {
        self.shared.outgoing.close();
        // What was asked for to be stopped at once stays so.
        self.shared.closing.send_if_modified(|closing| {
            let begins = *closing == Closing::No;
            if begins {
                *closing = Closing::Soon;
            }
            begins
        });
        let mut state = self.shared.state.subscribe();
        let closed = |state: &State| *state == State::Closed;
        if timeout(self.shared.options.close_deadline, state.wait_for(closed)).await.is_err() {
            self.shared.closing.send_replace(Closing::Now);
        }
        let task = self.task.lock().take();
        if let Some(task) = task {
            // It ends by itself, and cannot have panicked unless this library is at fault.
            let _ended = task.await;
        }
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        self.shared.outgoing.close();
        self.shared.closing.send_replace(Closing::Now);
    }
}

fn room_fits(room: &str) -> Result<(), SendError> {
    if room.len() > ROOM_BYTES_MAX || room.contains('\n') { Err(SendError::Room) } else { Ok(()) }
}
