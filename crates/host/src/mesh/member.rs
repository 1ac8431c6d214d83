//! A node's side of its control channel: it registers, applies the plans that it is told, and reports.
//!
//! ```text
//!            dial each place in turn            registered
//!  away ───────────────────────────▶ proving ───────────────▶ led ──┐ plans in, acknowledged; links reported
//!   ▲  └──── wait, a little longer each time ◀── closed, moved ─────┘
//! ```
//!
//! While no controller can be reached the node goes on with the plan that it has: the last one is kept on disk, and
//! is applied before the first dial. Where a controller says that another one leads, that one is dialled next.
//!
//! # Invariants
//! - A plan is kept and applied before it is acknowledged, and only one of a greater generation is applied.
//! - What is reported is the state, not its history: who registers anew tells all links that are up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use link::mesh::{Hello, Outbound, Purpose, Talk, dial};
use mesh::control::{Endpoints, Standing};
use mesh::names::LinkId;
use mesh::node::{LinkView, Report};
use mesh::plan::{Generation, LinkPlan, Plan};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::body::Body;
use super::said::{Link, Said, Word};
use super::secrets::Secrets;
use super::{ask, stored};

/// Wait before the first place is dialled again, and the longest such wait.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
/// See [`AGAIN_FIRST`]: a controller that comes back finds its nodes within it.
const AGAIN_MAX: Duration = Duration::from_secs(3);
/// How often all links are told anew: what was lost of reports is mended.
const RETELL: Duration = Duration::from_secs(20);
/// How often it is looked which links could not be brought about.
const TROUBLES: Duration = Duration::from_secs(1);
/// How long a node that stops waits for its farewell to be heard.
const FAREWELL: Duration = Duration::from_millis(300);

/// What a member is made of.
pub(crate) struct MemberParts {
    /// The node's part in the mesh.
    pub(crate) body: Arc<Body>,
    /// What its domain is proven by.
    pub(crate) secrets: Arc<Secrets>,
    /// Where controllers are, `host:port`.
    pub(crate) join: Vec<String>,
    /// Where this node can be dialled.
    pub(crate) endpoints: Endpoints,
    /// Where plans are kept.
    pub(crate) data: PathBuf,
}

/// Whether a controller leads this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Led {
    /// Where it is; `None`: none does.
    pub(crate) by: Option<String>,
    /// Why none does.
    pub(crate) why: Option<String>,
    /// Whether it was turned away for good.
    pub(crate) rejected: bool,
}

/// A node's side of its control channel.
pub(crate) struct Member {
    parts: MemberParts,
    led: Mutex<Led>,
}

/// How a control channel ended.
enum Ended {
    /// Another controller leads.
    Moved(Option<String>),
    /// The node was turned away.
    Rejected { last: bool, why: String },
    /// It could not be reached, or closed.
    Failed(String),
}

impl Member {
    /// Applies what was kept, and keeps a control channel until `end`. Spawns on the runtime that it is called in.
    pub(crate) fn start(parts: MemberParts, end: CancellationToken) -> Arc<Self> {
        let member = Arc::new(Member { parts, led: Mutex::default() });
        tokio::spawn(Arc::clone(&member).run(end));
        member
    }

    /// Whether a controller leads this node.
    pub(crate) fn led(&self) -> Led {
        self.led.lock().clone()
    }

    async fn run(self: Arc<Self>, end: CancellationToken) {
        let (data, id) = (self.parts.data.clone(), self.parts.body.id.clone());
        if let Ok(Some(plan)) = spawn_blocking(move || stored::load(&data, &id)).await {
            info!(generation = %plan.generation, "going on with the plan that was kept");
            self.parts.body.plan(plan).await;
        }
        let (mut place, mut moved, mut wait, mut quiet) = (0, None::<String>, AGAIN_FIRST, false);
        while !end.is_cancelled() {
            let address = moved.take().unwrap_or_else(|| self.place(&mut place));
            let ended = self.follow(&address, &end).await;
            if end.is_cancelled() {
                return;
            }
            let was = std::mem::take(&mut *self.led.lock()).by.is_some();
            quiet &= !was;
            let why = match ended {
                Ended::Moved(to) => {
                    debug!(from = address, to = to.as_deref(), "another controller leads");
                    moved = to;
                    "a controller is about to lead".to_owned()
                }
                Ended::Rejected { last, why } => {
                    self.led.lock().rejected = last;
                    why
                }
                Ended::Failed(why) => why,
            };
            if moved.is_none() && !std::mem::replace(&mut quiet, true) {
                warn!(controller = address, why, "no controller leads this node; it goes on with what it knows");
            }
            self.led.lock().why = Some(why);
            if self.led.lock().rejected {
                return;
            }
            wait = if was || moved.is_some() { AGAIN_FIRST } else { (wait * 2).min(AGAIN_MAX) };
            tokio::select! {
                () = sleep(wait) => {}
                () = end.cancelled() => return,
            }
        }
    }

    /// The place that is dialled next.
    fn place(&self, place: &mut usize) -> String {
        let join = &self.parts.join;
        let found = join.get(*place % join.len().max(1)).cloned().unwrap_or_default();
        *place += 1;
        found
    }

