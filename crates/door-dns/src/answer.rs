//! A packet to a packet.
//!
//! ```text
//!  packet ─▶ head, question ─▶ what is asked ─▶ a look into the catalogue ─▶ records ─▶ as many as fit ─▶ packet
//! ```
//!
//! Pure: the catalogue is asked through a function, the time and the seed of the order are arguments.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Health, Node};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts};
use hickory_proto::rr::rdata::{NS, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use crate::limits::{
    ADDRESSES_MAX, CHASE_MAX, QUESTION_BYTES_MAX, RECORD_BYTES_MIN, SRV_MAX, UDP_BYTES_OFFERED, UDP_BYTES_PLAIN,
};
use crate::question::{Asked, asked};
use crate::records::{self, Chance, Group, Groups};
use crate::zone::Zone;

/// Bytes of a packet's header.
const HEAD_BYTES: usize = 12;

/// What carries the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram: the answer is as large as the client offers.
    Udp,
    /// A connection: the answer is as large as a packet can be.
    Tcp,
}

/// What must be known for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Instances of a service, none of them critical, in any order.
    Service {
        /// The service, in lower case.
        name: String,
        /// The tag that they have, in lower case.
        tag: Option<String>,
        /// Whether those with a warning are left out too.
        only_passing: bool,
    },
    /// A node, by its name in lower case.
    Node(String),
    /// Who has an address.
    Owners(IpAddr),
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A node, by its name.
    Node(String),
    /// An instance of a service, by the service's name.
    Service(String),
}

/// What was found.
#[derive(Debug, Clone)]
pub enum Found {
    /// Nothing can be said yet.
    Unready,
    /// The door may not read the catalogue.
    Forbidden,
    /// Instances.
    Service {
        /// At most [`ADDRESSES_MAX`].
        instances: Vec<Arc<Health>>,
        /// Whether there are more.
        more: bool,
    },
    /// A node, or none.
    Node(Option<Arc<Node>>),
    /// Who has the address.
    Owners(Vec<Owner>),
}

/// What an answer says.
#[derive(Debug, Default)]
struct Reply {
    code: Option<ResponseCode>,
    found: Groups,
    authority: Vec<Record>,
}

/// Answers a packet; `None`: it deserves no answer. `now` in seconds since 1970, `seed` for the order of answers.
pub fn answer(
    packet: &[u8],
    carrier: Carrier,
    zone: &Zone,
    now: u64,
    seed: u64,
    look: impl Fn(&Want) -> Found,
) -> Option<Vec<u8>> {
    let head = Head::read(packet)?;
    if head.op_code != OpCode::Query {
        return Some(head.bare(ResponseCode::NotImp));
    }
    let malformed = || Some(head.bare(ResponseCode::FormErr));
    if packet.len() > QUESTION_BYTES_MAX || head.questions != 1 {
        return malformed();
    }
    let Ok(mut message) = Message::from_vec(packet) else { return malformed() };
    let Some(query) = message.queries.pop() else { return malformed() };
    let mut metadata = Metadata::response_from_request(&message.metadata);
    metadata.authoritative = true;
    let size = size(carrier, zone, message.edns.as_ref());
    let bad_version = message.edns.as_ref().is_some_and(|edns| edns.version() > 0);
    let edns = message.edns.map(|_| offer());
    let max = most(carrier, zone, size, query.query_type());
    let mut talk = Talk { zone, now, chance: Chance::new(seed), look: &look, asked: query.query_type(), max };
    let reply = if bad_version { coded(ResponseCode::BADVERS) } else { talk.reply(&query) };
    metadata.response_code = reply.code.unwrap_or(ResponseCode::NoError);
    if !matches!(metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
        metadata.authoritative = false;
    }
    let may_tell = zone.truncate && carrier == Carrier::Udp;
    let sheet = Sheet { metadata, query, authority: &reply.authority, edns, size, may_tell };
    Some(sheet.fit(reply.found).unwrap_or_else(|| head.bare(ResponseCode::ServFail)))
}

