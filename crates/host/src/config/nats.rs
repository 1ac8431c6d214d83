//! What the NATS door is told: its section of a configuration, as a file says it and complete.
//!
//! In a file the section is a mapping, or one word where only the address is meant: `nats: off`.
//! Secrets may stand here, as NATS's own users do; they are never shown.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use event::Pattern;
use serde::Deserialize;
use serde::de::Deserializer;

use super::section::word_or_fields;
use super::{Listen, PatternText, TlsFiles};
use crate::error::StartError;
use crate::units::{Size, Span, brief};

/// Port of the NATS door where none is said: NATS's own.
pub const NATS_PORT: u16 = 4222;

/// Port of NATS monitoring where none is said: NATS's own.
pub const MONITOR_PORT: u16 = 8222;

/// How long the server waits for a client that may begin with TLS, where `auto` is said: NATS's own.
const HANDSHAKE_WAIT: Duration = Duration::from_millis(50);

/// Longest control line that may be asked for, in bytes: each connection may hold as much.
const CONTROL_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything the door is told. `None` is the door's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// Where clients connect.
    pub listen: Listen,
    /// Where tools ask.
    pub monitor: Listen,
    /// Where browsers connect.
    pub websocket: Listen,
    /// Names the server to clients; the node's name where nothing is said.
    pub name: Option<String>,
    /// Who may enter, besides the node's tokens.
    pub users: Vec<NatsUserConfig>,
    /// The user whom a client is that says nothing of itself.
    pub no_auth_user: Option<String>,
    /// Who vouches for users by JWT; nobody else enters then.
    pub operator: Option<NatsOperator>,
    /// TLS of its own; where there is none, the node's.
    pub tls: Option<NatsTls>,
    /// TLS of the WebSocket listener; where there is none, that of the door.
    pub websocket_tls: Option<NatsTls>,
    /// Whether the WebSocket listener does without TLS although the door has it.
    pub websocket_plain: bool,
    /// Largest payload, in bytes; the node's limit where nothing is said.
    pub payload_bytes_max: Option<usize>,
    /// Longest control line, in bytes.
    pub control_line_bytes_max: Option<usize>,
    /// Most connections.
    pub connections_max: Option<usize>,
    /// Most subscriptions of one connection.
    pub subscriptions_max: Option<usize>,
    /// Most bytes that wait for one client.
    pub pending_bytes_max: Option<usize>,
    /// How long a client may take nothing while bytes wait for it.
    pub write_deadline: Option<Duration>,
    /// How often a silent client is asked whether it is there.
    pub ping_interval: Option<Duration>,
    /// Questions without answer, after which it is gone.
    pub pings_max: Option<u32>,
    /// How long a client may take to say who it is.
    pub auth_timeout: Option<Duration>,
    /// How long clients are given to leave when the node stops.
    pub lame_duck: Option<Duration>,
    /// Whether clients are told to leave when the node is asked to stop, and not only at SIGUSR2.
    pub lame_duck_on_stop: bool,
    /// JetStream.
    pub jetstream: NatsJetStream,
}

/// Who may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsUserConfig {
    /// The name; of a user with an NKEY its public key.
    pub name: String,
    /// How it proves who it is.
    pub secret: NatsSecret,
    /// What it may publish to; with nothing allowed, all that is not denied.
    pub publish: NatsSubjects,
    /// What it may subscribe to.
    pub subscribe: NatsSubjects,
}

/// An operator, and the accounts whose users are let in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsOperator {
    /// The operator's JWT.
    pub jwt: Hidden,
    /// Those of the accounts.
    pub accounts: Vec<String>,
}

/// How a user proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsSecret {
    /// A password, or a bcrypt hash of one.
    Password(Hidden),
    /// A file that holds one or the other.
    PasswordFile(PathBuf),
    /// A token without a name.
    Token(Hidden),
    /// A file that holds one.
    TokenFile(PathBuf),
    /// A public NKEY.
    Nkey(String),
}

/// Subjects allowed and denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsSubjects {
    /// Those allowed; with none, all are.
    pub allow: Vec<Pattern>,
    /// Those denied.
    pub deny: Vec<Pattern>,
}

