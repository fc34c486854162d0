//! This room keeps copies in a second place. It is never a reason for a local backup to fail: what could not be copied
//! is copied next time.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use daemon_kit::publish::Partial;
use daemon_kit::time;
use serde::{Deserialize, Serialize};

use crate::catalog::{ArchiveName, Catalog};
use crate::config::{Config, Remote, Target};
use crate::retention::{self, Candidate, Policy, Verdict};
use crate::watch::Watch;
use crate::{prune, verify};

mod directory;
mod s3;

/// A place that keeps archives under their names.
pub trait Place {
    /// The archives there, with their sizes; foreign names are left out.
    ///
    /// # Errors
    /// When the place cannot be reached.
    fn list(&self) -> anyhow::Result<Vec<(ArchiveName, u64)>>;

    /// Stores a file; an unfinished one must never have the name.
    ///
    /// # Errors
    /// When it could not be stored whole.
    fn put(
        &self,
        name: &ArchiveName,
        file: &Path,
        unfinished: &mut Unfinished<'_>,
        watch: &Watch,
    ) -> anyhow::Result<()>;

    /// Writes what is stored under a name.
    ///
    /// # Errors
    /// When it could not be read whole.
    fn get(
        &self,
        name: &ArchiveName,
        into: &mut dyn std::io::Write,
        watch: &Watch,
    ) -> anyhow::Result<()>;

    /// Takes a name away.
    ///
    /// # Errors
    /// When that was not done.
    fn remove(&self, name: &ArchiveName) -> anyhow::Result<()>;

    /// Takes away what stands of an upload that nobody goes on with.
    ///
    /// # Errors
    /// When that was not done.
    fn give_up(&self, _: &ArchiveName, _: &Upload) -> anyhow::Result<()> {
        Ok(())
    }

    /// Uploads of archives that were begun more than a day ago and never ended, as far as the place can tell.
    ///
    /// # Errors
    /// When the place cannot be asked.
    fn orphans(&self) -> anyhow::Result<Vec<(ArchiveName, Upload)>> {
        Ok(Vec::new())
    }
}

/// An upload in parts that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// What the place calls it.
    pub id: String,
    /// Bytes of every part but the last.
    pub part_bytes: u64,
}

/// What is remembered of the upload of one archive between two runs.
pub struct Unfinished<'a> {
    catalog: &'a mut Catalog,
    dir: &'a Path,
    name: String,
}

impl Unfinished<'_> {
    /// The upload that was begun.
    #[must_use]
    pub fn upload(&self) -> Option<Upload> {
        self.catalog.uploads.get(&self.name).cloned()
    }

    /// Remembers one that begins, or that none is under way any more.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn remember(&mut self, upload: Option<Upload>) -> anyhow::Result<()> {
        match upload {
            Some(upload) => self.catalog.uploads.insert(self.name.clone(), upload),
            None => self.catalog.uploads.remove(&self.name),
        };
        self.catalog.save(self.dir)
    }
}

/// The owner's second place.
///
/// # Errors
/// When it cannot be used at all.
pub fn place(config: &Config, remote: &Remote) -> anyhow::Result<Box<dyn Place>> {
    Ok(match &remote.target {
        Target::Directory(path) => Box::new(directory::Directory::new(path)),
        Target::S3(s3) => Box::new(s3::Bucket::new(s3, config.extra_ca.as_deref())?),
    })
}

/// Copies every good archive that has no proved copy yet, then lets old copies go. Failures are told, not returned.
pub fn follow(config: &Config, catalog: &mut Catalog, watch: &Watch) {
    let Some(remote) = &config.remote else { return };
    match copy_all(config, remote, catalog, watch) {
        Ok(0) => {}
        Ok(copied) => tracing::info!(
            event = "offsite.done",
            copied,
            "archives copied off-site and read back"
        ),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(
                event = "offsite.failed",
                error,
                "archives could not be copied off-site; the next run tries again"
            );
        }
    }
}

/// Whether an archive waits to be copied.
#[must_use]
pub fn is_behind(config: &Config, catalog: &Catalog) -> bool {
    config.remote.is_some() && !waiting(catalog).is_empty()
}

fn waiting(catalog: &Catalog) -> Vec<ArchiveName> {
    let all = catalog.newest_first().into_iter();
    let waiting = all.filter(|(name, record)| {
        !name.damaged
            && record.bad.is_none()
            && record.verified.is_some()
            && record.offsite.is_none()
    });
    waiting.map(|(name, _)| name).collect()
}

fn copy_all(
    config: &Config,
    remote: &Remote,
    catalog: &mut Catalog,
    watch: &Watch,
) -> anyhow::Result<usize> {
    let place = place(config, remote)?;
    let there = place.list().context("cannot list the copies")?;
    let waiting = waiting(catalog);
    give_up_others(catalog, place.as_ref(), &waiting);
    catalog.save(&config.backup_dir)?;
    let mut copied = 0;
    for name in waiting {
        copy_one(config, catalog, place.as_ref(), (&name, &there), watch)?;
        copied += 1;
    }
    retain(config, remote, catalog, place.as_ref())?;
    Ok(copied)
}

