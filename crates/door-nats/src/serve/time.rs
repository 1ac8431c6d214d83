//! What time does to connections: questions, deadlines, rights that were taken away, memory of the idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Closed;
use crate::codec::error_line;
use crate::session::{Connection, Shared};

/// How often connections are looked at: a quarter of the shortest deadline that NATS has.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two rounds of letting idle connections' memory go.
const REST_TICKS: u32 = 8;

/// Looks after all connections until the door closes.
pub(super) async fn watch(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut ticks = 0_u32;
    let tick = TICK.min(shared.options.ping_interval / 2).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            () = stopping.cancelled() => return,
        }
        ticks = ticks.wrapping_add(1);
        let connections: Vec<_> = shared.connections.lock().values().cloned().collect();
        for connection in connections {
            look_after(&shared, &connection);
            if ticks.is_multiple_of(REST_TICKS) {
                connection.out.rest();
            }
        }
    }
}

fn look_after(shared: &Shared, connection: &Connection) {
    let options = &shared.options;
    let age = connection.began.elapsed();
    let end = |text: &str, why: Closed| {
        info!(connection = connection.id, address = %connection.address, "{text}");
        connection.out.say(&error_line(text));
        connection.out.close(why);
    };
    if !connection.admitted.load(Ordering::Acquire) && age > options.auth_timeout {
        return end("Authentication Timeout", Closed::AuthenticationTimeout);
    }
    if let Some(standing) = connection.standing.lock().as_mut() {
        if !standing.still_holds(shared) {
            return end("User Authentication Revoked", Closed::Authentication);
        }
        if standing.has_grown() {
            connection.grown.store(true, Ordering::Release);
        }
    }
    if connection.out.waiting() > 0 && connection.out.since_progress() > options.write_deadline {
        return end("Slow Consumer", Closed::SlowDeadline);
    }
    let silent = age.saturating_sub(Duration::from_nanos(connection.heard.load(Ordering::Relaxed)));
    let asked = connection.asked.load(Ordering::Relaxed);
    if silent < options.ping_interval.saturating_mul(asked.saturating_add(1)) {
        return;
    }
    if asked >= options.ping_max {
        return end("Stale Connection", Closed::Stale);
    }
    connection.asked.fetch_add(1, Ordering::Relaxed);
    connection.asked_at.store(connection.nanos(), Ordering::Relaxed);
    connection.out.say(b"PING\r\n");
}
