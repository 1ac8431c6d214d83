use std::collections::BTreeSet;

use catalog::{Check, Service, Weights};
use hickory_proto::serialize::binary::BinEncodable;

use super::*;
use crate::options::Options;

/// What a catalogue would hold.
#[derive(Default)]
struct World {
    instances: Vec<Health>,
    options: Options,
}

fn check(status: catalog::Status) -> Arc<Check> {
    Arc::new(Check {
        node: "n1".into(),
        check_id: "c".into(),
        name: "c".into(),
        status,
        notes: "".into(),
        output: "".into(),
        service_id: "".into(),
        service_name: "".into(),
        service_tags: Arc::default(),
        kind: "".into(),
        definition: None,
        agent: "".into(),
        created: 1,
        changed: 1,
        since: event::Moment::EPOCH,
        recorded: event::Moment::EPOCH,
    })
}

fn instance(node: (&str, &str), service: &str, address: &str, port: i64) -> Health {
    let (name, at) = node;
    let meta = [("rack".into(), "7".into())].into_iter().collect();
    let node = Node { node: name.into(), address: at.into(), meta, ..Node::default() };
    let weights = Weights { passing: 10, warning: 2 };
    let service = Service { service: service.into(), address: address.into(), port, weights, ..Service::default() };
    Health { node: node.into(), service: service.into(), checks: Vec::new(), position: 1 }
}

fn checked(mut instance: Health, status: catalog::Status) -> Health {
    instance.checks.push(check(status));
    instance
}

impl World {
    fn of(instances: impl IntoIterator<Item = Health>) -> Self {
        World { instances: instances.into_iter().collect(), options: Options::default() }
    }

    fn look(&self, want: &Want) -> Found {
        match want {
            Want::Service { name, tag: None, .. } => {
                let mine = |each: &&Health| each.service.service.eq_ignore_ascii_case(name);
                let instances: Vec<_> = self.instances.iter().filter(mine).cloned().map(Arc::new).collect();
                Found::Service { instances, more: false }
            }
            Want::Service { .. } => Found::Service { instances: Vec::new(), more: false },
            Want::Node(name) => {
                let node =
                    self.instances.iter().map(|each| &each.node).find(|node| node.node.eq_ignore_ascii_case(name));
                Found::Node(node.cloned())
            }
            Want::Owners(ip) => {
                let at = |each: &&Health| each.node.address.parse() == Ok(*ip);
                Found::Owners(
                    self.instances.iter().filter(at).map(|each| Owner::Node(each.node.node.to_string())).collect(),
                )
            }
        }
    }

    fn raw(&self, packet: &[u8], carrier: Carrier, seed: u64) -> Option<Vec<u8>> {
        let zone = Zone::new(&self.options, "dc1", "n1").unwrap();
        answer(packet, carrier, &zone, 1_700_000_000, seed, |want| self.look(want))
    }

    fn ask_as(&self, name: &str, kind: RecordType, carrier: Carrier, edns: Option<u16>, seed: u64) -> Message {
        let asked = question(name, kind, edns);
        let packet = self.raw(&asked, carrier, seed).unwrap();
        let size = match carrier {
            Carrier::Udp => usize::from(edns.unwrap_or(512)),
            Carrier::Tcp => 65_535,
        };
        assert!(packet.len() <= size, "{} bytes of {size}", packet.len());
        let message = Message::from_vec(&packet).unwrap();
        assert_eq!((message.id, message.message_type), (7, MessageType::Response));
        assert!(message.queries[0].name().eq_case(Message::from_vec(&asked).unwrap().queries[0].name()));
        assert_eq!(message.edns.is_some(), edns.is_some());
        message
    }

    fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.ask_as(name, kind, Carrier::Udp, None, 1)
    }
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message.to_bytes().unwrap()
}

/// Records in short, in order.
fn short(records: &[Record]) -> Vec<String> {
    let each = |record: &Record| format!("{} {} {}", record.name, record.record_type(), record.data);
    records.iter().map(each).collect()
}

fn texts(message: &Message) -> BTreeSet<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

fn many(count: u32) -> World {
    World::of((0..count).map(|number| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        instance((&format!("n{number}"), "192.0.2.1"), "web", &address, 80)
    }))
}

#[test]
fn a_service_has_the_addresses_of_its_instances_each_once() {
    let at = |node: &str, address: &str| instance((node, "192.0.2.1"), "Web", address, 80);
    let world = World::of([at("n1", ""), at("n2", ""), at("n3", "10.0.0.3"), at("n4", "2001:db8::4")]);
    let found = world.ask("wEb.SERVICE.consul", RecordType::A);
    assert!(found.authoritative && !found.recursion_available && found.recursion_desired && !found.truncation);
    assert_eq!(texts(&found), BTreeSet::from(["10.0.0.3".into(), "192.0.2.1".into()]));
    assert!(found.answers[0].name.eq_case(&Name::from_ascii("wEb.SERVICE.consul.").unwrap()));
    assert_eq!(found.answers[0].ttl, 0);
    assert_eq!(texts(&world.ask("web.service.dc1.consul", RecordType::AAAA)), BTreeSet::from(["2001:db8::4".into()]));
    assert_eq!(world.ask("web.service.consul", RecordType::ANY).answers.len(), 3);
}

