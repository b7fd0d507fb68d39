//! What passes between this process and systemd.
//!
//! In come the listening sockets ([`activation`]), the watchdog's interval ([`watchdog`]) and, asked for, the time that
//! the unit leaves for stopping ([`mod@unit`]). Out go the notifications: ready, status, watchdog, stopping ([`notify`]).
//! Nothing here knows HTTP.

pub mod activation;
pub mod notify;
pub mod unit;
pub mod watchdog;
