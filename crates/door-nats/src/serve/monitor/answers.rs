//! What monitoring says.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use event::Moment;
use hyper::StatusCode;
use journal::{Storage, StreamInfo};
use serde_json::{Value, json};

use crate::limits::{API_LEVEL, NATS_VERSION};
use crate::session::{Connection, Shared};

/// Connections or subscriptions in one answer, where nothing is asked: NATS's own.
const LIMIT_DEFAULT: usize = 1024;
/// The same, at most, so that one question costs a bounded answer.
const LIMIT_MAX: usize = 16 * 1024;

/// What the query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    offset: usize,
    limit: Option<usize>,
    subscriptions: bool,
    streams: bool,
    consumers: bool,
    config: bool,
}

impl Asked {
    pub(super) fn of(query: &str) -> Self {
        let mut asked = Asked::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
            let yes = matches!(value, "1" | "true" | "detail");
            match name {
                "offset" => asked.offset = value.parse().unwrap_or(0),
                "limit" => asked.limit = value.parse().ok(),
                "subs" => asked.subscriptions = yes,
                "streams" => asked.streams = yes,
                "consumers" => (asked.streams, asked.consumers) = (asked.streams || yes, yes),
                "config" => asked.config = yes,
                _ => {}
            }
        }
        asked
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX)
    }
}

fn moment(time: SystemTime) -> String {
    Moment::EPOCH.after(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()).to_string()
}

/// A span as Go prints it, to the second.
fn span(time: Duration) -> String {
    let (days, hours) = (time.as_secs() / 86_400, time.as_secs() / 3_600 % 24);
    let (minutes, seconds) = (time.as_secs() / 60 % 60, time.as_secs() % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, _, _) => format!("{hours}h{minutes}m{seconds}s"),
        _ => format!("{days}d{hours}h{minutes}m{seconds}s"),
    }
}

/// Resident memory of this process, in bytes; 0 where the system does not say.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Messages and bytes in, messages and bytes out, of all connections, ended ones too.
fn traffic(shared: &Shared) -> [u64; 4] {
    let totals = &shared.totals;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut sums = [&totals.in_messages, &totals.in_bytes, &totals.out_messages, &totals.out_bytes].map(load);
    for connection in shared.connections.lock().values() {
        let own = [&connection.messages, &connection.bytes, &connection.out.messages, &connection.out.message_bytes];
        for (sum, own) in sums.iter_mut().zip(own) {
            *sum += load(own);
        }
    }
    sums
}

fn subscriptions(shared: &Shared) -> usize {
    shared.connections.lock().values().map(|connection| connection.subscriptions.load(Ordering::Relaxed)).sum()
}

pub(super) async fn varz(shared: &Shared) -> Value {
    let streams = shared.port.journal().streams().await;
    let jetstream = json!({"config": jetstream_config(shared), "stats": usage(&streams), "limits": {}});
    let mut said = told(shared);
    if let (Value::Object(fields), Value::Object(counts)) = (&mut said, counted(shared)) {
        fields.extend(counts);
        fields.insert("jetstream".into(), jetstream);
    }
    said
}

/// What the server was told.
fn told(shared: &Shared) -> Value {
    let options = &shared.options;
    json!({
        "server_id": shared.server_id,
        "server_name": options.name,
        "version": NATS_VERSION,
        "proto": 1,
        "go": "tidings",
        "host": shared.address.ip().to_string(),
        "port": shared.address.port(),
        "auth_required": shared.wants_authentication(),
        "tls_required": options.tls.is_some(),
        "tls_verify": options.tls_verify,
        "max_connections": options.max_connections,
        "max_subscriptions": options.max_subscriptions,
        "ping_interval": nanos(options.ping_interval),
        "ping_max": options.ping_max,
        "auth_timeout": options.auth_timeout.as_secs_f64(),
        "write_deadline": nanos(options.write_deadline),
        "max_payload": options.max_payload,
        "max_pending": options.max_pending,
        "max_control_line": options.max_control_line,
        "cluster": {},
        "gateway": {},
        "leaf": {},
    })
}

