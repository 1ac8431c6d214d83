//! One process group, from its start to its certain end.
//!
//! Invariant: the group is killed before the leader is reaped. Until then the leader's number, which is
//! the group's, cannot belong to anybody else.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal as Kill, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// How long a killed leader may take to be gone: one that hangs in the kernel is left to the executor.
const REAP_MAX: Duration = Duration::from_secs(1);

/// A running group.
pub(crate) struct Group {
    child: Child,
    leader: Pid,
    /// Says that some child of this process has changed.
    deaths: Signal,
    reaped: bool,
}

impl Group {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let deaths = signal(SignalKind::child())?;
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let number = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let leader = number.ok_or_else(|| io::Error::other("the process has no number"))?;
        Ok(Group { child, leader, deaths, reaped: false })
    }

    /// The process that was started.
    pub(crate) fn leader(&self) -> Pid {
        self.leader
    }

    /// The leader's standard input.
    pub(crate) fn stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Returns when the leader has ended. It is not reaped. May be dropped and called again.
    pub(crate) async fn ended(&mut self) {
        let ended =
            || waitid(WaitId::Pid(self.leader), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
        loop {
            match ended() {
                Ok(None) | Err(Errno::INTR) => {}
                // One that is not ours to wait for is no more.
                Ok(Some(_)) | Err(_) => return,
            }
            if self.deaths.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Kills every process of the group.
    pub(crate) fn kill(&self) {
        if !self.reaped {
            // It fails where there is nobody left to kill.
            let _none_left = kill_process_group(self.leader, Kill::KILL);
        }
    }

    /// Kills the group and reaps the leader. How it ended; none where it does not end.
    pub(crate) async fn finish(mut self) -> Option<ExitStatus> {
        self.kill();
        let status = timeout(REAP_MAX, self.child.wait()).await.ok()?.ok();
        self.reaped = true;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
