//! How a node comes into its mesh: its secret, its control channel, and where it may lead, the controller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use door::{NameRule, Port};
use event::Pattern;
use journal::Journal;
use mesh::acl::{AclRule, Who};
use mesh::control::Endpoints;
use mesh::names::Name;
use mesh::node::Report;
use tokio::runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::Mesh;
use super::ask::Asker;
use super::body::Body;
use super::controller::{Governor, GovernorParts, Secret, read_secret};
use super::lead::{Candidate, LEASE_SUBJECT};
use super::member::{Member, MemberParts};
use super::root::Root;
use super::secrets::Secrets;
use super::stored;
use crate::config::{Config, Engine};
use crate::error::StartError;
use crate::resources::Resources;

/// How often a controller whose engine others share looks for resources that were applied at another one.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a node comes into its mesh with.
pub(crate) struct JoinParts<'a> {
    /// What it was told.
    pub(crate) config: &'a Config,
    /// Where its links come in.
    pub(crate) address: SocketAddr,
    /// Where the lease of who leads is kept, and who asks for subjects.
    pub(crate) port: Port,
    /// What is declared.
    pub(crate) resources: Arc<Resources>,
}

/// What is there once a node is in its mesh.
pub(crate) struct Joined {
    /// Who answers for the mesh.
    pub(crate) asker: Arc<Asker>,
    /// The controller, where this node may lead.
    pub(crate) governor: Option<Arc<Governor>>,
    /// What domains are proven by.
    pub(crate) secrets: Arc<Secrets>,
}

/// Comes into the mesh; until `mesh` is closed.
///
/// # Errors
/// [`StartError`] where there is no secret, or it cannot be used; and where others could not reach this controller.
pub(crate) fn join(runtime: &Runtime, mesh: &Mesh, parts: JoinParts<'_>) -> Result<Joined, StartError> {
    let JoinParts { config, address, port, resources } = parts;
    let (body, end) = (Arc::clone(mesh.body()), mesh.body().end.clone());
    let secret = secret(config)?;
    advertised(config, address)?;
    let listen: Arc<str> = config.mesh.advertise.clone().unwrap_or_else(|| address.to_string()).into();
    let external = config.mesh.external.as_deref().map(Arc::from);
    let endpoints = Endpoints { listen: Some(Arc::clone(&listen)), external };
    let _entered = runtime.enter();
    let governor = match config.mesh.controller {
        true => Some(govern(config, &body, &secret, listen, (port.journal(), &resources), &end)?),
        false => None,
    };
    if let Some(governor) = &governor {
        mesh.set_controls(Arc::clone(governor) as Arc<dyn super::Controls>);
    }
    mesh.mirror(runtime, port.journal(), resources.watch());
    tokio::spawn(rules(Arc::clone(&body), port, end.clone()));
    let own = governor.is_some().then(|| dialled(address).to_string());
    let (domain, own_secret) = (body.id.domain.clone(), (config.mesh.secret_file.clone(), secret));
    let secrets = Secrets::new(domain, own_secret, governor.clone(), resources.watch());
    let member = MemberParts {
        body: Arc::clone(&body),
        secrets: Arc::clone(&secrets),
        join: own.into_iter().chain(config.mesh.join.iter().cloned()).collect(),
        endpoints,
        data: config.data.clone(),
    };
    let member = Member::start(member, end);
    let asker = Arc::new(Asker::new(body, member, governor.clone(), resources.watch()));
    Ok(Joined { asker, governor, secrets })
}

fn govern(
    config: &Config,
    body: &Arc<Body>,
    secret: &Secret,
    address: Arc<str>,
    (journal, resources): (&Arc<dyn Journal>, &Arc<Resources>),
    end: &CancellationToken,
) -> Result<Arc<Governor>, StartError> {
    let shared = matches!(config.engine, Engine::Nats(_));
    let root = match shared {
        true => Root::Shared(Arc::clone(journal), Arc::clone(secret)),
        false => {
            let key = stored::key(&config.data);
            Root::Known(key.map_err(|error| StartError::System { doing: "keep a key of links", error })?)
        }
    };
    let (journal, node) = (Arc::clone(journal), body.id.to_string());
    let subject = LEASE_SUBJECT.to_owned();
    let leading = Candidate { journal, node, address, shared, subject }.start(end.clone());
    if shared {
        tokio::spawn(catch_up(Arc::clone(resources), end.clone()));
    }
    let (id, secret, declared) = (body.id.clone(), Arc::clone(secret), resources.watch());
    Ok(Governor::start(GovernorParts { id, secret, root, declared, leading }, end.clone()))
}

/// That a controller which may follow another says where it can be reached itself: other nodes are sent there.
fn advertised(config: &Config, address: SocketAddr) -> Result<(), StartError> {
    let shared = matches!(config.engine, Engine::Nats(_));
    if config.mesh.controller && shared && config.mesh.advertise.is_none() && address.ip().is_unspecified() {
        let what = format!(
            "is needed: this controller shares its engine with others, which send nodes to it, and {address} is no place \
             to go to: say where it is reached (--mesh-advertise HOST:{})",
            address.port()
        );
        return Err(StartError::invalid("mesh.advertise", what));
    }
    Ok(())
}

