//! What a neighbour is told of who wants what: all at first, then what changes, as it has room.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Conn, Node, Output};
use crate::wire::{Note, Part, Source, Wish};

/// Notes that a connection may be given before it says that it has room: enough that a round trip to the body does
/// not hold it up.
pub const NOTES_AHEAD: u32 = 8;

/// Wishes in one note.
const WISHES_MAX: usize = 512;

/// Bytes of patterns and groups in one note, about.
const NOTE_BYTES: usize = 24 * 1024;

/// Sources in one note.
const SOURCES_MAX: usize = 512;

/// Changes that wait for one neighbour. Of more, all is told anew, which costs less memory and no more time; until
/// it is, the neighbour may miss some.
const CHANGES_MAX: usize = 262_144;

/// What one neighbour is yet to be told.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Notes that were given and have not left.
    ahead: u32,
    /// Sources of which nothing is known any longer, or that the peer is no longer to hear of.
    gone: BTreeSet<Source>,
    /// Sources that the peer is to tell anew.
    asks: BTreeSet<Source>,
    /// What is being told in full.
    pass: Option<Pass>,
    /// What is to be told in full after that.
    next: BTreeSet<Source>,
    /// Wishes that changed: they are told as they are when there is room.
    changes: BTreeSet<(Source, Wish)>,
    /// Whether the peer was told that it had all.
    full: bool,
}

#[derive(Debug)]
struct Pass {
    sources: BTreeSet<Source>,
    /// Those that the peer has yet to begin anew.
    begin: Vec<Source>,
    row: usize,
    done: bool,
}

impl Out {
    /// A wish of a source that the peer is told of came or went.
    pub(super) fn change(&mut self, source: &Source, wish: &Wish, tells: &BTreeSet<Source>) {
        self.changes.insert((source.clone(), wish.clone()));
        if self.changes.len() > CHANGES_MAX {
            self.changes.clear();
            self.pass = None;
            self.next.clone_from(tells);
        }
    }

    /// From now on the peer is told of a source: in full.
    pub(super) fn begin(&mut self, source: &Source) {
        self.next.insert(source.clone());
    }

    /// From now on the peer is not told of a source.
    pub(super) fn end(&mut self, source: &Source) {
        // What changed of it is left where it waits: it is passed over, or told as it is if the source comes back.
        self.gone.insert(source.clone());
        self.next.remove(source);
        if let Some(pass) = &mut self.pass {
            pass.sources.remove(source);
            pass.begin.retain(|each| each != source);
        }
    }

    /// The peer is to tell of a source anew.
    pub(super) fn ask(&mut self, source: &Source) {
        self.asks.insert(source.clone());
    }
}

/// Wishes for a note, by source: what is wanted, and what is not any longer.
#[derive(Default)]
struct Batch {
    parts: BTreeMap<Source, (BTreeSet<Wish>, BTreeSet<Wish>)>,
    wishes: usize,
    bytes: usize,
}

impl Batch {
    fn put(&mut self, source: &Source, wish: Wish, present: bool) {
        self.wishes += 1;
        self.bytes += wish.pattern.as_str().len() + wish.queue.as_ref().map_or(0, |queue| queue.len()) + 4;
        let (add, remove) = self.parts.entry(source.clone()).or_default();
        if present {
            add.insert(wish)
        } else {
            remove.insert(wish)
        };
    }

    fn is_full(&self) -> bool {
        self.wishes >= WISHES_MAX || self.bytes >= NOTE_BYTES
    }

    fn note(self) -> Option<Note> {
        let part = |(source, (add, remove)): (Source, (BTreeSet<Wish>, BTreeSet<Wish>))| Part {
            source,
            anew: false,
            add: add.into_iter().collect(),
            remove: remove.into_iter().collect(),
        };
        (!self.parts.is_empty()).then(|| Note::Wishes(self.parts.into_iter().map(part).collect()))
    }
}

fn some(sources: &mut BTreeSet<Source>) -> Vec<Source> {
    let mut taken = Vec::new();
    while taken.len() < SOURCES_MAX {
        let Some(source) = sources.pop_first() else { break };
        taken.push(source);
    }
    taken
}

