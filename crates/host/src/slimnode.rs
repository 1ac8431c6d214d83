//! This node under a controller of SLIM's make: the SLIM door's links and names, joined to the control protocol; and what
//! this node proves itself with to others of that make.
//!
//! Files are read anew whenever something is dialled, so that they can be replaced while the node runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use door_slim::codec::{Encoded, Kind as LinkKind};
use door_slim::{Dial, Link, Reins, Route};
use door_slimctl::proto::control::{Auth, Details, Direction, Entry, Kind, RouteEntry};
use door_slimctl::proto::{self, Id, Name, Texts};
use door_slimctl::{Answer, Dial as Told, Identity, Leads, Led, Place, Shown, SlimNode};
use link::ClientFiles;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use crate::config::{Config, SlimMembership};
use crate::file::read_text;
use crate::mesh::read_secret;
use crate::slim::Slim;

/// What this node shows to nodes and controllers of SLIM's make, by the files that it was told.
pub(crate) struct Papers {
    authorities: Option<PathBuf>,
    credentials: Option<PathBuf>,
}

impl Papers {
    pub(crate) fn new(told: &SlimMembership) -> Self {
        Papers { authorities: told.authorities.clone(), credentials: told.credentials_file.clone() }
    }

    /// What is shown now; an error says which file cannot be used.
    pub(crate) async fn shown(&self, tls: bool) -> Result<Shown, String> {
        let (authorities, credentials) = (self.authorities.clone(), self.credentials.clone());
        let reading = spawn_blocking(move || {
            let authorization = credentials.map(|path| {
                let text = read_text(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                authorization(text.lines().next().unwrap_or_default()).ok_or_else(|| {
                    format!("{}: must begin with 'Bearer TOKEN' or 'Basic USER:PASSWORD'", path.display())
                })
            });
            let files = ClientFiles { authorities, identity: None };
            let tls = tls.then(|| link::client_config(&files).map_err(|error| error.to_string()));
            Ok(Shown { tls: tls.transpose()?, authorization: authorization.transpose()? })
        });
        reading.await.map_err(|_| String::from("this node stops"))?
    }
}

/// The header of a line.
fn authorization(line: &str) -> Option<Box<str>> {
    let (scheme, rest) = line.trim().split_once(' ')?;
    let rest = rest.trim();
    let good = |text: &str| !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" if good(rest) => Some(format!("Bearer {rest}").into()),
        "basic" if rest.contains(':') => Some(format!("Basic {}", STANDARD.encode(rest)).into()),
        _ => None,
    }
}

/// Has a controller lead this node, where it was told of one.
pub(crate) fn open(runtime: &Runtime, config: &Config, slim: Option<&Arc<Slim>>) -> Option<Arc<SlimNode>> {
    let told = &config.slim.membership;
    let slim = slim.filter(|_| !told.controllers.is_empty())?;
    let _entered = runtime.enter();
    let details = Details {
        endpoint: slim.address().to_string(),
        external_endpoint: told.external.clone(),
        tls_required: config.tls.is_some(),
        auth_method: if config.tokens.is_some() { Auth::Basic } else { Auth::None } as i32,
        spire_trust_domain: None,
    };
    let places = told.controllers.iter();
    let who = Identity {
        node: config.node.clone(),
        domain: config.slim.domain.clone(),
        details,
        controllers: places.map(|place| Place { address: place.address.clone(), tls: place.tls }).collect(),
    };
    let led = LedNode { reins: slim.reins(), papers: Papers::new(told), secret: told.secret_file.clone() };
    Some(Arc::new(SlimNode::open(Arc::new(led), who)))
}

struct LedNode {
    reins: Reins,
    papers: Papers,
    secret: Option<PathBuf>,
}

fn name(name: &Encoded, texts: Option<[String; 3]>) -> Name {
    let [first, second, third] = name.components;
    let id = name.id.unwrap_or(u128::MAX);
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    let id = Some(Id { high: half(id >> 64), low: half(id) });
    let texts = texts.map(|[first, second, third]| Texts { first, second, third });
    Name { encoded: Some(proto::Encoded { first, second, third, id }), texts }
}

