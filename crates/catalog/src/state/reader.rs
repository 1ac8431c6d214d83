//! What a message says of an instance, whatever holds: read ahead of its fold, so that many can be read on one thread
//! while those before them are folded on another.
//!
//! # Cost
//! Reading a record is more than half of what its fold costs in all. What is not of an instance is read when it is
//! folded.

use alloc::sync::Arc;
use alloc::vec::Vec;

use journal::Stored;

use super::{State, Unfit};
use crate::address::{self, Address};
use crate::limits::CHECKS_MAX;
use crate::model::{Check, Service};
use crate::stored::{self, InstanceRecord, Owner};
use crate::text::Texts;

/// An instance as its message tells it: without positions.
#[derive(Debug)]
pub(super) struct Instance {
    /// The service, in lower case.
    pub(super) low: Arc<str>,
    /// The node, in lower case.
    pub(super) node: Arc<str>,
    /// The node, as the message writes it.
    pub(super) node_name: Arc<str>,
    pub(super) service: Service,
    /// With the node as the message writes it.
    pub(super) checks: Vec<Check>,
}

impl Instance {
    /// Reads a payload at the subject of an instance.
    ///
    /// # Errors
    /// [`Unfit`]
    pub(super) fn read(low: &str, node: &str, id: &str, payload: &[u8], texts: &mut Texts) -> Result<Self, Unfit> {
        let mut record: InstanceRecord<'_> = stored::read(payload)?;
        if record.checks.len() > CHECKS_MAX {
            return Err("it has too many checks".into());
        }
        let fits = |said: &str, is: &str| said.is_empty() || *address::lower(said) == *is;
        if !fits(&record.node.0, node) || !fits(&record.service.service.0, low) {
            return Err("Node and Service are not those of its subject".into());
        }
        if !record.service.id.0.is_empty() && record.service.id.0 != id {
            return Err("the service's ID is not that of its subject".into());
        }
        if record.service.service.0.is_empty() {
            record.service.service = low.into();
        }
        let mut service = record.service.into_service(texts);
        service.id = id.into();
        let node_name = texts.take(if record.node.0.is_empty() { node } else { &record.node.0 });
        let owner = Owner { node: &node_name, service: Some(&service) };
        let mut checks: Vec<Check> = Vec::with_capacity(record.checks.len());
        for record in record.checks {
            let check = record.into_check(&owner, texts)?;
            if checks.iter().any(|each| each.check_id == check.check_id) {
                return Err("two of its checks have one CheckID".into());
            }
            checks.push(check);
        }
        Ok(Instance { low: texts.take(low), node: texts.take(node), node_name, service, checks })
    }
}

/// What was read of one message: to be folded with it, and with no other.
#[derive(Debug, Default)]
pub struct WasRead(Option<Result<Instance, Unfit>>);

impl WasRead {
    /// What it tells of an instance; `None`: it was not read.
    pub(super) fn instance(self) -> Option<Result<Instance, Unfit>> {
        self.0
    }
}

/// See the module. It has the texts of a [`State`], which has none meanwhile.
#[derive(Debug)]
pub struct Reader {
    datacenter: Arc<str>,
    texts: Texts,
}

impl Reader {
    /// Reads a message.
    pub fn read(&mut self, stored: &Stored) -> WasRead {
        let payload = &stored.message.payload;
        match address::parse(&self.datacenter, &stored.message.subject) {
            Ok(Some(Address::Instance { service, node, id })) if !payload.is_empty() => {
                WasRead(Some(Instance::read(&service, &node, &id, payload, &mut self.texts)))
            }
            _ => WasRead::default(),
        }
    }
}

impl State {
    /// What reads messages ahead of their fold, until it is [given back](State::end_reading).
    pub fn reader(&mut self) -> Reader {
        Reader { datacenter: Arc::clone(&self.datacenter), texts: core::mem::take(&mut self.texts) }
    }

    /// Takes back the texts that were read, so that what is folded from now on shares them.
    pub fn end_reading(&mut self, reader: Reader) {
        self.texts = reader.texts;
    }
}