impl Node {
    /// A note has left.
    pub(super) fn room(&mut self, conn: u64) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.out.ahead = conn.out.ahead.saturating_sub(1);
        }
    }

    /// Gives each connection that has room what it is to be told.
    pub(super) fn tell_all(&mut self) {
        let numbers: Vec<u64> = self.conns.keys().copied().collect();
        for number in numbers {
            while let Some(mut out) = self.out_with_room(number) {
                let note = self.next_note(number, &mut out);
                out.ahead += u32::from(note.is_some());
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.out = out;
                }
                let Some(note) = note else { break };
                self.outputs.push_back(Output::Send { conn: number, note });
            }
        }
    }

    fn out_with_room(&mut self, number: u64) -> Option<Out> {
        let conn = self.conns.get_mut(&number)?;
        let out = &conn.out;
        let idle = out.gone.is_empty()
            && out.asks.is_empty()
            && out.next.is_empty()
            && out.changes.is_empty()
            && out.pass.is_none()
            && out.full;
        (out.ahead < NOTES_AHEAD && !idle).then(|| core::mem::take(&mut conn.out))
    }

    fn next_note(&self, number: u64, out: &mut Out) -> Option<Note> {
        // What is gone comes first: a source that has come back since begins anew behind it.
        if !out.gone.is_empty() {
            return Some(Note::Gone(some(&mut out.gone)));
        }
        if !out.asks.is_empty() {
            return Some(Note::Ask(some(&mut out.asks)));
        }
        let conn = self.conns.get(&number)?;
        if let Some(note) = self.pass_note(conn, out).or_else(|| self.change_note(conn, out)) {
            return Some(note);
        }
        (!core::mem::replace(&mut out.full, true)).then_some(Note::Full)
    }

    fn pass_note(&self, conn: &Conn, out: &mut Out) -> Option<Note> {
        loop {
            if out.pass.is_none() && !out.next.is_empty() {
                let sources = core::mem::take(&mut out.next);
                let begin = sources.iter().cloned().collect();
                out.pass = Some(Pass { sources, begin, row: 0, done: false });
            }
            let pass = out.pass.as_mut()?;
            if !pass.begin.is_empty() {
                let some = pass.begin.split_off(pass.begin.len().saturating_sub(SOURCES_MAX));
                let part = |source| Part { source, anew: true, add: Vec::new(), remove: Vec::new() };
                return Some(Note::Wishes(some.into_iter().map(part).collect()));
            }
            let mut batch = Batch::default();
            while !pass.done && !batch.is_full() {
                match self.pass_rows(conn, pass, &mut batch) {
                    Some(next) => pass.row = next,
                    None => pass.done = true,
                }
            }
            if pass.done {
                out.pass = None;
            }
            if let Some(note) = batch.note() {
                return Some(note);
            }
        }
    }

    fn pass_rows(&self, conn: &Conn, pass: &Pass, batch: &mut Batch) -> Option<usize> {
        let own: Vec<Source> = conn.own_in.iter().map(|segment| self.own_source(segment)).collect();
        self.interests.walk(pass.row, |number, pattern, queue| {
            let wish = || Wish { pattern: pattern.clone(), queue: queue.cloned() };
            if self.is_own(number) {
                for source in own.iter().filter(|source| pass.sources.contains(source)) {
                    batch.put(source, wish(), true);
                }
            }
            let source = self.interests.known(number).map(|known| &known.source);
            if let Some(source) = source.filter(|source| pass.sources.contains(source)) {
                batch.put(source, wish(), true);
            }
            batch.is_full()
        })
    }

    fn change_note(&self, conn: &Conn, out: &mut Out) -> Option<Note> {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some((source, wish)) = out.changes.pop_first() else { break };
            if !conn.tells.contains(&source) {
                continue;
            }
            let present = match &source {
                Source::Domain { domain, .. } if *domain == self.id.domain => {
                    self.interests.any_holds(&wish, |each| self.is_own(each))
                }
                _ => self.interests.number(&source).is_some_and(|number| self.interests.holds(number, &wish)),
            };
            batch.put(&source, wish, present);
        }
        batch.note()
    }

    pub(super) fn own_source(&self, segment: &crate::names::Name) -> Source {
        Source::Domain { domain: self.id.domain.clone(), segment: segment.clone() }
    }
}