/// The secret of the node's domain: of its file, or of a controller that was given none, one that it makes and keeps.
fn secret(config: &Config) -> Result<Secret, StartError> {
    if let Some(path) = &config.mesh.secret_file {
        return read_secret(path).map_err(|why| StartError::invalid("mesh.secret_file", why));
    }
    if !config.mesh.controller {
        let what = "is needed: the file whose first line is the secret of this node's domain (--domain-secret-file)";
        return Err(StartError::invalid("mesh.secret_file", what));
    }
    let made = stored::secret(&config.data);
    let made = made.map_err(|error| StartError::System { doing: "keep a secret of the domain", error })?;
    Ok(Arc::new(Zeroizing::new(made.into_bytes())))
}

/// Where this node's own listener can be dialled from here.
fn dialled(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Takes up what was applied at another controller.
async fn catch_up(resources: Arc<Resources>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = sleep(CATCH_UP) => resources.catch_up().await,
        }
    }
}

/// Holds this node's clients to the rules of names of its plan.
async fn rules(body: Arc<Body>, port: Port, end: CancellationToken) {
    let mut reports = body.reports();
    let mut last = Vec::new();
    loop {
        let rules = body.ask(|node| name_rules(&node.plan().acl, &body.id.domain));
        if rules != last {
            port.set_name_rules(rules.clone());
            last = rules;
        }
        loop {
            let report = tokio::select! {
                () = end.cancelled() => return,
                report = reports.recv() => report,
            };
            match report {
                Ok(Report::Applied(_)) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// The subjects of a rule, and where inboxes keep what is for them.
fn with_inboxes(subjects: &[Pattern]) -> Vec<Pattern> {
    subjects.iter().cloned().chain(subjects.iter().filter_map(door_slim::inbox_pattern)).collect()
}

/// What rules say of a domain's own clients: a list that names all of them closes nothing.
fn name_rules(rules: &[AclRule], own: &Name) -> Vec<NameRule> {
    let names = |list: &Option<Vec<Who>>| -> Option<Vec<Arc<str>>> {
        let list = list.as_ref()?;
        let all = |who: &Who| matches!(who, Who::Anyone) || *who == Who::Domain(own.clone());
        if list.iter().any(all) {
            return None;
        }
        let named = |who: &Who| match who {
            Who::Principal(name) => Some(Arc::clone(name)),
            Who::Member(domain, name) if domain == own => Some(Arc::clone(name)),
            Who::Member(..) | Who::Anyone | Who::Domain(_) => None,
        };
        Some(list.iter().filter_map(named).collect())
    };
    let rule = |rule: &AclRule| NameRule {
        subjects: with_inboxes(&rule.subjects),
        publish: names(&rule.publish),
        subscribe: names(&rule.subscribe),
    };
    rules.iter().map(rule).filter(|rule| rule.publish.is_some() || rule.subscribe.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_close_names_to_own_clients_that_no_list_names() {
        let own = Name::parse("north").unwrap();
        let rule = |publish: &[&str]| AclRule {
            name: "r".into(),
            subjects: vec![Pattern::parse("a.>").unwrap()],
            publish: Some(publish.iter().map(|who| Who::parse(who).unwrap()).collect()),
            subscribe: None,
        };
        let check = |publish: &[&str], expected: Option<&[&str]>| {
            let found = name_rules(&[rule(publish)], &own);
            let expected = expected.map(|names| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>());
            assert_eq!(found.first().and_then(|rule| rule.publish.clone()), expected, "{publish:?}");
        };
        check(&["*"], None);
        check(&["domain:north"], None);
        check(&["domain:south"], Some(&[]));
        check(&["clerk", "domain:south/boss", "domain:north/boss"], Some(&["clerk", "boss"]));
    }

    #[test]
    fn a_rule_for_a_name_holds_where_it_is_kept_too() {
        let check = |subject: &str, kept: Option<&str>| {
            let subjects = with_inboxes(&[Pattern::parse(subject).unwrap()]);
            assert_eq!(subjects.get(1).map(Pattern::as_str), kept, "{subject}");
        };
        check("slim.a.b.c", Some("slim-inbox.a.b.c.*"));
        check("slim.a.b.c.d", Some("slim-inbox.a.b.c.*"));
        check("slim.a.*.c.*", Some("slim-inbox.a.*.c.*"));
        check("slim.a.>", Some("slim-inbox.a.>"));
        check("slim.>", Some("slim-inbox.>"));
        check("orders.>", None);
        check(">", None);
    }

    #[test]
    fn a_controller_that_others_send_nodes_to_says_where_it_is() {
        let check = |engine: Option<&str>, advertise: Option<&str>, at: &str, expected: bool| {
            let mut config = Config { engine: engine.unwrap_or("disk").parse().unwrap(), ..Config::default() };
            config.mesh.controller = true;
            config.mesh.advertise = advertise.map(ToOwned::to_owned);
            assert_eq!(advertised(&config, at.parse().unwrap()).is_ok(), expected, "{engine:?} {advertise:?} {at}");
        };
        let nats = Some("nats://127.0.0.1:4222");
        check(None, None, "0.0.0.0:7200", true);
        check(nats, None, "0.0.0.0:7200", false);
        check(nats, None, "[::]:7200", false);
        check(nats, None, "10.0.0.1:7200", true);
        check(nats, Some("h1:7200"), "0.0.0.0:7200", true);
    }

    #[test]
    fn a_node_dials_itself_where_it_listens() {
        let check = |address: &str, expected: &str| assert_eq!(dialled(address.parse().unwrap()).to_string(), expected);
        check("0.0.0.0:7200", "127.0.0.1:7200");
        check("[::]:7200", "[::1]:7200");
        check("10.0.0.1:7200", "10.0.0.1:7200");
    }
}
