//! Faults: kill -9 at any moment under a fast writer, full disks, lost power, interrupted restores.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use tests::archives::{chat, rows};
use tests::chaos::oracle;
use tests::disk::Disk;
use tests::{House, skipped};

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
    house
        .program("backup-sidecar")
        .args(["backup"])
        .run()
        .expect_code(0);
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
        house
            .program("backup-sidecar")
            .args(["restore"])
            .run()
            .expect_code(0);
        assert_eq!(rows(&house.database()), 700, "seed {seed}");
        assert!(!house.data().join(".restore-journal.json").exists());
        assert!(house.data().join(".restored").exists());
        chat(&house, 900);
    }
}

#[test]
fn a_full_disk_costs_no_archive() {
    if let Some(why) = Disk::unavailable() {
        skipped(&format!("no disk of our own ({why})"));
        return;
    }
    let house = House::alone();
    chat(&house, 3_000);
    let disk = Disk::new(16).unwrap();
    let backups = disk.directory("backups", tests::house::NOBODY).unwrap();
    let backup = || {
        let launch = house
            .program("backup-sidecar")
            .args(["backup"])
            .env("BACKUP_DIR", backups.as_os_str());
        launch.env("BACKUP_MIN_FREE", "0").run()
    };
    backup().expect_code(0);
    let filler = disk.fill().unwrap();
    let failed = backup().expect_code(1);
    assert!(failed.stderr.contains("MB"), "{}", failed.stderr);
    let names = |dir: &Path| -> Vec<String> {
        let all = fs::read_dir(dir).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let after = names(&backups);
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
    let verify = house
        .program("backup-sidecar")
        .args(["verify"])
        .env("BACKUP_DIR", backups.as_os_str());
    verify.run().expect_code(0);
}

#[test]
fn a_disk_that_turns_read_only_is_told_and_mends_itself() {
    if let Some(why) = Disk::unavailable() {
        skipped(&format!("no disk of our own ({why})"));
        return;
    }
    let house = House::alone();
    chat(&house, 400);
    let disk = Disk::new(48).unwrap();
    let backups = disk.directory("backups", tests::house::NOBODY).unwrap();
    let on_disk = |launch: tests::house::Launch| {
        launch
            .env("BACKUP_DIR", backups.as_os_str())
            .env("BACKUP_MIN_FREE", "0")
    };
    let mut sidecar = on_disk(house.program("backup-sidecar"))
        .env("BACKUP_SCHEDULE", "@every 1s")
        .env("BOT_LANGUAGE", "en")
        .start();
    sidecar.wait_event("backup.done");
    // A disk turns read-only only while nobody has a file open for writing: between two jobs.
    sidecar.poll("the disk to turn read-only", |_| {
        disk.set_read_only(true).ok()
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
        let judged = house.program("backup-sidecar").args(["healthcheck"]).run();
        (judged.code == Some(1)).then_some(())
    });
    let before = sidecar.events().len();
    disk.set_read_only(false).unwrap();
    sidecar.poll("a backup without a hand", |running| {
        let later = running.events().into_iter().skip(before);
        later
            .into_iter()
            .find(|line| line["event"] == "backup.done")
    });
    sidecar.poll("healthcheck to be well", |_| {
        let judged = house.program("backup-sidecar").args(["healthcheck"]).run();
        (judged.code == Some(0)).then_some(())
    });
    sidecar.stop().expect_code(0);
    on_disk(house.program("backup-sidecar").args(["verify"]))
        .run()
        .expect_code(0);
}

#[test]
fn an_archive_with_its_name_outlives_a_power_cut() {
    if let Some(why) = Disk::unavailable() {
        skipped(&format!("no disk of our own ({why})"));
        return;
    }
    let house = House::alone();
    chat(&house, 500);
    let disk = Disk::new(32).unwrap();
    let backups = disk.directory("backups", tests::house::NOBODY).unwrap();
    let command = |verb: &str| {
        let launch = house
            .program("backup-sidecar")
            .args([verb])
            .env("BACKUP_DIR", backups.as_os_str());
        launch.env("BACKUP_MIN_FREE", "0").run()
    };
    command("backup").expect_code(0);
    disk.cut_power().unwrap();
    disk.restore_power().unwrap();
    command("verify").expect_code(0);
    let listed = command("list").expect_code(0).stdout;
    assert!(listed.contains("500"), "{listed}");
}

/// Past the capture of the test runner: a long run says what it found even when all is well.
fn show(text: &str) {
    use std::io::Write;
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
