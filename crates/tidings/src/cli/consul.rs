//! The road to a node's Consul door: the same client, at another address.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::client::{Client, Reach, Request, refused};
use super::failure::Failure;

/// Where the door is when nothing is said.
const USUAL: &str = "http://127.0.0.1:8500";
/// The header that says up to where an answer holds.
const INDEX: &str = "x-consul-index";

/// Where the node's Consul door is, and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Node")]
pub struct At {
    /// The node's Consul door [default: http://127.0.0.1:8500]
    #[arg(long, value_name = "URL", env = "CONSUL_HTTP_ADDR", conflicts_with = "data")]
    consul: Option<String>,
    /// The data directory of a node on this machine: the door is where that node has it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file whose first line is the token
    #[arg(long, value_name = "FILE", env = "TIDINGS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for https, in place of the public ones
    #[arg(long, value_name = "FILE", env = "TIDINGS_CA")]
    ca: Option<PathBuf>,
}

/// A Consul door that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    client: Client,
    server: String,
}

/// The part of `ports.json` that is of use here.
#[derive(Deserialize)]
struct Ports {
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    consul: Option<String>,
}

impl Door {
    /// Prepares to talk to the door. Connects only when asked something.
    pub fn new(at: &At) -> Result<Self, Failure> {
        let server = match (&at.consul, &at.data) {
            (Some(url), _) => url.clone(),
            (None, Some(data)) => kept(data)?,
            (None, None) => USUAL.to_owned(),
        };
        let reach = Reach { server, token_file: at.token_file.clone(), ca: at.ca.clone() };
        let client = Client::new(&reach).map_err(named)?;
        let server = client.server().to_owned();
        Ok(Door { client, server })
    }

    /// Asks, and reads the whole answer.
    pub fn ask(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        self.client.ask(request).map_err(|failure| self.told(failure))
    }

    /// Asks, and reads the answer with its index. What there is not is an empty answer, where it has an index.
    pub fn ask_indexed(&self, request: &Request) -> Result<(u64, Vec<u8>), Failure> {
        let (head, body) = self.client.ask_whole(request).map_err(|failure| self.told(failure))?;
        let index: Option<u64> = head.headers.get(INDEX).and_then(|value| value.to_str().ok()?.parse().ok());
        match (head.status.as_u16(), index) {
            (404, Some(index)) => Ok((index, Vec::new())),
            _ if head.status.is_success() => Ok((index.unwrap_or(0), body)),
            _ => Err(self.told(refused(&head, &body))),
        }
    }

    fn told(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Unreachable { cause, .. } => Failure::Unreachable {
                server: self.server.clone(),
                cause,
                hint:
                    "start a node with: tidings serve; where it runs, its Consul door may be off (serve --consul) or \
                       elsewhere: name it with --consul URL or --data DIR"
                        .to_owned(),
            },
            Failure::NotFound(mut problem) => {
                let hint = "see what there is: tidings catalog services; tidings kv ls";
                problem.hint.get_or_insert_with(|| hint.to_owned());
                Failure::NotFound(problem)
            }
            other => other,
        }
    }
}

/// An answer that is none of this door's.
pub fn strange(error: &serde_json::Error) -> Failure {
    let Failure::Refused(mut problem) = Failure::strange(error) else { return Failure::strange(error) };
    problem.title = "the answer is not that of a Consul door".to_owned();
    problem.hint = Some("check --consul".to_owned());
    Failure::Refused(problem)
}

/// The same failure, in the words of this door's flags.
fn named(failure: Failure) -> Failure {
    match failure {
        Failure::Usage { what, hint } => Failure::Usage {
            what: what.replace("--server", "--consul"),
            hint: hint.replace("--server http://127.0.0.1:7070", "--consul http://127.0.0.1:8500"),
        },
        other => other,
    }
}

/// Where a running node has its door, as its data directory says.
fn kept(data: &Path) -> Result<String, Failure> {
    let file = data.join("ports.json");
    let bytes = fs::read(&file).map_err(|error| {
        Failure::usage(
            format!("no node seems to run on {}: cannot read {}: {error}", data.display(), file.display()),
            format!("start one with: tidings serve --data {}", data.display()),
        )
    })?;
    let ports: Ports = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::usage(
            format!("{} is not what a node writes: {error}", file.display()),
            "name the door with --consul URL",
        )
    })?;
    let scheme = if ports.tls { "https" } else { "http" };
    match ports.consul {
        Some(address) => Ok(format!("{scheme}://{address}")),
        None => Err(Failure::usage(
            format!("the node on {} has its Consul door closed", data.display()),
            "open it with: tidings serve --consul 127.0.0.1:8500",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ports: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ports.json"), ports).unwrap();
        assert_eq!(kept(folder.path()).ok().as_deref(), expected, "{ports}");
    }

    #[test]
    fn a_nodes_own_file_says_where_the_door_is() {
        check(r#"{"node":"a","consul":"127.0.0.1:4567"}"#, Some("http://127.0.0.1:4567"));
        check(r#"{"node":"a","tls":true,"consul":"10.0.0.1:8500"}"#, Some("https://10.0.0.1:8500"));
        check(r#"{"node":"a"}"#, None);
        check("{", None);
        assert!(kept(Path::new("/nowhere")).is_err());
    }
}
