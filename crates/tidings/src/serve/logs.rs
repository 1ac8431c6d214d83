//! Where and how `tidings serve` logs: for people, for machines, or in the shape that programs which
//! start a `nats-server` read.
//!
//! ```text
//! [4242] 2026/11/21 12:00:00.000000 [INF] Listening for client connections on 127.0.0.1:4222
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use event::Moment;
use host::config::LogFormat;
use host::{Node, StartError};
use miette::{MietteDiagnostic, Report};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, error, info};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs from now on.
///
/// # Errors
/// Where the directives are none, or the file cannot be written.
pub fn start(directives: &str, format: LogFormat, file: Option<&Path>) -> miette::Result<()> {
    let filter: Targets = directives.parse().map_err(|error| {
        let help = "Use off, error, warn, info, debug or trace, or name parts as in info,host=debug.";
        Report::new(MietteDiagnostic::new(format!("--log '{directives}' cannot be used: {error}")).with_help(help))
    })?;
    match file {
        None => lines(filter, format, io::stderr, io::stderr().is_terminal()),
        Some(path) => {
            let opened = File::options().create(true).append(true).open(path).map_err(|error| {
                Report::new(MietteDiagnostic::new(format!("cannot log to {}: {error}", path.display())))
            })?;
            lines(filter, format, Mutex::new(opened), false);
        }
    }
    Ok(())
}

fn lines<W>(filter: Targets, format: LogFormat, writer: W, colours: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Human => registry.with(lines.with_ansi(colours)).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
        LogFormat::Nats => registry.with(lines.event_format(NatsLine { pid: std::process::id() })).init(),
    }
}

/// Says where the node is, as nats-server does.
pub fn say_where(node: &Node) {
    let (config, ports) = (node.config(), node.ports());
    if config.nats.jetstream.enabled {
        let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
        info!("Starting JetStream");
        info!("  Store Directory: \"{}\"", data.display());
    }
    if let Some(monitor) = ports.monitor {
        info!("Starting http monitor on {}", shown(monitor));
    }
    if let Some(websocket) = ports.websocket {
        let own = config.nats.websocket_tls.is_some() || config.nats.tls.is_some() || config.tls.is_some();
        let scheme = if own && !config.nats.websocket_plain { "wss" } else { "ws" };
        info!("Listening for websocket clients on {scheme}://{}", shown(websocket));
    }
    if let Some(nats) = ports.nats {
        info!("Listening for client connections on {}", shown(nats));
    }
    info!("Server is ready");
}

/// An address as nats-server has it: everywhere is `0.0.0.0`.
fn shown(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    }
    address
}

/// Says that the node does not start.
pub fn fatal(reason: &StartError) {
    error!(target: FATAL, "{reason}");
}

/// What is logged under this name is what ends the process.
const FATAL: &str = "fatal";

/// A line as nats-server writes it.
struct NatsLine {
    pid: u32,
}

impl<S, N> FormatEvent<S, N> for NatsLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            _ if event.metadata().target() == FATAL => "FTL",
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG => "DBG",
            Level::TRACE => "TRC",
        };
        write!(writer, "[{}] {} [{level}] ", self.pid, date(SystemTime::now()))?;
        let mut fields = Fields { writer: &mut writer, outcome: Ok(()) };
        event.record(&mut fields);
        fields.outcome?;
        writeln!(writer)
    }
}

/// `2026/11/21 12:00:00.000000`
fn date(now: SystemTime) -> String {
    let nanos = now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let text = Moment::from_nanos(nanos).to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    let (seconds, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    format!("{} {seconds}.{fraction:0<6.6}", day.replace('-', "/"))
}

/// The message as it is, and `name=value` behind it.
struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    outcome: fmt::Result,
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.outcome = self.outcome.and_then(|()| match field.name() {
            "message" => write!(self.writer, "{value:?}"),
            name => write!(self.writer, " {name}={value:?}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_date_is_written_as_nats_writes_it() {
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_012_345);
        assert_eq!(date(at), "2023/11/14 22:13:20.012345");
        assert_eq!(date(UNIX_EPOCH), "1970/01/01 00:00:00.000000");
    }
}
