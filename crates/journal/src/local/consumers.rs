//! Consumers of the journal in memory.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Weak;
use alloc::vec::Vec;

use event::{Moment, Subject};

use crate::consumer::{Ack, AckToken, ConsumerConfig, ConsumerInfo, Fetch, FetchEnd, Sink};
use crate::contract::{Answer, Done, answer};
use crate::error::{AckError, ConsumerError, FetchError};
use crate::memory::Memory;
use crate::stream::{Receipt, StreamInfo};

use super::{CLOSED, Call, Readers, Shared};

/// What a fetch brings.
pub(super) struct Open {
    pub(super) sink: Box<dyn Sink>,
    pub(super) shared: Weak<Shared>,
    pub(super) closed: bool,
}

#[derive(Default)]
pub(super) struct Consumers {}

type Told<T> = Result<T, ConsumerError>;

impl Shared {
    pub(super) fn on_consumers<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Consumers, Moment, Done<Told<T>>),
    ) -> Answer<Told<T>> {
        let (done, told) = answer(|| Err(ConsumerError::Closed(CLOSED.to_string())));
        self.with(|state, now| work(&mut state.consumers, now, done));
        told
    }
}

fn absent<T>(stream: &str) -> Told<T> {
    Err(ConsumerError::NoStream(stream.to_string()))
}

impl Consumers {
    pub(super) fn wake_at(&self) -> Option<Moment> {
        None
    }
    pub(super) fn count(&self, _stream: &str) -> u64 {
        0
    }
    pub(super) fn tick(&mut self, _now: Moment) {}
    pub(super) fn settle(&mut self, _: &mut Memory, _: &mut Readers, _: Moment, _: &mut VecDeque<Call>) {}
    pub(super) fn stream(&mut self, _now: Moment, _info: &StreamInfo) {}
    pub(super) fn stream_deleted(&mut self, _now: Moment, _stream: &str) {}
    pub(super) fn appended(&mut self, _now: Moment, _receipt: &Receipt, _subject: &Subject) {}
    pub(super) fn removed(&mut self, _now: Moment, _stream: &str, _first: u64) {}
    pub(super) fn purged(&mut self, _now: Moment, _stream: &str, _first: u64) {}
    pub(super) fn deleted(&mut self, _now: Moment, _stream: &str, _seq: u64) {}
    pub(super) fn create(&mut self, _: Moment, stream: &str, _: ConsumerConfig, done: Done<Told<ConsumerInfo>>) {
        done(absent(stream));
    }
    pub(super) fn update(&mut self, _: Moment, stream: &str, _: ConsumerConfig, done: Done<Told<ConsumerInfo>>) {
        done(absent(stream));
    }
    pub(super) fn delete(&mut self, _: Moment, stream: &str, _: &str, done: Done<Told<()>>) {
        done(absent(stream));
    }
    pub(super) fn pause(
        &mut self,
        _: Moment,
        stream: &str,
        _: &str,
        _: Option<Moment>,
        done: Done<Told<ConsumerInfo>>,
    ) {
        done(absent(stream));
    }
    pub(super) fn info(&self, stream: &str, _: &str) -> Told<ConsumerInfo> {
        absent(stream)
    }
    pub(super) fn list(&self, _: &str) -> Vec<ConsumerInfo> {
        Vec::new()
    }
    pub(super) fn fetch(&mut self, _: Moment, stream: &str, consumer: &str, _: Fetch, open: Open) {
        let _ = (open.shared, open.closed);
        let error = FetchError::NotFound { stream: stream.to_string(), name: consumer.to_string() };
        open.sink.end(FetchEnd::Failed(error));
    }
    pub(super) fn acknowledge(
        &mut self,
        _: Moment,
        token: AckToken,
        _: Ack,
        _: bool,
        done: Done<Result<(), AckError>>,
    ) {
        done(Err(AckError::NotFound { stream: token.stream.to_string(), name: token.consumer.to_string() }));
    }
    pub(super) fn close(&mut self, _: Moment) {}
}
