//! This room holds a directory for one process, by `flock` on a file in it.
//!
//! Never a pid file: every container's first process may have the same low pid.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often a waiting process looks whether the lock has become free.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An exclusive lock, held until it is dropped or its process ends in any way.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock file at `path` (created with mode 0600 when missing); `None` when another process has it.
    ///
    /// # Errors
    /// When the file cannot be opened or the file system knows no locks.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock, waiting at most `patience`; `None` when it was still taken then.
    ///
    /// # Errors
    /// As [`DirLock::try_take`].
    pub fn wait(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The locked file, in which its holder may remember a few bytes.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".bot.lock");
        let first = DirLock::try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(DirLock::try_take(&path).unwrap().is_none());
        assert!(
            DirLock::wait(&path, Duration::from_millis(1))
                .unwrap()
                .is_none()
        );
        drop(first);
        assert!(DirLock::try_take(&path).unwrap().is_some());
    }
}
