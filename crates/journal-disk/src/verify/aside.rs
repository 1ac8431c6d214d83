//! The place for what is taken out of its own: `damaged/`, where nothing is ever deleted.

use std::io;

use crate::disk::Disk;

/// Where damaged bytes go.
pub const DIR: &str = "damaged";

/// Moves a file or a directory into `damaged/`; `None` where there is none.
///
/// # Errors
/// What the disk says.
pub fn move_aside(disk: &dyn Disk, path: &str) -> io::Result<Option<String>> {
    let to = free_name(disk, &flat(path))?;
    match disk.rename(path, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    }
    disk.sync_dir(DIR)?;
    disk.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))?;
    Ok(Some(to))
}

/// A path as one name.
pub fn flat(path: &str) -> String {
    path.replace('/', "-")
}

/// A name in `damaged/` that nothing has yet.
///
/// # Errors
/// What the disk says.
pub fn free_name(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let names = disk.list(DIR)?;
    let taken = |name: &str| names.iter().any(|each| each == name);
    let mut free = name.to_owned();
    let mut number = 1u64;
    while taken(&free) {
        number += 1;
        free = format!("{name}~{number}");
    }
    Ok(format!("{DIR}/{free}"))
}
