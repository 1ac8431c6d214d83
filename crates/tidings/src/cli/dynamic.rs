//! `tidings dynamic`: what was derived from facts, and the configuration that is in effect with it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Reach, Request};
use super::failure::{Failure, Problem};
use super::federation::hinted;
use super::form::{Form, Format, Row, Theirs, cell, go_time, yaml};
use super::output::{Colour, Out, date, safe};

const LIST_EXAMPLES: &str = "Examples:
  tidings dynamic list
  tidings dynamic list -o json --compat routerd";

const DESCRIBE_EXAMPLES: &str = "Examples:
  tidings dynamic describe EventSubscription/cloud-claims/7b409f932d2c88e9
  tidings dynamic describe Plugin/inventory -o yaml";

const RENDER_EXAMPLES: &str = "Examples:
  tidings dynamic render > effective.yaml
  tidings dynamic render -o json";

const DIFF_EXAMPLES: &str = "Examples:
  tidings dynamic diff
  tidings dynamic diff -o json";

const EXPLAIN_EXAMPLES: &str = "Examples:
  tidings dynamic explain AddressClaim/claim-10-88-60-9
  tidings dynamic explain Interface lan --api-version net.routerd.net/v1alpha1";

/// Where no part has the source.
const PARTS_HINT: &str = "see the sources there are: tidings dynamic list";

/// What can be asked about derived configuration.
#[derive(Debug, clap::Subcommand)]
pub enum DynamicCommand {
    /// List derived parts: from where, which generation, until when
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show the parts of one source, with all that is in them
    #[command(after_help = DESCRIBE_EXAMPLES)]
    Describe(DescribeArgs),
    /// Print the configuration in effect: declared, less what is masked, with live parts
    #[command(after_help = RENDER_EXAMPLES)]
    Render(RenderArgs),
    /// Show how the configuration in effect differs from what was declared
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(RenderArgs),
    /// Show where a resource in effect comes from: which part, fact, plugin run
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
}

/// Flags of `tidings dynamic list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings dynamic describe`.
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// The source, as the list shows it
    source: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings dynamic render` and `diff`.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// Taken so that scripts written for routerctl run unchanged; the node knows what was declared
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// Flags of `tidings dynamic explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The resource: KIND NAME, KIND/NAME or APIVERSION/KIND/NAME
    #[arg(value_name = "KIND")]
    kind: String,
    /// Its name, where it is not part of the first
    name: Option<String>,
    /// Its apiVersion, where kind and name are not enough
    #[arg(long, value_name = "GROUP/VERSION")]
    api_version: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Listed {
    parts: Vec<Part>,
}

/// A part as the node tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Part {
    /// Who derived it.
    pub source: String,
    /// Which of its results.
    pub generation: u64,
    /// Whether it is in effect.
    pub status: String,
    /// Why it is not.
    pub reason: Option<String>,
    /// When its facts were observed.
    pub observed_at: Option<String>,
    /// Until when it holds.
    pub expires_at: Option<String>,
    /// Of resources and directives.
    pub digest: String,
    /// What it adds.
    pub resources: Vec<Value>,
    /// What it does to what was declared.
    pub directives: Vec<Value>,
    /// What it would have done elsewhere.
    pub action_plans: Vec<Value>,
}

/// The configuration in effect, as the node tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Effective {
    /// Of the configuration.
    pub digest: String,
    /// A document of kind `Router`.
    pub config: Value,
    /// What was masked.
    pub suppressed: Vec<Value>,
    /// What conflicts.
    pub quarantined: Vec<Value>,
    /// Parts that are in it.
    pub active_parts: Vec<Value>,
    /// Parts that ended.
    pub expired_parts: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Differences {
    lines: Vec<String>,
    added_resources: Vec<Value>,
    suppressed: Vec<Value>,
    quarantined: Vec<Value>,
}

