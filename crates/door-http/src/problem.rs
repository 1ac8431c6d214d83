//! What went wrong, as the client is told: RFC 9457 problem JSON.
//!
//! A [`Problem`] travels as an extension of an empty response up to the router's outermost layer,
//! which knows the request's path and writes the body.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use door::{NotAllowed, PublishError, Refused, Unauthenticated, Unfit};
use journal::{AckError, AppendError, ConsumerError, FetchError, QueueError, ReadError, StreamError};
use serde_json::{Map, Value, json};

/// Where the problem types are described. The slug follows.
pub const TYPE_PREFIX: &str = "https://tidings.dev/problems/";

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which a client should try again, where the node is only busy.
const RETRY_BUSY_SECONDS: u32 = 1;

/// Seconds after which a client should try again, where somebody has to act first.
const RETRY_FAULT_SECONDS: u32 = 5;

/// What went wrong.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<u32>,
    unauthenticated: bool,
}

impl Problem {
    /// A problem of a type: the slug and the title are fixed for each type, the detail is for this case.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (detail, members) = (detail.into(), Map::new());
        Problem(Box::new(Inner { status, slug, title, detail, members, retry_after: None, unauthenticated: false }))
    }

    /// A member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Of the event at this place of a batch, from 0.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        let detail = format!("event {index}: {}", self.0.detail);
        self.with("index", index).detailed(detail)
    }

    /// The same problem, explained otherwise.
    #[must_use]
    pub fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What went wrong in this case.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The type, without its prefix.
    pub fn slug(&self) -> &'static str {
        self.0.slug
    }

    fn retry(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// A query parameter is wrong.
    pub fn query(name: &str, what: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let detail = format!("the parameter '{name}': {what}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-parameter", "A query parameter is wrong", detail)
            .with("parameter", name)
    }

    /// A field of a body is wrong.
    pub fn field(name: &str, what: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let detail = if name.is_empty() { what.to_owned() } else { format!("the field '{name}' {what}") };
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid-field", "A field is wrong", detail);
        if name.is_empty() { problem } else { problem.with("field", name) }
    }

    /// A body is not what it should be.
    pub fn body(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-body", "The body is malformed", detail)
    }

    /// A part of the path, or a header, is wrong.
    pub fn request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-request", "The request is malformed", detail)
    }

    /// A subject or a pattern is wrong.
    pub fn subject(text: &str, error: &event::SubjectError) -> Self {
        let shown: String = text.chars().take(64).collect();
        let detail = format!("'{shown}': {error}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-subject", "The subject is wrong", detail).with("subject", shown)
    }

    /// An event is none.
    pub fn event(error: &event::cloud::EventError) -> Self {
        use event::cloud::EventError as E;
        let attribute = match error {
            E::Missing(name) => Some((*name).to_owned()),
            E::Specversion(_) => Some("specversion".to_owned()),
            E::Invalid { name, .. } | E::Twice(name) | E::Name(name) => Some(name.clone()),
            E::Subject(_) => Some("type".to_owned()),
            E::Headers(_) => None,
        };
        let problem =
            Problem::new(StatusCode::BAD_REQUEST, "invalid-event", "The event is malformed", error.to_string());
        match attribute {
            Some(name) => problem.with("attribute", name),
            None => problem,
        }
    }

    /// A body, or a payload, is too large.
    pub fn too_large(detail: impl Into<String>, max: usize) -> Self {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The content is too large", detail).with("max", max)
    }

    /// A media type is not taken.
    pub fn media_type(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Problem::new(status, "media-type", "The media type is not taken here", detail)
    }

    /// No media type that the client accepts can be given.
    pub fn not_acceptable(known: &str) -> Self {
        let detail = format!("nothing that the Accept header names can be given; known are: {known}");
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Nothing acceptable can be given", detail)
    }

    /// There is nothing at the path.
    pub fn no_route(uri: &Uri) -> Self {
        let path: String = uri.path().chars().take(200).collect();
        let detail = format!("there is nothing at '{path}'; GET / lists what there is");
        Problem::new(StatusCode::NOT_FOUND, "no-route", "There is nothing here", detail)
    }

    /// The path is known, the method is not.
    pub fn method(method: &Method) -> Self {
        let detail = format!("the method {method} is not for this path; the Allow header names those that are");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The method is not for this path", detail)
    }

    /// There is no such message.
    pub fn no_message(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "no-message", "There is no such message", detail)
    }

    /// Too much is under way.
    pub fn busy(detail: impl Into<String>) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Problem::new(status, "busy", "The node is busy", detail).retry(RETRY_BUSY_SECONDS)
    }

    /// The node cannot write or read its disk.
    pub fn storage(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "storage", "The journal cannot use its disk", detail).retry(RETRY_FAULT_SECONDS)
    }

    /// The journal is closed, or the node is shutting down.
    pub fn closed(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "closed", "The journal is closed", detail).retry(RETRY_FAULT_SECONDS)
    }

    /// A client sent its body too slowly.
    pub fn timeout() -> Self {
        let detail = "no more of the body came in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long", detail)
    }

    /// It is declared in a file of the node's.
    pub fn from_file(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::CONFLICT, "from-file", "It is not the API's to change", detail)
    }

    fn no_stream(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "no-stream", "There is no such stream", detail)
    }

    fn no_consumer(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "no-consumer", "There is no such consumer", detail)
    }

    fn exists(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::CONFLICT, "exists", "It exists with another configuration", detail)
    }

    fn precondition(detail: impl Into<String>, expected: impl Into<Value>, found: impl Into<Value>) -> Self {
        let status = StatusCode::PRECONDITION_FAILED;
        let problem = Problem::new(status, "precondition", "A precondition does not hold", detail);
        problem.with("expected", expected).with("found", found)
    }

    /// The problem as a JSON object, with the request's path where it is known.
    pub fn to_json(&self, instance: Option<&str>) -> Vec<u8> {
        let Inner { status, slug, title, detail, members, .. } = &*self.0;
        let mut object = Map::new();
        object.insert("type".into(), format!("{TYPE_PREFIX}{slug}").into());
        object.insert("title".into(), (*title).into());
        object.insert("status".into(), status.as_u16().into());
        object.insert("detail".into(), detail.as_str().into());
        if let Some(instance) = instance {
            object.insert("instance".into(), instance.into());
        }
        object.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
        json!(object).to_string().into_bytes()
    }

    /// The whole response. Headers that are there already stay (`Allow`, for instance).
    pub(crate) fn write(&self, instance: &str, mut response: Response) -> Response {
        *response.body_mut() = self.to_json(Some(instance)).into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.0.unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidings\""));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Unauthenticated> for Problem {
    fn from(error: Unauthenticated) -> Self {
        let detail = format!("{error}; send it as 'Authorization: Bearer …'");
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A token is needed", detail);
        problem.0.unauthenticated = true;
        problem
    }
}

