//! What passes between the desk and its rim. How, is told where the desk is.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::{Moment, Pattern};

use crate::config::Retention;
use crate::consumer::{Ack, AckToken, ConsumerConfig, ConsumerInfo, Delivery, Fetch, FetchEnd};
use crate::error::{AckError, AppendError, ConsumerError, ReadError};
use crate::news::JournalEvent;
use crate::stream::{Append, Page, Read};

/// Names what a verb waits for; the rim's choice.
pub type Ticket = u64;
/// Names a fetch; the rim's choice.
pub type Request = u64;
/// Names what the desk waits for; the desk's choice.
pub type Key = u64;

/// What happened.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// There is a stream: told when it is created, updated, and at opening.
    Stream {
        /// Its name.
        stream: &'a str,
        /// Its retention.
        retention: Retention,
        /// Its first position, or one before.
        first: u64,
        /// Its last position.
        last: u64,
    },
    /// All streams were told, after opening.
    Opened,
    /// A stream is gone, with its messages.
    StreamDeleted {
        /// Its name.
        stream: &'a str,
    },
    /// A message can be read.
    Appended {
        /// Its stream.
        stream: &'a str,
        /// Its position.
        seq: u64,
        /// Its subject.
        subject: &'a str,
    },
    /// Messages are gone.
    Removed {
        /// Their stream.
        stream: &'a str,
        /// Which.
        removed: Removed,
    },
    /// [`Journal::consumer_create`](crate::Journal::consumer_create). Answered with [`Reply::Consumer`].
    Create {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The declaration.
        config: ConsumerConfig,
    },
    /// [`Journal::consumer_update`](crate::Journal::consumer_update). Answered with [`Reply::Consumer`].
    Update {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The declaration.
        config: ConsumerConfig,
    },
    /// [`Journal::consumer_delete`](crate::Journal::consumer_delete). Answered with [`Reply::Unit`].
    Delete {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
    },
    /// [`Journal::consumer_pause`](crate::Journal::consumer_pause). Answered with [`Reply::Consumer`].
    Pause {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
        /// Until when; `None` resumes.
        until: Option<Moment>,
    },
    /// [`Journal::consumer_info`](crate::Journal::consumer_info). Answered with [`Reply::Consumer`].
    Info {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
    },
    /// [`Journal::consumer_reset`](crate::Journal::consumer_reset). Answered with [`Reply::Consumer`].
    Reset {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
        /// Where to; `None`: behind the acknowledgement floor.
        to: Option<u64>,
    },
    /// [`Journal::consumer_unpin`](crate::Journal::consumer_unpin). Answered with [`Reply::Unit`].
    Unpin {
        /// Completes the verb.
        ticket: Ticket,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
        /// The priority group.
        group: &'a str,
    },
    /// [`Journal::fetch`](crate::Journal::fetch). Ends with [`Output::End`], refused too.
    Fetch {
        /// Names it.
        request: Request,
        /// The stream.
        stream: &'a str,
        /// The consumer.
        consumer: &'a str,
        /// What is asked for.
        fetch: Fetch,
    },
    /// The sink took its delivery and takes no more for now.
    Hold {
        /// The fetch.
        request: Request,
    },
    /// The sink takes more again.
    Ready {
        /// The fetch.
        request: Request,
    },
    /// The sink's user is gone. Its fetch ends without [`Output::End`].
    Cancel {
        /// The fetch.
        request: Request,
        /// The delivery that the sink did not take: made to another at once, and not counted.
        untaken: Option<AckToken>,
    },
    /// [`Journal::acknowledge`](crate::Journal::acknowledge). Answered with [`Reply::Ack`].
    Ack {
        /// Completes the verb.
        ticket: Ticket,
        /// What it speaks of.
        token: AckToken,
        /// What it says.
        ack: Ack,
        /// Whether it is answered only when it would survive a crash.
        synced: bool,
    },
    /// Answers [`Output::Read`].
    Page {
        /// Of the read.
        key: Key,
        /// What was found.
        result: Result<Page, ReadError>,
    },
    /// Answers [`Output::Read`] of [`What::Count`].
    Counted {
        /// Of the read.
        key: Key,
        /// How many there are.
        result: Result<u64, ReadError>,
    },
    /// Answers [`Output::DeadLetter`].
    DeadLettered {
        /// Of the dead letter.
        key: Key,
        /// Whether it was recorded, now or before.
        result: Result<(), AppendError>,
    },
    /// Answers [`Output::Save`].
    Saved {
        /// Of the save.
        key: Key,
        /// Whether it is durable, or why it cannot be.
        result: Result<(), String>,
    },
    /// Time has passed.
    Tick,
    /// The engine shuts down.
    Close,
}

/// Which messages are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// All before this position.
    Below(u64),
    /// The one at this position.
    One(u64),
    /// Some, anywhere, perhaps none. Who waits looks for messages again.
    Some,
}

/// What is to be done. The module says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Read.
    Read {
        /// To be answered with.
        key: Key,
        /// The stream.
        stream: Arc<str>,
        /// What.
        what: What,
    },
    /// Hand a delivery to a sink.
    Deliver {
        /// The fetch.
        request: Request,
        /// The delivery.
        delivery: Delivery,
    },
    /// Tell a sink that its fetch ended.
    End {
        /// The fetch.
        request: Request,
        /// Why.
        end: FetchEnd,
    },
    /// Keep a change.
    Save {
        /// To be answered with.
        key: Key,
        /// The change, for [`Desk::apply`](super::Desk::apply).
        bytes: Vec<u8>,
        /// Whether somebody waits for it.
        synced: bool,
    },
    /// Record a dead letter.
    DeadLetter {
        /// To be answered with.
        key: Key,
        /// The dead letter.
        append: Append,
    },
    /// Remove messages that all consumers are done with.
    Retire {
        /// The stream.
        stream: Arc<str>,
        /// Their positions.
        seqs: Vec<u64>,
    },
    /// Tell whoever watches.
    Tell {
        /// What happened.
        event: JournalEvent,
    },
    /// Complete a verb.
    Reply {
        /// Of the verb.
        ticket: Ticket,
        /// Its answer.
        reply: Reply,
    },
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One page, without waiting.
    Next(Read),
    /// The messages at these positions, as far as they are there, in order.
    Seqs(Vec<u64>),
    /// How many messages there are from a position up to and with another, that one of these patterns
    /// matches; of all, where there are none. Answered with [`Input::Counted`].
    Count {
        /// The patterns.
        filters: Vec<Pattern>,
        /// The first position.
        from: u64,
        /// The last position.
        upto: u64,
    },
    /// The last message that each of these patterns matches, as far as there is one, in any order.
    Last(Vec<Pattern>),
}

/// A verb's answer.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and the large one is rare")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Of a declaration, a pause, a reset, or a question how it stands.
    Consumer(Result<ConsumerInfo, ConsumerError>),
    /// Of a deletion, or an unpinning.
    Unit(Result<(), ConsumerError>),
    /// Of an acknowledgement.
    Ack(Result<(), AckError>),
}
