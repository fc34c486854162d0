//! This room lets one job at a time touch the archives, across processes, and clears what killed jobs left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use daemon_kit::lock::DirLock;
use daemon_kit::publish::{self, PARTIAL};

use crate::catalog::ArchiveName;

/// The lock of one job, in the directory of the archives.
pub const FILE: &str = ".sidecar.lock";

/// How temporary files of a job begin.
pub const SCRATCH: &str = ".scratch-";

/// Another job holds the lock: no fault, only a matter of time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("another job is at work; try again later")]
pub struct Busy;

/// The right to touch the archives, until dropped.
pub struct JobLock(#[expect(dead_code, reason = "held, never read")] DirLock);

/// Takes the lock, waiting at most `patience`, and clears what a killed job left. `None`: another job works.
///
/// # Errors
/// When the directory cannot be used.
pub fn take(dir: &Path, patience: Duration) -> anyhow::Result<Option<JobLock>> {
    let path = dir.join(FILE);
    let lock = DirLock::wait(&path, patience)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    let Some(lock) = lock else { return Ok(None) };
    clear(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    Ok(Some(JobLock(lock)))
}

fn clear(dir: &Path) -> std::io::Result<()> {
    let is_archive =
        |stem: &str| stem.parse::<ArchiveName>().is_ok() || stem == crate::catalog::FILE;
    publish::clear_partials(dir, is_archive)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_scratch = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(SCRATCH) && name.contains(PARTIAL));
        if !is_scratch {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_at_a_time_and_nothing_left_of_killed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let ours = [
            "backup_20261128_020000.tar.zst.partial",
            ".scratch-1.db.partial",
            ".scratch-1.db.partial-wal",
            "catalog.json.partial",
        ];
        let theirs = [
            "holiday.mp4.partial",
            "backup_20261128_020000.tar.zst",
            ".scratch-notes.txt",
        ];
        for name in ours.iter().chain(&theirs) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join(".scratch-drill.partial")).unwrap();
        fs::write(dir.path().join(".scratch-drill.partial/x"), "x").unwrap();
        let lock = take(dir.path(), Duration::ZERO).unwrap();
        assert!(lock.is_some());
        assert!(take(dir.path(), Duration::ZERO).unwrap().is_none());
        for name in ours {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        assert!(!dir.path().join(".scratch-drill.partial").exists());
        for name in theirs {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        drop(lock);
        assert!(take(dir.path(), Duration::ZERO).unwrap().is_some());
    }
}