/// Does what was asked.
pub fn run(command: DynamicCommand) -> Result<(), Failure> {
    match command {
        DynamicCommand::List(args) => list(&args),
        DynamicCommand::Describe(args) => describe(&args),
        DynamicCommand::Render(args) => render(&args),
        DynamicCommand::Diff(args) => diff(&args),
        DynamicCommand::Explain(args) => explain(&args),
    }
}

/// A question about derived configuration.
pub fn about(what: &str) -> Request {
    Request::get(&["dynamic", what])
}

/// All parts that the node has.
pub fn parts(client: &Client, request: &Request) -> Result<(Vec<u8>, Vec<Part>), Failure> {
    let answer = client.ask(request)?;
    let listed: Listed = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    Ok((answer, listed.parts))
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let (answer, parts) = parts(&client, &about("parts"))?;
    let form = &args.form;
    let theirs = || Theirs::Rows(parts.iter().map(Part::row_of_routerd).collect());
    form.show(&answer, theirs, |out| {
        if parts.is_empty() && !form.is_routerd() {
            eprintln!("nothing is derived; see what subscriptions did: tidings subscription runs");
            return Ok(());
        }
        let mut header = vec!["SOURCE", "GEN", "STATUS", "RESOURCES", "DIRECTIVES", "ACTIONPLANS", "EXPIRES"];
        if !form.is_routerd() {
            header.push("REASON");
        }
        let right = if form.is_routerd() { &[][..] } else { &[1, 3, 4, 5][..] };
        out.table(&header, right, parts.iter().map(|part| part.row(form)).collect())
    })
}

fn describe(args: &DescribeArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let request = about("parts").query("source", &args.source);
    let (answer, parts) = match parts(&client, &request) {
        // routerctl shows an empty list.
        Err(Failure::NotFound(_)) if args.form.is_routerd() => (Vec::new(), Vec::new()),
        found => found.map_err(hinted(PARTS_HINT))?,
    };
    if parts.is_empty() && !args.form.is_routerd() {
        return Err(Failure::NotFound(Problem {
            title: "no part has this source".to_owned(),
            detail: safe(&args.source),
            hint: Some(PARTS_HINT.to_owned()),
            ..Problem::default()
        }));
    }
    let theirs = || Theirs::Rows(parts.iter().map(Part::detail_of_routerd).collect());
    args.form.show(&answer, theirs, |out| {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.line("")?;
            }
            part.show(out, &args.form)?;
        }
        Ok(())
    })
}

fn render(args: &RenderArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let effective: Effective = client.ask_json(&about("effective"))?;
    if !effective.quarantined.is_empty() {
        eprintln!("{} quarantined: tidings dynamic diff says what and why", count(&effective.quarantined, "resource"));
    }
    let config = effective.config.to_string().into_bytes();
    let theirs = || Theirs::Document(effective.config.clone());
    args.form.show_or(Format::Yaml, &config, theirs, |out| out.bytes(yaml(&effective.config)?.as_bytes()))
}

fn diff(args: &RenderArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let answer = client.ask(&about("diff"))?;
    let differences: Differences = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let form = &args.form;
    // The names of parts are routerd's own addition to its answer.
    let whole: Effective = match form.is_routerd() && form.format_or(Format::Table) != Format::Table {
        true => client.ask_json(&about("effective"))?,
        false => Effective::default(),
    };
    form.show(
        &answer,
        || differences.theirs(&whole),
        |out| {
            for line in &differences.lines {
                out.line(safe(line))?;
            }
            if differences.lines.is_empty() {
                out.line("no dynamic config changes")?;
            }
            if !form.is_routerd() {
                for each in &differences.quarantined {
                    out.line(out.paint(Colour::Yellow, &format!("! {}", quarantine(each))))?;
                }
            }
            Ok(())
        },
    )
}

fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let (version, kind, name) = args.named()?;
    let request = about("explain").query("kind", kind).query("name", name).query_if("apiVersion", version);
    let hint = "see the configuration in effect: tidings dynamic render";
    let answer = client.ask(&request).map_err(hinted(hint))?;
    let explained: Value = serde_json::from_slice(&answer).map_err(Failure::strange)?;
    let theirs = || Theirs::Document(explained.clone());
    args.form.show(&answer, theirs, |out| {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => safe(text),
            other => safe(&other.to_string()),
        };
        let texts = |value: &Value| value.as_array().map(|all| all.iter().map(text).collect::<Vec<_>>().join(", "));
        let (part, run) = (&explained["part"], &explained["run"]);
        let resource = match &explained["resource"] {
            Value::Null => format!("{}/{}", safe(kind), safe(name)),
            resource => target(resource),
        };
        out.fields(&[
            ("resource", resource),
            ("from", text(&explained["from"])),
            ("masked by", text(&explained["maskedBy"])),
            ("masked until", text(&explained["maskedUntil"])),
            ("part", text(&part["source"])),
            ("generation", text(&part["generation"])),
            ("until", text(&part["expiresAt"])),
            ("facts", texts(&explained["events"]).unwrap_or_default()),
            ("subscription", text(&explained["subscription"])),
            ("plugin", text(&explained["plugin"])),
            ("run", if run.is_object() { text(&run["run"]) } else { text(run) }),
            ("run at", run["startedAt"].as_str().map(date).unwrap_or_default()),
            ("attempts", text(&run["attempts"])),
        ])?;
        for each in explained["quarantined"].as_array().into_iter().flatten() {
            out.line(out.paint(Colour::Yellow, &format!("! {}", quarantine(each))))?;
        }
        let spec = &explained["resource"]["spec"];
        if spec.is_null() {
            return Ok(());
        }
        out.line("spec:")?;
        for line in yaml(spec)?.lines() {
            out.line(format!("  {}", safe(line)))?;
        }
        Ok(())
    })
}

impl ExplainArgs {
    /// The apiVersion, if it is given, the kind and the name.
    fn named(&self) -> Result<(Option<&str>, &str, &str), Failure> {
        let (version, kind, name) = match (&self.name, self.kind.rsplit_once('/')) {
            (Some(name), None) => (None, self.kind.as_str(), name.as_str()),
            (Some(name), Some((version, kind))) => (Some(version), kind, name.as_str()),
            (None, Some((whole, name))) => match whole.rsplit_once('/') {
                Some((version, kind)) => (Some(version), kind, name),
                None => (None, whole, name),
            },
            (None, None) => {
                return Err(Failure::usage(
                    format!("'{}' names a kind, and no resource", safe(&self.kind)),
                    "write KIND NAME or KIND/NAME; tidings dynamic render shows what there is",
                ));
            }
        };
        Ok((self.api_version.as_deref().or(version), kind, name))
    }
}

/// What `count` things are, in words.
pub fn count(things: &[Value], name: &str) -> String {
    format!("{} {name}{}", things.len(), if things.len() == 1 { "" } else { "s" })
}

/// Why a part is quarantined, on one line.
pub fn quarantine(each: &Value) -> String {
    let text = |name: &str| each[name].as_str().map(safe).unwrap_or_default();
    let resource =
        if each["resource"].is_null() { String::new() } else { format!("{} of ", target(&each["resource"])) };
    let (source, reason, with) = (text("source"), text("reason"), text("with"));
    let with = if with.is_empty() || reason.contains(&with) { String::new() } else { format!(" (with {with})") };
    format!("{resource}{source} generation {}: {reason}{with}", each["generation"])
}

/// A resource's name in full: apiVersion/kind/name.
pub fn target(resource: &Value) -> String {
    if let Some(text) = resource.as_str() {
        return safe(text);
    }
    let text = |value: &Value| safe(value.as_str().unwrap_or_default());
    let name = if resource["name"].is_null() { &resource["metadata"]["name"] } else { &resource["name"] };
    format!("{}/{}/{}", text(&resource["apiVersion"]), text(&resource["kind"]), text(name))
}

impl Part {
    fn row(&self, form: &Form) -> Vec<String> {
        let mut row = vec![safe(&self.source), self.generation.to_string(), cell(&self.status)];
        row.extend([&self.resources, &self.directives, &self.action_plans].map(|things| things.len().to_string()));
        row.push(form.moment(self.expires_at.as_deref()));
        if !form.is_routerd() {
            row.push(cell(self.reason.as_deref().unwrap_or_default()));
        }
        row
    }

