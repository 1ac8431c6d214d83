//! `tidings event emit`: states one fact, or one for each line of standard input (see [`super::bulk`]).

use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Reach, Request};
use super::failure::{Failure, Problem};
use super::federation::facts::{self, Statement};
use super::form::Form;
use super::lines::Wrap;
use super::output::{Colour, Out, safe};
use super::template::Template;
use super::units::{Pair, Span, When};

/// Where events come from that are given no source.
const SOURCE_DEFAULT: &str = "/tidings/cli";

/// Over flags that are for facts.
const FACTS: &str = "Facts between sites";

/// Examples of the help.
pub const EXAMPLES: &str = "Examples:
  tidings event emit --type com.example.order.placed --source /shop --payload order=17
  tidings event emit --group cloudedge --type routerd.client.ipv4.observed --subject 10.88.60.9/32 \\
      --payload mac=aa:bb:cc:dd:ee:ff --ttl 30m";

/// What to do where no stream captures a subject.
const DECLARE: &str = "declare a stream for it: tidings stream add NAME --subjects PATTERN";

/// Flags of `tidings event emit`.
#[derive(Debug, clap::Args)]
pub struct EmitArgs {
    /// What kind of fact it is, such as com.example.order.placed
    #[arg(long = "type", value_name = "TYPE", required_unless_present_any = ["ndjson", "withdraw"])]
    kind: Option<String>,
    /// The context in which it happened: a URI reference; /tidings/cli where absent
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// What it is about, within the source (the attribute of CloudEvents, not the routing subject)
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Its id; the same source and id again is the same event. Made up where absent
    #[arg(long)]
    id: Option<String>,
    /// When it happened (RFC 3339)
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// The data: a text, @FILE, or - for standard input
    #[arg(long, value_name = "TEXT|@FILE|-", conflicts_with = "payload", allow_hyphen_values = true)]
    data: Option<String>,
    /// A field of the data, a JSON object: numbers, true, false and null are typed; with --group, a text
    #[arg(long, value_name = "NAME=VALUE")]
    payload: Vec<Pair>,
    /// The data's media type; guessed where absent
    #[arg(long, value_name = "TYPE/SUBTYPE")]
    content_type: Option<String>,
    /// An extension attribute
    #[arg(long, value_name = "NAME=VALUE")]
    ext: Vec<Pair>,
    /// The routing subject, in place of events.TYPE
    #[arg(long, value_name = "SUBJECT")]
    to: Option<String>,
    /// How long the node keeps it; with --group, how long it holds
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,
    /// State it as a fact in this group, to be told to its peers
    #[arg(long, value_name = "GROUP", help_heading = FACTS)]
    group: Option<String>,
    /// The node that observed it; the node that is asked, where absent
    #[arg(long, value_name = "NODE", requires = "group", help_heading = FACTS)]
    source_node: Option<String>,
    /// What facts that replace each other share; the id, where absent
    #[arg(long, value_name = "KEY", requires = "group", help_heading = FACTS)]
    dedupe_key: Option<String>,
    /// When it was observed: 2026-01-31T12:00:00Z, or a span before now such as 5m; now, where absent
    #[arg(long, value_name = "TIME", requires = "group", help_heading = FACTS)]
    observed_at: Option<When>,
    /// Take the fact back
    #[arg(long, requires_all = ["group", "id"], help_heading = FACTS)]
    withdraw: bool,
    /// Read one event per line: a CloudEvent, or JSON data for which the flags give the attributes,
    /// where {field} stands for a field of the line
    #[arg(long, conflicts_with_all = ["data", "payload", "content_type"], help_heading = "Many events")]
    ndjson: bool,
    /// Keep how far it came in FILE, and go on from there when run again with the same input
    #[arg(long, value_name = "FILE", requires = "ndjson", help_heading = "Many events")]
    resume: Option<PathBuf>,
    /// Most events in one request
    #[arg(long, value_name = "N", requires = "ndjson", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000), help_heading = "Many events")]
    batch: u16,
    /// How long to try again while the node is away or pushes back
    #[arg(long, value_name = "SPAN", requires = "ndjson", default_value = "30s", help_heading = "Many events")]
    patience: Span,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// What became of an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It is on disk.
    Recorded(Recorded),
    /// No stream captures it: it was handed to those who listen, and is gone.
    Delivered {
        /// How many those were.
        delivered: u64,
    },
}

