//! This room keeps copies in a second place. It is never a reason for a local backup to fail: what could not be copied
//! is copied next time.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use daemon_kit::publish::Partial;
use daemon_kit::time;
use serde::{Deserialize, Serialize};

use crate::catalog::{ArchiveName, Catalog};
use crate::config::{Config, Remote, Target};
use crate::watch::Watch;
use crate::{prune, retention, room, verify};

mod copies;
mod directory;
mod s3;

pub use copies::{Round, Step, is_behind, policy};

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
    let mut copies = there.into_iter().rev();
    let found = if wanted == "latest" {
        let good: Vec<(ArchiveName, u64)> = copies.filter(|(name, _)| !name.damaged).collect();
        let now = time::now();
        let dated =
            |(name, _): &&(ArchiveName, u64)| !retention::is_ahead(name.taken(&config.zone), now);
        good.iter().find(dated).or(good.first()).cloned()
    } else {
        copies.find(|(name, _)| name.to_string() == wanted || name.stem() == wanted)
    };
    let Some((name, bytes)) = found else {
        return Ok(None);
    };
    let keys = prune::keys(config)?;
    // Nothing is fetched that could not be proved afterwards.
    ensure!(
        !name.sealed || keys.is_some(),
        "{name} is sealed: set BACKUP_AGE_IDENTITY_FILE"
    );
    has_room(config, &name, bytes)?;
    let path = config.backup_dir.join(name.to_string());
    let mut partial = Partial::create(&path, 0o666)?;
    place
        .get(&name, &mut partial, watch)
        .with_context(|| format!("cannot fetch {name}"))?;
    partial.file().sync_all()?;
    verify::whole(partial.path(), &config.backup_dir, keys.as_ref(), watch)?;
    partial.publish()?;
    tracing::info!(event = "offsite.fetched", archive = %name, "an archive was fetched from off-site");
    Ok(Some((name, path)))
}

fn has_room(config: &Config, name: &ArchiveName, bytes: u64) -> anyhow::Result<()> {
    let free = room::free_bytes(&config.backup_dir)?;
    let need = bytes.saturating_add(config.min_free_bytes);
    ensure!(
        free >= need,
        "{} MB are free, {name} needs {} MB ({} MB of them stay free, BACKUP_MIN_FREE)",
        free >> 20,
        need >> 20,
        config.min_free_bytes >> 20
    );
    Ok(())
}
