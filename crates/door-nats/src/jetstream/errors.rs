//! The errors of the JetStream API as clients know them: a status, a code, and a text.
//!
//! Source: `errors.json` of nats-server 2.15. Codes are never reused there, so they are facts.

use std::borrow::Cow;

use door::{PublishError, Refused};
use journal::{AppendError, ConsumerError, QueueError, ReadError, StreamError};
use serde::Serialize;

/// An error of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ApiError {
    /// As HTTP has it.
    pub(crate) code: u16,
    /// Which error it is.
    pub(crate) err_code: u16,
    /// What it says.
    pub(crate) description: Cow<'static, str>,
}

/// Declares errors that always say the same.
macro_rules! errors {
    ($($name:ident = $code:literal, $err_code:literal, $text:literal;)*) => {
        $(pub(crate) const $name: ApiError =
            ApiError { code: $code, err_code: $err_code, description: Cow::Borrowed($text) };)*
    };
}

errors! {
    BAD_REQUEST = 400, 10003, "bad request";
    CONSUMER_NAME_EXISTS = 400, 10013, "consumer name already in use";
    CONSUMER_NOT_FOUND = 404, 10014, "consumer not found";
    DURABLE_NOT_IN_SUBJECT = 400, 10016, "consumer expected to be durable but no durable name set in subject";
    DURABLE_NOT_MATCHING_SUBJECT = 400, 10017, "consumer name in subject does not match durable name in request";
    DURABLE_NOT_SET = 400, 10018, "consumer expected to be durable but a durable name was not set";
    EPHEMERAL_WITH_DURABLE = 400, 10020, "consumer expected to be ephemeral but a durable name was set in request";
    CONSUMERS_MAX = 400, 10026, "maximum consumers limit reached";
    MEMORY_EXCEEDED = 500, 10028, "insufficient memory resources available";
    MIRROR_MESSAGE_SIZE = 400, 10030, "stream mirror must have max message size >= source";
    MIRROR_WITH_SOURCES = 400, 10031, "stream mirrors can not also contain other sources";
    MIRROR_WITH_SUBJECTS = 400, 10034, "stream mirrors can not contain subjects";
    NO_MESSAGE = 404, 10037, "no message found";
    NOT_ENABLED_FOR_ACCOUNT = 503, 10039, "JetStream not enabled for account";
    SOURCE_MESSAGE_SIZE = 400, 10046, "stream source must have max message size >= target";
    STORAGE_EXCEEDED = 500, 10047, "insufficient storage resources available";
    MESSAGE_TOO_LARGE = 400, 10054, "message size exceeds maximum allowed";
    MIRROR_NOT_UPDATABLE = 400, 10055, "stream mirror configuration can not be updated";
    STREAM_MISMATCH = 400, 10056, "stream name in subject does not match request";
    STREAM_NAME_EXISTS = 400, 10058, "stream name already in use with a different configuration";
    STREAM_NOT_FOUND = 404, 10059, "stream not found";
    STREAM_NOT_MATCH = 400, 10060, "expected stream does not match";
    SUBJECTS_OVERLAP = 400, 10065, "subjects overlap with an existing stream";
    REPLICAS_NOT_SUPPORTED = 500, 10074, "replicas > 1 not supported in non-clustered mode";
    DELIVER_TO_WILDCARDS = 400, 10079, "consumer deliver subject has wildcards";
    PUSH_MAX_WAITING = 400, 10080, "consumer in push mode can not set max waiting";
    DELIVER_CYCLE = 400, 10081, "consumer deliver subject forms a cycle";
    ACK_PENDING_NEEDS_POLICY = 400, 10082, "consumer requires ack policy for max ack pending";
    SMALL_HEARTBEAT = 400, 10083, "consumer idle heartbeat needs to be >= 100ms";
    PULL_REQUIRES_ACK = 400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream";
    PULL_WITH_RATE_LIMIT = 400, 10086, "consumer in pull mode can not have rate limit set";
    HEARTBEAT_REQUIRES_PUSH = 400, 10088, "consumer idle heartbeat requires a push based consumer";
    FLOW_REQUIRES_PUSH = 400, 10089, "consumer flow control requires a push based consumer";
    DIRECT_REQUIRES_PUSH = 400, 10090, "consumer direct requires a push based consumer";
    DIRECT_REQUIRES_EPHEMERAL = 400, 10091, "consumer direct requires an ephemeral consumer";
    QUEUE_REQUIRES_EXPLICIT = 400, 10098, "workqueue stream requires explicit ack";
    QUEUE_MULTIPLE_UNFILTERED = 400, 10099, "multiple non-filtered consumers not allowed on workqueue stream";
    QUEUE_NOT_UNIQUE = 400, 10100, "filtered consumer not unique on workqueue stream";
    QUEUE_NOT_DELIVER_ALL = 400, 10101, "consumer must be deliver all on workqueue stream";
    FLOW_NEEDS_HEARTBEATS = 400, 10108, "consumer with flow control also needs heartbeats";
    STREAM_SEALED = 400, 10109, "invalid operation on sealed stream";
    INVALID_DELIVER_SUBJECT = 400, 10112, "invalid push consumer deliver subject";
    MAX_EXPIRES_TOO_SMALL = 400, 10115, "consumer max request expires needs to be >= 1ms";
    MAX_DELIVER_BACKOFF = 400, 10116, "max deliver is required to be > length of backoff values";
    REPLICAS_EXCEED_STREAM = 400, 10126, "consumer config replica count exceeds parent stream";
    CONSUMER_PATH_SEPARATORS = 400, 10127, "Consumer name can not contain path separators";
    STREAM_PATH_SEPARATORS = 400, 10128, "Stream name can not contain path separators";
    FILTER_MISMATCH = 400, 10131, "Consumer create request did not match filtered subject from create subject";
    DURABLE_AND_NAME = 400, 10132, "Consumer Durable and Name have to be equal if both are provided";
    REPLICAS_NEGATIVE = 400, 10133, "replicas count cannot be negative";
    REPLICAS_MATCH_STREAM = 400, 10134, "consumer config replicas must match interest retention stream's replicas";
    DUPLICATE_FILTERS = 400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified";
    MULTIPLE_FILTERS = 400, 10137, "consumer with multiple subject filters cannot use subject based API";
    OVERLAPPING_FILTERS = 400, 10138, "consumer subject filters cannot overlap";
    EMPTY_FILTER = 400, 10139, "consumer filter in FilterSubjects cannot be empty";
    SOURCE_DUPLICATE = 400, 10140, "duplicate source configuration detected";
    SOURCE_BAD_NAME = 400, 10141, "sourced stream name is invalid";
    MIRROR_BAD_NAME = 400, 10142, "mirrored stream name is invalid";
    MIRROR_WITH_FIRST = 400, 10143, "stream mirrors can not have first sequence configured";
    SOURCE_MULTIPLE_FILTERS = 400, 10144, "source with multiple subject transforms cannot also have a single subject filter";
    SOURCE_OVERLAP = 400, 10147, "source filters can not overlap";
    CONSUMER_EXISTS = 400, 10148, "consumer already exists";
    CONSUMER_MISSING = 400, 10149, "consumer does not exist";
    MIRROR_MULTIPLE_FILTERS = 400, 10150, "mirror with multiple subject transforms cannot also have a single subject filter";
    MIRROR_OVERLAP = 400, 10152, "mirror subject filters can not overlap";
    PRIORITY_WITHOUT_GROUP = 400, 10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set";
    INVALID_GROUP = 400, 10160, "Provided priority group does not exist for this consumer";
    EMPTY_GROUP = 400, 10161, "Group name cannot be an empty string";
    BAD_GROUP_NAME = 400, 10162, "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters";
    TTL_INVALID = 400, 10165, "invalid per-message TTL";
    TTL_DISABLED = 400, 10166, "per-message TTL is disabled";
    INCR_DISABLED = 400, 10168, "message counters is disabled";
    INCR_MISSING = 400, 10169, "message counter increment is missing";
    INCR_PAYLOAD = 400, 10170, "message counter has payload";
    INCR_INVALID = 400, 10171, "message counter increment is invalid";
    COUNTER_BROKEN = 400, 10172, "message counter is broken";
    MIRROR_WITH_COUNTERS = 400, 10173, "stream mirrors can not also calculate counters";
    ATOMIC_DISABLED = 400, 10174, "atomic publish is disabled";
    ATOMIC_MISSING_SEQ = 400, 10175, "atomic publish sequence is missing";
    ATOMIC_INCOMPLETE = 400, 10176, "atomic publish batch is incomplete";
    PUSH_WITH_GROUPS = 400, 10178, "priority groups can not be used with push consumers";
    ATOMIC_BAD_ID = 400, 10179, "atomic publish batch ID is invalid";
    ACK_WAIT_NEGATIVE = 400, 10183, "consumer ack wait needs to be positive";
    BACKOFF_NEGATIVE = 400, 10184, "consumer backoff needs to be positive";
    REQUIRED_LEVEL = 412, 10185, "JetStream minimum api level required";
    MIRROR_WITH_SCHEDULES = 400, 10186, "stream mirrors can not also schedule messages";
    SOURCE_WITH_SCHEDULES = 400, 10187, "stream source can not also schedule messages";
    SCHEDULES_DISABLED = 400, 10188, "message schedules is disabled";
    SCHEDULE_PATTERN = 400, 10189, "message schedules pattern is invalid";
    SCHEDULE_TARGET = 400, 10190, "message schedules target is invalid";
    EXPECTED_SUBJECT_ALONE = 400, 10193, "missing sequence for expected last sequence per subject";
    GROUPS_WITHOUT_POLICY = 400, 10196, "consumer can not have priority groups when policy is none";
    PINNED_TTL_WITHOUT_POLICY = 400, 10197, "PinnedTTL cannot be set when PriorityPolicy is none";
    MIRROR_WITH_ATOMIC = 400, 10198, "stream mirrors can not also use atomic publishing";
    ATOMIC_BAD_COMMIT = 400, 10200, "atomic publish batch commit is invalid";
    ATOMIC_DUPLICATE = 400, 10201, "atomic publish batch contains duplicate message id";
    MIRROR_WITH_BATCHES = 400, 10209, "stream mirrors can not also use batch publishing";
    ATOMIC_TOO_MANY = 429, 10210, "atomic publish too many inflight";
}

