//! The command line: what can be asked of it, and where each command leads.
//!
//! `serve` runs a node; every other command talks to a node over its HTTP API, but `verify` and `migrate`,
//! which read a data directory while no node runs on it. Exit codes are in [`failure`].

mod bench;
mod bulk;
mod catalog;
mod client;
mod consul;
mod consumer;
mod decode;
mod deliveries;
mod demo;
mod doctor;
mod dynamic;
mod emit;
mod event;
mod failure;
mod federation;
mod form;
mod hub;
mod inbox;
mod interrupt;
mod kept;
mod kinds;
mod kv;
mod lines;
mod mesh;
mod migrate;
mod output;
mod plugin;
mod record;
mod resource;
mod room;
mod schema;
mod segment;
mod sse;
mod stream;
mod template;
mod trace;
mod unit;
mod units;
mod verify;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::failure::Failure;
use crate::serve;

/// A node that records, keeps and delivers events, and the commands that talk to one.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused by the node or found wrong, 2 usage, 3 no node reached, \
                          4 not found, 130 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until it is told to stop
    Serve(Box<serve::ServeArgs>),
    /// See a node record, survive a kill, and deliver: everything in a scratch directory
    Demo(demo::DemoArgs),
    /// Record, list, follow and show events
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Declare and look after streams
    #[command(subcommand)]
    Stream(stream::StreamCommand),
    /// Declare consumers, take messages from them and acknowledge
    #[command(subcommand)]
    Consumer(consumer::ConsumerCommand),
    /// Keep the rooms of the hub door, and send events to them
    #[command(subcommand)]
    Room(room::RoomCommand),
    /// Who is connected to the hub door, and how its links stand
    #[command(subcommand)]
    Hub(hub::HubCommand),
    /// Keep what is for a name of the SLIM door while its owner is away
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// The nodes, links and routes between domains, and the graph of them
    #[command(subcommand)]
    Mesh(mesh::MeshCommand),
    /// The parts of the mesh: declare them, prove a change of them, say who reaches whom and why
    #[command(subcommand)]
    Segment(segment::SegmentCommand),
    /// Show the way of a message through the mesh
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::TraceArgs),
    /// What services there are: list, register, deregister
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Run a command whenever what is watched changes, with the result on its standard input
    #[command(subcommand)]
    Watch(watch::WatchCommand),
    /// Keys and their values: read, write, list, delete, watch
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// What is true now: declare views, read and watch them, keep them in a database
    #[command(subcommand)]
    View(view::ViewCommand),
    /// Say what payloads must be, by subject
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Put resources in force: groups, peers, subscriptions, plugins and others
    #[command(after_help = resource::APPLY_EXAMPLES)]
    Apply(resource::ApplyArgs),
    /// List resources, or show one
    #[command(after_help = resource::GET_EXAMPLES)]
    Get(resource::GetArgs),
    /// Show a resource with its history
    Describe(resource::DescribeArgs),
    /// Take resources out of force; their history stays
    #[command(after_help = resource::DELETE_EXAMPLES)]
    Delete(resource::DeleteArgs),
    /// Compare resources of files with those in force; exit code 1 where they differ
    Diff(resource::DiffArgs),
    /// Say what a kind of resource, or a field of one, is
    Explain(kinds::ExplainArgs),
    /// List the kinds of resources, or write their JSON Schemas for an editor
    Kinds(kinds::KindsArgs),
    /// Facts between sites, in the words of routerd's own command line
    #[command(subcommand, visible_alias = "fed")]
    Federation(Box<federation::FederationCommand>),
    /// What became of facts towards peers, counted
    #[command(subcommand)]
    Deliveries(federation::DeliveriesCommand),
    /// What subscriptions did with facts
    #[command(subcommand)]
    Subscription(federation::SubscriptionCommand),
    /// What was derived from facts, and the configuration in effect with it
    #[command(subcommand)]
    Dynamic(dynamic::DynamicCommand),
    /// List plugins, and run one by hand
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Say what is wrong with facts between sites and with what is derived from them, and what to do
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Check a data directory while no node runs on it
    Verify(verify::VerifyArgs),
    /// Copy a data directory to a NATS cluster while no node runs on it
    Migrate(migrate::MigrateArgs),
    /// Print a service unit for a node
    #[command(subcommand)]
    Unit(unit::UnitCommand),
    /// Measure how fast a node records
    Bench(bench::BenchArgs),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => return served(*args),
        Command::Demo(args) => demo::run(args),
        Command::Event(command) => event::run(command),
        Command::Stream(command) => stream::run(command),
        Command::Consumer(command) => consumer::run(command),
        Command::Room(command) => room::run(command),
        Command::Hub(command) => hub::run(command),
        Command::Inbox(command) => inbox::run(command),
        Command::Mesh(command) => mesh::run(command),
        Command::Segment(command) => segment::run(command),
        Command::Trace(args) => trace::run(&args),
        Command::Catalog(command) => catalog::run(command),
        Command::Watch(command) => watch::run(command),
        Command::Kv(command) => kv::run(command),
        Command::View(command) => view::run(command),
        Command::Schema(command) => schema::run(command),
        Command::Apply(args) => resource::apply(&args),
        Command::Get(args) => resource::get(&args),
        Command::Describe(args) => resource::describe(&args),
        Command::Delete(args) => resource::delete(&args),
        Command::Diff(args) => resource::diff(&args),
        Command::Explain(args) => kinds::run_explain(&args),
        Command::Kinds(args) => kinds::run_kinds(&args),
        Command::Federation(command) => federation::run(*command),
        Command::Deliveries(command) => federation::run_deliveries(command),
        Command::Subscription(command) => federation::run_subscription(command),
        Command::Dynamic(command) => dynamic::run(command),
        Command::Plugin(command) => plugin::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Verify(args) => verify::run(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Unit(command) => unit::run(command),
        Command::Bench(args) => bench::run(args),
        Command::Completion { shell } => completion(shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.code()
        }
    }
}