/// One archive: stored unless it is there, and read back either way.
fn copy_one(
    config: &Config,
    catalog: &mut Catalog,
    place: &dyn Place,
    (name, there): (&ArchiveName, &[(ArchiveName, u64)]),
    watch: &Watch,
) -> anyhow::Result<()> {
    let path = config.backup_dir.join(name.to_string());
    let record = catalog.archives.get(&name.to_string());
    let (bytes, known) = record.map_or((0, None), |record| (record.bytes, record.sha256.clone()));
    let expected = match known {
        Some(sha256) => sha256,
        None => crate::archive::hash_file(&path, watch)?,
    };
    let is_there = there.contains(&(name.clone(), bytes));
    if !is_there || read_back(place, name, watch)? != expected {
        let mut unfinished = Unfinished {
            catalog,
            dir: &config.backup_dir,
            name: name.to_string(),
        };
        place
            .put(name, &path, &mut unfinished, watch)
            .with_context(|| format!("cannot copy {name}"))?;
        let found = read_back(place, name, watch)?;
        ensure!(found == expected, "the copy of {name} is not what was sent");
    }
    if let Some(record) = catalog.archives.get_mut(&name.to_string()) {
        record.sha256 = Some(expected);
        record.offsite = Some(time::now().to_string());
    }
    catalog.save(&config.backup_dir)
}

fn read_back(place: &dyn Place, name: &ArchiveName, watch: &Watch) -> anyhow::Result<String> {
    let mut hashed = crate::archive::HashingWriter::new(std::io::sink());
    place
        .get(name, &mut hashed, watch)
        .with_context(|| format!("cannot read {name} back"))?;
    Ok(hashed.finish().0)
}

/// Parts of archives that are not to be copied any more must not lie there, and cost money, for ever. What cannot be
/// taken away now is tried again next time.
fn give_up_others(catalog: &mut Catalog, place: &dyn Place, waiting: &[ArchiveName]) {
    let remembered: Vec<(ArchiveName, Upload)> = catalog
        .uploads
        .iter()
        .filter_map(|(name, upload)| Some((name.parse().ok()?, upload.clone())))
        .collect();
    let others = remembered
        .iter()
        .filter(|(name, _)| !waiting.contains(name));
    for (name, upload) in others {
        match place.give_up(name, upload) {
            Ok(()) => {
                catalog.uploads.remove(&name.to_string());
            }
            Err(error) => {
                tracing::warn!(event = "offsite.parts_left", archive = %name, error = %format!("{error:#}"), "parts of an upload that is not wanted any more could not be removed yet");
            }
        }
    }
    // Not every server can list them; those that can tell of parts whose memory was lost.
    for (name, upload) in place.orphans().unwrap_or_default() {
        let is_ours = remembered.iter().any(|(_, ours)| ours.id == upload.id);
        if !is_ours && place.give_up(&name, &upload).is_ok() {
            tracing::info!(event = "offsite.given_up", archive = %name, "parts of an upload that nobody remembers were removed");
        }
    }
}

/// Copies go by their own days, under the rules of the archives here: the newest and the floor stay, and everything
/// while deletion is frozen.
fn retain(
    config: &Config,
    remote: &Remote,
    catalog: &Catalog,
    place: &dyn Place,
) -> anyhow::Result<()> {
    let there: Vec<ArchiveName> = place.list()?.into_iter().map(|(name, _)| name).collect();
    let copies: Vec<Candidate> = there
        .iter()
        .map(|name| Candidate {
            name: name.to_string(),
            taken: name.taken(&config.zone),
            good: !name.damaged,
        })
        .collect();
    let policy = Policy {
        days: remote.retention_days,
        last: config.policy.last.max(1),
        daily: 0,
        weekly: 0,
        monthly: 0,
        yearly: 0,
    };
    let is_frozen = catalog.freeze().is_some();
    let verdicts = retention::plan(&copies, &policy, &config.zone, time::now(), is_frozen);
    let old = there.iter().filter(|name| {
        let judged = verdicts
            .iter()
            .find(|verdict| verdict.name == name.to_string());
        judged.is_some_and(Verdict::goes)
    });
    let mut removed = 0;
    for name in old {
        place
            .remove(name)
            .with_context(|| format!("cannot remove the copy of {name}"))?;
        removed += 1;
    }
    if removed > 0 {
        tracing::info!(event = "offsite.pruned", removed, "old copies removed");
    }
    Ok(())
}

/// Brings an archive back that is not here any more: proved, it gets its name among the others.
///
/// # Errors
/// When the place cannot be reached, or what it holds cannot be trusted.
pub fn fetch(
    config: &Config,
    wanted: &str,
    watch: &Watch,
) -> anyhow::Result<Option<(ArchiveName, PathBuf)>> {
    let Some(remote) = &config.remote else {
        return Ok(None);
    };
    let place = place(config, remote)?;
    let mut there = place.list().context("cannot list the copies off-site")?;
    there.sort();
    let mut names = there.into_iter().rev().map(|(name, _)| name);
    let found = if wanted == "latest" {
        let good: Vec<ArchiveName> = names.filter(|name| !name.damaged).collect();
        let now = time::now();
        let dated = |name: &&ArchiveName| !retention::is_ahead(name.taken(&config.zone), now);
        good.iter().find(dated).or(good.first()).cloned()
    } else {
        names.find(|name| name.to_string() == wanted || name.stem() == wanted)
    };
    let Some(name) = found else { return Ok(None) };
    let path = config.backup_dir.join(name.to_string());
    let mut partial = Partial::create(&path, 0o666)?;
    place
        .get(&name, &mut partial, watch)
        .with_context(|| format!("cannot fetch {name}"))?;
    partial.file().sync_all()?;
    let keys = prune::keys(config)?;
    if !name.sealed || keys.is_some() {
        verify::whole(partial.path(), &config.backup_dir, keys.as_ref(), watch)?;
    }
    partial.publish()?;
    tracing::info!(event = "offsite.fetched", archive = %name, "an archive was fetched from off-site");
    Ok(Some((name, path)))
}