impl ApiError {
    /// An error that says something of its own.
    pub(crate) fn new(code: u16, err_code: u16, description: impl Into<Cow<'static, str>>) -> Self {
        ApiError { code, err_code, description: description.into() }
    }

    /// The request is not the JSON that it should be.
    pub(crate) fn json(why: impl std::fmt::Display) -> Self {
        ApiError::new(400, 10025, format!("invalid JSON: {why}"))
    }

    /// A stream's declaration is not good.
    pub(crate) fn stream_config(why: impl Into<Cow<'static, str>>) -> Self {
        ApiError::new(500, 10052, why)
    }

    /// A consumer cannot be made or changed.
    pub(crate) fn consumer_create(why: impl Into<Cow<'static, str>>) -> Self {
        ApiError::new(500, 10012, why)
    }

    /// The token does not allow it.
    pub(crate) fn not_allowed(why: &door::NotAllowed) -> Self {
        ApiError::new(403, 10039, why.to_string())
    }

    /// The back end cannot do it now.
    fn unavailable(why: impl std::fmt::Display) -> Self {
        ApiError::new(503, 10008, format!("JetStream system temporarily unavailable: {why}"))
    }

    /// What a refused append is called.
    pub(crate) fn of_append(error: &AppendError) -> Self {
        let failed = |why: &'static str| ApiError::new(503, 10077, why);
        match error {
            AppendError::NoStream(_) | AppendError::NotFound(_) => STREAM_NOT_FOUND,
            AppendError::OtherStream { .. } => STREAM_NOT_MATCH,
            AppendError::LastSeq { found, .. } | AppendError::LastSubjectSeq { found, .. } => {
                ApiError::new(400, 10071, format!("wrong last sequence: {found}"))
            }
            AppendError::LastId { found, .. } => ApiError::new(400, 10070, format!("wrong last msg ID: {found}")),
            AppendError::TooLarge { .. } => MESSAGE_TOO_LARGE,
            AppendError::TtlNotAllowed => TTL_DISABLED,
            AppendError::Sealed => STREAM_SEALED,
            AppendError::RollupNotAllowed => ApiError::new(500, 10111, "rollup not permitted"),
            AppendError::BatchNotAllowed => ATOMIC_DISABLED,
            AppendError::BatchTooLarge => {
                let max = journal::limits::BATCH_MESSAGES_MAX;
                ApiError::new(400, 10199, format!("atomic publish batch is too large: {max}"))
            }
            AppendError::BatchDuplicate => ATOMIC_DUPLICATE,
            AppendError::BatchUnsupported(header) => {
                ApiError::new(400, 10177, format!("atomic publish unsupported header used: {header}"))
            }
            AppendError::Full { limit: "messages_max" } => failed("maximum messages exceeded"),
            AppendError::Full { limit: "bytes_max" } => failed("maximum bytes exceeded"),
            AppendError::Full { .. } => failed("maximum messages per subject exceeded"),
            other => ApiError::new(503, 10077, other.to_string()),
        }
    }

