//! Facts between sites: what was stated, to whom it was told, and what came of it.
//!
//! `tidings federation` (`fed`) gathers these commands under the words that routerd's own command line
//! has for them; the same commands stand beside those on events. Here are words and flags; a submodule
//! asks the node about one thing each and shows the answer. Nothing here knows how facts travel.

pub mod deliveries;
pub mod facts;
mod peers;
pub mod runs;
pub mod trace;

use super::client::Request;
use super::failure::Failure;

/// What to do where a group is missing.
const GROUPS_HINT: &str = "see what is declared: tidings get EventGroup; declare a group with: tidings apply -f FILE";

/// What can be asked about facts between sites, in the words of `routerctl federation`.
#[derive(Debug, clap::Subcommand)]
pub enum FederationCommand {
    /// State, withdraw, list and trace facts
    #[command(subcommand)]
    Event(FactCommand),
    /// What became of facts towards peers, counted
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// What subscriptions did
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Peers: what waits for each, how far behind it is, whether it is tried
    #[command(after_help = peers::EXAMPLES)]
    Peers(peers::PeersArgs),
    /// What is wrong, by how much, and what to do
    #[command(after_help = super::doctor::EXAMPLES)]
    Doctor(super::doctor::CheckArgs),
}

/// What can be done with facts.
#[derive(Debug, clap::Subcommand)]
pub enum FactCommand {
    /// State a fact in a group, to be told to its peers
    #[command(after_help = facts::EMIT_EXAMPLES)]
    Emit(facts::StateArgs),
    /// Take a fact back: peers are told, and what was derived from it goes
    #[command(after_help = facts::WITHDRAW_EXAMPLES)]
    Withdraw(facts::WithdrawArgs),
    /// List the facts that hold
    #[command(after_help = facts::LIST_EXAMPLES)]
    List(facts::ListArgs),
    /// What became of each fact towards each peer
    #[command(after_help = deliveries::EXAMPLES)]
    Deliveries(deliveries::DeliveriesArgs),
    /// Where a fact went: recorded, pushed, received, matched, run, derived
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::TraceArgs),
}

/// What can be asked about deliveries to peers.
#[derive(Debug, clap::Subcommand)]
pub enum DeliveriesCommand {
    /// One row for each group and peer: delivered, stale, failed, pending, lag
    #[command(after_help = deliveries::SUMMARY_EXAMPLES)]
    Summary(deliveries::SummaryArgs),
}

/// What can be asked about subscriptions.
#[derive(Debug, clap::Subcommand)]
pub enum SubscriptionCommand {
    /// Calls of plugins: for which facts, with what outcome
    #[command(after_help = runs::EXAMPLES)]
    Runs(runs::RunsArgs),
}

/// Does what was asked.
pub fn run(command: FederationCommand) -> Result<(), Failure> {
    match command {
        FederationCommand::Event(FactCommand::Emit(args)) => facts::state(&args),
        FederationCommand::Event(FactCommand::Withdraw(args)) => facts::withdraw(&args),
        FederationCommand::Event(FactCommand::List(args)) => facts::list(&args),
        FederationCommand::Event(FactCommand::Deliveries(args)) => deliveries::list(&args),
        FederationCommand::Event(FactCommand::Trace(args)) => trace::run(&args),
        FederationCommand::Deliveries(command) => run_deliveries(command),
        FederationCommand::Subscription(command) => run_subscription(command),
        FederationCommand::Peers(args) => peers::run(&args),
        FederationCommand::Doctor(args) => super::doctor::federation(&args),
    }
}

/// Does what was asked about deliveries.
pub fn run_deliveries(command: DeliveriesCommand) -> Result<(), Failure> {
    let DeliveriesCommand::Summary(args) = command;
    deliveries::summary(&args)
}

/// Does what was asked about subscriptions.
pub fn run_subscription(command: SubscriptionCommand) -> Result<(), Failure> {
    let SubscriptionCommand::Runs(args) = command;
    runs::run(&args)
}

/// A question about the federation.
fn about(segments: &[&str]) -> Request {
    Request::get(&[&["federation"], segments].concat())
}

/// Says what to do where something does not exist, unless the node names a command for that itself.
pub fn hinted(hint: &'static str) -> impl Fn(Failure) -> Failure {
    move |failure| match failure {
        Failure::NotFound(mut problem) => {
            let hint = if problem.detail.contains("tidings ") { "" } else { hint };
            problem.hint.get_or_insert_with(|| hint.to_owned());
            Failure::NotFound(problem)
        }
        other => other,
    }
}
