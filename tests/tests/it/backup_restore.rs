//! Restores: in place, beside, from off-site, of sealed archives, of archives that cannot be trusted.

use std::fs;

use rusqlite::Connection;
use tests::archives::{archives, chat, forge, list, rows};
use tests::world::model::echo;
use tests::{Finished, House, World};

/// A key pair made for these tests; nothing else is sealed to it.
const RECIPIENT: &str = "age1zwppn8mwtzz7fy63w6fkqxmjyp4cc7knqfxlrrgh37cyxutclcyqydf4qp";
const IDENTITY: &str = concat!(
    "AGE-SECRET-",
    "KEY-1SN4M6XKK95AZQFZT7CGUS0EMKZ9UAF6S380H6NKNMVC05PVJV4GSR7VJV7"
);

pub(crate) fn sidecar(house: &House, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut launch = house
        .program("backup-sidecar")
        .args(arguments.iter().copied())
        .env("BOT_LANGUAGE", "en");
    for (name, value) in environment {
        launch = launch.env(name, value);
    }
    launch.run()
}

#[test]
fn back_and_forth() {
    let house = House::alone();
    chat(&house, 100);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    chat(&house, 250);
    let said = sidecar(&house, &["restore"], &[]).expect_code(0).stdout;
    assert!(said.contains("messages 100"), "{said}");
    assert_eq!(rows(&house.database()), 100);
    // The report says how to undo: the old file is whole under the name that it names.
    let aside = said
        .split_whitespace()
        .find(|word| word.contains(".before-restore-"))
        .unwrap();
    assert_eq!(rows(&house.data().join(aside)), 250);
    // Set-aside copies do not go into archives.
    sidecar(&house, &["backup"], &[]).expect_code(0);
    let listed = list(&house);
    assert_eq!(
        listed["archives"][0]["databases"].as_array().unwrap().len(),
        1,
        "{listed:#}"
    );
}

#[test]
fn a_restore_after_an_unclean_stop_is_not_undone_by_the_log_that_was_left() {
    let house = House::alone();
    chat(&house, 100);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    // As a kill leaves it: rows that are in the write-ahead log alone.
    let database = house.database();
    let log = house.data().join("sessions.db-wal");
    let writer = Connection::open(&database).unwrap();
    let insert = "WITH RECURSIVE c(n) AS (SELECT 101 UNION ALL SELECT n + 1 FROM c WHERE n < 400)
                  INSERT INTO messages SELECT n, 'late' FROM c";
    writer.execute(insert, []).unwrap();
    let left = [&database, &log].map(|path| (path, fs::read(path).unwrap()));
    writer.close().unwrap();
    for (path, bytes) in left {
        fs::write(path, bytes).unwrap();
    }
    house.settle();
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let said = sidecar(&house, &["restore"], &[]).expect_code(0).stdout;
    assert_eq!(rows(&database), 100, "{said}");
    let aside = said
        .split_whitespace()
        .find(|word| word.contains(".before-restore-"))
        .unwrap();
    assert_eq!(rows(&house.data().join(aside)), 400, "its log was lost");
}

#[test]
fn a_database_in_use_is_never_replaced() {
    let house = House::alone();
    chat(&house, 10);
    sidecar(&house, &["backup"], &[]).expect_code(0);
    let open = Connection::open(house.database()).unwrap();
    open.execute("INSERT INTO messages VALUES (11, x'00')", [])
        .unwrap();
    house.settle();
    let refused = sidecar(&house, &["restore"], &[]).expect_code(1);
    assert!(
        refused.stderr.contains("docker compose stop bot"),
        "{}",
        refused.stderr
    );
    open.execute("INSERT INTO messages VALUES (12, x'00')", [])
        .unwrap();
    open.close().unwrap();
    assert_eq!(rows(&house.database()), 12);
    house.settle();
    sidecar(&house, &["restore"], &[]).expect_code(0);
    assert_eq!(rows(&house.database()), 10);
}

