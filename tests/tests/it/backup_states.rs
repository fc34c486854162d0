//! States of the data that are not as they should be: each is refused or handled, and told with its cure.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rusqlite::Connection;
use tests::archives::{archives, chat, list, stock_unpack};
use tests::{House, inject, skipped};

use crate::backup_restore::sidecar;

#[test]
fn a_database_of_another_user_is_refused_with_the_cure() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give a file to another user");
    }
    let house = House::alone();
    chat(&house, 10);
    let launch = house
        .program("backup-sidecar")
        .args(["backup"])
        .env("BOT_LANGUAGE", "en");
    chown(house.database(), Some(1_234), Some(1_234)).unwrap();
    fs::set_permissions(house.database(), fs::Permissions::from_mode(0o666)).unwrap();
    let refused = launch.run().expect_code(1);
    assert!(
        refused.stderr.contains("belongs to UID 1234") && refused.stderr.contains("PUID"),
        "{}",
        refused.stderr
    );
    for ending in ["-wal", "-shm"] {
        let side = format!("{}{ending}", house.database().display());
        assert!(!Path::new(&side).exists(), "{side} would lock the bot out");
    }
    assert!(archives(&house).is_empty());
}

#[test]
fn a_database_on_a_network_file_system_is_refused_with_the_cure() {
    if let Some(why) = inject::unavailable() {
        return skipped(&format!("no network file system can be feigned ({why})"));
    }
    let house = House::alone();
    chat(&house, 10);
    // The kernel's answer says NFS: it is the first field of what `statfs` fills in.
    let feigned = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=statfs",
        "-e",
        "inject=statfs:poke_exit=@arg2=6969000000000000",
    ];
    let run = |verb: &str| {
        let launch = house.program("backup-sidecar").args([verb]).under(feigned);
        launch.env("BOT_LANGUAGE", "en")
    };
    for verb in ["backup", "restore", "run"] {
        let refused = run(verb).run();
        assert_ne!(refused.code, Some(0), "{verb}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            said.contains("NFS") && said.contains("ALLOW_NETWORK_FILESYSTEM"),
            "{verb}: {said}"
        );
    }
    assert!(archives(&house).is_empty());
    let allowed = run("backup").env("ALLOW_NETWORK_FILESYSTEM", "on");
    allowed.run().expect_code(0);
    assert_eq!(archives(&house).len(), 1);
}

#[test]
fn a_file_that_is_no_database_makes_no_archive_alone_and_is_kept_beside_one() {
    let house = House::alone();
    house.write("data/sessions.db", "no database at all");
    let refused = sidecar(&house, &["backup"], &[]).expect_code(1);
    assert!(refused.stderr.contains("no database"), "{}", refused.stderr);
    chat_elsewhere(&house);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    let archive = house.backups().join(archives(&house).remove(0));
    let place = stock_unpack(&archive, &house.path("unpacked"));
    let kept = fs::read_to_string(place.join("data/sessions.db")).unwrap();
    assert_eq!(kept, "no database at all");
}

/// A real database under another name.
fn chat_elsewhere(house: &House) {
    let connection = Connection::open(house.data().join("other.sqlite")).unwrap();
    connection
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    connection.close().unwrap();
    house.settle();
}

#[test]
fn a_missing_database_is_told_and_never_created() {
    let house = House::alone();
    let refused = sidecar(&house, &["backup"], &[]).expect_code(1);
    assert!(
        refused.stderr.contains("start the bot first"),
        "{}",
        refused.stderr
    );
    assert!(!house.database().exists());
    chat(&house, 10);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    fs::remove_file(house.database()).unwrap();
    let refused = sidecar(&house, &["backup"], &[]).expect_code(1);
    assert!(
        refused.stderr.contains("no database") && refused.stderr.contains("any more"),
        "{}",
        refused.stderr
    );
    assert_eq!(archives(&house).len(), 1, "the good one stays");
}

#[test]
fn a_database_without_wal_is_copied_and_its_writers_wait_is_told() {
    let house = House::alone();
    chat(&house, 10);
    let connection = Connection::open(house.database()).unwrap();
    connection
        .query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))
        .unwrap();
    connection.close().unwrap();
    house.settle();
    let said = sidecar(&house, &["backup"], &[]).expect_code(0);
    assert!(said.stdout.contains("not in WAL mode"), "{}", said.stdout);
    assert!(
        said.stderr.contains("not in WAL mode"),
        "the event goes to standard error: {}",
        said.stderr
    );
}

#[test]
fn a_retention_run_of_the_bot_freezes_nothing_and_a_loss_beside_it_does() {
    let house = House::alone();
    chat(&house, 300);
    let backup = || sidecar(&house, &["backup"], &[("BACKUP_KEEP_LAST", "9")]);
    backup().expect_code(0);
    let delete = |rows: i64, counted: i64| {
        let connection = Connection::open(house.database()).unwrap();
        connection
            .execute_batch(&format!(
                "BEGIN; DELETE FROM messages WHERE n IN (SELECT n FROM messages LIMIT {rows});
                 CREATE TABLE IF NOT EXISTS let_go (cause TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID;
                 INSERT INTO let_go VALUES ('retired', {counted}) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows;
                 COMMIT"
            ))
            .unwrap();
        connection.close().unwrap();
        house.settle();
    };
    delete(250, 250);
    backup().expect_code(0);
    assert!(list(&house)["frozen"].is_null());
    // More than half of what is left goes, and only one row of it on purpose.
    delete(40, 1);
    let said = backup().expect_code(0).stdout;
    assert!(said.contains("1 of them were let go on purpose"), "{said}");
    assert!(list(&house)["frozen"].is_object());
}
