//! The tables, their versions, and how the database is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::Error;

/// The schema this program writes.
pub const SCHEMA_VERSION: i64 = 1;

/// A mention writes a dozen small rows in two commits: with 1 KiB pages that is about 10 KB of log, with 4 KiB
/// pages 48 KB (measured).
const PAGE_SIZE: u32 = 1024;

/// Pages in the log before it is folded into the database: 2 MiB.
const CHECKPOINT_PAGES: u32 = 2048;

const VERSION_1: &str = "
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
PRAGMA user_version = 1;
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
    migrate(&connection)?;
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

fn migrate(connection: &Connection) -> Result<(), Error> {
    if user_version(connection)? == 0 {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute_batch(VERSION_1)?;
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}
