//! Plans, and connections that come and go: who may tell, and who is told, after that.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use event::Pattern;

use super::{Conn, Ending, Node, Out, Output, Refusal, Report, STANDING, touch};
use crate::acl::Acl;
use crate::interest::SourceNumber;
use crate::names::{LinkId, NodeId};
use crate::plan::{LinkKind, LinkPlan, Plan};
use crate::routes::Routes;
use crate::wire::{Source, Wish};

impl Node {
    /// A plan came.
    pub(super) fn planned(&mut self, plan: Plan) {
        let (told, have) = (plan.generation, self.plan.generation);
        if self.planned && told <= have {
            self.outputs.push_back(Output::Report(Report::Stale { told, have }));
            return;
        }
        self.planned = true;
        self.routes = Routes::new(&self.id, &plan, Some(&self.routes));
        let rules_changed = self.plan.acl != plan.acl;
        if rules_changed {
            self.acl = Acl::new(plan.acl.clone());
        }
        let before = core::mem::replace(&mut self.plan, plan);
        self.close_unplanned(&before);
        self.settle();
        if rules_changed {
            self.ask_for_refused();
            self.judge_wishes_anew();
        }
        self.stand(&before.standing);
        self.outputs.push_back(Output::Links { want: self.plan.links.clone() });
        self.outputs.push_back(Output::Report(Report::Applied(told)));
    }

    /// A connection came up.
    pub(super) fn up(&mut self, number: u64, link: &LinkId, peer: NodeId, dialled: bool) {
        let planned = self.plan.links.iter().find(|planned| planned.id == *link);
        let refused = match planned {
            None => Some(Ending::Unplanned),
            Some(_) if peer == self.id => Some(Ending::Itself),
            Some(planned) if !fits(planned, &peer, &self.id) => Some(Ending::WrongPeer),
            Some(_) => None,
        };
        let (Some(planned), None) = (planned, refused) else {
            let why = refused.unwrap_or(Ending::Unplanned);
            self.outputs.push_back(Output::Close { conn: number, why });
            return;
        };
        let conn = Conn {
            link: link.clone(),
            peer: peer.clone(),
            dialled,
            kind: planned.kind,
            segments: planned.segments.clone(),
            tells: BTreeSet::new(),
            own_in: Vec::new(),
            owed: BTreeMap::new(),
            full: false,
            out: Out::default(),
        };
        if let Some(stands) = self.by_link.get(link).copied() {
            let other = self.conns.get(&stands).is_some_and(|stands| self.beats(stands, &conn));
            if other {
                self.outputs.push_back(Output::Close { conn: number, why: Ending::Doubled });
                return;
            }
            self.close(stands, Ending::Doubled);
        }
        self.by_link.insert(link.clone(), number);
        self.conns.insert(number, conn);
        self.outputs.push_back(Output::Report(Report::Up { link: link.clone(), peer }));
        self.settle();
    }

    /// Whether a connection stays although another of the same link came up.
    fn beats(&self, stands: &Conn, newer: &Conn) -> bool {
        if stands.peer != newer.peer || stands.dialled == newer.dialled {
            return false;
        }
        stands.dialled == (self.id < stands.peer)
    }

    /// A connection ended.
    pub(super) fn down(&mut self, number: u64) {
        if self.take_out(number) {
            self.settle();
        }
    }

    fn close(&mut self, number: u64, why: Ending) {
        if self.take_out(number) {
            self.outputs.push_back(Output::Close { conn: number, why });
        }
    }

    fn take_out(&mut self, number: u64) -> bool {
        let Some(conn) = self.conns.remove(&number) else { return false };
        self.by_link.remove(&conn.link);
        self.outputs.push_back(Output::Report(Report::Down { link: conn.link, peer: conn.peer }));
        true
    }

    /// Ends connections of links that are planned no longer, or otherwise.
    fn close_unplanned(&mut self, before: &Plan) {
        let mut closed = Vec::new();
        for (number, conn) in &mut self.conns {
            let planned = self.plan.links.iter().find(|planned| planned.id == conn.link);
            let Some(planned) = planned else {
                closed.push((*number, Ending::Unplanned));
                continue;
            };
            let same_key = before.links.iter().any(|was| was.id == conn.link && was.key == planned.key);
            if !same_key || planned.kind != conn.kind {
                closed.push((*number, Ending::Unplanned));
            } else if !fits(planned, &conn.peer, &self.id) {
                closed.push((*number, Ending::WrongPeer));
            } else {
                conn.segments.clone_from(&planned.segments);
            }
        }
        for (number, why) in closed {
            self.close(number, why);
        }
    }

    /// Brings who tells and who is told into line with plan and connections.
    pub(super) fn settle(&mut self) {
        self.find_ways();
        let mut void = Vec::new();
        for (number, known) in self.interests.sources() {
            let Some(teller) = known.conn.filter(|conn| !self.accepts(*conn, &known.source)) else { continue };
            void.push(number);
            if let Some(conn) = self.conns.get_mut(&teller) {
                conn.owe(&known.source, Refusal::Parent);
            }
        }
        self.drop_sources(&void);
        self.settle_hearing();
        self.settle_telling();
        touch(&mut self.touched, &Pattern::all());
    }

