//! The road to a node: one blocking HTTP client over the node's HTTP API.
//!
//! Knows paths, queries, headers and bodies; knows nothing of what they mean. The token is read
//! from a file, never from the command line (where other users of the machine could see it), and
//! is never printed. Connections are kept and used again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::{self, Method};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::failure::{Failure, Problem};

/// Time to reach the node's address: enough for a far network, short enough for a wrong address.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Time for an answer to begin, beyond any wait that the request itself asks for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Silence after which a followed stream is taken for lost; several heartbeats of the node.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest answer that is read into memory, in bytes: a page of the largest messages.
const ANSWER_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What a path segment keeps as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the node is, and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Node")]
pub struct Reach {
    /// The node's HTTP door
    #[arg(long, value_name = "URL", env = "TIDINGS_SERVER", default_value = "http://127.0.0.1:7070")]
    pub server: String,
    /// A file whose first line is the bearer token
    #[arg(long, value_name = "FILE", env = "TIDINGS_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for https, in place of the public ones
    #[arg(long, value_name = "FILE", env = "TIDINGS_CA")]
    pub ca: Option<PathBuf>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    wait: Duration,
}

/// A node that can be asked. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    server: String,
    authorization: Option<http::HeaderValue>,
}

impl Request {
    /// A request for the path made of `segments`, each encoded.
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = String::from("/v1");
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Request { method, path, headers: Vec::new(), body: None, wait: Duration::ZERO }
    }

    /// `GET`.
    pub fn get(segments: &[&str]) -> Self {
        Request::new(Method::GET, segments)
    }

    /// `POST`.
    pub fn post(segments: &[&str]) -> Self {
        Request::new(Method::POST, segments)
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        self.path.extend(utf8_percent_encode(&value.to_string(), SEGMENT));
        self
    }

    /// Adds a query parameter, if there is a value.
    pub fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a query parameter once for each value.
    pub fn query_each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |request, value| request.query(name, value))
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body; the content type is a header.
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    /// Sets a JSON body.
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string().into_bytes())
    }

    /// Says how long the node itself will wait before it answers.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl Client {
    /// Prepares to talk to a node. Connects only when asked something.
    pub fn new(reach: &Reach) -> Result<Self, Failure> {
        let server = base_url(&reach.server)?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_WAIT))
            .max_idle_connections_per_host(1)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&server) {
            config = config.proxy(None);
        }
        if let Some(file) = &reach.ca {
            config = config.tls_config(TlsConfig::builder().root_certs(trusted(file)?).build());
        }
        let authorization = reach.token_file.as_deref().map(authorization).transpose()?;
        Ok(Client { agent: config.build().new_agent(), server, authorization })
    }

    /// The base URL, without a slash at its end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The same node over connections of its own.
    pub fn apart(&self) -> Self {
        Client { agent: self.agent.config().new_agent(), ..self.clone() }
    }

    /// Asks, and reads the whole answer.
    pub fn ask(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let (head, body) = self.ask_whole(request)?;
        if head.status.is_success() { Ok(body) } else { Err(refused(&head, &body)) }
    }

    /// Asks, and reads the whole answer with its head, whatever the status.
    pub fn ask_whole(&self, request: &Request) -> Result<(http::response::Parts, Vec<u8>), Failure> {
        let answer = match self.run(request, None) {
            // A kept connection may have been closed by the node meanwhile: what changes nothing is asked anew.
            Err(Failure::Unreachable { .. }) if request.method == Method::GET => self.run(request, None)?,
            answer => answer?,
        };
        let (head, body) = answer.into_parts();
        let body = body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        body.map(|body| (head, body)).map_err(|error| self.unreachable(&error))
    }

    /// Asks, and reads the answer as JSON.
    pub fn ask_json<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        let body = self.ask(request)?;
        serde_json::from_slice(&body).map_err(|error| Failure::strange(format!("{}: {error}", request.path)))
    }

    /// Asks for a stream of server-sent events. Silence beyond [`SILENCE_MAX`] ends it with an error.
    pub fn follow(&self, request: &Request) -> Result<impl std::io::Read + use<>, Failure> {
        let answer = self.run(request, Some(SILENCE_MAX))?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.into_body().read_to_vec().unwrap_or_default();
            return Err(refusal(status.as_u16(), None, &body));
        }
        Ok(answer.into_body().into_reader())
    }

    fn run(&self, request: &Request, silence: Option<Duration>) -> Result<http::Response<Body>, Failure> {
        let mut builder =
            http::Request::builder().method(request.method.clone()).uri(format!("{}{}", self.server, request.path));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(authorization) = &self.authorization {
            builder = builder.header("authorization", authorization.clone());
        }
        let answer_wait = Some(ANSWER_WAIT + request.wait);
        let answer = match (&request.body, request.method == Method::POST) {
            (None, false) => builder.body(()).map(|sent| {
                let sent = self.agent.configure_request(sent).timeout_recv_response(answer_wait);
                self.agent.run(sent.timeout_per_read(silence).build())
            }),
            (body, _) => builder.body(body.as_deref().unwrap_or_default()).map(|sent| {
                let sent = self.agent.configure_request(sent).timeout_recv_response(answer_wait);
                self.agent.run(sent.build())
            }),
        };
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(error) => Err(Failure::usage(
                format!("this cannot be sent over HTTP: {error}"),
                "check --server and the values of attributes and extensions",
            )),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind;
        let hint = match error {
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
                "name the certificate to trust with --ca FILE, or use the node's http URL".to_owned()
            }
            ureq::Error::Io(error) if matches!(error.get_ref(), Some(inner) if inner.to_string().contains("certificate")) => {
                "name the certificate to trust with --ca FILE".to_owned()
            }
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                "start a node with: tidings serve; or name another with --server URL or TIDINGS_SERVER".to_owned()
            }
            _ => "check --server URL (or TIDINGS_SERVER); start a node with: tidings serve".to_owned(),
        };
        Failure::Unreachable { server: self.server.clone(), cause: error.to_string(), hint }
    }
}