    /// One control channel, to its end.
    async fn follow(&self, address: &str, end: &CancellationToken) -> Ended {
        let MemberParts { body, secrets, endpoints, .. } = &self.parts;
        let key = secrets.key();
        let hello =
            Hello { purpose: Purpose::Control, link: String::new(), from: body.id.to_string(), to: String::new() };
        let opened = tokio::select! {
            opened = dial(address, hello, &key, &[]) => opened,
            () = end.cancelled() => return Ended::Failed("this node stops".to_owned()),
        };
        let (out, talk) = match opened {
            Ok(opened) => Talk::start(opened),
            Err(error) => return Ended::Failed(error.to_string()),
        };
        // From here on nothing is missed: what was before is in what is registered with.
        let reports = body.reports();
        let generation = body.ask(|node| node.plan().generation);
        out.control(&Word::register(endpoints, generation, self.standing()).encode());
        let channel = Channel { member: self, address, out, troubles: BTreeMap::new() };
        channel.run(talk, reports, end).await
    }

    fn standing(&self) -> Vec<Link> {
        let links = self.parts.body.ask(mesh::node::Node::links);
        links.iter().filter_map(standing).map(|up| Link::of(&up)).collect()
    }
}

/// A link that is up, as it is reported.
fn standing(view: &LinkView) -> Option<Standing> {
    let (_, peer) = view.up.as_ref()?;
    Some(Standing { link: view.plan.id.clone(), peer: peer.clone(), dialled: view.plan.dial.clone() })
}

/// A control channel that is open.
struct Channel<'a> {
    member: &'a Member,
    address: &'a str,
    out: Arc<Outbound>,
    /// Why links are not up, as it was told last.
    troubles: BTreeMap<LinkId, String>,
}

impl Channel<'_> {
    async fn run(mut self, mut talk: Talk, mut reports: Receiver<Report>, end: &CancellationToken) -> Ended {
        let (mut retell, mut look) = (interval(RETELL), interval(TROUBLES));
        for ticks in [&mut retell, &mut look] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        let traces = Arc::clone(&self.member.parts.body.traces);
        let mut traced = Instant::now();
        loop {
            tokio::select! {
                said = talk.next() => match said {
                    Ok(bytes) => {
                        if let Some(ended) = self.heard(&bytes).await {
                            return ended;
                        }
                    }
                    Err(why) => return Ended::Failed(why.to_string()),
                },
                report = reports.recv() => match report {
                    Ok(report) => self.report(report),
                    Err(RecvError::Lagged(_)) => self.say(&Word::Links { up: self.member.standing() }),
                    Err(RecvError::Closed) => return Ended::Failed("this node stops".to_owned()),
                },
                _ = retell.tick() => self.say(&Word::Links { up: self.member.standing() }),
                _ = look.tick() => self.look(),
                () = traces.due(traced) => {
                    self.say(&Word::Traced { notes: traces.untold() });
                    traced = Instant::now();
                }
                () = end.cancelled() => {
                    self.say(&Word::Leave);
                    // The controller closes when it has heard it.
                    let _late = timeout(FAREWELL, talk.next()).await;
                    return Ended::Failed("this node stops".to_owned());
                }
            }
        }
    }

    fn say(&self, word: &Word) {
        self.out.control(&word.encode());
    }

    fn report(&self, report: Report) {
        match report {
            Report::Up { link, .. } => {
                let views = self.member.parts.body.ask(mesh::node::Node::links);
                let up = views.iter().find(|view| view.plan.id == link).and_then(standing);
                if let Some(up) = up {
                    self.say(&Word::Up { up: Link::of(&up) });
                }
            }
            Report::Down { link, .. } => {
                self.say(&Word::Down { link: link.to_string(), why: "the link ended".into() });
            }
            Report::Applied(_) | Report::Stale { .. } | Report::Full { .. } => {}
        }
    }

    /// Tells of links that could not be brought about, where that is news.
    fn look(&mut self) {
        let troubles = self.member.parts.body.troubles();
        if troubles != self.troubles {
            self.troubles = troubles;
            self.acknowledge();
        }
    }

    fn acknowledge(&self) {
        let Generation { epoch, number } = self.member.parts.body.ask(|node| node.plan().generation);
        let failed = self.troubles.iter().map(|(link, why)| (link.to_string(), why.clone())).collect();
        self.say(&Word::Acked { plan: (epoch, number), failed });
    }

    /// What the controller says; the end of the channel, where that comes of it.
    async fn heard(&mut self, bytes: &[u8]) -> Option<Ended> {
        match Said::decode(bytes) {
            Err(error) => return Some(Ended::Failed(error.to_string())),
            Ok(Said::Plan(plan)) => self.take(*plan).await,
            Ok(Said::Word(Word::Moved { to })) => return Some(Ended::Moved(to)),
            Ok(Said::Word(Word::Rejected { last, why })) => return Some(Ended::Rejected { last, why }),
            Ok(Said::Word(Word::Ask { number, what })) => {
                let answer = ask::told(&self.member.parts.body, &what).await;
                self.say(&Word::Told { number, answer });
            }
            Ok(Said::Word(_)) => return Some(Ended::Failed("it says what only nodes say".to_owned())),
        }
        None
    }

    async fn take(&mut self, plan: Plan) {
        let MemberParts { body, data, .. } = &self.member.parts;
        let before = std::mem::replace(
            &mut *self.member.led.lock(),
            Led { by: Some(self.address.to_owned()), why: None, rejected: false },
        );
        if before.by.is_none() {
            info!(controller = self.address, generation = %plan.generation, "a controller leads this node");
        }
        if plan.generation > body.ask(|node| node.plan().generation) {
            let (data, id, kept) = (data.clone(), body.id.clone(), plan.clone());
            if let Ok(Err(error)) = spawn_blocking(move || stored::store(&data, &id, &kept)).await {
                warn!(%error, "the plan cannot be kept; it is applied all the same");
            }
            let planned = |link: &LinkId| plan.links.iter().any(|known: &LinkPlan| known.id == *link);
            self.troubles.retain(|link, _| planned(link));
            body.plan(plan).await;
        }
        self.acknowledge();
    }
}
