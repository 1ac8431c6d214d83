//! Followers: one for each stream on which somebody here waits, so that a thousand waiting readers
//! cost the servers one consumer.
//!
//! A follower is a consumer without acknowledgements that delivers headers alone, and goes when nobody
//! waits for some seconds. It only wakes readers: what they read, they ask for themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use event::Pattern;
use futures_util::StreamExt;
use journal::Stored;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::{API, Fault, call, nanos};
use crate::codec::delivered;
use crate::engine::Shared;
use crate::flights::Mark;
use crate::limits::{HEARTBEAT, REQUEST_TIMEOUT, RETRY_PAUSE};
use crate::wire::{Anything, Consumer};

/// Messages that a waiting reader may be behind before it just looks again.
const BEHIND_MAX: usize = 1_024;
/// Heartbeats without a reader after which a follower goes: one that reads page by page comes back sooner.
const ALONE_MAX: u32 = 2;
/// Messages of one pull.
const PULL: u64 = 512;
/// How long the servers keep a consumer that nobody pulls from.
const INACTIVE: Duration = Duration::from_secs(30);

/// Beginning of the names of the engine's own consumers.
const OWN: &str = "tidings_own_";

fn own_name(shared: &Shared) -> String {
    let inbox = shared.client.new_inbox();
    format!("{OWN}{}", inbox.rsplit('.').next().unwrap_or_default())
}

/// Whether a consumer is one of the engine's own, which users do not see.
pub(crate) fn is_own(consumer: &str) -> bool {
    consumer.starts_with(OWN)
}

/// A message that came.
#[derive(Clone)]
struct Came {
    seq: u64,
    subject: Arc<str>,
}

/// All followers of this engine.
#[derive(Default)]
pub(crate) struct Followers(Mutex<HashMap<String, Arc<Follower>>>);

struct Follower {
    came: broadcast::Sender<Came>,
    /// Whether it sees what comes from now on.
    begun: watch::Receiver<bool>,
}

/// A follower that is to begin, and what it tells when it has.
type Begin = (Arc<Follower>, watch::Sender<bool>);

/// A reader's place at a follower.
pub(crate) struct Joined {
    came: broadcast::Receiver<Came>,
}

impl Joined {
    /// Waits until a message from `from` on matches, or the follower knows nothing certain, or the
    /// deadline.
    pub(crate) async fn next_matching(&mut self, from: u64, filters: &[Pattern], deadline: Instant) {
        loop {
            match timeout_at(deadline, self.came.recv()).await {
                Ok(Ok(came)) => {
                    let wanted = filters.is_empty() || filters.iter().any(|filter| filter.matches(&came.subject));
                    if came.seq >= from && wanted {
                        return;
                    }
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => return sleep(RETRY_PAUSE.0).await,
                Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => return,
            }
        }
    }
}

impl Followers {
    /// Joins a stream's follower. From when this returns, nothing that comes is missed.
    pub(crate) async fn join(&self, shared: &Arc<Shared>, stream: &str) -> Joined {
        let (came, mut begun, begin) = self.find_or_make(stream);
        if let Some((follower, begun)) = begin {
            let (shared, stream) = (Arc::clone(shared), stream.to_owned());
            tokio::spawn(async move {
                follow(&shared, &stream, &follower, begun).await;
                shared.followers.remove(&stream, &follower);
            });
        }
        // A follower that ended before it began wakes its readers, who look for themselves.
        let _ended = begun.wait_for(|begun| *begun).await;
        Joined { came }
    }

    fn find_or_make(&self, stream: &str) -> (broadcast::Receiver<Came>, watch::Receiver<bool>, Option<Begin>) {
        let mut followers = self.0.lock();
        if let Some(follower) = followers.get(stream) {
            return (follower.came.subscribe(), follower.begun.clone(), None);
        }
        let (begun, receiver) = watch::channel(false);
        let (sender, came) = broadcast::channel(BEHIND_MAX);
        let follower = Arc::new(Follower { came: sender, begun: receiver.clone() });
        followers.insert(stream.to_owned(), Arc::clone(&follower));
        (came, receiver, Some((follower, begun)))
    }

    /// Takes a follower out, and says whether it is: not while somebody listens to it.
    fn leave(&self, stream: &str, follower: &Arc<Follower>) -> bool {
        let mut followers = self.0.lock();
        if follower.came.receiver_count() > 0 {
            return false;
        }
        followers.retain(|name, each| name != stream || !Arc::ptr_eq(each, follower));
        true
    }

    fn remove(&self, stream: &str, follower: &Arc<Follower>) {
        self.0.lock().retain(|name, each| name != stream || !Arc::ptr_eq(each, follower));
    }

