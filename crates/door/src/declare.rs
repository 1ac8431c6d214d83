//! The port's verbs for doors whose protocol tells creating from changing.
//!
//! Who may what is as in [`Port`]'s own module.

use std::sync::Arc;

use event::{Message, Pattern};
use journal::{
    Append, BatchError, ConsumerConfig, ConsumerError, ConsumerInfo, ReadError, Receipt, StreamConfig, StreamError,
    StreamInfo,
};

use crate::access::Principal;
use crate::fabric::{ConnectionId, Parcel};
use crate::port::Port;
use crate::refused::{NotAllowed, PublishError, Refused, Verb};

impl Port {
    /// Creates a stream.
    ///
    /// # Errors
    /// [`Refused`] with what the journal, or the token, does not allow.
    pub async fn stream_create(
        &self,
        who: &Principal,
        config: StreamConfig,
    ) -> Result<StreamInfo, Refused<StreamError>> {
        self.may_administer(who, &config)?;
        let made = self.journal().stream_create(config).await;
        self.catalogue_changed();
        made.map_err(Refused::Journal)
    }

    /// Changes a stream's declaration.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn stream_update(
        &self,
        who: &Principal,
        config: StreamConfig,
    ) -> Result<StreamInfo, Refused<StreamError>> {
        self.may_administer(who, &config)?;
        if !who.is_admin() {
            let old = self.journal().stream_info(&config.name).await.map_err(Refused::Journal)?;
            self.may_administer(who, &old.config)?;
        }
        let changed = self.journal().stream_update(config).await;
        self.catalogue_changed();
        changed.map_err(Refused::Journal)
    }

    /// Positions of a stream that hold nothing, from one on.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn deleted(
        &self,
        who: &Principal,
        stream: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<u64>, Refused<ReadError>> {
        let journal = |error| match error {
            Refused::NotAllowed(why) => Refused::NotAllowed(why),
            Refused::Journal(_) => Refused::Journal(ReadError::NotFound(stream.to_owned())),
        };
        self.stream_info(who, stream).await.map_err(journal)?;
        self.journal().deleted(stream, from, limit).await.map_err(Refused::Journal)
    }

    /// Creates a consumer.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn consumer_create(
        &self,
        who: &Principal,
        stream: &str,
        config: ConsumerConfig,
    ) -> Result<ConsumerInfo, Refused<ConsumerError>> {
        self.may_consume(who, stream, &config.filters).await?;
        self.journal().consumer_create(stream, config).await.map_err(Refused::Journal)
    }

    /// Changes a consumer's declaration.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn consumer_update(
        &self,
        who: &Principal,
        stream: &str,
        config: ConsumerConfig,
    ) -> Result<ConsumerInfo, Refused<ConsumerError>> {
        self.may_consume(who, stream, &config.filters).await?;
        self.consumer_info(who, stream, &config.name).await?;
        self.journal().consumer_update(stream, config).await.map_err(Refused::Journal)
    }

    /// Starts a consumer over.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn consumer_reset(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Result<ConsumerInfo, Refused<ConsumerError>> {
        self.consumer_info(who, stream, consumer).await?;
        self.journal().consumer_reset(stream, consumer, to).await.map_err(Refused::Journal)
    }

    /// Lets go of the pinned user of a consumer's priority group.
    ///
    /// # Errors
    /// As [`Port::stream_create`].
    pub async fn consumer_unpin(
        &self,
        who: &Principal,
        stream: &str,
        consumer: &str,
        group: &str,
    ) -> Result<(), Refused<ConsumerError>> {
        self.consumer_info(who, stream, consumer).await?;
        self.journal().consumer_unpin(stream, consumer, group).await.map_err(Refused::Journal)
    }

    /// Records several messages in one stream, all or none, and hands them to whoever listens; not back
    /// to the connection `without`. `done` is called once, perhaps from an engine's thread, and must
    /// not block; where the port refuses, the index is of the message that it refuses.
    pub fn publish_all_then(
        &self,
        who: &Principal,
        without: ConnectionId,
        mut appends: Vec<Append>,
        done: impl FnOnce(Result<Receipt, (usize, PublishError)>) + Send + 'static,
    ) {
        let mut rooms = Vec::with_capacity(appends.len());
        for (index, append) in appends.iter_mut().enumerate() {
            match self.admit(who, &mut append.message) {
                Ok(room) => rooms.push(room),
                Err(error) => return done(Err((index, error))),
            }
        }
        let fabric = Arc::clone(self.fabric());
        let live: Vec<Message> = match fabric.is_quiet() {
            true => Vec::new(),
            false => appends.iter().map(|append| append.message.clone()).collect(),
        };
        let answered = move |answer: Result<Receipt, BatchError>| {
            drop(rooms);
            if answer.is_ok() {
                for message in &live {
                    let way = fabric.way(message.subject.as_str());
                    let (taken, refused) = way.offer(&Parcel::of(message), without, &mut |taker| taker.wake());
                    fabric.count(taken, refused);
                }
            }
            done(answer.map_err(|BatchError { index, error }| (index, PublishError::Journal(error))));
        };
        self.journal().append_all(appends, Box::new(answered));
    }

    fn may_administer(&self, who: &Principal, config: &StreamConfig) -> Result<(), NotAllowed> {
        if who.is_admin() || config.subjects.iter().all(|pattern| who.may_publish_all(pattern)) {
            return Ok(());
        }
        Err(NotAllowed { who: who.name().clone(), verb: Verb::Administer, what: config.name.clone() })
    }

    async fn may_consume(
        &self,
        who: &Principal,
        stream: &str,
        filters: &[Pattern],
    ) -> Result<(), Refused<ConsumerError>> {
        if (who.is_admin() && !who.is_ruled()) || who.reads_everything() {
            return Ok(());
        }
        let subjects = match filters {
            [] => {
                let no_stream = |_| Refused::Journal(ConsumerError::NoStream(stream.to_owned()));
                self.journal().stream_info(stream).await.map_err(no_stream)?.config.subjects
            }
            filters => filters.to_vec(),
        };
        match subjects.iter().find(|pattern| !who.may_read_all(pattern)) {
            None => Ok(()),
            Some(pattern) => {
                Err(NotAllowed { who: who.name().clone(), verb: Verb::Read, what: pattern.to_string() }.into())
            }
        }
    }
}