#[test]
fn archives_that_cannot_be_trusted_are_refused_and_change_nothing() {
    let house = House::alone();
    chat(&house, 10);
    forge(
        &house,
        "backup_20260101_020000.tar.zst",
        "2026-01-01T02:00:00Z",
        4,
    );
    let good = fs::read(house.backups().join("backup_20260101_020000.tar.zst")).unwrap();
    house.write(
        "backups/backup_20260102_020000.tar.zst",
        &good[..good.len() / 2],
    );
    house.write(
        "backups/backup_20260103_020000.tar.zst",
        "PK\u{3}\u{4} a zip",
    );
    let mut flipped = good.clone();
    let at = flipped.len() - 40;
    flipped[at] ^= 1;
    house.write("backups/backup_20260104_020000.tar.zst", flipped);
    for stem in [
        "backup_20260102_020000",
        "backup_20260103_020000",
        "backup_20260104_020000",
        "backup_20260109_020000",
    ] {
        let refused = sidecar(&house, &["restore", stem], &[]).expect_code(1);
        assert!(refused.stderr.contains("Not done"), "{}", refused.stderr);
        assert_eq!(rows(&house.database()), 10);
    }
    let verified = sidecar(&house, &["verify"], &[]).expect_code(1).stdout;
    assert_eq!(verified.matches("BAD").count(), 3, "{verified}");
    assert!(
        verified.contains("Newest good archive: backup_20260101_020000"),
        "{verified}"
    );
    // The newest good one is what `latest` means.
    sidecar(&house, &["restore"], &[]).expect_code(0);
    assert_eq!(rows(&house.database()), 4);
}

#[test]
fn sealed_archives_open_with_the_owners_identity_alone() {
    let house = House::alone();
    chat(&house, 33);
    let sealing = [("BACKUP_AGE_RECIPIENTS", RECIPIENT)];
    sidecar(&house, &["backup"], &sealing).expect_code(0);
    let name = archives(&house).remove(0);
    assert!(name.ends_with(".tar.zst.age"), "{name}");
    let verified = sidecar(&house, &["verify"], &sealing).expect_code(0).stdout;
    assert!(verified.contains("sealed"), "{verified}");
    let drill = sidecar(&house, &["drill"], &sealing).expect_code(1).stdout;
    assert!(drill.contains("not possible"), "{drill}");
    let closed = sidecar(&house, &["restore"], &sealing).expect_code(1);
    assert!(
        closed.stderr.contains("BACKUP_AGE_IDENTITY_FILE"),
        "{}",
        closed.stderr
    );
    let key = house.write(
        "secrets/identity.txt",
        format!("# made for a test\n{IDENTITY}\n"),
    );
    let key = key.display().to_string();
    let opening = [("BACKUP_AGE_IDENTITY_FILE", key.as_str())];
    // With the key the catalogue's loss loses nothing either.
    fs::remove_file(house.backups().join("catalog.json")).unwrap();
    let verified = sidecar(&house, &["verify"], &opening).expect_code(0).stdout;
    assert!(verified.contains("ok"), "{verified}");
    sidecar(&house, &["drill"], &opening).expect_code(0);
    chat(&house, 1);
    sidecar(&house, &["restore"], &opening).expect_code(0);
    assert_eq!(rows(&house.database()), 33);
    // A flipped byte of the ciphertext is found without any key.
    sidecar(&house, &["backup"], &sealing).expect_code(0);
    let newest = house.backups().join(archives(&house).pop().unwrap());
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let verified = sidecar(&house, &["verify"], &sealing).expect_code(1).stdout;
    assert!(verified.contains("BAD"), "{verified}");
}

#[test]
fn after_a_restore_nothing_that_was_answered_is_answered_again() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot(&world);
    let before = world.mention(hana, world.general(), "バックアップの前");
    world.answer(before, &echo("バックアップの前"));
    sidecar(&house, &["backup"], &[]).expect_code(0);
    let after = world.mention(hana, world.general(), "バックアップの後");
    world.answer(after, &echo("バックアップの後"));
    let follow = world.say(hana, before, "その続き");
    world.answer(follow, &echo("その続き"));
    let alone = world.direct(hana, "ふたりで");
    world.answer(alone, &echo("ふたりで"));
    // While the bot runs nothing is touched, and the words say how to stop it wherever it was started.
    let refused = sidecar(&house, &["restore"], &[]).expect_code(1);
    for word in [
        "docker compose stop bot",
        "Container Manager",
        "Container Station",
        "TrueNAS",
    ] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    bot.stop().expect_code(0);
    let waiting = world.mention(hana, world.general(), "まだ返事のない問い");
    sidecar(&house, &["restore"], &[]).expect_code(0);
    let bot = house.bot(&world);
    world.answer(waiting, &echo("まだ返事のない問い"));
    world.expect("word to the owner", |message| {
        message.content.contains("バックアップから復元されたデータ")
    });
    bot.stop().expect_code(0);
    for said in [before, after, follow, alone, waiting] {
        assert_eq!(world.answers(said).len(), 1, "answered once");
    }
    // `finish` fails on every message that nobody expected: nothing else was said.
    world.finish();
}