    /// The last message of each subject, however many there are.
    pub(crate) async fn last_of_each(
        &self,
        shared: &Arc<Shared>,
        stream: &str,
        filters: &[Pattern],
    ) -> Result<Vec<Stored>, Fault> {
        let filters: Vec<&str> = filters.iter().map(Pattern::as_str).collect();
        let filters = if filters.is_empty() { vec![">"] } else { filters };
        let name = own_name(shared);
        let config = json!({
            "name": name, "deliver_policy": "last_per_subject", "filter_subjects": filters,
            "ack_policy": "none", "max_deliver": -1, "mem_storage": true, "num_replicas": 1,
            "inactive_threshold": nanos(INACTIVE), "replay_policy": "instant",
        });
        let made = create(shared, stream, &name, config).await?;
        let mut left = made.num_pending;
        let mut all = Vec::new();
        while left > 0 {
            let (mut answers, _) =
                pull(shared, stream, &name, json!({ "batch": PULL, "expires": nanos(REQUEST_TIMEOUT) })).await?;
            let mut more = PULL.min(left);
            while more > 0 {
                let Ok(Some(wire)) = timeout(REQUEST_TIMEOUT, answers.next()).await else { break };
                let Some(mark) = Mark::of(&wire) else { break };
                (more, left) = (more - 1, left.saturating_sub(1));
                all.extend(delivered(wire, mark.seq, mark.time));
            }
            if more > 0 {
                break;
            }
        }
        remove(shared, stream, &name).await;
        Ok(all)
    }
}

async fn create(shared: &Shared, stream: &str, name: &str, config: Value) -> Result<Consumer, Fault> {
    let body = json!({ "stream_name": stream, "config": config, "action": "create" });
    call(&shared.client, &format!("CONSUMER.CREATE.{stream}.{name}"), &body).await
}

async fn remove(shared: &Shared, stream: &str, name: &str) {
    // The servers forget it by themselves in a while.
    let _kept = call::<Anything>(&shared.client, &format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await;
}

async fn pull(shared: &Shared, stream: &str, name: &str, what: Value) -> Result<(Subscriber, String), Fault> {
    let lost = |reason: String| Fault::Unreachable(reason);
    let inbox = shared.client.new_inbox();
    let answers = shared.client.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
    let subject = format!("{API}CONSUMER.MSG.NEXT.{stream}.{name}");
    let body = what.to_string().into_bytes();
    let sent = shared.client.publish_with_reply(subject, inbox.clone(), body.into()).await;
    sent.map_err(|error| lost(error.to_string()))?;
    Ok((answers, inbox))
}

/// Follows while somebody waits.
async fn follow(shared: &Arc<Shared>, stream: &str, follower: &Arc<Follower>, begun: watch::Sender<bool>) {
    let mut from: Option<u64> = None;
    loop {
        let name = own_name(shared);
        let start = from.map_or(
            json!({ "deliver_policy": "new" }),
            |from| json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": from }),
        );
        let mut config = json!({
            "name": name, "ack_policy": "none", "max_deliver": -1, "headers_only": true, "mem_storage": true,
            "num_replicas": 1, "inactive_threshold": nanos(INACTIVE), "replay_policy": "instant",
        });
        if let (Value::Object(config), Value::Object(start)) = (&mut config, start) {
            config.extend(start);
        }
        match create(shared, stream, &name, config).await {
            Ok(made) => from = Some(from.unwrap_or(made.delivered.stream_seq + 1)),
            Err(fault) if fault.number() == 10059 => return,
            Err(_) => {
                sleep(RETRY_PAUSE.1).await;
                continue;
            }
        }
        // Its readers may be gone.
        let _alone = begun.send(true);
        let over = listen(shared, stream, &name, follower, &mut from).await;
        remove(shared, stream, &name).await;
        if over || shared.followers.leave(stream, follower) {
            return;
        }
    }
}

/// Hands on what comes. Says whether it is over, for the stream is gone or nobody waits.
async fn listen(
    shared: &Arc<Shared>,
    stream: &str,
    name: &str,
    follower: &Arc<Follower>,
    from: &mut Option<u64>,
) -> bool {
    let mut changes = shared.catalogue.watch();
    let known = shared.catalogue.get(stream);
    let mut alone = 0;
    loop {
        let what = json!({ "batch": PULL, "expires": nanos(HEARTBEAT * 4), "idle_heartbeat": nanos(HEARTBEAT / 2) });
        let Ok((mut answers, _)) = pull(shared, stream, name, what).await else { return false };
        let mut left = PULL;
        while left > 0 {
            let wire = tokio::select! {
                wire = timeout(HEARTBEAT, answers.next()) => match wire {
                    Ok(Some(wire)) => wire,
                    Ok(None) | Err(_) => return false,
                },
                _ = changes.changed() => match &known {
                    Some(known) if !shared.catalogue.has(known) => return true,
                    _ => continue,
                },
            };
            match wire.status.map(|status| status.as_u16()) {
                None => left -= 1,
                Some(100) => {
                    alone = if follower.came.receiver_count() > 0 { 0 } else { alone + 1 };
                    if alone > ALONE_MAX && shared.followers.leave(stream, follower) {
                        return true;
                    }
                    continue;
                }
                Some(404 | 408) => break,
                Some(_) => return false,
            }
            if let Some(mark) = Mark::of(&wire) {
                *from = Some(mark.seq + 1);
                // With nobody listening it is told to nobody.
                let _unheard = follower.came.send(Came { seq: mark.seq, subject: wire.subject.as_str().into() });
            }
        }
        if follower.came.receiver_count() == 0 && shared.followers.leave(stream, follower) {
            return true;
        }
    }
}
