//! Datagrams: one thread's round.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use super::Shared;
use crate::answer::Carrier;
use crate::counts::one;
use crate::limits::QUESTION_BYTES_MAX;

/// How long to wait after the socket failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers datagrams until the door closes. Runs on a thread of its own.
pub(super) fn listen(socket: &UdpSocket, shared: &Shared, mut seed: u64) {
    // A byte more than a question may have, so that a longer one is known as such.
    let mut buffer = vec![0; QUESTION_BYTES_MAX + 1];
    while !shared.stopping.load(Ordering::Acquire) {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => continue,
                // What an earlier answer met at a client that had left.
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => continue,
                _ => {
                    warn!(%error, "cannot receive DNS questions");
                    std::thread::sleep(PAUSE);
                    continue;
                }
            },
        };
        one(&shared.tally.questions_udp);
        seed = seed.wrapping_add(1);
        let Some(answer) = shared.answer(buffer.get(..length).unwrap_or_default(), Carrier::Udp, seed) else {
            continue;
        };
        if socket.send_to(&answer, from).is_err() {
            one(&shared.tally.unsent);
        }
    }
}
