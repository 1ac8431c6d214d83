//! Connections between hubs: what goes over them in order, and how they die.

use event::Moment;

/// What goes over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event of a room, and where it stands in the sender's stream, if that keeps the room.
    Event { room: usize, event: u64, at: Option<u64> },
    /// An event of a room's stream was recorded or delivered.
    Acknowledged { room: usize, seq: u64 },
    /// To be answered.
    Ping,
    /// The answer.
    Pong,
    /// Nothing more comes from here; what is on its way to here is still taken.
    Close,
    /// Nor from here.
    Closed,
}

/// How one end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It sends and takes.
    Open,
    /// It said that it closes, and takes until that is answered.
    Closing,
    /// It is gone.
    Gone,
}

/// A connection. The number of its side `s` is [`connection`] of it.
#[derive(Debug)]
pub struct Pipe {
    /// The hub at each side, and in which life.
    pub hubs: [(usize, u64); 2],
    pub ends: [End; 2],
    /// Nothing comes through ever again.
    pub broken: bool,
    /// When the last frame comes to each side: those after it do not come before it.
    pub last: [Moment; 2],
}

/// The number by which a side of a pipe is known to its hub.
pub fn connection(pipe: usize, side: usize) -> u64 {
    (pipe * 2 + side) as u64
}

/// The pipe and the side of a number.
pub fn side(connection: u64) -> (usize, usize) {
    let number = usize::try_from(connection).unwrap_or(usize::MAX);
    (number / 2, number % 2)
}
