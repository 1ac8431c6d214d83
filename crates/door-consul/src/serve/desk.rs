//! Requests to answers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use door::{Principal, Unauthenticated};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use tokio::time::{Instant, timeout};

use super::accept::Role;
use super::body::Sent;
use super::grpc;
use super::respond::{self, Manner};
use super::shared::Shared;
use super::stream::{self, Stream};
use crate::answers::{Cell, Encoded, Met, Until, wait};
use crate::codec::{Endpoint, Fault, Params, Reading, Route, route};
use crate::counts::count;
use crate::session::{Ask, Sight, about_the_node, is_write, same_datacenter, write};

/// An answer.
pub(crate) type Answer = Response<Sent>;

/// One listener's requests.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) role: Role,
}

/// A request without its bytes.
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) name: String,
    pub(crate) params: Params,
    pub(crate) token: Option<String>,
    pub(crate) gzip: bool,
}

/// The headers of a request, whoever read them.
pub(crate) trait Heads {
    /// The first value of a name in lower case.
    fn header(&self, name: &str) -> Option<&str>;
}

impl Heads for HeaderMap {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Asked {
    fn of(endpoint: Endpoint, name: String, query: &str, headers: &impl Heads) -> Self {
        let params = Params::parse(query);
        let token = token(headers, &params);
        Asked { endpoint, name, params, token, gzip: takes_gzip(headers) }
    }
}

/// What a request comes to.
pub(crate) enum Step {
    /// It is answered.
    Done(Answer),
    /// It changes something, once its body is there.
    Write(Asked),
    /// It waits.
    Wait(Asked, Waits),
    /// It is answered with a stream.
    Stream(Box<Stream>),
}

/// What a blocked reader waits for, and as whom.
pub(crate) struct Waits {
    cell: Arc<Cell>,
    until: Until,
    rights: u64,
    deadline: Instant,
    manner: Manner,
}

impl Desk {
    /// Answers one request. What is not needed while it waits is gone by then.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        count(&self.shared.totals.requests);
        if self.role == Role::Grpc {
            return Ok(Box::pin(grpc::answer(&self, request)).await);
        }
        let (method, uri) = (request.method().as_str(), request.uri());
        let step = self.begin(method, uri.path(), uri.query().unwrap_or_default(), request.headers());
        let answer = match step {
            Ok(Step::Done(answer)) => Ok(answer),
            Ok(Step::Write(asked)) => Box::pin(self.write(asked, request)).await,
            Ok(Step::Wait(asked, waits)) => {
                drop(request);
                self.wait(asked, waits).await
            }
            Ok(Step::Stream(stream)) => Ok(stream::flow(&self.shared, *stream)),
            Err(fault) => Err(fault),
        };
        Ok(answer.unwrap_or_else(|fault| self.refused(&fault)))
    }

    /// A refusal, counted.
    pub(crate) fn refused(&self, fault: &Fault) -> Answer {
        count(&self.shared.totals.faults);
        respond::fault(fault)
    }

    /// Goes as far as nothing has to be waited for.
    ///
    /// # Errors
    /// [`Fault`]: that is the answer.
    pub(crate) fn begin(&self, method: &str, path: &str, query: &str, headers: &impl Heads) -> Result<Step, Fault> {
        let (endpoint, name) = match route(method, path)? {
            Route::Options(allow) => return Ok(Step::Done(respond::options(&allow))),
            Route::To(endpoint, name) => (endpoint, name),
        };
        let asked = Asked::of(endpoint, name, query, headers);
        if !self.shared.catalogue.is_ready() {
            return Err(Fault::internal("No cluster leader"));
        }
        asked.params.refuse_enterprise()?;
        same_datacenter(asked.params.text("dc"), &self.shared.options.datacenter)?;
        if is_write(endpoint, method) {
            return Ok(Step::Write(asked));
        }
        if stream::is_wanted(endpoint, headers) {
            let after = stream::last(headers, &asked.params);
            return stream::open(self, &asked, after).map(|stream| Step::Stream(Box::new(stream)));
        }
        let reading = asked.params.reading()?;
        let deadline = Instant::now() + self.shared.wait(reading.wait);
        self.look(asked, &reading, deadline)
    }

    /// Who asks.
    pub(crate) fn who(&self, token: Option<&str>) -> Result<Principal, Fault> {
        self.shared.catalogue.port().authenticate(token).map_err(|error| match error {
            Unauthenticated::Missing => Fault::denied(),
            Unauthenticated::Unknown => Fault::new(403, "ACL not found"),
        })
    }

    async fn write(&self, asked: Asked, request: Request<Incoming>) -> Result<Answer, Fault> {
        let who = self.who(asked.token.as_deref())?;
        let (parts, body) = request.into_parts();
        let method = parts.method;
        let body = self.body(body).await?;
        let Asked { endpoint, name, params, .. } = asked;
        let (catalogue, options) = (&self.shared.catalogue, &self.shared.options);
        let written = write(catalogue, options, &who, (endpoint, method.as_str()), name, &params, body).await?;
        if written.status >= 400 {
            count(&self.shared.totals.faults);
        }
        Ok(respond::written(written, params.has("pretty")))
    }

