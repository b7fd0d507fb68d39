//! Routes: which request gets which answer.

pub mod access_log;
