//! This room lays an archive out as a plain folder beside it, for owners who have a file manager and no terminal.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use daemon_kit::publish::{self, PARTIAL};
use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::find::{self, Found};
use crate::manifest::Manifest;
use crate::unpack::{Manner, unpack};
use crate::watch::Watch;
use crate::{forgotten, lock, prune};

/// How extracted folders begin.
pub const PREFIX: &str = "extracted-";

/// Marks a folder as ours, with the time it was made.
const MARKER: &str = ".extracted";

/// How long an extracted folder stays.
const STAYS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Extracts an archive. The caller holds the job lock.
///
/// # Errors
/// When the archive cannot be trusted, or the folder is there already.
pub fn run(
    config: &Config,
    wanted: &str,
    now: Timestamp,
    watch: &Watch,
) -> anyhow::Result<(PathBuf, Manifest)> {
    let Found {
        name,
        path: archive,
        ..
    } = find::anywhere(config, wanted, watch)?;
    let target = config.backup_dir.join(format!("{PREFIX}{}", name.stem()));
    ensure!(!target.exists(), "{} is there already", target.display());
    let scratch = config
        .backup_dir
        .join(format!("{}extract{PARTIAL}", lock::SCRATCH));
    let manner = Manner {
        data_only: false,
        mode: 0o666,
        spare_bytes: config.min_free_bytes,
    };
    let keys = prune::keys(config)?;
    let laid_out = unpack(&archive, &scratch, manner, keys.as_ref(), watch).and_then(|manifest| {
        publish::write(&scratch.join(MARKER), now.to_string().as_bytes(), 0o666)?;
        publish::rename(&scratch, &target)
            .with_context(|| format!("cannot name {}", target.display()))?;
        Ok(manifest)
    });
    let manifest = laid_out.map_err(|error| {
        fs::remove_dir_all(&scratch).ok();
        error.context(format!("{name} cannot be extracted"))
    })?;
    Ok((target, manifest))
}

/// Removes extracted folders that are old, or older than the last request to be forgotten; tells how many. Whoever saw
/// that request first: the time of the copy beside the archives says when it came.
///
/// # Errors
/// When the directory cannot be read or a folder not removed.
pub fn clear(dir: &Path, now: Timestamp) -> anyhow::Result<usize> {
    let asked = forgotten::last_asked(dir)?;
    let mut gone = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_named = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        let made = fs::read_to_string(entry.path().join(MARKER)).ok();
        let made: Option<Timestamp> = made.and_then(|text| text.trim().parse().ok());
        // Without our mark it is the owner's own folder.
        let Some(made) = made.filter(|_| is_named) else {
            continue;
        };
        let is_overtaken = asked.is_some_and(|asked| made < asked);
        if is_overtaken || now.duration_since(made) > STAYS {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            gone += 1;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_folders_of_ours_go() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        for (name, marker) in [
            ("extracted-a", Some("2026-11-20T00:00:00Z")),
            ("extracted-b", Some("2026-11-27T00:00:00Z")),
            ("extracted-mine", None),
            ("photos", Some("2026-11-20T00:00:00Z")),
        ] {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(marker) = marker {
                fs::write(folder.join(MARKER), marker).unwrap();
            }
        }
        assert_eq!(clear(dir.path(), now).unwrap(), 1);
        assert!(!dir.path().join("extracted-a").exists());
        assert!(dir.path().join("extracted-b").exists());
        assert!(dir.path().join("extracted-mine").exists() && dir.path().join("photos").exists());
    }

    #[test]
    fn folders_older_than_a_request_to_forget_go_whoever_saw_it_first() {
        let dir = tempfile::tempdir().unwrap();
        let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
        let folder = |name: &str, made: Timestamp| {
            let folder = backups.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(MARKER), made.to_string()).unwrap();
        };
        let now = daemon_kit::time::now();
        let hour = SignedDuration::from_hours(1);
        folder("extracted-before", now - hour);
        assert_eq!(clear(&backups, now).unwrap(), 0);
        fs::create_dir(&data).unwrap();
        fs::write(data.join(forgotten::FILE), "{\"user\":1}\n").unwrap();
        // A job copies the request; the chores after it find nothing new.
        assert!(forgotten::copy(&data, &backups).unwrap());
        assert!(!forgotten::copy(&data, &backups).unwrap());
        folder("extracted-after", now + hour);
        assert_eq!(clear(&backups, now + hour).unwrap(), 1);
        assert!(!backups.join("extracted-before").exists());
        assert!(backups.join("extracted-after").exists());
    }
}
