//! The tables, their versions, and how the database is opened.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Error, let_go};

/// The steps from nothing to the schema of today: each leads from the version of its place to the next one, and is never
/// changed once it was released. A new version is a new step at the end.
const STEPS: [&str; 2] = [VERSION_1, VERSION_2];

/// The schema this program writes.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// A mention writes a dozen small rows in two commits: with 1 KiB pages that is about 10 KB of log, with 4 KiB
/// pages 48 KB (measured).
const PAGE_SIZE: u32 = 1024;

/// Pages in the log before it is folded into the database: 2 MiB.
const CHECKPOINT_PAGES: u32 = 2048;

pub(super) const VERSION_1: &str = "
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL UNIQUE,
    -- 1: a thread that the bot opened, where nobody needs to mention it
    own INTEGER NOT NULL,
    -- 1: taken over from the predecessor, and never sent to a model, because it crossed channels
    sealed INTEGER NOT NULL DEFAULT 0,
    begun_ms INTEGER NOT NULL
);
CREATE TABLE turns (
    -- the id of the inbound message: a replayed message finds its turn already there
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    channel INTEGER NOT NULL,
    guild INTEGER,
    user INTEGER NOT NULL,
    way INTEGER NOT NULL,
    state INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    reply_channel INTEGER,
    -- ids of our messages, in order, separated by spaces
    replies TEXT
);
CREATE INDEX turns_open ON turns (id) WHERE state = 0;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    turn INTEGER,
    role INTEGER NOT NULL,
    user INTEGER,
    at_ms INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX messages_by_conversation ON messages (conversation, id);
-- What answering cost: no words and no people, so it stays when somebody is forgotten.
CREATE TABLE usage (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    purpose INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (day, model, purpose)
) WITHOUT ROWID;
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE identifies (
    at_ms INTEGER NOT NULL,
    cause INTEGER NOT NULL
);
CREATE TABLE tombstones (
    user INTEGER NOT NULL,
    scope TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (user, scope)
) WITHOUT ROWID;
";

/// Speaking unasked: who may be heard where, and whose words a remark was made from. A version of its own: a program that
/// does not know these tables could not forget what is in them.
const VERSION_2: &str = "
CREATE TABLE consents (
    channel INTEGER NOT NULL,
    user INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (channel, user)
) WITHOUT ROWID;
CREATE TABLE heard (
    turn INTEGER NOT NULL,
    user INTEGER NOT NULL,
    PRIMARY KEY (turn, user)
) WITHOUT ROWID;
CREATE INDEX turns_unasked ON turns (channel, id) WHERE way = 4;
";

/// Tables that came later and change none of the others: an older program simply does not look at them, so they are
/// no new version, and going back needs no copy.
const ADDED: &str = "
-- What answering took, by place: channels, never people. 0 = direct messages, and what belongs to no channel.
CREATE TABLE IF NOT EXISTS usage_places (
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    channel INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (day, model, channel)
) WITHOUT ROWID;
";

/// Opens the database for writing, with every promise of the contract switched on.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    create_private(path)?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "busy_timeout", 10_000)?;
    refuse_foreign(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    for (name, value) in [
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("secure_delete", "ON"),
        ("temp_store", "MEMORY"),
        ("trusted_schema", "OFF"),
    ] {
        connection.pragma_update(None, name, value)?;
    }
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 8 << 20)?;
    connection.set_prepared_statement_cache_capacity(48);
    // A plan does not hang on the values bound to it: else SQLite prepares a statement anew for each of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    upgrade(&connection, path, &STEPS)?;
    connection.execute_batch(let_go::TABLE)?;
    connection.execute_batch(ADDED)?;
    Ok(connection)
}

/// Opens the database for a command that only reads.
pub(super) fn open_reading(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "busy_timeout", 10_000)?;
    connection.pragma_update(None, "query_only", "ON")?;
    refuse_foreign(&connection)?;
    Ok(connection)
}

/// New files hold people's words: nobody but their owner may read them.
fn create_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::File(format!(
            "cannot create {}: {error}",
            path.display()
        ))),
    }
}