impl From<NotAllowed> for Problem {
    fn from(error: NotAllowed) -> Self {
        Problem::new(StatusCode::FORBIDDEN, "not-allowed", "The token does not allow it", error.to_string())
            .with("token", &*error.who)
            .with("verb", error.verb.to_string())
            .with("what", error.what)
    }
}

impl<E: Into<Problem>> From<Refused<E>> for Problem {
    fn from(error: Refused<E>) -> Self {
        match error {
            Refused::NotAllowed(refusal) => refusal.into(),
            Refused::Journal(error) => error.into(),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::NotAllowed(refusal) => refusal.into(),
            PublishError::PayloadTooLarge { max, .. } => Problem::too_large(detail, max),
            PublishError::Unfit(unfit) => unfit.into(),
            PublishError::Journal(error) => error.into(),
        }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        let detail = unfit.to_string();
        let title = "The data is not what its schema says";
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "schema", title, detail);
        problem.with("schema", unfit.schema).with("field", unfit.field).with("reason", unfit.why)
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        match error {
            AppendError::NoStream(subject) => {
                let detail = format!("{detail}; and nobody listens to it now");
                Problem::no_stream(detail).with("subject", subject)
            }
            AppendError::OtherStream { expected, found } => Problem::precondition(detail, expected, found),
            AppendError::LastSeq { expected, found } | AppendError::LastSubjectSeq { expected, found } => {
                Problem::precondition(detail, expected, found)
            }
            AppendError::LastId { expected, found } => Problem::precondition(detail, expected, found),
            AppendError::TooLarge { size, max } => {
                Problem::too_large(detail, usize::try_from(max).unwrap_or(usize::MAX)).with("size", size)
            }
            AppendError::NotFound(name) => Problem::no_stream(detail).with("stream", name),
            AppendError::Sealed => Problem::field("stream", &detail),
            AppendError::RollupNotAllowed => Problem::field("rollup", &detail),
            AppendError::Position { .. } => Problem::field("at", &detail),
            AppendError::BatchNotAllowed
            | AppendError::BatchTooLarge
            | AppendError::BatchDuplicate
            | AppendError::BatchUnsupported(_) => Problem::field("batch", &detail),
            AppendError::IdTooLong => Problem::field("id", &detail),
            AppendError::TtlNotAllowed => Problem::field("ttl", &detail),
            AppendError::Full { limit } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let problem = Problem::new(status, "stream-full", "The stream is full", detail);
                problem.with("field", limit).retry(RETRY_FAULT_SECONDS)
            }
            AppendError::Storage(_) => Problem::storage(detail),
            AppendError::Busy => Problem::busy(detail),
            AppendError::Closed(_) => Problem::closed(detail),
        }
    }
}

