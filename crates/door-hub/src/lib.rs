//! The hub door: messengers, repeaters and hubs of the central event system over WebSockets.
