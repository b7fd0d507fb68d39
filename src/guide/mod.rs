//! Pages to read: [how handover works](handover), what it guarantees and where it ends; and [how to get here](migration)
//! from axum's own server, from listenfd and sd-notify, from Go's endless and tableflip, and from nginx.

#[doc = include_str!("handover.md")]
pub mod handover {}

#[doc = include_str!("migration.md")]
pub mod migration {}