impl From<StreamError> for Problem {
    fn from(error: StreamError) -> Self {
        let detail = error.to_string();
        match error {
            StreamError::NotFound(name) => Problem::no_stream(detail).with("stream", name),
            StreamError::Exists(name) => Problem::exists(detail).with("stream", name),
            StreamError::Overlap { name, ours, other, theirs } => {
                Problem::new(StatusCode::CONFLICT, "overlap", "Two streams would capture the same subjects", detail)
                    .with("stream", name)
                    .with("subject", ours.as_str())
                    .with("other_stream", other)
                    .with("other_subject", theirs.as_str())
            }
            StreamError::Invalid { field, reason } => Problem::field(field, &reason),
            StreamError::NoMessage(seq) => Problem::no_message(detail).with("seq", seq),
            StreamError::Denied(what) => {
                Problem::new(StatusCode::CONFLICT, "denied", "The stream's configuration denies it", detail)
                    .with("field", what)
            }
            StreamError::Storage(_) => Problem::storage(detail),
            StreamError::Closed(_) => Problem::closed(detail),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::NotFound(name) => Problem::no_stream(detail).with("stream", name),
            ReadError::NoMessage => Problem::no_message(detail),
            ReadError::Filters => Problem::query("filter", &detail),
            ReadError::Damaged(seq) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Problem::new(status, "damaged", "The record is damaged", detail).with("seq", seq)
            }
            ReadError::Storage(_) => Problem::storage(detail),
            ReadError::Closed(_) => Problem::closed(detail),
        }
    }
}

impl From<ConsumerError> for Problem {
    fn from(error: ConsumerError) -> Self {
        let detail = error.to_string();
        match error {
            ConsumerError::NoStream(name) => Problem::no_stream(detail).with("stream", name),
            ConsumerError::NotFound { stream, name } => {
                Problem::no_consumer(detail).with("stream", stream).with("consumer", name)
            }
            ConsumerError::TooMany(_) => Problem::field("name", &detail),
            ConsumerError::Exists(name) => Problem::exists(detail).with("consumer", name),
            ConsumerError::Invalid { field, reason } => Problem::field(field, &reason),
            ConsumerError::Queue(QueueError::NotExplicit) => Problem::field("ack", &detail),
            ConsumerError::Queue(QueueError::NotAll) => Problem::field("start", &detail),
            ConsumerError::Queue(_) => Problem::field("filters", &detail),
            ConsumerError::Reset(_) => Problem::field("to", &detail),
            ConsumerError::NoGroup(_) => Problem::field("group", &detail),
            ConsumerError::Storage(_) => Problem::storage(detail),
            ConsumerError::Closed(_) => Problem::closed(detail),
        }
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let detail = error.to_string();
        match error {
            FetchError::NotFound { stream, name } => {
                Problem::no_consumer(detail).with("stream", stream).with("consumer", name)
            }
            FetchError::Waiting { .. } => Problem::busy(detail),
            FetchError::Batch | FetchError::BatchMax { .. } => Problem::field("batch", &detail),
            FetchError::BytesMax { .. } => Problem::field("bytes", &detail),
            FetchError::ExpiresMax { .. } => Problem::field("wait", &detail),
            FetchError::NotOverflow
            | FetchError::NotPinned
            | FetchError::Priority
            | FetchError::GroupMissing
            | FetchError::GroupUnknown(_) => Problem::field("group", &detail),
            FetchError::Storage(_) => Problem::storage(detail),
            FetchError::Closed(_) => Problem::closed(detail),
        }
    }
}

/// The slug of what an acknowledgement's token got for an answer.
pub fn ack_slug(error: &AckError) -> &'static str {
    match error {
        AckError::Malformed(_) => "ack-malformed",
        AckError::NotFound { .. } => "no-consumer",
        AckError::OtherConsumer(_) => "ack-other-consumer",
        AckError::Already(_) => "ack-already",
        AckError::Unknown(_) => "ack-unknown",
        AckError::NotWanted => "ack-not-wanted",
        AckError::Closed(_) => "closed",
    }
}

impl From<AckError> for Problem {
    fn from(error: AckError) -> Self {
        let detail = error.to_string();
        match &error {
            AckError::Closed(_) => Problem::closed(detail),
            AckError::NotFound { stream, name } => {
                Problem::no_consumer(detail).with("stream", stream.as_str()).with("consumer", name.as_str())
            }
            _ => {
                let title = "The delivery cannot be answered so";
                Problem::new(StatusCode::CONFLICT, ack_slug(&error), title, detail)
            }
        }
    }
}
