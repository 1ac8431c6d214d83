//! Keys of a group, read from the files that its resources name.
//!
//! A key of the group binds its holder to the group, and to the source nodes that it names, if any. A
//! key of a peer binds to the peer's own node name. Which keys are accepted and which one signs is what
//! makes a rotation: accept the new one everywhere, sign with it, accept the old one no more.

use std::path::{Path, PathBuf};

use federation::intake::Binding;
use link::{Key, KeyRing, SecretError, read_secret};
use plan::{GroupSpec, ResolvedPeer};

/// The keys that a group accepts, and the one that it signs with. Blocks on files.
///
/// # Errors
/// [`SecretError`] naming the file.
pub(super) fn ring(group: &str, spec: &GroupSpec, peers: &[ResolvedPeer]) -> Result<KeyRing, SecretError> {
    let (mut accepted, mut signing) = (Vec::new(), None);
    for (name, file, sources) in spec.keys() {
        let sources = Some(sources.to_vec()).filter(|sources| !sources.is_empty());
        let key = read(name, group, sources, file)?;
        if spec.signing_key() == Some(name) {
            signing = Some(key.clone());
        }
        accepted.push(key);
    }
    for peer in peers {
        for (name, file) in peer.auth.keys() {
            accepted.push(read(&own_name(peer, name), group, Some(vec![peer.name.clone()]), file)?);
        }
    }
    let ring = KeyRing::new(accepted);
    Ok(match signing {
        Some(key) => ring.signing_with(key),
        None => ring,
    })
}

/// The key that signs what goes to a peer: its own, or else the group's. Blocks on a file.
///
/// # Errors
/// [`SecretError`] naming the file.
pub(super) fn signing(group: &str, spec: &GroupSpec, peer: &ResolvedPeer) -> Result<Option<Key>, SecretError> {
    let wanted = peer.auth.signing_key();
    if let Some((name, file)) = peer.auth.keys().find(|(name, _)| Some(*name) == wanted) {
        return read(&own_name(peer, name), group, None, file).map(Some);
    }
    let wanted = spec.signing_key();
    match spec.keys().find(|(name, _, _)| Some(*name) == wanted) {
        Some((name, file, _)) => read(name, group, None, file).map(Some),
        None => Ok(None),
    }
}

/// The files of secrets, whose change is to be noticed.
pub(super) fn files(spec: &GroupSpec, peers: &[ResolvedPeer]) -> Vec<PathBuf> {
    let own = spec.keys().map(|(_, file, _)| file);
    own.chain(peers.iter().flat_map(|peer| peer.auth.keys().map(|(_, file)| file))).map(PathBuf::from).collect()
}

fn own_name(peer: &ResolvedPeer, key: &str) -> String {
    format!("{}/{key}", peer.name)
}

fn read(name: &str, group: &str, sources: Option<Vec<String>>, file: &str) -> Result<Key, SecretError> {
    let binding = Binding { name: name.to_owned(), group: group.to_owned(), sources };
    Ok(Key { binding, secret: read_secret(Path::new(file))? })
}
