//! This room rehearses: the newest archive is restored to a scratch place, opened and counted.

use std::fs;
use std::time::{Duration, Instant};

use daemon_kit::publish::PARTIAL;
use daemon_kit::time;

use crate::catalog::{Catalog, Drill};
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
    let done = |archive: String, result: &str, detail: String| Drill {
        at: time::now(),
        archive,
        result: result.to_owned(),
        detail,
    };
    let Some((name, _)) = catalog.latest() else {
        return done(
            String::new(),
            NOT_POSSIBLE,
            "there is no archive yet".to_owned(),
        );
    };
    let keys = match prune::keys(config) {
        Ok(keys) => keys,
        Err(error) => return done(name.to_string(), NOT_POSSIBLE, format!("{error:#}")),
    };
    if name.sealed && keys.is_none() {
        let detail = "the archive is sealed and BACKUP_AGE_IDENTITY_FILE is not set".to_owned();
        return done(name.to_string(), NOT_POSSIBLE, detail);
    }
    let scratch = config
        .backup_dir
        .join(format!("{}drill{PARTIAL}", lock::SCRATCH));
    let manner = Manner {
        data_only: false,
        mode: 0o600,
    };
    let archive = config.backup_dir.join(name.to_string());
    let result = unpack(&archive, &scratch, manner, keys.as_ref(), watch);
    // What cannot be removed now is cleared by the next job.
    fs::remove_dir_all(&scratch).ok();
    match result {
        Ok(manifest) => {
            let detail = format!(
                "{} files, {} databases, {} rows",
                manifest.files.len(),
                manifest.databases.len(),
                manifest.total_rows()
            );
            done(name.to_string(), PASSED, detail)
        }
        Err(error) => done(name.to_string(), FAILED, format!("{error:#}")),
    }
}
