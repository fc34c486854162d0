//! The backup sidecar: tick → lock → snapshot → archive → verify → publish → retain → report.
//!
//! It copies every SQLite database below `data/` while it is written, and whatever else lies there, into archives that
//! have been seen to restore. `job.rs` is the straight line; `schedule.rs`, `retention.rs` and `freeze.rs` decide and
//! touch nothing; `catalog.rs` alone knows file names; `snapshot.rs` and `verify.rs` alone name SQLite.

pub mod accept;
pub mod advice;
pub mod archive;
pub mod catalog;
pub mod cli;
pub mod collect;
pub mod config;
pub mod draft;
pub mod drill;
pub mod extract;
pub mod facts;
pub mod find;
pub mod forgotten;
pub mod freeze;
pub mod job;
pub mod lock;
pub mod manifest;
pub mod offsite;
pub mod prune;
pub mod report;
pub mod requests;
pub mod resident;
pub mod restore;
pub mod retention;
pub mod room;
pub mod schedule;
pub mod seal;
pub mod snapshot;
pub mod table;
pub mod unpack;
pub mod verify;
pub mod watch;
pub mod web;
