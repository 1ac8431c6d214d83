//! journal-disk
