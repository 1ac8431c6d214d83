//! A mount namespace of our own, so that a small or read-only file system can be made without anyone
//! else seeing it. Gone with the process that holds it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A namespace.
pub struct Mounts {
    holder: Child,
    user: bool,
}

impl Mounts {
    /// Makes one and runs a shell script in it, with a folder as `$0`; `Err` says why it cannot be had.
    pub fn with(script: &str, folder: &Path) -> Result<Self, String> {
        // As root first; else as root of a user namespace, where those are allowed.
        let reason = match Mounts::attempt(&["-m"], script, folder) {
            Ok(holder) => return Ok(Mounts { holder, user: false }),
            Err(reason) => reason,
        };
        match Mounts::attempt(&["-U", "-r", "-m"], script, folder) {
            Ok(holder) => Ok(Mounts { holder, user: true }),
            Err(_) => Err(format!("no mount namespace: {reason}")),
        }
    }

    fn attempt(flags: &[&str], script: &str, folder: &Path) -> Result<Child, String> {
        // The shell reads until its input closes, which is when this process lets go of it.
        let script = format!("{{ {script}; }} && echo there && cat");
        let mut holder = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        if let Some(out) = holder.stdout.take() {
            // No line is an answer too: it did not get there.
            let _none = BufReader::new(out).read_line(&mut said);
        }
        if said.trim() == "there" {
            return Ok(holder);
        }
        let done = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or("refused").to_string())
    }

    /// What stands before a command to run it inside.
    pub fn wrapper(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        let flags: &[&str] = if self.user { &["-U", "--preserve-credentials", "-m"] } else { &["-m"] };
        let words = ["nsenter", "-t", &pid].into_iter().chain(flags.iter().copied());
        words.chain(["--"]).map(str::to_string).collect()
    }

    /// A path of the inside, as seen from outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _gone = self.holder.kill().and_then(|()| self.holder.wait());
    }
}
