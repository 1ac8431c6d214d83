//! The door as clients see it: bytes in, bytes out.

mod blocking;
mod faults;
mod keys;
mod shapes;
mod streams;
mod support;
