//! What time does to a connection.
//!
//! A ping goes out at intervals. A connection lives from its last pong, or from its beginning, and no data
//! makes it live longer: that is the original's rule, and clients answer pings. One that takes nothing for
//! the write deadline while bytes wait for it is given up.

use std::time::Duration;

/// The spans that count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) ping: Duration,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// What is known of a connection: times are since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// The last pong; zero: none yet.
    pub(crate) pong: Duration,
    /// The last ping that was sent; zero: none yet.
    pub(crate) ping: Duration,
    /// How long bytes have waited without any going out; `None`: none wait.
    pub(crate) stuck: Option<Duration>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// A ping.
    Ping,
    /// The end: no pong came.
    Silent,
    /// The end: it takes nothing.
    Stuck,
}

impl Clock {
    /// What is due at an age.
    pub(crate) fn due(&self, age: Duration, spans: &Spans) -> Due {
        if self.stuck.is_some_and(|stuck| stuck >= spans.write) {
            return Due::Stuck;
        }
        if age.saturating_sub(self.pong) >= spans.read {
            return Due::Silent;
        }
        if age.saturating_sub(self.ping) >= spans.ping { Due::Ping } else { Due::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_and_deadlines_come_when_the_original_has_them() {
        let spans =
            Spans { ping: Duration::from_secs(30), read: Duration::from_secs(60), write: Duration::from_secs(10) };
        let check = |age, pong, ping, stuck: Option<u64>, expected| {
            let seconds = Duration::from_secs;
            let clock = Clock { pong: seconds(pong), ping: seconds(ping), stuck: stuck.map(seconds) };
            assert_eq!(clock.due(seconds(age), &spans), expected, "{clock:?} at {age}");
        };
        check(29, 0, 0, None, Due::Nothing);
        check(30, 0, 0, None, Due::Ping);
        check(59, 0, 30, None, Due::Nothing);
        check(60, 0, 30, None, Due::Silent);
        check(60, 30, 30, None, Due::Ping);
        check(89, 30, 60, None, Due::Nothing);
        check(90, 30, 60, None, Due::Silent);
        check(5, 0, 0, Some(9), Due::Nothing);
        check(5, 0, 0, Some(10), Due::Stuck);
    }
}
