//! How sites exchange facts.
//!
//! The envelope that peers send each other, the table of what holds now, what an outbox owes each peer
//! and when it tries again, and whether something received is taken. Sockets, secrets and disks are
//! elsewhere: time is an argument, chance is a seed, and who signed is told.

#![no_std]
extern crate alloc;
