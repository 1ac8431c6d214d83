//! Bytes to operations and back. Pure.