/// The part of the header that an answer repeats.
struct Head {
    id: [u8; 2],
    op_code: OpCode,
    recursion_desired: u8,
    questions: u16,
}

impl Head {
    /// `None`: too short, or a response, which is never answered.
    fn read(packet: &[u8]) -> Option<Head> {
        let (&[id, id_low, flags, _, questions, questions_low], _) = packet.split_first_chunk()?;
        if packet.len() < HEAD_BYTES || flags & 0x80 != 0 {
            return None;
        }
        Some(Head {
            id: [id, id_low],
            op_code: OpCode::from_u8((flags >> 3) & 0x0f),
            recursion_desired: flags & 0x01,
            questions: u16::from_be_bytes([questions, questions_low]),
        })
    }

    /// An answer that is a header alone: no longer than the question.
    fn bare(&self, code: ResponseCode) -> Vec<u8> {
        let [id, id_low] = self.id;
        let flags = 0x80 | (u8::from(self.op_code) << 3) | self.recursion_desired;
        vec![id, id_low, flags, code.low(), 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

/// Bytes that the answer may have.
fn size(carrier: Carrier, zone: &Zone, edns: Option<&Edns>) -> u16 {
    match (carrier, edns) {
        (Carrier::Tcp, _) => u16::MAX,
        (Carrier::Udp, None) => UDP_BYTES_PLAIN,
        (Carrier::Udp, Some(edns)) => edns.max_payload().clamp(UDP_BYTES_PLAIN, zone.udp_bytes_max),
    }
}

/// Records that the answer may have: no more are made than fit.
fn most(carrier: Carrier, zone: &Zone, size: u16, asked: RecordType) -> usize {
    let fit = usize::from(size) / RECORD_BYTES_MIN;
    match carrier {
        Carrier::Tcp if asked == RecordType::SRV => SRV_MAX,
        Carrier::Tcp => ADDRESSES_MAX,
        Carrier::Udp if size <= UDP_BYTES_PLAIN => fit.min(zone.udp_answers_max),
        Carrier::Udp => fit,
    }
}

fn offer() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_OFFERED);
    edns
}

fn coded(code: ResponseCode) -> Reply {
    Reply { code: Some(code), ..Reply::default() }
}

/// One question, on its way to an answer.
struct Talk<'a> {
    zone: &'a Zone,
    now: u64,
    chance: Chance,
    look: &'a dyn Fn(&Want) -> Found,
    asked: RecordType,
    max: usize,
}

