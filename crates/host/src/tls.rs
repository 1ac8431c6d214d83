//! TLS of the doors: a certificate chain and a key from PEM files, replaceable while running.
//!
//! One provider (ring); TLS 1.2 and 1.3 as rustls picks them. Connections that are open keep the
//! certificate that they began with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::ring::{default_provider, sign};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use crate::config::TlsFiles;
use crate::error::StartError;
use crate::file::read_text;

/// What the HTTP door offers by ALPN.
pub(crate) const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The certificate in force.
pub(crate) struct Certificate {
    files: TlsFiles,
    key: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads the files and checks that they belong together.
    pub(crate) fn read(files: TlsFiles) -> Result<Arc<Self>, StartError> {
        let key = ArcSwap::from_pointee(read_key(&files)?);
        Ok(Arc::new(Certificate { files, key }))
    }

    /// Reads the files again. The old certificate stays where they cannot be used.
    pub(crate) fn reload(&self) -> Result<(), StartError> {
        self.key.store(Arc::new(read_key(&self.files)?));
        Ok(())
    }

    /// The files.
    pub(crate) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What a door serves TLS with, and the protocols that it offers. With `ca`, clients must present a
    /// certificate of one of these authorities.
    pub(crate) fn server_config(
        self: &Arc<Self>,
        ca: Option<&Path>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, StartError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.files, &error))?;
        let builder = match ca {
            None => builder.with_no_client_auth(),
            Some(ca) => builder.with_client_cert_verifier(self.verifier(ca)?),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn verifier(&self, ca: &Path) -> Result<Arc<dyn ClientCertVerifier>, StartError> {
        let text = read_text(ca).map_err(|error| StartError::Unreadable { path: ca.to_owned(), error })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let added = certificate.map_err(|error| unusable(&self.files, &error)).map(|der| roots.add(der))?;
            added.map_err(|error| unusable(&self.files, &error))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
            .build()
            .map_err(|error| unusable(&self.files, &format!("{}: {error}", ca.display())))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

fn unusable(files: &TlsFiles, reason: &dyn fmt::Display) -> StartError {
    StartError::Tls { certificate: files.certificate.clone(), key: files.key.clone(), reason: reason.to_string() }
}

fn read_key(files: &TlsFiles) -> Result<CertifiedKey, StartError> {
    let read = |path: &std::path::Path| {
        read_text(path).map_err(|error| StartError::Unreadable { path: path.to_owned(), error })
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(read(&files.certificate)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(files, &error))?;
    if chain.is_empty() {
        return Err(unusable(files, &"the certificate file holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(read(&files.key)?.as_bytes())
        .map_err(|_| unusable(files, &"the key file holds no private key in PEM form"))?;
    let key =
        sign::any_supported_type(&key).map_err(|_| unusable(files, &"the private key is of no kind that is known"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(tokio_rustls::rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(unusable(files, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(files: &TlsFiles, name: &str) {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_certificate_is_replaced_only_by_one_that_fits_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        write_pair(&files, "first");
        let certificate = Certificate::read(files.clone()).unwrap();
        certificate.server_config(None, HTTP_PROTOCOLS).unwrap();
        let first = certificate.key.load_full();

        let old_key = std::fs::read(&files.key).unwrap();
        write_pair(&files, "second");
        let new_key = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, old_key).unwrap();
        assert!(matches!(certificate.reload(), Err(StartError::Tls { .. })));
        assert!(Arc::ptr_eq(&first, &certificate.key.load_full()));

        std::fs::write(&files.key, new_key).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &certificate.key.load_full()));

        std::fs::write(&files.certificate, "nothing").unwrap();
        assert!(matches!(certificate.reload(), Err(StartError::Tls { .. })));
    }
}
