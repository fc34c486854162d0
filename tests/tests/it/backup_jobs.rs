//! The backup sidecar at work: schedule, retention, freeze, damage, requests, pings.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tests::archives::{archives, chat, forge, list, rows, stock_unpack};
use tests::bench::memory_kib;
use tests::s3::Storage;
use tests::{House, PATIENCE, Running};

use crate::backup_restore::sidecar as command;

fn wait_for<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a request folder and waits for its end; tells the report.
pub(crate) fn request(house: &House, sidecar: &mut Running, name: &str) -> (bool, String) {
    // Made elsewhere and moved in, so that the sidecar never sees a folder that is not its user's.
    let folder = house.path(&format!("tmp/{name}"));
    fs::create_dir(&folder).unwrap();
    house.settle();
    rustix::fs::rename(folder, house.backups().join(name)).unwrap();
    let event = sidecar.poll(&format!("the end of {name}"), |running| {
        running.events().into_iter().rev().find(|line| {
            let ended = line["event"] == "request.done" || line["event"] == "request.failed";
            ended && line["request"] == name
        })
    });
    let is_done = event["event"] == "request.done";
    let folder = format!("{}-{name}", if is_done { "done" } else { "failed" });
    let report = house.backups().join(folder).join("report.txt");
    let text = wait_for("the report", || fs::read_to_string(&report).ok());
    (is_done, text)
}

#[test]
fn the_first_backup_waits_for_the_bots_database_and_opens_with_stock_tools() {
    let house = House::alone();
    house.write("config/kotonoha.yaml", "personas: {}\n");
    house.write("config/.env", "DISCORD_TOKEN=canary-token\n");
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event("backup.waiting");
    assert!(archives(&house).is_empty());
    chat(&house, 300);
    let done = sidecar.wait_event("backup.done");
    assert_eq!(
        (&done["rows"], &done["verified"]),
        (&300.into(), &true.into())
    );
    let next = sidecar.wait_event("backup.next");
    assert!(next["local"].as_str().unwrap().contains("02:00:00"));
    assert!(next["utc"].as_str().unwrap().ends_with("T17:00:00Z"));
    let health = command(&house, &["healthcheck"], &[]).expect_code(0);
    assert!(
        health.stdout.contains("next backup") && health.stdout.lines().count() == 1,
        "{}",
        health.stdout
    );
    sidecar.stop().expect_code(0);
    let name = done["archive"].as_str().unwrap();
    let place = stock_unpack(&house.backups().join(name), &house.path("unpacked"));
    assert_eq!(rows(&place.join("data/sessions.db")), 300);
    assert!(place.join("config/kotonoha.yaml").exists());
    assert!(!place.join("config/.env").exists(), "never a secret");
    assert!(place.join("logs/backup-sidecar.log").exists());
    assert!(house.backups().join("README.txt").exists());
}

#[test]
fn healthcheck_and_list_tell_people_what_they_want_to_know() {
    let house = House::alone();
    chat(&house, 8);
    for verb in ["backup", "drill"] {
        let launch = house.program("backup-sidecar").args([verb]);
        launch.run().expect_code(0);
    }
    let listed = |language: &str| {
        let launch = house.program("backup-sidecar").args(["list"]);
        let told = launch.env("BOT_LANGUAGE", language).run().expect_code(0);
        told.stdout
    };
    for word in ["手動", "済み", "最新", "復元の練習", "合格"] {
        assert!(listed("ja").contains(word), "{word}: {}", listed("ja"));
    }
    for word in ["manual", "yes", "newest", "last drill", "passed"] {
        assert!(listed("en").contains(word), "{word}: {}", listed("en"));
    }
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event("backup.next");
    let line = sidecar.poll("the note beside the heartbeat", |_| {
        let judged = command(&house, &["healthcheck"], &[]);
        judged
            .stdout
            .contains("next backup")
            .then_some(judged.stdout)
    });
    assert!(
        line.contains("02:00:00 JST") && line.contains("T17:00:00Z"),
        "{line}"
    );
    assert!(line.contains("last drill passed"), "{line}");
    sidecar.stop().expect_code(0);
}

