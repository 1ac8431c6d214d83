//! The engine in memory, as the judge of the other: the same requests at the same moments.

use event::Moment;
use journal::memory::Memory;
use journal::{Storage, StreamConfig};

use super::verb::{Ask, Found, Told, Verb};

/// See the module. A copy is independent of what it was copied from.
#[derive(Clone, Default)]
pub struct Oracle {
    memory: Memory,
}

impl Oracle {
    /// Does what is asked at a moment.
    pub fn apply(&mut self, verb: &Verb, now: Moment) -> Told {
        match verb.clone() {
            Verb::Append(append) => Told::Append(self.memory.append(now, append)),
            Verb::Create(config) => Told::Info(self.memory.stream_create(now, config).map(Box::new)),
            Verb::Update(config) => Told::Info(self.memory.stream_update(now, config).map(Box::new)),
            Verb::Drop(name) => Told::Unit(self.memory.stream_delete(&name)),
            Verb::Purge(name, purge) => Told::Count(self.memory.purge(&name, &purge)),
            Verb::Delete(name, seq) => Told::Unit(self.memory.delete(&name, seq)),
            Verb::Retire(name, seqs) => {
                self.memory.retire(&name, &seqs);
                Told::Unit(Ok(()))
            }
            // Consumers are not the oracle's.
            Verb::Keep(..) | Verb::Whole(..) => Told::Kept(Ok(())),
        }
    }

    /// Answers.
    pub fn ask(&self, ask: &Ask) -> Found {
        match ask {
            Ask::Read(name, read) => Found::Page(self.memory.read(name, read)),
            Ask::Get(name, seq) => Found::Stored(self.memory.get(name, *seq)),
            Ask::Last(name, pattern) => Found::Stored(self.memory.last(name, pattern)),
            Ask::Subjects(name, pattern, after, limit) => {
                Found::Subjects(self.memory.subjects(name, pattern, after.as_ref(), *limit))
            }
            Ask::Info(name) => Found::Info(self.memory.stream_info(name).map(Box::new)),
            Ask::Streams => Found::Streams(self.memory.streams()),
            Ask::CapturedBy(subject) => Found::Name(self.memory.captured_by(subject)),
        }
    }

    /// Lets time do its work.
    pub fn tick(&mut self, now: Moment) {
        self.memory.tick(now);
    }

    /// The declarations, by name.
    pub fn streams(&self) -> Vec<StreamConfig> {
        self.memory.streams().into_iter().map(|info| info.config).collect()
    }

    /// Forgets the streams that are kept in memory: a restart empties them, and where their positions
    /// go on is not promised, so a run goes on without them.
    pub fn restart(&mut self) {
        for config in self.streams().into_iter().filter(|config| config.storage == Storage::Memory) {
            // It was listed, so it is there.
            let _deleted = self.memory.stream_delete(&config.name);
        }
    }
}
