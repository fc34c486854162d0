//! This room makes a restore one step: a journal says what is to be done before anything is done, and whoever finds it
//! finishes it. At every instant each database is whole, the old one or the new one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use daemon_kit::publish;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PRIVATE, bot_lock, clear_stage, merge_forgotten, stamp};
use crate::catalog::ArchiveName;
use crate::config::Config;
use crate::forgotten;
use crate::manifest::Manifest;
use crate::snapshot::side_file;

/// While this file lies in `data/`, a restore is under way: the bot must not start on it.
pub(super) const JOURNAL: &str = ".restore-journal.json";

/// Tells the bot that the store was restored, from when, and when: nothing that was answered since may be answered
/// again. The bot removes it.
pub const RESTORED: &str = ".restored";

/// Endings of SQLite's side files that may hold words.
const SIDE_FILES: [&str; 2] = ["-wal", "-journal"];

/// What is to be done; paths are relative to `data/`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Journal {
    archive: String,
    #[serde(with = "crate::manifest::instant")]
    snapshot_utc: Timestamp,
    #[serde(with = "crate::manifest::instant")]
    restored_utc: Timestamp,
    stage: String,
    /// Files to put in place: from the stage, and where the old one goes when there is one.
    puts: Vec<Put>,
    /// Databases that the archive does not have: they go aside as well.
    leaves: Vec<Move>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Put {
    path: String,
    aside: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Move {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Marker<'a> {
    archive: &'a str,
    snapshot_utc: String,
    restored_utc: String,
}

impl Journal {
    /// Plans the step: every staged file, and what stands in its way.
    ///
    /// # Errors
    /// When the data cannot be looked at.
    pub fn plan(
        config: &Config,
        name: &ArchiveName,
        manifest: &Manifest,
        stage: &Path,
        databases: &[PathBuf],
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let data = &config.sources.data;
        let mut aside_names = AsideNames {
            data,
            stamp: stamp(now),
        };
        let relative = manifest
            .files
            .iter()
            .filter_map(|file| file.path.strip_prefix("data/"));
        let puts = relative
            .map(|path| {
                let stands = stands(&data.join(path))?;
                let aside = stands.then(|| aside_names.of(path)).transpose()?;
                let path = path.to_owned();
                Ok(Put { path, aside })
            })
            .collect::<io::Result<Vec<Put>>>()?;
        let others = databases
            .iter()
            .filter_map(|database| database.strip_prefix(data).ok()?.to_str())
            .filter(|path| puts.iter().all(|put| put.path != *path));
        let leaves = others
            .map(|path| {
                let (from, to) = (path.to_owned(), aside_names.of(path)?);
                Ok(Move { from, to })
            })
            .collect::<io::Result<Vec<Move>>>()?;
        let stage = stage
            .file_name()
            .and_then(|stage| stage.to_str())
            .context("the stage has no name")?;
        Ok(Self {
            archive: name.to_string(),
            snapshot_utc: manifest.created_utc,
            restored_utc: now,
            stage: stage.to_owned(),
            puts,
            leaves,
        })
    }

    /// Writes the journal: from here on the restore will be completed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self, data: &Path) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        publish::write(&data.join(JOURNAL), &bytes, PRIVATE)
            .context("cannot write the journal of the restore")
    }

    /// Old files and where they are now, side files among them; only what is there.
    #[must_use]
    pub fn set_aside(&self, data: &Path) -> Vec<(String, String)> {
        let endings = ["", SIDE_FILES[0], SIDE_FILES[1]];
        let names = self.names().into_iter().flat_map(|(old, aside)| {
            endings.map(|ending| (format!("{old}{ending}"), format!("{aside}{ending}")))
        });
        names
            .filter(|(_, aside)| exists(&data.join(aside)).unwrap_or(true))
            .collect()
    }

    /// Whatever may stand in the way, and the name that is planned for it.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let puts = self
            .puts
            .iter()
            .filter_map(|put| Some((put.path.clone(), put.aside.clone()?)));
        let leaves = self
            .leaves
            .iter()
            .map(|leave| (leave.from.clone(), leave.to.clone()));
        puts.chain(leaves).collect()
    }

    /// Does what is still to be done; doing it twice is doing it once.
    ///
    /// # Errors
    /// When the disk refuses; the journal stays, and the next try goes on.
    pub fn carry_out(&self, config: &Config) -> anyhow::Result<()> {
        let data = &config.sources.data;
        let stage = data.join(&self.stage);
        for Move { from, to } in &self.leaves {
            let (from, to) = (data.join(from), data.join(to));
            side_files_aside(&from, &to)?;
            if exists(&from)? && !exists(&to)? {
                touch(&from);
                publish::rename(&from, &to)
                    .with_context(|| format!("cannot set {} aside", from.display()))?;
            }
        }
        for put in &self.puts {
            Self::put(put, data, &stage)
                .with_context(|| format!("cannot put {} in place", put.path))?;
        }
        let asides: Vec<PathBuf> = self
            .puts
            .iter()
            .filter(|put| put.path == forgotten::FILE)
            .filter_map(|put| put.aside.as_ref().map(|aside| data.join(aside)))
            .collect();
        merge_forgotten(config, &asides)?;
        let marker = Marker {
            archive: &self.archive,
            snapshot_utc: self.snapshot_utc.to_string(),
            restored_utc: self.restored_utc.to_string(),
        };
        publish::write(&data.join(RESTORED), &serde_json::to_vec(&marker)?, PRIVATE)?;
        publish::remove(&data.join(JOURNAL)).context("cannot remove the journal of the restore")?;
        clear_stage(data)
    }

    fn put(put: &Put, data: &Path, stage: &Path) -> anyhow::Result<()> {
        let staged = stage.join("data").join(&put.path);
        if !exists(&staged)? {
            return Ok(()); // It was put in place before the interruption.
        }
        let target = data.join(&put.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if let Some(aside) = &put.aside {
            let aside = data.join(aside);
            side_files_aside(&target, &aside)?;
            if exists(&target)? && !exists(&aside)? {
                touch(&target);
                keep_under_second_name(&target, &aside)?;
            }
        }
        // The old file has its second name: this is the instant at which the new one takes its place.
        rustix::fs::rename(&staged, &target)?;
        publish::sync_dir(target.parent().unwrap_or(data))?;
        Ok(())
    }
}

