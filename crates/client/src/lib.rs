//! The Rust client for services.
