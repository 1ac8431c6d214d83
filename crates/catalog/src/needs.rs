//! What a command needs a right to, as things stand: said before it is judged.
//!
//! What a command writes is asked for again when it is recorded, message by message. Here is asked for what no message
//! shows: a command that finds all as it wants it writes nothing, and is a sign of life or an answer all the same.
//!
//! # Invariants
//! - Whatever else than that it is so a command's outcome tells of a thing, one of its needs names that thing.
//! - A thing whose subject cannot be made is not there, and cannot be recorded: nothing is needed for it.

use alloc::vec::Vec;

use event::Subject;

use crate::address::{Address, lower};
use crate::command::{Command, Form, Register, TxnOperation, TxnVerb};
use crate::state::State;

/// A right to one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// To read it.
    Read(Subject),
    /// To publish to it.
    Publish(Subject),
}

impl State {
    /// What a command needs. All of it, or it is not to be judged.
    pub fn needs(&self, command: &Command) -> Vec<Need> {
        let mut needs = Needs { state: self, found: Vec::new() };
        match command {
            Command::Register(register) => needs.register(register),
            Command::Deregister { node, service_id, check_id } if service_id.is_empty() && !check_id.is_empty() => {
                needs.check(node, check_id);
            }
            Command::Deregister { node, service_id, .. } | Command::Maintenance { node, service_id, .. } => {
                needs.owner(node, service_id);
            }
            Command::SetCheck(told) => needs.check(&told.node, &told.check_id),
            Command::KeyPut(put) => needs.publish(&Address::Key(put.key.as_str().into())),
            Command::KeyDelete { key, recurse: false, .. } => needs.publish(&Address::Key(key.into())),
            // What is below it is known when it is judged: each that goes is a message.
            Command::KeyDelete { recurse: true, .. } => {}
            Command::Txn(operations) => operations.iter().for_each(|operation| needs.operation(operation)),
            Command::SessionCreate(create) => needs.publish(&Address::Session(create.id.as_str().into())),
            Command::SessionDestroy { id } | Command::SessionRenew { id } => {
                needs.publish(&Address::Session(id.into()));
            }
            Command::Fire(fire) => {
                needs.publish(&Address::Event { name: fire.name.as_str().into(), id: fire.id.as_str().into() });
            }
        }
        needs.found
    }
}

struct Needs<'a> {
    state: &'a State,
    found: Vec<Need>,
}

impl Needs<'_> {
    fn subject(&self, address: &Address<'_>) -> Option<Subject> {
        address.subject(self.state.datacenter()).ok()
    }

    fn publish(&mut self, address: &Address<'_>) {
        self.found.extend(self.subject(address).map(Need::Publish));
    }

    fn read(&mut self, key: &str) {
        self.found.extend(self.subject(&Address::Key(key.into())).map(Need::Read));
    }

    /// An instance that is there, or (empty) a node.
    fn owner(&mut self, node: &str, service_id: &str) {
        let node = lower(node);
        if service_id.is_empty() {
            return self.publish(&Address::Node(node));
        }
        if let Some(health) = self.state.instance(&node, service_id) {
            let service = lower(&health.service.service);
            self.publish(&Address::Instance { service, node, id: service_id.into() });
        }
    }

    /// What a check that is there belongs to.
    fn check(&mut self, node: &str, check_id: &str) {
        if let Some(check) = self.state.check(node, check_id) {
            self.owner(node, &check.service_id);
        }
    }

    /// The instance, and what the checks are of. The node that an instance is put on is asked for where it becomes
    /// another: whoever registers says it again.
    fn register(&mut self, register: &Register) {
        let node = lower(&register.node);
        if let Some(draft) = &register.service {
            let id = if draft.id.is_empty() { &draft.name } else { &draft.id };
            let (service, id) = (lower(&draft.name), id.as_str().into());
            self.publish(&Address::Instance { service, node, id });
            if register.form != Form::Catalog {
                // All its checks are the instance's.
                return;
            }
        } else if register.checks.is_empty() {
            self.owner(&node, "");
        }
        register.checks.iter().for_each(|draft| self.owner(&register.node, &draft.service_id));
    }

    fn operation(&mut self, operation: &TxnOperation) {
        let key = operation.key.as_str();
        match operation.verb {
            TxnVerb::Set | TxnVerb::Cas | TxnVerb::Lock | TxnVerb::Unlock | TxnVerb::Delete | TxnVerb::DeleteCas => {
                self.publish(&Address::Key(key.into()))
            }
            TxnVerb::Get
            | TxnVerb::GetOrEmpty
            | TxnVerb::CheckIndex
            | TxnVerb::CheckSession
            | TxnVerb::CheckNotExists => self.read(key),
            TxnVerb::GetTree => self.state.keys(key).for_each(|pair| self.read(&pair.key)),
            TxnVerb::DeleteTree => {}
        }
    }
}
