//! This room rehearses: the newest archive is restored to a scratch place, opened and counted.

use std::fs;
use std::time::{Duration, Instant};

use daemon_kit::publish::PARTIAL;
use daemon_kit::time;

use crate::catalog::{ArchiveName, Catalog, Drill};
use crate::config::Config;
use crate::unpack::{Manner, unpack};
use crate::watch::Watch;
use crate::{lock, prune};

/// The result of a drill that proved a restore.
pub const PASSED: &str = "passed";
/// The result of a drill that found the archive wanting.
pub const FAILED: &str = "failed";
/// The result of a drill that had no key, or no archive.
pub const NOT_POSSIBLE: &str = "not possible";

/// Restores the newest archive into a scratch place, and remembers how it went. The caller holds the job lock.
///
/// # Errors
/// When the catalogue cannot be read or written.
pub fn run(config: &Config, watch: &Watch) -> anyhow::Result<(Drill, Duration)> {
    let began = Instant::now();
    let mut catalog = prune::load(config)?;
    let drill = rehearse(config, &catalog, watch);
    catalog.drill = Some(drill.clone());
    catalog.save(&config.backup_dir)?;
    watch.finish();
    let took = began.elapsed();
    let seconds = took.as_secs_f64();
    match drill.result.as_str() {
        PASSED => tracing::info!(
            event = "drill.passed",
            archive = drill.archive,
            detail = drill.detail,
            seconds,
            "a restore was rehearsed and every row counted"
        ),
        FAILED => tracing::error!(
            event = "drill.failed",
            archive = drill.archive,
            detail = drill.detail,
            seconds,
            "the newest archive could not be restored"
        ),
        _ => tracing::warn!(
            event = "drill.impossible",
            archive = drill.archive,
            detail = drill.detail,
            "no restore could be rehearsed"
        ),
    }
    Ok((drill, took))
}

fn rehearse(config: &Config, catalog: &Catalog, watch: &Watch) -> Drill {
    let newest = catalog.latest(time::now()).map(|(name, _)| name);
    let (result, detail) = match &newest {
        Some(name) => attempt(config, name, watch),
        None => (NOT_POSSIBLE, "there is no archive yet".to_owned()),
    };
    Drill {
        at: time::now(),
        archive: newest.map_or_else(String::new, |name| name.to_string()),
        result: result.to_owned(),
        detail,
    }
}

fn attempt(config: &Config, name: &ArchiveName, watch: &Watch) -> (&'static str, String) {
    let keys = match prune::keys(config) {
        Ok(keys) => keys,
        Err(error) => return (NOT_POSSIBLE, format!("{error:#}")),
    };
    if name.sealed && keys.is_none() {
        let why = "the archive is sealed and BACKUP_AGE_IDENTITY_FILE is not set";
        return (NOT_POSSIBLE, why.to_owned());
    }
    let scratch = config
        .backup_dir
        .join(format!("{}drill{PARTIAL}", lock::SCRATCH));
    let manner = Manner {
        data_only: false,
        mode: 0o600,
    };
    let archive = config.backup_dir.join(name.to_string());
    let unpacked = unpack(&archive, &scratch, manner, keys.as_ref(), watch);
    // What cannot be removed now is cleared by the next job.
    fs::remove_dir_all(&scratch).ok();
    match unpacked {
        Ok(manifest) => {
            let counted = format!(
                "{} files, {} databases, {} rows",
                manifest.files.len(),
                manifest.databases.len(),
                manifest.total_rows()
            );
            (PASSED, counted)
        }
        Err(error) => (FAILED, format!("{error:#}")),
    }
}
