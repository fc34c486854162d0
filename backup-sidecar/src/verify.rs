//! This room proves: that a database is sound, and that an archive holds what its manifest promises.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use daemon_kit::publish;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::archive::{self, Sink};
use crate::manifest::{self, DatabaseEntry, FileEntry, Manifest};
use crate::room;
use crate::seal::Identities;
use crate::watch::{Stopped, Watch};

/// How many complaints of SQLite are kept.
const MAX_COMPLAINTS: u32 = 5;

/// The table in which a writer counts the rows that it deleted on purpose, in a column `rows`.
const LET_GO: &str = "let_go";

/// How often a thread that is to end is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How SQLite's check tells that the disk, not the database, refused a page.
const UNREAD_PAGE: &str = "unable to get the page. error code=";

/// So many characters tell why a part of a database was not checked.
const MAX_WHY: usize = 120;

/// `SQLITE_IOERR`, the low byte of every error of the disk.
const IO_ERROR: u32 = 10;

/// Something of ours stood in the way of a proof: that says nothing about the archive, and another try may prove it.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be proved now")]
pub struct NotProved;

/// Whether an error is a hindrance of ours, such as a full disk, and no fault of an archive.
#[must_use]
pub fn is_hindered(error: &anyhow::Error) -> bool {
    // What a disk refused carries the system's number; what a decoder or a hash found wrong does not.
    let is_refused = error.chain().any(|cause| {
        let by_system = |error: &io::Error| error.raw_os_error().is_some();
        cause.is::<rustix::io::Errno>() || cause.downcast_ref().is_some_and(by_system)
    });
    is_refused || error.is::<NotProved>() || error.is::<Stopped>()
}

fn blame<T>(result: anyhow::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| {
        if is_hindered(&error) && !error.is::<NotProved>() {
            error.context(NotProved)
        } else {
            error
        }
    })
}

/// The version of SQLite in this program.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Looks at every page of a database that nobody else uses, and counts its rows.
///
/// # Errors
/// When the disk refuses to read it; a damaged database is a finding, not an error.
pub fn examine(file: &Path, path: &str) -> anyhow::Result<DatabaseEntry> {
    look(file, path).map(|(entry, _)| entry)
}

/// The same; tells as well what could not be checked, because only the database's own program knows it: a collation or
/// a function that it brings along.
///
/// # Errors
/// When the disk refuses to read it.
pub fn look(file: &Path, path: &str) -> anyhow::Result<(DatabaseEntry, Option<String>)> {
    let bytes = fs::metadata(file)
        .with_context(|| format!("cannot look at {}", file.display()))?
        .len();
    let mut entry = DatabaseEntry {
        path: path.to_owned(),
        page_size: 1,
        pages: bytes,
        user_version: 0,
        integrity: String::new(),
        tables: BTreeMap::new(),
        let_go: 0,
    };
    let mut unchecked = None;
    match read_facts(file, &mut entry) {
        Ok(foreign) => {
            ensure!(
                !is_unread(&entry.integrity),
                "the disk did not let {} be read: {}",
                file.display(),
                entry.integrity
            );
            unchecked = foreign;
        }
        Err(error) if is_hindrance(&error) => {
            return Err(error).with_context(|| format!("cannot read {}", file.display()));
        }
        Err(error) => entry.integrity = error.to_string(),
    }
    let unchecked = unchecked.map(|why| {
        let why: String = why.chars().take(MAX_WHY).collect();
        format!("{path}: what only its own program knows was not checked ({why})")
    });
    Ok((entry, unchecked))
}

/// Whether something stood in the way of looking at a database: another try may find it whole.
fn is_hindrance(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DiskFull
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
        )
    )
}

/// Whether an error means that the database itself is broken.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// A page that the disk refused is no damage of the database: another try may find it whole.
fn is_unread(complaints: &str) -> bool {
    complaints.split(UNREAD_PAGE).skip(1).any(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse::<u32>()
            .is_ok_and(|code| code & 0xFF == IO_ERROR)
    })
}

