//! What is true now: the latest fact of each key at an exact position, and what changed since any other.