/// TLS of this door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsTls {
    /// What is presented.
    pub files: TlsFiles,
    /// Whose certificates clients present, as PEM.
    pub ca: Option<PathBuf>,
    /// Whether clients must present one.
    pub verify: bool,
    /// When TLS begins.
    pub handshake_first: HandshakeFirst,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HandshakeFirst {
    /// After the server has spoken.
    #[default]
    Never,
    /// At once.
    Always,
    /// At once, where the client begins within this time; else after the server has spoken.
    Within(Duration),
}

/// What bounds JetStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatsJetStream {
    /// Whether it is spoken.
    pub enabled: bool,
    /// Whether a request with an unknown field is refused.
    pub strict: bool,
    /// Bytes that streams in files may reserve.
    pub file_bytes_max: Option<u64>,
    /// Bytes that streams in memory may reserve.
    pub memory_bytes_max: Option<u64>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(…)")
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        let loopback = |port| Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        NatsConfig {
            listen: loopback(NATS_PORT),
            monitor: loopback(MONITOR_PORT),
            websocket: Listen::Off,
            name: None,
            users: Vec::new(),
            no_auth_user: None,
            operator: None,
            tls: None,
            websocket_tls: None,
            websocket_plain: false,
            payload_bytes_max: None,
            control_line_bytes_max: None,
            connections_max: None,
            subscriptions_max: None,
            pending_bytes_max: None,
            write_deadline: None,
            ping_interval: None,
            pings_max: None,
            auth_timeout: None,
            lame_duck: None,
            lame_duck_on_stop: true,
            jetstream: NatsJetStream { enabled: true, strict: true, file_bytes_max: None, memory_bytes_max: None },
        }
    }
}

impl NatsConfig {
    /// Whether whoever enters must say who he is, also without the node's tokens.
    pub(super) fn asks(&self) -> bool {
        self.operator.is_some() || (!self.users.is_empty() && self.no_auth_user.is_none())
    }
}

/// What one place says of the door. Every field may be left out; see [`NatsConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsLayer(pub(crate) Fields);

