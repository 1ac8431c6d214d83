//! Resources of files, with the lines that faults are told by.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use host::FileFault;
use host::resources::{FromFile, read_path, read_string};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report, SourceOffset, SourceSpan};
use plan::{Document, Fault};

use crate::cli::failure::Failure;
use crate::cli::output::safe;

/// Most bytes that standard input may have: as a file.
const INPUT_BYTES_MAX: u64 = host::file::FILE_BYTES_MAX;

/// Most faults that are shown with their lines; the others are told in a line each.
const SHOWN_MAX: usize = 10;

/// The resources of files, in their order.
pub struct Files(Vec<FromFile>);

impl Files {
    /// Reads files, folders and standard input.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut found = Vec::new();
        for path in paths {
            let read = if path.as_os_str() == "-" { read_input() } else { read_path(path) };
            found.extend(read.map_err(|fault| {
                show(&fault);
                Failure::Unusable
            })?);
        }
        if found.is_empty() && !paths.is_empty() {
            return Err(Failure::usage("there is no resource in these files", "name files that declare some"));
        }
        Ok(Files(found))
    }

    /// The resources.
    pub fn documents(&self) -> Vec<Document> {
        self.0.iter().map(|from| from.document.clone()).collect()
    }

    fn located(&self, fault: &Fault) -> Option<FileFault> {
        let of = |from: &&FromFile| from.document.identity().to_string() == fault.resource;
        self.0.iter().rev().find(of).map(|from| from.fault(fault))
    }

    /// Tells faults, each at its line. They were shown when this returns.
    pub fn refuse(&self, faults: &[Fault]) -> Failure {
        for (index, fault) in faults.iter().enumerate() {
            match self.located(fault) {
                Some(located) if index < SHOWN_MAX => show(&located),
                Some(located) => eprintln!("error: {}", safe(&located.to_string())),
                None => eprintln!("error: {}", safe(&fault.to_string())),
            }
        }
        Failure::Found
    }

    /// Tells warnings, each with its line.
    pub fn warn(&self, warnings: impl Iterator<Item = Fault>) {
        for warning in warnings {
            let text = self.located(&warning).map_or_else(|| warning.to_string(), |located| located.to_string());
            eprintln!("warning: {}", safe(&text));
        }
    }
}

fn read_input() -> Result<Vec<FromFile>, FileFault> {
    let name = Path::new("standard input");
    let mut text = String::new();
    let fault = |reason: String| FileFault { path: name.to_owned(), line: 0, column: 0, reason, text: None };
    let read = std::io::stdin().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
    let length = read.map_err(|error| fault(format!("cannot be read: {error}")))?;
    if length as u64 > INPUT_BYTES_MAX {
        return Err(fault(format!("has more than {INPUT_BYTES_MAX} bytes")));
    }
    read_string(name, text)
}

/// Shows a fault: to people in the text of its file, to whatever else reads in a line.
fn show(fault: &FileFault) {
    let head = if fault.line == 0 {
        format!("{}: {}", fault.path.display(), fault.reason)
    } else {
        format!("{}:{}: {}", fault.path.display(), fault.line, fault.reason)
    };
    let diagnostic = MietteDiagnostic::new(head.clone());
    let text = fault.text.as_ref().filter(|_| std::io::stderr().is_terminal());
    let (Some(text), Ok(line), Ok(column)) = (text, usize::try_from(fault.line), usize::try_from(fault.column.max(1)))
    else {
        eprintln!("error: {}", safe(&head));
        return;
    };
    let offset = SourceOffset::from_location(text, line, column).offset();
    let length = text.get(offset..).and_then(|rest| rest.lines().next()).map_or(0, |rest| rest.trim_end().len());
    let label = LabeledSpan::new_with_span(Some("here".to_owned()), SourceSpan::from((offset, length)));
    let name = fault.path.display().to_string();
    let report = Report::new(diagnostic.with_label(label)).with_source_code(NamedSource::new(name, text.clone()));
    eprintln!("{report:?}");
}
