//! Peers: what waits for each, how far behind it is, whether it is tried.

use serde::Deserialize;
use serde_json::Value;

use super::super::client::{Client, Reach};
use super::super::failure::Failure;
use super::super::form::{Form, Theirs, cell};
use super::super::output::safe;
use super::deliveries::lag;
use super::{GROUPS_HINT, about, hinted};

pub const EXAMPLES: &str = "Examples:
  tidings federation peers
  tidings fed peers --group cloudedge -o json";

/// Flags of `tidings federation peers`.
#[derive(Debug, clap::Args)]
pub struct PeersArgs {
    /// Only this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Listed {
    peers: Vec<Peer>,
}

/// A peer as the node tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Peer {
    group: String,
    peer: String,
    endpoint: Option<String>,
    breaker: String,
    queue: u64,
    lag_seconds: f64,
    mode: String,
    last_error: Option<String>,
    next_attempt_at: Option<String>,
}

/// Lists peers.
pub fn run(args: &PeersArgs) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let request = about(&["peers"]).query_if("group", args.group.as_ref());
    let answer = client.ask(&request).map_err(hinted(GROUPS_HINT))?;
    let peers = serde_json::from_slice::<Listed>(&answer).map_err(Failure::strange)?.peers;
    // routerd's command line knows no peers: the node's own answer stands for it.
    let theirs = || Theirs::Document(serde_json::from_slice(&answer).unwrap_or(Value::Null));
    args.form.show(&answer, theirs, |out| {
        if peers.is_empty() {
            eprintln!("no peer is declared; declare an EventPeer with: tidings apply -f FILE");
            return Ok(());
        }
        let header = ["GROUP", "PEER", "ENDPOINT", "BREAKER", "QUEUE", "LAG", "MODE", "NEXT_ATTEMPT", "LAST_ERROR"];
        out.table(&header, &[4], peers.iter().map(|peer| peer.row(&args.form)).collect())
    })
}

impl Peer {
    fn row(&self, form: &Form) -> Vec<String> {
        let mut row = vec![safe(&self.group), safe(&self.peer), cell(self.endpoint.as_deref().unwrap_or_default())];
        row.extend([cell(&self.breaker), self.queue.to_string(), lag(self.lag_seconds), cell(&self.mode)]);
        row.push(form.moment(self.next_attempt_at.as_deref()));
        row.push(cell(self.last_error.as_deref().unwrap_or_default()));
        row
    }
}
