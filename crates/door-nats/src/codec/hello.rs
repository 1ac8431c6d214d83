//! What both sides say of themselves: `INFO` and `CONNECT`.

use serde::{Deserialize, Serialize};

fn yes() -> bool {
    true
}

/// What a client says of itself. Unknown fields are passed over: clients of other versions have more.
#[derive(Clone, Deserialize)]
pub struct Connect {
    /// Whether each operation is answered with `+OK`. As NATS has it, true where nothing is said.
    #[serde(default = "yes")]
    pub verbose: bool,
    /// Whether subjects of publishes are judged strictly.
    #[serde(default = "yes")]
    pub pedantic: bool,
    /// Whether it hears what it publishes itself.
    #[serde(default = "yes")]
    pub echo: bool,
    /// Whether it takes headers.
    #[serde(default)]
    pub headers: bool,
    /// Whether it is told that nobody listens.
    #[serde(default)]
    pub no_responders: bool,
    /// Which version of the protocol it speaks.
    #[serde(default)]
    pub protocol: i64,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its library's language.
    #[serde(default)]
    pub lang: Option<String>,
    /// Its library's version.
    #[serde(default)]
    pub version: Option<String>,
    /// Who it is.
    #[serde(default)]
    pub user: Option<String>,
    /// The password.
    #[serde(default)]
    pub pass: Option<String>,
    /// A token in place of user and password.
    #[serde(default)]
    pub auth_token: Option<String>,
    /// Its public NKEY.
    #[serde(default)]
    pub nkey: Option<String>,
    /// The signature of the nonce, in base64.
    #[serde(default)]
    pub sig: Option<String>,
    /// What an account says of it.
    #[serde(default)]
    pub jwt: Option<String>,
}

impl Connect {
    /// A client that has not said anything yet.
    pub fn unsaid() -> Self {
        Connect {
            verbose: false,
            pedantic: false,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: None,
            lang: None,
            version: None,
            user: None,
            pass: None,
            auth_token: None,
            nkey: None,
            sig: None,
            jwt: None,
        }
    }
}

/// What the server says of itself. The first six fields are read by some clients without a default.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Which server.
    pub server_id: String,
    /// Its name.
    pub server_name: String,
    /// The version of NATS that it behaves like.
    pub version: &'static str,
    /// The version of the protocol.
    pub proto: u8,
    /// What it is built with; clients show it.
    pub go: &'static str,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Headers are taken.
    pub headers: bool,
    /// A client must say who it is.
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// TLS is needed.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// A client's certificate is needed.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    /// Largest payload.
    pub max_payload: usize,
    /// JetStream is spoken.
    pub jetstream: bool,
    /// The level of its API.
    pub api_lvl: u32,
    /// The connection's number.
    pub client_id: u64,
    /// Where the client is.
    pub client_ip: String,
    /// What a client with an NKEY signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The server is about to stop.
    #[serde(rename = "ldm", skip_serializing_if = "is_false")]
    pub lame_duck: bool,
    /// This answers CONNECT.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    /// The account that the client is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_account: Option<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Info {
    /// The line that says it.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"INFO ".to_vec();
        // Strings and numbers alone: this cannot fail.
        line.extend(serde_json::to_vec(self).unwrap_or_default());
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_does_not_say() {
        let said: Connect = serde_json::from_str("{\"unknown\": 1, \"name\": null}").unwrap();
        assert!(said.verbose && said.pedantic && said.echo && !said.headers && said.name.is_none());
    }
}
