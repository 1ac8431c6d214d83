//! Every limit of the controller, with its unit and its reason.

use core::time::Duration;

/// How long changes are gathered before plans are made: nodes that start together are told once. What mends
/// something (a node or a link that was lost) is not gathered.
pub const GATHER: Duration = Duration::from_millis(20);

/// How long a controller that begins to lead waits for the nodes that its predecessor led, before it plans without
/// those that did not come.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Wait before a plan that is not acknowledged is told again: a round trip across the world, and its work.
pub const RETELL_FIRST: Duration = Duration::from_millis(500);

/// Longest such wait.
pub const RETELL_MAX: Duration = Duration::from_secs(30);

/// How long a link that was lost has to come back by itself, before another pair of nodes is asked to hold it.
pub const LINK_GRACE: Duration = Duration::from_millis(300);

/// How long a new link has to come up, before another pair of nodes is asked: a dial across the world, twice.
pub const LINK_FIRST: Duration = Duration::from_secs(3);

/// Longest wait between two attempts to hold a link by another pair.
pub const LINK_RETRY_MAX: Duration = Duration::from_secs(60);

/// How long a link is down before paths lead around it.
pub const EDGE_GRACE: Duration = Duration::from_secs(2);

/// How long a link that another took the place of stays: until both ends have the plan that says so, and what was on
/// its way arrived.
pub const RETIRE: Duration = Duration::from_secs(2);

/// How long after a node came or went the load of gateways is looked at: nodes that start together are all there.
pub const BALANCE: Duration = Duration::from_secs(3);

/// How many links of gateways more than the least loaded one of its domain a node holds before one is moved.
pub const BALANCE_SPREAD: usize = 2;

/// Most links that are moved at a time: each costs both domains a plan.
pub const BALANCE_MOVES_MAX: usize = 16;

/// How often everything is computed anew and compared with what was told.
pub const SWEEP: Duration = Duration::from_secs(60);

/// Most nodes of one domain: in a full mesh each holds a link to each.
pub const DOMAIN_NODES_MAX: usize = 512;

/// Most nodes in all.
pub const NODES_MAX: usize = 16_384;

/// Most names that one node may announce for routes.
pub const ANNOUNCED_MAX: usize = 200_000;

/// Most links that one report may tell of.
pub const STANDING_MAX: usize = 16_384;

const _: () = assert!(EDGE_GRACE.as_millis() > LINK_GRACE.as_millis(), "a sibling is asked before paths change");
const _: () = assert!(DOMAIN_NODES_MAX < STANDING_MAX, "a node can tell of all its links");
