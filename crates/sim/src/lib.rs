//! A world of simulated disks and time, and what checks it.
//!
//! [`disk`] is a disk in memory that behaves as badly as a real one may: it loses, tears and
//! reorders what was not synced, fills up, fails syncs, and flips bits. [`world`] drives the
//! embedded engine over it with random operations, beside the engine in memory, and asks that both
//! answer alike and that what was acknowledged survives. [`chance`] is where all randomness comes
//! from: a seed names a run, and the same seed gives the same bytes. [`federation`] has sites exchange facts over
//! links that fail, and asks that nothing is lost or doubled and that all hold the same in the end. [`hub`] has
//! hubs hand on the events of their messengers over links that flap, and asks the same of those. [`views`] has readers
//! follow a catalogue through crashes, and asks that none misses anything, is told anything twice, or steps back. [`mesh`]
//! has nodes of several domains send each other messages while links, nodes and plans come and go, and asks that nobody
//! gets one twice, or one that is not of a segment that it is in.
//!
//! Nothing here reads a clock, sleeps, or touches a real disk.

pub mod chance;
pub mod disk;
pub mod federation;
pub mod hub;
pub mod mesh;
pub mod seeds;
pub mod views;
pub mod world;
