//! Reaching the servers: addresses, credentials, and what a server must have.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use crate::api::{Fault, call};
use crate::limits::{CONNECT_DEADLINE, SERVER_MIN, SUBSCRIPTION_CAPACITY};
use crate::wire::Anything;

/// Pauses between attempts to connect again: short enough that a failover is not waited for, long
/// enough that a cluster that starts is not stormed.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often the connection is probed, so that one that is dead without a word is found.
const PING: Duration = Duration::from_secs(5);

/// Servers of one cluster, as `nats://host:4222,host2,…`. Never prints a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Vec<String>);

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not an address such as nats://host:4222 or nats://one:4222,two:4222,three:4222")]
pub struct AddressError(String);

impl Address {
    /// User and password, or a token, of the first server that is given with any.
    fn user(&self) -> Option<(String, Option<String>)> {
        let urls = self.0.iter().filter_map(|url| url.parse::<ServerAddr>().ok());
        let mut users = urls.filter(|url| url.username().is_some_and(|user| !user.is_empty()));
        let url = users.next()?;
        Some((url.username()?.to_owned(), url.password().map(str::to_owned)))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(redacted(text));
        let scheme = if text.starts_with("tls://") { "tls://" } else { "nats://" };
        let mut servers = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let url = if part.contains("://") { part.to_owned() } else { format!("{scheme}{part}") };
            let known = url.starts_with("nats://") || url.starts_with("tls://");
            if !known || url.parse::<ServerAddr>().is_err() || url.ends_with("//") {
                return Err(refused());
            }
            servers.push(url);
        }
        Ok(Address(servers))
    }
}

/// The same text with what stands between `//` and `@` left out.
fn redacted(text: &str) -> String {
    let mut shown = Vec::new();
    for part in text.split(',') {
        let (scheme, rest) = part.split_once("://").map_or(("", part), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("***@{host}"));
        shown.push(if scheme.is_empty() { host } else { format!("{scheme}://{host}") });
    }
    shown.join(",").chars().take(256).collect()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0.join(",")))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the right to connect is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A file: NATS's own (`.creds`, a JWT with its key), a line `user:password`, or a line that is a token.
    File(PathBuf),
}

/// How the engine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers.
    pub servers: Address,
    /// How to be let in, if it takes more than the address.
    pub credentials: Option<Credentials>,
    /// Copies of each stream, where its declaration asks for fewer.
    pub replicas: u8,
    /// Whether appends without an id are given one, so that they survive a failover.
    pub ids: bool,
    /// The name under which the servers list this connection.
    pub name: String,
}

impl Options {
    /// On these servers, one copy, with ids.
    pub fn new(servers: Address) -> Self {
        Options { servers, credentials: None, replicas: 1, ids: true, name: String::from("tidings") }
    }
}

/// Why the engine does not start. Each says what to do.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No server answers.
    #[error("cannot reach a NATS server at {address}: {reason}; start it, or correct --engine")]
    Unreachable {
        /// What was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The file of credentials cannot be read.
    #[error("cannot use the credentials in {path}: {reason}; see --engine-creds")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The server is too old.
    #[error("the NATS server at {address} is version {found}; the engine needs {}.{}.{} or newer: update the servers", SERVER_MIN.0, SERVER_MIN.1, SERVER_MIN.2)]
    Version {
        /// Which server.
        address: String,
        /// What it is.
        found: String,
    },
    /// The server keeps nothing.
    #[error(
        "JetStream is not on at {address}: {reason}; start nats-server with -js, or set 'jetstream' in its configuration and for the account"
    )]
    NoJetStream {
        /// Which server.
        address: String,
        /// What it says.
        reason: String,
    },
    /// More copies than a single server can keep.
    #[error(
        "{replicas} replicas need a cluster, and the NATS server at {address} is not part of one; use --replicas 1, or name the cluster"
    )]
    NoCluster {
        /// Which server.
        address: String,
        /// What was asked for.
        replicas: u8,
    },
    /// The number of copies is none that JetStream keeps.
    #[error("{0} replicas are not possible; use 1, 3 or 5")]
    Replicas(u8),
}

/// Connects, and checks what the servers have.
pub(crate) async fn connect(options: &Options) -> Result<Client, ConnectError> {
    if !matches!(options.replicas, 1..=5) {
        return Err(ConnectError::Replicas(options.replicas));
    }
    let address = options.servers.to_string();
    let unreachable = |reason: String| ConnectError::Unreachable { address: address.clone(), reason };
    let connecting = connect_options(options)?.connect(options.servers.0.clone());
    let client = match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable(format!("no answer within {CONNECT_DEADLINE:?}"))),
    };
    let server = client.server_info();
    let (major, minor, patch) = SERVER_MIN;
    if !client.is_server_compatible(major, minor, patch) {
        return Err(ConnectError::Version { address, found: server.version });
    }
    if !server.jetstream {
        return Err(ConnectError::NoJetStream { address, reason: String::from("the server says so") });
    }
    match call::<Anything>(&client, "INFO", &Value::Null).await {
        Ok(_) => {}
        Err(Fault::Refused(error)) => return Err(ConnectError::NoJetStream { address, reason: error.to_string() }),
        Err(Fault::Unreachable(reason)) => return Err(unreachable(format!("JetStream has no leader yet ({reason})"))),
    }
    if options.replicas > 1 && server.cluster.is_none_or(|name| name.is_empty()) {
        return Err(ConnectError::NoCluster { address, replicas: options.replicas });
    }
    Ok(client)
}

fn connect_options(options: &Options) -> Result<ConnectOptions, ConnectError> {
    let base = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(CONNECT_DEADLINE / 4)
        .ping_interval(PING)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempts| {
            let doubled = Duration::from_millis(50) * 2_u32.saturating_pow(u32::try_from(attempts.min(8)).unwrap_or(8));
            doubled.min(RECONNECT_PAUSE_MAX)
        });
    let Some(Credentials::File(path)) = &options.credentials else {
        return Ok(match options.servers.user() {
            Some((user, Some(password))) => base.user_and_password(user, password),
            Some((token, None)) => base.token(token),
            None => base,
        });
    };
    let refused = |error: io::Error| ConnectError::Credentials { path: path.clone(), reason: error.to_string() };
    let text = std::fs::read_to_string(path).map_err(refused)?;
    if text.contains("-----BEGIN") {
        return base.credentials(&text).map_err(refused);
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) => Ok(base.user_and_password(user.to_owned(), password.to_owned())),
        None if line.is_empty() => Err(refused(io::Error::other("the file is empty"))),
        None => Ok(base.token(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: Option<&str>) {
        let parsed: Result<Address, AddressError> = text.parse();
        assert_eq!(parsed.ok().map(|address| address.to_string()).as_deref(), shown, "{text}");
    }

    #[test]
    fn an_address_names_servers_and_hides_passwords() {
        check("nats://127.0.0.1:4222", Some("nats://127.0.0.1:4222"));
        check("nats://one:4222,two,three:5", Some("nats://one:4222,nats://two,nats://three:5"));
        check("nats://user:secret@one:4222", Some("nats://***@one:4222"));
        check("tls://one,two", Some("tls://one,tls://two"));
        check("http://one", None);
        check("nats://", None);
        check("", None);
        let error = "http://user:secret@one".parse::<Address>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
