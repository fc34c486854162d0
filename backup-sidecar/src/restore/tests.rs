use std::path::PathBuf;

use daemon_kit::env::Env;
use rusqlite::Connection;
use tempfile::TempDir;

use super::journal::JOURNAL;
use super::*;
use crate::job::{self, Outcome};
use crate::manifest::Cause;

struct Home {
    root: TempDir,
    config: Config,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["data", "backups", "logs"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        let path = |dir: &str| root.path().join(dir).to_string_lossy().into_owned();
        let mut env = Env::from_map([
            ("DATA_DIR", path("data")),
            ("BACKUP_DIR", path("backups")),
            ("LOG_DIR", path("logs")),
            ("BACKUP_MIN_FREE", "0".to_owned()),
        ]);
        let mut config = Config::read(&mut env);
        config.sources.config = None;
        Self { root, config }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.path().join("data").join(name)
    }

    fn write(&self, name: &str, rows: std::ops::RangeInclusive<i64>) {
        let connection = Connection::open(self.data(name)).unwrap();
        connection
            .query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))
            .unwrap();
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS messages (n INTEGER PRIMARY KEY)")
            .unwrap();
        for n in rows {
            connection
                .execute("INSERT INTO messages VALUES (?1)", [n])
                .unwrap();
        }
    }

    fn rows(&self, name: &str) -> i64 {
        let connection = Connection::open(self.data(name)).unwrap();
        connection
            .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
            .unwrap()
    }

    fn backup(&self) -> String {
        match job::run(&self.config, Cause::Manual, &Watch::command()).unwrap() {
            Outcome::Published(done) => done.name.to_string(),
            Outcome::NoDatabaseYet => panic!("no database"),
        }
    }

    fn restore(&self) -> anyhow::Result<Restored> {
        in_place(&self.config, "latest", &Watch::command())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.data(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_old_files_are_set_aside_and_nothing_of_the_old_wal_is_replayed() {
    let home = Home::new();
    home.write("sessions.db", 1..=10);
    fs::write(home.data("note.txt"), "old").unwrap();
    home.backup();
    fs::write(home.data("note.txt"), "new").unwrap();
    // The writer was killed: its WAL is hot.
    home.write("sessions.db", 11..=30);
    let hot = Connection::open(home.data("sessions.db")).unwrap();
    hot.execute("INSERT INTO messages VALUES (31)", []).unwrap();
    let saved = tempfile::tempdir().unwrap();
    for ending in ["", "-wal", "-shm"] {
        fs::copy(
            home.data(&format!("sessions.db{ending}")),
            saved.path().join(format!("x{ending}")),
        )
        .unwrap();
    }
    hot.close().unwrap();
    for ending in ["", "-wal", "-shm"] {
        fs::copy(
            saved.path().join(format!("x{ending}")),
            home.data(&format!("sessions.db{ending}")),
        )
        .unwrap();
    }
    let done = home.restore().unwrap();
    assert_eq!(home.rows("sessions.db"), 10);
    assert_eq!(fs::read_to_string(home.data("note.txt")).unwrap(), "old");
    assert_eq!(done.set_aside.len(), 2);
    let (_, aside) = done
        .set_aside
        .iter()
        .find(|(old, _)| old == "sessions.db")
        .unwrap();
    assert!(crate::collect::is_set_aside(aside), "{aside}");
    assert_eq!(
        home.rows(aside),
        31,
        "the old database is whole, its WAL included"
    );
    let marker = fs::read_to_string(home.data(RESTORED)).unwrap();
    assert!(marker.contains("snapshot_utc"), "{marker}");
    assert!(!is_pending(&home.config.sources.data));
    assert!(
        !home.names().iter().any(|name| name.contains("stage")),
        "{:?}",
        home.names()
    );
}

#[test]
fn a_log_without_its_database_is_set_aside_and_never_replayed() {
    let home = Home::new();
    home.write("sessions.db", 1..=10);
    home.backup();
    // The database was deleted by hand after a crash; its WAL stayed.
    let hot = Connection::open(home.data("sessions.db")).unwrap();
    hot.execute("INSERT INTO messages VALUES (99)", []).unwrap();
    let wal = fs::read(home.data("sessions.db-wal")).unwrap();
    hot.close().unwrap();
    fs::remove_file(home.data("sessions.db")).unwrap();
    fs::write(home.data("sessions.db-wal"), &wal).unwrap();
    fs::write(home.data("sessions.db-shm"), "stale").unwrap();
    let done = home.restore().unwrap();
    assert_eq!(home.rows("sessions.db"), 10);
    let [(old, aside)] = &done.set_aside[..] else {
        panic!("{:?}", done.set_aside);
    };
    assert_eq!(old, "sessions.db-wal");
    assert_eq!(fs::read(home.data(aside)).unwrap(), wal);
}

#[test]
fn a_database_of_another_program_is_archived_as_sound_and_restored() {
    let home = Home::new();
    let theirs = crate::verify::tests::foreign(&home.config.sources.data);
    let before = fs::read(&theirs).unwrap();
    let name = home.backup();
    assert!(!name.contains("damaged"), "{name}");
    fs::remove_file(&theirs).unwrap();
    let done = home.restore().unwrap();
    assert_eq!(fs::read(&theirs).unwrap().len(), before.len());
    let notes = done.manifest.notes.join("\n");
    assert!(notes.contains("data/foreign.db"), "{notes}");
}

#[test]
fn only_who_has_the_data_open_is_told_to_stop() {
    let home = Home::new();
    home.write("sessions.db", 1..=3);
    home.backup();
    // A directory in the place of a side file: SQLite cannot open the database, and nobody else is to blame.
    for ending in ["-wal", "-shm"] {
        fs::remove_file(home.data(&format!("sessions.db{ending}"))).ok();
    }
    fs::create_dir(home.data("sessions.db-wal")).unwrap();
    let error = home.restore().unwrap_err();
    assert!(!error.is::<BotRuns>(), "{error:#}");
    assert!(format!("{error:#}").contains("cannot prove"), "{error:#}");
}

#[test]
fn the_bot_is_never_overrun() {
    let home = Home::new();
    home.write("sessions.db", 1..=3);
    home.backup();
    let lock = DirLock::try_take(&home.data(BOT_LOCK)).unwrap();
    let error = home.restore().unwrap_err();
    assert!(error.is::<BotRuns>(), "{error:#}");
    drop(lock);
    // Any other process that has the database open counts as well; here a connection of our own stands for it.
    let open = Connection::open(home.data("sessions.db")).unwrap();
    open.query_row("SELECT count(*) FROM messages", [], |_| Ok(()))
        .unwrap();
    let error = home.restore().unwrap_err();
    assert!(
        format!("{error:#}").contains("has the data open"),
        "{error:#}"
    );
    drop(open);
    assert_eq!(home.names(), [BOT_LOCK, "sessions.db"]);
    home.restore().unwrap();
}

#[test]
fn an_interruption_at_any_step_is_completed() {
    // What a kill leaves after the journal: all staged, or any part of it in place already.
    for done_before in 0..3 {
        let home = Home::new();
        home.write("a.db", 1..=5);
        home.write("b.db", 1..=6);
        let name: ArchiveName = home.backup().parse().unwrap();
        home.write("a.db", 6..=50);
        home.write("b.db", 7..=60);
        home.write("later.db", 1..=1);
        let data = &home.config.sources.data;
        let stage = home.data(".restore-stage.partial");
        let archive = home.config.backup_dir.join(name.to_string());
        let manner = Manner {
            data_only: true,
            mode: PRIVATE,
            spare_bytes: SPARE_BYTES,
        };
        let manifest = unpack(&archive, &stage, manner, None, &Watch::command()).unwrap();
        let databases = databases_in(&home.config).unwrap();
        let databases: Vec<_> = databases
            .into_iter()
            .filter(|path| !path.starts_with(&stage))
            .collect();
        for database in &databases {
            snapshot::prove_unused(database).unwrap();
        }
        let journal = Journal::plan(
            &home.config,
            &name,
            &manifest,
            &stage,
            &databases,
            time::now(),
        )
        .unwrap();
        journal.begin(data).unwrap();
        let aside = journal.names();
        let aside_of = |wanted: &str| {
            aside
                .iter()
                .find(|(old, _)| old == wanted)
                .unwrap()
                .1
                .clone()
        };
        if done_before > 0 {
            fs::hard_link(home.data("a.db"), home.data(&aside_of("a.db"))).unwrap();
        }
        if done_before > 1 {
            rustix::fs::rename(stage.join("data/a.db"), home.data("a.db")).unwrap();
        }
        assert!(is_pending(data));
        assert_eq!(recover(&home.config).unwrap(), Some(name.to_string()));
        assert_eq!((home.rows("a.db"), home.rows("b.db")), (5, 6));
        assert_eq!(
            (home.rows(&aside_of("a.db")), home.rows(&aside_of("b.db"))),
            (50, 60)
        );
        assert!(
            !home.data("later.db").exists(),
            "a database that the archive does not have goes aside"
        );
        assert_eq!(home.rows(&aside_of("later.db")), 1);
        assert!(!home.data(JOURNAL).exists() && !stage.exists() && home.data(RESTORED).exists());
        assert_eq!(recover(&home.config).unwrap(), None);
    }
}

#[test]
fn a_kill_before_the_journal_leaves_everything_as_it_was() {
    let home = Home::new();
    home.write("sessions.db", 1..=5);
    home.backup();
    let stage = home.data(".restore-stage.partial/data");
    fs::create_dir_all(&stage).unwrap();
    fs::write(stage.join("sessions.db"), "half").unwrap();
    assert_eq!(recover(&home.config).unwrap(), None);
    assert_eq!(home.rows("sessions.db"), 5);
    home.backup();
    home.restore().unwrap();
    assert!(!stage.exists());
}

#[test]
fn a_bad_archive_changes_nothing() {
    let home = Home::new();
    home.write("sessions.db", 1..=5);
    let name = home.backup();
    home.write("sessions.db", 6..=9);
    let path = home.config.backup_dir.join(&name);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    let error = home.restore().unwrap_err();
    assert!(
        format!("{error:#}").contains("cannot be restored"),
        "{error:#}"
    );
    assert_eq!(home.rows("sessions.db"), 9);
    assert_eq!(home.names(), [BOT_LOCK, "sessions.db"]);
}

#[test]
fn requests_to_forget_outlive_a_restore() {
    let home = Home::new();
    home.write("sessions.db", 1..=5);
    fs::write(home.data(forgotten::FILE), "{\"user\":1}\n").unwrap();
    home.backup();
    fs::write(home.data(forgotten::FILE), "{\"user\":1}\n{\"user\":2}\n").unwrap();
    fs::write(
        home.config.backup_dir.join(forgotten::FILE),
        "{\"user\":3}\n",
    )
    .unwrap();
    home.restore().unwrap();
    let text = fs::read_to_string(home.data(forgotten::FILE)).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["{\"user\":1}", "{\"user\":2}", "{\"user\":3}"]);
}

#[test]
fn requests_to_forget_outlive_the_disk_of_the_data() {
    let home = Home::new();
    home.write("sessions.db", 1..=5);
    let older = home.backup();
    fs::write(home.data(forgotten::FILE), "{\"user\":1}\n").unwrap();
    home.backup();
    // A new disk, and an archive from before the request.
    fs::remove_dir_all(home.data("")).unwrap();
    in_place(&home.config, &older, &Watch::command()).unwrap();
    assert_eq!(
        fs::read_to_string(home.data(forgotten::FILE)).unwrap(),
        "{\"user\":1}\n"
    );
}

#[test]
fn anywhere_else_is_restored_whole() {
    let home = Home::new();
    home.write("sessions.db", 1..=5);
    fs::write(home.root.path().join("logs/bot.log"), "{}\n").unwrap();
    home.backup();
    let to = home.root.path().join("elsewhere");
    to_dir(&home.config, "latest", &to, &Watch::command()).unwrap();
    assert!(to.join("data/sessions.db").exists() && to.join("logs/bot.log").exists());
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    let error = to_dir(&home.config, "latest", &to, &Watch::command()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error:#}");
}
