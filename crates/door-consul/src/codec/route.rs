//! Which endpoint a path and a method lead to.

use super::fault::Fault;
use super::params::decoded;

/// What is asked for. A name, key or id is what stands behind it in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is named by the table below")]
pub enum Endpoint {
    AgentSelf,
    AgentMembers,
    AgentVersion,
    AgentServices,
    AgentService,
    AgentChecks,
    AgentMaintenance,
    AgentReload,
    AgentServiceRegister,
    AgentServiceDeregister,
    AgentServiceMaintenance,
    AgentCheckRegister,
    AgentCheckDeregister,
    AgentCheckPass,
    AgentCheckWarn,
    AgentCheckFail,
    AgentCheckUpdate,
    AgentHealthById,
    AgentHealthByName,
    CatalogRegister,
    CatalogDeregister,
    CatalogDatacenters,
    CatalogNodes,
    CatalogServices,
    CatalogService,
    CatalogConnect,
    CatalogNode,
    CatalogNodeServices,
    HealthNode,
    HealthChecks,
    HealthState,
    HealthService,
    HealthConnect,
    StatusLeader,
    StatusPeers,
    CoordinateNodes,
    CoordinateDatacenters,
    Key,
    SessionCreate,
    SessionDestroy,
    SessionRenew,
    SessionInfo,
    SessionNode,
    SessionList,
    Transaction,
    EventFire,
    EventList,
}

