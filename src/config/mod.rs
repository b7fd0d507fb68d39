//! The configuration: TOML files in, settings that can be acted on out.

pub mod quantity;
pub mod settings;
