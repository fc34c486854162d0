use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use daemon_kit::env::Env;
use daemon_kit::publish;
use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::catalog::Record;

/// Archives here and a second volume.
struct Home {
    dir: TempDir,
    config: Config,
}

/// The name of the archive of a day.
fn name(days_ago: i64) -> ArchiveName {
    let at = time::now() - SignedDuration::from_hours(24 * days_ago);
    let name = format!("backup_{}_020000.tar.zst", at.strftime("%Y%m%d"));
    name.parse().unwrap()
}

impl Home {
    /// With an archive of each of so many days ago, proved.
    fn new(days_ago: &[i64]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backups", "usb"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (backups, usb) = (dir.path().join("backups"), dir.path().join("usb"));
        let config = Config::read(&mut Env::from_map([
            ("BACKUP_DIR", backups.display().to_string()),
            ("BACKUP_REMOTE_URL", format!("file://{}", usb.display())),
            ("BACKUP_REMOTE_RETENTION_DAYS", "30".to_owned()),
            ("BACKUP_KEEP_LAST", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ]));
        let home = Self { dir, config };
        let mut catalog = Catalog::default();
        for ago in days_ago {
            let (name, path) = (name(*ago), home.here(*ago));
            let content = format!("the archive of {ago} days ago");
            fs::write(&path, &content).unwrap();
            let sha256 = archive::hash_file(&path, &Watch::command()).unwrap();
            let manifest = crate::manifest::tests::sample();
            let mut record = Record::of(&manifest, content.len() as u64, Some(sha256));
            record.taken = name.taken(&home.config.zone);
            record.verified = Some("then".to_owned());
            // Without databases nothing can be missed: no freeze.
            record.databases.clear();
            catalog.archives.insert(name.to_string(), record);
        }
        catalog.save(&backups).unwrap();
        home
    }

    fn here(&self, days_ago: i64) -> PathBuf {
        self.config.backup_dir.join(name(days_ago).to_string())
    }

    fn there(&self, days_ago: i64) -> PathBuf {
        let usb = self.dir.path().join("usb");
        usb.join(name(days_ago).to_string())
    }

    fn record(&self, days_ago: i64) -> Record {
        let catalog = prune::load(&self.config).unwrap();
        catalog.archives[&name(days_ago).to_string()].clone()
    }

    fn round(&self) -> Round {
        Round::whole(&self.config, &Watch::command())
    }

    fn is_behind(&self) -> bool {
        is_behind(&self.config, &prune::load(&self.config).unwrap())
    }
}

#[test]
fn a_file_that_rotted_is_called_bad_and_keeps_no_other_one_from_its_copy() {
    let home = Home::new(&[1, 2, 3]);
    let mut bytes = fs::read(home.here(1)).unwrap();
    bytes[0] ^= 1;
    fs::write(home.here(1), bytes).unwrap();
    let round = home.round();
    assert_eq!((round.copied(), round.trouble()), (2, None));
    assert!(home.record(1).bad.is_some() && home.record(1).offsite.is_none());
    assert!(!home.there(1).exists() && home.there(2).exists() && home.there(3).exists());
    assert!(!home.is_behind());
}

#[test]
fn an_archive_that_cannot_be_sent_keeps_no_other_one_from_its_copy_nor_old_ones_there() {
    let home = Home::new(&[1, 2, 3]);
    // A directory in its place: no file can be put there.
    fs::create_dir(home.there(1)).unwrap();
    fs::write(home.there(90), "an old copy").unwrap();
    let round = home.round();
    assert_eq!(round.copied(), 2);
    assert!(
        round.trouble().unwrap().contains("cannot copy"),
        "{round:?}"
    );
    assert!(home.record(1).offsite.is_none() && home.record(2).offsite.is_some());
    assert!(!home.there(90).exists());
    assert!(home.is_behind(), "the next round tries again");
}

#[test]
fn each_step_copies_one_archive_and_leaves_the_lock_to_others() {
    let home = Home::new(&[1, 2]);
    let (mut round, watch) = (Round::default(), Watch::command());
    let dir = &home.config.backup_dir;
    let mut step = || round.step(&home.config, Duration::ZERO, &watch);
    let other = lock::take(dir, Duration::ZERO).unwrap().unwrap();
    assert_eq!(step(), Step::Busy);
    drop(other);
    assert_eq!(step(), Step::More);
    assert!(home.there(1).exists() && !home.there(2).exists());
    assert!(lock::take(dir, Duration::ZERO).unwrap().is_some());
    assert_eq!((step(), step()), (Step::More, Step::Over));
    assert!(home.there(2).exists());
}

#[test]
fn what_is_not_there_any_more_is_no_copy_and_is_sent_again() {
    let home = Home::new(&[1, 2]);
    assert_eq!(home.round().copied(), 2);
    assert_eq!(home.round().copied(), 0);
    // Another disk in its place: one file is missing, one is another's.
    fs::remove_file(home.there(1)).unwrap();
    fs::write(home.there(2), "of another size").unwrap();
    assert_eq!(home.round().copied(), 2);
    assert_eq!(
        fs::read(home.there(2)).unwrap(),
        fs::read(home.here(2)).unwrap()
    );
    // A disk that is not mounted says nothing about its copies.
    publish::rename(&home.dir.path().join("usb"), &home.dir.path().join("away")).unwrap();
    assert!(home.round().trouble().unwrap().contains("mounted"));
    assert!(home.record(1).offsite.is_some());
}

#[test]
fn what_the_plan_lets_go_is_no_copy_any_more_and_is_not_sent_again_and_again() {
    let home = Home::new(&[1, 2, 90]);
    let mut catalog = prune::load(&home.config).unwrap();
    let old = name(90).to_string();
    fs::copy(home.here(90), home.there(90)).unwrap();
    catalog.archives.get_mut(&old).unwrap().offsite = Some("then".to_owned());
    catalog.save(&home.config.backup_dir).unwrap();
    assert_eq!(home.round().copied(), 2);
    assert!(!home.there(90).exists() && home.record(90).offsite.is_none());
    assert!(!home.is_behind());
    assert_eq!(home.round().copied(), 0);
    assert!(!home.there(90).exists());
}

/// A place that gives other bytes back than it was given.
#[derive(Default)]
struct Liar {
    removed: Cell<bool>,
}

impl Place for Liar {
    fn list(&self) -> anyhow::Result<Vec<(ArchiveName, u64)>> {
        Ok(Vec::new())
    }

