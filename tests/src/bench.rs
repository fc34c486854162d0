//! Figures: measured in one run beside their peers, shown with their spread, never a ratio of single runs.
//!
//! Absolute times say little on a shared machine. What is compared ran in the same minutes on the same data, in turns.

pub mod backup;
pub mod bot;
pub mod containers;
pub mod growth;
pub mod logs;
mod peer;
mod process;
pub mod soak;
mod table;

pub use process::{Cost, cpu_ms, descendants_cpu_ms, exact_cpu_ms, memory_kib, run, run_launch};
pub use table::{Band, Row, Sample, Table};
