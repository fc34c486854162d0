//! log-shipper: no line lost, none doubled, all of it searchable.
//!
//! ```text
//! wake → sweep → [segment → compress → verify → publish → delete] → forward → prune
//! ```
//!
//! `sweep.rs` is the straight line. A closed segment has one writer, which is done with it, so nothing here ever races
//! with a line being written; an event is only a hint to look, and the directory is the truth.

pub mod alerts;
pub mod checkpoint;
pub mod cli;
pub mod compress;
pub mod config;
pub mod follow;
pub mod forward;
pub mod frames;
pub mod ledger;
pub mod line;
pub mod prune;
pub mod redact;
pub mod resident;
pub mod search;
pub mod segment;
pub mod source;
pub mod stats;
pub mod status;
pub mod sweep;
pub mod tail;
pub mod wake;
