//! What the three programs of kotonoha must agree on to the byte.
//!
//! ```text
//! main → Env → Config → logging → check → run → drain → exit code
//! ```
//!
//! Admission rule: a room is here only if all residents use it and it knows no domain noun (no Discord, no database,
//! no archive). It re-exports nothing of others, and it stays small.

pub mod backoff;
pub mod boot;
pub mod doctor;
pub mod env;
pub mod heartbeat;
pub mod lock;
pub mod logging;
pub mod nas;
pub mod publish;
pub mod segments;
pub mod shutdown;
pub mod text;
pub mod time;

pub use boot::{Hold, House, Identity, KitSettings, Place, Resident};
pub use doctor::{Finding, Severity};
pub use env::Env;
pub use heartbeat::Heartbeat;
pub use logging::{LogHandle, LogSettings};
pub use shutdown::Shutdown;
pub use text::{Language, Text};
