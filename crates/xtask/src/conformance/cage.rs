//! A place of its own for each run: network, processes and temporary files.
//!
//! Made with `unshare`, as root or, where the system allows it, as anybody. In a cage only loopback
//! exists, ports are all free, and when its first process ends, so do all others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::remove;

/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What is done inside before the command is run. Servers tell each other's addresses only where they are
/// not loopback's own: there is one, of those set aside for documentation.
const INSIDE: &str = "ip link set lo up && { ip address add 192.0.2.1/32 dev lo; \"$@\"; }";

/// How cages are made.
pub struct Cage {
    /// `unshare` and its flags.
    words: Vec<&'static str>,
    /// Below it each run has a folder.
    folder: PathBuf,
    /// The folder that holds the server as `nats-server`.
    bin: PathBuf,
    runs: AtomicU64,
}

/// What is run in a cage.
pub struct Run<'a> {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where.
    pub folder: &'a Path,
    /// What it finds in the environment, besides what we have.
    pub environment: Vec<(&'a str, String)>,
    /// When it is cut off.
    pub limit: Duration,
}

/// What came of it.
pub struct Finished {
    /// Whether it ended well; `None` where it was cut off.
    pub success: Option<bool>,
    /// Its output and its errors, as they came.
    pub output: String,
}

impl Cage {
    /// Finds out how cages are made here.
    pub fn new(folder: &Path, server: &Path) -> Result<Self, String> {
        remove(folder)?;
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
        symlink(server, bin.join("nats-server")).map_err(|error| error.to_string())?;
        let own = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mapped = [&own[..], &["--map-root-user"]].concat();
        let works = |words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).args(["sh", "-c", INSIDE, "sh", "true"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let found = [own.to_vec(), mapped].into_iter().find(|words| works(words));
        let words = found.ok_or("this system lets nobody make network namespaces with `unshare` and `ip`")?;
        Ok(Cage { words, folder: folder.to_path_buf(), bin, runs: AtomicU64::new(0) })
    }

    /// The folder of all runs; gone when this is dropped.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command in a new cage.
    pub fn run(&self, run: Run<'_>) -> Result<Finished, String> {
        let own = self.folder.join(self.runs.fetch_add(1, Ordering::Relaxed).to_string());
        let temporary = own.join("tmp");
        fs::create_dir_all(&temporary).map_err(|error| format!("{}: {error}", temporary.display()))?;
        let log = own.join("output");
        let finished = self.run_in(run, &temporary, &log);
        remove(&own)?;
        finished
    }

    fn run_in(&self, run: Run<'_>, temporary: &Path, log: &Path) -> Result<Finished, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", run.words.first().map_or("", String::as_str));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = fs::File::create(log).map_err(failed)?;
        let mut command = Command::new(self.words[0]);
        command.args(&self.words[1..]).args(["sh", "-c", INSIDE, "sh"]).args(&run.words);
        command.current_dir(run.folder).envs(run.environment);
        command.env("PATH", format!("{}:{path}", self.bin.display())).env("TMPDIR", temporary);
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        let mut child = command.spawn().map_err(failed)?;
        let begun = Instant::now();
        let success = loop {
            match child.try_wait().map_err(failed)? {
                Some(status) => break Some(status.success()),
                None if begun.elapsed() > run.limit => {
                    child.kill().and_then(|()| child.wait()).map_err(failed)?;
                    break None;
                }
                None => thread::sleep(LOOK),
            }
        };
        let output = String::from_utf8_lossy(&fs::read(log).map_err(failed)?).into_owned();
        Ok(Finished { success, output })
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        if let Err(reason) = remove(&self.folder) {
            eprintln!("xtask: {reason}");
        }
    }
}

/// Does `work` for each of `items`, so many at once; what was first to fail ends it.
pub fn each<T: Send, R: Send>(
    items: Vec<T>,
    jobs: usize,
    work: impl Fn(T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let waiting = std::sync::Mutex::new(items.into_iter());
    let done = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(item) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
                    let result = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push(result);
                    }
                }
            });
        }
    });
    done.into_inner().map_err(|error| error.to_string())?.into_iter().collect()
}
