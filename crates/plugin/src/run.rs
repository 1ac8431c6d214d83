//! One run of a plugin.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use plan::PluginSpec;
use rustix::process::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::error::{Fault, RunError};
use crate::executable::check_executable;
use crate::pipe::{Intake, TooLong};
use crate::process::Group;
use crate::result::parse_result;

/// How long a plugin may run where nothing is said.
pub const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// Most bytes of standard output where nothing is said.
pub const STDOUT_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

/// Most bytes of standard error where nothing is said.
pub const STDERR_BYTES_DEFAULT: usize = 64 * 1024;

/// Bytes of standard error that are kept with a run: enough for a stack trace.
pub const STDERR_KEPT_BYTES_MAX: usize = 8192;

/// Bytes of the last line of standard error that a message quotes.
const SAID_BYTES_MAX: usize = 200;

/// A file that is being written cannot be run: somebody installs it just now. Tried this often.
const BUSY_TRIES: u32 = 10;

/// How long lies between.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// What a run may use. Memory, processor time and processes are limited on Linux alone, from the moment
/// after the start, for the plugin and what it starts from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take, from start to end.
    pub time: Duration,
    /// Most bytes of standard output.
    pub stdout_bytes: usize,
    /// Most bytes of standard error.
    pub stderr_bytes: usize,
    /// Most bytes of address space of each process.
    pub memory_bytes: Option<u64>,
    /// Most processor time of each process, in whole seconds, rounded up.
    pub cpu: Option<Duration>,
    /// Most processes of the node's user, all of them together: the kernel counts by user.
    pub processes: Option<u64>,
}

impl Limits {
    /// What a declaration says.
    pub fn of(spec: &PluginSpec) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let limits = &spec.limits;
        Limits {
            time: spec.timeout,
            stdout_bytes: bytes(limits.stdout_bytes),
            stderr_bytes: bytes(limits.stderr_bytes),
            memory_bytes: limits.memory_bytes,
            cpu: limits.cpu,
            processes: limits.processes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: TIME_DEFAULT,
            stdout_bytes: STDOUT_BYTES_DEFAULT,
            stderr_bytes: STDERR_BYTES_DEFAULT,
            memory_bytes: None,
            cpu: None,
            processes: None,
        }
    }
}

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The plugin's name, for messages.
    pub name: &'a str,
    /// Its file: an absolute path.
    pub executable: &'a Path,
    /// Its environment, besides `PATH`, which this may replace.
    pub env: &'a BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
}

impl<'a> Call<'a> {
    /// What a declaration says.
    pub fn of(name: &'a str, spec: &'a PluginSpec) -> Self {
        Call { name, executable: Path::new(&spec.executable), env: &spec.env, limits: Limits::of(spec) }
    }
}

/// A run that gave a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// What it wrote: a mapping.
    pub result: Value,
    /// What it wrote to standard error, its first [`STDERR_KEPT_BYTES_MAX`] bytes.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a plugin once. Dropping it kills the run. Must be called inside an executor with I/O and time.
///
/// # Errors
/// [`RunError`], with what it wrote to standard error.
pub async fn run(call: &Call<'_>, request: &Value) -> Result<Ran, RunError> {
    let began = Instant::now();
    let (outcome, stderr) = attempt(call, request).await;
    let (stderr, took) = (kept(&stderr), began.elapsed());
    debug!(plugin = call.name, ?took, failed = outcome.is_err(), "the plugin ran");
    match outcome {
        Ok(result) => Ok(Ran { result, stderr, took }),
        Err(fault) => Err(RunError { plugin: call.name.to_owned(), fault, stderr, took }),
    }
}

/// The outcome, and all of standard error.
async fn attempt(call: &Call<'_>, request: &Value) -> (Result<Value, Fault>, Vec<u8>) {
    let (mut started, limits) = match Started::start(call).await {
        Ok(started) => (started, call.limits),
        Err(fault) => return (Err(fault), Vec::new()),
    };
    let talked = timeout(limits.time, started.talk(request.to_string().into_bytes())).await;
    let Started { group, mut stdout, mut stderr, folder } = started;
    group.kill();
    // What a pipe held at the leader's end is the plugin's answer.
    let emptied = stdout.drain().map_err(|TooLong| Fault::StdoutTooLong(limits.stdout_bytes));
    let emptied = emptied.and(stderr.drain().map_err(|TooLong| Fault::StderrTooLong(limits.stderr_bytes)));
    let status = group.finish().await;
    drop(folder);
    let (stdout, stderr) = (stdout.into_taken(), stderr.into_taken());
    let judged = match talked {
        Err(_elapsed) => Err(Fault::Timeout(limits.time)),
        Ok(talked) => talked.and(emptied).and_then(|()| judge(status, &stderr)),
    };
    let result = match judged {
        Ok(()) => read(stdout).await,
        Err(fault) => Err(fault),
    };
    (result, stderr)
}

/// A plugin that was started.
struct Started {
    group: Group,
    stdout: Intake,
    stderr: Intake,
    folder: Folder,
}