#[test]
fn retention_keeps_the_floor_and_touches_nothing_foreign() {
    let house = House::alone();
    chat(&house, 20);
    house.write("backups/holiday.jpg", "not ours");
    house.write("backups/backup_20200101_000000.tar.gz", "not ours either");
    let mut sidecar = house
        .program("backup-sidecar")
        .env("BACKUP_SCHEDULE", "@every 1s")
        .env("BACKUP_RETENTION_DAYS", "0")
        .env("BACKUP_KEEP_LAST", "2")
        .start();
    let pruned = sidecar.wait_event("prune.done");
    assert_eq!(pruned["removed"], 1);
    sidecar.stop().expect_code(0);
    assert_eq!(archives(&house).len(), 2);
    assert!(house.backups().join("holiday.jpg").exists());
    assert!(
        house
            .backups()
            .join("backup_20200101_000000.tar.gz")
            .exists()
    );
    command(&house, &["verify"], &[]).expect_code(0);
    assert!(!walk_has_partials(&house));
}

#[test]
fn what_a_backup_needed_is_given_back() {
    let house = House::alone();
    chat(&house, 30_000);
    let mut sidecar = house
        .program("backup-sidecar")
        .env("BACKUP_SCHEDULE", "@every 3s")
        .start();
    for _ in 0..2 {
        sidecar.wait_event("backup.done");
    }
    // Between two backups; one at work is met now and then.
    let least = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        memory_kib(sidecar.pid(), "RssAnon").unwrap()
    });
    let least = least.fold(f64::INFINITY, f64::min) / 1024.0;
    assert!(least <= 6.0, "{least} MiB");
    sidecar.stop().expect_code(0);
}

#[test]
fn an_archive_that_rotted_since_lets_no_older_one_go() {
    let house = House::alone();
    chat(&house, 20);
    let sidecar = |arguments: &[&str]| {
        let launch = house.program("backup-sidecar");
        launch
            .args(arguments.iter().copied())
            .env("BACKUP_RETENTION_DAYS", "0")
            .env("BACKUP_KEEP_LAST", "1")
            .run()
            .expect_code(0)
            .stdout
    };
    let backup = house.program("backup-sidecar").args(["backup"]);
    backup.run().expect_code(0);
    let older = archives(&house).remove(0);
    let second = house.program("backup-sidecar").args(["backup"]);
    second.env("BACKUP_KEEP_LAST", "9").run().expect_code(0);
    let names = archives(&house);
    let newest = names.iter().find(|name| **name != older).unwrap();
    let path = house.backups().join(newest);
    let good = fs::read(&path).unwrap();
    let mut rotten = good.clone();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    // Its size, and what the catalogue says of it, are as they were.
    fs::write(&path, rotten).unwrap();
    house.settle();
    sidecar(&["prune"]);
    assert_eq!(archives(&house), names, "the last one that can be restored");

    fs::write(&path, good).unwrap();
    house.settle();
    sidecar(&["verify"]);
    sidecar(&["prune"]);
    assert_eq!(archives(&house), std::slice::from_ref(newest));
}

#[test]
fn a_copy_elsewhere_is_proved_by_its_path_and_never_accepted() {
    let house = House::alone();
    chat(&house, 20);
    command(&house, &["backup"], &[]).expect_code(0);
    let name = archives(&house).remove(0);
    let mut copy = fs::read(house.backups().join(&name)).unwrap();
    let path = house.write(&format!("usb/{name}"), &copy);
    let path = path.to_str().unwrap();
    let told = command(&house, &["verify", path], &[]).expect_code(0);
    assert!(told.stdout.contains(&format!("{path}  ok")), "{told:?}");
    // Among the files; before them there is padding.
    let late = copy.len() - 100;
    copy[late] ^= 1;
    house.write(&format!("usb/{name}"), copy);
    let told = command(&house, &["verify", path], &[]).expect_code(1);
    assert!(told.stdout.contains(&format!("{path}  BAD")), "{told:?}");
    assert!(
        list(&house)["archives"][0]["bad"].is_null(),
        "ours is sound"
    );
    let told = command(&house, &["accept", path], &[]).expect_code(1);
    assert!(told.stderr.contains("is not in"), "{told:?}");
}