impl Talk<'_> {
    fn reply(&mut self, query: &Query) -> Reply {
        if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
            return coded(ResponseCode::Refused);
        }
        if matches!(self.asked, RecordType::AXFR | RecordType::IXFR) {
            return coded(ResponseCode::NotImp);
        }
        let mut reply = self.name(query.name());
        let mut name = chased(&reply);
        for _ in 0..CHASE_MAX {
            let Some(next) = name.filter(|_| self.asked != RecordType::CNAME) else { break };
            if !self.zone.domain.zone_of(&next) {
                break;
            }
            let more = self.name(&next);
            name = chased(&more);
            reply.found.left_out |= more.found.left_out;
            reply.found.groups.extend(more.found.groups);
        }
        reply
    }

    fn name(&mut self, name: &Name) -> Reply {
        match asked(self.zone, name) {
            Asked::Elsewhere => coded(ResponseCode::Refused),
            Asked::Nothing => self.nothing(),
            Asked::Between => self.of(Vec::new()),
            Asked::Apex => self.apex(name),
            Asked::Ns => self.ns(name),
            Asked::Address(ip) => {
                let ttl = self.zone.node_ttl();
                self.of(records::address(name, ttl, ip, self.asked).map(Group::from).into_iter().collect())
            }
            Asked::Node(node) => self.node(name, node),
            Asked::Service { name: service, tag } => self.service(name, service, tag),
            Asked::Reverse(ip) => self.reverse(name, ip),
        }
    }

    /// There is no such name.
    fn nothing(&self) -> Reply {
        let authority = vec![records::soa(self.zone, self.now)];
        Reply { code: Some(ResponseCode::NXDomain), found: Groups::default(), authority }
    }

    /// These records; where there are none, the name exists all the same.
    fn of(&self, groups: Vec<Group>) -> Reply {
        self.these(Groups { groups, left_out: false })
    }

    fn these(&self, found: Groups) -> Reply {
        let none = found.groups.is_empty() && !found.left_out;
        let authority = if none { vec![records::soa(self.zone, self.now)] } else { Vec::new() };
        Reply { code: None, found, authority }
    }

    fn apex(&mut self, name: &Name) -> Reply {
        let mut groups: Vec<Group> = Vec::new();
        if matches!(self.asked, RecordType::SOA | RecordType::ANY) {
            groups.push(records::soa(self.zone, self.now).into());
        }
        if matches!(self.asked, RecordType::NS | RecordType::ANY) {
            let (ns, ttl) = (self.zone.ns.clone(), self.zone.node_ttl());
            let answer = Record::from_rdata(name.clone(), ttl, RData::NS(NS(ns.clone())));
            let extra = self.ns_groups(&ns, RecordType::ANY).into_iter().map(|group| group.answer).collect();
            groups.push(Group { answer, extra });
        }
        self.of(groups)
    }

    fn ns(&mut self, name: &Name) -> Reply {
        let groups = self.ns_groups(name, self.asked);
        self.of(groups)
    }

    fn ns_groups(&self, name: &Name, asked: RecordType) -> Vec<Group> {
        let ttl = self.zone.node_ttl();
        if let Some(ip) = self.zone.address {
            return records::address(name, ttl, ip, asked).map(Group::from).into_iter().collect();
        }
        match (self.look)(&Want::Node(self.zone.node.to_lowercase())) {
            Found::Node(Some(node)) if matches!(asked, RecordType::A | RecordType::AAAA | RecordType::ANY) => {
                let mut groups = records::node(self.zone, name, asked, &node);
                groups.truncate(1);
                groups
            }
            _ => Vec::new(),
        }
    }

    fn node(&mut self, name: &Name, node: String) -> Reply {
        match (self.look)(&Want::Node(node)) {
            Found::Unready => coded(ResponseCode::ServFail),
            Found::Forbidden => coded(ResponseCode::Refused),
            Found::Node(Some(node)) => self.of(records::node(self.zone, name, self.asked, &node)),
            _ => self.nothing(),
        }
    }

    fn service(&mut self, name: &Name, service: String, tag: Option<String>) -> Reply {
        let ttl = self.zone.service_ttl(&service);
        let want = Want::Service { name: service, tag, only_passing: self.zone.only_passing };
        let (mut instances, more) = match (self.look)(&want) {
            Found::Unready => return coded(ResponseCode::ServFail),
            Found::Forbidden => return coded(ResponseCode::Refused),
            Found::Service { instances, more } if !instances.is_empty() => (instances, more),
            _ => return self.nothing(),
        };
        self.chance.shuffle(&mut instances);
        let mut found = match self.asked {
            RecordType::SRV => records::services(self.zone, name, ttl, &instances, self.max),
            _ => records::addresses(name, ttl, self.asked, &instances, self.max),
        };
        found.left_out |= more && !found.groups.is_empty();
        self.these(found)
    }

    fn reverse(&mut self, name: &Name, ip: IpAddr) -> Reply {
        let owners = match (self.look)(&Want::Owners(ip)) {
            Found::Unready => return coded(ResponseCode::ServFail),
            Found::Forbidden => return coded(ResponseCode::Refused),
            Found::Owners(owners) if !owners.is_empty() => owners,
            _ => return self.nothing(),
        };
        if !matches!(self.asked, RecordType::PTR | RecordType::ANY) {
            return self.of(Vec::new());
        }
        let names = owners.iter().filter_map(|owner| match owner {
            Owner::Node(node) => records::below(self.zone, node, "node"),
            Owner::Service(service) => records::below(self.zone, service, "service"),
        });
        let ttl = self.zone.node_ttl();
        let group = |owner| Group::from(Record::from_rdata(name.clone(), ttl, RData::PTR(PTR(owner))));
        self.of(names.map(group).collect())
    }
}

