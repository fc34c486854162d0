//! This room sees to it that a job has room on the disk before it begins: never half an archive.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use daemon_kit::time;

use crate::catalog::Catalog;
use crate::collect::Collection;
use crate::config::Config;
use crate::prune;
use crate::snapshot::side_file;
use crate::watch::Watch;

/// Bytes that the owner may still use where `path` lies.
///
/// # Errors
/// When the file system does not say.
pub fn free_bytes(path: &Path) -> anyhow::Result<u64> {
    let space = rustix::fs::statvfs(path)
        .with_context(|| format!("cannot look at the space of {}", path.display()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Looks whether there is room for one more archive; if not, old archives go first, as the plan says, once the newest
/// is proved.
///
/// # Errors
/// When there is not enough room even then.
pub fn make(
    config: &Config,
    catalog: &mut Catalog,
    found: &Collection,
    watch: &Watch,
) -> anyhow::Result<()> {
    let need = need(config, catalog, found);
    if free_bytes(&config.backup_dir)? >= need {
        return Ok(());
    }
    prune::prove_newest(config, catalog, watch)?;
    prune::carry_out(config, catalog, time::now())?;
    let saved = catalog.save(&config.backup_dir);
    let free = free_bytes(&config.backup_dir)?;
    if free < need {
        bail!(
            "{} MB are free, a backup needs {} MB ({} MB of them stay free, BACKUP_MIN_FREE)",
            free >> 20,
            need >> 20,
            config.min_free_bytes >> 20
        );
    }
    saved
}

/// One copy of every database, the archive, once more when it is sealed, and what is to stay free.
fn need(config: &Config, catalog: &Catalog, found: &Collection) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |facts| facts.len());
    let copies: u64 = found
        .databases
        .iter()
        .map(|database| size(&database.source) + size(&side_file(&database.source, "-wal")))
        .sum();
    let files: u64 = found.files.iter().map(|file| size(&file.source)).sum();
    // The last archive tells how well this data compresses; without one, half is a cautious guess.
    let last = catalog
        .newest_first()
        .first()
        .map(|(_, record)| record.bytes + record.bytes / 2);
    let archive = last
        .unwrap_or(0)
        .max((copies + files) / 8)
        .max(if last.is_none() {
            u64::midpoint(copies, files)
        } else {
            0
        });
    let seals = if config.recipients.is_empty() { 1 } else { 2 };
    copies + archive * seals + config.min_free_bytes
}
