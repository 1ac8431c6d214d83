//! What the operating system tells a node: stop, at once or with notice, or read your files again.

use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// SIGXFSZ, "a file grew beyond the limit": by default it kills. Caught, the write fails as it does on
/// a full disk.
const FILE_SIZE_EXCEEDED: i32 = 25;

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2, as NATS has it: stop, and give clients notice.
    LameDuck,
}

/// Signals, from when this is made.
pub(crate) struct Signals {
    terminate: Source,
    interrupt: Source,
    hangup: Source,
    lame_duck: Source,
    /// Held so that it stays caught; what it says is told by the write that failed.
    _file_size_exceeded: Source,
}

impl Signals {
    /// Catches the signals. Called inside an executor.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            lame_duck: signal(SignalKind::user_defined2())?,
            _file_size_exceeded: signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?,
        })
    }

    /// The next one. Safe to drop while it waits.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.lame_duck.recv() => Signal::LameDuck,
        }
    }

    /// Waits until the node is told to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
