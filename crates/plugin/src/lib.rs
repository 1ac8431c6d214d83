//! A reaction's code, outside the process, with a deadline.