/// Names for files set aside that are free.
struct AsideNames<'a> {
    data: &'a Path,
    stamp: String,
}

impl AsideNames<'_> {
    fn of(&mut self, path: &str) -> io::Result<String> {
        let first = format!("{path}.before-restore-{}", self.stamp);
        let mut name = first.clone();
        for count in 2.. {
            if !exists(&self.data.join(&name))? {
                break;
            }
            name = format!("{first}-{count}");
        }
        Ok(name)
    }
}

/// Whether something is there. A disk that cannot tell is an error: taken for "no", it would leave the old database in
/// its place, or its log beside the new one, and call that a restore.
fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether anything of a file is there. A database that was deleted by hand may have left its WAL, and SQLite would
/// replay that into the restored one.
fn stands(path: &Path) -> io::Result<bool> {
    for ending in ["", "-shm"].into_iter().chain(SIDE_FILES) {
        if exists(&side_file(path, ending))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Set-aside copies go after 30 days: their age counts from now, not from the last word said.
fn touch(path: &Path) {
    let now = std::time::SystemTime::now();
    File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(now))
        .ok();
}

/// A side file that is left belongs to the old database alone; a new one beside it would be destroyed by it.
fn side_files_aside(database: &Path, aside: &Path) -> io::Result<()> {
    // Only an index into the WAL, made anew by whoever opens it.
    let index = side_file(database, "-shm");
    if exists(&index)? {
        publish::remove(&index)?;
    }
    for ending in SIDE_FILES {
        let side = side_file(database, ending);
        let stands = exists(&side)?;
        if stands && !exists(&side_file(aside, ending))? {
            publish::rename(&side, &side_file(aside, ending))?;
        } else if stands {
            publish::remove(&side)?;
        }
    }
    Ok(())
}

fn keep_under_second_name(target: &Path, aside: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("."));
    if fs::hard_link(target, aside).is_ok() {
        return publish::sync_dir(parent);
    }
    // A file system without hard links: a whole copy, so that the target is never missing.
    let mut copy = publish::Partial::create(aside, PRIVATE)?;
    io::copy(&mut File::open(target)?, copy.file())?;
    copy.publish()
}

/// Whether a restore was interrupted.
#[must_use]
pub fn is_pending(data: &Path) -> bool {
    // Whoever reads the journal next finds out what a disk that cannot tell has to say.
    exists(&data.join(JOURNAL)).unwrap_or(true)
}

/// Finishes an interrupted restore, if there is one, and tells which archive it was.
///
/// # Errors
/// When the bot runs on the data, or the disk refuses.
pub fn recover(config: &Config) -> anyhow::Result<Option<String>> {
    if !is_pending(&config.sources.data) {
        return Ok(None);
    }
    let _bot = bot_lock(&config.sources.data)?;
    recover_locked(config)
}

pub(super) fn recover_locked(config: &Config) -> anyhow::Result<Option<String>> {
    let data = &config.sources.data;
    let bytes = match fs::read(data.join(JOURNAL)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot read the journal of the restore"),
    };
    let journal: Journal =
        serde_json::from_slice(&bytes).context("the journal of the restore is not readable")?;
    journal.carry_out(config)?;
    Ok(Some(journal.archive))
}
