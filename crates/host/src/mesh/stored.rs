//! What a node keeps of the mesh in its data directory, so that it goes on without its controller.
//!
//! ```text
//! mesh/plan   "TDMP" | version u8 (1) | length u16 | node, as domain/node | the plan, as `mesh::plan` writes it
//! mesh/key    32 random bytes: of a controller, that from which the keys of links are made
//! mesh/segments  of a controller: the segments that were added and have no link yet, one a line
//! mesh/secret of a controller that was given none: 64 hex digits, the secret of its own domain
//! ```
//!
//! All hold keys, and can be read by their owner alone. A file appears whole, under a name of its own until its bytes
//! are on the disk. A plan of another node, or one that cannot be read, is told and not used.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mesh::names::{Name, NodeId};
use mesh::plan::Plan;
use ring::rand::{SecureRandom, SystemRandom};
use tracing::warn;

/// What the file of a plan begins with, and its version.
const HEAD: &[u8; 5] = b"TDMP\x01";
/// The folder in the data directory.
const FOLDER: &str = "mesh";
/// Bytes of the key of a controller.
const KEY_BYTES: usize = 32;

/// The plan of a node as bytes.
fn encode(node: &NodeId, plan: &Plan) -> Vec<u8> {
    let node = node.to_string();
    let mut bytes = HEAD.to_vec();
    bytes.extend_from_slice(&u16::try_from(node.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(node.as_bytes());
    bytes.extend_from_slice(&plan.encode());
    bytes
}

fn decode(node: &NodeId, bytes: &[u8]) -> Result<Plan, String> {
    let rest = bytes.strip_prefix(&HEAD[..]).ok_or("it is no plan of this version")?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or("it is cut off")?;
    let (name, plan) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or("it is cut off")?;
    if name != node.to_string().as_bytes() {
        return Err(format!("it is of the node {}", String::from_utf8_lossy(name)));
    }
    Plan::decode(plan).map_err(|error| format!("{error:?}"))
}

fn path(data: &Path, name: &str) -> PathBuf {
    data.join(FOLDER).join(name)
}

/// The plan that was kept; `None`: there is none that can be used. Blocks.
pub(crate) fn load(data: &Path, node: &NodeId) -> Option<Plan> {
    let path = path(data, "plan");
    let told = |reason: String| warn!(path = %path.display(), reason, "the plan that was kept is not used");
    match fs::read(&path) {
        Ok(bytes) => decode(node, &bytes).map_err(told).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            told(error.to_string());
            None
        }
    }
}

/// Keeps a plan. Blocks.
pub(crate) fn store(data: &Path, node: &NodeId, plan: &Plan) -> io::Result<()> {
    write(data, "plan", &encode(node, plan))
}

/// The key that this controller's links are made from: made where there is none. Blocks.
pub(crate) fn key(data: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path(data, "key")) {
        Ok(bytes) if bytes.len() == KEY_BYTES => return Ok(bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut bytes = vec![0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    write(data, "key", &bytes)?;
    Ok(bytes)
}

/// The secret of a controller's own domain, where it was given none: made where there is none. Blocks.
pub(crate) fn secret(data: &Path) -> io::Result<String> {
    match fs::read_to_string(path(data, "secret")) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(data, "secret", format!("{text}\n").as_bytes())?;
    Ok(text)
}

/// The segments that were added here and have no link yet. Blocks.
pub(crate) fn bare_segments(data: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_to_string(path(data, "segments")) {
        Ok(text) => Ok(text.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Keeps them. Blocks.
pub(crate) fn keep_bare_segments(data: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    write(data, "segments", text.as_bytes())
}

fn of_domain(domain: &Name) -> String {
    format!("domain-{domain}")
}

/// Where the secret of a domain is kept that is declared here.
pub(crate) fn domain_file(data: &Path, domain: &Name) -> io::Result<PathBuf> {
    std::path::absolute(path(data, &of_domain(domain)))
}

/// Keeps the secret of a domain that is declared here. Blocks.
pub(crate) fn keep_domain(data: &Path, domain: &Name, secret: &str) -> io::Result<()> {
    write(data, &of_domain(domain), format!("{secret}\n").as_bytes())
}

/// Forgets the secret of a domain. Blocks.
pub(crate) fn forget_domain(data: &Path, domain: &Name) -> io::Result<()> {
    match fs::remove_file(path(data, &of_domain(domain))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(data: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = data.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let (path, fresh) = (path(data, name), path(data, &format!("{name}.new")));
    let _old = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    fs::File::open(&folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::plan::Generation;
    use std::os::unix::fs::PermissionsExt;

    fn node(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    #[test]
    fn a_plan_is_found_again_by_its_node_alone_and_can_be_read_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), &node("a/a1")), None);
        for number in [1, 2] {
            let plan = Plan { generation: Generation { epoch: 7, number }, ..Plan::default() };
            store(folder.path(), &node("a/a1"), &plan).unwrap();
            assert_eq!(load(folder.path(), &node("a/a1")), Some(plan));
        }
        assert_eq!(load(folder.path(), &node("a/a2")), None);
        let mode = fs::metadata(path(folder.path(), "plan")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_plan_that_is_damaged_is_not_used() {
        let plan = Plan { generation: Generation { epoch: 7, number: 1 }, ..Plan::default() };
        let bytes = encode(&node("a/a1"), &plan);
        assert_eq!(decode(&node("a/a1"), &bytes), Ok(plan));
        for cut in 0..bytes.len() {
            assert!(decode(&node("a/a1"), &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn segments_without_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        assert!(bare_segments(folder.path()).unwrap().is_empty());
        for names in [&["one", "to-$domain"][..], &["two"], &[]] {
            let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
            keep_bare_segments(folder.path(), &names).unwrap();
            assert_eq!(bare_segments(folder.path()).unwrap(), names);
        }
    }

    #[test]
    fn the_key_of_a_controller_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = key(folder.path()).unwrap();
        assert_eq!((first.len(), key(folder.path()).unwrap() == first), (KEY_BYTES, true));
    }
}