/// What the server counted.
fn counted(shared: &Shared) -> Value {
    let [in_msgs, in_bytes, out_msgs, out_bytes] = traffic(shared);
    let totals = &shared.totals;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "start": moment(shared.began_at),
        "now": moment(SystemTime::now()),
        "uptime": span(shared.began.elapsed()),
        "mem": memory(),
        "cores": cores,
        "gomaxprocs": cores,
        "cpu": 0,
        "connections": shared.connections.lock().len(),
        "total_connections": totals.connections.load(Ordering::Relaxed),
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": in_msgs,
        "out_msgs": out_msgs,
        "in_bytes": in_bytes,
        "out_bytes": out_bytes,
        "slow_consumers": totals.slow.load(Ordering::Relaxed),
        "stale_connections": totals.stale.load(Ordering::Relaxed),
        "subscriptions": subscriptions(shared),
        "config_load_time": moment(shared.began_at),
    })
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn of_connection(connection: &Connection, asked: &Asked) -> Value {
    let about = connection.about.lock().clone();
    let age = connection.began.elapsed();
    let heard = Duration::from_nanos(connection.heard.load(Ordering::Relaxed));
    let mut said = json!({
        "cid": connection.id,
        "kind": "Client",
        "type": connection.kind,
        "ip": connection.address.ip().to_string(),
        "port": connection.address.port(),
        "start": moment(connection.began_at),
        "last_activity": moment(connection.began_at + heard),
        "rtt": format!("{:?}", Duration::from_nanos(connection.round_trip.load(Ordering::Relaxed))),
        "uptime": span(age),
        "idle": span(age.saturating_sub(heard)),
        "pending_bytes": connection.out.waiting(),
        "in_msgs": connection.messages.load(Ordering::Relaxed),
        "out_msgs": connection.out.messages.load(Ordering::Relaxed),
        "in_bytes": connection.bytes.load(Ordering::Relaxed),
        "out_bytes": connection.out.message_bytes.load(Ordering::Relaxed),
        "subscriptions": connection.subscriptions.load(Ordering::Relaxed),
        "name": about.name,
        "lang": about.lang,
        "version": about.version,
        "tls": connection.tls,
    });
    if asked.subscriptions
        && let Some(fields) = said.as_object_mut()
    {
        let wishes = connection.wishes.lock();
        let subjects: Vec<&str> = wishes.values().map(|(subject, _)| subject.as_str()).take(LIMIT_MAX).collect();
        fields.insert("subscriptions_list".into(), json!(subjects));
        fields.insert("authorized_user".into(), json!(about.user));
    }
    said
}

pub(super) fn connz(shared: &Shared, asked: &Asked) -> Value {
    let connections: Vec<_> = shared.connections.lock().values().cloned().collect();
    let (total, limit) = (connections.len(), asked.limit());
    let shown: Vec<Value> =
        connections.iter().skip(asked.offset).take(limit).map(|connection| of_connection(connection, asked)).collect();
    json!({
        "server_id": shared.server_id,
        "now": moment(SystemTime::now()),
        "num_connections": shown.len(),
        "total": total,
        "offset": asked.offset,
        "limit": limit,
        "connections": shown,
    })
}

pub(super) fn subsz(shared: &Shared, asked: &Asked) -> Value {
    let total = subscriptions(shared);
    let mut said = json!({
        "server_id": shared.server_id,
        "now": moment(SystemTime::now()),
        "num_subscriptions": total,
        "total": total,
        "offset": asked.offset,
        "limit": asked.limit(),
    });
    if asked.subscriptions
        && let Some(fields) = said.as_object_mut()
    {
        let connections: Vec<_> = shared.connections.lock().values().cloned().collect();
        let mut list = Vec::new();
        for connection in connections {
            for (sid, (subject, queue)) in connection.wishes.lock().iter() {
                let sid = String::from_utf8_lossy(sid);
                list.push(
                    json!({"account": "$G", "subject": subject, "qgroup": queue, "sid": sid, "cid": connection.id}),
                );
            }
            if list.len() >= asked.offset.saturating_add(asked.limit()) {
                break;
            }
        }
        let shown: Vec<Value> = list.into_iter().skip(asked.offset).take(asked.limit()).collect();
        fields.insert("subscriptions_list".into(), json!(shown));
    }
    said
}

fn jetstream_config(shared: &Shared) -> Value {
    let options = &shared.options.jetstream;
    json!({
        "max_memory": options.memory_max.unwrap_or(0),
        "max_storage": options.store_max.unwrap_or(0),
        "store_dir": options.store_dir,
        "strict": options.strict,
    })
}

