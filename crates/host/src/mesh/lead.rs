//! Which of several controllers leads: who wrote the last lease, by the engine's compare-and-set.
//!
//! The lease is the last message of one subject, in a stream of its own:
//!
//! ```text
//! tidings.mesh.lease   {"node": "hub/h1", "address": "h1:7200", "epoch": 1768000000000}
//! ```
//!
//! Each is written with the position of the one before as its condition, so of two that want to lead one finds the
//! other's. Who leads renews it; who sees the same lease for [`LEASE`] by its own clock takes it. No two clocks are
//! compared. An epoch is greater than that of the lease before; it begins at the time, so that it grows although a
//! stream was lost.
//!
//! # Invariants
//! - Who could not renew for [`STEP_DOWN`] does not lead any longer, before anybody else may take the lease.
//! - Each term has an epoch of its own, greater than that of every term before.
//!
//! On an engine that is this node's alone nobody else can lead: the lease is written once a start.

use std::sync::Arc;
use std::time::Duration;

use event::{Message, Moment, Pattern, Subject};
use journal::{Append, AppendError, Expect, Journal, ReadError, StreamConfig, StreamError, answer};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::now;

/// The stream of the mesh's own state.
pub(super) const STREAM: &str = "TIDINGS_MESH";
/// What it captures.
const CAPTURES: &str = "tidings.mesh.>";
/// The subject of the lease.
pub(crate) const LEASE_SUBJECT: &str = "tidings.mesh.lease";
/// How often who leads renews its lease, and the others look at it.
const RENEW: Duration = Duration::from_millis(500);
/// How long a lease holds that nobody renews: several times a pause of the engine that is not its end.
const LEASE: Duration = Duration::from_secs(3);
/// How long who leads goes on without having renewed.
const STEP_DOWN: Duration = Duration::from_secs(2);

