//! Links between hubs.
