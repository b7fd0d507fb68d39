//! hold
fn main() {}
