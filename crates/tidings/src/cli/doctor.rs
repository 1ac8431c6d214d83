//! `tidings doctor`: what is wrong with the exchange of facts and with what is derived, and what to do.
//!
//! The checks of the federation are the node's own. Those of derived configuration are made here, from
//! what the node tells of parts and of the configuration in effect. A failed check ends the command with
//! exit code 1, after everything was shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Reach, Request};
use super::dynamic::{self, Effective, Part};
use super::failure::Failure;
use super::federation::hinted;
use super::form::{Form, Theirs, cell};
use super::output::{Colour, Out, safe};

/// Examples of the help.
pub const EXAMPLES: &str = "Examples:
  tidings doctor                                        # everything
  tidings doctor federation --remediation-plan
  tidings doctor federation -o json --compat routerd
  tidings doctor dynamic

Exit code 1 where a check failed, after everything was shown.";

/// Where there is no federation.
const HINT: &str = "declare an EventGroup with: tidings apply -f FILE";

/// Flags of `tidings doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// What is looked at; everything, where absent
    #[arg(value_enum)]
    area: Option<Area>,
    #[command(flatten)]
    check: CheckArgs,
}

/// Flags of a check.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Say what to do, action by action
    #[arg(long)]
    remediation_plan: bool,
    /// Taken so that scripts written for routerctl run unchanged; the node knows what was declared
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    /// Taken so that scripts written for routerctl run unchanged; the host is never looked at
    #[arg(long, hide = true)]
    no_host: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Area {
    /// Facts between sites: deliveries, lag, expiry, peers, subscriptions
    Federation,
    /// What is derived: parts, conflicts, the configuration in effect
    Dynamic,
}

/// One check.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Check {
    area: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
    name: String,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// Checks, counted.
#[derive(Debug, Default, Serialize)]
struct Summary {
    overall: &'static str,
    pass: usize,
    warn: usize,
    fail: usize,
    skip: usize,
}

/// Something to do.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Action {
    action: String,
    reason: String,
    target_peer: String,
    target_group: String,
    target_resource: String,
    safe: bool,
    requires_operator_approval: bool,
}

/// Looks at what was asked for.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let client = Client::new(&args.check.reach)?;
    let report = match args.area {
        Some(Area::Federation) => of_federation(&client, args.check.remediation_plan)?,
        Some(Area::Dynamic) => of_dynamic(&client)?,
        None => of_everything(&client, args.check.remediation_plan)?,
    };
    tell(&args.check.form, &report)
}

/// Looks at the federation.
pub fn federation(args: &CheckArgs) -> Result<(), Failure> {
    tell(&args.form, &of_federation(&Client::new(&args.reach)?, args.remediation_plan)?)
}

fn of_federation(client: &Client, plan: bool) -> Result<Value, Failure> {
    let request = Request::get(&["federation", "doctor"]);
    let mut report: Value = client.ask_json(&request).map_err(hinted(HINT))?;
    if let (false, Some(report)) = (plan, report.as_object_mut()) {
        report.remove("remediationPlan");
    }
    Ok(report)
}

fn of_dynamic(client: &Client) -> Result<Value, Failure> {
    let (_, parts) = dynamic::parts(client, &dynamic::about("parts"))?;
    let effective = match client.ask_json::<Effective>(&dynamic::about("effective")) {
        Err(Failure::Refused(problem)) => Err(format!("{}: {}", problem.title, problem.detail)),
        effective => Ok(effective?),
    };
    let checks = dynamic_checks(&parts, effective.as_ref().map_err(String::as_str));
    Ok(json!({"summary": summary(&checks), "checks": checks}))
}

fn of_everything(client: &Client, plan: bool) -> Result<Value, Failure> {
    let absent = |area: &str, failure: Failure| match failure {
        Failure::NotFound(problem) => {
            let check = Check {
                area: area.to_owned(),
                name: area.to_owned(),
                status: "skip".to_owned(),
                detail: problem.detail,
                ..Check::default()
            };
            Ok(json!({"checks": [check]}))
        }
        other => Err(other),
    };
    let mut report = of_federation(client, plan).or_else(|failure| absent("federation", failure))?;
    let derived = of_dynamic(client).or_else(|failure| absent("dynamic", failure))?;
    let checks = [checks_of(&report)?, checks_of(&derived)?].concat();
    report["summary"] = json!(summary(&checks));
    report["checks"] = json!(checks);
    Ok(report)
}

fn checks_of(report: &Value) -> Result<Vec<Check>, Failure> {
    match &report["checks"] {
        Value::Null => Ok(Vec::new()),
        checks => Vec::deserialize(checks).map_err(Failure::strange),
    }
}

