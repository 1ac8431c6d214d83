//! `nats-server`, to whoever starts one by its name: understands its flags and configuration files,
//! writes the same as a Tidings configuration, and becomes `tidings serve`.
//!
//! For suites and scripts that bring a NATS server up and down. The process that they started is the
//! node itself (`exec`), so that its id, its signals and its output are what they expect. What a node
//! does not speak (leaf nodes, gateways) is refused with `[FTL]`; flags and fields
//! of clusters are taken and mean nothing: each server stands alone.
//!
//! The binary `tidings` is looked for beside this one; `TIDINGS_BINARY` names another.

mod conf;
mod flags;
mod signal;
mod translate;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use translate::Settings;

/// The version whose behaviour is meant, for who asks with `--version`.
const VERSION: &str = "2.15.1";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("[{}] [FTL] {reason}", std::process::id());
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let flags = flags::parse(words)?;
    if flags.has("version") {
        println!("nats-server: v{VERSION}");
        return Ok(());
    }
    if let Some(order) = flags.get("signal") {
        return signal::send(order);
    }
    let file = match flags.get("config") {
        None => Vec::new(),
        Some(path) => conf::read(Path::new(path))?,
    };
    let mut settings = Settings::of_file(&file)?;
    settings.set_flags(&flags)?;
    if flags.has("check") {
        println!("nats-server: configuration file is valid");
        return Ok(());
    }
    start(&settings)
}

/// Becomes the node; returns only where it cannot.
fn start(settings: &Settings) -> Result<(), String> {
    let data = settings.data();
    let named = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&data).map_err(|error| named(&data, error))?;
    let config = data.join("nats-server.yaml");
    // It may hold passwords.
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&config);
    written
        .and_then(|mut file| file.write_all(settings.to_yaml(&data)?.as_bytes()))
        .map_err(|error| named(&config, error))?;
    if let Some(pid) = &settings.pid_file {
        fs::write(pid, std::process::id().to_string()).map_err(|error| named(pid, error))?;
    }
    let binary = binary()?;
    let mut command = Command::new(&binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
        command.env_remove(name);
    }
    let error = command.args(["serve", "--config"]).arg(&config).exec();
    Err(named(&binary, error))
}

fn binary() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("TIDINGS_BINARY") {
        return Ok(PathBuf::from(given));
    }
    let own = std::env::current_exe().and_then(fs::canonicalize).map_err(|error| error.to_string())?;
    Ok(own.with_file_name("tidings"))
}
