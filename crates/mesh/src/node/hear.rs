//! What a neighbour tells of who wants what, and whether that is taken.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Node, Output, PATTERNS_MAX, Refusal, Report, WISHES_BYTES_OF_LINK_MAX, WISHES_OF_LINK_MAX, touch};
use crate::acl::Asker;
use crate::envelope::AHEAD;
use crate::interest::{self, SourceNumber};
use crate::names::Name;
use crate::plan::LinkKind;
use crate::wire::{Note, Part, Source, Wish};

impl Node {
    /// A note came.
    pub(super) fn heard(&mut self, number: u64, note: Note) {
        if !self.conns.contains_key(&number) {
            return;
        }
        let mut refused = BTreeMap::new();
        match note {
            Note::Wishes(parts) => {
                for part in parts {
                    self.heard_part(number, part, &mut refused);
                }
            }
            Note::Gone(sources) => {
                let tells = |source: &Source| {
                    let known = self.interests.number(source)?;
                    (self.interests.known(known)?.conn == Some(number)).then_some(known)
                };
                let gone: Vec<SourceNumber> = sources.iter().filter_map(tells).collect();
                self.drop_sources(&gone);
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.owed.retain(|source, _| !sources.contains(source));
                }
            }
            Note::Ask(sources) => {
                if let Some(conn) = self.conns.get_mut(&number) {
                    let told: Vec<&Source> = sources.iter().filter(|source| conn.tells.contains(source)).collect();
                    told.into_iter().for_each(|source| conn.out.begin(source));
                }
            }
            Note::Full => {
                if let Some(conn) = self.conns.get_mut(&number).filter(|conn| !conn.full) {
                    conn.full = true;
                    self.outputs.push_back(Output::Report(Report::Full { link: conn.link.clone() }));
                }
            }
        }
        for (why, count) in refused {
            self.outputs.push_back(Output::Refused { conn: number, why, count });
        }
    }

    fn heard_part(&mut self, number: u64, part: Part, refused: &mut BTreeMap<Refusal, u64>) {
        let Part { source, anew, add, remove } = part;
        if !self.accepts(number, &source) {
            *refused.entry(Refusal::Parent).or_default() += (add.len() + remove.len()).max(1) as u64;
            if let Some(conn) = self.conns.get_mut(&number) {
                conn.owe(&source, Refusal::Parent);
            }
            return;
        }
        let known = self.interests.number(&source).and_then(|known| self.interests.known(known).map(|it| (known, it)));
        // What another connection told before is void: only this one may tell.
        if let Some((known, _)) = known.filter(|(_, it)| anew || it.conn != Some(number)) {
            self.drop_sources(&[known]);
        }
        let known = match self.interests.number(&source) {
            Some(known) => known,
            None => self.begin_source(source.clone(), number),
        };
        for wish in &remove {
            self.wished(known, wish, false);
        }
        if add.is_empty() {
            return;
        }
        let (mut wishes, mut bytes) = self.interests.told_by(number);
        for wish in &add {
            (wishes, bytes) = (wishes + 1, bytes + interest::bytes(wish.pattern.as_str()));
            let room = wishes <= WISHES_OF_LINK_MAX && bytes <= WISHES_BYTES_OF_LINK_MAX;
            let admitted = if room { self.admits(&source, wish) } else { Err(Refusal::TooMany) };
            match admitted {
                Ok(()) => self.wished(known, wish, true),
                Err(why) => {
                    *refused.entry(why).or_default() += 1;
                    if let Some(conn) = self.conns.get_mut(&number) {
                        conn.owe(&source, why);
                    }
                }
            }
        }
    }

    fn begin_source(&mut self, source: Source, number: u64) -> SourceNumber {
        let known = self.interests.begin(source.clone(), Some(number));
        let told: Vec<u64> = self.conns.keys().copied().filter(|conn| self.may_tell(*conn, &source)).collect();
        for conn in told {
            if let Some(conn) = self.conns.get_mut(&conn) {
                // Whatever it wants comes as changes.
                conn.tells.insert(source.clone());
            }
        }
        known
    }

    /// Whether a wish of a source may be held.
    fn admits(&self, source: &Source, wish: &Wish) -> Result<(), Refusal> {
        if self.interests.len() >= PATTERNS_MAX {
            return Err(Refusal::TooMany);
        }
        let ahead = wish.queue.as_deref() == Some(AHEAD) && matches!(source, Source::Domain { .. });
        if ahead && wish.pattern.as_str().contains(['*', '>']) {
            return Err(Refusal::Shape);
        }
        self.acl_admits(source, &wish.pattern)
    }

    pub(super) fn acl_admits(&self, source: &Source, pattern: &event::Pattern) -> Result<(), Refusal> {
        match source {
            Source::Domain { domain, .. } if !self.acl.is_open() => {
                let asker = Asker { domain, principal: None };
                self.acl.may_listen(&asker, pattern).map_err(|_| Refusal::SubscribeRule)
            }
            _ => Ok(()),
        }
    }

    /// Whether a connection is the one that may tell of a source.
    pub(super) fn accepts(&self, number: u64, source: &Source) -> bool {
        let Some(conn) = self.conns.get(&number) else { return false };
        match source {
            Source::Node(node) => {
                conn.kind == LinkKind::Peer
                    && *node != self.id.node
                    && self.peers.get(self.routes.next_node(node)) == Some(&number)
            }
            Source::Domain { domain, segment } => self.way_to(domain, segment) == Some(number),
        }
    }

    /// The connection that leads towards a domain in a segment: what is for it goes there, and what it wants is told
    /// there.
    pub(super) fn way_to(&self, domain: &Name, segment: &Name) -> Option<u64> {
        let neighbour = self.routes.next_domain(domain, segment.as_str())?;
        let gateway = self.routes.gateway(neighbour);
        if *gateway == self.id.node {
            return self.carriers.get(&(neighbour.clone(), segment.clone())).copied();
        }
        self.peers.get(self.routes.next_node(gateway)).copied()
    }

    /// Drops sources, and has those told who knew of them.
    pub(super) fn drop_sources(&mut self, numbers: &[SourceNumber]) {
        if numbers.is_empty() {
            return;
        }
        for number in numbers {
            let Some(known) = self.interests.known(*number) else { continue };
            for conn in self.conns.values_mut().filter(|conn| conn.tells.contains(&known.source)) {
                conn.tells.remove(&known.source);
                conn.out.end(&known.source);
            }
        }
        let own: BTreeSet<SourceNumber> = numbers.iter().copied().filter(|number| self.is_own(*number)).collect();
        let mut touched: BTreeSet<Box<str>> = BTreeSet::new();
        let mut gone = Vec::new();
        self.interests.drop_sources(numbers, &mut |number, wish| {
            touch(&mut touched, &wish.pattern);
            if own.contains(&number) {
                gone.push(wish);
            }
        });
        self.touched.append(&mut touched);
        for wish in gone {
            if !self.interests.any_holds(&wish, |each| self.is_own(each)) {
                self.own_changed(&wish);
            }
        }
    }
}
