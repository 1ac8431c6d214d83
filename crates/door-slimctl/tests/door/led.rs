//! This node under a controller that speaks the original's protocol over a real socket.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use door_slimctl::proto::control::{
    Command, CommandAck, Connection, ControlMessage, Details, Direction, Empty, Entry, Kind, Payload, Register,
    Registered, Route, RouteEntry,
};
use door_slimctl::proto::{Encoded, Name, Texts};
use door_slimctl::{Answer, Dial, Identity, Leads, Led, Options, Place, Shown, SlimControl, SlimNode, verify};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::board::InMemory;
use crate::client::frame;

const SECRET: &[u8] = b"secret-of-a-0123456789-abcdefghijkl";
/// Longest wait for anything.
const WAIT: Duration = Duration::from_secs(20);

/// A controller; its channels are told one by one.
struct Controller {
    address: String,
    channels: mpsc::UnboundedReceiver<Side>,
    listening: JoinHandle<()>,
}

/// The controller's side of a channel.
struct Side {
    out: Option<mpsc::UnboundedSender<Bytes>>,
    body: Incoming,
    read: BytesMut,
    presented: Option<String>,
}

/// What is sent, as a body.
struct Flow(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Flow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn control_at(address: &str) -> Controller {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, channels) = mpsc::unbounded_channel();
    let listening = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let told = told.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let (out, flow) = mpsc::unbounded_channel();
                let presented = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
                let body = request.into_body();
                let _gone = told.send(Side { out: Some(out), body, read: BytesMut::new(), presented });
                let reply = Response::builder().header("content-type", "application/grpc").body(Flow(flow)).unwrap();
                async move { Ok::<_, Infallible>(reply) }
            });
            connections
                .spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
        }
    });
    Controller { address, channels, listening }
}

impl Controller {
    async fn channel(&mut self) -> Side {
        timeout(WAIT, self.channels.recv()).await.expect("nobody dials").unwrap()
    }

    /// A channel whose node registered, and is taken.
    async fn registered(&mut self, connections: Vec<Connection>, routes: Vec<Route>) -> (Side, Register) {
        let mut side = self.channel().await;
        let ControlMessage { message_id: original_message_id, payload } = side.next().await;
        let Some(Payload::Register(register)) = payload else { panic!("{payload:?}") };
        side.say("r", Payload::Registered(Registered { original_message_id, success: true, connections, routes }));
        (side, register)
    }
}

impl Side {
    fn say(&self, id: &str, payload: Payload) {
        self.out.as_ref().unwrap().send(frame(&ControlMessage::new(id.into(), payload))).unwrap();
    }

    async fn next(&mut self) -> ControlMessage {
        loop {
            if let Some(head) = self.read.get(1..5) {
                let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let _head = self.read.split_to(5);
                    return ControlMessage::decode(self.read.split_to(length)).unwrap();
                }
            }
            let frame = timeout(WAIT, self.body.frame()).await.expect("the node says nothing").expect("it ended");
            self.read.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// The next message that is not about names.
    async fn answer(&mut self) -> ControlMessage {
        loop {
            let message = self.next().await;
            if !matches!(message.payload, Some(Payload::Command(_))) {
                return message;
            }
        }
    }

    async fn command(&mut self) -> Command {
        match self.next().await.payload {
            Some(Payload::Command(command)) => command,
            other => panic!("{other:?}"),
        }
    }

    /// Tells a command; what became of each link and route of it.
    async fn tell(&mut self, command: Command) -> Vec<String> {
        self.say("c", Payload::Command(command));
        let Some(Payload::CommandAck(ack)) = self.next().await.payload else { panic!("no acknowledgement") };
        assert_eq!(ack.original_message_id, "c");
        shown(&ack)
    }
}

fn shown(ack: &CommandAck) -> Vec<String> {
    let links = ack.connections.iter().map(|each| format!("{} {} {}", each.link_id, each.success, each.error));
    let routes = ack.routes.iter().map(|each| {
        let link = each.route.as_ref().and_then(|route| route.link_id.clone()).unwrap_or_default();
        format!("route over {link} {} {}", each.success, each.error)
    });
    links.chain(routes).map(|text| text.trim_end().to_owned()).collect()
}

/// A node without a data plane: links to addresses that end with `:1` are up, and others are not.
#[derive(Default)]
struct Plane {
    links: Mutex<Vec<Dial>>,
    routes: Mutex<Vec<Leads>>,
    changes: Mutex<VecDeque<(Name, bool)>>,
    names: Mutex<Vec<Name>>,
    taken: Mutex<Vec<(String, u64)>>,
    changed: Notify,
    believes: Option<Arc<ClientConfig>>,
}

impl Plane {
    fn announce(&self, name: Name, there: bool) {
        self.changes.lock().push_back((name, there));
        self.changed.notify_one();
    }
}

impl Led for Plane {
    fn secret(&self) -> Answer<'_, Result<Option<Vec<u8>>, String>> {
        Box::pin(async { Ok(Some(SECRET.to_vec())) })
    }