    /// What routerd says of it: quarantine it does not know, and calls such a part active.
    fn status_of_routerd(&self) -> &str {
        if self.status == "expired" { "expired" } else { "active" }
    }

    fn row_of_routerd(&self) -> Row {
        Row(vec![
            ("source", json!(self.source)),
            ("generation", json!(self.generation)),
            ("status", json!(self.status_of_routerd())),
            ("resources", json!(self.resources.len())),
            ("directives", json!(self.directives.len())),
            ("actionPlans", json!(self.action_plans.len())),
            ("expiresAt", go_time(self.expires_at.as_deref())),
        ])
    }

    fn detail_of_routerd(&self) -> Row {
        let mut row = vec![
            ("source", json!(self.source)),
            ("generation", json!(self.generation)),
            ("status", json!(self.status_of_routerd())),
            ("storedStatus", json!("active")),
            ("observedAt", go_time(self.observed_at.as_deref())),
            ("expiresAt", go_time(self.expires_at.as_deref())),
            ("digest", json!(self.digest)),
            ("resources", json!(self.resources)),
            ("directives", json!(self.directives)),
        ];
        if !self.action_plans.is_empty() {
            row.push(("actionPlans", json!(self.action_plans)));
        }
        if let Some(reason) = &self.reason {
            row.push(("error", json!(reason)));
        }
        Row(row)
    }

    /// Everything about it, for people.
    pub fn show(&self, out: &mut Out, form: &Form) -> Result<(), Failure> {
        out.fields(&[
            ("source", safe(&self.source)),
            ("generation", self.generation.to_string()),
            ("status", safe(&self.status)),
            ("reason", safe(self.reason.as_deref().unwrap_or_default())),
            ("observed", form.moment(self.observed_at.as_deref())),
            ("expires", form.moment(self.expires_at.as_deref())),
            ("digest", safe(&self.digest)),
        ])?;
        out.line("resources:")?;
        for resource in &self.resources {
            out.line(format!("  - {}", target(resource)))?;
            if !resource["spec"].is_null() {
                out.line(format!("    spec: {}", safe(&resource["spec"].to_string())))?;
            }
        }
        if self.resources.is_empty() {
            out.line("  none")?;
        }
        out.line("directives:")?;
        for directive in &self.directives {
            let reason = directive["reason"].as_str().map(|reason| format!("  ({})", safe(reason))).unwrap_or_default();
            let op = safe(directive["op"].as_str().unwrap_or_default());
            out.line(format!("  - {op} {}{reason}", target(&directive["target"])))?;
        }
        if self.directives.is_empty() {
            out.line("  none")?;
        }
        out.line("action plans (shown, never executed):")?;
        for plan in &self.action_plans {
            out.line(format!("  - {}", action(plan)))?;
        }
        if self.action_plans.is_empty() {
            out.line("  none")?;
        }
        Ok(())
    }
}

/// An action plan on one line.
fn action(plan: &Value) -> String {
    let text = |name: &str| plan[name].as_str().map(safe).filter(|text| !text.is_empty());
    let mut line = text("name").unwrap_or_default();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!("  {name}={value}"));
        }
    };
    add("provider", text("provider"));
    add("action", text("action"));
    add("mode", text("mode").or_else(|| Some("dry-run".to_owned())));
    add("risk", text("riskLevel"));
    let none = Map::new();
    for (name, value) in plan["target"].as_object().unwrap_or(&none) {
        add(&safe(name), value.as_str().map(safe));
    }
    line
}

impl Differences {
    fn theirs(&self, whole: &Effective) -> Theirs {
        Theirs::One(Row(vec![
            ("suppressed", json!(self.suppressed)),
            ("addedResources", json!(self.added_resources)),
            ("activeParts", json!(whole.active_parts)),
            ("expiredParts", json!(whole.expired_parts)),
        ]))
    }
}
