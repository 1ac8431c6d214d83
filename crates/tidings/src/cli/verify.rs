//! `tidings verify`: checks a data directory while no node runs on it.
//!
//! Exit code 0 where everything is healthy, or was repaired without a loss; 1 otherwise.

use std::path::PathBuf;

use host::verify::{Finding, Part, Report, Safety, VerifyError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::failure::{Failure, Problem};
use super::output::{Colour, Out, Show, number, safe, size};

/// Flags of `tidings verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Move damaged ranges aside; nothing is ever deleted
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    show: Show,
}

/// Checks the directory and says what is damaged and what is safe.
pub fn run(args: VerifyArgs) -> Result<(), Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{pos} of {len} files  {msg}") {
        bar.set_style(style);
    }
    let checked = host::verify::verify(&args.directory, args.repair, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(safe(progress.file));
    });
    bar.finish_and_clear();
    let report = checked.map_err(|error| refused(&args, error))?;
    let mut out = Out::new();
    match args.show.json {
        true => out.document(document(&args, &report).to_string().as_bytes())?,
        false => told(&args, &report, &mut out)?,
    }
    out.flush()?;
    if is_sound(&args, &report) { Ok(()) } else { Err(Failure::Found) }
}

/// Whether everything is healthy now, and nothing was lost.
fn is_sound(args: &VerifyArgs, report: &Report) -> bool {
    let repaired = args.repair && report.findings.iter().all(|finding| finding.repaired.is_some());
    !report.is_loss() && (report.is_healthy() || repaired)
}

fn refused(args: &VerifyArgs, error: VerifyError) -> Failure {
    let problem = |hint: &str| Problem {
        title: format!("cannot check {}", args.directory.display()),
        detail: error.to_string(),
        hint: Some(hint.to_owned()),
        ..Problem::default()
    };
    match &error {
        VerifyError::InUse(_) => Failure::Refused(problem("stop the node that uses it, then check again")),
        VerifyError::Nothing => Failure::NotFound(problem("name a node's data directory, the one of serve --data")),
        VerifyError::Version(_) => Failure::Refused(problem("check it with the release that wrote it, or a later one")),
        VerifyError::Io(io) if io.kind() == std::io::ErrorKind::NotFound => {
            Failure::NotFound(problem("name a node's data directory, the one of serve --data"))
        }
        VerifyError::Io(_) => Failure::usage(problem("").title, format!("see to this first: {error}")),
    }
}

fn told(args: &VerifyArgs, report: &Report, out: &mut Out) -> Result<(), Failure> {
    let rows = report.streams.iter().map(|stream| {
        vec![safe(&stream.name), number(stream.healthy), size(stream.bytes), number(stream.lost), safe(&stream.dir)]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        out.table(&["STREAM", "HEALTHY", "CHECKED", "LOST", "DIRECTORY"], &[1, 2, 3], rows)?;
        out.line("")?;
    }
    out.line(format!("the log holds {} healthy records", number(report.log_records)))?;
    if report.torn > 0 {
        out.line(format!("its torn end of {} was never acknowledged; the next start cuts it", size(report.torn)))?;
    }
    for missing in &report.missing {
        out.line(format!("{} is not there; nothing is lost: it is made anew when needed", safe(missing)))?;
    }
    for finding in &report.findings {
        let colour = if finding.is_loss() { Colour::Yellow } else { Colour::Bold };
        out.line(out.paint(colour, &safe(&finding.to_string())))?;
    }
    if report.closed {
        out.line("no catalogue is whole: a node cannot open this directory")?;
    }
    out.line(verdict(args, report))
}

fn verdict(args: &VerifyArgs, report: &Report) -> &'static str {
    match (report.is_healthy(), report.is_loss(), args.repair) {
        (true, ..) => "everything is healthy",
        (false, false, true) => "damage was moved aside, into damaged/; nothing was lost",
        (false, true, true) => "damage was moved aside, into damaged/; what is lost is named above",
        (false, false, false) => "there is damage, and nothing is lost; --repair moves the damage aside",
        (false, true, false) => "there is damage, and what is lost is named above; --repair moves the damage aside",
    }
}

fn document(args: &VerifyArgs, report: &Report) -> Value {
    let streams: Vec<Value> = report
        .streams
        .iter()
        .map(|stream| {
            json!({"name": stream.name, "directory": stream.dir, "healthy": stream.healthy, "bytes": stream.bytes,
                "lost": stream.lost})
        })
        .collect();
    json!({
        "directory": args.directory.display().to_string(),
        "healthy": report.is_healthy(),
        "loss": report.is_loss(),
        "repair": args.repair,
        "sound": is_sound(args, report),
        "openable": !report.closed,
        "torn_bytes": report.torn,
        "log_records": report.log_records,
        "streams": streams,
        "missing": report.missing,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding) -> Value {
    let part = match finding.part {
        Part::Catalog => "catalog",
        Part::Snapshot => "snapshot",
        Part::Segment => "segment",
        Part::SegmentHeader => "segment_header",
        Part::Records => "records",
        Part::Index => "index",
        Part::LogHeader => "log_header",
        Part::LogRecords => "log_records",
    };
    let (safety, copy, lost) = match &finding.safety {
        Safety::Derived => ("derived", None, None),
        Safety::Copy(place) => ("copy", Some(place), None),
        Safety::Lost(positions) => ("lost", None, Some(positions)),
    };
    json!({"file": finding.file, "offset": finding.offset, "length": finding.len, "part": part,
        "stream": finding.stream, "safety": safety, "copy": copy, "lost": lost, "repaired": finding.repaired,
        "text": finding.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(safety: Safety, repair: bool, repaired: bool, sound: bool) {
        let args = VerifyArgs { directory: "d".into(), repair, show: Show { json: false } };
        let finding = Finding {
            file: "f".into(),
            offset: 1,
            len: 2,
            part: Part::Index,
            stream: None,
            safety,
            repaired: repaired.then(|| "moved".into()),
        };
        let report = Report { findings: vec![finding], ..Report::default() };
        assert_eq!(is_sound(&args, &report), sound);
        assert_eq!(document(&args, &report)["findings"][0]["part"], "index");
    }

    #[test]
    fn a_directory_is_sound_where_nothing_is_lost_and_nothing_damaged_left() {
        check(Safety::Derived, false, false, false);
        check(Safety::Derived, true, true, true);
        check(Safety::Derived, true, false, false);
        check(Safety::Lost(vec![(1, 2)]), true, true, false);
    }
}
