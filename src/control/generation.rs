//! The number of a process since the service was first started, kept in RuntimeDirectory=, which outlives a restart.

use crate::status::runtime_directory;

/// Where the number of the last process is noted.
const FILE: &str = "generation";

/// The number of the last process that was the service, if that was noted.
pub(super) fn last() -> Option<u64> {
    let text = runtime_directory().and_then(|folder| std::fs::read_to_string(folder.join(FILE)).ok());
    text.and_then(|text| text.trim().parse().ok())
}

pub(super) fn note(generation: u64) {
    if let Some(folder) = runtime_directory() {
        // A number for people: not worth failing for.
        let _ = std::fs::write(folder.join(FILE), format!("{generation}\n"));
    }
}
