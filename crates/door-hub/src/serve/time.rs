//! What time does to connections: pings, deadlines, memory of the idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::outbound::Closed;
use super::shared::{Connection, Shared};
use crate::codec::Opcode;
use crate::session::{Clock, Due, Kind};

/// How often connections are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two rounds of letting idle connections' memory go.
const REST_TICKS: u32 = 4;

/// Looks after all connections until the door closes.
pub(super) async fn watch(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut ticks = 0_u32;
    let spans = shared.spans();
    let tick = TICK.min(spans.ping / 4).min(spans.read / 4).min(spans.write / 4).max(Duration::from_millis(5));
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
    if connection.out.closed().is_some() {
        return;
    }
    let millis = |counter: &std::sync::atomic::AtomicU64| Duration::from_millis(counter.load(Ordering::Relaxed));
    let clock = Clock { pong: millis(&connection.pong), ping: millis(&connection.ping), stuck: connection.out.stuck() };
    match clock.due(connection.age(), &shared.spans()) {
        Due::Nothing => {}
        Due::Ping => {
            connection.ping.store(connection.millis(), Ordering::Relaxed);
            // A hub's answers tell these from pings that stand for events.
            let payload: &[u8] = if connection.kind == Kind::Hub { &[0; 8] } else { b"" };
            connection.say(Opcode::Ping, payload);
        }
        Due::Silent => connection.out.close(Closed::Silent),
        Due::Stuck => connection.out.close(Closed::SlowDeadline),
    }
}
