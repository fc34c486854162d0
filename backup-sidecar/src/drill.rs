//! This room rehearses: the newest archive is restored to a scratch place, opened and counted.

use std::fs;
use std::time::{Duration, Instant};

use daemon_kit::publish::PARTIAL;
use daemon_kit::time;

use crate::catalog::{ArchiveName, Catalog, Drill};
use crate::config::Config;
use crate::unpack::{Manner, unpack};
use crate::watch::{Stopped, Watch};
use crate::{lock, prune, verify};

/// The result of a drill that proved a restore.
pub const PASSED: &str = "passed";
/// The result of a drill that found the archive wanting.
pub const FAILED: &str = "failed";
/// The result of a drill that had no key, no room or no archive.
pub const NOT_POSSIBLE: &str = "not possible";

/// Restores the newest archive into a scratch place, and remembers how it went. The caller holds the job lock.
///
/// # Errors
/// When the catalogue cannot be read or written, or the job is to stop: a drill that was cut off says nothing.
pub fn run(config: &Config, watch: &Watch) -> anyhow::Result<(Drill, Duration)> {
    let began = Instant::now();
    let mut catalog = prune::load(config)?;
    let drill = rehearse(config, &catalog, watch);
    if watch.is_stopping() {
        return Err(Stopped.into());
    }
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
        spare_bytes: config.min_free_bytes,
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
        // A full disk says nothing about the archive.
        Err(error) if verify::is_hindered(&error) => (NOT_POSSIBLE, format!("{error:#}")),
        Err(error) => (FAILED, format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use daemon_kit::env::Env;
    use daemon_kit::heartbeat::Heartbeat;
    use daemon_kit::shutdown::Shutdown;

    use super::*;
    use crate::archive::Writer;

    /// A place with one archive of a small database.
    fn place(dir: &std::path::Path, min_free: &str) -> Config {
        let shown = dir.display().to_string();
        let config = Config::read(&mut Env::from_map([
            ("BACKUP_DIR", shown.as_str()),
            ("BACKUP_MIN_FREE", min_free),
        ]));
        let database = dir.join("sessions.db");
        let connection = rusqlite::Connection::open(&database).unwrap();
        let three = "CREATE TABLE messages (n); INSERT INTO messages VALUES (1), (2), (3)";
        connection.execute_batch(three).unwrap();
        connection.close().unwrap();
        let mut file = fs::File::create(dir.join("backup_20261127_020000.tar.zst")).unwrap();
        let mut writer = Writer::begin(&mut file, 100_000, 3).unwrap();
        let (mut source, watch) = (fs::File::open(&database).unwrap(), Watch::command());
        writer.add("data/sessions.db", &mut source, &watch).unwrap();
        let pending = writer.finish_files().unwrap();
        let mut manifest = crate::manifest::tests::sample();
        manifest.databases = vec![verify::examine(&database, "data/sessions.db").unwrap()];
        manifest.files.clone_from(&pending.files);
        pending.finish(&manifest).unwrap();
        config
    }

    #[test]
    fn a_drill_that_was_cut_off_leaves_no_result() {
        let dir = tempfile::tempdir().unwrap();
        let config = place(dir.path(), "1");
        let shutdown = Shutdown::new();
        shutdown.begin();
        let watch = Watch::resident(Heartbeat::new("drill-test"), None, shutdown);
        let error = run(&config, &watch).unwrap_err();
        assert!(error.is::<Stopped>(), "{error:#}");
        assert_eq!(prune::load(&config).unwrap().drill, None);
        let (drill, _) = run(&config, &Watch::command()).unwrap();
        assert_eq!(drill.result, PASSED, "{drill:?}");
    }

    #[test]
    fn a_disk_without_room_is_no_fault_of_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let config = place(dir.path(), "1073741824");
        let (drill, _) = run(&config, &Watch::command()).unwrap();
        assert_eq!(drill.result, NOT_POSSIBLE, "{drill:?}");
        assert!(drill.detail.contains("are needed"), "{drill:?}");
        assert_eq!(drill.trouble(), None);
    }
}