/// A path, whether more stands behind it, and the methods that it takes.
type Row = (&'static str, bool, &'static [&'static str], Endpoint);

const GET: &[&str] = &["GET"];
const PUT: &[&str] = &["PUT"];

/// Every endpoint; where more stands behind, the longest path that fits is meant.
const ROWS: [Row; 46] = [
    ("/v1/agent/self", false, GET, Endpoint::AgentSelf),
    ("/v1/agent/members", false, GET, Endpoint::AgentMembers),
    ("/v1/agent/version", false, GET, Endpoint::AgentVersion),
    ("/v1/agent/services", false, GET, Endpoint::AgentServices),
    ("/v1/agent/service/", true, GET, Endpoint::AgentService),
    ("/v1/agent/checks", false, GET, Endpoint::AgentChecks),
    ("/v1/agent/maintenance", false, PUT, Endpoint::AgentMaintenance),
    ("/v1/agent/reload", false, PUT, Endpoint::AgentReload),
    ("/v1/agent/service/register", false, PUT, Endpoint::AgentServiceRegister),
    ("/v1/agent/service/deregister/", true, PUT, Endpoint::AgentServiceDeregister),
    ("/v1/agent/service/maintenance/", true, PUT, Endpoint::AgentServiceMaintenance),
    ("/v1/agent/check/register", false, PUT, Endpoint::AgentCheckRegister),
    ("/v1/agent/check/deregister/", true, PUT, Endpoint::AgentCheckDeregister),
    ("/v1/agent/check/pass/", true, PUT, Endpoint::AgentCheckPass),
    ("/v1/agent/check/warn/", true, PUT, Endpoint::AgentCheckWarn),
    ("/v1/agent/check/fail/", true, PUT, Endpoint::AgentCheckFail),
    ("/v1/agent/check/update/", true, PUT, Endpoint::AgentCheckUpdate),
    ("/v1/agent/health/service/id/", true, GET, Endpoint::AgentHealthById),
    ("/v1/agent/health/service/name/", true, GET, Endpoint::AgentHealthByName),
    ("/v1/catalog/register", false, PUT, Endpoint::CatalogRegister),
    ("/v1/catalog/deregister", false, PUT, Endpoint::CatalogDeregister),
    ("/v1/catalog/datacenters", false, GET, Endpoint::CatalogDatacenters),
    ("/v1/catalog/nodes", false, GET, Endpoint::CatalogNodes),
    ("/v1/catalog/services", false, GET, Endpoint::CatalogServices),
    ("/v1/catalog/service/", true, GET, Endpoint::CatalogService),
    ("/v1/catalog/connect/", true, GET, Endpoint::CatalogConnect),
    ("/v1/catalog/node/", true, GET, Endpoint::CatalogNode),
    ("/v1/catalog/node-services/", true, GET, Endpoint::CatalogNodeServices),
    ("/v1/health/node/", true, GET, Endpoint::HealthNode),
    ("/v1/health/checks/", true, GET, Endpoint::HealthChecks),
    ("/v1/health/state/", true, GET, Endpoint::HealthState),
    ("/v1/health/service/", true, GET, Endpoint::HealthService),
    ("/v1/health/connect/", true, GET, Endpoint::HealthConnect),
    ("/v1/status/leader", false, GET, Endpoint::StatusLeader),
    ("/v1/status/peers", false, GET, Endpoint::StatusPeers),
    ("/v1/coordinate/nodes", false, GET, Endpoint::CoordinateNodes),
    ("/v1/coordinate/datacenters", false, GET, Endpoint::CoordinateDatacenters),
    ("/v1/kv/", true, &["GET", "PUT", "DELETE"], Endpoint::Key),
    ("/v1/session/create", false, PUT, Endpoint::SessionCreate),
    ("/v1/session/destroy/", true, PUT, Endpoint::SessionDestroy),
    ("/v1/session/renew/", true, PUT, Endpoint::SessionRenew),
    ("/v1/session/info/", true, GET, Endpoint::SessionInfo),
    ("/v1/session/node/", true, GET, Endpoint::SessionNode),
    ("/v1/session/list", false, GET, Endpoint::SessionList),
    ("/v1/txn", false, PUT, Endpoint::Transaction),
    ("/v1/event/list", false, GET, Endpoint::EventList),
];

/// What a method and a path lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An endpoint, and what stands behind it, decoded.
    To(Endpoint, String),
    /// `OPTIONS`: what `Allow` says.
    Options(String),
}

/// Finds the endpoint.
///
/// # Errors
/// 404 where there is none, 405 with what is allowed, 400 where percent signs stand for nothing.
pub fn route(method: &str, path: &str) -> Result<Route, Fault> {
    const FIRE: Row = ("/v1/event/fire/", true, PUT, Endpoint::EventFire);
    let fits = |(prefix, more, ..): &&Row| if *more { path.starts_with(prefix) } else { path == *prefix };
    let found = ROWS.iter().chain([&FIRE]).filter(fits).max_by_key(|(prefix, ..)| prefix.len());
    let Some((prefix, _, methods, endpoint)) = found else {
        return Err(Fault::not_found("Invalid URL path: not a recognized HTTP API endpoint"));
    };
    let allow = || ["OPTIONS"].iter().chain(*methods).copied().collect::<Vec<_>>().join(",");
    if method == "OPTIONS" {
        return Ok(Route::Options(allow()));
    }
    if !methods.contains(&method) {
        let allow = Some(allow());
        return Err(Fault { allow, ..Fault::new(405, format!("method {method} not allowed")) });
    }
    let rest = path.get(prefix.len()..).unwrap_or_default();
    let rest = decoded(rest).ok_or_else(|| Fault::bad("Invalid URL path"))?;
    Ok(Route::To(*endpoint, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_endpoints() {
        for (method, path, endpoint, rest) in [
            ("GET", "/v1/health/service/web", Endpoint::HealthService, "web"),
            ("GET", "/v1/health/service/", Endpoint::HealthService, ""),
            ("PUT", "/v1/agent/service/register", Endpoint::AgentServiceRegister, ""),
            ("PUT", "/v1/agent/service/deregister/a%2Fb", Endpoint::AgentServiceDeregister, "a/b"),
            ("GET", "/v1/agent/service/service%3Anjs1", Endpoint::AgentService, "service:njs1"),
            ("DELETE", "/v1/kv/a/b%20c", Endpoint::Key, "a/b c"),
            ("PUT", "/v1/event/fire/x", Endpoint::EventFire, "x"),
        ] {
            assert_eq!(route(method, path), Ok(Route::To(endpoint, rest.to_owned())), "{method} {path}");
        }
    }

    #[test]
    fn what_leads_nowhere_says_so() {
        let wrong = route("POST", "/v1/catalog/services").unwrap_err();
        assert_eq!((wrong.status, &*wrong.text), (405, "method POST not allowed"));
        assert_eq!(wrong.allow.as_deref(), Some("OPTIONS,GET"));
        assert_eq!(route("HEAD", "/v1/status/leader").unwrap_err().status, 405);
        assert_eq!(route("OPTIONS", "/v1/kv/x"), Ok(Route::Options(String::from("OPTIONS,GET,PUT,DELETE"))));
        for path in ["/", "/v1", "/v1/nothing", "/v1/catalog/services/", "/v2/kv/x", ""] {
            assert_eq!(route("GET", path).unwrap_err().status, 404, "{path}");
        }
        assert_eq!(route("GET", "/v1/kv/%zz").unwrap_err().status, 400);
    }
}
