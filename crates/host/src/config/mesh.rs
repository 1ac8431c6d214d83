//! What a node is told of the mesh: its section of a configuration, as a file says it and complete.
//!
//! In a file the section is a mapping, or one word where only the address is meant: `mesh: 127.0.0.1:7200`. A node that
//! is told nothing of the mesh is in none, and listens for no link.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::Deserializer;

use super::Listen;
use super::section::word_or_fields;
use crate::error::StartError;

/// Port of links between nodes where none is said.
pub const MESH_PORT: u16 = 7200;

/// The domain where none is said.
pub const DOMAIN_DEFAULT: &str = "default";

/// Bytes of the name of a domain, at most.
const DOMAIN_BYTES_MAX: usize = 63;

/// Controllers that can be named, at most: more than that are not tried in a reasonable time.
const JOIN_MAX: usize = 16;

/// Everything the mesh is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// Where other nodes connect; off where this node is in no mesh.
    pub listen: Listen,
    /// The domain that this node belongs to.
    pub domain: String,
    /// Where other nodes reach this one, `host:port`, where that is not the address that it listens on.
    pub advertise: Option<String>,
    /// Whether other domains reach this node directly, so that it can be a gateway that is dialled.
    pub external: Option<String>,
    /// Whether this node may lead: what domains, topology and segments there are is declared there.
    pub controller: bool,
    /// Where controllers are, `host:port`; none where this node is one.
    pub join: Vec<String>,
    /// The file whose first line is the secret of this node's domain.
    pub secret_file: Option<PathBuf>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        MeshConfig {
            listen: Listen::Off,
            domain: DOMAIN_DEFAULT.to_owned(),
            advertise: None,
            external: None,
            controller: false,
            join: Vec::new(),
            secret_file: None,
        }
    }
}

/// What one place says of the mesh. Every field may be left out; see [`MeshConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshLayer(MeshFields);

/// The fields, as a file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshFields {
    /// See [`MeshConfig::listen`].
    pub listen: Option<Listen>,
    /// See [`MeshConfig::domain`].
    pub domain: Option<String>,
    /// See [`MeshConfig::advertise`].
    pub advertise: Option<String>,
    /// See [`MeshConfig::external`].
    pub external: Option<String>,
    /// See [`MeshConfig::controller`].
    pub controller: Option<bool>,
    /// See [`MeshConfig::join`].
    pub join: Option<Vec<String>>,
    /// See [`MeshConfig::secret_file`].
    pub secret_file: Option<PathBuf>,
}

impl From<Listen> for MeshFields {
    fn from(listen: Listen) -> Self {
        MeshFields { listen: Some(listen), ..MeshFields::default() }
    }
}

impl From<MeshFields> for MeshLayer {
    fn from(fields: MeshFields) -> Self {
        MeshLayer(fields)
    }
}

impl<'de> Deserialize<'de> for MeshLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(MeshLayer)
    }
}

impl MeshLayer {
    /// This layer over a weaker one, field by field; lists are taken whole.
    #[must_use]
    pub(super) fn over(self, weaker: MeshLayer) -> MeshLayer {
        let (ours, theirs) = (self.0, weaker.0);
        MeshLayer(MeshFields {
            listen: ours.listen.or(theirs.listen),
            domain: ours.domain.or(theirs.domain),
            advertise: ours.advertise.or(theirs.advertise),
            external: ours.external.or(theirs.external),
            controller: ours.controller.or(theirs.controller),
            join: ours.join.or(theirs.join),
            secret_file: ours.secret_file.or(theirs.secret_file),
        })
    }

    /// Takes out the domain and the file of its secret, for a node whose controller is of another make. `None` where this
    /// layer says besides how the node is in a mesh of this make.
    pub(super) fn take_domain(&mut self) -> Option<(Option<String>, Option<PathBuf>)> {
        let MeshFields { listen, controller, join, .. } = &self.0;
        let told = controller.unwrap_or(false) || join.as_ref().is_some_and(|join| !join.is_empty());
        let listens = listen.is_some_and(|listen| listen != Listen::Off);
        (!told && !listens).then(|| (self.0.domain.take(), self.0.secret_file.take()))
    }

