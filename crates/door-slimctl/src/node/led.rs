//! What the host joins where this node is led: its data plane, and what it proves itself with.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use crate::board::Answer;
use crate::proto::Name;
use crate::proto::control::{Entry, RouteEntry};

/// A link to another domain that is to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// What both ends call it.
    pub link: String,
    /// Where, `host:port`.
    pub address: String,
    /// Whether with TLS.
    pub tls: bool,
    /// Whether this node's credentials are shown there: never without TLS.
    pub shows: bool,
}

/// A name that leads over a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Leads {
    /// The name, with its hashes.
    pub name: Name,
    /// The link.
    pub link: String,
}

/// What a controller is dialled with.
#[derive(Clone, Default)]
pub struct Shown {
    /// With TLS: whom this node believes.
    pub tls: Option<Arc<ClientConfig>>,
    /// The whole `authorization` header; `None`: it has nothing to show.
    pub authorization: Option<Box<str>>,
}

/// A node, as its controller leads it. No method may block.
pub trait Led: Send + Sync {
    /// The secret of this node's domain, read anew; `None`: it was told none. An error says why it cannot be had.
    fn secret(&self) -> Answer<'_, Result<Option<Vec<u8>>, String>>;

    /// What a controller is dialled with, read anew. An error says what cannot be used.
    fn shown(&self, tls: bool) -> Answer<'_, Result<Shown, String>>;

    /// Whether there is anything to show to nodes that ask who dials.
    fn has_credentials(&self) -> bool;

    /// All links that this node is to dial; others that it dials between domains end.
    fn set_links(&self, links: Vec<Dial>);

    /// What became of a link that is to be dialled, once that is known.
    fn dialled<'a>(&'a self, link: &'a str) -> Answer<'a, Result<(), String>>;

    /// All names that lead over links, whether these are up or not. For each whether it does: if not, why.
    fn set_routes(&self, routes: &[Leads]) -> Vec<Result<(), String>>;

    /// Waits until a link came or went, or there are names to fetch.
    fn changed(&self) -> Answer<'_, ()>;

    /// Names of applications are fetched from now on, all of them at first; or no longer.
    fn fetching(&self, begins: bool);

    /// At most so many names that changed since they were last fetched, each with whether somebody subscribes it.
    fn fetch(&self, most: usize) -> Vec<(Name, bool)>;

    /// The links that others dialled and that are up, each with its number.
    fn taken(&self) -> Vec<(String, u64)>;

    /// The connections that there are.
    fn connections(&self) -> Vec<Entry>;

    /// At most so many names, with the connections that they lead to.
    fn names(&self, most: usize) -> Vec<RouteEntry>;

    /// The names that lead over links that are up.
    fn routes(&self) -> Vec<Leads>;
}
