//! The configuration: what is read, merged and refused, and how that is said.

#[path = "config/broken.rs"]
mod broken;
#[path = "config/files.rs"]
mod files;
#[path = "config/fuzz.rs"]
mod fuzz;
#[path = "config/settings.rs"]
mod settings;
#[path = "config/shipped.rs"]
mod shipped;
