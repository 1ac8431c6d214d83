//! Why a node does not start. Each says what to do about it; none quotes a secret.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// A fault in a file that people write.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}:{line}: {reason}", path.display())]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1; 0 where it is not known.
    pub line: u64,
    /// Its column, from 1; 0 where it is not known.
    pub column: u64,
    /// What is wrong.
    pub reason: String,
    /// The file's text, where it may be shown.
    pub text: Option<String>,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A configuration or token file is wrong.
    #[error(transparent)]
    File(FileFault),
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A value is impossible.
    #[error("{field} {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// A door would be open to a network.
    #[error("the {door} door at {address} would be open to anyone who can reach it")]
    Exposed {
        /// The door.
        door: &'static str,
        /// Where it would listen.
        address: SocketAddr,
    },
    /// Another program listens there.
    #[error("the {door} door cannot listen at {address}: {error}")]
    Listen {
        /// The door.
        door: &'static str,
        /// Where it would listen.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Another node has the data directory; the text names both.
    #[error("{0}")]
    InUse(String),
    /// The data directory cannot be used.
    #[error("cannot open the data directory {}: {reason}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine's servers cannot be used.
    #[error(transparent)]
    Engine(journal_jetstream::ConnectError),
    /// A stream that the node must have cannot be created.
    #[error("cannot create the stream '{stream}': {reason}")]
    Stream {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot use the certificate {} with the key {}: {reason}", certificate.display(), key.display())]
    Tls {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system refuses something that a node needs.
    #[error("cannot {doing}: {error}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        error: io::Error,
    },
}

impl StartError {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        StartError::Invalid { field, reason: reason.into() }
    }

    /// What to do about it, where there is more to say than the error says.
    pub fn advice(&self) -> Option<String> {
        match self {
            StartError::Exposed { door: door @ "monitor", address } => Some(format!(
                "Monitoring asks nobody who they are. Say that anyone may use it (--open), or listen on this machine \
                 only (--{door} 127.0.0.1:{}), or close it (--{door} off).",
                address.port()
            )),
            StartError::Exposed { door, address } => Some(format!(
                "Give it tokens (--tokens FILE), or say that anyone may use it (--open), or listen on this machine \
                 only (--{door} 127.0.0.1:{}), or close it (--{door} off).",
                address.port()
            )),
            StartError::Listen { door, address, error } if error.kind() == io::ErrorKind::AddrInUse => Some(format!(
                "Another program, or another door of this node, listens on port {}. Choose another address (--{door} \
                 {}:0 takes a free port), or close this door (--{door} off).",
                address.port(),
                address.ip()
            )),
            StartError::Listen { door, .. } => {
                Some(format!("Choose another address (--{door} ADDR), or close this door (--{door} off)."))
            }
            StartError::InUse(_) => {
                Some(String::from("Each node needs a directory of its own: choose another with --data DIR."))
            }
            _ => None,
        }
    }
}
