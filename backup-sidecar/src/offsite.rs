//! This room keeps copies in a second place. It is never a reason for a local backup to fail: what could not be copied
//! is copied next time.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use daemon_kit::publish::Partial;
use daemon_kit::time;
use jiff::SignedDuration;

use crate::catalog::{ArchiveName, Catalog};
use crate::config::{Config, Remote, Target};
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
    fn put(&self, name: &ArchiveName, file: &Path, watch: &Watch) -> anyhow::Result<()>;

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
    let mut copied = 0;
    for name in waiting(catalog) {
        let path = config.backup_dir.join(name.to_string());
        let Some(record) = catalog.archives.get_mut(&name.to_string()) else {
            continue;
        };
        let is_there = there
            .iter()
            .any(|(other, bytes)| *other == name && *bytes == record.bytes);
        if !is_there {
            place
                .put(&name, &path, watch)
                .with_context(|| format!("cannot copy {name}"))?;
        }
        let expected = match &record.sha256 {
            Some(sha256) => sha256.clone(),
            None => crate::archive::hash_file(&path, watch)?,
        };
        let mut hashed = crate::archive::HashingWriter::new(std::io::sink());
        place
            .get(&name, &mut hashed, watch)
            .with_context(|| format!("cannot read {name} back"))?;
        let (found, _) = hashed.finish();
        ensure!(found == expected, "the copy of {name} is not what was sent");
        record.sha256 = Some(expected);
        record.offsite = Some(time::now().to_string());
        catalog.save(&config.backup_dir)?;
        copied += 1;
    }
    retain(config, remote, catalog, place.as_ref())?;
    Ok(copied)
}

/// Copies go by their own age, counted from the newest copy; the newest and the floor stay, and everything while
/// deletion is frozen.
fn retain(
    config: &Config,
    remote: &Remote,
    catalog: &Catalog,
    place: &dyn Place,
) -> anyhow::Result<()> {
    if catalog.freeze().is_some() {
        return Ok(());
    }
    let mut there: Vec<ArchiveName> = place.list()?.into_iter().map(|(name, _)| name).collect();
    there.sort();
    let good = there.iter().rev().filter(|name| !name.damaged);
    let floor: Vec<&ArchiveName> = good.take(config.policy.last.max(1) as usize).collect();
    let Some(newest) = floor.first() else {
        return Ok(());
    };
    let age = SignedDuration::from_hours(24 * i64::from(remote.retention_days));
    let old = there
        .iter()
        .filter(|name| newest.stamp.duration_since(name.stamp) > age && !floor.contains(name));
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
    let found = there.into_iter().rev().map(|(name, _)| name).find(|name| {
        (wanted == "latest" && !name.damaged) || name.to_string() == wanted || name.stem() == wanted
    });
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
