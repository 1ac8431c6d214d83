//! The DNS door: services and nodes of the catalogue by name, over UDP and TCP.
