//! The packages, from their making to their purge, under real systemds.
//!
//! They are made first, from the sources as they are: the program is built once more, optimized, for that. The second
//! version that upgrades need has another build of the program in it, the tests' own.

#[path = "../support/mod.rs"]
mod support;

mod built;
mod checks;
mod deb;
mod document;
mod installed;
mod recipes;
mod rpm;
