//! Where a hub is.

use tokio_tungstenite::tungstenite::http::Uri;

use crate::ConnectError;
use crate::options::Replay;

/// An address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or number, without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// What is asked for of the host, with a query if there is one.
    path: String,
}

impl Address {
    /// Reads `ws://host:port`, `wss://…`, or `host:port`, with or without a path. Without one it is that of
    /// messengers.
    pub fn parse(text: &str) -> Result<Self, ConnectError> {
        let refused = |why: &str| ConnectError::Address { address: text.chars().take(256).collect(), why: why.into() };
        let whole = if text.contains("://") { text.to_owned() } else { format!("ws://{text}") };
        let uri: Uri = whole.parse().map_err(|error| refused(&format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(refused("the scheme is neither ws nor wss")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("a name and password are not spoken; there are tokens"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match (rest.strip_prefix(':'), authority.port_u16()) {
            (_, Some(0)) | (Some(_), None) => return Err(refused("its port is none")),
            (_, Some(port)) => port,
            (None, None) if tls => 443,
            (None, None) => 80,
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let path = match path.strip_prefix('/').unwrap_or(path) {
            "" => String::from("/connect/messenger"),
            query if query.starts_with('?') => format!("/connect/messenger{query}"),
            path => format!("/{path}"),
        };
        Ok(Address { host: host.to_owned(), port, tls, path })
    }

    /// The host as it stands in a request.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    /// The whole, as the WebSocket upgrade wants it.
    pub fn uri(&self, replay: Option<&Replay>) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        let with = if self.path.contains('?') { '&' } else { '?' };
        let query = match replay {
            None => String::new(),
            Some(Replay::Last) => format!("{with}last=1"),
            Some(Replay::Since(since)) => format!("{with}since={}", escaped(since)),
        };
        format!("{scheme}://{}{}{query}", self.authority(), self.path)
    }
}

/// A value as it stands in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Address::parse(text).ok().map(|address| address.uri(None)).as_deref(), expected, "{text}");
    }

    #[test]
    fn addresses_are_taken_as_originals_write_them_and_others_refused() {
        check("ws://localhost:7100", Some("ws://localhost:7100/connect/messenger"));
        check("localhost:7100", Some("ws://localhost:7100/connect/messenger"));
        check("ws://event-hub/", Some("ws://event-hub:80/connect/messenger"));
        check("wss://hub.example", Some("wss://hub.example:443/connect/messenger"));
        check("ws://[::1]:7100", Some("ws://[::1]:7100/connect/messenger"));
        check("ws://h:1?since=10m", Some("ws://h:1/connect/messenger?since=10m"));
        check("https://h/deep/messenger?x=1", Some("wss://h:443/deep/messenger?x=1"));
        for wrong in
            ["", "ws://", "ftp://h", "ws://h:0", "ws://h:99999", "ws://h:x", "a b", "ws://u:p@h:1", "ws://:7100"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn replay_is_asked_for_in_the_query() {
        let plain = Address::parse("ws://h:1").unwrap();
        let since = Replay::Since("2026-01-31T12:00:00+01:00".to_owned());
        assert_eq!(plain.uri(Some(&since)), "ws://h:1/connect/messenger?since=2026-01-31T12:00:00%2B01:00");
        let asked = Address::parse("ws://h:1/?x=1").unwrap();
        assert_eq!(asked.uri(Some(&Replay::Last)), "ws://h:1/connect/messenger?x=1&last=1");
    }
}
