//! Bytes to frames, events and changes of subscriptions, and back. Pure: no socket, no clock.