fn dynamic_checks(parts: &[Part], effective: Result<&Effective, &str>) -> Vec<Check> {
    let check = |name: &str, bad: Option<&'static str>, detail: String, remedy: &str| Check {
        area: "dynamic".to_owned(),
        name: name.to_owned(),
        status: bad.unwrap_or("pass").to_owned(),
        detail,
        remedy: if bad.is_some() { remedy.to_owned() } else { String::new() },
        ..Check::default()
    };
    let count = |of: fn(&Part) -> &Vec<Value>| parts.iter().map(|part| of(part).len()).sum::<usize>();
    let (resources, directives) = (count(|part| &part.resources), count(|part| &part.directives));
    let decoded = format!("{} parts, {resources} resources, {directives} directives", parts.len());
    let mut checks = vec![check("dynamic parts decode", None, decoded, "")];

    let mut live: BTreeMap<&str, bool> = BTreeMap::new();
    for part in parts {
        *live.entry(part.source.as_str()).or_default() |= part.status != "expired";
    }
    let ended = parts.iter().filter(|part| part.status == "expired").count();
    let gone: Vec<&str> = live.iter().filter(|(_, live)| !**live).map(|(source, _)| *source).collect();
    let mut detail = format!("{} live, {ended} expired (ignored)", parts.len() - ended);
    if !gone.is_empty() {
        detail.push_str(&format!("; only expired: {}", gone.join(", ")));
    }
    let remedy = "see whether its subscription still runs: tidings subscription runs";
    checks.push(check("expired parts ignored", (!gone.is_empty()).then_some("warn"), detail, remedy));

    let effective = match effective {
        Ok(effective) => effective,
        Err(why) => {
            let remedy = "correct what was declared; tidings dynamic diff says more";
            checks.push(check("effective config builds", Some("fail"), why.to_owned(), remedy));
            return checks;
        }
    };
    let built = effective.config["spec"]["resources"].as_array().map_or(0, Vec::len);
    let detail = format!("{built} resources in effect, {} suppressed", effective.suppressed.len());
    checks.push(check("effective config builds", None, detail, ""));
    if effective.quarantined.is_empty() {
        checks.push(check("nothing quarantined", None, "no part conflicts".to_owned(), ""));
    }
    for each in &effective.quarantined {
        let remedy = "rename or remove one of the two; tidings dynamic list shows the parts";
        checks.push(check("quarantined", Some("fail"), dynamic::quarantine(each), remedy));
    }
    checks
}

fn summary(checks: &[Check]) -> Summary {
    let count = |status: &str| checks.iter().filter(|check| check.status == status).count();
    let mut summary =
        Summary { overall: "pass", pass: count("pass"), warn: count("warn"), fail: count("fail"), skip: count("skip") };
    summary.overall = match (summary.fail, summary.warn, summary.pass, summary.skip) {
        (1.., ..) => "fail",
        (0, 1.., ..) => "warn",
        (0, 0, 0, 1..) => "skip",
        _ => "pass",
    };
    summary
}

fn tell(form: &Form, report: &Value) -> Result<(), Failure> {
    let checks = checks_of(report)?;
    let theirs = || Theirs::Document(report.clone());
    form.show(report.to_string().as_bytes(), theirs, |out| table(out, report, &checks))?;
    match checks.iter().any(|check| check.status == "fail") {
        true => Err(Failure::Found),
        false => Ok(()),
    }
}

fn table(out: &mut Out, report: &Value, checks: &[Check]) -> Result<(), Failure> {
    let counted = summary(checks);
    let overall = counted.overall.to_ascii_uppercase();
    let colour = if counted.fail + counted.warn == 0 { Colour::Green } else { Colour::Yellow };
    let Summary { pass, warn, fail, skip, .. } = counted;
    let verdict = out.paint(colour, &overall);
    out.line(format!("DOCTOR  {verdict}  pass={pass} warn={warn} fail={fail} skip={skip}"))?;
    let row = |check: &Check| {
        vec![
            safe(&check.area),
            safe(&check.status).to_ascii_uppercase(),
            safe(&check.name),
            cell(&check.detail),
            cell(&check.remedy),
        ]
    };
    out.table(&["AREA", "STATUS", "CHECK", "DETAIL", "REMEDY"], &[], checks.iter().map(row).collect())?;
    let plan = &report["remediationPlan"];
    if plan.is_null() {
        return Ok(());
    }
    let actions = match &plan["actions"] {
        Value::Null => Vec::new(),
        actions => Vec::<Action>::deserialize(actions).map_err(Failure::strange)?,
    };
    out.line("")?;
    let made = safe(plan["generatedAt"].as_str().unwrap_or_default());
    out.line(format!("REMEDIATION PLAN  {made}  {} action(s)", actions.len()))?;
    if actions.is_empty() {
        return Ok(());
    }
    let row = |action: &Action| {
        let mut row = vec![safe(&action.action), cell(&action.target_group), cell(&action.target_peer)];
        row.push(cell(&action.target_resource));
        row.extend([action.safe, action.requires_operator_approval].map(|yes| yes.to_string()));
        row.push(cell(&action.reason));
        row
    };
    let header = ["ACTION", "GROUP", "PEER", "RESOURCE", "SAFE", "APPROVAL", "REASON"];
    out.table(&header, &[], actions.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(source: &str, status: &str) -> Part {
        Part { source: source.to_owned(), status: status.to_owned(), ..Part::default() }
    }

    #[test]
    fn derived_configuration_is_judged() {
        let check = |parts: &[Part], effective: Result<&Effective, &str>, overall: &str| {
            assert_eq!(summary(&dynamic_checks(parts, effective)).overall, overall, "{parts:?}");
        };
        let good = Effective::default();
        let conflict =
            Effective { quarantined: vec![json!({"part": "P/a", "reason": "there is one"})], ..Effective::default() };
        check(&[part("a", "active")], Ok(&good), "pass");
        check(&[part("a", "expired"), part("a", "active")], Ok(&good), "pass");
        check(&[part("a", "expired")], Ok(&good), "warn");
        check(&[part("a", "active")], Ok(&conflict), "fail");
        check(&[], Err("a policy is faulty"), "fail");
        assert_eq!(summary(&[]).overall, "pass");
    }
}
