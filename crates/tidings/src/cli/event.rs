//! `tidings event`: record, list, follow and show events.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;

use super::client::{Client, Reach, Request, refusal};
use super::decode::Decoder;
use super::emit::EmitArgs;
use super::failure::Failure;
use super::federation::{deliveries, facts, trace};
use super::form::Form;
use super::output::{Out, Show, date, safe};
use super::record::{Page, Record};
use super::sse::SseReader;
use super::stream::last_position;
use super::units::When;

/// The stream that captures events where nothing else is declared.
const STREAM_DEFAULT: &str = "EVENTS";
/// Most messages listed where nothing else is said.
const LIMIT_DEFAULT: u64 = 50;
/// Most messages asked for at once.
const PAGE_MESSAGES: u64 = 1_000;
/// First stretch of positions that is searched backwards for the newest matching messages.
const STRETCH_FIRST: u64 = 1_000;
/// How much longer each further stretch is: the whole stream in few steps, and little read twice.
const STRETCH_GROWTH: u64 = 8;
/// First wait before following is taken up again.
const RECONNECT_WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest wait before following is taken up again.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// What can be done with events.
#[derive(Debug, clap::Subcommand)]
pub enum EventCommand {
    /// State a fact: record one event, or one for each line of standard input; or tell it to a group of sites
    #[command(after_help = super::emit::EXAMPLES)]
    Emit(Box<EmitArgs>),
    /// Take back a fact that was stated in a group: peers are told, and what was derived from it goes
    #[command(after_help = facts::WITHDRAW_EXAMPLES)]
    Withdraw(facts::WithdrawArgs),
    /// List recorded events: the newest, or from a position or time on; or the facts that hold in a group
    List(ListArgs),
    /// Follow events as they are recorded
    Tail(TailArgs),
    /// Show one event with all its attributes
    Show(ShowArgs),
    /// What became of each fact towards each peer
    #[command(after_help = deliveries::EXAMPLES)]
    Deliveries(deliveries::DeliveriesArgs),
    /// Where a fact went: recorded, pushed, received, matched, run, derived
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::TraceArgs),
}

/// Which messages.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The stream
    #[arg(long, default_value = STREAM_DEFAULT)]
    stream: String,
    /// Only subjects that match this pattern (* is one token, > the rest); may be repeated
    #[arg(long = "filter", value_name = "PATTERN")]
    filters: Vec<String>,
    /// Only events of this type; a * at its end stands for any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only events of this source; a * at its end stands for any rest
    #[arg(long, value_name = "URI")]
    source: Option<String>,
}