#[test]
fn srv_names_what_has_its_own_address_by_it_and_the_rest_by_their_node() {
    let own = instance(("n1", "192.0.2.1"), "web", "10.0.0.1", 8080);
    let nodes = checked(instance(("n2", "192.0.2.2"), "web", "", 81), catalog::Status::Warning);
    let named = instance(("n3", "192.0.2.3"), "web", "www.example.com", 82);
    let world = World::of([own, nodes, named]);
    let found = world.ask_as("_web._tcp.service.consul", RecordType::SRV, Carrier::Udp, Some(1232), 1);
    let expected = ["1 10 8080 0a000001.addr.dc1.consul.", "1 2 81 n2.node.dc1.consul.", "1 10 82 www.example.com."];
    assert_eq!(texts(&found), expected.map(String::from).into());
    let extra: BTreeSet<String> = short(&found.additionals).into_iter().collect();
    assert_eq!(
        extra,
        ["0a000001.addr.dc1.consul. A 10.0.0.1", "n2.node.dc1.consul. A 192.0.2.2"].map(String::from).into()
    );
    assert_eq!(texts(&world.ask("0a000001.addr.dc1.consul", RecordType::A)), BTreeSet::from(["10.0.0.1".into()]));
}

#[test]
fn metadata_are_told_where_they_are_asked_for() {
    let mut world = World::of([instance(("n1", "192.0.2.1"), "web", "", 80)]);
    assert_eq!(texts(&world.ask("n1.node.consul", RecordType::TXT)), BTreeSet::from(["rack=7".into()]));
    assert!(world.ask("n1.node.consul", RecordType::A).additionals.is_empty());
    assert_eq!(world.ask("n1.node.consul", RecordType::ANY).answers.len(), 2);
    world.options.meta_txt = true;
    assert_eq!(short(&world.ask("n1.node.consul", RecordType::A).additionals), ["n1.node.consul. TXT rack=7"]);
    let srv = world.ask("web.service.consul", RecordType::SRV);
    assert_eq!(short(&srv.additionals), ["n1.node.dc1.consul. A 192.0.2.1", "n1.node.dc1.consul. TXT rack=7"]);
}

#[test]
fn a_name_in_place_of_an_address_is_followed_inside_the_domain() {
    let world = World::of([
        instance(("n1", "192.0.2.1"), "db", "store.service.consul", 1),
        instance(("n1", "192.0.2.1"), "store", "", 1),
        instance(("n2", "far.example.com"), "far", "", 1),
        instance(("n3", "192.0.2.3"), "loop", "loop.service.consul", 1),
    ]);
    let found = short(&world.ask("db.service.consul", RecordType::A).answers);
    assert_eq!(found, ["db.service.consul. CNAME store.service.consul.", "store.service.consul. A 192.0.2.1"]);
    assert_eq!(world.ask("db.service.consul", RecordType::CNAME).answers.len(), 1);
    let found = short(&world.ask("far.service.consul", RecordType::A).answers);
    assert_eq!(found, ["far.service.consul. CNAME far.example.com."]);
    assert_eq!(short(&world.ask("n2.node.consul", RecordType::A).answers), ["n2.node.consul. CNAME far.example.com."]);
    assert!(world.ask("loop.service.consul", RecordType::A).answers.len() <= CHASE_MAX + 1);
}

#[test]
fn what_there_is_not_is_told_with_the_soa() {
    let world = World::of([instance(("n1", "192.0.2.1"), "web", "", 80)]);
    let check = |name: &str, kind, code| {
        let found = world.ask(name, kind);
        assert_eq!((found.response_code, found.answers.len()), (code, 0), "{name} {kind}");
        let soa = "consul. SOA ns.consul. hostmaster.consul. 1700000000 3600 600 86400 0";
        assert_eq!(short(&found.authorities), [soa], "{name} {kind}");
        assert_eq!(found.authorities[0].ttl, 0);
    };
    for name in ["db.service.consul", "v1.web.service.consul", "web.service.dc2.consul", "n9.node.consul", "x.consul"] {
        check(name, RecordType::A, ResponseCode::NXDomain);
    }
    for (name, kind) in [("web.service.consul", RecordType::AAAA), ("web.service.consul", RecordType::MX)] {
        check(name, kind, ResponseCode::NoError);
    }
    check("service.consul", RecordType::A, ResponseCode::NoError);
    check("9.2.0.192.in-addr.arpa", RecordType::PTR, ResponseCode::NXDomain);
    assert_eq!(world.ask("www.example.com", RecordType::A).response_code, ResponseCode::Refused);
    assert_eq!(world.ask("consul", RecordType::AXFR).response_code, ResponseCode::NotImp);
}