/// The fields, as a file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fields {
    listen: Option<Listen>,
    monitor: Option<Listen>,
    websocket: Option<Listen>,
    name: Option<String>,
    users: Option<Vec<UserFields>>,
    token: Option<Hidden>,
    token_file: Option<PathBuf>,
    no_auth_user: Option<String>,
    operator: Option<NatsOperator>,
    tls: Option<TlsFields>,
    websocket_tls: Option<TlsFields>,
    websocket_plain: Option<bool>,
    max_payload: Option<Size>,
    max_control_line: Option<Size>,
    max_connections: Option<usize>,
    max_subscriptions: Option<usize>,
    max_pending: Option<Size>,
    write_deadline: Option<Span>,
    ping_interval: Option<Span>,
    ping_max: Option<u32>,
    auth_timeout: Option<Span>,
    lame_duck_duration: Option<Span>,
    lame_duck_on_stop: Option<bool>,
    jetstream: Option<JetStreamFields>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserFields {
    user: Option<String>,
    password: Option<Hidden>,
    password_file: Option<PathBuf>,
    nkey: Option<String>,
    publish: SubjectFields,
    subscribe: SubjectFields,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SubjectFields {
    allow: Vec<PatternText>,
    deny: Vec<PatternText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFields {
    certificate: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
    #[serde(default)]
    verify: bool,
    #[serde(default)]
    handshake_first: HandshakeFirst,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JetStreamFields {
    enabled: Option<bool>,
    strict: Option<bool>,
    max_file_store: Option<Size>,
    max_memory_store: Option<Size>,
}

impl From<Listen> for Fields {
    fn from(listen: Listen) -> Self {
        Fields { listen: Some(listen), ..Fields::default() }
    }
}

impl<'de> Deserialize<'de> for NatsLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(NatsLayer)
    }
}

impl NatsLayer {
    /// A layer that says where the door listens.
    #[must_use]
    pub fn listening(listen: Option<Listen>, monitor: Option<Listen>, websocket: Option<Listen>) -> Self {
        NatsLayer(Fields { listen, monitor, websocket, ..Fields::default() })
    }

    /// This layer over a weaker one, field by field; lists are taken whole.
    #[must_use]
    pub(super) fn over(self, weaker: NatsLayer) -> NatsLayer {
        let (ours, theirs) = (self.0, weaker.0);
        NatsLayer(Fields {
            listen: ours.listen.or(theirs.listen),
            monitor: ours.monitor.or(theirs.monitor),
            websocket: ours.websocket.or(theirs.websocket),
            name: ours.name.or(theirs.name),
            users: ours.users.or(theirs.users),
            token: ours.token.or(theirs.token),
            token_file: ours.token_file.or(theirs.token_file),
            no_auth_user: ours.no_auth_user.or(theirs.no_auth_user),
            operator: ours.operator.or(theirs.operator),
            tls: ours.tls.or(theirs.tls),
            websocket_tls: ours.websocket_tls.or(theirs.websocket_tls),
            websocket_plain: ours.websocket_plain.or(theirs.websocket_plain),
            max_payload: ours.max_payload.or(theirs.max_payload),
            max_control_line: ours.max_control_line.or(theirs.max_control_line),
            max_connections: ours.max_connections.or(theirs.max_connections),
            max_subscriptions: ours.max_subscriptions.or(theirs.max_subscriptions),
            max_pending: ours.max_pending.or(theirs.max_pending),
            write_deadline: ours.write_deadline.or(theirs.write_deadline),
            ping_interval: ours.ping_interval.or(theirs.ping_interval),
            ping_max: ours.ping_max.or(theirs.ping_max),
            auth_timeout: ours.auth_timeout.or(theirs.auth_timeout),
            lame_duck_duration: ours.lame_duck_duration.or(theirs.lame_duck_duration),
            lame_duck_on_stop: ours.lame_duck_on_stop.or(theirs.lame_duck_on_stop),
            jetstream: ours.jetstream.or(theirs.jetstream),
        })
    }

    /// The paths that it holds.
    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        let Fields { users, token_file, tls, websocket_tls, .. } = &mut self.0;
        let passwords = users.iter_mut().flatten().filter_map(|user| user.password_file.as_mut());
        let tls = tls.iter_mut().chain(websocket_tls);
        let tls = tls.flat_map(|tls| [&mut tls.certificate, &mut tls.key].into_iter().chain(tls.ca.as_mut()));
        passwords.chain(token_file.as_mut()).chain(tls).collect()
    }

    /// Every default filled, checked.
    pub(super) fn complete(self, payload_bytes_max: usize) -> Result<NatsConfig, StartError> {
        let fields = self.0;
        let standard = NatsConfig::default();
        let payload = fields.max_payload.map(bytes);
        if payload.is_some_and(|payload| payload == 0 || payload > payload_bytes_max) {
            let reason = format!("must be 1 to limits.payload_max, which is {payload_bytes_max} bytes");
            return Err(StartError::invalid("nats.max_payload", reason));
        }
        if fields.max_control_line.is_some_and(|size| !(64..=CONTROL_LINE_BYTES_MAX).contains(&size.0)) {
            let reason = format!("must be 64 to {CONTROL_LINE_BYTES_MAX} bytes");
            return Err(StartError::invalid("nats.max_control_line", reason));
        }
        for (name, part) in [("nats.websocket", fields.websocket), ("nats.monitor", fields.monitor)] {
            if let (Some(Listen::Off), Some(Listen::At(_))) = (fields.listen, part) {
                return Err(StartError::invalid(name, "needs the nats door, which is off"));
            }
        }
        let jetstream = fields.jetstream.unwrap_or_default();
        let users = users(fields.users.unwrap_or_default(), fields.token, fields.token_file)?;
        if let Some(user) = &fields.no_auth_user
            && users.iter().all(|known| known.name != *user)
        {
            let reason = format!("names '{}', who is none of nats.users", brief(user));
            return Err(StartError::invalid("nats.no_auth_user", reason));
        }
        Ok(NatsConfig {
            listen: fields.listen.unwrap_or(standard.listen),
            // Tools ask about the door: without it there is nothing to tell.
            monitor: match fields.listen {
                Some(Listen::Off) => fields.monitor.unwrap_or(Listen::Off),
                _ => fields.monitor.unwrap_or(standard.monitor),
            },
            websocket: fields.websocket.unwrap_or(standard.websocket),
            name: fields.name,
            users,
            no_auth_user: fields.no_auth_user,
            operator: fields.operator,
            tls: fields.tls.map(NatsTls::from),
            websocket_tls: fields.websocket_tls.map(NatsTls::from),
            websocket_plain: fields.websocket_plain.unwrap_or(false),
            payload_bytes_max: payload,
            control_line_bytes_max: fields.max_control_line.map(bytes),
            connections_max: fields.max_connections,
            subscriptions_max: fields.max_subscriptions,
            pending_bytes_max: fields.max_pending.map(bytes),
            write_deadline: fields.write_deadline.map(|span| span.0),
            ping_interval: fields.ping_interval.map(|span| span.0),
            pings_max: fields.ping_max,
            auth_timeout: fields.auth_timeout.map(|span| span.0),
            lame_duck: fields.lame_duck_duration.map(|span| span.0),
            lame_duck_on_stop: fields.lame_duck_on_stop.unwrap_or(standard.lame_duck_on_stop),
            jetstream: NatsJetStream {
                enabled: jetstream.enabled.unwrap_or(standard.jetstream.enabled),
                strict: jetstream.strict.unwrap_or(standard.jetstream.strict),
                file_bytes_max: jetstream.max_file_store.map(|size| size.0),
                memory_bytes_max: jetstream.max_memory_store.map(|size| size.0),
            },
        })
    }
}

