//! That from which the keys of links are made: for controllers alone.
//!
//! A controller whose engine is its own keeps it in its data directory ([`stored`](super::stored)). Controllers that
//! share an engine have half of it there, which the first of them made by chance:
//!
//! ```text
//! tidings.mesh.root   32 random bytes, written where there is none, and never again
//! ```
//!
//! The other half is the secret of their domain: who reads the engine's streams lacks that, and a node of the domain with an
//! engine of its own lacks the first. Who has both, the secret and that engine, could make every key.

use std::sync::Arc;
use std::time::Duration;

use event::{Message, Pattern, Subject};
use journal::{Append, AppendError, Expect, Journal, ReadError, answer};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::sleep;
use tracing::warn;

use super::controller::Secret;
use super::lead::{STREAM, make_stream};

/// The subject of what controllers share.
const SUBJECT: &str = "tidings.mesh.root";
/// Its bytes.
const BYTES: usize = 32;
/// How long after a failure the engine is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where a controller has it from.
pub(super) enum Root {
    /// It is known.
    Known(Vec<u8>),
    /// Controllers share it.
    Shared(Arc<dyn Journal>, Secret),
}

impl Root {
    /// The bytes, as soon as the engine answers.
    pub(super) async fn bytes(self) -> Vec<u8> {
        let (journal, secret) = match self {
            Root::Known(bytes) => return bytes,
            Root::Shared(journal, secret) => (journal, secret),
        };
        let mut quiet = false;
        loop {
            match shared(&*journal).await {
                Ok(half) => return sign(&Key::new(HMAC_SHA256, &secret), &half).as_ref().to_vec(),
                Err(why) if !std::mem::replace(&mut quiet, true) => {
                    warn!(why, "keys of links cannot be made: the engine does not answer for what controllers share");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }
}

/// What controllers share: made where there is none.
async fn shared(journal: &dyn Journal) -> Result<Vec<u8>, String> {
    let pattern = Pattern::parse(SUBJECT).map_err(|error| error.to_string())?;
    match journal.last(STREAM, &pattern).await {
        Ok(stored) if stored.message.payload.len() == BYTES => return Ok(stored.message.payload.to_vec()),
        Ok(_) => return Err(format!("what {SUBJECT} holds is not {BYTES} bytes: delete it")),
        Err(ReadError::NotFound(_)) => make_stream(journal).await?,
        Err(ReadError::NoMessage) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut fresh = [0; BYTES];
    SystemRandom::new().fill(&mut fresh).map_err(|_| "the system gives no random bytes".to_owned())?;
    let subject = Subject::parse(SUBJECT).map_err(|error| error.to_string())?;
    let mut append = Append::new(Message::new(subject, fresh.to_vec()));
    append.into = Some(STREAM.to_owned());
    append.expect = Expect { last_of_subject: Some(0), ..Expect::default() };
    let (done, written) = answer(|| Err(AppendError::Closed(String::from("the journal gave the append up"))));
    journal.append(append, done);
    match written.await {
        Ok(_) => Ok(fresh.to_vec()),
        // Another was first: it is read next time.
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::local::Local;

    #[tokio::test]
    async fn controllers_that_share_an_engine_have_one_root_that_the_secret_alone_does_not_give() {
        let engine = || -> Arc<dyn Journal> { Arc::new(Local::new(Arc::new(crate::clock::now))) };
        let secret = |byte: u8| Secret::new(zeroize::Zeroizing::new(vec![byte; BYTES]));
        let one = engine();
        let root = async |engine: &Arc<dyn Journal>, byte| Root::Shared(Arc::clone(engine), secret(byte)).bytes().await;
        let first = root(&one, 1).await;
        assert_eq!(root(&one, 1).await, first);
        assert_ne!(root(&one, 2).await, first);
        assert_ne!(root(&engine(), 1).await, first);
        assert_eq!(Root::Known(vec![7]).bytes().await, [7]);
    }
}
