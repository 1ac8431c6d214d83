//! Bytes between nodes: signed HTTP push and receive, one event at a time or many.
