//! What services there are: nodes, instances, checks, keys and sessions, folded from messages.
