//! How far each copy came, kept beside its messages: those age away, and may be deleted.
//!
//! ```text
//! tidings.mesh.copy.<copy>   {"made": 1768000000000000000, "position": 210, "at": 210}
//! ```
//!
//! The last one counts, in the stream of the mesh's own state.
//!
//! # Invariants
//! - A mark is of the copy as it was made once: one that is made anew under its name begins anew.
//! - A mark that is ahead of its copy says nothing: the copy lost its end, which is to come again.

use event::{Message, Pattern, Subject, encode_token};
use journal::{Append, AppendError, Journal, ReadError, StreamInfo, answer};
use serde::{Deserialize, Serialize};

use super::lead::{STREAM, make_stream};

/// How far a copy came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// When the copy was made, in nanoseconds.
    pub(super) made: u64,
    /// The position of its source up to which all is recorded.
    pub(super) position: u64,
    /// The copy's own position of that message.
    pub(super) at: u64,
}

fn subject(into: &str) -> String {
    format!("tidings.mesh.copy.{}", encode_token(into))
}

/// What is marked of a copy; `None`: nothing that is so now.
pub(super) async fn read(journal: &dyn Journal, into: &str, copy: &StreamInfo) -> Result<Option<Mark>, String> {
    let pattern = Pattern::parse(&subject(into)).map_err(|error| error.to_string())?;
    let stored = match journal.last(STREAM, &pattern).await {
        Ok(stored) => stored,
        Err(ReadError::NotFound(_)) => return make_stream(journal).await.map(|()| None),
        Err(ReadError::NoMessage) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mark: Mark = serde_json::from_slice(&stored.message.payload).map_err(|error| error.to_string())?;
    Ok((mark.made == copy.created.nanos() && mark.at <= copy.state.last).then_some(mark))
}

/// Marks how far a copy came; `done` is told when that is on disk.
pub(super) fn write(
    journal: &dyn Journal,
    into: &str,
    mark: Mark,
    done: impl FnOnce(Result<(), String>) + Send + 'static,
) {
    let message = || {
        let subject = Subject::parse(&subject(into)).map_err(|error| error.to_string())?;
        let payload = serde_json::to_vec(&mark).map_err(|error| error.to_string())?;
        Ok(Message::new(subject, payload))
    };
    match message() {
        Ok(message) => {
            let append = Append { into: Some(STREAM.to_owned()), ..Append::new(message) };
            journal.append(append, Box::new(move |result| done(result.map(|_| ()).map_err(|error| error.to_string()))));
        }
        Err(why) => done(Err(why)),
    }
}

/// As [`write`], and waits for it.
pub(super) async fn written(journal: &dyn Journal, into: &str, mark: Mark) -> Result<(), String> {
    let closed = || AppendError::Closed(String::from("the journal gave the append up"));
    let (done, answer) = answer(move || Err(closed().to_string()));
    write(journal, into, mark, done);
    answer.await
}
