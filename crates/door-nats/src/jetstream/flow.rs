//! Flow control of pushes: how much may be on its way before the client says that it has it.
//!
//! When half the window is on its way, the client is asked; it answers on the subject that it was
//! asked with. Each answer opens the window wider, as far as its limit. A push whose window is full
//! stands still, and heartbeats say on which question.

use door::Principal;

use super::{FLOW, JetStream};

/// Most bytes on their way to one client: NATS's own.
const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a window begins with: NATS's own.
const WINDOW_BYTES_FIRST: usize = WINDOW_BYTES_MAX / 16;

/// One push's window.
#[derive(Debug)]
pub(super) struct Window {
    max: usize,
    /// Bytes sent and not known to have come.
    pending: usize,
    /// The question that is open, and the bytes that its answer is about.
    asked: Option<(String, usize)>,
    questions: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Window { max: WINDOW_BYTES_FIRST, pending: 0, asked: None, questions: 0 }
    }

    /// Counts what was sent; whether the client is to be asked now.
    pub(super) fn sent(&mut self, size: usize) -> bool {
        self.pending = self.pending.saturating_add(size);
        match &mut self.asked {
            None => self.pending > self.max / 2,
            Some((_, about)) => {
                if self.pending - *about >= self.max {
                    *about += size;
                }
                false
            }
        }
    }

    /// A new question, which is open from now on.
    pub(super) fn ask(&mut self, stream: &str, consumer: &str) -> &str {
        self.questions += 1;
        let subject = format!("{FLOW}{stream}.{consumer}.{}", mark(self.questions));
        &self.asked.insert((subject, self.pending)).0
    }

    /// The question that is open.
    pub(super) fn open(&self) -> Option<&str> {
        self.asked.as_ref().map(|(subject, _)| subject.as_str())
    }

    /// Whether nothing more may be sent.
    pub(super) fn is_full(&self) -> bool {
        self.pending > self.max
    }

    /// Takes an answer; whether it was to the open question.
    pub(super) fn answered(&mut self, subject: &str) -> bool {
        let Some((_, about)) = self.asked.take_if(|(asked, _)| asked == subject) else { return false };
        self.max = (self.max * 2).min(WINDOW_BYTES_MAX);
        self.pending = self.pending.saturating_sub(about);
        true
    }
}

/// Four letters that tell a question from those before it.
fn mark(number: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let mut letters = String::with_capacity(4);
    for _ in 0..4 {
        let place = usize::try_from(rest % 62).unwrap_or_default();
        letters.push(LETTERS.get(place).copied().map_or('0', char::from));
        rest /= 62;
    }
    letters
}

impl JetStream {
    /// Takes a client's answer to flow control. One that nobody asked for is passed over.
    pub(super) fn flow_answered(&self, _who: &Principal, subject: &str) {
        let named = subject.strip_prefix(FLOW).and_then(|tail| tail.rsplit_once('.'));
        let post = named.and_then(|(name, _)| self.delivering.posts.get(name));
        if let Some(pushing) = post.as_ref().and_then(|post| post.pushing.as_ref())
            && pushing.answered(subject)
        {
            self.port.journal().nudge();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_asks_at_half_and_opens_wider_with_each_answer() {
        let mut window = Window::new();
        assert!(!window.sent(WINDOW_BYTES_FIRST / 2));
        assert!(window.sent(1));
        let first = window.ask("s", "c").to_owned();
        assert!(first.starts_with("$JS.FC.s.c.") && window.open() == Some(&first));
        assert!(!window.sent(WINDOW_BYTES_FIRST / 2) && window.is_full());
        assert!(!window.answered("$JS.FC.s.c.none") && window.is_full());
        assert!(window.answered(&first) && !window.is_full() && window.open().is_none());
        assert_eq!((window.max, window.pending), (2 * WINDOW_BYTES_FIRST, WINDOW_BYTES_FIRST / 2));
        assert!(!window.answered(&first));
        for _ in 0..10 {
            let asked = window.ask("s", "c").to_owned();
            assert_ne!(asked, first);
            assert!(window.answered(&asked));
        }
        assert_eq!(window.max, WINDOW_BYTES_MAX);
    }
}
