//! Faults: kill -9 at any moment under a fast writer, full disks, lost power, interrupted restores.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, params};
use tests::archives::{archives, chat, rows};
use tests::disk::Disk;
use tests::{House, PATIENCE};

/// How many rounds: `FAULT_ROUNDS` for the long form.
#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn rounds() -> usize {
    let told = std::env::vars().find(|(name, _)| name == "FAULT_ROUNDS");
    told.and_then(|(_, count)| count.parse().ok()).unwrap_or(8)
}

/// A writer whose acknowledgements are known: commit n touches two tables, and n is told after COMMIT returned.
struct Writer {
    stop: AtomicBool,
    acknowledged: AtomicI64,
    issued: AtomicI64,
}

impl Writer {
    fn run(&self, path: &Path) {
        let mut connection = open(path);
        let mut random = fastrand::Rng::with_seed(7);
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            n += 1;
            self.issued.store(n, Ordering::SeqCst);
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
                .execute(
                    "INSERT INTO messages VALUES (?1, randomblob(200))",
                    params![n],
                )
                .unwrap();
            connection
                .execute("UPDATE counter SET n = ?1", params![n])
                .unwrap();
            connection.execute_batch("COMMIT").unwrap();
            self.acknowledged.store(n, Ordering::SeqCst);
            match random.u32(0..400) {
                // A restart of the bot, clean.
                0 => connection = open(path),
                1 => connection
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                    .unwrap(),
                _ => {}
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .unwrap();
    connection
}

/// What an archive of the writer's database holds: a prefix without a hole, both tables agreeing.
fn prefix(database: &Path) -> i64 {
    let connection = Connection::open(database).unwrap();
    let all =
        "SELECT count(*), coalesce(max(messages.n), 0), (SELECT n FROM counter) FROM messages";
    let (count, newest, counter): (i64, i64, i64) = connection
        .query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(
        (count, counter),
        (newest, newest),
        "a hole or a torn transaction"
    );
    newest
}

#[test]
fn every_archive_that_has_its_name_holds_every_commit_acknowledged_before_it_began() {
    let house = House::alone();
    chat(&house, 0);
    let path = house.database();
    open(&path)
        .execute_batch("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)")
        .unwrap();
    house.settle();
    let writer = Writer {
        stop: AtomicBool::new(false),
        acknowledged: AtomicI64::new(0),
        issued: AtomicI64::new(0),
    };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut known: Vec<String> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| writer.run(&path));
        for round in 0..rounds() {
            let before = writer.acknowledged.load(Ordering::SeqCst);
            let sidecar = house
                .program("backup-sidecar")
                .args(["backup"])
                .env("BACKUP_KEEP_LAST", "1000")
                .start();
            if round % 4 == 3 {
                sidecar.ended().expect_code(0);
            } else {
                thread::sleep(Duration::from_millis(random.u64(0..180)));
                sidecar.kill();
            }
            let after = writer.issued.load(Ordering::SeqCst);
            for name in archives(&house) {
                if known.contains(&name) {
                    continue;
                }
                let beside = house.path(&format!("tmp/{name}"));
                house
                    .program("backup-sidecar")
                    .args(["restore", &name, "--to"])
                    .args([beside.as_os_str()])
                    .run()
                    .expect_code(0);
                let held = prefix(&beside.join("data/sessions.db"));
                assert!(
                    (before..=after).contains(&held),
                    "seed {seed}, {name}: {held} is not within {before}..={after}"
                );
                known.push(name);
            }
        }
        writer.stop.store(true, Ordering::Relaxed);
    });
    assert!(known.len() >= rounds() / 4);
    house
        .program("backup-sidecar")
        .args(["verify"])
        .run()
        .expect_code(0);
    // The next whole run leaves nothing of the killed ones.
    house
        .program("backup-sidecar")
        .args(["backup"])
        .run()
        .expect_code(0);
    let left = tests::house::walk(&house.backups());
    assert!(
        !left
            .iter()
            .any(|path| path.to_string_lossy().contains(".partial")),
        "{left:?}"
    );
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
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..rounds() {
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
        show(&format!("SKIPPED: no disk of our own ({why})"));
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
fn an_archive_with_its_name_outlives_a_power_cut() {
    if let Some(why) = Disk::unavailable() {
        show(&format!("SKIPPED: no disk of our own ({why})"));
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

/// To the test's captured output.
fn show(text: &str) {
    use std::io::Write;
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
