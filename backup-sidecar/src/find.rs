//! This room finds the archive that an owner means: by a name, by a path, or by `latest`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use daemon_kit::time;

use crate::catalog::{ArchiveName, Catalog};
use crate::config::Config;
use crate::watch::Watch;
use crate::{offsite, prune};

/// An archive that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: ArchiveName,
    /// The file.
    pub path: PathBuf,
    /// Whether it is one of `BACKUP_DIR`; any other the catalogue knows nothing of.
    pub is_ours: bool,
}

/// An archive here or at a path, or one that is fetched from off-site.
///
/// # Errors
/// When there is none.
pub fn anywhere(config: &Config, wanted: &str, watch: &Watch) -> anyhow::Result<Found> {
    if let Some(found) = near(config, &prune::load(config)?, wanted)? {
        return Ok(found);
    }
    if let Some((name, path)) = offsite::fetch(config, wanted, watch)? {
        let is_ours = true;
        return Ok(Found {
            name,
            path,
            is_ours,
        });
    }
    bail!(none(config, wanted))
}

/// An archive here, or at a path.
///
/// # Errors
/// When there is none.
pub fn here(config: &Config, catalog: &Catalog, wanted: &str) -> anyhow::Result<Found> {
    near(config, catalog, wanted)?.with_context(|| none(config, wanted))
}

/// One of `BACKUP_DIR`: only of these the catalogue keeps book.
///
/// # Errors
/// When there is none, or `wanted` is the path of another file.
pub fn ours(config: &Config, catalog: &Catalog, wanted: &str) -> anyhow::Result<ArchiveName> {
    let found = here(config, catalog, wanted)?;
    ensure!(
        found.is_ours,
        "{wanted} is not in {}: give the name of an archive that is",
        config.backup_dir.display()
    );
    Ok(found.name)
}

fn near(config: &Config, catalog: &Catalog, wanted: &str) -> anyhow::Result<Option<Found>> {
    let path = Path::new(wanted);
    // An archive of the same name on another disk is another file.
    if wanted.contains('/') && path.is_file() && !lies_in(path, &config.backup_dir) {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.parse().ok());
        return Ok(Some(Found {
            name: name.with_context(|| format!("{wanted} has not the name of an archive"))?,
            path: path.to_owned(),
            is_ours: false,
        }));
    }
    Ok(catalog.resolve(wanted, time::now()).map(|name| Found {
        path: config.backup_dir.join(name.to_string()),
        name,
        is_ours: true,
    }))
}

fn none(config: &Config, wanted: &str) -> String {
    let dir = config.backup_dir.display();
    match wanted {
        "latest" => format!("there is no archive in {dir}"),
        _ => format!("there is no archive {wanted} in {dir}"),
    }
}

fn lies_in(path: &Path, dir: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    path.parent()
        .is_some_and(|parent| real(parent) == real(dir))
}

#[cfg(test)]
mod tests {
    use daemon_kit::env::Env;
    use jiff::tz::TimeZone;

    use super::*;

    const NAME: &str = "backup_20261128_020000.tar.zst";

    fn house() -> (tempfile::TempDir, Config, Catalog) {
        let root = tempfile::tempdir().unwrap();
        let backups = root.path().join("backups");
        for dir in [&backups, &root.path().join("usb")] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(NAME), "x").unwrap();
        }
        let dir = backups.to_string_lossy().into_owned();
        let config = Config::read(&mut Env::from_map([("BACKUP_DIR", dir)]));
        let read = |_: &Path| Ok(crate::manifest::tests::sample());
        let catalog = Catalog::load(&backups, &TimeZone::UTC, read).unwrap();
        (root, config, catalog)
    }

    #[test]
    fn a_path_elsewhere_is_not_the_archive_of_that_name_here() {
        let (root, config, catalog) = house();
        let found = |path: &Path| here(&config, &catalog, path.to_str().unwrap()).unwrap();
        let there = root.path().join("usb").join(NAME);
        assert_eq!(found(&there).path, there);
        assert!(!found(&there).is_ours);
        let ours = config.backup_dir.join(NAME);
        assert_eq!(found(&ours).path, ours);
        assert!(found(&ours).is_ours);
        // A path that leads nowhere, such as one of the host, still says which archive is meant.
        assert_eq!(found(Path::new(&format!("/nowhere/{NAME}"))).path, ours);
    }

    #[test]
    fn only_archives_here_are_in_the_books() {
        let (root, config, catalog) = house();
        let there = root.path().join("usb").join(NAME);
        let error = ours(&config, &catalog, there.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("is not in"), "{error}");
        assert_eq!(ours(&config, &catalog, NAME).unwrap().to_string(), NAME);
        let foreign = root.path().join("usb/holiday.tar");
        fs::write(&foreign, "x").unwrap();
        for (wanted, why) in [
            ("backup_20270101_000000", "there is no archive"),
            (foreign.to_str().unwrap(), "has not the name of an archive"),
        ] {
            let error = ours(&config, &catalog, wanted).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
