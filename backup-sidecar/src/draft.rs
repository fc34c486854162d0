//! This room takes an archive from its first byte to its name: written, verified, sealed if wanted, published.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use daemon_kit::publish::{self, Partial};
use jiff::Timestamp;

use crate::archive::{self, Writer};
use crate::catalog::{self, ArchiveName};
use crate::collect::Collection;
use crate::config::Config;
use crate::manifest::{DatabaseEntry, Manifest};
use crate::snapshot::Copy;
use crate::watch::Watch;
use crate::{lock, seal, verify};

mod files;

use files::Files;

/// Permission bits of archives, less the umask: the owner's share account may read them.
const MODE: u32 = 0o666;

/// How often the examination of a large database is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// An archive that nobody has checked yet.
pub struct Draft {
    partial: Partial,
    manifest: Manifest,
}

/// An archive whose every byte was read back and found right.
pub struct Proved {
    partial: Partial,
    manifest: Manifest,
}

/// An archive that lacks its name alone.
pub struct Ready {
    partial: Partial,
    manifest: Manifest,
    sha256: String,
    bytes: u64,
    is_sealed: bool,
}

/// An archive with its name.
pub struct Archive {
    /// Its name.
    pub name: ArchiveName,
    /// Its path.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// The hash of the file as it lies there.
    pub sha256: String,
    /// Its bytes on disk.
    pub bytes: u64,
}

/// Writes everything that was found into an unfinished archive; meanwhile every database copy is examined.
///
/// # Errors
/// When something cannot be read or written.
pub fn write(
    config: &Config,
    found: &Collection,
    copies: &[Copy],
    head: &Manifest,
    watch: &Watch,
) -> anyhow::Result<Draft> {
    let mut manifest = head.clone();
    manifest.notes.clone_from(&found.notes);
    let mut partial = Partial::create(
        &config.backup_dir.join(format!("{}archive", lock::SCRATCH)),
        MODE,
    )?;
    let bound = manifest_bound(found, copies);
    thread::scope(|scope| {
        let examined = scope.spawn(|| examine(found, copies));
        let written = write_files(
            config,
            found,
            copies,
            (&mut partial, bound),
            &mut manifest,
            watch,
        );
        while written.is_ok() && !examined.is_finished() {
            watch.advance(0)?;
            thread::sleep(LOOK_EVERY);
        }
        let examined = examined
            .join()
            .map_err(|_| anyhow!("the examination of a database panicked"))?;
        let pending = written?;
        let (databases, unchecked) = examined?;
        manifest.databases = databases;
        manifest.notes.extend(unchecked);
        manifest.files.clone_from(&pending.files);
        pending.finish(&manifest)
    })?;
    Ok(Draft { partial, manifest })
}

fn write_files<'a>(
    config: &Config,
    found: &Collection,
    copies: &[Copy],
    (partial, bound): (&'a mut Partial, usize),
    manifest: &mut Manifest,
    watch: &Watch,
) -> anyhow::Result<archive::Pending<'a>> {
    let sizes = copies
        .iter()
        .map(|copy| fs::metadata(copy.file()).map_or(0, |facts| facts.len()));
    watch.stage("archive", sizes.sum());
    let mut writer = Writer::begin(partial.file(), bound, config.level)?;
    for (database, copy) in found.databases.iter().zip(copies) {
        let mut file = open(copy.file())?;
        writer.add(&database.path, &mut file, watch)?;
    }
    let mut files = Files::new(writer, watch);
    for file in &found.files {
        files.take(file)?;
    }
    files.look_again(&config.sources, found.files.len())?;
    let (writer, notes) = files.end();
    manifest.notes.extend(notes);
    writer.finish_files()
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn examine(
    found: &Collection,
    copies: &[Copy],
) -> anyhow::Result<(Vec<DatabaseEntry>, Vec<String>)> {
    let mut notes = Vec::new();
    let pairs = found.databases.iter().zip(copies);
    let entries = pairs.map(|(database, copy)| {
        let (mut entry, unchecked) = verify::look(copy.file(), &database.path)?;
        notes.extend(unchecked);
        if let Some(damage) = &copy.damage {
            entry.integrity.clone_from(damage);
        }
        Ok(entry)
    });
    let entries = entries.collect::<anyhow::Result<_>>()?;
    Ok((entries, notes))
}

fn manifest_bound(found: &Collection, copies: &[Copy]) -> usize {
    let all = || found.databases.iter().chain(&found.files);
    let path_bytes = all().map(|found| found.path.len()).sum();
    let notes: usize = found.notes.iter().map(|note| note.len() * 6 + 8).sum();
    let schema = copies
        .iter()
        .map(|copy| verify::schema_bytes(copy.file()))
        .sum();
    archive::manifest_bound(all().count(), path_bytes, copies.len(), schema)
        + notes
        // What could not be checked in each database.
        + copies.len() * 2_048
        + found.databases.iter().map(|found| found.path.len() * 6).sum::<usize>()
        + files::NEWCOMERS * files::NEWCOMER_BYTES
        + found.files.len() * 64
}

impl Draft {
    /// Syncs the archive, then reads it back and compares every hash. The databases in it were examined as the very
    /// bytes that were hashed.
    ///
    /// # Errors
    /// When anything differs.
    pub fn verify(mut self, watch: &Watch) -> anyhow::Result<Proved> {
        self.partial.file().sync_all()?;
        let read = verify::hashes(self.partial.path(), watch)?;
        ensure!(
            read == self.manifest,
            "the archive's manifest is not the one that was written"
        );
        Ok(Proved {
            partial: self.partial,
            manifest: self.manifest,
        })
    }
}

impl Proved {
    /// Encrypts the archive when the owner wants it so; the plain one goes.
    ///
    /// # Errors
    /// When sealing fails, or the sealed bytes on disk are not those that were written.
    pub fn seal(self, config: &Config, watch: &Watch) -> anyhow::Result<Ready> {
        if config.recipients.is_empty() {
            let sha256 = archive::hash_file(self.partial.path(), watch)?;
            let bytes = fs::metadata(self.partial.path())?.len();
            return Ok(Ready {
                partial: self.partial,
                manifest: self.manifest,
                sha256,
                bytes,
                is_sealed: false,
            });
        }
        let target = config.backup_dir.join(format!("{}sealed", lock::SCRATCH));
        let mut sealed = Partial::create(&target, MODE)?;
        let (sha256, bytes) = seal::seal(
            self.partial.path(),
            sealed.file(),
            &config.recipients,
            watch,
        )?;
        sealed.file().sync_all()?;
        let on_disk = archive::hash_file(sealed.path(), watch)?;
        ensure!(
            on_disk == sha256,
            "the sealed archive on disk is not what was written"
        );
        Ok(Ready {
            partial: sealed,
            manifest: self.manifest,
            sha256,
            bytes,
            is_sealed: true,
        })
    }
}

impl Ready {
    /// Gives the archive its name.
    ///
    /// # Errors
    /// When the rename or a sync fails.
    pub fn publish(self, config: &Config) -> anyhow::Result<Archive> {
        let taken: Timestamp = self.manifest.created_utc;
        let is_damaged = !self.manifest.is_sound();
        let (name, path) = catalog::free_name(
            &config.backup_dir,
            taken,
            &config.zone,
            is_damaged,
            self.is_sealed,
        );
        publish::rename(self.partial.path(), &path)
            .with_context(|| format!("cannot name {}", path.display()))?;
        Ok(Archive {
            name,
            path,
            manifest: self.manifest,
            sha256: self.sha256,
            bytes: self.bytes,
        })
    }
}
