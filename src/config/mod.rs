//! The configuration: TOML files in, settings that can be acted on out.

pub mod settings;
