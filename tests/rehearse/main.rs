//! `outlive rehearse` must be honest: each way to fail is reported as what it is, as often as it happened, and nothing else.

mod faults;
mod honest;
mod http2;
mod misdeeds;
mod peers;
mod ports;
mod rehearsal;
mod report;
mod usage;
mod websocket;
