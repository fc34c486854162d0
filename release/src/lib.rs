//! Renders the single-file compose projects and makes the downloads of each NAS.
//!
//! The straight line: base + override → one file → install and update archives → images → checksums.
//! Everything that decides is a function of texts; only [`bundle`] and [`binaries`] touch the disk.

pub mod binaries;
pub mod bundle;
mod compose;
mod emit;
mod guide;
pub mod image;
mod install;
mod meanings;
pub mod nas;
pub mod render;
mod zip;
