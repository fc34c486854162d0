//! Keeps a resident from holding on to memory that it needs once a day.
//!
//! glibc's allocator serves large buffers from the heap as soon as one was freed, in one heap for each thread, and gives
//! little of that back: after a backup that took 26 MiB a sidecar stayed at 25 MiB for ever, with these settings at 1.
//! They are read from the environment, and only when a program begins.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// One heap for all threads; buffers of 128 KiB or more are the system's, and go back to it; so does the heap's end.
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// Begins the program anew, in the same process, with an allocator that gives back what was freed. Returns where that is
/// so already, where the owner set any of it, and where it cannot be: then it works all the same, and keeps more.
#[expect(
    clippy::disallowed_methods,
    reason = "the allocator's own words are no settings of ours"
)]
pub(super) fn begin() {
    if SETTINGS.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut anew = Command::new(program);
    anew.args(env::args_os().skip(1)).envs(SETTINGS);
    // It returns only when it failed, and nothing has begun yet that could tell of it.
    drop(anew.exec());
}
