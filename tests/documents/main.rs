//! What packages install for people to read: man pages, the configuration reference, completions, the message catalog,
//! examples.
//!
//! Most of it is made from the code and lies in packaging/ ready to be installed; these tests say when it is out of date.
//! `OUTLIVE_WRITE_DOCUMENTS=1 cargo test --test documents` brings it up to date.

mod catalog;
mod committed;
mod completions;
mod examples;
mod man;
mod reference;
mod roff;
