//! One dial: name look-up, TLS, upgrade.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use crate::ConnectError;
use crate::address::Address;
use crate::limits::{DIAL, REFUSAL_BYTES_MAX};
use crate::options::{Authorities, Options, Replay};

/// A connection to a hub.
pub type Connection = WebSocketStream<Wire>;

/// What is below it.
#[derive(Debug)]
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Everything that a dial needs.
#[derive(Debug)]
pub struct Dialler {
    address: Address,
    token: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    frame_bytes_max: usize,
}

impl Dialler {
    /// Takes the address and the options apart. Reads the system's authorities where they are asked for.
    pub async fn new(address: &str, options: &Options) -> Result<Self, ConnectError> {
        let address = Address::parse(address)?;
        let refused = |why: &str| ConnectError::Address { address: address.host.clone(), why: why.to_owned() };
        let token = options.token.as_ref().map(|token| HeaderValue::try_from(format!("Bearer {}", token.0)));
        let mut token = token.transpose().map_err(|_| refused("its token cannot stand in a header"))?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let tls = if address.tls { Some(believing(&options.authorities).await?) } else { None };
        let dialler = Dialler { address, token, tls, frame_bytes_max: options.frame_bytes_max };
        dialler.request(options.replay.as_ref())?;
        Ok(dialler)
    }

    fn request(&self, replay: Option<&Replay>) -> Result<Request, ConnectError> {
        let uri = self.address.uri(replay);
        let mut request = uri
            .as_str()
            .into_client_request()
            .map_err(|error| ConnectError::Address { address: uri.clone(), why: error.to_string() })?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    /// Dials once, with a deadline.
    pub async fn dial(&self, replay: Option<&Replay>) -> Result<Connection, ConnectError> {
        let late = || ConnectError::Unreachable(format!("no answer within {} s", DIAL.as_secs()));
        tokio::time::timeout(DIAL, Box::pin(self.dial_slowly(replay))).await.map_err(|_| late())?
    }

    async fn dial_slowly(&self, replay: Option<&Replay>) -> Result<Connection, ConnectError> {
        let unreachable =
            |error: &dyn std::fmt::Display| ConnectError::Unreachable(format!("{}: {error}", self.address.authority()));
        let stream = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let wire = match &self.tls {
            None => Wire::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.address.host.clone()).map_err(|error| ConnectError::Address {
                    address: self.address.host.clone(),
                    why: error.to_string(),
                })?;
                Wire::Tls(Box::new(
                    TlsConnector::from(Arc::clone(tls))
                        .connect(name, stream)
                        .await
                        .map_err(|error| unreachable(&error))?,
                ))
            }
        };
        let config = WebSocketConfig::default()
            // A frame is either handed to the socket as a whole, or known not to be.
            .write_buffer_size(0)
            .max_message_size(Some(self.frame_bytes_max))
            .max_frame_size(Some(self.frame_bytes_max));
        let upgraded = client_async_with_config(self.request(replay)?, wire, Some(config)).await;
        upgraded.map(|(connection, _)| connection).map_err(|error| match error {
            tungstenite::Error::Http(answer) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(body.get(..REFUSAL_BYTES_MAX).unwrap_or(body)).trim().to_owned();
                ConnectError::Refused { status: answer.status().as_u16(), text }
            }
            error => unreachable(&error),
        })
    }
}

/// TLS that believes these authorities.
pub async fn believing(authorities: &Authorities) -> Result<Arc<ClientConfig>, ConnectError> {
    let refused = |error: &dyn std::fmt::Display| ConnectError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    match authorities {
        Authorities::System => {
            let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            // Some that cannot be read are no reason to refuse; none at all shows when a hub is dialled.
            let (_used, _left) = roots.add_parsable_certificates(found.map_err(|error| refused(&error))?.certs);
        }
        Authorities::Pem(text) => {
            for certificate in CertificateDer::pem_slice_iter(text) {
                roots.add(certificate.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
            }
        }
    }
    if roots.is_empty() {
        return Err(refused(&"there is no authority whose certificates could be believed"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, from),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
