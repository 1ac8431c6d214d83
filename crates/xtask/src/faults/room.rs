//! A directory that is taken, full, or not to be written.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::mounts::Mounts;
use super::{Acked, Outcome, Site, Trouble, becomes_ready, readiness};

/// Size of the disk that fills up: some of the engine's files are preallocated.
const DISK_MIB: u64 = 400;

/// A second node on the directory of a first.
pub fn second_node(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, 100)?;
    let ports = fs::read(launch.data.join("ports.json")).map_err(|error| error.to_string())?;
    let mut second = site.launch();
    second.log = site.folder.join("second.log");
    let (refused, said) = second.refused()?;
    let named = said.contains(&node.pid().to_string()) && names(&said, &launch.data);
    if refused.success() || !named {
        return Err(Trouble::Wrong(format!("ended with {refused} and does not name process and directory:\n{said}")));
    }
    if fs::read(launch.data.join("ports.json")).ok() != Some(ports) {
        return Err(Trouble::Wrong("the second node touched the ports.json of the first".to_string()));
    }
    acked.goes_on(&node, &[])?;
    node.stop()?;
    let node = launch.start()?;
    acked.verify(&node, &[])?;
    Ok(())
}

/// A disk that fills up while the node runs.
pub fn full_disk(site: &Site) -> Outcome {
    let mut launch = site.launch();
    fs::create_dir_all(&launch.data).map_err(|error| error.to_string())?;
    let script = format!("mount -t tmpfs -o size={DISK_MIB}m tidings \"$0\"");
    let mounts = Mounts::with(&script, &launch.data).map_err(Trouble::Cannot)?;
    launch.wrapper = mounts.wrapper();
    launch.seen = Some(mounts.outside(&launch.data));
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, 500)?;
    // What is left of the disk is taken by someone else, but for a little.
    let ballast = mounts.outside(&launch.data.join("ballast"));
    let mut file = fs::File::create(&ballast).map_err(|error| error.to_string())?;
    while file.write_all(&[1; 64 * 1024]).is_ok() {}
    drop(file);
    let refusal = acked.until_full(&node)?;
    let clear = refusal.starts_with("50") && ["space", "full", "room"].iter().any(|word| refusal.contains(word));
    if !clear {
        return Err(Trouble::Wrong(format!("the refusal does not say that the disk is full: {refusal}")));
    }
    let (status, said) = readiness(&node)?;
    if status == 200 {
        return Err(Trouble::Wrong(format!("the node calls itself ready on a full disk: {said}")));
    }
    acked.verify(&node, &[])?;
    fs::remove_file(&ballast).map_err(|error| error.to_string())?;
    becomes_ready(&node)?;
    acked.goes_on(&node, &[])?;
    node.kill()?;
    let node = launch.start()?;
    acked.verify(&node, &[])?;
    Ok(())
}

/// A directory that may not be written when the node starts.
pub fn read_only(site: &Site) -> Outcome {
    let launch = site.launch();
    let node = launch.start()?;
    let mut acked = Acked::fill(&node, 500)?;
    node.stop()?;
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\"";
    let mounts = Mounts::with(script, &launch.data).map_err(Trouble::Cannot)?;
    let mut inside = site.launch();
    inside.wrapper = mounts.wrapper();
    inside.log = site.folder.join("read-only.log");
    let (refused, said) = inside.refused()?;
    let clear = names(&said, &launch.data) && said.to_lowercase().contains("read-only");
    if refused.success() || !clear {
        return Err(Trouble::Wrong(format!("ended with {refused} and does not name the directory and why:\n{said}")));
    }
    drop(mounts);
    let node = launch.start()?;
    acked.goes_on(&node, &[])?;
    Ok(())
}

/// Whether a message names a path, perhaps broken over lines.
fn names(said: &str, path: &Path) -> bool {
    let dense = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect::<String>();
    dense(said).contains(&dense(&path.to_string_lossy()))
}
