//! How two nodes prove to each other that both hold a key: Noise `NNpsk0`.
//!
//! ```text
//! hello    "TDNL" | version u8 | purpose u8 | length u16 | link, from, to: each length u16 and text
//! first    length u16 | Noise message 1, which holds what the dialling end tells of itself
//! second   length u16 | Noise message 2, which holds what the accepting end tells of itself
//! ready    the first record: the dialling end has the keys too, so that nobody can repeat an old `first`
//! ```
//! The whole hello is the prologue: who changes a byte of it on the way is not understood.
//!
//! What is absent: where keys come from, and what may be told in a handshake.
//!
//! # Invariants
//! - An end that does not hold the key learns nothing but that the other side closes.
//! - All of it ends within [`HANDSHAKE_WAIT_MAX`].
//! - No error and no `Debug` holds a key.
//!
//! Source: The Noise Protocol Framework, revision 34, sections 7.4 and 9.

use std::io;
use std::sync::Arc;

use snow::{HandshakeState, StatelessTransportState};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::limits::{
    HANDSHAKE_WAIT_MAX, HELLO_BYTES_MAX, MAGIC, PAYLOAD_IN_HANDSHAKE_BYTES_MAX, RECORD_BYTES_MAX, VERSION,
};
use super::session::Opened;

/// What is spoken.
const PROTOCOL: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Bytes of a Noise handshake message beyond what is told in it: a public key and a tag.
const HANDSHAKE_EXTRA_BYTES: usize = 48;

/// Bytes of a hello before its texts.
const HELLO_HEAD_BYTES: usize = 8;

/// A key that both ends of a link hold.
#[derive(Clone)]
pub struct LinkKey(Zeroizing<[u8; 32]>);

impl LinkKey {
    /// This key.
    pub fn new(bytes: [u8; 32]) -> Self {
        LinkKey(Zeroizing::new(bytes))
    }

    /// The key that a secret of any length gives for one use, told by a label. HKDF (RFC 5869) with SHA-256.
    pub fn derive(secret: &[u8], label: &str) -> Self {
        let salt = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"tidings native link");
        let mut key = Zeroizing::new([0; 32]);
        let info = [label.as_bytes()];
        let derived =
            salt.extract(secret).expand(&info, ring::hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key[..]));
        debug_assert!(derived.is_ok(), "32 bytes can always be derived");
        LinkKey(key)
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(..)")
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Messages between two nodes.
    Link = 1,
    /// A node and its controller.
    Control = 2,
}

/// What the dialling end says before anything is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub purpose: Purpose,
    /// The id of the link; empty for control.
    pub link: String,
    /// Who dials: `domain/node`.
    pub from: String,
    /// Whom it means to reach: `domain/node`, `domain`, or nothing.
    pub to: String,
}

