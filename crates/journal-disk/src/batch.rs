//! The records of one commit: all streams' in one frame of the log, and which bytes are whose.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::record::Draft;
use crate::wal;

/// Records being gathered. Those of streams in memory are kept apart: the log never sees them.
#[derive(Default)]
pub struct Batch {
    /// A frame of the log, begun.
    pub frame: Vec<u8>,
    memory: Vec<u8>,
    runs: BTreeMap<u32, Run>,
}

#[derive(Default)]
struct Run {
    memory: bool,
    len: u64,
    parts: Vec<(usize, usize)>,
}

impl Batch {
    /// An empty batch in the room of a frame that is not needed any more.
    pub fn new(mut frame: Vec<u8>) -> Self {
        wal::begin_frame(&mut frame);
        Batch { frame, memory: Vec::new(), runs: BTreeMap::new() }
    }

    /// Adds a record that belongs to a stream; says where it starts among the stream's bytes.
    pub fn add(&mut self, draft: &Draft<'_>, memory: bool) -> u64 {
        let run = self.runs.entry(draft.stream).or_insert_with(|| Run { memory, ..Run::default() });
        let buffer = if memory { &mut self.memory } else { &mut self.frame };
        let start = buffer.len();
        draft.encode(buffer);
        let end = buffer.len();
        match run.parts.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => run.parts.push((start, end)),
        }
        let at = run.len;
        run.len += (end - start) as u64;
        at
    }

    /// Adds a record that belongs to no stream's segments.
    pub fn add_apart(&mut self, draft: &Draft<'_>) {
        draft.encode(&mut self.frame);
    }

    /// Bytes of records for the log.
    pub fn log_bytes(&self) -> usize {
        self.frame.len() - wal::FRAME_HEADER
    }

    /// Each stream's bytes, by stream, each in a buffer of its own: what waits to be moved into the
    /// segments holds no more than itself.
    pub fn take_runs(&mut self) -> impl Iterator<Item = (u32, Bytes)> + use<'_> {
        let runs = std::mem::take(&mut self.runs);
        runs.into_iter().map(|(stream, run)| {
            let buffer = if run.memory { &self.memory } else { &self.frame };
            let parts = run.parts.iter().filter_map(|(start, end)| buffer.get(*start..*end));
            let mut bytes = Vec::with_capacity(parts.clone().map(<[u8]>::len).sum());
            parts.for_each(|part| bytes.extend_from_slice(part));
            (stream, Bytes::from(bytes))
        })
    }
}
