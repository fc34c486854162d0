//! This room carries the retention plan out, and proves archives that somebody put there before they count.

use anyhow::Context;
use daemon_kit::{publish, time};
use jiff::Timestamp;

use crate::archive;
use crate::catalog::{ArchiveName, Catalog};
use crate::config::Config;
use crate::retention::{self, Verdict};
use crate::seal::Identities;
use crate::verify;
use crate::watch::Watch;

/// The keys that open sealed archives, when the owner lent them.
///
/// # Errors
/// When they cannot be read.
pub fn keys(config: &Config) -> anyhow::Result<Option<Identities>> {
    config
        .identity_file
        .as_deref()
        .map(Identities::from_file)
        .transpose()
}

/// Loads the catalogue without proving anything.
///
/// # Errors
/// When the directory cannot be read.
pub fn load(config: &Config) -> anyhow::Result<Catalog> {
    // Keys that cannot be read are told by whoever needs them.
    let keys = keys(config).ok().flatten();
    Catalog::load(&config.backup_dir, &config.zone, |path| {
        archive::manifest_of(path, keys.as_ref())
    })
}

/// Loads the catalogue and proves every archive that has no proof yet: one that the owner copied there, or all of them
/// after the catalogue was lost. The caller holds the lock.
///
/// # Errors
/// When the directory cannot be read, or the job is to stop.
pub fn load_proved(config: &Config, watch: &Watch) -> anyhow::Result<Catalog> {
    let mut catalog = load(config)?;
    let unproved: Vec<ArchiveName> = catalog
        .newest_first()
        .into_iter()
        .filter(|(name, record)| record.verified.is_none() && record.bad.is_none() && !name.sealed)
        .map(|(name, _)| name)
        .collect();
    if unproved.is_empty() {
        return Ok(catalog);
    }
    for name in unproved {
        let result = verify::whole(
            &config.backup_dir.join(name.to_string()),
            &config.backup_dir,
            None,
            watch,
        );
        watch.advance(0)?;
        note(&mut catalog, &name, result.map(|_| ()));
    }
    catalog.save(&config.backup_dir)?;
    Ok(catalog)
}

/// Writes the result of a proof into the catalogue.
pub fn note(catalog: &mut Catalog, name: &ArchiveName, result: anyhow::Result<()>) {
    let Some(record) = catalog.archives.get_mut(&name.to_string()) else {
        return;
    };
    match result {
        Ok(()) => {
            record.verified = Some(time::now().to_string());
            record.bad = None;
        }
        Err(error) => {
            let reason = format!("{error:#}");
            tracing::error!(event = "verify.failed", archive = %name, reason, "an archive is not whole");
            record.bad = Some(reason);
        }
    }
}

/// The plan for the archives that are there.
#[must_use]
pub fn plan(config: &Config, catalog: &Catalog, now: Timestamp) -> Vec<Verdict> {
    let is_frozen = catalog.freeze().is_some();
    retention::plan(
        &catalog.candidates(),
        &config.policy,
        &config.zone,
        now,
        is_frozen,
    )
}

/// Deletes what the plan lets go, and tells the names.
///
/// # Errors
/// When a file cannot be removed; those before it are gone.
pub fn carry_out(
    config: &Config,
    catalog: &mut Catalog,
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let mut gone = Vec::new();
    for verdict in plan(config, catalog, now).into_iter().filter(Verdict::goes) {
        let path = config.backup_dir.join(&verdict.name);
        publish::remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        catalog.archives.remove(&verdict.name);
        gone.push(verdict.name);
    }
    if !gone.is_empty() {
        tracing::info!(
            event = "prune.done",
            removed = gone.len(),
            kept = catalog.archives.len(),
            archives = gone.join(" "),
            "old archives removed as the plan says"
        );
    }
    Ok(gone)
}

/// Reads the newest archive back before anything older goes: what was proved once may have rotted since.
///
/// # Errors
/// When the catalogue cannot be written.
pub fn prove_newest(config: &Config, catalog: &mut Catalog, watch: &Watch) -> anyhow::Result<()> {
    while let Some((name, record)) = catalog.latest(time::now()) {
        let path = config.backup_dir.join(name.to_string());
        let result = match &record.sha256 {
            Some(expected) => verify::sealed(&path, Some(expected), watch),
            None if name.sealed => Ok(()),
            None => verify::whole(&path, &config.backup_dir, None, watch).map(|_| ()),
        };
        let is_whole = result.is_ok();
        note(catalog, &name, result);
        if is_whole {
            break;
        }
    }
    catalog.save(&config.backup_dir)
}