const _: () = assert!(RENEW.as_millis() * 3 <= STEP_DOWN.as_millis());
const _: () = assert!(STEP_DOWN.as_millis() + RENEW.as_millis() < LEASE.as_millis());

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Leading {
    /// Nobody, or it is not known.
    #[default]
    Nobody,
    /// This node.
    Me { epoch: u64 },
    /// Another, with the address of its control channels.
    Other { node: String, address: Arc<str> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    node: String,
    address: String,
    epoch: u64,
}

/// What one who wants to lead is made of.
pub(crate) struct Candidate {
    /// Where the lease is kept.
    pub(crate) journal: Arc<dyn Journal>,
    /// Who this node is.
    pub(crate) node: String,
    /// Where its control channels are.
    pub(crate) address: Arc<str>,
    /// Whether other nodes share the engine.
    pub(crate) shared: bool,
    /// The subject of the lease: below `tidings.mesh`, one for each thing that one of them does.
    pub(crate) subject: String,
}

/// The last lease that was seen.
struct Seen {
    position: u64,
    lease: Option<Lease>,
    since: Instant,
}

impl Candidate {
    /// Wants to lead until `end`; says who does. Spawns on the runtime that it is called in.
    pub(crate) fn start(self, end: CancellationToken) -> watch::Receiver<Leading> {
        let (told, leading) = watch::channel(Leading::Nobody);
        tokio::spawn(async move {
            tokio::select! {
                () = self.run(&told) => {}
                () = end.cancelled() => {}
            }
        });
        leading
    }

    async fn run(&self, told: &watch::Sender<Leading>) {
        let mut seen = Seen { position: 0, lease: None, since: Instant::now() };
        let (mut mine, mut quiet) = (None::<(u64, Instant)>, false);
        loop {
            // An engine that does not answer must not keep who leads from stepping down.
            let left = mine.map_or(STEP_DOWN, |(_, renewed)| STEP_DOWN.saturating_sub(renewed.elapsed()));
            let step = timeout(left, self.step(&mut seen, &mut mine)).await;
            match step.unwrap_or_else(|_| Err("it takes too long".to_owned())) {
                Ok(()) => quiet = false,
                Err(why) if !std::mem::replace(&mut quiet, true) => {
                    warn!(why, "who leads cannot be known: the engine does not answer for the lease");
                }
                Err(_) => {}
            }
            if mine.is_some_and(|(_, renewed)| self.shared && renewed.elapsed() >= STEP_DOWN) {
                mine = None;
            }
            let leading = match (mine, &seen.lease) {
                (Some((epoch, _)), _) => Leading::Me { epoch },
                (None, Some(lease)) if lease.node != self.node => {
                    Leading::Other { node: lease.node.clone(), address: lease.address.as_str().into() }
                }
                _ => Leading::Nobody,
            };
            told.send_if_modified(|old| {
                let changed = *old != leading;
                if changed {
                    info!(leading = ?leading, what = self.subject, "who leads");
                    *old = leading;
                }
                changed
            });
            if !self.shared && mine.is_some() {
                // Nobody else can write there.
                return std::future::pending().await;
            }
            sleep(RENEW).await;
        }
    }

    /// Renews the lease where it is this node's, takes it where nobody holds it, looks at it otherwise.
    async fn step(&self, seen: &mut Seen, mine: &mut Option<(u64, Instant)>) -> Result<(), String> {
        let began = Instant::now();
        self.look(seen).await?;
        let epoch = match *mine {
            // Another took it: this node had been too slow.
            Some((epoch, _)) if seen.lease.as_ref().is_none_or(|lease| lease.epoch != epoch) => {
                *mine = None;
                return Ok(());
            }
            Some((epoch, _)) => epoch,
            None if !self.is_free(seen) => return Ok(()),
            None => {
                let before = seen.lease.as_ref().map_or(0, |lease| lease.epoch);
                let millis = u64::try_from(now().since(Moment::EPOCH).as_millis()).unwrap_or(0);
                millis.max(before.saturating_add(1))
            }
        };
        let lease = Lease { node: self.node.clone(), address: self.address.to_string(), epoch };
        match self.write(&lease, seen.position).await {
            Ok(position) => {
                *seen = Seen { position, lease: Some(lease), since: began };
                *mine = Some((epoch, began));
                Ok(())
            }
            // Another was first: it is looked at next time.
            Err(AppendError::LastSubjectSeq { .. }) => {
                *mine = None;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the lease may be taken: nobody has it, nobody else could, it was this node's before it started, or it
    /// was not renewed.
    fn is_free(&self, seen: &Seen) -> bool {
        let foreign = seen.lease.as_ref().is_some_and(|lease| lease.node != self.node);
        !foreign || !self.shared || seen.since.elapsed() >= LEASE
    }

    async fn look(&self, seen: &mut Seen) -> Result<(), String> {
        let pattern = Pattern::parse(&self.subject).map_err(|error| error.to_string())?;
        let stored = match self.journal.last(STREAM, &pattern).await {
            Ok(stored) => stored,
            Err(ReadError::NotFound(_)) => return make_stream(&*self.journal).await,
            Err(ReadError::NoMessage) => {
                seen.lease = None;
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        if stored.seq != seen.position {
            let lease = serde_json::from_slice(&stored.message.payload).map_err(|error| error.to_string())?;
            *seen = Seen { position: stored.seq, lease: Some(lease), since: Instant::now() };
        }
        Ok(())
    }

    async fn write(&self, lease: &Lease, before: u64) -> Result<u64, AppendError> {
        let closed = || AppendError::Closed(String::from("the journal gave the append up"));
        let subject = Subject::parse(&self.subject).map_err(|_| closed())?;
        let payload = serde_json::to_vec(lease).map_err(|_| closed())?;
        let mut append = Append::new(Message::new(subject, payload));
        append.into = Some(STREAM.to_owned());
        append.expect = Expect { last_of_subject: Some(before), ..Expect::default() };
        let (done, written) = answer(move || Err(closed()));
        self.journal.append(append, done);
        written.await.map(|receipt| receipt.seq)
    }
}

/// Makes the stream of the mesh's own state, where it is not there.
pub(super) async fn make_stream(journal: &dyn Journal) -> Result<(), String> {
    let pattern = Pattern::parse(CAPTURES).map_err(|error| error.to_string())?;
    let mut config = StreamConfig::new(STREAM, [pattern]);
    config.description = String::from("Which controller leads the mesh, and how far copies came");
    config.messages_per_subject_max = Some(1);
    match journal.stream_create(config).await {
        Ok(_) | Err(StreamError::Exists(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::local::Local;

    fn candidate(journal: &Arc<dyn Journal>, node: &str) -> (watch::Receiver<Leading>, CancellationToken) {
        let address: Arc<str> = format!("{node}:7200").into();
        let end = CancellationToken::new();
        let parts = Candidate {
            journal: Arc::clone(journal),
            node: node.to_owned(),
            address,
            shared: true,
            subject: LEASE_SUBJECT.to_owned(),
        };
        (parts.start(end.clone()), end)
    }

    async fn until(leading: &mut watch::Receiver<Leading>, wanted: impl Fn(&Leading) -> bool) -> Leading {
        leading.wait_for(|leading| wanted(leading)).await.unwrap().clone()
    }

    fn epoch(leading: &Leading) -> Option<u64> {
        if let Leading::Me { epoch } = leading { Some(*epoch) } else { None }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_when_it_is_gone_another_does_with_a_greater_epoch() {
        let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(crate::clock::now)));
        let (mut one, end_one) = candidate(&journal, "a/1");
        let first = epoch(&until(&mut one, |leading| *leading != Leading::Nobody).await).unwrap();
        let (mut two, _end_two) = candidate(&journal, "a/2");
        let other = until(&mut two, |leading| *leading != Leading::Nobody).await;
        assert_eq!(other, Leading::Other { node: "a/1".to_owned(), address: "a/1:7200".into() });
        tokio::time::sleep(LEASE * 4).await;
        assert!(epoch(&one.borrow()).is_some() && epoch(&two.borrow()).is_none(), "it is renewed");
        end_one.cancel();
        let second = epoch(&until(&mut two, |leading| epoch(leading).is_some()).await).unwrap();
        assert!(second > first, "{second} {first}");
        let (mut one, _end) = candidate(&journal, "a/1");
        let back = until(&mut one, |leading| *leading != Leading::Nobody).await;
        assert_eq!(back, Leading::Other { node: "a/2".to_owned(), address: "a/2:7200".into() });
    }
}