/// A name without hashes is that of nobody.
fn encoded(name: &Name) -> Encoded {
    let proto::Encoded { first, second, third, id } = name.encoded.clone().unwrap_or_default();
    let id = id.map(|id| u128::from(id.high) << 64 | u128::from(id.low));
    Encoded { components: [first, second, third], id }.plain()
}

fn texts(name: &Name) -> Option<[String; 3]> {
    name.texts.clone().map(|Texts { first, second, third }| [first, second, third])
}

fn entry(link: &Link) -> Entry {
    let kind = match link.kind {
        LinkKind::Remote => Kind::Remote,
        LinkKind::Peer => Kind::Peer,
        LinkKind::Edge => Kind::Edge,
    };
    Entry {
        id: link.id,
        kind: kind as i32,
        config_data: json!({ "endpoint": link.address }).to_string(),
        link_id: Some(link.link.clone()),
        direction: if link.is_outgoing { Direction::Outgoing } else { Direction::Incoming } as i32,
        peer_node_id: Some(link.node.clone()).filter(|node| !node.is_empty()),
    }
}

impl Led for LedNode {
    fn secret(&self) -> Answer<'_, Result<Option<Vec<u8>>, String>> {
        let Some(path) = self.secret.clone() else { return Box::pin(std::future::ready(Ok(None))) };
        Box::pin(async move {
            let read = spawn_blocking(move || read_secret(&path)).await;
            read.map_err(|_| String::from("this node stops"))?.map(|secret| Some(secret.to_vec()))
        })
    }

    fn shown(&self, tls: bool) -> Answer<'_, Result<Shown, String>> {
        Box::pin(self.papers.shown(tls))
    }

    fn has_credentials(&self) -> bool {
        self.papers.credentials.is_some()
    }

    fn set_links(&self, links: Vec<Told>) {
        let dial = |Told { link, address, tls, shows }| Dial { link, address, tls, shows };
        self.reins.set_links(links.into_iter().map(dial).collect());
    }

    fn dialled<'a>(&'a self, link: &'a str) -> Answer<'a, Result<(), String>> {
        Box::pin(self.reins.dialled(link))
    }

    fn set_routes(&self, routes: &[Leads]) -> Vec<Result<(), String>> {
        let route =
            |Leads { name, link }: &Leads| Route { name: encoded(name), texts: texts(name), link: link.clone() };
        let routes: Vec<Route> = routes.iter().map(route).collect();
        self.reins.set_routes(&routes)
    }

    fn changed(&self) -> Answer<'_, ()> {
        Box::pin(self.reins.changed())
    }

    fn fetching(&self, begins: bool) {
        self.reins.fetching(begins);
    }

    fn fetch(&self, most: usize) -> Vec<(Name, bool)> {
        let changed = self.reins.fetch(most).into_iter();
        changed.map(|changed| (name(&changed.name, Some(changed.texts)), changed.is_there)).collect()
    }

    fn taken(&self) -> Vec<(String, u64)> {
        self.reins.taken()
    }

    fn connections(&self) -> Vec<Entry> {
        self.reins.links().iter().map(entry).collect()
    }

    fn names(&self, most: usize) -> Vec<RouteEntry> {
        let links: HashMap<u64, Entry> = self.reins.links().iter().map(|link| (link.id, entry(link))).collect();
        let listed = self.reins.names(most).into_iter();
        listed
            .map(|listed| RouteEntry {
                name: Some(name(&listed.name, listed.texts)),
                connections: listed.links.iter().filter_map(|link| links.get(link).cloned()).collect(),
            })
            .collect()
    }

    fn routes(&self) -> Vec<Leads> {
        let routes = self.reins.routes().into_iter();
        routes.map(|Route { name: encoded, texts, link }| Leads { name: name(&encoded, texts), link }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_a_bearers_token_or_a_users_password() {
        let check = |line: &str, expected: Option<&str>| assert_eq!(authorization(line).as_deref(), expected, "{line}");
        check("Bearer abc", Some("Bearer abc"));
        check("basic user:pass", Some("Basic dXNlcjpwYXNz"));
        for bad in ["", "abc", "Bearer ", "Basic user", "Digest x", "Bearer a\u{7}"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_name_is_the_same_for_both_protocols() {
        for id in [None, Some(7), Some(7 << 64)] {
            let one = Encoded { components: [1, 2, 3], id };
            assert_eq!(encoded(&name(&one, None)), one);
        }
    }
}