fn usage(streams: &[StreamInfo]) -> Value {
    let bytes = |storage| streams.iter().filter(|s| s.config.storage == storage).map(|s| s.state.bytes).sum::<u64>();
    let reserved = |storage| {
        let limits = streams.iter().filter(|s| s.config.storage == storage).filter_map(|s| s.config.bytes_max);
        limits.sum::<u64>()
    };
    json!({
        "memory": bytes(Storage::Memory),
        "storage": bytes(Storage::File),
        "reserved_memory": reserved(Storage::Memory),
        "reserved_storage": reserved(Storage::File),
        "accounts": 1,
        "ha_assets": 0,
        "api": {"level": API_LEVEL, "total": 0, "errors": 0},
    })
}

pub(super) async fn jsz(shared: &Shared, asked: &Asked) -> Value {
    let streams = shared.port.journal().streams().await;
    let mut said = usage(&streams);
    let Some(fields) = said.as_object_mut() else {
        return said;
    };
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("server_id", json!(shared.server_id));
    put("now", json!(moment(SystemTime::now())));
    put("config", jetstream_config(shared));
    put("streams", json!(streams.len()));
    put("consumers", json!(streams.iter().map(|stream| stream.consumers).sum::<u64>()));
    put("messages", json!(streams.iter().map(|stream| stream.state.messages).sum::<u64>()));
    put("bytes", json!(streams.iter().map(|stream| stream.state.bytes).sum::<u64>()));
    if !shared.options.jetstream.enabled {
        put("disabled", json!(true));
    }
    if asked.streams {
        let mut details = Vec::new();
        for stream in streams.iter().skip(asked.offset).take(asked.limit()) {
            details.push(of_stream(shared, stream, asked).await);
        }
        put("account_details", json!([{"name": "$G", "id": "$G", "stream_detail": details}]));
    }
    said
}

async fn of_stream(shared: &Shared, stream: &StreamInfo, asked: &Asked) -> Value {
    let state = &stream.state;
    let mut said = json!({
        "name": stream.config.name,
        "created": stream.created.to_string(),
        "cluster": {"leader": shared.options.name},
        "state": {
            "messages": state.messages,
            "bytes": state.bytes,
            "first_seq": state.first,
            "first_ts": state.first_time.to_string(),
            "last_seq": state.last,
            "last_ts": state.last_time.to_string(),
            "num_subjects": state.subjects,
            "num_deleted": state.deleted,
            "consumer_count": stream.consumers,
        },
    });
    let Some(fields) = said.as_object_mut() else {
        return said;
    };
    if asked.config {
        let subjects: Vec<&str> = stream.config.subjects.iter().map(event::Pattern::as_str).collect();
        fields.insert("config".into(), json!({"name": stream.config.name, "subjects": subjects}));
    }
    if asked.consumers {
        let consumers = shared.port.journal().consumers(&stream.config.name).await.unwrap_or_default();
        let details: Vec<Value> = consumers
            .iter()
            .map(|consumer| {
                json!({
                    "stream_name": stream.config.name,
                    "name": consumer.config.name,
                    "created": consumer.created.to_string(),
                    "delivered": {"consumer_seq": consumer.deliveries, "stream_seq": consumer.delivered},
                    "ack_floor": {"consumer_seq": consumer.ack_floor_order, "stream_seq": consumer.ack_floor},
                    "num_ack_pending": consumer.ack_pending,
                    "num_redelivered": consumer.redelivered,
                    "num_waiting": consumer.waiting,
                    "num_pending": consumer.pending,
                })
            })
            .collect();
        fields.insert("consumer_detail".into(), json!(details));
    }
    said
}

pub(super) fn healthz(shared: &Shared) -> (StatusCode, Value) {
    let refusing = shared.port.health().refusing;
    match refusing {
        None => (StatusCode::OK, json!({"status": "ok"})),
        Some(why) => {
            let said = json!({"status": "unavailable", "status_code": 503, "error": why});
            (StatusCode::SERVICE_UNAVAILABLE, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_asks_for() {
        let expected = Asked { offset: 3, limit: Some(5), subscriptions: true, ..Asked::default() };
        assert_eq!(Asked::of("offset=3&limit=5&subs=1&other=x"), expected);
        assert_eq!(Asked::of("offset=-1&limit=x"), Asked::default());
        assert_eq!(Asked { limit: Some(usize::MAX), ..Asked::default() }.limit(), LIMIT_MAX);
    }

    #[test]
    fn spans_as_tools_read_them() {
        for (seconds, expected) in [(0, "0s"), (61, "1m1s"), (3_661, "1h1m1s"), (90_061, "1d1h1m1s")] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