fn walk_has_partials(house: &House) -> bool {
    tests::house::walk(&house.backups())
        .iter()
        .any(|path| path.to_string_lossy().contains(".partial"))
}

#[test]
fn a_missed_month_is_caught_up_once_and_empties_nothing() {
    let house = House::alone();
    chat(&house, 40);
    for day in 1..=9 {
        forge(
            &house,
            &format!("backup_2026010{day}_020000.tar.zst"),
            &format!("2026-01-0{day}T02:00:00Z"),
            30,
        );
    }
    // A file that only calls itself an archive counts for nothing.
    house.write("backups/backup_20260110_020000.tar.zst", "torn");
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event("backup.missed");
    sidecar.wait_event("backup.done");
    sidecar.wait_event("prune.done");
    sidecar.stop().expect_code(0);
    let missed = tests::house::events(&house.logs(), "backup-sidecar");
    let count = |event: &str| missed.iter().filter(|line| line["event"] == event).count();
    assert_eq!((count("backup.missed"), count("backup.done")), (1, 1));
    // The new one, and the seven days that were kept before the long pause.
    let listed = list(&house);
    let kept = listed["archives"].as_array().unwrap();
    assert_eq!(
        kept.iter()
            .filter(|archive| archive["bad"].is_null())
            .count(),
        8,
        "{listed:#}"
    );
    let plan = house
        .program("backup-sidecar")
        .args(["prune", "--dry-run"])
        .env("BOT_LANGUAGE", "en")
        .run();
    assert!(plan.expect_code(0).stdout.contains("keep"));
}

#[test]
fn a_great_loss_freezes_deletion_until_it_is_accepted() {
    let house = House::alone();
    chat(&house, 300);
    let backup = || {
        house
            .program("backup-sidecar")
            .args(["backup"])
            .env("BACKUP_RETENTION_DAYS", "0")
            .env("BACKUP_KEEP_LAST", "1")
            .env("BOT_LANGUAGE", "en")
            .run()
            .expect_code(0)
    };
    backup();
    chat(&house, 3);
    let said = backup().stdout;
    assert!(said.contains("300 rows became 3"), "{said}");
    backup();
    assert_eq!(archives(&house).len(), 3, "nothing is deleted");
    let listed = list(&house);
    let frozen = listed["frozen"]["archive"].as_str().unwrap().to_owned();
    assert_eq!(frozen, *archives(&house).last().unwrap());
    command(&house, &["accept", &frozen], &[]).expect_code(0);
    assert!(list(&house)["frozen"].is_null());
    backup();
    assert_eq!(archives(&house).len(), 1);
}

#[test]
fn a_damaged_database_is_kept_apart_and_never_restored_by_default() {
    let house = House::alone();
    chat(&house, 500);
    command(&house, &["backup"], &[]).expect_code(0);
    let path = house.database();
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))
        .unwrap();
    connection.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 9_000].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let said = command(&house, &["backup"], &[]).expect_code(1);
    assert!(said.stdout.contains("damaged"), "{}", said.stdout);
    let names = archives(&house);
    assert_eq!(
        names
            .iter()
            .filter(|name| name.contains(".damaged."))
            .count(),
        1
    );
    let latest = list(&house)["latest"].as_str().unwrap().to_owned();
    assert!(!latest.contains("damaged"));
    command(&house, &["restore"], &[]).expect_code(0);
    assert_eq!(rows(&path), 500);
    // Nor by its name: only beside, where somebody looks at it first.
    let damaged = names.iter().find(|name| name.contains(".damaged."));
    command(&house, &["restore", damaged.unwrap()], &[]).expect_code(1);
    assert_eq!(rows(&path), 500);
}