    /// What a refused publish is called.
    pub(crate) fn of_publish(error: &PublishError) -> Self {
        match error {
            PublishError::NotAllowed(why) => ApiError::not_allowed(why),
            PublishError::PayloadTooLarge { .. } => MESSAGE_TOO_LARGE,
            PublishError::Unfit(unfit) => ApiError::new(400, 10077, unfit.to_string()),
            PublishError::Journal(error) => ApiError::of_append(error),
        }
    }
}

impl From<Refused<StreamError>> for ApiError {
    fn from(refused: Refused<StreamError>) -> Self {
        match refused {
            Refused::NotAllowed(why) => ApiError::not_allowed(&why),
            Refused::Journal(error) => error.into(),
        }
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::NotFound(_) => STREAM_NOT_FOUND,
            StreamError::Exists(_) => STREAM_NAME_EXISTS,
            StreamError::Overlap { .. } => SUBJECTS_OVERLAP,
            StreamError::Invalid { .. } => ApiError::stream_config(error.to_string()),
            StreamError::NoMessage(seq) => ApiError::new(400, 10043, format!("sequence {seq} not found")),
            StreamError::Denied(why) => ApiError::new(500, 10051, why),
            other => ApiError::unavailable(other),
        }
    }
}

impl From<Refused<ReadError>> for ApiError {
    fn from(refused: Refused<ReadError>) -> Self {
        match refused {
            Refused::NotAllowed(why) => ApiError::not_allowed(&why),
            Refused::Journal(ReadError::NotFound(_)) => STREAM_NOT_FOUND,
            Refused::Journal(ReadError::NoMessage) => NO_MESSAGE,
            Refused::Journal(other) => ApiError::unavailable(other),
        }
    }
}

