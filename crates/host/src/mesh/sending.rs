//! A stream of this node on its way to where it is kept.
//!
//! A durable consumer holds what is not confirmed. Its messages are sent in order, a window ahead of what the far side has
//! confirmed; what it confirms is acknowledged. Where an answer stays out, or something was lost on the way, all that is not
//! confirmed is sent anew: the far side takes each once.
//!
//! # Invariants
//! - Nothing is acknowledged that the far side has not recorded.
//! - The first message of a run says behind which position it is the next: a far side that lacks what lies before says so,
//!   and it is sent from there.
//! - At most [`WINDOW`] messages, and of those at most [`WINDOW_BYTES`], are under way.
//! - What does not get on says why, and tries again until it is ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use event::Pattern;
use journal::{Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerError, ConsumerInfo, Delivery, Journal};
use link::mesh::{Letter, Put};
use mesh::node::Refusal;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::body::{Body, Conn};
use super::custody::{Whereto, Words, forbidden};
use super::kept::{Head, What, Word};
use crate::entropy::seed;
use crate::federation::feed::Feed;

/// Messages that are under way to one place, at most: a round trip of 20 ms at 50,000 a second.
const WINDOW: usize = 1_024;

/// Bytes of those, at most, but for one message.
const WINDOW_BYTES: usize = 2 << 20;

/// How long an answer may stay out before all is sent anew: longer than any way that is up.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Bytes a second that the slowest way takes: for what is under way, an answer may stay out longer by that.
const BYTES_PER_SECOND_MIN: usize = 64 << 10;

/// How long a message waits for room on its link, or for a way, before that is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The first pause after something went wrong, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longer than any answer stays out: it is this task that sends anew, not the consumer.
const ACK_WAIT: Duration = Duration::from_hours(24);

/// What a consumer's metadata says of the domain that asked for it.
pub(super) const ASKED_BY: &str = "asked-by";

/// How it stands, as people read it.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Everything up to this position is kept there.
    pub(super) confirmed: u64,
    /// Messages that are not yet.
    pub(super) owed: u64,
    /// Why it does not get on.
    pub(super) why: Option<String>,
}

/// A stream on its way to one place.
pub(super) struct Flow {
    pub(super) body: Arc<Body>,
    pub(super) journal: Arc<dyn Journal>,
    /// What words about it are told by.
    pub(super) flow: String,
    pub(super) stream: String,
    pub(super) into: String,
    pub(super) filters: Vec<Pattern>,
    pub(super) to: Whereto,
    /// The consumer that holds what is not confirmed.
    pub(super) consumer: String,
    /// How long nobody may ask for it before the consumer goes; `None`: it stays.
    pub(super) inactive: Option<Duration>,
    pub(super) standing: Mutex<Standing>,
    pub(super) end: CancellationToken,
}

/// How a run ended that is to begin anew.
enum Over {
    /// Something was lost: all that is not confirmed is sent again.
    Lost,
    /// All behind this position is to be sent again.
    Behind(u64),
}

