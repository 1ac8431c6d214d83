//! The Consul door: catalogue, health, keys and sessions over HTTP with blocking queries, and subscriptions over gRPC.
