//! A group's own listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use link::{ListenOptions, ServerFiles, ServerTls, serve};
use plan::GroupSpec;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::intake::Intake;
use crate::config::Listen;
use crate::node::listen;

/// Why a group cannot listen.
#[derive(Debug, Error)]
pub(super) enum ListenError {
    /// It has no address.
    #[error("'{0}' is no address to listen at; give an IP address")]
    Address(String),
    /// The address cannot be had.
    #[error("{0}")]
    Bind(String),
    /// Its certificate cannot be used.
    #[error("{0}")]
    Tls(String),
}

/// An open listener.
pub(super) struct Open {
    pub(super) address: SocketAddr,
    /// Its certificate, which can be read again.
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// Opens the listener and serves it until `end`.
pub(super) async fn open(
    spec: &GroupSpec,
    intake: Arc<Intake>,
    tasks: &TaskTracker,
    end: CancellationToken,
) -> Result<Open, ListenError> {
    let (address, port) = spec.listen_at().unwrap_or(("", 0));
    let ip: IpAddr = address.parse().map_err(|_| ListenError::Address(address.to_owned()))?;
    let tls = match &spec.listen.tls {
        None => None,
        Some(files) => {
            let files = ServerFiles {
                certificate: files.cert_file.clone().into(),
                key: files.key_file.clone().into(),
                client_authorities: Some(&files.client_ca_file).filter(|file| !file.is_empty()).map(Into::into),
            };
            let read = tokio::task::spawn_blocking(move || ServerTls::read(files)).await;
            let read = read.map_err(|error| ListenError::Tls(error.to_string()))?;
            Some(Arc::new(read.map_err(|error| ListenError::Tls(error.to_string()))?))
        }
    };
    let bound = listen("group", Listen::At(SocketAddr::new(ip, port)));
    let (listener, address) =
        bound.map_err(|error| ListenError::Bind(error.to_string()))?.ok_or(ListenError::Bind(String::new()))?;
    tasks.spawn(serve(listener, intake, tls.clone(), ListenOptions::default(), end));
    Ok(Open { address, tls })
}