fn served(args: serve::ServeArgs) -> ExitCode {
    match serve::run(args) {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidings", &mut script);
    let mut out = output::Out::new();
    out.bytes(&script)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn check(line: &str, good: bool) {
        let parsed = Cli::try_parse_from(line.split_whitespace());
        assert_eq!(parsed.is_ok(), good, "{line}: {:?}", parsed.err().map(|error| error.to_string()));
    }

    #[test]
    fn flags_that_contradict_are_refused() {
        check("tidings event emit --type t --data x --payload a=1", false);
        check("tidings event emit --type t --payload a=1 --payload b=2", true);
        check("tidings event emit", false);
        check("tidings event emit --ndjson", true);
        check("tidings event emit --ndjson --data x", false);
        check("tidings event emit --type t --resume f", false);
        check("tidings event tail --from 3 --since 2h", false);
        check("tidings event tail -n 5 --since 2h", false);
        check("tidings consumer pause S c --until 2026-01-31 --for 5m", false);
        check("tidings stream add S", false);
        check("tidings stream add S --subjects a.>,b", true);
        check("tidings bench --messages 0", false);
        check("tidings event emit --group g --type t --ttl 5m --dedupe-key k --observed-at 5m", true);
        check("tidings event emit --type t --dedupe-key k", false);
        check("tidings event emit --group g --withdraw", false);
        check("tidings event emit --group g --id i --withdraw", true);
        check("tidings event list --group g --stream S", false);
        check("tidings event list --include-expired", false);
        check("tidings fed event emit --type t", false);
        check("tidings fed event list --include-expired -o yaml", true);
        check("tidings fed event list --json -o yaml", false);
        check("tidings plugin run p --event e", false);
        check("tidings doctor everything", false);
        check("tidings apply", false);
        check("tidings apply -f a -f b --dry-run", true);
        check("tidings apply -f a --dry-run --offline", false);
        check("tidings get eg", true);
        check("tidings get", false);
        check("tidings get Whatever name -o yaml", true);
        check("tidings get eg --api-version v", false);
        check("tidings delete eg", false);
        check("tidings delete eg a b", true);
        check("tidings delete -f a", true);
        check("tidings delete eg a -f b", false);
        check("tidings delete", false);
        check("tidings kinds --out d --json", false);
        check("tidings view add v", false);
        check("tidings view add v --stream S --key token:2", true);
        check("tidings view get v k --raw", true);
        check("tidings view get v --raw", false);
        check("tidings view get v k --wait 5s", false);
        check("tidings view sync --view v", false);
        check("tidings view sync -f file --once", true);
        check("tidings view sync --view v --to sqlite:a --table t --column k=$key", true);
        check("tidings view sync -f file --view v", false);
        check("tidings watch service web -- cat", true);
        check("tidings watch service web --times 2 --passing", true);
        check("tidings watch service web cat", false);
        check("tidings catalog deregister", false);
        check("tidings catalog deregister web1 --node n1", true);
        check("tidings catalog deregister --node n1", true);
        check("tidings catalog services --consul http://x --data d", false);
        check("tidings inbox keep", false);
        check("tidings inbox keep org/ns/app --for 7d --bytes-max 1GiB", true);
        check("tidings segment add s", false);
        check("tidings segment add s --link a:b --dry-run", true);
        check("tidings segment check", false);
        check("tidings segment check --without s", true);
        check("tidings segment explain a", false);
        check("tidings mesh graph --as svg", true);
        check("tidings mesh graph --as png", false);
        check("tidings trace a.b --from d/n", true);
        check("tidings kv put k v --cas 3 --flags 7", true);
        check("tidings kv rm k --recurse --cas 1", false);
        check("tidings kv watch k --prefix -- cat", true);
    }
}