/// Where an event was recorded.
#[derive(Debug, Clone, Deserialize)]
pub struct Recorded {
    /// The stream.
    pub stream: String,
    /// The position in it.
    pub seq: u64,
    /// Whether it was there already.
    #[serde(default)]
    pub duplicate: bool,
    /// The routing subject.
    #[serde(default)]
    pub subject: String,
}

impl Outcome {
    /// Where it was recorded.
    ///
    /// # Errors
    /// A refusal where it was not: whoever emits an event means it to last.
    pub fn recorded(self) -> Result<Recorded, Failure> {
        match self {
            Outcome::Recorded(recorded) => Ok(recorded),
            Outcome::Delivered { delivered } => Err(Failure::Refused(Problem {
                title: "no stream captures the event's subject".to_owned(),
                detail: format!("it was handed to {delivered} who listen now, and not recorded"),
                hint: Some(DECLARE.to_owned()),
                ..Problem::default()
            })),
        }
    }
}

/// States the fact, or the facts.
pub fn run(args: EmitArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    if args.group.is_some() {
        let form = args.form.clone();
        return facts::emit(&client, &args.statement()?, &form);
    }
    args.form.refuse_yaml()?;
    if args.ndjson {
        return super::bulk::run(&client, args.bulk()?);
    }
    one(&client, &args)
}

fn one(client: &Client, args: &EmitArgs) -> Result<(), Failure> {
    let (data, guessed) = data(args)?;
    let id = args.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let content_type = args.content_type.clone().or_else(|| data.is_some().then(|| guessed.to_owned()));
    let event = event(args, &id, content_type)?;
    let mut request = Request::post(&["events"]).header("ce-specversion", event::cloud::SPECVERSION);
    for (name, value) in event.attributes() {
        request = match name {
            "datacontenttype" => request.header("content-type", value),
            _ => request.header(format!("ce-{name}"), event::cloud::encode_value(value)),
        };
    }
    let request = addressed(request, args.to.as_deref(), args.ttl).body(data.unwrap_or_default());
    let answer = client.ask(&request).map_err(uncaptured)?;
    let recorded = serde_json::from_slice::<Outcome>(&answer).map_err(Failure::strange)?.recorded()?;
    let mut out = Out::new();
    if args.form.is_json() {
        let mut answer: Map<String, Value> = serde_json::from_slice(&answer).map_err(Failure::strange)?;
        answer.insert("id".to_owned(), json!(id));
        out.document(Value::Object(answer).to_string().as_bytes())?;
        return out.flush();
    }
    let place = out.paint(Colour::Green, &format!("{}:{}", safe(&recorded.stream), recorded.seq));
    let note = if recorded.duplicate { out.paint(Colour::Yellow, "  (was there already)") } else { String::new() };
    out.line(format!("{place}  {}  id {}{note}", safe(&recorded.subject), safe(&id)))?;
    out.flush()
}

/// Where no stream captures a subject the node says "not found"; what is missing is a stream, not an event.
pub fn uncaptured(failure: Failure) -> Failure {
    match failure {
        Failure::NotFound(problem) => {
            let hint = problem.hint.clone().or(Some(DECLARE.to_owned()));
            Failure::Refused(Problem { hint, ..problem })
        }
        other => other,
    }
}

fn event(args: &EmitArgs, id: &str, content_type: Option<String>) -> Result<event::cloud::Event, Failure> {
    let given = [
        ("specversion", Some(event::cloud::SPECVERSION.to_owned())),
        ("id", Some(id.to_owned())),
        ("source", Some(args.source.clone().unwrap_or_else(|| SOURCE_DEFAULT.to_owned()))),
        ("type", args.kind.clone()),
        ("subject", args.subject.clone()),
        ("time", args.time.clone()),
        ("datacontenttype", content_type),
    ];
    let extensions = args.ext.iter().map(|pair| (pair.name.as_str(), Some(pair.value.clone())));
    let mut builder = event::cloud::Builder::default();
    let collect = || {
        for (name, value) in given.into_iter().chain(extensions) {
            if let Some(value) = value {
                builder.attribute(name, value)?;
            }
        }
        Ok(())
    };
    collect().and_then(|()| builder.build()).map_err(|error: event::cloud::EventError| {
        Failure::usage(error.to_string(), "correct it; tidings event emit --help lists the attributes")
    })
}

