//! A stream as the journal's rules ask of it, the commit at hand included.

use bytes::Bytes;
use event::{Moment, Pattern};
use journal::StreamState;
use journal::rules::Contents;

use super::Stream;

impl Contents for Stream {
    fn state(&self) -> StreamState {
        self.state
    }

    fn subject(&self, subject: &str) -> (u64, u64) {
        let entry = self.entry(subject.as_bytes());
        (entry.last, entry.count)
    }

    fn sole(&self, subject: &str) -> Option<u64> {
        let entry = self.entry(subject.as_bytes());
        (entry.count == 1).then(|| u64::from(entry.last_size))
    }

    fn last_matching(&self, pattern: &Pattern) -> u64 {
        let live = self.shared.live.read();
        let matches = |subject: &Bytes| pattern.matches(std::str::from_utf8(subject).unwrap_or_default());
        let ahead = self.touched.iter().filter(|each| matches(&each.subject)).map(|each| each.entry.last).max();
        let recorded = live
            .table
            .matching(pattern)
            .filter(|_| !self.cleared)
            .filter(|id| self.ahead.is_empty() || !self.ahead.contains_key(live.table.text(*id).as_bytes()))
            .map(|id| live.table.entry(id).last)
            .max();
        ahead.max(recorded).unwrap_or(0)
    }

    fn recorded(&self, id: &[u8], now: Moment) -> Option<u64> {
        if self.config.duplicate_window.is_zero() {
            return None;
        }
        self.window.get(&self.window.hash(id), now)
    }

    fn last_id(&self) -> Option<String> {
        self.last_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned())
    }
}