impl Flow {
    /// Sends until it is ended.
    pub(super) async fn run(&self) {
        let (mut pause, mut behind) = (PAUSE_MIN, None);
        while !self.end.is_cancelled() {
            let began = Instant::now();
            let ended = tokio::select! {
                () = self.end.cancelled() => break,
                ended = self.attempt(behind) => ended,
            };
            let failed = ended.is_err();
            behind = None;
            match ended {
                Ok(Over::Lost) => {}
                Ok(Over::Behind(position)) => behind = Some(position),
                Err(why) => self.does_not_get_on(why),
            }
            pause = if !failed || began.elapsed() > PAUSE_MAX * 2 { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = self.end.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
    }

    fn does_not_get_on(&self, why: String) {
        let mut standing = self.standing.lock();
        if standing.why.as_ref() != Some(&why) {
            warn!(flow = self.flow, to = %self.to, why, "a mirror does not get on");
            standing.why = Some(why);
        }
    }

    /// Lets go of what is held for it.
    pub(super) async fn let_go(&self) {
        match self.journal.consumer_delete(&self.stream, &self.consumer).await {
            Ok(()) | Err(ConsumerError::NotFound { .. } | ConsumerError::NoStream(_)) => {}
            Err(error) => warn!(flow = self.flow, %error, "the consumer of a mirror that is no more cannot be deleted"),
        }
    }

    /// The consumer as it is to be, made where it is not there, at where it came to or behind a position before that.
    async fn consumer(&self, behind: Option<u64>) -> Result<ConsumerInfo, String> {
        let (stream, consumer) = (&self.stream, &self.consumer);
        let asked = self.inactive.map(|_| (ASKED_BY.to_owned(), self.to.domain.to_string()));
        let config = ConsumerConfig {
            metadata: asked.into_iter().collect(),
            filters: self.filters.clone(),
            description: format!("Keeps the stream elsewhere: {}", self.to),
            ack: AckPolicy::All,
            ack_wait: ACK_WAIT,
            ack_pending_max: Some(2 * WINDOW as u64),
            dead_letter: false,
            inactive: self.inactive,
            ..ConsumerConfig::new(consumer)
        };
        let known = match self.journal.consumer_info(stream, consumer).await {
            Err(ConsumerError::NotFound { .. }) => {
                info!(flow = self.flow, to = %self.to, "a stream is kept elsewhere from now on");
                self.journal.consumer_create(stream, config).await.map_err(|error| error.to_string())?
            }
            Ok(known) if known.config.filters != config.filters => {
                self.journal.consumer_update(stream, config).await.map_err(|error| error.to_string())?
            }
            Ok(known) => known,
            Err(error) => return Err(error.to_string()),
        };
        // What the far side lacks is sent again, as far as the stream still has it.
        let from = behind.filter(|behind| *behind < known.ack_floor).map(|behind| behind + 1);
        let info = self.journal.consumer_reset(stream, consumer, from).await;
        info.map_err(|error| error.to_string())
    }

    /// Sends until something goes wrong, or was lost. An error is why it does not get on.
    async fn attempt(&self, behind: Option<u64>) -> Result<Over, String> {
        let stream = self.journal.stream_info(&self.stream).await.map_err(|error| error.to_string())?;
        let info = self.consumer(behind).await?;
        let previous = behind.unwrap_or(info.ack_floor);
        {
            let mut standing = self.standing.lock();
            standing.confirmed = previous;
            standing.owed = info.pending + info.ack_pending;
            if standing.owed == 0 {
                standing.why = None;
            }
        }
        let words = self.body.custody.words(&self.flow, &self.to);
        let run = seed().map_err(|error| error.to_string())?[0];
        let mut feed = Feed::open(&self.journal, &self.stream, &self.consumer);
        let (under_way, since, born) = (VecDeque::new(), Instant::now(), stream.created.nanos());
        let (order, skip, bytes, conn) = (info.deliveries, previous, 0, None);
        let (last, floor) = (stream.state.last, previous);
        let sending =
            Sending { flow: self, run, born, floor, previous, order, skip, last, under_way, bytes, since, conn };
        let ended = sending.go(&mut feed, words).await;
        // The next begins where nobody else is given anything.
        feed.close().await;
        ended
    }
}

/// What is under way of one flow.
struct Sending<'a> {
    flow: &'a Flow,
    run: u64,
    /// When the stream was made.
    born: u64,
    /// The position behind which the run began.
    floor: u64,
    /// The position behind which the next message is the next.
    previous: u64,
    /// The consumer's last delivery: none may be missing, since what it would hold is claimed not to be there.
    order: u64,
    /// What is up to here the far side has.
    skip: u64,
    /// The stream's last position, as far as it is known.
    last: u64,
    under_way: VecDeque<(u64, usize, AckToken)>,
    bytes: usize,
    /// When the far side last confirmed something, or nothing was under way.
    since: Instant,
    /// The connection that they went to.
    conn: Option<Arc<Conn>>,
}

/// Waits for the end of a connection.
async fn over(conn: Option<&Arc<Conn>>) {
    match conn {
        Some(conn) => conn.out.over().await,
        None => std::future::pending().await,
    }
}

impl Sending<'_> {
    async fn go(mut self, feed: &mut Feed, mut words: Words<'_>) -> Result<Over, String> {
        let mut next: Option<Delivery> = None;
        loop {
            while self.has_room()
                && let Some(delivery) = next.take()
            {
                match self.send(&delivery) {
                    Ok(true) => next = self.in_order(feed.held())?,
                    Ok(false) => {
                        next = Some(delivery);
                        break;
                    }
                    Err(why) => {
                        self.flow.does_not_get_on(why);
                        next = Some(delivery);
                        break;
                    }
                }
            }
            let room = self.has_room();
            let slow = Duration::from_secs((self.bytes / BYTES_PER_SECOND_MIN) as u64);
            tokio::select! {
                biased;
                word = words.next() => match word {
                    Some(word) if word.run == self.run => if let Some(over) = self.heard(word).await? {
                        return Ok(over);
                    },
                    Some(_) => {}
                    None => return Ok(Over::Lost),
                },
                delivery = feed.next(), if next.is_none() && room => match delivery {
                    Some(delivery) => next = self.in_order(Some(delivery))?,
                    None => return Err(format!("the stream '{}' gives no more: it was deleted, or its consumer", self.flow.stream)),
                },
                () = sleep(LOOK_AGAIN), if next.is_some() && room => {}
                // What is under way is lost with it.
                () = over(self.conn.as_ref()), if !self.under_way.is_empty() => return Ok(Over::Lost),
                () = sleep_until(self.since + ANSWER_WAIT + slow), if !self.under_way.is_empty() => {
                    return Err(format!("{} does not answer", self.flow.to));
                }
            }
        }
    }