    fn shown(&self, _tls: bool) -> Answer<'_, Result<Shown, String>> {
        let shown = Shown { tls: self.believes.clone(), authorization: Some("Bearer token".into()) };
        Box::pin(std::future::ready(Ok(shown)))
    }

    fn has_credentials(&self) -> bool {
        false
    }

    fn set_links(&self, links: Vec<Dial>) {
        *self.links.lock() = links;
    }

    fn dialled<'a>(&'a self, link: &'a str) -> Answer<'a, Result<(), String>> {
        let there = self.links.lock().iter().any(|dial| dial.link == link && dial.address.ends_with(":1"));
        Box::pin(async move { there.then_some(()).ok_or_else(|| String::from("nobody is there")) })
    }

    fn set_routes(&self, routes: &[Leads]) -> Vec<Result<(), String>> {
        *self.routes.lock() = routes.to_vec();
        let links: BTreeMap<_, _> = self.links.lock().iter().map(|dial| (dial.link.clone(), ())).collect();
        routes
            .iter()
            .map(|leads| links.get(&leads.link).copied().ok_or_else(|| "connection not found".into()))
            .collect()
    }

    fn changed(&self) -> Answer<'_, ()> {
        Box::pin(self.changed.notified())
    }

    fn fetching(&self, begins: bool) {
        self.changes.lock().clear();
        if begins {
            self.changes.lock().extend(self.names.lock().iter().map(|name| (name.clone(), true)));
        }
    }

    fn fetch(&self, most: usize) -> Vec<(Name, bool)> {
        let mut changes = self.changes.lock();
        let most = most.min(changes.len());
        changes.drain(..most).collect()
    }

    fn taken(&self) -> Vec<(String, u64)> {
        self.taken.lock().clone()
    }

    fn connections(&self) -> Vec<Entry> {
        vec![Entry { id: 7, kind: Kind::Remote as i32, link_id: Some("l".into()), ..Entry::default() }]
    }

    fn names(&self, _most: usize) -> Vec<RouteEntry> {
        self.names.lock().iter().map(|name| RouteEntry { name: Some(name.clone()), connections: Vec::new() }).collect()
    }

    fn routes(&self) -> Vec<Leads> {
        self.routes.lock().clone()
    }
}

fn name(third: u64) -> Name {
    Name {
        encoded: Some(Encoded { first: 1, second: 2, third, id: None }),
        texts: Some(Texts { first: "org".into(), second: "ns".into(), third: third.to_string() }),
    }
}

fn open(plane: &Arc<Plane>, controllers: &[&Controller]) -> SlimNode {
    open_at(plane, controllers.iter().map(|each| Place { address: each.address.clone(), tls: false }).collect())
}

fn open_at(plane: &Arc<Plane>, places: Vec<Place>) -> SlimNode {
    let details = Details { endpoint: "0.0.0.0:46357".into(), ..Details::default() };
    let who = Identity { node: "a1".into(), domain: "a".into(), details, controllers: places };
    SlimNode::open(Arc::clone(plane) as Arc<dyn Led>, who)
}