impl From<Refused<ConsumerError>> for ApiError {
    fn from(refused: Refused<ConsumerError>) -> Self {
        match refused {
            Refused::NotAllowed(why) => ApiError::not_allowed(&why),
            Refused::Journal(error) => error.into(),
        }
    }
}

impl From<ConsumerError> for ApiError {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::NoStream(_) => STREAM_NOT_FOUND,
            ConsumerError::NotFound { .. } => CONSUMER_NOT_FOUND,
            ConsumerError::TooMany(_) => CONSUMERS_MAX,
            ConsumerError::Exists(_) => CONSUMER_EXISTS,
            ConsumerError::Queue(QueueError::NotExplicit) => QUEUE_REQUIRES_EXPLICIT,
            ConsumerError::Queue(QueueError::NotAll) => QUEUE_NOT_DELIVER_ALL,
            ConsumerError::Queue(QueueError::Unfiltered) => QUEUE_MULTIPLE_UNFILTERED,
            ConsumerError::Queue(QueueError::Overlap { .. }) => QUEUE_NOT_UNIQUE,
            ConsumerError::Reset(why) => ApiError::new(400, 10204, format!("invalid reset: {why}")),
            ConsumerError::NoGroup(_) => INVALID_GROUP,
            ConsumerError::Invalid { .. } => ApiError::consumer_create(error.to_string()),
            other => ApiError::unavailable(other),
        }
    }
}