/// What a refusal says, with its head.
pub fn refused(head: &http::response::Parts, body: &[u8]) -> Failure {
    let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    refusal(head.status.as_u16(), retry_after, body)
}

/// What a refusal says: its problem document, or what stands in place of one. Status 0: the document's own.
pub fn refusal(status: u16, retry_after_seconds: Option<u64>, body: &[u8]) -> Failure {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let status = if status == 0 { problem.status } else { status };
    if problem.title.is_empty() {
        problem.title = format!("the node answered {status}");
        problem.detail = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
    }
    problem.status = status;
    problem.retry_after_seconds = retry_after_seconds;
    if status == 404 { Failure::NotFound(problem) } else { Failure::Refused(problem) }
}

fn base_url(text: &str) -> Result<String, Failure> {
    let trimmed = text.trim().trim_end_matches('/');
    let url = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
    let refused = |what: &str| Failure::usage(what.to_owned(), "write it as in --server http://127.0.0.1:7070");
    let uri: http::Uri = url.parse().map_err(|_| refused("the node's URL (--server) is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return Err(refused("the node's URL (--server) must be an http or https URL without a query"));
    }
    match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(url),
        Some(_) => Err(Failure::usage(
            "the node's URL (--server) holds a user or a password",
            "give a token with --token-file FILE in place of it",
        )),
        None => Err(refused("the node's URL (--server) names no host")),
    }
}

fn is_loopback(server: &str) -> bool {
    let Ok(uri) = server.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authorization(file: &Path) -> Result<http::HeaderValue, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(
            format!("cannot read the token file {}: {error}", file.display()),
            "name a file that you can read, with the token as its first line",
        )
    })?;
    let token = text.lines().next().unwrap_or_default().trim();
    let value = http::HeaderValue::from_str(&format!("Bearer {token}"));
    match value {
        Ok(mut value) if !token.is_empty() && !token.contains(char::is_whitespace) => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Failure::usage(
            format!("the first line of the token file {} is not a token", file.display()),
            "put the token alone on the first line",
        )),
    }
}

fn trusted(file: &Path) -> Result<RootCerts, Failure> {
    let refused = |why: String| {
        Failure::usage(
            format!("cannot use the certificates in {}: {why}", file.display()),
            "name a PEM file with the certificate that signed the node's",
        )
    };
    let pem = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| refused(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(refused("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_encoded() {
        let request = Request::get(&["events", "urn:a/b 1"]).query("source", "/s?x").query_if("since", None::<&str>);
        assert_eq!(request.path, "/v1/events/urn%3Aa%2Fb%201?source=%2Fs%3Fx");
    }

    #[test]
    fn the_node_is_named_in_several_ways() {
        assert_eq!(base_url("localhost:7070/").unwrap(), "http://localhost:7070");
        assert_eq!(base_url("https://node.example/tidings").unwrap(), "https://node.example/tidings");
        for bad in ["", "ftp://node", "http://me:secret@node", "http://node?x=1"] {
            let refused = base_url(bad).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
        assert!(
            is_loopback("http://[::1]:7070") && is_loopback("http://127.0.0.2:1") && !is_loopback("http://10.0.0.1")
        );
    }

    #[test]
    fn a_refusal_without_a_problem_is_still_told() {
        let text = refusal(502, None, b"<html>\x1b[31mbad gateway").to_string();
        assert!(text.contains("502") && text.contains("bad gateway") && !text.contains('\x1b'), "{text}");
    }
}
