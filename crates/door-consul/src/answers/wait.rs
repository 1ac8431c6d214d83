//! A reader that waits until its answer becomes another.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use super::{Answers, Cell, Encoded};
use crate::codec::Fault;
use crate::counts::{Totals, count, uncount};

/// What a reader waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Until {
    /// An index above this.
    Index(u64),
    /// Another content.
    Hash(String),
}

impl Until {
    pub(crate) fn is_met(&self, answer: &Encoded) -> bool {
        match self {
            Until::Index(index) => answer.index > *index,
            Until::Hash(hash) => answer.hash() != hash,
        }
    }
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) enum Met {
    /// The answer has become another.
    Changed(Arc<Encoded>),
    /// The time is over, or the door closes.
    Over(Arc<Encoded>),
    /// Other rights are in force: who asks is to be found out again.
    Rights,
}

/// Counts a blocked reader for as long as it lives.
struct Counted<'a>(&'a Totals);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        uncount(&self.0.blocked);
    }
}

/// Waits until an answer has become another, or for the deadline. `rights` tells which rights are in force, `known`
/// which were when who asks was found out.
///
/// # Errors
/// [`Fault`]: the question cannot be answered any more.
pub(crate) async fn wait(
    (answers, totals): (&Answers, &Totals),
    cell: &Arc<Cell>,
    until: Until,
    (rights, known): (impl Fn() -> u64, u64),
    deadline: Instant,
) -> Result<Met, Fault> {
    count(&totals.blocked);
    let _counted = Counted(totals);
    let place = cell.gate.enter();
    let sleep = sleep_until(deadline);
    tokio::pin!(sleep);
    poll_fn(move |context| {
        loop {
            let calls = cell.gate.calls();
            let news = cell.gate.arm(|| cell.question.register());
            let now = rights();
            if now != known {
                cell.gate.wake_for(now);
                return Poll::Ready(Ok(Met::Rights));
            }
            let held = if news { None } else { cell.held() };
            let answer = match held.map_or_else(|| cell.look(totals), Ok) {
                Ok(answer) => answer,
                Err(fault) => {
                    cell.gate.wake_all();
                    return Poll::Ready(Err(fault));
                }
            };
            if until.is_met(&answer) {
                count(&totals.woken);
                return Poll::Ready(Ok(Met::Changed(answer)));
            }
            if sleep.as_mut().poll(context).is_ready() || answers.is_stopping() {
                count(&totals.timed_out);
                return Poll::Ready(Ok(Met::Over(answer)));
            }
            place.sleep(context.waker());
            if !cell.gate.is_due(calls) && !answers.is_stopping() {
                return Poll::Pending;
            }
        }
    })
    .await
}
