//! The door through its sockets, over a catalogue that messages change.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use door::suite::Plain;
use door::{Access, Catalogue, Limits, Port, Token, TokenHash};
use door_dns::{DnsDoor, DnsSockets, Options};
use event::{Message as Fact, Moment, Pattern, Subject};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use journal::Stored;
use journal::local::Local;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Served {
    door: DnsDoor,
    catalogue: Catalogue,
    position: u64,
}

async fn serve(options: Options, access: Access) -> Served {
    let journal = Arc::new(Local::new(Arc::new(|| Moment::EPOCH)));
    let port = Port::new(journal, Arc::new(Plain::default()), access, Limits::default());
    let catalogue = Catalogue::new(port, "dc1", "n1");
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let door = DnsDoor::open(DnsSockets { udp, tcp }, catalogue.clone(), options).unwrap();
    Served { door, catalogue, position: 0 }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_bytes().unwrap()
}

impl Served {
    fn told(&mut self, subject: &str, payload: &str) {
        self.position += 1;
        let message = Fact::new(Subject::parse(subject).unwrap(), payload.as_bytes().to_vec());
        let stored = Stored { seq: self.position, time: Moment::EPOCH, message };
        self.catalogue.fold(&[stored], self.position);
    }

    fn registered(&mut self, id: &str, address: &str, status: &str) {
        let service = format!(r#"{{"ID":"{id}","Service":"web","Address":"{address}","Port":80}}"#);
        let check = format!(r#"{{"CheckID":"c","Name":"c","Status":"{status}","ServiceID":"{id}"}}"#);
        let body = format!(r#"{{"Node":"n1","Service":{service},"Checks":[{check}]}}"#);
        self.told(&format!("catalog.dc1.web.n1.{id}"), &body);
    }

    fn ask(&self, name: &str) -> Message {
        let wire = UdpSocket::bind("127.0.0.1:0").unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        wire.send_to(&question(name, RecordType::A), self.door.address()).unwrap();
        let mut packet = [0; 512];
        let length = wire.recv(&mut packet).unwrap();
        Message::from_vec(&packet[..length]).unwrap()
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let ip = |data: &RData| data.ip_addr();
        let mut found: Vec<IpAddr> = self.ask(name).answers.iter().filter_map(|record| ip(&record.data)).collect();
        found.sort_unstable();
        found
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_follow_the_catalogue() {
    let mut served = serve(Options::default(), Access::open()).await;
    assert_eq!(served.ask("web.service.consul.").response_code, ResponseCode::ServFail);
    served.catalogue.set_ready(true);
    assert_eq!(served.ask("web.service.consul.").response_code, ResponseCode::NXDomain);
    served.registered("w1", "10.0.0.1", "passing");
    served.registered("w2", "10.0.0.2", "warning");
    served.registered("w3", "10.0.0.3", "critical");
    assert_eq!(served.addresses("web.service.consul."), ips(&["10.0.0.1", "10.0.0.2"]));
    served.registered("w1", "10.0.0.9", "passing");
    served.told("catalog.dc1.web.n1.w2", "");
    assert_eq!(served.addresses("web.service.consul."), ips(&["10.0.0.9"]));
    let reverse = served.ask("9.0.0.10.in-addr.arpa.");
    assert_eq!(reverse.response_code, ResponseCode::NoError);
    served.door.close().await;
    let counts = served.door.counts();
    assert_eq!((counts.questions_udp, counts.questions_tcp, counts.connections), (5, 0, 0));
    assert!(counts.answers.contains(&("noerror", 3)) && counts.answers.contains(&("servfail", 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_passes_where_that_is_asked_for() {
    let mut served = serve(Options { only_passing: true, ..Options::default() }, Access::open()).await;
    served.catalogue.set_ready(true);
    served.registered("w1", "10.0.0.1", "passing");
    served.registered("w2", "10.0.0.2", "warning");
    assert_eq!(served.addresses("web.service.consul."), ips(&["10.0.0.1"]));
    served.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_ask_one_after_the_other_and_are_given_up_when_they_are_slow() {
    let deadline = Duration::from_millis(100);
    let mut served = serve(Options { tcp_deadline: deadline, ..Options::default() }, Access::open()).await;
    served.catalogue.set_ready(true);
    served.registered("w1", "10.0.0.1", "passing");
    let address = served.door.tcp_address();
    let asked = tokio::task::spawn_blocking(move || {
        let mut wire = TcpStream::connect(address).unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        let packet = question("web.service.consul.", RecordType::SRV);
        for _ in 0..2 {
            wire.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
            wire.write_all(&packet).unwrap();
            let mut length = [0; 2];
            wire.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            wire.read_exact(&mut answer).unwrap();
            assert_eq!(Message::from_vec(&answer).unwrap().answers.len(), 1);
        }
        // The half of a question.
        wire.write_all(&[0, 40, 1]).unwrap();
        wire.read(&mut [0; 2]).unwrap_or(0)
    });
    assert_eq!(asked.await.unwrap(), 0);
    served.door.close().await;
    let counts = served.door.counts();
    assert_eq!((counts.questions_tcp, counts.connections, counts.given_up), (2, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_doors_token_may_not_read_is_not_there() {
    let patterns = vec![Pattern::parse("catalog.dc1.web.>").unwrap()];
    let token = Token { name: "dns".into(), hash: TokenHash::of("t"), publish: vec![], read: patterns, admin: false };
    let options = Options { token: Some("t".into()), ..Options::default() };
    let mut served = serve(options, Access::tokens([token])).await;
    served.catalogue.set_ready(true);
    served.registered("w1", "10.0.0.1", "passing");
    served.told("catalog.dc1.db.n1.d1", r#"{"Node":"n1","Service":{"ID":"d1","Service":"db","Address":"10.0.0.5"}}"#);
    assert_eq!(served.addresses("web.service.consul."), ips(&["10.0.0.1"]));
    assert_eq!(served.ask("db.service.consul.").response_code, ResponseCode::NXDomain);
    assert_eq!(served.ask("5.0.0.10.in-addr.arpa.").response_code, ResponseCode::NXDomain);
    served.catalogue.port().set_access(Access::tokens([]));
    assert_eq!(served.ask("web.service.consul.").response_code, ResponseCode::Refused);
    served.door.close().await;
}