fn refuse_foreign(connection: &Connection) -> Result<(), Error> {
    let version = user_version(connection)?;
    if version > SCHEMA_VERSION {
        return Err(Error::Newer {
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    if version == 0 && has_table(connection, "sessions")? {
        return Err(Error::Predecessor);
    }
    Ok(())
}

/// Whether `name` is a table here.
pub(super) fn has_table(connection: &Connection, name: &str) -> Result<bool, Error> {
    let found: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        [name],
        |row| row.get(0),
    )?;
    Ok(found > 0)
}

fn user_version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Brings an older schema up to `steps`, all of them or none, after a copy of the data as it was is set aside.
fn upgrade(connection: &Connection, path: &Path, steps: &[&str]) -> Result<(), Error> {
    let found = user_version(connection)?;
    let wanted = steps.len() as i64;
    if found >= wanted {
        return Ok(());
    }
    if found > 0 {
        let copy = copy_aside(connection, path)?;
        let copy = copy.file_name().unwrap_or_default().to_string_lossy();
        tracing::warn!(event = "store.upgraded", from = found, to = wanted, %copy, "the database takes the form of this version; a copy of the old one was set aside");
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let outcome = steps
        .iter()
        .skip(usize::try_from(found).unwrap_or_default())
        .try_for_each(|step| connection.execute_batch(step))
        .and_then(|()| connection.pragma_update(None, "user_version", wanted))
        .and_then(|()| connection.execute_batch("COMMIT"));
    if outcome.is_err() {
        // What failed is the reason to tell; a transaction that is over already needs no end.
        connection.execute_batch("ROLLBACK").ok();
    }
    Ok(outcome?)
}

/// One whole file beside the database, without its log; only what is remembered goes into it.
fn copy_aside(connection: &Connection, path: &Path) -> Result<PathBuf, Error> {
    let aside = super::import::aside_name(path, "before-upgrade", daemon_kit::time::now());
    let mut partial = aside.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // Left by an upgrade that was cut off.
    std::fs::remove_file(&partial).ok();
    create_private(&partial)?;
    connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()])?;
    std::fs::File::open(&partial)
        .and_then(|file| file.sync_all())
        .and_then(|()| daemon_kit::publish::rename(&partial, &aside))
        .map_err(|error| Error::File(error.to_string()))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the next version might add.
    const NEXT: [&str; 3] = [
        VERSION_1,
        VERSION_2,
        "CREATE TABLE later (id INTEGER PRIMARY KEY); INSERT INTO later VALUES (7);",
    ];

    fn copies(path: &Path) -> Vec<PathBuf> {
        super::super::import::set_aside_copies(path).unwrap()
    }

    #[test]
    fn the_next_version_sets_a_copy_aside_and_the_copy_leads_back() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("sessions.db");
        let connection = open(&path).unwrap();
        connection
            .execute("INSERT INTO settings VALUES ('kept', 'yes')", [])
            .unwrap();
        upgrade(&connection, &path, &NEXT).unwrap();
        assert_eq!(user_version(&connection).unwrap(), 3);
        assert!(has_table(&connection, "later").unwrap());
        // Once is enough.
        upgrade(&connection, &path, &NEXT).unwrap();
        let aside = copies(&path);
        assert_eq!(aside.len(), 1, "{aside:?}");
        drop(connection);

        // The older version refuses what it does not know, and goes on with the copy.
        let refused = open(&path).unwrap_err();
        assert!(
            matches!(refused, Error::Newer { found: 3, known: 2 }),
            "{refused}"
        );
        daemon_kit::publish::remove(&path).unwrap();
        daemon_kit::publish::rename(&aside[0], &path).unwrap();
        let back = open(&path).unwrap();
        let kept: String = back
            .query_row(
                "SELECT value FROM settings WHERE name = 'kept'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!((user_version(&back).unwrap(), kept.as_str()), (2, "yes"));
        assert!(!has_table(&back, "later").unwrap());
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("sessions.db");
        let connection = open(&path).unwrap();
        let broken = [VERSION_1, VERSION_2, "CREATE TABLE later (id); NONSENSE"];
        assert!(upgrade(&connection, &path, &broken).is_err());
        assert_eq!(user_version(&connection).unwrap(), 2);
        assert!(!has_table(&connection, "later").unwrap());
    }

    #[test]
    fn a_copy_is_for_its_owner_alone_and_no_part_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("sessions.db");
        let connection = open(&path).unwrap();
        upgrade(&connection, &path, &NEXT).unwrap();
        let aside = copies(&path);
        let mode = std::fs::metadata(&aside[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!aside[0].to_string_lossy().ends_with(".partial"));
    }
}
