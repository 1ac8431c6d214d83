//! The controller's side of control channels: original nodes register, are told their links and routes, and say what
//! is there.

mod details;
mod own;
mod session;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Response;
use mesh::control::{Act, Event};
use mesh::names::NodeId;
use mesh::plan::{Generation, LinkPlan};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::board::{Board, Channel};
use crate::counts::Totals;
use crate::grpc::{Call, Calls, Code, Incoming, Part, Reply, Status, frame};
use crate::limits::{DECIDE_DEADLINE, LATER, REGISTER_DEADLINE, SWEEP, WAITING_MAX};
use crate::names::Seen;
use crate::proof;
use crate::proto::control::{ControlMessage, Details, OPEN_CONTROL_CHANNEL, Payload, Register, Registered};
pub(crate) use session::Asked;
use session::{Session, Step};

/// Questions of operators that may wait for a node.
const ASKED_MAX: usize = 16;

/// Characters that a log shows of what a stranger calls himself.
const SHOWN_MAX: usize = 64;

/// A node that is registered here.
struct Joined {
    session: u64,
    details: Vec<Details>,
    ask: mpsc::Sender<Asked>,
}

/// The nodes that are registered here, and what their channels share.
pub(crate) struct Nodes {
    pub(crate) board: Arc<dyn Board>,
    pub(crate) seen: Arc<Seen>,
    totals: Arc<Totals>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Unique by node: the last that registered counts.
    joined: Mutex<BTreeMap<NodeId, Joined>>,
}

impl Nodes {
    pub(crate) fn new(
        board: Arc<dyn Board>,
        tasks: TaskTracker,
        stopping: CancellationToken,
        totals: Arc<Totals>,
    ) -> Self {
        Nodes { board, seen: Arc::default(), totals, tasks, stopping, joined: Mutex::default() }
    }

    /// What a node said of itself when it registered.
    pub(crate) fn details(&self, node: &NodeId) -> Vec<Details> {
        self.joined.lock().get(node).map(|joined| joined.details.clone()).unwrap_or_default()
    }

    /// Where a node that is registered here is asked.
    pub(crate) fn asks(&self, node: &NodeId) -> Option<mpsc::Sender<Asked>> {
        self.joined.lock().get(node).map(|joined| joined.ask.clone())
    }

    /// What is known of whoever takes a link.
    fn taker(&self, link: &LinkPlan) -> Option<Details> {
        let joined = self.joined.lock();
        let mut others = joined.iter().filter(|(node, _)| node.domain == link.domain);
        let fits = |each: &&Details| link.dial.as_deref().is_some_and(|dial| says(each, dial));
        match &link.node {
            Some(name) => {
                let details = others.find(|(node, _)| node.node == *name).map(|(_, joined)| &joined.details)?;
                details.iter().find(fits).or(details.first()).cloned()
            }
            None => others.flat_map(|(_, joined)| &joined.details).find(fits).cloned(),
        }
    }

    fn join(&self, node: &NodeId, joined: Joined) {
        self.joined.lock().insert(node.clone(), joined);
    }

    fn leave(&self, node: &NodeId, session: u64) {
        let mut joined = self.joined.lock();
        if joined.get(node).is_some_and(|known| known.session == session) {
            joined.remove(node);
        }
    }
}

/// Whether a node said that it is dialled there from other domains.
fn says(details: &Details, dial: &str) -> bool {
    details.external_endpoint.as_deref().is_some_and(|external| external.ends_with(dial))
}