    /// A delivery, where it is the next that the consumer made.
    fn in_order(&mut self, delivery: Option<Delivery>) -> Result<Option<Delivery>, String> {
        if let Some(delivery) = &delivery {
            self.order += 1;
            if delivery.token.order != self.order {
                return Err(format!("somebody else is given messages of the consumer '{}'", self.flow.consumer));
            }
        }
        Ok(delivery)
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW && self.bytes < WINDOW_BYTES
    }

    /// Sends one. `false`: its link has no room now.
    fn send(&mut self, delivery: &Delivery) -> Result<bool, String> {
        let (flow, stored) = (self.flow, &delivery.stored);
        let position = stored.seq;
        if position <= self.skip {
            flow.journal.acknowledge(delivery.token.clone(), Ack::Done, false, Box::new(|_| ()));
            return Ok(true);
        }
        // It is delivered again: it is under way.
        if position <= self.previous {
            return Ok(true);
        }
        let subject = stored.message.subject.as_str();
        let (to, node) = (&flow.to.domain, flow.to.node.as_ref());
        let leg = flow.body.ask(|mesh| {
            let own = &flow.body.id.domain;
            mesh.may_cross(own, to, subject).map_err(|rule| forbidden(&rule, subject))?;
            mesh.straight(to, node).map_err(|why| no_way(&flow.to, why))
        })?;
        let conn = flow.body.conn(leg.conn).ok_or_else(|| "the link has just ended".to_owned())?;
        if self.under_way.is_empty() {
            self.since = Instant::now();
        }
        let (envelope, node) = (leg.envelope.encode(), node.map(ToString::to_string).unwrap_or_default());
        let Sending { run, born, floor, previous, .. } = *self;
        let (name, stream, into) = (flow.flow.as_str(), flow.stream.as_str(), flow.into.as_str());
        let head =
            Head { envelope: &envelope, node: &node, flow: name, stream, into, run, born, floor, position, previous };
        let (headers, payload) = (stored.message.headers.as_block(), &stored.message.payload);
        let letter = Letter { head: &head.encode(), subject, reply: "", status: "", headers, payload };
        match conn.out.keep(&letter) {
            Put::No => return Ok(false),
            Put::First => conn.out.wake(),
            Put::Yes => {}
        }
        if self.conn.as_ref().is_none_or(|before| before.number != conn.number) {
            self.conn = Some(conn);
        }
        self.previous = position;
        let bytes = stored.message.size();
        self.under_way.push_back((position, bytes, delivery.token.clone()));
        self.bytes += bytes;
        flow.standing.lock().owed = delivery.pending + self.under_way.len() as u64;
        Ok(true)
    }

    /// That the far side has no more than the stream ever had: what it claims beyond that is not progress.
    async fn exists(&mut self, claimed: u64) -> Result<(), String> {
        let Flow { journal, stream, to, into, .. } = self.flow;
        if claimed > self.last {
            let info = journal.stream_info(stream).await.map_err(|error| error.to_string())?;
            self.last = info.state.last;
        }
        if claimed > self.last {
            return Err(format!(
                "{to} says that it has '{stream}' up to {claimed}, which ends here at {}: it lost its end, or '{into}' \
                 there says what is not so. Delete '{into}' there, or name another",
                self.last
            ));
        }
        Ok(())
    }

    /// What the far side says; how the run ends, where it does.
    async fn heard(&mut self, word: Word) -> Result<Option<Over>, String> {
        if let What::Confirmed(position) | What::Again(Some(position)) = word.what {
            self.exists(position).await?;
        }
        let confirmed = match word.what {
            What::Confirmed(position) => position,
            What::Again(Some(position)) => return Ok(Some(Over::Behind(position))),
            What::Again(None) => return Ok(Some(Over::Lost)),
            What::Refused(why) => return Err(format!("{} takes nothing: {why}", self.flow.to)),
            What::Ask { .. } | What::Serving(_) | What::Denied(_) => return Ok(None),
        };
        // It may have more than was sent in this run: that need not go again.
        self.skip = self.skip.max(confirmed);
        let mut done = None;
        while let Some((position, bytes, _)) = self.under_way.front() {
            if *position > confirmed {
                break;
            }
            self.bytes -= bytes;
            done = self.under_way.pop_front();
        }
        if let Some((position, _, token)) = done {
            self.since = Instant::now();
            self.flow.journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
            let mut standing = self.flow.standing.lock();
            standing.confirmed = position;
            standing.owed = standing.owed.saturating_sub(1).max(self.under_way.len() as u64);
            if self.under_way.is_empty() {
                standing.owed = 0;
            }
            standing.why = None;
        }
        Ok(None)
    }
}

/// Why nothing can be sent there now, in words.
pub(super) fn no_way(to: &Whereto, why: Refusal) -> String {
    format!("there is no way to {to}: {why}")
}
