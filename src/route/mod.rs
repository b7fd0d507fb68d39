//! Routes: which request gets which answer.