impl Hello {
    fn encode(&self) -> Result<Vec<u8>, DialError> {
        let mut out = MAGIC.to_vec();
        out.extend([VERSION, self.purpose as u8, 0, 0]);
        for text in [&self.link, &self.from, &self.to] {
            out.extend_from_slice(&u16::try_from(text.len()).map_err(|_| DialError::Long)?.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        if out.len() > HELLO_BYTES_MAX {
            return Err(DialError::Long);
        }
        let length = u16::try_from(out.len() - HELLO_HEAD_BYTES).map_err(|_| DialError::Long)?;
        out[6..HELLO_HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }

    /// Of the bytes after the head.
    fn decode(purpose: Purpose, mut rest: &[u8]) -> Option<Hello> {
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            let text = std::str::from_utf8(text).ok()?;
            (!text.chars().any(char::is_control)).then(|| text.to_owned())
        };
        let (link, from, to) = (text()?, text()?, text()?);
        rest.is_empty().then_some(Hello { purpose, link, from, to })
    }
}

/// What the accepting end needs to go on with a connection.
#[derive(Debug)]
pub struct Admission {
    /// The key that the other end must hold.
    pub key: LinkKey,
    /// What we tell of ourselves.
    pub payload: Vec<u8>,
}

/// Knows which connections are awaited. Asked once a connection; must be quick.
pub trait Doorkeeper: Send + Sync {
    /// The key for a hello; `None`: nobody of that name is awaited.
    fn admit(&self, hello: &Hello) -> Option<Admission>;
}

impl<F: Fn(&Hello) -> Option<Admission> + Send + Sync> Doorkeeper for F {
    fn admit(&self, hello: &Hello) -> Option<Admission> {
        self(hello)
    }
}

/// Why no link was opened. All may be tried again, later.
#[derive(Debug, Error)]
pub enum DialError {
    /// No connection.
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("did not answer in time")]
    Late,
    /// It closed: it does not know the link, or has another key.
    #[error("closed the connection: it does not await this link, or holds another key")]
    Closed,
    /// What it said is not what the holder of the key says.
    #[error("does not hold the key")]
    Key,
    /// A name or what is told is longer than may be.
    #[error("a name is longer than may be")]
    Long,
    /// This machine has no randomness.
    #[error("no keys could be made: {0}")]
    Noise(snow::Error),
}

/// Why a connection that came was not taken.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The socket failed, or the other side went.
    #[error("the other side went: {0}")]
    Gone(io::Error),
    /// It took too long.
    #[error("it took too long")]
    Late,
    /// It does not speak this protocol.
    #[error("it does not speak this protocol")]
    Stranger,
    /// It speaks another version.
    #[error("it speaks version {0}, and this is {VERSION}")]
    Version(u8),
    /// Nobody of that name is awaited.
    #[error("{from} is not awaited on link {link:?}", from = .0.from, link = .0.link)]
    Unknown(Box<Hello>),
    /// It does not hold the key.
    #[error("{from} does not hold the key of link {link:?}", from = .0.from, link = .0.link)]
    Key(Box<Hello>),
    /// This machine has no randomness.
    #[error("no keys could be made: {0}")]
    Noise(snow::Error),
}

/// Opens a link to `address` (`host:port`). `payload` is told to the other end, in secret.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(address: &str, hello: Hello, key: &LinkKey, payload: &[u8]) -> Result<Opened, DialError> {
    timeout(HANDSHAKE_WAIT_MAX, dial_now(address, hello, key, payload)).await.map_err(|_| DialError::Late)?
}

async fn dial_now(address: &str, hello: Hello, key: &LinkKey, payload: &[u8]) -> Result<Opened, DialError> {
    let prologue = hello.encode()?;
    if payload.len() > PAYLOAD_IN_HANDSHAKE_BYTES_MAX {
        return Err(DialError::Long);
    }
    let mut noise = noise(true, key, &prologue).map_err(DialError::Noise)?;
    let mut socket = TcpStream::connect(address).await.map_err(DialError::Connect)?;
    socket.set_nodelay(true).map_err(DialError::Connect)?;
    let mut out = prologue;
    write_message(&mut noise, payload, &mut out).map_err(DialError::Noise)?;
    socket.write_all(&out).await.map_err(DialError::Connect)?;
    let answer = read_block(&mut socket).await.map_err(|_| DialError::Closed)?;
    let told = read_message(&mut noise, &answer).map_err(|_| DialError::Key)?;
    let noise = noise.into_stateless_transport_mode().map_err(DialError::Noise)?;
    let mut opened = Opened::new(socket, Arc::new(noise), hello, told);
    opened.ready().await.map_err(DialError::Connect)?;
    Ok(opened)
}

/// Takes a connection that came. `None` of the keeper, or a wrong key, ends it.
///
/// # Errors
/// See [`AcceptError`].
pub async fn accept(socket: TcpStream, keeper: &dyn Doorkeeper) -> Result<Opened, AcceptError> {
    timeout(HANDSHAKE_WAIT_MAX, accept_now(socket, keeper)).await.map_err(|_| AcceptError::Late)?
}