impl Calls for Nodes {
    fn answer(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Response<Reply>> + Send>> {
        if call.path != OPEN_CONTROL_CHANNEL {
            let status = Status::new(Code::Unimplemented, "unknown service or method");
            return Box::pin(std::future::ready(Reply::refused(status)));
        }
        let (out, flow) = mpsc::channel(WAITING_MAX);
        let nodes = Arc::clone(&self);
        self.tasks.spawn(async move {
            let stopping = nodes.stopping.clone();
            tokio::select! {
                () = open(nodes, call, out) => {}
                () = stopping.cancelled() => {}
            }
        });
        Box::pin(std::future::ready(Reply::flow(flow)))
    }
}

/// One control channel, from its first message to its end.
async fn open(nodes: Arc<Nodes>, call: Call, out: mpsc::Sender<Part>) {
    let Call { mut body, from, presented, .. } = call;
    let message = match timeout(REGISTER_DEADLINE, body.next::<ControlMessage>()).await {
        Ok(Some(Ok(message))) => message,
        Ok(Some(Err(status))) => return end(&out, status),
        Ok(None) | Err(_) => return,
    };
    let id = message.message_id.clone();
    let Some(Payload::Register(register)) = message.payload else {
        return own::answer(&nodes, message, &mut body, &out, presented.as_deref()).await;
    };
    let admitted = admit(&nodes, &register);
    // The rest of what a stranger said goes now.
    let Parts { details, node, domain } = Parts::of(register);
    if let Err(turned) = &admitted {
        warn!(%from, %node, %domain, why = %turned, "a SLIM node is turned away");
        nodes.totals.rejected();
    }
    let control = Control { out, body, id, from, nodes };
    let node = match admitted {
        Ok(node) => node,
        // Its domain may be declared later: it is to come again.
        Err(turned @ Turned::Undeclared) => return control.later(&turned.to_string()).await,
        Err(_) => return reject(&control.out, control.id),
    };
    match control.nodes.board.open().await {
        Some(channel) => control.run(node, details, channel).await,
        None => control.later("this node is no controller, or stops").await,
    }
}

/// What is kept of a registration.
struct Parts {
    details: Vec<Details>,
    /// Its id and its domain, as far as a log shows them.
    node: String,
    domain: String,
}

impl Parts {
    fn of(register: Register) -> Self {
        let cut = |text: &str| text.chars().take(SHOWN_MAX).collect();
        let domain = cut(register.domain_name.as_deref().unwrap_or_default());
        Parts { node: cut(&register.node_id), domain, details: register.details }
    }
}

/// Why a node is not taken.
#[derive(Debug, thiserror::Error)]
enum Turned {
    /// What it says of itself cannot be.
    #[error("its domain or its id is no name")]
    Name,
    /// Nothing is known by which it could prove its domain.
    #[error("its domain is not declared, or has no secret")]
    Undeclared,
    /// It did not prove its domain.
    #[error(transparent)]
    Unproven(#[from] proof::Unproven),
}

/// Who a node is, where it proved it.
fn admit(nodes: &Nodes, register: &Register) -> Result<NodeId, Turned> {
    let domain = register.domain_name.as_deref().unwrap_or_default();
    let node = details::node_id(domain, &register.node_id).ok_or(Turned::Name)?;
    let secret = nodes.board.secret(&node.domain).ok_or(Turned::Undeclared)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    proof::verify(&register.credentials, &secret, domain, &register.node_id, now)?;
    Ok(node)
}

fn end(out: &mpsc::Sender<Part>, status: Status) {
    // Who reads may have gone, or reads nothing.
    let _gone = out.try_send(Part::End(status));
}

/// Turns a node away: it does not come again.
fn reject(out: &mpsc::Sender<Part>, id: String) {
    let reply = Registered { original_message_id: id, success: false, ..Registered::default() };
    let reply = ControlMessage::new(String::from("rejected"), Payload::Registered(reply));
    let _gone = out.try_send(Part::Message(frame(&reply)));
}

/// A control channel whose node proved who it is.
struct Control {
    nodes: Arc<Nodes>,
    out: mpsc::Sender<Part>,
    body: Incoming,
    /// The message by which it registered.
    id: String,
    from: IpAddr,
}

impl Control {
    async fn run(mut self, node: NodeId, details: Vec<Details>, mut channel: Channel) {
        let session = channel.session;
        let (ask, asked) = mpsc::channel(ASKED_MAX);
        let endpoints = details::endpoints(&details, self.from);
        self.nodes.join(&node, Joined { session, details, ask });
        let board = Arc::clone(&self.nodes.board);
        let _left = Left { nodes: Arc::clone(&self.nodes), node: node.clone(), session };
        let plan = Generation::default();
        let came = Event::Registered { session, node: node.clone(), endpoints, plan, up: Vec::new(), routes: true };
        board.event(came).await;
        let first = match timeout(DECIDE_DEADLINE, channel.acts.recv()).await {
            Ok(Some(Act::Reject { why, .. })) => {
                warn!(%node, %why, "a SLIM node is turned away");
                self.nodes.totals.rejected();
                return if why.is_final() { reject(&self.out, self.id) } else { self.later(&why.to_string()).await };
            }
            Ok(Some(act)) => act,
            Ok(None) | Err(_) => return self.later("no controller leads").await,
        };
        info!(%node, from = %self.from, "a SLIM node registered");
        self.nodes.totals.enter();
        if self.registered() {
            self.talk(Session::new(session, node.clone(), Arc::clone(&self.nodes.seen)), first, channel.acts, asked)
                .await;
        }
        self.nodes.totals.leave();
        info!(%node, "the control channel of a SLIM node ended");
    }

