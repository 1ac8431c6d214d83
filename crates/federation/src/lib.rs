//! How sites exchange facts.
//!
//! [`envelope`] is the body that peers send each other, [`stored`] the same fact as a message of a
//! journal, [`facts`] the table of what holds now, [`outbox`] what is owed to a peer and when it is
//! tried again, [`deliveries`] what became of it, [`intake`] whether something received is taken, and
//! [`doctor`] what is wrong with all of it. Sockets, secrets and disks are elsewhere: time is an
//! argument, chance is a seed, and who signed is told.
//!
//! Invariants: what a table holds is decided by the records of its stream alone, so every fold of the
//! same records gives the same table. Nothing received is ever owed to a peer. A refresh extends a
//! fact; it neither shortens nor immortalises it.

#![no_std]
extern crate alloc;

pub mod deliveries;
pub mod doctor;
pub mod envelope;
pub mod facts;
mod fingerprint;
pub mod intake;
pub mod limits;
pub mod outbox;
pub mod peer;
pub mod stored;