async fn accept_now(mut socket: TcpStream, keeper: &dyn Doorkeeper) -> Result<Opened, AcceptError> {
    socket.set_nodelay(true).map_err(AcceptError::Gone)?;
    let (hello, prologue) = read_hello(&mut socket).await?;
    let first = read_block(&mut socket).await.map_err(AcceptError::Gone)?;
    let Some(Admission { key, payload }) = keeper.admit(&hello) else {
        return Err(AcceptError::Unknown(Box::new(hello)));
    };
    let mut noise = noise(false, &key, &prologue).map_err(AcceptError::Noise)?;
    let Ok(told) = read_message(&mut noise, &first) else {
        return Err(AcceptError::Key(Box::new(hello)));
    };
    let mut out = Vec::new();
    write_message(&mut noise, &payload, &mut out).map_err(AcceptError::Noise)?;
    socket.write_all(&out).await.map_err(AcceptError::Gone)?;
    let noise = noise.into_stateless_transport_mode().map_err(AcceptError::Noise)?;
    let mut opened = Opened::new(socket, Arc::new(noise), hello, told);
    match opened.await_ready().await {
        Ok(true) => Ok(opened),
        Ok(false) => Err(AcceptError::Key(Box::new(opened.hello))),
        Err(error) => Err(AcceptError::Gone(error)),
    }
}

fn noise(dials: bool, key: &LinkKey, prologue: &[u8]) -> Result<HandshakeState, snow::Error> {
    let builder = snow::Builder::new(PROTOCOL.parse()?).prologue(prologue)?.psk(0, &key.0)?;
    if dials { builder.build_initiator() } else { builder.build_responder() }
}

/// Appends a Noise message, with its length before it.
fn write_message(noise: &mut HandshakeState, payload: &[u8], out: &mut Vec<u8>) -> Result<(), snow::Error> {
    let mut message = vec![0; payload.len() + HANDSHAKE_EXTRA_BYTES];
    let bytes = noise.write_message(payload, &mut message)?;
    message.truncate(bytes);
    out.extend_from_slice(&u16::try_from(bytes).map_err(|_| snow::Error::Input)?.to_be_bytes());
    out.extend_from_slice(&message);
    Ok(())
}

fn read_message(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut told = vec![0; message.len()];
    let bytes = noise.read_message(message, &mut told)?;
    told.truncate(bytes);
    Ok(told)
}

async fn read_hello(socket: &mut TcpStream) -> Result<(Hello, Vec<u8>), AcceptError> {
    let mut bytes = vec![0; HELLO_HEAD_BYTES];
    socket.read_exact(&mut bytes).await.map_err(AcceptError::Gone)?;
    let &[a, b, c, d, version, purpose, high, low] = &bytes[..] else { return Err(AcceptError::Stranger) };
    if [a, b, c, d] != *MAGIC {
        return Err(AcceptError::Stranger);
    }
    if version != VERSION {
        return Err(AcceptError::Version(version));
    }
    let purpose = [Purpose::Link, Purpose::Control].into_iter().find(|known| *known as u8 == purpose);
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (Some(purpose), true) = (purpose, length + HELLO_HEAD_BYTES <= HELLO_BYTES_MAX) else {
        return Err(AcceptError::Stranger);
    };
    bytes.resize(HELLO_HEAD_BYTES + length, 0);
    let rest = bytes.get_mut(HELLO_HEAD_BYTES..).unwrap_or_default();
    socket.read_exact(rest).await.map_err(AcceptError::Gone)?;
    let hello = Hello::decode(purpose, rest).ok_or(AcceptError::Stranger)?;
    Ok((hello, bytes))
}

/// A block with its length before it: a message of the handshake, or a record.
pub(super) async fn read_block(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(socket.read_u16().await?);
    debug_assert!(length <= RECORD_BYTES_MAX);
    if length > PAYLOAD_IN_HANDSHAKE_BYTES_MAX + HANDSHAKE_EXTRA_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut block = vec![0; length];
    socket.read_exact(&mut block).await?;
    Ok(block)
}

/// The state of one link after the handshake: it counts nothing, each record says its place by order.
pub(super) type Noise = Arc<StatelessTransportState>;
