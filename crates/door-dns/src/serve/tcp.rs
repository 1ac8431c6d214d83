//! Connections: each question and each answer has its length before it (RFC 1035, 4.2.2).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{Shared, seed};
use crate::answer::Carrier;
use crate::counts::one;
use crate::limits::QUESTION_BYTES_MAX;

/// How long to wait after a connection could not be taken: most often files have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the door closes. At the limit, more wait in the system's queue.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(shared.options.connections_max));
    loop {
        let accepted = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => match place {
                Ok(place) => tokio::select! {
                    accepted = listener.accept() => accepted.map(|(socket, _)| (socket, place)),
                    () = closing.cancelled() => return,
                },
                Err(_) => return,
            },
            () = closing.cancelled() => return,
        };
        let (socket, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot take a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (shared, closing) = (Arc::clone(&shared), closing.clone());
        tasks.spawn(async move {
            let _here = Here::new(&shared.tally.connections);
            tokio::select! {
                ended = converse(socket, &shared) => if let Err(error) = ended {
                    debug!(%error, "a connection was given up");
                    one(&shared.tally.given_up);
                },
                () = closing.cancelled() => {}
            }
            drop(place);
        });
    }
}

/// Counts a connection as long as it lasts.
struct Here<'a>(&'a AtomicU64);

impl<'a> Here<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        one(count);
        Here(count)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn converse(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (deadline, mut seed) = (shared.options.tcp_deadline, seed());
    let mut question = Vec::new();
    loop {
        match timeout(deadline, read(&mut socket, &mut question)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            // Between two questions it may end so.
            Err(_) if question.is_empty() => return Ok(()),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        one(&shared.tally.questions_tcp);
        seed = seed.wrapping_add(1);
        let Some(answer) = shared.answer(&question, Carrier::Tcp, seed) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&answer);
        timeout(deadline, socket.write_all(&framed)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

/// Reads the next question; `false`: there is none.
async fn read(socket: &mut TcpStream, question: &mut Vec<u8>) -> io::Result<bool> {
    question.clear();
    let length = match socket.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > QUESTION_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long a question"));
    }
    question.resize(length, 0);
    socket.read_exact(question).await?;
    Ok(true)
}
