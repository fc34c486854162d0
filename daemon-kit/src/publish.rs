//! This room makes files visible: `.partial` → fsync → rename → fsync of the directory.
//!
//! A name is complete, or it ends in `.partial`; readers ignore those, and their only writer clears them at start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// What every unfinished name ends in.
pub const PARTIAL: &str = ".partial";

/// A file that is being written under `<final name>.partial`; dropped unpublished, it is removed.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Partial {
    /// Begins a file that will be `target`, with permission bits `mode` (less the umask). A stale `.partial` of the
    /// same name is overwritten.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(target: &Path, mode: u32) -> io::Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(PARTIAL);
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            published: false,
        })
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where the unfinished file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, which must be free.
    ///
    /// # Errors
    /// When a sync fails (the file is then not published), or with `AlreadyExists` when the name is taken.
    pub fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_into_free_name(&self.path, &self.target)?;
        self.published = true;
        sync_parent(&self.target)
    }

    /// Gives the file its name, taking the place of an older file.
    ///
    /// # Errors
    /// When a sync or the rename fails; the older file then stands as it was.
    pub fn replace(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_over(&self.path, &self.target)?;
        self.published = true;
        sync_parent(&self.target)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is cleared at the next start.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Writes a whole state file, replacing the older one, which stays whole until the new one is.
///
/// # Errors
/// When writing, syncing or renaming fails.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut partial = Partial::create(path, mode)?;
    partial.write_all(bytes)?;
    partial.replace()
}

/// Renames within one file system to a free name, and syncs the directories.
///
/// # Errors
/// With `AlreadyExists` when the name is taken.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_into_free_name(from, to)?;
    if from.parent() != to.parent() {
        sync_parent(from)?;
    }
    sync_parent(to)
}

/// Removes a file and syncs its directory, so that it does not come back after a power cut.
///
/// # Errors
/// When the file cannot be removed; a missing file is an error too.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_parent(path)
}

/// Syncs a directory: names made or taken away in it are durable afterwards.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network file systems cannot sync a directory and say so; there is nothing better to do there.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// Removes the `.partial` files of `dir` whose name before that ending `is_ours`, and tells how many.
///
/// # Errors
/// When the directory cannot be read or a file not removed.
pub fn clear_partials(dir: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut cleared = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(PARTIAL)) else {
            continue;
        };
        if is_ours(stem) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            cleared += 1;
        }
    }
    if cleared > 0 {
        sync_dir(dir)?;
    }
    Ok(cleared)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

fn rename_into_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Old kernels and some NAS file systems lack the flag: a hard link refuses a taken name as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_into_free_name(from, to),
        Err(error) => Err(error.into()),
    }
}

fn link_into_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // No hard links either: look first, then rename. The directory's lock keeps other writers of ours away.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => rename_over(from, to),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that renames")]
fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_visible_only_when_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.txt");
        let mut partial = Partial::create(&target, 0o644).unwrap();
        partial.write_all(b"whole").unwrap();
        assert!(!target.exists());
        partial.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert!(!dir.path().join("a.txt.partial").exists());
    }

    #[test]
    fn publishing_never_replaces_and_replacing_does() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.txt");
        write(&target, b"old", 0o600).unwrap();
        let mut partial = Partial::create(&target, 0o600).unwrap();
        partial.write_all(b"new").unwrap();
        let refused = partial.publish().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert!(
            !dir.path().join("a.txt.partial").exists(),
            "dropped, so removed"
        );
        write(&target, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_hard_link_refuses_a_taken_name_too() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, b"from").unwrap();
        fs::write(&to, b"to").unwrap();
        assert!(link_into_free_name(&from, &to).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"to");
        fs::remove_file(&to).unwrap();
        link_into_free_name(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"from");
        assert!(!from.exists());
    }

    #[test]
    fn only_our_partials_are_cleared() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ours.partial", "theirs.partial", "ours"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        assert_eq!(
            clear_partials(dir.path(), |name| name == "ours").unwrap(),
            1
        );
        assert!(!dir.path().join("ours.partial").exists());
        assert!(dir.path().join("theirs.partial").exists() && dir.path().join("ours").exists());
    }
}