    /// The whole body of a request.
    async fn body(&self, body: Incoming) -> Result<Bytes, Fault> {
        let max = self.shared.options.body_bytes_max;
        match timeout(self.shared.options.slow_deadline, Limited::new(body, max).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Fault::too_large(max)),
            Ok(Err(_)) => Err(Fault::bad("the body ended too soon")),
            Err(_) => Err(Fault::new(408, "the body took too long")),
        }
    }

    /// Looks, and says what to wait for where that was asked.
    fn look(&self, asked: Asked, reading: &Reading, deadline: Instant) -> Result<Step, Fault> {
        let Shared { catalogue, options, totals, answers, .. } = &*self.shared;
        let port = catalogue.port();
        let rights = port.access_version();
        let who = match self.who(asked.token.as_deref()) {
            // Where the leader is, the original tells everyone.
            Err(_) if matches!(asked.endpoint, Endpoint::StatusLeader | Endpoint::StatusPeers) => nobody(),
            who => who?,
        };
        let sight = Sight::of(&who);
        let manner = Manner::of(asked.endpoint, reading, asked.gzip, port.is_open());
        let done = |answer: &Encoded, hit| Ok(Step::Done(respond::read(answer, &manner, hit)));
        if !has_index(asked.endpoint) {
            let content = about_the_node(catalogue, options, &sight, asked.endpoint, &asked.name, &asked.params)?;
            return done(&Encoded::new(0, content), false);
        }
        let ask = Ask::of(catalogue, sight, asked.endpoint, asked.name.clone(), &asked.params)?;
        let cell = answers.cell(&ask.key(rights), || Box::new(ask));
        let answer = cell.look(totals)?;
        let until = match &reading.hash {
            Some(hash) if asked.endpoint == Endpoint::AgentService => Until::Hash(hash.clone()),
            _ => Until::Index(reading.index),
        };
        if until == Until::Index(0) || until.is_met(&answer) {
            return done(&answer, until != Until::Index(0));
        }
        Ok(Step::Wait(asked, Waits { cell, until, rights, deadline, manner }))
    }

    /// Waits until the answer has become another, or the time is over.
    ///
    /// # Errors
    /// [`Fault`]: that is the answer.
    pub(crate) async fn wait(&self, mut asked: Asked, mut waits: Waits) -> Result<Answer, Fault> {
        let Shared { catalogue, totals, answers, .. } = &*self.shared;
        loop {
            let Waits { cell, until, rights, deadline, manner } = waits;
            let now = || catalogue.port().access_version();
            match wait((answers, totals), &cell, until, (now, rights), deadline).await? {
                Met::Changed(answer) | Met::Over(answer) => return Ok(respond::read(&answer, &manner, false)),
                Met::Rights => {}
            }
            // Other rights are in force: who asks is found out again.
            let reading = asked.params.reading()?;
            match self.look(asked, &reading, deadline)? {
                Step::Wait(again, more) => (asked, waits) = (again, more),
                Step::Done(answer) => return Ok(answer),
                Step::Write(_) | Step::Stream(_) => return Err(Fault::internal("the request is another now")),
            }
        }
    }
}

/// Someone who may read nothing.
fn nobody() -> Principal {
    Principal::new("", Vec::new(), Vec::new(), false)
}

/// Whether an endpoint's answers have an index, and can be waited for.
fn has_index(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::AgentService
            | Endpoint::CatalogNodes
            | Endpoint::CatalogServices
            | Endpoint::CatalogService
            | Endpoint::CatalogConnect
            | Endpoint::CatalogNode
            | Endpoint::CatalogNodeServices
            | Endpoint::HealthNode
            | Endpoint::HealthChecks
            | Endpoint::HealthState
            | Endpoint::HealthService
            | Endpoint::HealthConnect
            | Endpoint::Key
            | Endpoint::SessionInfo
            | Endpoint::SessionNode
            | Endpoint::SessionList
            | Endpoint::EventList
    )
}

/// The token: of the query, else of its header, else of `Authorization`, whose other schemes are not looked at.
pub(crate) fn token(headers: &impl Heads, params: &Params) -> Option<String> {
    let bearer = headers.header("authorization").and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let given = [params.first("token"), headers.header("x-consul-token"), bearer];
    given.into_iter().flatten().find(|token| !token.is_empty()).map(str::to_owned)
}

/// Whether an answer may be compressed.
fn takes_gzip(headers: &impl Heads) -> bool {
    headers.header("accept-encoding").is_some_and(|offered| {
        offered.split(',').any(|one| {
            let (name, rest) = one.split_once(';').unwrap_or((one, ""));
            let refused = matches!(rest.trim().replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            matches!(name.trim(), "gzip" | "*") && !refused
        })
    })
}