impl From<TlsFields> for NatsTls {
    fn from(fields: TlsFields) -> Self {
        let TlsFields { certificate, key, ca, verify, handshake_first } = fields;
        NatsTls { files: TlsFiles { certificate, key }, ca, verify, handshake_first }
    }
}

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn users(
    listed: Vec<UserFields>,
    token: Option<Hidden>,
    token_file: Option<PathBuf>,
) -> Result<Vec<NatsUserConfig>, StartError> {
    let mut users = Vec::new();
    for fields in listed {
        let user = user(fields)?;
        if users.iter().any(|known: &NatsUserConfig| known.name == user.name) {
            let reason = format!("has '{}' twice", brief(&user.name));
            return Err(StartError::invalid("nats.users", reason));
        }
        users.push(user);
    }
    let secret = match (token, token_file) {
        (None, None) => return Ok(users),
        (Some(token), None) => NatsSecret::Token(token),
        (None, Some(file)) => NatsSecret::TokenFile(file),
        (Some(_), Some(_)) => return Err(StartError::invalid("nats.token", "and nats.token_file exclude each other")),
    };
    if !users.is_empty() {
        return Err(StartError::invalid("nats.token", "and nats.users exclude each other"));
    }
    let anything = NatsSubjects::default;
    Ok(vec![NatsUserConfig { name: String::from("token"), secret, publish: anything(), subscribe: anything() }])
}

fn user(fields: UserFields) -> Result<NatsUserConfig, StartError> {
    let UserFields { user, password, password_file, nkey, publish, subscribe } = fields;
    let (name, secret) = match (user, password, password_file, nkey) {
        (Some(user), Some(password), None, None) => (user, NatsSecret::Password(password)),
        (Some(user), None, Some(file), None) => (user, NatsSecret::PasswordFile(file)),
        (Some(user), None, None, None) => (user, NatsSecret::Password(Hidden(String::new()))),
        (None, None, None, Some(nkey)) => (nkey.clone(), NatsSecret::Nkey(nkey)),
        (user, ..) => {
            let who = user.unwrap_or_else(|| String::from("one of them"));
            let reason = format!("'{}' needs user with password or password_file, or an nkey alone", brief(&who));
            return Err(StartError::invalid("nats.users", reason));
        }
    };
    let subjects = |fields: SubjectFields| NatsSubjects {
        allow: fields.allow.into_iter().map(|pattern| pattern.0).collect(),
        deny: fields.deny.into_iter().map(|pattern| pattern.0).collect(),
    };
    Ok(NatsUserConfig { name, secret, publish: subjects(publish), subscribe: subjects(subscribe) })
}