#[test]
fn the_domain_itself_and_who_has_an_address() {
    let world = World::of([instance(("n1", "192.0.2.1"), "web", "", 80)]);
    assert_eq!(world.ask("consul", RecordType::SOA).answers.len(), 1);
    let found = world.ask("consul", RecordType::NS);
    assert_eq!(short(&found.answers), ["consul. NS ns.consul."]);
    assert_eq!(short(&found.additionals), ["ns.consul. A 192.0.2.1"]);
    let found = world.ask("1.2.0.192.in-addr.arpa", RecordType::PTR);
    assert_eq!(short(&found.answers), ["1.2.0.192.in-addr.arpa. PTR n1.node.dc1.consul."]);
}

#[test]
fn what_does_not_fit_is_left_out_and_that_is_told() {
    let mut world = many(100);
    let found = world.ask("web.service.consul", RecordType::A);
    assert!(found.truncation && found.answers.len() > 20, "{}", found.answers.len());
    let srv = world.ask("web.service.consul", RecordType::SRV);
    assert!(srv.truncation && srv.answers.len() == srv.additionals.len() && srv.answers.len() >= 3);
    let larger = world.ask_as("web.service.consul", RecordType::SRV, Carrier::Udp, Some(1232), 1);
    assert!(larger.truncation && larger.answers.len() > srv.answers.len());
    let all = world.ask_as("web.service.consul", RecordType::SRV, Carrier::Udp, Some(u16::MAX), 1);
    assert_eq!((all.truncation, all.answers.len(), all.additionals.len()), (false, 100, 100));
    let tcp = world.ask_as("web.service.consul", RecordType::A, Carrier::Tcp, None, 1);
    assert_eq!((tcp.truncation, tcp.answers.len()), (false, 100));
    world.options.udp_answers_max = Some(3);
    assert_eq!(world.ask("web.service.consul", RecordType::A).answers.len(), 3);
    world.options.truncate = false;
    assert!(!world.ask("web.service.consul", RecordType::A).truncation);
    let huge = many(5000).ask_as("web.service.consul", RecordType::SRV, Carrier::Tcp, Some(1232), 1);
    assert!(huge.answers.len() > 900 && !huge.truncation, "{}", huge.answers.len());
}

#[test]
fn every_instance_comes_first_at_times() {
    let world = many(4);
    let first =
        |seed| world.ask_as("web.service.consul", RecordType::A, Carrier::Udp, None, seed).answers[0].data.to_string();
    assert_eq!((0..64).map(first).collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(first(3), first(3));
}

#[test]
fn what_was_registered_oddly_is_of_no_use_or_spelt_otherwise() {
    let long = "a".repeat(10_000);
    let world = World::of([
        instance(("n1", &long), "long", "", 80),
        instance((&long, "192.0.2.1"), "node", "", -5),
        instance(("a b.c", "192.0.2.1"), "blank", "", 70_000),
    ]);
    assert_eq!(world.ask("long.service.consul", RecordType::A).response_code, ResponseCode::NoError);
    assert!(world.ask("long.service.consul", RecordType::SRV).answers.is_empty());
    assert_eq!(
        texts(&world.ask("node.service.consul", RecordType::SRV)),
        ["1 10 0 c0000201.addr.dc1.consul.".into()].into()
    );
    assert_eq!(world.ask("blank.service.consul", RecordType::SRV).answers.len(), 1);
}

#[test]
fn packets_that_are_none_are_refused_or_dropped() {
    let world = many(3);
    let good = question("web.service.consul", RecordType::A, None);
    let check = |packet: &[u8], code: Option<ResponseCode>| {
        let answered = world.raw(packet, Carrier::Udp, 1);
        let found = answered.map(|answer| {
            assert!(answer.len() <= packet.len().max(512));
            Message::from_vec(&answer).unwrap().response_code
        });
        assert_eq!(found, code, "{packet:?}");
    };
    for cut in 0..HEAD_BYTES {
        check(&good[..cut], None);
    }
    for cut in HEAD_BYTES..good.len() {
        check(&good[..cut], Some(ResponseCode::FormErr));
    }
    let with = |place: usize, value: u8| {
        let mut packet = good.clone();
        packet[place] = value;
        packet
    };
    check(&with(2, 0x81), None);
    check(&with(2, 0x11), Some(ResponseCode::NotImp));
    check(&with(5, 50), Some(ResponseCode::FormErr));
    check(&with(5, 0), Some(ResponseCode::FormErr));
    check(&with(7, 9), Some(ResponseCode::FormErr));
    check(&with(good.len() - 1, 3), Some(ResponseCode::Refused));
    let mut looping = good[..HEAD_BYTES].to_vec();
    looping.extend([0xc0, 12, 0, 1, 0, 1]);
    check(&looping, Some(ResponseCode::FormErr));
    let mut fifty = with(5, 50);
    (1..50).for_each(|_| fifty.extend(&good[HEAD_BYTES..]));
    check(&fifty, Some(ResponseCode::FormErr));
    let mut long = good.clone();
    long.resize(65_535, 0);
    check(&long, Some(ResponseCode::FormErr));
    let mut edns = question("web.service.consul", RecordType::A, Some(1232));
    let version = edns.len() - 5;
    edns[version] = 1;
    let refused = Message::from_vec(&world.raw(&edns, Carrier::Udp, 1).unwrap()).unwrap();
    assert_eq!((u16::from(refused.response_code), refused.answers.len()), (16, 0));
}