fn read_facts(file: &Path, entry: &mut DatabaseEntry) -> rusqlite::Result<Option<String>> {
    let connection = open_alone(file)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let number = |pragma: &str| {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
    };
    entry.page_size = number("page_size")?.unsigned_abs();
    entry.pages = number("page_count")?.unsigned_abs();
    entry.user_version = number("user_version")?;
    // Rows are counted beside the check, by a connection of their own.
    let counting = open_alone(file)?;
    let stop = counting.get_interrupt_handle();
    let (complaints, counted) = thread::scope(|scope| {
        let counter = scope.spawn(move || count_rows(&counting));
        let complaints = complaints(&connection);
        let is_sound = matches!(&complaints, Ok((text, _)) if text == manifest::SOUND);
        // In a damaged tree counting may go round in circles. Between two statements there is nothing to interrupt.
        while !is_sound && !counter.is_finished() {
            stop.interrupt();
            thread::park_timeout(LOOK_EVERY);
        }
        (complaints, counter.join())
    });
    let (complaints, unchecked) = complaints?;
    entry.integrity = complaints;
    if entry.is_sound() {
        entry.tables = counted.unwrap_or(Err(rusqlite::Error::InvalidQuery))?;
        entry.let_go = rows_let_go(&connection, &entry.tables);
    }
    Ok(unchecked)
}

fn open_alone(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags)
}

/// What SQLite says of a database, and what kept it from looking at all of it.
fn complaints(connection: &Connection) -> rusqlite::Result<(String, Option<String>)> {
    match ask(connection, "integrity_check", &MAX_COMPLAINTS.to_string()) {
        Err(error) if is_foreign(&error) => {
            let found = piece_by_piece(connection)?;
            Ok((found, Some(error.to_string())))
        }
        found => Ok((found?, None)),
    }
}

/// Checks every table as well as it goes without what is foreign, and then that every page can be read as what it is.
fn piece_by_piece(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    for table in tables(connection)? {
        let table = format!("'{}'", table.replace('\'', "''"));
        for check in ["integrity_check", "quick_check"] {
            match ask(connection, check, &table) {
                Err(error) if is_foreign(&error) => {}
                Ok(found) if found == manifest::SOUND => break,
                found => return found,
            }
        }
    }
    let torn = "SELECT count(*) FROM dbstat WHERE pagetype = 'corrupted'";
    match connection.query_row(torn, [], |row| row.get::<_, i64>(0))? {
        0 => Ok(manifest::SOUND.to_owned()),
        pages => Ok(format!("{pages} pages are not readable")),
    }
}

fn ask(connection: &Connection, check: &str, argument: &str) -> rusqlite::Result<String> {
    let complaints: Vec<String> = connection
        .prepare(&format!("PRAGMA {check}({argument})"))?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(complaints.join("; "))
}

/// Whether a database needs a collation or a function that its own program brings along: SQLite has no number for it.
fn is_foreign(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqlInputError { .. } => true,
        rusqlite::Error::SqliteFailure(code, _) => code.code == ErrorCode::Unknown,
        _ => false,
    }
}

fn count_rows(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for table in tables(connection)? {
        let quoted = table.replace('"', "\"\"");
        let count = |how: &str| {
            let count = format!("SELECT count(*) FROM main.\"{quoted}\"{how}");
            connection.query_row(&count, [], |row| row.get::<_, i64>(0))
        };
        // By its smallest index where that can be opened, then by the table alone.
        let counted = match count("") {
            Err(error) if is_foreign(&error) => count(" NOT INDEXED"),
            counted => counted,
        };
        match counted {
            // Its very rows are in a foreign order: nobody here can count them.
            Err(error) if is_foreign(&error) => {}
            counted => {
                counts.insert(table, counted?.unsigned_abs());
            }
        }
    }
    Ok(counts)
}

/// What the writer deleted on purpose, if it counts that; a table of that name may be somebody else's.
fn rows_let_go(connection: &Connection, tables: &BTreeMap<String, u64>) -> u64 {
    if !tables.contains_key(LET_GO) {
        return 0;
    }
    let sum = format!("SELECT coalesce(sum(rows), 0) FROM main.{LET_GO}");
    let rows = connection.query_row(&sum, [], |row| row.get::<_, i64>(0));
    rows.map_or(0, |rows| u64::try_from(rows).unwrap_or(0))
}

/// Real tables; a virtual one may need a module that is not in this program, and its rows lie in real ones anyway.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let all = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
               AND sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY name";
    connection
        .prepare(all)?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Bytes of all names in a database's schema; 0 when it cannot be read.
#[must_use]
pub fn schema_bytes(file: &Path) -> usize {
    let bytes = open_alone(file).and_then(|connection| {
        let sum =
            "SELECT coalesce(sum(length(name) + 20), 0) FROM sqlite_schema WHERE type = 'table'";
        connection.query_row(sum, [], |row| row.get::<_, i64>(0))
    });
    bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
}