    fn put(
        &self,
        _: &ArchiveName,
        _: &Path,
        _: &mut Unfinished<'_>,
        _: &Watch,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    fn get(&self, _: &ArchiveName, into: &mut dyn std::io::Write, _: &Watch) -> anyhow::Result<()> {
        Ok(into.write_all(b"something else")?)
    }

    fn remove(&self, _: &ArchiveName) -> anyhow::Result<()> {
        self.removed.set(true);
        Ok(())
    }
}

#[test]
fn a_copy_that_reads_back_otherwise_is_taken_away() {
    let home = Home::new(&[1]);
    let (place, name) = (Liar::default(), name(1));
    let mut catalog = prune::load(&home.config).unwrap();
    let error = copy_one(
        &home.config,
        &mut catalog,
        &place,
        (&name, &[]),
        &Watch::command(),
    );
    assert!(error.unwrap_err().to_string().contains("not what was sent"));
    assert!(place.removed.get());
    assert!(catalog.archives[&name.to_string()].offsite.is_none());
}

#[test]
fn a_round_that_is_cut_off_is_no_failure() {
    use daemon_kit::heartbeat::Heartbeat;
    use daemon_kit::shutdown::Shutdown;
    let home = Home::new(&[1]);
    let shutdown = Shutdown::new();
    shutdown.begin();
    let watch = Watch::resident(Heartbeat::new("copies-test"), None, shutdown);
    let mut round = Round::default();
    assert_eq!(round.step(&home.config, Duration::ZERO, &watch), Step::Over);
    assert_eq!((round.copied(), round.trouble()), (0, None));
    assert!(home.is_behind());
}

#[test]
fn a_copy_gives_way_to_what_comes_and_is_made_afterwards() {
    let home = Home::new(&[1]);
    let watch = Watch::command().giving_way(|| true);
    let mut round = Round::default();
    assert_eq!(round.step(&home.config, Duration::ZERO, &watch), Step::More);
    assert!(watch.gives_way() && home.is_behind());
    let watch = Watch::command().giving_way(|| false);
    assert_eq!(round.step(&home.config, Duration::ZERO, &watch), Step::More);
    assert_eq!(round.step(&home.config, Duration::ZERO, &watch), Step::Over);
    assert_eq!((round.copied(), round.trouble()), (1, None));
}
