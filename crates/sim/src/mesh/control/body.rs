//! A node of few words: it applies the greatest plan that it was told, and brings its links about.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::control::{Endpoints, Standing};
use mesh::names::{LinkId, NodeId};
use mesh::plan::{LinkPlan, Plan};

/// See the module.
#[derive(Debug)]
pub struct Body {
    pub id: NodeId,
    pub endpoints: Endpoints,
    /// It runs. One that hangs runs and does not answer.
    pub alive: bool,
    pub hangs: bool,
    /// Its channel to a controller: the number of that, and the session.
    pub channel: Option<(usize, u64)>,
    pub plan: Arc<Plan>,
    /// The connections that it knows of, by link.
    pub up: BTreeMap<LinkId, (u64, Standing)>,
    /// How often it started.
    pub life: u64,
}

impl Body {
    pub fn new(id: NodeId, endpoints: Endpoints) -> Self {
        let (plan, up) = (Arc::default(), BTreeMap::new());
        Body { id, endpoints, alive: false, hangs: false, channel: None, plan, up, life: 0 }
    }

    /// Whether it does anything.
    pub fn answers(&self) -> bool {
        self.alive && !self.hangs
    }

    /// What its plan says of a link.
    pub fn planned(&self, link: &LinkId) -> Option<&LinkPlan> {
        self.plan.links.iter().find(|plan| plan.id == *link)
    }

    /// The links that it would dial now.
    pub fn dials(&self) -> Vec<LinkPlan> {
        let down = self.plan.links.iter().filter(|link| link.dial.is_some() && !self.up.contains_key(&link.id));
        down.cloned().collect()
    }

    /// What it tells of its links.
    pub fn standing(&self) -> Vec<Standing> {
        self.up.values().map(|(_, standing)| standing.clone()).collect()
    }
}