    /// Has the node try again after a while. One that was not told that it was taken does not come again.
    async fn later(&self, why: &str) {
        self.registered();
        sleep(LATER).await;
        end(&self.out, Status::new(Code::Unavailable, why));
    }

    /// Says that the node is taken.
    fn registered(&self) -> bool {
        let reply = Registered { original_message_id: self.id.clone(), success: true, ..Registered::default() };
        self.send(ControlMessage::new(String::from("registered"), Payload::Registered(reply)))
    }

    /// Says something to the node; whether it has room for it.
    fn send(&self, message: ControlMessage) -> bool {
        self.out.try_send(Part::Message(frame(&message))).is_ok()
    }

    async fn talk(
        &mut self,
        mut session: Session,
        first: Act,
        mut acts: mpsc::Receiver<Act>,
        mut asked: mpsc::Receiver<Asked>,
    ) {
        let nodes = Arc::clone(&self.nodes);
        let known = |link: &LinkPlan| nodes.taker(link);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.reset();
        let mut steps = session.act(first, &known);
        loop {
            if !self.take(std::mem::take(&mut steps), &session).await {
                return;
            }
            steps = tokio::select! {
                message = self.body.next::<ControlMessage>() => match message {
                    Some(Ok(message)) => session.heard(message, &known),
                    Some(Err(status)) => return end(&self.out, status),
                    None => return,
                },
                act = acts.recv() => match act {
                    Some(act) => session.act(act, &known),
                    None => return,
                },
                Some(asked) = asked.recv() => vec![session.ask(asked)],
                _ = sweep.tick() => session.look().into_iter().collect(),
                () = self.out.closed() => return,
            };
        }
    }

    /// Does what is to be done; whether the channel goes on.
    async fn take(&self, steps: Vec<Step>, session: &Session) -> bool {
        for step in steps {
            match step {
                Step::Send(message) => {
                    if matches!(message.payload, Some(Payload::Command(_))) {
                        self.nodes.totals.command();
                    }
                    if !self.send(message) {
                        debug!(node = %session.node(), "a SLIM node does not read");
                        return false;
                    }
                }
                Step::Tell(event) => {
                    if let Event::Acked { failed, .. } = &event {
                        self.nodes.totals.failed(failed.len());
                    }
                    self.nodes.board.event(event).await;
                }
                Step::End => return false,
            }
        }
        true
    }
}

/// Says that a channel is gone, however it ended.
struct Left {
    nodes: Arc<Nodes>,
    node: NodeId,
    session: u64,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.nodes.leave(&self.node, self.session);
        let (board, session) = (Arc::clone(&self.nodes.board), self.session);
        self.nodes.tasks.spawn(async move { board.event(Event::Gone { session }).await });
    }
}