/// Adds to a request what says where its events go and how long they stay.
pub fn addressed(request: Request, to: Option<&str>, ttl: Option<Span>) -> Request {
    request.query_if("subject", to).query_if("ttl", ttl)
}

fn data(args: &EmitArgs) -> Result<(Option<Vec<u8>>, &'static str), Failure> {
    let refused = |what: String| Failure::usage(what, "give the data as a text, as @FILE, or as - on standard input");
    let bytes = match args.data.as_deref() {
        None if args.payload.is_empty() => return Ok((None, "")),
        None => return Ok((Some(object(&args.payload)), "application/json")),
        Some("-") => {
            let mut bytes = Vec::new();
            let limit = event::limits::PAYLOAD_BYTES_MAX as u64 + 1;
            std::io::stdin()
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(|error| refused(format!("cannot read standard input: {error}")))?;
            bytes
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => std::fs::read(file).map_err(|error| refused(format!("cannot read {file}: {error}")))?,
            None => text.as_bytes().to_vec(),
        },
    };
    if bytes.len() > event::limits::PAYLOAD_BYTES_MAX {
        return Err(refused(format!(
            "the data is larger than any node takes ({} bytes)",
            event::limits::PAYLOAD_BYTES_MAX
        )));
    }
    let guessed = match std::str::from_utf8(&bytes) {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => "application/json",
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    Ok((Some(bytes), guessed))
}

fn object(pairs: &[Pair]) -> Vec<u8> {
    let typed = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
        _ => Value::String(text.to_owned()),
    };
    let fields: Map<String, Value> = pairs.iter().map(|pair| (pair.name.clone(), typed(&pair.value))).collect();
    Value::Object(fields).to_string().into_bytes()
}

impl EmitArgs {
    /// What is stated in a group.
    ///
    /// # Errors
    /// A usage failure for each flag that is for events alone, with what to write in its place.
    fn statement(self) -> Result<Statement, Failure> {
        let only_texts = "the payload of a fact is names and texts: give them with --payload NAME=VALUE";
        let refused = [
            ("--ndjson", self.ndjson, "state facts one at a time; each has an id and a time of its own"),
            ("--data", self.data.is_some(), only_texts),
            ("--content-type", self.content_type.is_some(), only_texts),
            ("--ext", !self.ext.is_empty(), only_texts),
            ("--source", self.source.is_some(), "name the node that observed it with --source-node NODE"),
            ("--time", self.time.is_some(), "say when it was observed with --observed-at TIME"),
            ("--to", self.to.is_some(), "leave it out: the group and the type say where a fact goes"),
        ];
        if let Some((flag, _, hint)) = refused.into_iter().find(|(_, given, _)| *given) {
            return Err(Failure::usage(format!("{flag} is not for facts of a group (--group)"), hint));
        }
        Ok(Statement {
            group: self.group.unwrap_or_default(),
            kind: self.kind,
            subject: self.subject,
            source_node: self.source_node,
            id: self.id,
            dedupe_key: self.dedupe_key,
            payload: self.payload,
            ttl: self.ttl,
            observed_at: self.observed_at,
            withdraw: self.withdraw,
        })
    }

    fn bulk(self) -> Result<super::bulk::Bulk, Failure> {
        let source = self.source.unwrap_or_else(|| SOURCE_DEFAULT.to_owned());
        let mut attributes = vec![("source", Some(source)), ("type", self.kind)];
        attributes.extend([("subject", self.subject), ("id", self.id), ("time", self.time)]);
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let extensions = self.ext.into_iter().map(|pair| (pair.name, pair.value));
        let template = |text: String| {
            text.parse::<Template>().map_err(|error| Failure::usage(error, "see tidings event emit --help"))
        };
        let attributes = attributes
            .chain(extensions)
            .map(|(name, value)| Ok((name, template(value)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let wrap = Wrap { attributes, to: self.to.map(template).transpose()? };
        Ok(super::bulk::Bulk {
            wrap,
            ttl: self.ttl,
            resume: self.resume,
            batch_events_max: usize::from(self.batch),
            patience: self.patience.0,
            json: self.form.is_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_fields_are_typed() {
        let pairs: Vec<Pair> = ["n=1", "f=1.5", "b=true", "s=one", "v=01", "z=null", "j={}", "e="]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let value: Value = serde_json::from_slice(&object(&pairs)).unwrap();
        assert_eq!(value, json!({"n":1,"f":1.5,"b":true,"s":"one","v":"01","z":null,"j":"{}","e":""}));
    }
}
