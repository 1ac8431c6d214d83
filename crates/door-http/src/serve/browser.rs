//! What keeps a web page, open in a browser on this machine, out of a door that asks for no token.
//!
//! A browser sends requests for any page to any address, with the page's `Origin`; and a page whose
//! name its owner points at this machine is, to the browser, of one origin with the door. So an open
//! door takes no request of a foreign origin, and one on loopback none that is addressed to a name
//! other than `localhost`. Source: Fetch, section 3.2; RFC 9110, section 7.2.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};

use super::Door;
use crate::problem::Problem;

/// Refuses what only a foreign page would ask.
pub fn admit(door: &Door, request: &Request) -> Result<(), Problem> {
    if !door.port.is_open() {
        return Ok(());
    }
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(named).unwrap_or_default();
    if door.options.local && !host.is_empty() && !is_this_machine(host) {
        let detail = "this door is open to this machine alone: address it as localhost or by its IP address";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign-host", "The host is another", detail));
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let from = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, authority)| authority);
    if from.is_some_and(|from| from.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let detail = "a web page of another origin asks; an open door takes no such request. Configure tokens to allow it";
    Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", "The origin is another", detail))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "[::1]:7070", "10.1.2.3", "localhost.:1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:7070", "127.0.0.1.example.com", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
