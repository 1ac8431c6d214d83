//! The street tests: the finished binary with clients that we did not write, in Python.
//!
//! The clients come from PyPI into an environment of their own below the target directory; their
//! versions stand in `street/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tree::root;

/// Prepares the environment; `Err` says why it cannot be had.
pub fn prepare(target: &Path) -> Result<PathBuf, String> {
    let wanted = std::fs::read_to_string(root().join("street/requirements.txt")).map_err(|error| error.to_string())?;
    environment("python3", &target.join("street-env"), &wanted)
}

/// Programs that tests speak to, and the packages of Debian that they come in.
const PROGRAMS: &[(&str, &str)] =
    &[("dig", "bind9-dnsutils"), ("dnsperf", "dnsperf"), ("haproxy", "haproxy"), ("pg_ctlcluster", "postgresql")];

/// Installs what is missing of the programs, where that is possible: as root, with apt. What is missing afterwards is
/// a skip of the tests that want it, with their reason.
pub fn programs() {
    let there = |program: &str| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
        std::env::split_paths(&folders).chain(more).any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() || !there("apt-get") {
        return;
    }
    let apt = |arguments: &[&str], packages: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
        quiet(&mut command, "apt-get fails")
    };
    let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
    let done =
        apt(&install, &missing).or_else(|_| apt(&["update", "--quiet"], &[]).and_then(|()| apt(&install, &missing)));
    if let Err(reason) = done {
        println!("not installed: {}: {reason}", missing.join(", "));
    }
}

/// An environment of an interpreter with packages from PyPI, as they are wanted; made where it is not there yet.
pub fn environment(interpreter: &str, environment: &Path, wanted: &str) -> Result<PathBuf, String> {
    let python = environment.join("bin").join("python");
    let mark = environment.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    quiet(Command::new(interpreter).arg("--version"), &format!("{interpreter} is not here"))?;
    let _absent = std::fs::remove_dir_all(environment);
    let requirements = environment.with_extension("requirements.txt");
    std::fs::write(&requirements, wanted).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let install = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"];
    let failed = "the clients cannot be installed from PyPI";
    if quiet(Command::new(interpreter).args(["-m", "venv"]).arg(environment), "venv fails").is_ok() {
        quiet(Command::new(&python).args(["-m", "pip"]).args(install).arg(&requirements), failed)?;
    } else {
        // Debian splits off what puts pip into an environment; one from outside does as well.
        let missing = "python3 -m venv fails, and there is no pip (on Debian: apt install python3-venv)";
        quiet(Command::new(interpreter).args(["-m", "pip", "--version"]), missing)?;
        let bare = ["-m", "venv", "--clear", "--without-pip"];
        quiet(Command::new(interpreter).args(bare).arg(environment), "python3 -m venv fails")?;
        let mut pip = Command::new(interpreter);
        pip.args(["-m", "pip", "--python"]).arg(&python).args(install).arg(&requirements);
        quiet(&mut pip, failed)?;
    }
    std::fs::write(&mark, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

/// The command that runs the tests against a binary.
pub fn command(python: &Path, binary: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "-rs", "--color=no", "-c", "street/pytest.ini", "street"]);
    command.env("TIDINGS_BINARY", binary).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(root());
    command
}

fn quiet(command: &mut Command, failed: &str) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{failed}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{failed}: {}", said.trim().lines().last().unwrap_or("no reason given")))
}
