//! Acknowledgements, as messages to `$JS.ACK.<stream>.<consumer>.<attempt>.<seq>.<order>.<time>.<pending>`.
//!
//! An [`AckToken`] has what that subject needs: the server reads position, attempt and order, and
//! neither time nor pending. Its `tag` is the moment at which the server created the consumer, in
//! nanoseconds, so that a token of an earlier consumer of the same name is refused here.
//!
//! The server answers an acknowledgement of anything that was delivered, even twice. Whether it is the
//! first is told from what this node remembers of its own deliveries, and else from the consumer's
//! floor; between floor and last delivery, what another node delivered counts as outstanding.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Request;
use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use journal::{Ack, AckError, AckPolicy, AckToken, ConsumerError};
use tokio::time::{Instant, sleep};

use crate::api::nanos;
use crate::consumers::{Consumer, ask, find};
use crate::engine::Shared;
use crate::keeper;
use crate::limits::{REQUEST_DEADLINE, RETRY_PAUSE};

/// How long the server may take to answer an acknowledgement before it is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Outstanding deliveries beyond which the consumer's floor is asked for, to forget what is done with.
const FLIGHTS_CHECKED: usize = 16_384;

/// The subject that acknowledges a delivery.
pub(crate) fn subject(token: &AckToken) -> String {
    let AckToken { stream, consumer, attempt, seq, order, .. } = token;
    format!("$JS.ACK.{stream}.{consumer}.{attempt}.{seq}.{order}.0.0")
}

pub(crate) async fn acknowledge(shared: Arc<Shared>, token: AckToken, ack: Ack, synced: bool) -> Result<(), AckError> {
    let consumer = find(&shared, &token.stream, &token.consumer).await.map_err(|error| failure(&token, error))?;
    if token.tag != 0 && consumer.tag() != token.tag {
        return Err(missing(&token));
    }
    if consumer.config.ack == AckPolicy::None {
        return Err(AckError::NotWanted);
    }
    check(&shared, &consumer, &token).await?;
    match ack {
        Ack::Done => {
            say(&shared, &token, Bytes::from_static(b"+ACK"), synced).await?;
            let mut flights = consumer.flights.lock();
            match consumer.config.ack {
                AckPolicy::All => flights.settle_through(token.seq),
                _ => flights.settle(token.seq),
            }
        }
        Ack::Again { delay } => {
            let delay = delay.or_else(|| backoff(&consumer, token.attempt)).filter(|delay| !delay.is_zero());
            let body = delay.map_or(Bytes::from_static(b"-NAK"), |delay| {
                Bytes::from(format!("-NAK {{\"delay\": {}}}", nanos(delay)))
            });
            say(&shared, &token, body, synced).await?;
        }
        Ack::Progress => say(&shared, &token, Bytes::from_static(b"+WPI"), synced).await?,
        Ack::Give { reason } => give(&shared, &consumer, &token, &reason).await?,
    }
    if consumer.flights.lock().len() > FLIGHTS_CHECKED {
        // Only to hear of the floor.
        let _floor = ask(&shared, &token.stream, &token.consumer).await;
    }
    Ok(())
}

fn backoff(consumer: &Consumer, attempt: u64) -> Option<Duration> {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    consumer.config.backoff.get(place).or(consumer.config.backoff.last()).copied()
}

fn missing(token: &AckToken) -> AckError {
    AckError::NotFound { stream: token.stream.to_string(), name: token.consumer.to_string() }
}

fn failure(token: &AckToken, error: ConsumerError) -> AckError {
    match error {
        ConsumerError::NotFound { .. } | ConsumerError::NoStream(_) => missing(token),
        other => AckError::Closed(other.to_string()),
    }
}

/// Whether the delivery was made, and nothing final was said of it.
async fn check(shared: &Shared, consumer: &Consumer, token: &AckToken) -> Result<(), AckError> {
    let (flight, settled) = {
        let flights = consumer.flights.lock();
        (flights.get(token.seq), flights.is_settled(token.seq))
    };
    if settled {
        return Err(AckError::Already(token.seq));
    }
    if let Some(flight) = flight {
        let made = token.attempt <= flight.attempt && token.order <= flight.order;
        return if made { Ok(()) } else { Err(AckError::Unknown(token.seq)) };
    }
    let (wire, now) = ask(shared, &token.stream, &token.consumer).await.map_err(|error| failure(token, error))?;
    if token.tag != 0 && now.tag() != token.tag {
        return Err(missing(token));
    }
    if token.seq > wire.delivered.stream_seq || token.order > wire.delivered.consumer_seq {
        return Err(AckError::Unknown(token.seq));
    }
    if token.seq <= wire.ack_floor.stream_seq {
        return Err(AckError::Already(token.seq));
    }
    Ok(())
}

/// Tells the server. Where it must be certain, until the server says that it has it.
pub(crate) async fn say(shared: &Shared, token: &AckToken, body: Bytes, certain: bool) -> Result<(), AckError> {
    let closed = |reason: String| AckError::Closed(reason);
    let subject = subject(token);
    if !certain {
        return shared.client.publish(subject, body).await.map_err(|error| closed(error.to_string()));
    }
    let deadline = Instant::now() + REQUEST_DEADLINE;
    let mut pause = RETRY_PAUSE.0;
    loop {
        let request = Request::new().payload(body.clone()).timeout(Some(ANSWER_TIMEOUT));
        let error = match shared.client.send_request(subject.clone(), request).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if error.kind() == RequestErrorKind::NoResponders {
            // Without a leader it is said again; without a consumer there is nobody to say it to.
            ask(shared, &token.stream, &token.consumer).await.map_err(|error| failure(token, error))?;
        }
        if Instant::now() + pause >= deadline {
            return Err(closed(error.to_string()));
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
    }
}

/// First the dead letter, then the end: in between, a crash delivers it again and loses nothing.
async fn give(shared: &Arc<Shared>, consumer: &Arc<Consumer>, token: &AckToken, reason: &str) -> Result<(), AckError> {
    let flight = consumer.flights.lock().get(token.seq);
    let letter = keeper::Letter {
        consumer: Arc::clone(consumer),
        seq: token.seq,
        deliveries: flight.map_or(token.attempt, |flight| flight.attempt),
        reason: reason.to_owned(),
        first: flight.map(|flight| flight.first),
        last: flight.map(|flight| flight.last),
    };
    letter.keep(shared).await.map_err(AckError::Closed)?;
    let line: String = reason.chars().take(128).map(|c| if c.is_control() { ' ' } else { c }).collect();
    say(shared, token, Bytes::from(format!("+TERM {line}")), true).await?;
    consumer.flights.lock().settle(token.seq);
    Ok(())
}
