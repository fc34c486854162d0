//! Faults: kill -9 at any moment under a fast writer, full disks, lost power, interrupted restores.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use tests::archives::{chat, rows};
use tests::chaos::oracle;
use tests::disk::Disk;
use tests::house::{Launch, NOBODY};
use tests::{House, skipped};

use crate::backup_restore::sidecar;

/// How many rounds: `FAULT_ROUNDS` for the long form.
pub(crate) fn rounds(short: usize) -> usize {
    told("FAULT_ROUNDS").unwrap_or(short)
}

/// Where chance begins: `FAULT_SEED` repeats a run that failed.
pub(crate) fn seed() -> u64 {
    told("FAULT_SEED").unwrap_or_else(|| fastrand::u64(..))
}

#[expect(clippy::disallowed_methods, reason = "a switch of these tests alone")]
fn told<T: FromStr>(wanted: &str) -> Option<T> {
    let mut all = std::env::vars();
    all.find(|(name, _)| name == wanted)?.1.parse().ok()
}

#[test]
fn every_archive_that_has_its_name_holds_every_commit_acknowledged_before_it_began() {
    let (rounds, seed) = (rounds(20), seed());
    let writer = Path::new(env!("CARGO_BIN_EXE_chaos"));
    let outcome = oracle::run(writer, rounds, seed, show).unwrap();
    show(&format!(
        "{rounds} rounds, {} violations ({} commits, {} archives, {} kills, seed {seed})",
        outcome.violations.len(),
        outcome.commits,
        outcome.archives,
        outcome.kills
    ));
    assert!(
        outcome.violations.is_empty(),
        "seed {seed}: {:#?}",
        outcome.violations
    );
    assert!(outcome.archives >= rounds / 4 && outcome.commits > 0);
}

#[test]
fn a_restore_killed_at_any_moment_leaves_the_old_or_the_new_database_whole() {
    let house = House::alone();
    chat(&house, 700);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    chat(&house, 900);
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..rounds(8) {
        let restore = house.program("backup-sidecar").args(["restore"]).start();
        thread::sleep(Duration::from_millis(random.u64(0..150)));
        restore.kill();
        let held = rows(&house.database());
        assert!(held == 700 || held == 900, "seed {seed}: {held} rows");
        // Whoever comes next finishes what had begun.
        sidecar(&house, &["restore"], &[]).expect_code(0);
        assert_eq!(rows(&house.database()), 700, "seed {seed}");
        assert!(!house.data().join(".restore-journal.json").exists());
        assert!(house.data().join(".restored").exists());
        chat(&house, 900);
    }
}

/// A house whose archives lie on a disk of their own.
struct Apart {
    house: House,
    disk: Disk,
    backups: PathBuf,
}

impl Apart {
    /// With so many messages; `None`, and said so, where there are no such disks.
    fn new(mebibytes: u64, messages: i64) -> Option<Self> {
        if let Some(why) = Disk::unavailable() {
            skipped(&format!("no disk of our own ({why})"));
            return None;
        }
        let house = House::alone();
        chat(&house, messages);
        let disk = Disk::new(mebibytes).unwrap();
        let backups = disk.directory("backups", NOBODY).unwrap();
        Some(Self {
            house,
            disk,
            backups,
        })
    }

    fn sidecar(&self, verb: &str) -> Launch {
        let launch = self.house.program("backup-sidecar").args([verb]);
        launch
            .env("BACKUP_DIR", &self.backups)
            .env("BACKUP_MIN_FREE", "0")
    }
}

#[test]
fn a_full_disk_costs_no_archive() {
    let Some(scene) = Apart::new(16, 3_000) else {
        return;
    };
    let backup = || scene.sidecar("backup").run();
    backup().expect_code(0);
    let filler = scene.disk.fill().unwrap();
    let failed = backup().expect_code(1);
    assert!(failed.stderr.contains("MB"), "{}", failed.stderr);
    let names = |dir: &Path| -> Vec<String> {
        let all = fs::read_dir(dir).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let after = names(&scene.backups);
    assert_eq!(
        after
            .iter()
            .filter(|name| name.ends_with(".tar.zst"))
            .count(),
        1,
        "{after:?}"
    );
    assert!(
        !after.iter().any(|name| name.ends_with(".db.partial")),
        "{after:?}"
    );
    fs::remove_file(filler).unwrap();
    backup().expect_code(0);
    scene.sidecar("verify").run().expect_code(0);
}

#[test]
fn a_proof_without_room_says_nothing_against_an_archive() {
    let Some(scene) = Apart::new(16, 3_000) else {
        return;
    };
    scene.sidecar("backup").run().expect_code(0);
    let filler = scene.disk.fill().unwrap();
    // Room for the catalogue, and none to look inside.
    let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - (128 << 10))
        .unwrap();
    drop(file);
    let told = scene.sidecar("verify").run().expect_code(1).stdout;
    assert!(told.contains("cannot be proved now"), "{told}");
    assert!(!told.contains("BAD"), "{told}");
    fs::remove_file(filler).unwrap();
    let catalog = fs::read_to_string(scene.backups.join("catalog.json")).unwrap();
    assert!(catalog.contains("\"bad\": null"), "{catalog}");
    scene.sidecar("verify").run().expect_code(0);
}

#[test]
fn a_disk_that_turns_read_only_is_told_and_mends_itself() {
    let Some(scene) = Apart::new(48, 400) else {
        return;
    };
    let mut sidecar = scene
        .sidecar("run")
        .env("BACKUP_SCHEDULE", "@every 1s")
        .env("BOT_LANGUAGE", "en")
        .start();
    sidecar.wait_event("backup.done");
    // A disk turns read-only only while nobody has a file open for writing: between two jobs.
    sidecar.poll("the disk to turn read-only", |_| {
        scene.disk.set_read_only(true).ok()
    });
    let failed = sidecar.wait_event("backup.failed");
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .contains("Read-only file system"),
        "{failed:#}"
    );
    sidecar.poll("healthcheck to say so", |_| {
        let judged = scene.sidecar("healthcheck").run();
        (judged.code == Some(1)).then_some(())
    });
    let before = sidecar.events().len();
    scene.disk.set_read_only(false).unwrap();
    sidecar.poll("a backup without a hand", |running| {
        let later = running.events().into_iter().skip(before);
        later
            .into_iter()
            .find(|line| line["event"] == "backup.done")
    });
    sidecar.poll("healthcheck to be well", |_| {
        let judged = scene.sidecar("healthcheck").run();
        (judged.code == Some(0)).then_some(())
    });
    sidecar.stop().expect_code(0);
    scene.sidecar("verify").run().expect_code(0);
}

#[test]
fn an_archive_with_its_name_outlives_a_power_cut() {
    let Some(scene) = Apart::new(32, 500) else {
        return;
    };
    let command = |verb: &str| scene.sidecar(verb).run();
    command("backup").expect_code(0);
    scene.disk.cut_power().unwrap();
    scene.disk.restore_power().unwrap();
    command("verify").expect_code(0);
    let listed = command("list").expect_code(0).stdout;
    assert!(listed.contains("500"), "{listed}");
}

/// Past the capture of the test runner: a long run says what it found even when all is well.
fn show(text: &str) {
    use std::io::Write;
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
