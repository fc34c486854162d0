use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use rusqlite::params;
use tempfile::TempDir;

use super::*;
use crate::verify;

fn database(dir: &TempDir, mode: &str) -> (PathBuf, Connection) {
    let path = dir.path().join("sessions.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row(&format!("PRAGMA journal_mode={mode}"), [], |_| Ok(()))
        .unwrap();
    connection
        .execute_batch(
            "PRAGMA user_version = 7; CREATE TABLE messages (n INTEGER PRIMARY KEY, body BLOB);
             CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)",
        )
        .unwrap();
    (path, connection)
}

fn insert(connection: &Connection, n: i64) {
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
        .execute(
            "INSERT INTO messages VALUES (?1, randomblob(300))",
            params![n],
        )
        .unwrap();
    connection
        .execute("UPDATE counter SET n = ?1", params![n])
        .unwrap();
    connection.execute_batch("COMMIT").unwrap();
}

fn copy_rows(copy: &Copy) -> u64 {
    let facts = verify::examine(copy.file(), "data/sessions.db").unwrap();
    assert_eq!(facts.integrity, "ok");
    assert_eq!(facts.user_version, 7);
    facts.tables["messages"]
}

fn snapshot(dir: &TempDir, source: &Path) -> anyhow::Result<Copy> {
    take(
        source,
        &dir.path().join("copy.db.partial"),
        &Watch::command(),
    )
}

#[test]
fn a_copy_has_every_commit_in_the_wal_and_no_journal_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (path, connection) = database(&dir, "wal");
    for n in 1..=50 {
        insert(&connection, n);
    }
    let before = fs::metadata(side_file(&path, "-wal")).unwrap().len();
    let copy = snapshot(&dir, &path).unwrap();
    assert_eq!(copy_rows(&copy), 50);
    assert!(!copy.made_writer_wait && copy.damage.is_none());
    let after = fs::metadata(side_file(&path, "-wal")).unwrap().len();
    assert_eq!(after, before, "never checkpointed");
    let head = fs::read(copy.file()).unwrap();
    assert_eq!(
        head[18..20],
        [1, 1],
        "the copy is readable without -wal and -shm"
    );
    let file = copy.file().to_owned();
    drop(copy);
    assert!(!file.exists());
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 3, "only the database's own files");
}

#[test]
fn every_state_of_the_writer_is_copied() {
    // Cleanly stopped: no side files.
    let dir = tempfile::tempdir().unwrap();
    let (path, connection) = database(&dir, "wal");
    insert(&connection, 1);
    connection.close().unwrap();
    assert!(!side_file(&path, "-wal").exists());
    assert_eq!(copy_rows(&snapshot(&dir, &path).unwrap()), 1);
    // Killed: -wal and -shm as they stood, then without -shm.
    let connection = Connection::open(&path).unwrap();
    insert(&connection, 2);
    let killed = tempfile::tempdir().unwrap();
    let killed_path = killed.path().join("sessions.db");
    for ending in ["", "-wal", "-shm"] {
        fs::copy(side_file(&path, ending), side_file(&killed_path, ending)).unwrap();
    }
    assert_eq!(copy_rows(&snapshot(&killed, &killed_path).unwrap()), 2);
    fs::remove_file(side_file(&killed_path, "-shm")).unwrap();
    assert_eq!(copy_rows(&snapshot(&killed, &killed_path).unwrap()), 2);
    // Not WAL at all: the writer would have had to wait.
    let plain = tempfile::tempdir().unwrap();
    let (path, connection) = database(&plain, "delete");
    insert(&connection, 1);
    let copy = snapshot(&plain, &path).unwrap();
    assert!(copy.made_writer_wait);
    assert_eq!(copy_rows(&copy), 1);
}

#[test]
fn a_missing_database_is_an_error_and_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    assert!(snapshot(&dir, &path).is_err());
    assert!(!path.exists());
}

#[test]
fn a_copy_under_a_fast_writer_ends_and_holds_what_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let (path, connection) = database(&dir, "wal");
    connection
        .execute_batch("PRAGMA synchronous = OFF")
        .unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        let (stop, acknowledged) = (&stop, &acknowledged);
        scope.spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                insert(&connection, n);
                acknowledged.store(n, Ordering::SeqCst);
            }
        });
        for round in 0..10 {
            while acknowledged.load(Ordering::SeqCst) < round * 5 {
                thread::yield_now();
            }
            let before = acknowledged.load(Ordering::SeqCst);
            let copy = snapshot(&dir, &path).unwrap();
            let opened = Connection::open(copy.file()).unwrap();
            let all = "SELECT count(*), coalesce(max(messages.n), 0), (SELECT n FROM counter) FROM messages";
            let (count, max, counter): (i64, i64, i64) = opened
                .query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .unwrap();
            assert!(max >= before, "{max} is older than {before}");
            assert_eq!(
                (count, counter),
                (max, max),
                "a prefix, and both tables agree"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_damaged_database_is_copied_and_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, connection) = database(&dir, "delete");
    for n in 1..=200 {
        insert(&connection, n);
    }
    connection.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 6_000].fill(0xA5);
    fs::write(&path, &bytes).unwrap();
    let copy = snapshot(&dir, &path).unwrap();
    let facts = verify::examine(copy.file(), "data/sessions.db").unwrap();
    assert!(!facts.is_sound(), "{}", facts.integrity);
    drop(copy);
    // The head alone is right: SQLite refuses it, so its bytes are taken as they are.
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.resize(2_000, 0xFF);
    fs::write(&path, &bytes).unwrap();
    let copy = snapshot(&dir, &path).unwrap();
    assert!(copy.damage.is_some());
    assert_eq!(fs::read(copy.file()).unwrap(), bytes);
}

#[test]
fn whoever_has_the_database_open_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, connection) = database(&dir, "wal");
    insert(&connection, 1);
    assert!(prove_unused(&path).is_err(), "it is open");
    connection.close().unwrap();
    assert!(prove_unused(&path).unwrap());
    assert!(!side_file(&path, "-wal").exists());
    let torn = dir.path().join("torn.db");
    fs::write(&torn, b"SQLite format 3\0 torn").unwrap();
    assert!(
        !prove_unused(&torn).unwrap(),
        "nobody can use what SQLite cannot read"
    );
}

#[test]
fn every_page_size_is_copied() {
    for size in [512_u32, 1024, 65_536] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "page_size", size).unwrap();
        connection
            .query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))
            .unwrap();
        connection
            .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
            .unwrap();
        let copy = snapshot(&dir, &path).unwrap();
        let facts = verify::examine(copy.file(), "data/sessions.db").unwrap();
        assert_eq!(
            (facts.integrity.as_str(), facts.page_size),
            ("ok", u64::from(size))
        );
    }
}