impl Started {
    async fn start(call: &Call<'_>) -> Result<Self, Fault> {
        let executable = call.executable.to_owned();
        let failed = |error: io::Error| Fault::Spawn {
            executable: call.executable.display().to_string(),
            reason: error.to_string(),
        };
        let prepared = spawn_blocking(move || {
            check_executable(&executable).map_err(Fault::NotExecutable)?;
            Ok(tempfile::Builder::new().prefix("tidings-plugin-").tempdir())
        });
        let prepared = prepared.await.map_err(|error| failed(io::Error::other(error)))?;
        let folder = Folder(Some(prepared?.map_err(failed)?));
        for tried in 1.. {
            match spawn(call, &folder) {
                Ok((group, stdout, stderr)) => {
                    restrict(group.leader(), &call.limits)?;
                    return Ok(Started { group, stdout, stderr, folder });
                }
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tried < BUSY_TRIES => {
                    sleep(BUSY_WAIT).await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Fault::Stuck)
    }

    /// Hands over the request and takes what comes until the leader has ended.
    async fn talk(&mut self, request: Vec<u8>) -> Result<(), Fault> {
        let limits = (self.stdout.bytes_max(), self.stderr.bytes_max());
        let hand = hand_over(self.group.stdin(), request);
        let (stdout, stderr) = (endless(self.stdout.fill()), endless(self.stderr.fill()));
        tokio::select! {
            () = self.group.ended() => Ok(()),
            TooLong = stdout => Err(Fault::StdoutTooLong(limits.0)),
            TooLong = stderr => Err(Fault::StderrTooLong(limits.1)),
            () = hand => Ok(()),
        }
    }
}

/// A folder that goes when this is dropped, without holding up the executor.
struct Folder(Option<TempDir>);

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(executor) => drop(executor.spawn_blocking(move || drop(folder))),
            Err(_) => drop(folder),
        }
    }
}

fn spawn(call: &Call<'_>, folder: &Folder) -> io::Result<(Group, Intake, Intake)> {
    let (stdout, writes_out) = Intake::new(call.limits.stdout_bytes)?;
    let (stderr, writes_err) = Intake::new(call.limits.stderr_bytes)?;
    let mut command = Command::new(call.executable);
    command.env_clear().stdin(Stdio::piped()).stdout(writes_out).stderr(writes_err);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.envs(call.env);
    if let Some(folder) = &folder.0 {
        command.current_dir(folder.path());
    }
    Ok((Group::spawn(&mut command)?, stdout, stderr))
}

/// Gives the request. A plugin need not read it; one that does sees its end. Never returns.
async fn hand_over(stdin: Option<ChildStdin>, request: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        // It fails where nobody reads, which is the plugin's to decide.
        let _unread = stdin.write_all(&request).await;
    }
    std::future::pending().await
}

/// Returns only where there is too much: the end of what is written is not the end of the plugin.
async fn endless(fill: impl Future<Output = Result<(), TooLong>>) -> TooLong {
    match fill.await {
        Err(too_long) => too_long,
        Ok(()) => std::future::pending().await,
    }
}

#[cfg(target_os = "linux")]
fn restrict(leader: Pid, limits: &Limits) -> Result<(), Fault> {
    use rustix::process::{Resource, Rlimit, prlimit};
    let cpu = limits.cpu.map(|cpu| cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0));
    let wanted = [
        ("memoryBytes", Resource::As, limits.memory_bytes),
        ("cpu", Resource::Cpu, cpu),
        ("processes", Resource::Nproc, limits.processes),
    ];
    for (limit, resource, value) in wanted {
        let Some(value) = value else { continue };
        let bound = Rlimit { current: Some(value), maximum: Some(value) };
        match prlimit(Some(leader), resource, bound) {
            // It has ended already.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(Fault::Limit { limit, reason: error.to_string() }),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn restrict(_leader: Pid, limits: &Limits) -> Result<(), Fault> {
    let wanted = [
        ("memoryBytes", limits.memory_bytes.is_some()),
        ("cpu", limits.cpu.is_some()),
        ("processes", limits.processes.is_some()),
    ];
    match wanted.into_iter().find(|(_, wanted)| *wanted) {
        Some((limit, _)) => Err(Fault::Limit { limit, reason: String::from("it can be set on Linux only") }),
        None => Ok(()),
    }
}

fn judge(status: Option<ExitStatus>, stderr: &[u8]) -> Result<(), Fault> {
    let status = status.ok_or(Fault::Stuck)?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(status), _) => Err(Fault::Exit { status, said: said(stderr) }),
        (None, signal) => Err(Fault::Signal { signal: signal.unwrap_or(0), said: said(stderr) }),
    }
}

async fn read(stdout: Vec<u8>) -> Result<Value, Fault> {
    if stdout.trim_ascii().is_empty() {
        return Err(Fault::Nothing);
    }
    let nothing = |_| Fault::Nothing;
    spawn_blocking(move || parse_result(&stdout)).await.map_err(nothing)?.map_err(Fault::NotYaml)
}

fn kept(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr.get(..STDERR_KEPT_BYTES_MAX).unwrap_or(stderr)).into_owned()
}

/// The last line of standard error, cut.
fn said(stderr: &[u8]) -> String {
    let line = stderr.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line.get(..SAID_BYTES_MAX).unwrap_or(line)).into_owned()
}
