//! Every test that drives the real programs against the stand-in world, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests: at once"
)]

mod nas_compose;
mod nas_files;
mod tidy;
mod world;