/// Flags of `tidings event list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// From this time on: 2026-01-31T12:00:00Z, 2026-01-31, or a span before now such as 2h
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    since: Option<When>,
    /// From this position on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Only the last message of each subject
    #[arg(long)]
    last_per_subject: bool,
    /// Most messages: 50, where absent; of a group, all
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Leave protobuf data as bytes, where a schema could decode it
    #[arg(long)]
    raw: bool,
    /// The facts of this group, in place of a stream's messages
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["stream", "filters", "source", "since", "from", "last_per_subject", "raw"])]
    group: Option<String>,
    /// Facts that hold no longer, too
    #[arg(long, requires = "group")]
    include_expired: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings event tail`.
#[derive(Debug, clap::Args)]
pub struct TailArgs {
    #[command(flatten)]
    which: Which,
    /// From this time on, then follow
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    since: Option<When>,
    /// From this position on, then follow
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Start with the newest N that match, then follow
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["since", "from"])]
    newest: Option<u64>,
    /// Stop after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Leave protobuf data as bytes, where a schema could decode it
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings event show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The event's id, or STREAM:SEQ
    id: String,
    /// The event's source, where several sources use the id
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// The stream to look in, where it is not the node's stream of events
    #[arg(long)]
    stream: Option<String>,
    /// Look only at what was recorded from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Write the data alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    data: bool,
    /// Leave protobuf data as bytes, where a schema could decode it
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    reach: Reach,
}

/// Does what was asked.
pub fn run(command: EventCommand) -> Result<(), Failure> {
    match command {
        EventCommand::Emit(args) => super::emit::run(*args),
        EventCommand::Withdraw(args) => facts::withdraw(&args),
        EventCommand::List(args) if args.group.is_some() => facts::list(&args.facts()),
        EventCommand::List(args) => list(&args),
        EventCommand::Tail(args) => tail(&args),
        EventCommand::Show(args) => show(&args),
        EventCommand::Deliveries(args) => deliveries::list(&args),
        EventCommand::Trace(args) => trace::run(&args),
    }
}

impl ListArgs {
    fn facts(self) -> facts::ListArgs {
        facts::ListArgs {
            group: self.group,
            kind: self.which.kind,
            include_expired: self.include_expired,
            limit: self.limit,
            form: self.form,
            reach: self.reach,
        }
    }

    fn most(&self) -> u64 {
        self.limit.unwrap_or(LIMIT_DEFAULT)
    }
}

impl Which {
    fn messages(&self) -> Request {
        Request::get(&["streams", &self.stream, "messages"]).query_each("filter", &self.filters)
    }

    fn wants(&self, record: &Record) -> bool {
        let fits = |wanted: &Option<String>, name| match (wanted, record.attribute(name)) {
            (None, _) => true,
            (Some(wanted), Some(found)) => match wanted.strip_suffix('*') {
                Some(start) => found.starts_with(start),
                None => found == wanted,
            },
            (Some(_), None) => false,
        };
        fits(&self.kind, "type") && fits(&self.source, "source")
    }
}

/// A message as the node wrote it, and what it says.
type Found = (Box<RawValue>, Record);

fn list(args: &ListArgs) -> Result<(), Failure> {
    args.form.refuse_yaml()?;
    let client = Client::new(&args.reach)?;
    let oldest_first = args.since.is_some() || args.from.is_some() || args.last_per_subject;
    let mut found = match oldest_first {
        true => first(&client, args)?,
        false => newest(&client, &args.which, args.most())?,
    };
    let mut out = Out::new();
    if args.form.is_json() {
        let messages: Vec<&RawValue> = found.iter().map(|(raw, _)| raw.as_ref()).collect();
        out.bytes(b"{\"messages\":")?;
        out.bytes(&serde_json::to_vec(&messages).map_err(Failure::strange)?)?;
        out.bytes(b"}\n")?;
        return out.flush();
    }
    if found.is_empty() {
        eprintln!("nothing recorded in {} matches", args.which.stream);
        return Ok(());
    }
    let mut decoder = Decoder::new(&client, args.raw);
    for (_, record) in &mut found {
        decoder.decode(record);
    }
    let rows = found.iter().map(|(_, record)| row(record)).collect();
    out.table(&["SEQ", "TIME (UTC)", "SUBJECT", "SOURCE", "DATA"], &[0], rows)?;
    out.flush()
}

fn row(record: &Record) -> Vec<String> {
    let source = record.attribute("source").map(safe).unwrap_or_default();
    vec![record.seq.to_string(), date(&record.time), safe(&record.subject), source, record.summary()]
}

/// The first messages that match, from where the command says.
fn first(client: &Client, args: &ListArgs) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let since = args.since.map(|since| since.to_string());
    let mut from = args.from;
    loop {
        let request = args.which.messages().query("limit", PAGE_MESSAGES.min(args.most())).query_if("from", from);
        let request = if from.is_none() { request.query_if("since", since.as_ref()) } else { request };
        let request = if args.last_per_subject { request.query("last_per_subject", true) } else { request };
        let page = page(client, &request)?;
        found.extend(page.found.into_iter().filter(|(_, record)| args.which.wants(record)));
        found.truncate(usize::try_from(args.most()).unwrap_or(usize::MAX));
        if page.next > page.last || from.is_some_and(|from| page.next <= from) || found.len() as u64 >= args.most() {
            return Ok(found);
        }
        from = Some(page.next);
    }
}

/// The newest `limit` messages that match: reads stretches backwards, each longer than the one before.
fn newest(client: &Client, which: &Which, limit: u64) -> Result<Vec<Found>, Failure> {
    let mut found: VecDeque<Found> = VecDeque::new();
    let (first, mut end) = last_position(client, &which.stream)?;
    let mut stretch = STRETCH_FIRST.max(limit);
    while end >= first && (found.len() as u64) < limit {
        let start = (end + 1).saturating_sub(stretch).max(first);
        let mut part = between(client, which, start, end)?;
        while let Some(last) = part.pop() {
            if (found.len() as u64) < limit {
                found.push_front(last);
            }
        }
        end = start - 1;
        stretch = stretch.saturating_mul(STRETCH_GROWTH);
    }
    Ok(found.into())
}

/// The matching messages of the positions `start` to `end`.
fn between(client: &Client, which: &Which, start: u64, end: u64) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let mut from = start;
    while from <= end {
        let page = page(client, &which.messages().query("from", from).query("limit", PAGE_MESSAGES))?;
        found.extend(page.found.into_iter().filter(|(_, record)| record.seq <= end && which.wants(record)));
        if page.next > page.last || page.next <= from {
            break;
        }
        from = page.next;
    }
    Ok(found)
}

struct Messages {
    found: Vec<Found>,
    next: u64,
    last: u64,
}

fn page(client: &Client, request: &Request) -> Result<Messages, Failure> {
    let page: Page = client.ask_json(request)?;
    warn_of_damage(&page.damaged);
    let parsed = page.messages.into_iter().map(|raw| Record::parse(raw.get()).map(|record| (raw, record)));
    Ok(Messages { found: parsed.collect::<Result<_, _>>()?, next: page.next, last: page.last })
}

fn warn_of_damage(damaged: &[u64]) {
    if let (Some(first), Some(last)) = (damaged.first(), damaged.last()) {
        let count = damaged.len();
        eprintln!("warning: {count} damaged records from position {first} to {last} were passed over");
        eprintln!("  try: stop the node, then tidings verify DIR");
    }
}

fn tail(args: &TailArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let mut out = Out::new();
    let mut decoder = Decoder::new(&client, args.raw);
    let mut from = match (args.from, args.since, args.newest) {
        (Some(from), ..) => Some(from),
        (None, Some(_), _) => None,
        (None, None, wanted) => {
            let (_, end) = last_position(&client, &args.which.stream)?;
            let shown = wanted.map_or(Ok(Vec::new()), |wanted| newest(&client, &args.which, wanted))?;
            Some(shown.first().map_or(end + 1, |(_, record)| record.seq))
        }
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut wait = RECONNECT_WAIT_FIRST;
    let mut connected = false;
    loop {
        let mut resumed = false;
        match follow(&client, args, &mut decoder, &mut from, &mut left, &mut out, &mut resumed) {
            Ok(()) if left == 0 => return Ok(()),
            Ok(()) => {}
            Err(Failure::Unreachable { server, cause, .. }) if connected || resumed => {
                eprintln!("lost {server} ({cause}); trying again");
            }
            Err(failure) if connected && failure.retry_after_seconds().is_some() => {}
            Err(failure) => return Err(failure),
        }
        if resumed {
            (connected, wait) = (true, RECONNECT_WAIT_FIRST);
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(RECONNECT_WAIT_MAX);
    }
}

/// Follows over one connection until it ends. `from` moves on with each message, so that the next
/// connection takes up where this one ended.
fn follow(
    client: &Client,
    args: &TailArgs,
    decoder: &mut Decoder,
    from: &mut Option<u64>,
    left: &mut u64,
    out: &mut Out,
    connected: &mut bool,
) -> Result<(), Failure> {
    let request = args.which.messages().header("accept", "text/event-stream").query_if("from", *from);
    let request = match from {
        Some(next) if *next > 1 => request.header("last-event-id", (*next - 1).to_string()),
        Some(_) => request,
        None => request.query_if("since", args.since),
    };
    let lost = |error: std::io::Error| Failure::Unreachable {
        server: client.server().to_owned(),
        cause: error.to_string(),
        hint: "see whether the node runs".to_owned(),
    };
    let mut events = SseReader::new(client.follow(&request)?);
    *connected = true;
    while *left > 0 {
        let Some(event) = events.next().map_err(lost)? else { return Ok(()) };
        match event.kind.as_str() {
            "" | "message" => {}
            "error" => return Err(refusal(0, None, event.data.as_bytes())),
            "damaged" => {
                let damaged: Page = serde_json::from_str(&event.data).map_err(Failure::strange)?;
                warn_of_damage(&damaged.damaged);
                continue;
            }
            _ => continue,
        }
        let mut record = Record::parse(&event.data)?;
        *from = Some(record.seq + 1);
        if !args.which.wants(&record) {
            continue;
        }
        decoder.decode(&mut record);
        match args.show.json {
            true => out.document(&record.document(event.data.as_bytes()))?,
            false => out.line(record.line(out))?,
        }
        out.flush()?;
        *left -= 1;
    }
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = match position(&args.id)
        .map(|(stream, seq)| client.ask(&Request::get(&["streams", stream, "messages", seq])))
    {
        Some(Ok(answer)) => answer,
        Some(Err(failure)) if !matches!(failure, Failure::NotFound(_)) => return Err(failure),
        asked => match (client.ask(&by_id(args)), asked) {
            (Err(Failure::NotFound(_)), Some(Err(first))) => return Err(first),
            (answer, _) => answer?,
        },
    };
    let mut out = Out::new();
    let mut records = records(&answer)?;
    if !args.data {
        let mut decoder = Decoder::new(&client, args.raw);
        records.iter_mut().for_each(|record| decoder.decode(record));
    }
    if args.data {
        for record in records {
            out.bytes(&record.payload())?;
        }
    } else if args.show.json {
        match records.as_slice() {
            [one] if !has_page(&answer) => out.document(&one.document(&answer))?,
            _ => out.document(&answer)?,
        }
    } else {
        for (index, record) in records.iter().enumerate() {
            if index > 0 {
                out.line("")?;
            }
            record.detail(&mut out)?;
        }
    }
    out.flush()
}

fn by_id(args: &ShowArgs) -> Request {
    Request::get(&["events", &args.id])
        .query_if("source", args.source.as_ref())
        .query_if("stream", args.stream.as_ref())
        .query_if("since", args.since)
}

fn has_page(answer: &[u8]) -> bool {
    serde_json::from_slice::<Page>(answer).is_ok_and(|page| !page.messages.is_empty())
}

/// One message, or the several that a node found.
fn records(answer: &[u8]) -> Result<Vec<Record>, Failure> {
    match serde_json::from_slice::<Page>(answer) {
        Ok(page) if !page.messages.is_empty() => page.messages.iter().map(|raw| Record::parse(raw.get())).collect(),
        _ => Ok(vec![serde_json::from_slice(answer).map_err(Failure::strange)?]),
    }
}

/// `STREAM:SEQ`, if it is that.
fn position(id: &str) -> Option<(&str, &str)> {
    let (stream, seq) = id.rsplit_once(':')?;
    let named = !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (named && !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit())).then_some((stream, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_from_an_id() {
        assert_eq!(position("EVENTS:42"), Some(("EVENTS", "42")));
        for id in ["42", "urn:uuid:7", "EVENTS:", ":1", "EVENTS:x", "0190-ab"] {
            assert_eq!(position(id), None, "{id}");
        }
    }

    #[test]
    fn types_and_sources_are_matched() {
        let record =
            Record::parse(r#"{"stream":"S","seq":1,"subject":"a","event":{"type":"a.b","source":"/s"}}"#).unwrap();
        let check = |kind: Option<&str>, source: Option<&str>, fits| {
            let which = Which {
                stream: "S".into(),
                filters: Vec::new(),
                kind: kind.map(Into::into),
                source: source.map(Into::into),
            };
            assert_eq!(which.wants(&record), fits, "{kind:?} {source:?}");
        };
        check(None, None, true);
        check(Some("a.b"), Some("/s"), true);
        check(Some("a.*"), None, true);
        check(Some("a"), None, false);
        check(None, Some("/t"), false);
    }
}
