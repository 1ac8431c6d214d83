//! Links that this node dials: one task for each, for as long as the plan names it.
//!
//! # Invariants
//! - One attempt for a link at a time. After each that failed, and after each connection that ended at once, the next
//!   waits longer, up to [`PAUSE_MAX`]; one that lasted begins anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use link::mesh::{Hello, LinkKey, Purpose, dial};
use mesh::names::{LinkId, NodeId};
use mesh::plan::LinkPlan;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::body::Body;
use super::data::carry;
use crate::entropy::seed;

/// How long after the first attempt that failed the next is made, and half as long at the least: a peer that hears of
/// the plan a little later knows it by then.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// How long two attempts are apart, at most: a peer that comes back is found soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a connection must last for the next to be dialled at once.
const LASTED: Duration = Duration::from_secs(5);

/// The tasks that dial.
#[derive(Default)]
pub(super) struct Dialler {
    body: Weak<Body>,
    dialled: BTreeMap<LinkId, (LinkPlan, CancellationToken)>,
}

impl Dialler {
    pub(super) fn begin(&mut self, body: &Arc<Body>) {
        self.body = Arc::downgrade(body);
    }

    /// Dials exactly those of these links that are to be dialled. One that is as it was is left alone.
    pub(super) fn want(&mut self, want: Vec<LinkPlan>) {
        let mut before = std::mem::take(&mut self.dialled);
        for plan in want.into_iter().filter(|plan| plan.dial.is_some()) {
            let entry = match before.remove(&plan.id) {
                Some((known, end)) if is_same(&known, &plan) => (plan, end),
                other => {
                    other.inspect(|(_, end)| end.cancel());
                    let Some(body) = self.body.upgrade() else { return };
                    let end = body.end.child_token();
                    tokio::spawn(keep_up(body, plan.clone(), end.clone()));
                    (plan, end)
                }
            };
            self.dialled.insert(entry.0.id.clone(), entry);
        }
        before.values().for_each(|(_, end)| end.cancel());
    }
}

/// Whether what is dialled, and as whom, is as it was.
fn is_same(one: &LinkPlan, two: &LinkPlan) -> bool {
    one.dial == two.dial && one.key == two.key && one.domain == two.domain && one.node == two.node
}

/// Holds one link until it is wanted no more.
async fn keep_up(body: Arc<Body>, plan: LinkPlan, end: CancellationToken) {
    let mut pause = PAUSE_MIN;
    while !end.is_cancelled() {
        let began = Instant::now();
        // A link that is up is never dropped: it tells of its end.
        let why = attempt(&body, &plan, &end).await;
        if end.is_cancelled() {
            return;
        }
        debug!(link = %plan.id, why, "a link is not up");
        body.trouble(&plan.id, why);
        if began.elapsed() >= LASTED {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = sleep(pause / 2 + part(pause / 2)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A part of a time, by chance: nodes that lost the same peer do not dial it at the same moment.
fn part(most: Duration) -> Duration {
    let chance = seed().map_or(0, |[word, _]| word % 1_000);
    most * u32::try_from(chance).unwrap_or(0) / 1_000
}

/// Dials once, and carries the link until it ends; why it is not up.
async fn attempt(body: &Arc<Body>, plan: &LinkPlan, end: &CancellationToken) -> String {
    let Some(address) = plan.dial.as_deref() else { return "it is not to be dialled".to_owned() };
    let to = match &plan.node {
        Some(node) => NodeId { domain: plan.domain.clone(), node: node.clone() }.to_string(),
        None => plan.domain.to_string(),
    };
    let from = body.id.to_string();
    let hello = Hello { purpose: Purpose::Link, link: plan.id.to_string(), from: from.clone(), to };
    let key = LinkKey::new(plan.key);
    let dialled = tokio::select! {
        () = end.cancelled() => return "it is not to be dialled".to_owned(),
        dialled = dial(address, hello, &key, from.as_bytes()) => dialled,
    };
    let opened = match dialled {
        Ok(opened) => opened,
        Err(error) => return format!("{address} {error}"),
    };
    let Some(peer) = peer(&opened.told, plan) else {
        return format!("{address} is not the node that the plan names");
    };
    info!(link = %plan.id, %peer, "a link is up");
    let ended = carry(body, opened, plan, peer, true, end).await;
    info!(link = %plan.id, why = %ended, "a link has ended");
    ended.to_string()
}

/// Who is at the other end, where that is whom the plan names.
pub(super) fn peer(told: &[u8], plan: &LinkPlan) -> Option<NodeId> {
    let peer = NodeId::parse(std::str::from_utf8(told).ok()?).ok()?;
    let named = plan.node.as_ref().is_none_or(|node| *node == peer.node);
    (named && peer.domain == plan.domain).then_some(peer)
}