#[test]
fn owners_without_a_terminal_are_served() {
    let house = House::alone();
    chat(&house, 50);
    let mut sidecar = house
        .program("backup-sidecar")
        .env("BOT_LANGUAGE", "en")
        .start();
    sidecar.wait_event("backup.done");
    let (done, report) = request(&house, &mut sidecar, "backup-now");
    assert!(done && report.contains("50 rows"), "{report}");
    let stem = archives(&house)[0].trim_end_matches(".tar.zst").to_owned();
    let (done, report) = request(&house, &mut sidecar, &format!("extract-{stem}"));
    assert!(done && report.contains("7 days"), "{report}");
    assert_eq!(
        rows(
            &house
                .backups()
                .join(format!("extracted-{stem}/data/sessions.db"))
        ),
        50
    );
    chat(&house, 80);
    let (done, report) = request(&house, &mut sidecar, "restore-latest");
    assert!(done && report.contains("before-restore"), "{report}");
    assert_eq!(rows(&house.database()), 50);
    // While the bot holds its data nothing is restored, and the report says what to do.
    let lock = fs::File::options()
        .write(true)
        .open(house.data().join(".bot.lock"))
        .unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (done, report) = request(&house, &mut sidecar, &format!("restore-{stem}"));
    assert!(!done && report.contains("Container Manager"), "{report}");
    drop(lock);
    let (done, report) = request(&house, &mut sidecar, "accept-backup_20200101_000000");
    assert!(!done && report.contains("no archive"), "{report}");
    sidecar.stop().expect_code(0);
    // A request that a kill cut off is not run again.
    fs::create_dir(house.backups().join("running-restore-latest")).unwrap();
    house.settle();
    let mut sidecar = house.program("backup-sidecar").start();
    sidecar.wait_event_that("request.failed", |line| line["request"] == "restore-latest");
    sidecar.stop().expect_code(0);
    assert!(!house.backups().join("running-restore-latest").exists());
}

#[test]
fn success_and_failure_are_told_to_the_dead_mans_switch() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 5);
    let url = format!("{}/ping/canary-uuid", storage.url);
    let backup = |free: &str| {
        let launch = house
            .program("backup-sidecar")
            .args(["backup"])
            .env("BACKUP_PING_URL", &url);
        launch.env("BACKUP_MIN_FREE", free).run()
    };
    backup("0").expect_code(0);
    let refused = backup("900000000").expect_code(1);
    assert!(
        refused.stderr.contains("BACKUP_MIN_FREE"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("canary-uuid"));
    storage.with(|state| {
        let paths: Vec<&str> = state.pings.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/ping/canary-uuid", "/ping/canary-uuid/fail"]);
        assert!(state.pings[1].1.contains("space"), "{:?}", state.pings);
    });
    assert_eq!(archives(&house).len(), 1, "never half an archive");
}

#[test]
fn a_job_that_waits_for_another_one_is_no_failed_backup() {
    let house = House::alone();
    let storage = Storage::start();
    chat(&house, 12);
    let held = fs::File::create(house.backups().join(".sidecar.lock")).unwrap();
    house.settle();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut sidecar = house
        .program("backup-sidecar")
        .env("BACKUP_PING_URL", format!("{}/ping/home", storage.url))
        .start();
    sidecar.wait_event("backup.held_up");
    drop(held);
    sidecar.wait_event("backup.done");
    let events = sidecar.events();
    let told = |event: &str| events.iter().filter(|line| line["event"] == event).count();
    assert_eq!((told("backup.failed"), told("backup.started")), (0, 1));
    let fails = storage.with(|state| state.requests.iter().any(|line| line.contains("/fail")));
    assert!(!fails);
    sidecar.stop().expect_code(0);
}

#[test]
fn a_wrong_configuration_is_told_whole_and_healthcheck_says_unwell() {
    let house = House::alone();
    let told = house
        .program("backup-sidecar")
        .args(["backup"])
        .env("BACKUP_SCHEDULE", "every night")
        .env("BACKUP_KEEP_LAST", "none")
        .run()
        .expect_code(78);
    assert!(
        told.stderr.contains("BACKUP_SCHEDULE") && told.stderr.contains("BACKUP_KEEP_LAST"),
        "{}",
        told.stderr
    );
    command(&house, &["healthcheck"], &[]).expect_code(1);
    let version = command(&house, &["--version"], &[]).expect_code(0);
    assert!(version.stdout.contains("SQLite") && version.stdout.contains("zstd"));
    command(&house, &["frobnicate"], &[]).expect_code(2);
}
