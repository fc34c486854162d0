//! The stand-in world: a Discord, language models and listeners that live in this process, and a `House` in which the three
//! real programs run.
//!
//! A test is a short story: `World::start`, `House::new`, start the bot, say something, expect the answer, `finish`. The world
//! refuses what the real ones refuse, and `finish` fails on every outgoing message that the story did not expect.
#![expect(
    clippy::expect_used,
    reason = "a broken stand-in must stop the test that uses it, loudly"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "every wait of the world panics when its bound is passed: that is its purpose"
)]
#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a story says what happens; it does not always look at what came back"
)]

pub mod archives;
pub mod bench;
pub mod browser;
pub mod chaos;
pub mod disk;
pub mod engine;
pub mod house;
pub mod inject;
pub mod receivers;
pub mod s3;
pub mod stack;
pub mod tls;
pub mod world;

pub use house::{Finished, House, Running};
pub use world::World;

use std::time::Duration;

/// How long a test waits for anything before it fails: generous, because machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Says that something was not tested and why. Past the capture of the test runner, so that it is seen when all is green.
pub fn skipped(what: &str) {
    use std::io::Write;

    writeln!(std::io::stderr().lock(), "SKIPPED: {what}").ok();
}