fn link(name: &str, port: u16) -> Connection {
    let config = format!(r#"{{"endpoint":"http://b.example:{port}","tls_required":false,"auth_method":"none"}}"#);
    Connection { link_id: name.into(), config_data: config }
}

fn over(third: u64, link: &str) -> Route {
    Route { name: Some(name(third)), link_id: Some(link.into()), direction: None }
}

#[tokio::test]
async fn a_node_proves_its_domain_and_is_told_links_and_routes_and_says_what_became_of_each() {
    let (mut controller, plane) = (control_at("127.0.0.1:0").await, Arc::new(Plane::default()));
    let node = open(&plane, &[&controller]);
    let (mut side, register) = controller.registered(vec![link("l", 1)], vec![over(3, "l")]).await;
    assert_eq!(side.presented.as_deref(), Some("Bearer token"));
    assert_eq!((register.node_id.as_str(), register.domain_name.as_deref()), ("a1", Some("a")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(verify(&register.credentials, SECRET, "a", "a1", now), Ok(()));
    let whole = Command {
        connections_to_create: vec![link("l", 1), link("m", 2), Connection { link_id: "n".into(), ..link("", 1) }],
        routes_to_set: vec![over(3, "l"), over(4, "x"), Route::default()],
        reconcile: true,
        ..Command::default()
    };
    let said = side.tell(whole).await;
    let expected = [
        "l true",
        "m false Connection failed: nobody is there",
        "n true",
        "route over l true",
        "route over x false connection not found",
        "route over  false the name has no hashes",
    ];
    assert_eq!(said, expected);
    assert_eq!(plane.links.lock().len(), 3);
    let part =
        Command { connections_to_delete: vec!["m".into()], routes_to_delete: vec![over(3, "l")], ..Command::default() };
    assert_eq!(side.tell(part).await, ["m true", "route over l true"]);
    assert_eq!((plane.links.lock().len(), plane.routes.lock().len()), (2, 1));
    let counts = node.counts();
    assert_eq!((counts.nodes, counts.registered, counts.rejected, counts.failed), (1, 1, 0, 3));
}

#[tokio::test]
async fn names_and_links_that_came_in_are_told_as_they_change_and_all_again_to_a_controller_that_returns() {
    let (mut controller, plane) = (control_at("127.0.0.1:0").await, Arc::new(Plane::default()));
    *plane.names.lock() = (0..1_200).map(name).collect();
    let node = open(&plane, &[&controller]);
    let (mut side, _) = controller.registered(Vec::new(), Vec::new()).await;
    let mut told = 0;
    while told < 1_200 {
        let command = side.command().await;
        assert!(command.routes_to_set.iter().all(|route| route.link_id.is_none()) && !command.reconcile);
        told += command.routes_to_set.len();
    }
    plane.announce(name(7), false);
    assert_eq!(side.command().await.routes_to_delete[0].name, Some(name(7)));
    plane.taken.lock().push(("in".into(), 3));
    plane.changed.notify_one();
    let [entry] = &side.command().await.connections_received[..] else { panic!("one link came in") };
    assert_eq!((entry.link_id.as_deref(), entry.direction), (Some("in"), Direction::Incoming as i32));
    // It goes, and comes back at its place.
    *plane.names.lock() = vec![name(9)];
    controller.listening.abort();
    let _ended = (&mut controller.listening).await;
    let address = controller.address.clone();
    drop((controller, side));
    let mut controller = control_at(&address).await;
    let (mut side, register) = controller.registered(Vec::new(), Vec::new()).await;
    assert_eq!(register.connections.len(), 1);
    assert_eq!(side.command().await.routes_to_set[0].name, Some(name(9)));
    assert_eq!(side.command().await.connections_received.len(), 1);
    assert_eq!(node.counts().registered, 2);
}

#[tokio::test]
async fn lists_are_answered_and_a_node_that_stops_takes_leave() {
    let (mut controller, plane) = (control_at("127.0.0.1:0").await, Arc::new(Plane::default()));
    let node = open(&plane, &[&controller]);
    let (mut side, _) = controller.registered(Vec::new(), Vec::new()).await;
    *plane.names.lock() = (0..150).map(name).collect();
    side.say("routes", Payload::RouteList(Empty {}));
    for (count, last) in [(100, false), (50, true)] {
        let Some(Payload::Routes(part)) = side.answer().await.payload else { panic!("no list") };
        assert_eq!((part.original_message_id.as_str(), part.entries.len(), part.done), ("routes", count, last));
    }
    side.say("links", Payload::ConnectionList(Empty {}));
    let Some(Payload::Connections(part)) = side.answer().await.payload else { panic!("no list") };
    assert_eq!((part.entries[0].link_id.as_deref(), part.done), (Some("l"), true));
    let closing = async {
        node.close().await;
    };
    let leaving = async {
        assert!(matches!(side.answer().await.payload, Some(Payload::Deregister(_))));
        side.out = None;
    };
    tokio::join!(closing, leaving);
    assert_eq!(node.counts().nodes, 0);
}

#[tokio::test]
async fn a_node_that_is_turned_away_asks_again_after_a_minute_and_the_next_controller_in_turn() {
    let (mut first, mut second) = (control_at("127.0.0.1:0").await, control_at("127.0.0.1:0").await);
    let plane = Arc::new(Plane::default());
    let node = open(&plane, &[&first, &second]);
    let mut side = first.channel().await;
    let _register = side.next().await;
    side.say("no", Payload::Registered(Registered::default()));
    let rejected = async {
        while node.counts().rejected == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, rejected).await.expect("it is turned away");
    assert!(second.channels.try_recv().is_err());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let (_side, register) = second.registered(Vec::new(), Vec::new()).await;
    assert_eq!(register.node_id, "a1");
}

#[tokio::test]
async fn a_controller_is_dialled_with_tls_and_believed_by_its_certificate_alone() {
    let made = rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let provider = || Arc::new(default_provider());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let config = Arc::new(config);
    let options = Options { tls: Some(Arc::new(move || Arc::clone(&config))), ..Options::default() };
    let board = InMemory::new(&[("a", std::str::from_utf8(SECRET).unwrap())], None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (door, [south, _]) = SlimControl::open(Some(listener), None, board, options).unwrap();
    let address = south.unwrap().to_string();
    let believing = |certificate: Option<CertificateDer<'static>>| {
        let mut roots = RootCertStore::empty();
        certificate.into_iter().for_each(|der| roots.add(der).unwrap());
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    };
    let stranger = Arc::new(Plane { believes: believing(None), ..Plane::default() });
    let stranger = open_at(&stranger, vec![Place { address: address.clone(), tls: true }]);
    let plane = Arc::new(Plane { believes: believing(Some(made.cert.der().clone())), ..Plane::default() });
    let node = open_at(&plane, vec![Place { address, tls: true }]);
    let registered = async {
        while door.counts().nodes == 0 || node.counts().nodes == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, registered).await.expect("it is taken");
    assert_eq!((stranger.counts().registered, door.counts().registered), (0, 1));
    node.close().await;
    let left = async {
        while door.counts().nodes > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, left).await.expect("it takes leave");
    stranger.close().await;
    door.close().await;
}
