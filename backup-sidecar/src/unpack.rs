//! This room writes an archive's files below a directory, proved before anybody may use them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use daemon_kit::publish;

use crate::archive::{self, Sink};
use crate::manifest::{FileEntry, Manifest};
use crate::room;
use crate::seal::Identities;
use crate::verify::{self, NotProved};
use crate::watch::Watch;

/// Space that stays free beside a restore: in need, the owner's own reserve must not stand in its way.
pub const SPARE_BYTES: u64 = 16 << 20;

/// So many databases are examined beside the unpacking.
const CHECKS_AT_ONCE: usize = 2;

/// How often the examination of a large database is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How to unpack.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Write what lies in `data/` only; the rest is proved all the same.
    pub data_only: bool,
    /// Permission bits of files, less the umask; directories get what fits.
    pub mode: u32,
    /// So many bytes stay free.
    pub spare_bytes: u64,
}

/// Unpacks `archive` below the new directory `root` (which gets `data/`, …), proves every hash and every database, and
/// syncs it all. On failure `root` may be left incomplete; its caller removes it.
///
/// # Errors
/// With the first thing that is wrong.
pub fn unpack(
    archive: &Path,
    root: &Path,
    manner: Manner,
    keys: Option<&Identities>,
    watch: &Watch,
) -> anyhow::Result<Manifest> {
    make_dir(root, manner.mode)?;
    let mut sink = Unpack {
        root: root.to_owned(),
        manner,
        manifest: None,
        checks: Vec::new(),
    };
    let manifest = archive::read(archive, keys, watch, &mut sink)?;
    for check in sink.checks {
        while !check.is_finished() {
            watch.advance(0)?;
            thread::sleep(LOOK_EVERY);
        }
        finish(check)?;
    }
    sync_tree(root)?;
    Ok(manifest)
}

struct Unpack {
    root: PathBuf,
    manner: Manner,
    manifest: Option<Manifest>,
    checks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Unpack {
    fn is_wanted(&self, entry: &FileEntry) -> bool {
        !self.manner.data_only || entry.path.starts_with("data/")
    }
}

impl Sink for Unpack {
    fn lasts(&self) -> bool {
        true
    }

    fn begin(&mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let wanted = manifest.files.iter().filter(|entry| self.is_wanted(entry));
        let need = wanted.fold(self.manner.spare_bytes, |sum, entry| {
            sum.saturating_add(entry.size)
        });
        let free = room::free_bytes(&self.root)?;
        if free < need {
            let why = anyhow!("{} MB are free, {} MB are needed", free >> 20, need >> 20);
            return Err(why.context(NotProved));
        }
        self.manifest = Some(manifest.clone());
        Ok(())
    }

    fn open(&mut self, entry: &FileEntry) -> anyhow::Result<Option<File>> {
        if !self.is_wanted(entry) {
            return Ok(None);
        }
        let path = self.root.join(&entry.path);
        if let Some(parent) = path.parent() {
            make_dir(parent, self.manner.mode)?;
        }
        // `create_new` follows no link and overwrites nothing, whatever stands there.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.manner.mode)
            .open(&path);
        Ok(Some(file.with_context(|| {
            format!("cannot create {}", path.display())
        })?))
    }

    fn close(&mut self, entry: &FileEntry, file: Option<File>) -> anyhow::Result<()> {
        let Some(file) = file else { return Ok(()) };
        let promised = self
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.database(&entry.path))
            .cloned();
        if let Some(promised) = promised {
            if self.checks.len() >= CHECKS_AT_ONCE {
                finish(self.checks.remove(0))?;
            }
            let path = self.root.join(&entry.path);
            // The look at every page runs beside the sync and the next file.
            self.checks
                .push(thread::spawn(move || verify::compare(&path, &promised)));
        }
        file.sync_all()
            .with_context(|| format!("cannot sync {}", entry.path))
    }
}

fn finish(check: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    check
        .join()
        .map_err(|_| anyhow!("the examination of a database panicked"))?
}

fn make_dir(path: &Path, file_mode: u32) -> anyhow::Result<()> {
    // Who may read a file may enter its directory.
    let mode = file_mode | ((file_mode & 0o444) >> 2);
    let result = DirBuilder::new().recursive(true).mode(mode).create(path);
    result.with_context(|| format!("cannot create {}", path.display()))
}

fn sync_tree(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    publish::sync_dir(dir).with_context(|| format!("cannot sync {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Writer;

    #[test]
    fn a_database_that_is_not_what_its_manifest_counts_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("sessions.db");
        let connection = rusqlite::Connection::open(&database).unwrap();
        let three = "CREATE TABLE messages (n); INSERT INTO messages VALUES (1), (2), (3)";
        connection.execute_batch(three).unwrap();
        connection.close().unwrap();
        let (path, watch) = (dir.path().join("archive"), Watch::command());
        let manner = Manner {
            data_only: true,
            mode: 0o600,
            spare_bytes: SPARE_BYTES,
        };
        for (counted, is_right) in [(3, true), (4, false)] {
            let mut file = File::create(&path).unwrap();
            let mut writer = Writer::begin(&mut file, 100_000, 3).unwrap();
            let mut source = File::open(&database).unwrap();
            writer.add("data/sessions.db", &mut source, &watch).unwrap();
            let pending = writer.finish_files().unwrap();
            let mut manifest = crate::manifest::tests::sample();
            let mut entry = verify::examine(&database, "data/sessions.db").unwrap();
            entry.tables.insert("messages".to_owned(), counted);
            manifest.databases = vec![entry];
            manifest.files.clone_from(&pending.files);
            pending.finish(&manifest).unwrap();
            let root = dir.path().join(counted.to_string());
            let unpacked = unpack(&path, &root, manner, None, &watch);
            assert_eq!(unpacked.is_ok(), is_right, "{unpacked:?}");
        }
    }
}