/// Compares a database on disk with what a manifest says about it.
///
/// # Errors
/// With the difference.
pub fn compare(file: &Path, promised: &DatabaseEntry) -> anyhow::Result<()> {
    // Only a disk that refuses fails here.
    let found = examine(file, &promised.path).context(NotProved)?;
    if !promised.is_sound() {
        return Ok(()); // It was damaged when it was archived, and its bytes are the same.
    }
    ensure!(found.is_sound(), "{}: {}", promised.path, found.integrity);
    for (table, rows) in &promised.tables {
        let counted = found.tables.get(table).copied();
        ensure!(
            counted == Some(*rows),
            "{}: table {table} should have {rows} rows and has {}",
            promised.path,
            counted.map_or_else(|| "none".to_owned(), |rows| rows.to_string())
        );
    }
    ensure!(
        found == *promised,
        "{}: it is another database than the manifest says",
        promised.path
    );
    Ok(())
}

/// Decodes an archive and compares the hash of every file. Its databases were examined as the very bytes hashed.
///
/// # Errors
/// With the first thing that is wrong.
pub fn hashes(archive: &Path, watch: &Watch) -> anyhow::Result<Manifest> {
    archive::read(archive, None, watch, &mut Nowhere)
}

struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &Manifest) -> anyhow::Result<()> {
        Ok(())
    }

    fn open(&mut self, _: &FileEntry) -> anyhow::Result<Option<File>> {
        Ok(None)
    }

    fn close(&mut self, _: &FileEntry, _: Option<File>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Proves an archive from its bytes alone: decodes it, compares every hash, and examines every database, one at a
/// time, in a temporary file in `scratch`.
///
/// # Errors
/// With the first thing that is wrong; `NotProved` when that is nothing about the archive.
pub fn whole(
    archive: &Path,
    scratch: &Path,
    keys: Option<&Identities>,
    watch: &Watch,
) -> anyhow::Result<Manifest> {
    let file = scratch.join(format!(
        "{}verify.db{}",
        crate::lock::SCRATCH,
        publish::PARTIAL
    ));
    let mut sink = Examine {
        file,
        manifest: None,
        watch,
    };
    blame(archive::read(archive, keys, watch, &mut sink))
}

struct Examine<'a> {
    file: PathBuf,
    manifest: Option<Manifest>,
    watch: &'a Watch,
}

impl Sink for Examine<'_> {
    fn begin(&mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let sizes = manifest
            .files
            .iter()
            .filter(|file| manifest.database(&file.path).is_some());
        let largest = sizes.map(|file| file.size).max().unwrap_or(0);
        let free = room::free_bytes(self.file.parent().unwrap_or(Path::new(".")))?;
        if free <= largest {
            let (free, largest) = (free >> 20, largest >> 20);
            let why = anyhow!("{free} MB are free, {largest} MB are needed to look inside");
            return Err(why.context(NotProved));
        }
        self.manifest = Some(manifest.clone());
        Ok(())
    }

    fn open(&mut self, entry: &FileEntry) -> anyhow::Result<Option<File>> {
        let is_database = self
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.database(&entry.path).is_some());
        if !is_database {
            return Ok(None);
        }
        let file = File::create(&self.file)
            .with_context(|| format!("cannot create {}", self.file.display()))?;
        Ok(Some(file))
    }

    fn close(&mut self, entry: &FileEntry, file: Option<File>) -> anyhow::Result<()> {
        let promised = self
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.database(&entry.path));
        let (Some(promised), Some(_)) = (promised, file) else {
            return Ok(());
        };
        let compared = self.watch.beside(|| compare(&self.file, promised));
        fs::remove_file(&self.file).ok();
        compared?
    }
}

impl Drop for Examine<'_> {
    fn drop(&mut self) {
        fs::remove_file(&self.file).ok();
    }
}

/// Proves that a sealed archive is byte for byte what was verified before it was sealed.
///
/// # Errors
/// When it is not; `NotProved` when nobody remembers what it should be, or it cannot be read.
pub fn sealed(archive: &Path, expected_sha256: Option<&str>, watch: &Watch) -> anyhow::Result<()> {
    let Some(expected) = expected_sha256 else {
        let why = anyhow!(
            "its hash is not in catalog.json any more; set BACKUP_AGE_IDENTITY_FILE to look inside"
        );
        return Err(why.context(NotProved));
    };
    let found = blame(archive::hash_file(archive, watch))?;
    ensure!(
        found == expected,
        "its bytes have changed since it was made"
    );
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