/// The name that an answer leads to, where it is that alone.
fn chased(reply: &Reply) -> Option<Name> {
    match reply.found.groups.as_slice() {
        [Group { answer: Record { data: RData::CNAME(other), .. }, .. }] => Some(other.0.clone()),
        _ => None,
    }
}

/// All of an answer but its records.
struct Sheet<'a> {
    metadata: Metadata,
    query: Query,
    authority: &'a [Record],
    edns: Option<Edns>,
    size: u16,
    /// Whether it is told that something was left out.
    may_tell: bool,
}

/// A packet as far as it went.
struct Written {
    packet: Vec<u8>,
    answers: usize,
    whole: bool,
}

impl Sheet<'_> {
    /// With as many records as fit. Over UDP with what belongs to them: who lacks some asks again over TCP. Where not
    /// even one fits so, and over TCP, after which nobody can ask again, without that.
    fn fit(mut self, mut found: Groups) -> Option<Vec<u8>> {
        self.metadata.message_type = MessageType::Response;
        self.metadata.truncation = self.may_tell && found.left_out;
        let all = self.write(&found.groups)?;
        if all.whole {
            return Some(all.packet);
        }
        let told = self.metadata.truncation;
        self.metadata.truncation = self.may_tell;
        if self.size < u16::MAX {
            let (packet, answers) = self.largest(&found.groups, all.answers)?;
            if answers > 0 {
                return Some(packet);
            }
        }
        found.groups.iter_mut().for_each(|group| group.extra.clear());
        let bare = self.write(&found.groups)?;
        // Where only what is additional is missing, nothing is.
        self.metadata.truncation = told || (self.may_tell && !bare.whole);
        Some(self.largest(&found.groups, bare.answers)?.0)
    }

    /// The packet with the most records, up to `most`, that are written with all that belongs to them.
    fn largest(&self, groups: &[Group], most: usize) -> Option<(Vec<u8>, usize)> {
        let (mut fits, mut beyond) = (0, most + 1);
        let mut best = self.write(&[])?.packet;
        while beyond - fits > 1 {
            // The most is the likeliest.
            let middle = if beyond == most + 1 { most } else { fits + (beyond - fits) / 2 };
            let written = self.write(groups.get(..middle)?)?;
            if written.whole {
                (fits, best) = (middle, written.packet);
            } else {
                beyond = middle;
            }
        }
        Some((best, fits))
    }

    fn write(&self, groups: &[Group]) -> Option<Written> {
        let mut packet = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut packet);
        encoder.set_max_size(self.size);
        let head = emit_message_parts(
            &self.metadata,
            &mut std::iter::once(&self.query),
            &mut groups.iter().map(|group| &group.answer),
            &mut self.authority.iter(),
            &mut groups.iter().flat_map(|group| &group.extra),
            self.edns.as_ref(),
            None,
            &mut encoder,
        );
        let counts = head.ok()?.counts;
        let extras: usize = groups.iter().map(|group| group.extra.len()).sum();
        let additionals = extras + usize::from(self.edns.is_some());
        let whole = usize::from(counts.answers) == groups.len()
            && usize::from(counts.authorities) == self.authority.len()
            && usize::from(counts.additionals) == additionals;
        if !whole {
            // It is not sent: its flags do not matter.
            return Some(Written { packet, answers: usize::from(counts.answers), whole });
        }
        Some(Written { packet, answers: groups.len(), whole })
    }
}

#[cfg(test)]
mod tests;