    /// Which connection leads to which peer, and carries which segment to which neighbour: of several, that of the
    /// smallest link.
    fn find_ways(&mut self) {
        self.peers.clear();
        self.carriers.clear();
        for number in self.by_link.values() {
            let Some(conn) = self.conns.get(number) else { continue };
            match conn.kind {
                LinkKind::Peer => {
                    self.peers.entry(conn.peer.node.clone()).or_insert(*number);
                }
                LinkKind::Remote => {
                    for segment in &conn.segments {
                        let both = self.routes.is_in(&conn.peer.domain, segment.as_str());
                        if both {
                            self.carriers.entry((conn.peer.domain.clone(), segment.clone())).or_insert(*number);
                        }
                    }
                }
            }
        }
    }

    /// Asks for what was told when it was not to be, and may be told now.
    fn settle_hearing(&mut self) {
        let mut asked = Vec::new();
        for (number, conn) in &self.conns {
            for (source, why) in &conn.owed {
                if *why == Refusal::Parent && self.accepts(*number, source) {
                    asked.push((*number, source.clone()));
                }
            }
        }
        for (number, source) in asked {
            self.ask(number, &source);
        }
    }

    fn ask(&mut self, number: u64, source: &Source) {
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.owed.remove(source);
            conn.out.ask(source);
        }
    }

    /// Begins to tell, and ends telling, as plan and connections have it.
    fn settle_telling(&mut self) {
        let known: Vec<Source> = self
            .interests
            .sources()
            .filter(|(number, _)| *number != STANDING)
            .map(|(_, known)| known.source.clone())
            .collect();
        let numbers: Vec<u64> = self.conns.keys().copied().collect();
        for number in numbers {
            let mut tells: BTreeSet<Source> =
                known.iter().filter(|source| self.may_tell(number, source)).cloned().collect();
            let Some(conn) = self.conns.get(&number) else { continue };
            let mut own_in = Vec::new();
            for segment in conn.segments.iter().filter(|_| conn.kind == LinkKind::Remote) {
                let source = self.own_source(segment);
                if self.may_tell(number, &source) {
                    tells.insert(source);
                    own_in.push(segment.clone());
                }
            }
            let Some(conn) = self.conns.get_mut(&number) else { continue };
            for source in conn.tells.difference(&tells) {
                conn.out.end(source);
            }
            for source in tells.difference(&conn.tells) {
                conn.out.begin(source);
            }
            (conn.tells, conn.own_in) = (tells, own_in);
        }
    }

    /// Whether the peer of a connection is to be told of a source.
    pub(super) fn may_tell(&self, number: u64, source: &Source) -> bool {
        let Some(conn) = self.conns.get(&number) else { return false };
        match (conn.kind, source) {
            (LinkKind::Remote, Source::Node(_)) => false,
            (LinkKind::Remote, Source::Domain { domain, segment }) => {
                let neighbour = &conn.peer.domain;
                self.carriers.get(&(neighbour.clone(), segment.clone())) == Some(&number)
                    && self.routes.feeds(neighbour, domain, segment.as_str())
            }
            (LinkKind::Peer, source) => {
                let holder = match source {
                    Source::Node(node) => Some(node),
                    Source::Domain { domain, segment } => {
                        self.routes.next_domain(domain, segment.as_str()).map(|next| self.routes.gateway(next))
                    }
                };
                let relayed = self.routes.is_hub() && holder != Some(&conn.peer.node);
                holder.is_some_and(|holder| *holder == self.id.node || relayed)
            }
        }
    }

    /// Drops what other rules would not have let in.
    fn judge_wishes_anew(&mut self) {
        let mut void: Vec<(SourceNumber, Wish)> = Vec::new();
        let mut at = Some(0);
        while let Some(row) = at {
            at = self.interests.walk(row, |number, pattern, queue| {
                let known = self.interests.known(number).filter(|known| known.conn.is_some());
                if known.is_some_and(|known| self.acl_admits(&known.source, pattern).is_err()) {
                    void.push((number, Wish { pattern: pattern.clone(), queue: queue.cloned() }));
                }
                false
            });
        }
        for (number, wish) in void {
            let known = self.interests.known(number).and_then(|known| Some((known.conn?, known.source.clone())));
            if let Some((conn, source)) = known
                && let Some(conn) = self.conns.get_mut(&conn)
            {
                conn.owe(&source, Refusal::SubscribeRule);
            }
            self.wished(number, &wish, false);
        }
    }

    /// Other rules may allow what was refused: it is asked for.
    fn ask_for_refused(&mut self) {
        for conn in self.conns.values_mut() {
            let refused = conn.owed.iter().filter(|(_, why)| **why != Refusal::Parent);
            let refused: Vec<Source> = refused.map(|(source, _)| source.clone()).collect();
            for source in refused {
                conn.owed.remove(&source);
                conn.out.ask(&source);
            }
        }
    }

    /// What the own domain wants although nobody listens.
    fn stand(&mut self, before: &[Pattern]) {
        let wish = |pattern: &Pattern| Wish { pattern: pattern.clone(), queue: None };
        let now: BTreeSet<Wish> = self.plan.standing.iter().map(wish).collect();
        for gone in before.iter().map(wish).filter(|wish| !now.contains(wish)) {
            self.wished(STANDING, &gone, false);
        }
        for wish in &now {
            self.wished(STANDING, wish, true);
        }
    }
}

fn fits(planned: &LinkPlan, peer: &NodeId, own: &NodeId) -> bool {
    let kind = match planned.kind {
        LinkKind::Peer => own.domain == peer.domain,
        LinkKind::Remote => own.domain != peer.domain,
    };
    kind && planned.domain == peer.domain && planned.node.as_ref().is_none_or(|node| *node == peer.node)
}
