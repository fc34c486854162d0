//! This room carries the retention plan out, and proves archives that somebody put there before they count.

use anyhow::Context;
use daemon_kit::{publish, time};
use jiff::Timestamp;

use crate::archive;
use crate::catalog::{ArchiveName, Catalog, Record};
use crate::config::Config;
use crate::retention::{self, Verdict};
use crate::seal::Identities;
use crate::verify::{self, NotProved};
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
/// When the directory or the catalogue cannot be read, or the job is to stop.
pub fn load_proved(config: &Config, watch: &Watch) -> anyhow::Result<Catalog> {
    let mut catalog = load(config)?;
    let before = catalog.clone();
    let keys = keys(config).ok().flatten();
    let unproved: Vec<ArchiveName> = catalog
        .newest_first()
        .into_iter()
        .filter(|(name, record)| {
            // Without its hash a sealed one cannot be proved again when the key is gone.
            let lacks_hash = name.sealed && record.sha256.is_none();
            let is_open = record.bad.is_none() && (record.verified.is_none() || lacks_hash);
            is_open && can_prove(name, record, keys.as_ref())
        })
        .map(|(name, _)| name)
        .collect();
    for name in unproved {
        let result = prove(config, &mut catalog, &name, keys.as_ref(), watch);
        watch.advance(0)?;
        note(&mut catalog, &name, result);
    }
    // A full disk must not keep the room from being made that mends it.
    if catalog != before {
        catalog.save(&config.backup_dir)?;
    }
    Ok(catalog)
}

/// Whether there is a way to prove an archive: inside a sealed one nobody looks without its key.
fn can_prove(name: &ArchiveName, record: &Record, keys: Option<&Identities>) -> bool {
    !name.sealed || record.sha256.is_some() || keys.is_some()
}

/// Proves one archive by its hash where that is known, and from its bytes alone where it is not; what is found is then
/// known.
fn prove(
    config: &Config,
    catalog: &mut Catalog,
    name: &ArchiveName,
    keys: Option<&Identities>,
    watch: &Watch,
) -> anyhow::Result<()> {
    let path = config.backup_dir.join(name.to_string());
    let Some(record) = catalog.archives.get_mut(&name.to_string()) else {
        return Ok(());
    };
    if record.sha256.is_some() || !can_prove(name, record, keys) {
        return verify::sealed(&path, record.sha256.as_deref(), watch);
    }
    let manifest = verify::whole(&path, &config.backup_dir, keys, watch)?;
    record.learn(&manifest);
    // The next proof of a sealed one needs no key then.
    if name.sealed {
        record.sha256 = Some(archive::hash_file(&path, watch).context(NotProved)?);
    }
    Ok(())
}

/// Writes the result of a proof into the catalogue. Where nothing was proved, the record stays what it was.
pub fn note(catalog: &mut Catalog, name: &ArchiveName, result: anyhow::Result<()>) {
    let Some(record) = catalog.archives.get_mut(&name.to_string()) else {
        return;
    };
    match result {
        Ok(()) => {
            record.verified = Some(time::now().to_string());
            record.bad = None;
        }
        Err(error) if verify::is_hindered(&error) => {
            let reason = format!("{error:#}");
            tracing::warn!(event = "verify.hindered", archive = %name, reason, "an archive could not be proved; what is known of it stays");
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

/// Reads the newest archive back before anything older goes: what was proved once may have rotted since. The caller
/// saves the catalogue.
///
/// # Errors
/// When the newest one that was proved before cannot be read now, or the job is to stop.
pub fn prove_newest(config: &Config, catalog: &mut Catalog, watch: &Watch) -> anyhow::Result<()> {
    let keys = keys(config).ok().flatten();
    let now = time::now();
    while let Some(name) = catalog.newest_proved(now).map(|(name, _)| name) {
        let result = prove(config, catalog, &name, keys.as_ref(), watch);
        watch.advance(0)?;
        match result {
            Err(error) if verify::is_hindered(&error) => {
                return Err(error.context(format!("nothing is deleted before {name} is proved")));
            }
            Ok(()) => {
                note(catalog, &name, Ok(()));
                break;
            }
            failed => note(catalog, &name, failed),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
