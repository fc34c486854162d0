//! daemon-kit.