impl TryFrom<String> for HandshakeFirst {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "never" => Ok(HandshakeFirst::Never),
            "always" => Ok(HandshakeFirst::Always),
            "auto" => Ok(HandshakeFirst::Within(HANDSHAKE_WAIT)),
            span => {
                let span: Result<Span, _> = span.parse();
                span.map(|span| HandshakeFirst::Within(span.0))
                    .map_err(|_| format!("'{}' is none of never, always, auto, and a span such as 300ms", brief(&text)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer};

    fn complete(text: &str) -> Result<Config, String> {
        let layer: Layer = crate::file::parse(text).map_err(|fault| fault.reason)?;
        Config::from_layers(layer).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let said = complete(text).unwrap_err();
        assert!(said.contains(part) && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn the_section_is_an_address_or_fields() {
        assert_eq!(complete("nats: off\n").unwrap().nats.listen, Listen::Off);
        assert_eq!(complete("nats: off\n").unwrap().nats.monitor, Listen::Off);
        assert_eq!(complete("nats: 4333\n").unwrap().nats.listen.to_string(), "127.0.0.1:4333");
        let whole = complete(concat!(
            "nats:\n  listen: 127.0.0.1:1\n  monitor: off\n  websocket: 127.0.0.1:2\n  name: n\n  max_payload: 1KiB\n",
            "  users:\n    - {user: a, password: s3cret, publish: {allow: [a.>], deny: [a.b]}}\n",
            "    - {nkey: UABC}\n  no_auth_user: a\n  ping_interval: 1s\n  lame_duck_on_stop: false\n",
            "  tls: {certificate: c, key: k, ca: a, verify: true, handshake_first: 300ms}\n",
            "  jetstream: {strict: false, max_file_store: 1GiB}\n",
        ))
        .unwrap();
        let nats = whole.nats.clone();
        assert_eq!((nats.users.len(), nats.payload_bytes_max), (2, Some(1024)));
        assert_eq!(nats.tls.unwrap().handshake_first, HandshakeFirst::Within(Duration::from_millis(300)));
        assert_eq!(nats.jetstream.file_bytes_max, Some(1 << 30));
        assert!(!format!("{whole:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_is_named_and_no_secret_is_quoted() {
        check_refused("nats: {listne: off}\n", "there is no field 'listne'");
        check_refused("nats: example.org:1\n", "'example.org:1' is not an address");
        check_refused("nats: {max_payload: 65MiB}\n", "nats.max_payload");
        check_refused("nats: {users: [{user: a, password: s3cret, nkey: U}]}\n", "'a' needs");
        check_refused("nats: {users: [{user: a}, {user: a}]}\n", "'a' twice");
        check_refused("nats: {users: [{user: a, password: s3cret}], token: s3cret}\n", "exclude");
        check_refused("nats: {no_auth_user: a}\n", "none of nats.users");
        check_refused("nats: {tls: {certificate: c, key: k, handshake_first: soon}}\n", "'soon'");
        check_refused("nats: {listen: off, websocket: 1}\n", "nats.websocket");
    }

    #[test]
    fn beyond_loopback_someone_must_be_asked_for_or_all_be_let_in_on_purpose() {
        check_refused("nats: 0.0.0.0:4222\n", "the nats door at 0.0.0.0:4222");
        check_refused("nats: {monitor: 0.0.0.0:1, token: s3cret}\n", "the monitor door");
        check_refused("nats: {websocket: 0.0.0.0:1}\n", "the nats-websocket door");
        let user = "nats: {listen: 0.0.0.0:1, users: [{user: a, password: b}]}\n";
        assert!(complete(user).is_ok());
        check_refused(&user.replace("}\n", ", no_auth_user: a}\n"), "the nats door");
        assert!(complete("open: true\nnats: {listen: 0.0.0.0:1, monitor: 0.0.0.0:2}\n").is_ok());
    }
}
