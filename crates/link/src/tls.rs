//! TLS between nodes: configurations from PEM files, for both ends, with certificates of clients as an option.
//!
//! One provider (ring); TLS 1.2 and 1.3 as rustls picks them. Reading files blocks: it is done where a
//! configuration is read, never on the way of a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What both ends offer by ALPN.
const PROTOCOL: &[u8] = b"http/1.1";

/// Files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities, PEM: a client must show a certificate of one of them. `None`: none is asked for.
    pub client_authorities: Option<PathBuf>,
}

/// Files of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities that the peer's certificate must come from, PEM. `None`: those of the system.
    pub authorities: Option<PathBuf>,
    /// Our certificate chain and private key, PEM, for a peer that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not there, or is no PEM of the right kind.
    #[error("{} holds no {what}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        reason: String,
    },
    /// The files do not belong together, or rustls refuses them.
    #[error("TLS cannot be set up with {}: {reason}", path.display())]
    Refused {
        /// The file at the centre.
        path: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// TLS of a listener, replaceable while it listens: a connection keeps what it began with.
#[derive(Debug)]
pub struct ServerTls {
    files: ServerFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files. Blocks on them.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used together.
    pub fn read(files: ServerFiles) -> Result<Self, TlsError> {
        let config = RwLock::new(server_config(&files)?);
        Ok(ServerTls { files, config })
    }

    /// Reads the files again; what was, stays where they cannot be used. Blocks on them.
    ///
    /// # Errors
    /// [`TlsError`] as when they were read first.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.config.write() = server_config(&self.files)?;
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> &ServerFiles {
        &self.files
    }

    /// What holds now.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read())
    }
}

fn server_config(files: &ServerFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused {
        path: files.certificate.clone(),
        reason: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider())).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| refused(&error))?)
        }
    };
    let (chain, key) = identity(&files.certificate, &files.key)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| refused(&error))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// What a client speaks TLS with. Blocks on the files.
///
/// # Errors
/// [`TlsError`] where they cannot be used together.
pub fn client_config(files: &ClientFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let centre = files.authorities.clone().or_else(|| files.identity.as_ref().map(|(chain, _)| chain.clone()));
    let centre = centre.unwrap_or_else(|| PathBuf::from("the system's authorities"));
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused { path: centre.clone(), reason: error.to_string() };
    let roots = match &files.authorities {
        Some(path) => authorities(path)?,
        None => systems_authorities(),
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error| refused(&error))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_webpki_verifier(verifier);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let (chain, key) = identity(chain, key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| refused(&error))?
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn systems_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "an authority of the system cannot be read");
    }
    let (_used, _left) = roots.add_parsable_certificates(found.certs);
    roots
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |reason: String| TlsError::Unusable { path: path.to_owned(), what: "certificate", reason };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(unusable("there is none in PEM form".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Refused { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

fn identity(chain: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let certificates = certificates(chain)?;
    // What went wrong with a key is not said in detail: it is a secret.
    let unusable = |reason: String| TlsError::Unusable { path: key.to_owned(), what: "private key", reason };
    let text = std::fs::read(key).map(zeroize::Zeroizing::new).map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| unusable("there is none in PEM form".to_owned()))?;
    Ok((certificates, key))
}