    /// Paths, to be made relative to the file that names them.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.secret_file.iter_mut()
    }

    /// Every default filled, checked.
    pub(super) fn complete(self) -> Result<MeshConfig, StartError> {
        let MeshFields { listen, domain, advertise, external, controller, join, secret_file } = self.0;
        let (controller, join) = (controller.unwrap_or(false), join.unwrap_or_default());
        let told = domain.is_some() || controller || !join.is_empty();
        let standard = Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), MESH_PORT));
        let listen = match listen {
            Some(Listen::Off) if told => {
                return Err(StartError::invalid("mesh.listen", "is off, and a node of a mesh listens for its links"));
            }
            Some(listen) => listen,
            None if told => standard,
            None => Listen::Off,
        };
        let domain = domain.unwrap_or_else(|| DOMAIN_DEFAULT.to_owned());
        check_domain(&domain)?;
        for (field, place) in [("mesh.advertise", &advertise), ("mesh.external", &external)] {
            place.as_ref().map_or(Ok(()), |place| check_place(field, place))?;
        }
        join.iter().try_for_each(|place| check_place("mesh.join", place))?;
        if join.len() > JOIN_MAX {
            return Err(StartError::invalid("mesh.join", format!("names {} places, at most {JOIN_MAX}", join.len())));
        }
        if listen != Listen::Off && !controller && join.is_empty() {
            let what =
                "is needed: say where a controller is (--join HOST:7200), or let this node be one (--controller)";
            return Err(StartError::invalid("mesh.join", what));
        }
        Ok(MeshConfig { listen, domain, advertise, external, controller, join, secret_file })
    }
}

fn check_domain(domain: &str) -> Result<(), StartError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let begins = domain.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && domain.len() <= DOMAIN_BYTES_MAX && domain.chars().all(good) {
        return Ok(());
    }
    let rule = "must be 1 to 63 of a-z, 0-9, '-', '_' and '.', and begin with a letter or digit";
    Err(StartError::invalid("mesh.domain", format!("{rule}; it is '{domain}'")))
}

fn check_place(field: &'static str, place: &str) -> Result<(), StartError> {
    let good = place.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.len() <= 255 && !host.contains(['/', ' ', '@']) && port.parse::<u16>().is_ok()
    });
    match good {
        true => Ok(()),
        false => Err(StartError::invalid(field, format!("must be host:port, and is '{place}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: MeshFields, expected: Result<(Listen, &str), &str>) {
        let found = MeshLayer(fields).complete();
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!((found.listen, &*found.domain), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_node_is_in_a_mesh_where_it_is_told_anything_of_one() {
        let standard = Listen::At(SocketAddr::from(([127, 0, 0, 1], MESH_PORT)));
        let join = || Some(vec!["hub:7200".to_owned()]);
        check(MeshFields::default(), Ok((Listen::Off, "default")));
        check(MeshFields { controller: Some(true), ..Default::default() }, Ok((standard, "default")));
        check(MeshFields { domain: Some("a".into()), join: join(), ..Default::default() }, Ok((standard, "a")));
        check(MeshFields { domain: Some("a".into()), ..Default::default() }, Err("mesh.join"));
        check(MeshFields { domain: Some("A".into()), join: join(), ..Default::default() }, Err("mesh.domain"));
        check(MeshFields { listen: Some(Listen::Off), join: join(), ..Default::default() }, Err("mesh.listen"));
        check(MeshFields { join: Some(vec!["hub".into()]), ..Default::default() }, Err("host:port"));
        let advertise = Some("http://x:1".to_owned());
        check(MeshFields { join: join(), advertise, ..Default::default() }, Err("mesh.advertise"));
    }
}
