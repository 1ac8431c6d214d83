//! A journal that counts: every append passes through, with its outcome, bytes and time.
//!
//! It adds no promise and takes none away. Cost: one clock reading at each end of an append, one
//! allocation, and a handful of atomic additions.

use std::sync::Arc;
use std::time::Instant;

use event::{Moment, Pattern, Subject};
use journal::{
    Ack, AckError, AckToken, Answer, Append, AppendError, BatchError, ConsumerConfig, ConsumerError, ConsumerInfo,
    Done, Fetch, Health, Journal, Page, Purge, Read, ReadError, Receipt, Sink, Stored, StreamConfig, StreamError,
    StreamInfo, SubjectState, Watcher,
};

use crate::metrics::AppendMetrics;

/// See the module.
pub(crate) struct Metered {
    journal: Arc<dyn Journal>,
    metrics: AppendMetrics,
}

impl Metered {
    pub(crate) fn new(journal: Arc<dyn Journal>, metrics: AppendMetrics) -> Self {
        Metered { journal, metrics }
    }
}

impl Journal for Metered {
    fn append(&self, append: Append, done: Done<Result<Receipt, AppendError>>) {
        let metrics = self.metrics.clone();
        let bytes = append.message.size() as u64;
        let begun = Instant::now();
        let counted = move |answer: Result<Receipt, AppendError>| {
            match &answer {
                Ok(receipt) if receipt.duplicate => metrics.duplicate(),
                Ok(_) => metrics.recorded(bytes, begun.elapsed()),
                Err(_) => metrics.refused(),
            }
            done(answer);
        };
        self.journal.append(append, Box::new(counted));
    }

    fn append_all(&self, appends: Vec<Append>, done: Done<Result<Receipt, BatchError>>) {
        let metrics = self.metrics.clone();
        let sizes: Vec<u64> = appends.iter().map(|append| append.message.size() as u64).collect();
        let begun = Instant::now();
        let counted = move |answer: Result<Receipt, BatchError>| {
            match &answer {
                Ok(_) => sizes.iter().for_each(|bytes| metrics.recorded(*bytes, begun.elapsed())),
                Err(_) => metrics.refused(),
            }
            done(answer);
        };
        self.journal.append_all(appends, Box::new(counted));
    }

    fn version(&self) -> u64 {
        self.journal.version()
    }

    fn deleted(&self, stream: &str, from: u64, limit: usize) -> Answer<Result<Vec<u64>, ReadError>> {
        self.journal.deleted(stream, from, limit)
    }

    fn stream_create(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.journal.stream_create(config)
    }

    fn stream_update(&self, config: StreamConfig) -> Answer<Result<StreamInfo, StreamError>> {
        self.journal.stream_update(config)
    }

    fn stream_delete(&self, stream: &str) -> Answer<Result<(), StreamError>> {
        self.journal.stream_delete(stream)
    }

    fn stream_info(&self, stream: &str) -> Answer<Result<StreamInfo, StreamError>> {
        self.journal.stream_info(stream)
    }

    fn streams(&self) -> Answer<Vec<StreamInfo>> {
        self.journal.streams()
    }

    fn captured_by(&self, subject: &Subject) -> Option<Arc<str>> {
        self.journal.captured_by(subject)
    }

    fn subjects(
        &self,
        stream: &str,
        pattern: &Pattern,
        after: Option<Subject>,
        limit: usize,
    ) -> Answer<Result<Vec<SubjectState>, ReadError>> {
        self.journal.subjects(stream, pattern, after, limit)
    }

    fn purge(&self, stream: &str, purge: Purge) -> Answer<Result<u64, StreamError>> {
        self.journal.purge(stream, purge)
    }

    fn delete(&self, stream: &str, seq: u64) -> Answer<Result<(), StreamError>> {
        self.journal.delete(stream, seq)
    }

    fn read(&self, stream: &str, read: Read) -> Answer<Result<Page, ReadError>> {
        self.journal.read(stream, read)
    }

    fn get(&self, stream: &str, seq: u64) -> Answer<Result<Stored, ReadError>> {
        self.journal.get(stream, seq)
    }

    fn last(&self, stream: &str, pattern: &Pattern) -> Answer<Result<Stored, ReadError>> {
        self.journal.last(stream, pattern)
    }

    fn consumer_create(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.journal.consumer_create(stream, config)
    }

    fn consumer_update(&self, stream: &str, config: ConsumerConfig) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.journal.consumer_update(stream, config)
    }

    fn consumer_delete(&self, stream: &str, consumer: &str) -> Answer<Result<(), ConsumerError>> {
        self.journal.consumer_delete(stream, consumer)
    }

    fn consumer_info(&self, stream: &str, consumer: &str) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.journal.consumer_info(stream, consumer)
    }

    fn consumers(&self, stream: &str) -> Answer<Result<Vec<ConsumerInfo>, ConsumerError>> {
        self.journal.consumers(stream)
    }

    fn consumer_pause(
        &self,
        stream: &str,
        consumer: &str,
        until: Option<Moment>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.journal.consumer_pause(stream, consumer, until)
    }

    fn consumer_reset(
        &self,
        stream: &str,
        consumer: &str,
        to: Option<u64>,
    ) -> Answer<Result<ConsumerInfo, ConsumerError>> {
        self.journal.consumer_reset(stream, consumer, to)
    }

    fn consumer_unpin(&self, stream: &str, consumer: &str, group: &str) -> Answer<Result<(), ConsumerError>> {
        self.journal.consumer_unpin(stream, consumer, group)
    }

    fn watch(&self, watcher: Watcher) {
        self.journal.watch(watcher);
    }

    fn fetch(&self, stream: &str, consumer: &str, fetch: Fetch, sink: Box<dyn Sink>) {
        self.journal.fetch(stream, consumer, fetch, sink);
    }

    fn acknowledge(&self, token: AckToken, ack: Ack, synced: bool, done: Done<Result<(), AckError>>) {
        self.journal.acknowledge(token, ack, synced, done);
    }

    fn nudge(&self) {
        self.journal.nudge();
    }

    fn relates(&self) -> bool {
        self.journal.relates()
    }

    fn health(&self) -> Health {
        self.journal.health()
    }

    fn close(&self) -> Answer<()> {
        self.journal.close()
    }
}
