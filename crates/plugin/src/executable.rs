//! Whether a file can be run at all, said before it is tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use thiserror::Error;

/// Why a plugin's executable cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotExecutable {
    /// The path depends on where the node was started.
    #[error("has an executable that is not an absolute path: '{0}'; write it from '/'")]
    Relative(String),
    /// It cannot be looked at.
    #[error("has an executable that cannot be found: {path}: {reason}; install it there, or correct spec.executable")]
    Missing {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is a folder, a device or a pipe.
    #[error("has an executable that is not a regular file: {0}; correct spec.executable")]
    NotAFile(String),
    /// Nobody may run it.
    #[error("has an executable that nobody may run: {path}; say: chmod +x {path}")]
    NoBit {
        /// The path.
        path: String,
    },
}

/// Checks that a path is absolute and names a regular file with an execution bit. Looks at the file
/// system, and so blocks for a moment.
///
/// # Errors
/// [`NotExecutable`], which says what to do.
pub fn check_executable(path: &Path) -> Result<(), NotExecutable> {
    let shown = || path.display().to_string();
    if !path.is_absolute() {
        return Err(NotExecutable::Relative(shown()));
    }
    let missing = |error: std::io::Error| NotExecutable::Missing { path: shown(), reason: error.to_string() };
    let metadata = fs::metadata(path).map_err(missing)?;
    if !metadata.is_file() {
        return Err(NotExecutable::NotAFile(shown()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(NotExecutable::NoBit { path: shown() });
    }
    Ok(())
}
