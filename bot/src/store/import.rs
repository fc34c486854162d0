//! Taking over the predecessor's `sessions.db`, as often as anyone likes: what is already here is not taken twice.
//!
//! Its `mention:` sessions joined one person's talk across every channel. They are kept, exported and forgotten on
//! request, but sealed: no prompt ever holds them. Its threads go on where they stopped.
//!
//! It wrote down nobody but whoever began a thread: all that was said in it, answers too, counts as theirs. What it said
//! unasked names nobody, and may hold the words of anyone: it goes with the first who asks to be forgotten there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OpenFlags, params};
use serde::Deserialize;

use super::forget::{Tombstone, read_tombstones};
use super::history::Role;
use super::turns::{conversation, instant};
use super::{Error, Store, schema};

/// More than this is no chat of a community's, but a bomb.
const LARGEST_UNPACKED: u64 = 4 << 30;

/// What a predecessor's database is called until its words are all here. Its name says that a takeover is under way,
/// whatever ends us in between; no other kind of copy is looked at again, and none of these is ever cleared away.
const IMPORTING: &str = "importing";
/// What it is called afterwards.
const IMPORTED: &str = "before-import";

/// What was taken, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions read.
    pub sessions: usize,
    /// Messages taken over.
    pub taken: usize,
    /// Messages that were here already.
    pub known: usize,
    /// Empty messages, which the predecessor sometimes stored.
    pub empty: usize,
    /// Messages of `mention:` sessions: kept, never sent to a model.
    pub sealed: usize,
    /// Sessions whose content could not be read, by key.
    pub unreadable: Vec<String>,
}

#[derive(Deserialize)]
struct OldMessage {
    role: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    timestamp: String,
}

struct OldSession {
    key: String,
    messages: String,
    user: Option<i64>,
    last_active: String,
}

impl Store {
    /// Takes over `from` into the database `into`; the caller holds the bot's lock.
    ///
    /// # Errors
    /// `from` is not a predecessor's database, or the disk refuses; nothing was taken then.
    pub fn import(
        into: &Path,
        from: &Path,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Report, Error> {
        let unpacked = unpack(from, into)?;
        let sessions = read_sessions(unpacked.as_ref().map_or(from, Unpacked::path))?;
        let mut connection = schema::open(into)?;
        let transaction = connection.transaction()?;
        let mut report = Report {
            sessions: sessions.len(),
            ..Report::default()
        };
        for session in &sessions {
            take(&transaction, session, zone, now, &mut report)?;
        }
        transaction.commit()?;
        // Somebody may have asked to be forgotten before this file was found.
        super::forget::apply_again(&mut connection)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(report)
    }

    /// Whether `path` is a database in the predecessor's schema.
    ///
    /// # Errors
    /// The file is there but cannot be read as a database.
    pub fn is_predecessors(path: &Path) -> Result<bool, Error> {
        if !path.exists() {
            return Ok(false);
        }
        match schema::open_reading(path) {
            Err(Error::Predecessor) => Ok(true),
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }

    /// Sets the database at `path` aside, with a time in its name, and returns where it is now.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn set_aside(path: &Path, why: &str, now: Timestamp) -> Result<PathBuf, Error> {
        // Opened once by SQLite, so that a hot log is folded in and one file holds everything.
        {
            let connection = Connection::open(path)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            connection.pragma_update(None, "journal_mode", "DELETE")?;
        }
        let aside = aside_name(path, why, now);
        daemon_kit::publish::rename(path, &aside)
            .map_err(|error| Error::File(error.to_string()))?;
        Ok(aside)
    }

    /// Sets a predecessor's database aside, to be imported from where it is then.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn begin_takeover(database: &Path, now: Timestamp) -> Result<PathBuf, Error> {
        Self::set_aside(database, IMPORTING, now)
    }

    /// Predecessor's databases that were set aside, now or in an earlier life, and whose words may not all be here.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn unfinished_takeovers(database: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut copies = beside(database, &format!("{IMPORTING}-"))?;
        // What SQLite may keep beside one is none itself.
        copies.retain(|path| path.to_string_lossy().ends_with('Z'));
        Ok(copies)
    }

    /// The words of `copy` are all here: it gets the name of one that may go, in time. Whoever asked to be forgotten
    /// since it was set aside is in it still: then it goes at once.
    ///
    /// # Errors
    /// The disk refuses; the takeover counts as unfinished then.
    pub fn end_takeover(database: &Path, copy: &Path) -> Result<(), Error> {
        let is_in_it = |stone: &Tombstone| {
            let asked = aside_name(database, IMPORTING, instant(stone.until_ms));
            asked.file_name() >= copy.file_name()
        };
        let done = if read_tombstones(database)?.iter().any(is_in_it) {
            daemon_kit::publish::remove(copy)
        } else {
            let name = copy.file_name().unwrap_or_default().to_string_lossy();
            let (from, to) = (format!(".{IMPORTING}-"), format!(".{IMPORTED}-"));
            daemon_kit::publish::rename(copy, &copy.with_file_name(name.replacen(&from, &to, 1)))
        };
        done.map_err(|error| Error::File(error.to_string()))
    }

    /// The name of the newest copy that an upgrade set aside beside `database`.
    #[must_use]
    pub fn copy_before_upgrade(database: &Path) -> Option<String> {
        let names = set_aside_copies(database).ok()?.into_iter();
        let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        names
            .filter(|name| name.contains(".before-upgrade-") && !name.ends_with(".partial"))
            .max()
    }

    /// Removes set-aside copies last written before `before`; says how many.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_old_copies(
        database: &Path,
        before: std::time::SystemTime,
    ) -> Result<usize, Error> {
        let mut gone = 0;
        for path in set_aside_copies(database)? {
            let modified = std::fs::metadata(&path).and_then(|meta| meta.modified());
            if modified.is_ok_and(|at| at < before) {
                daemon_kit::publish::remove(&path)
                    .map_err(|error| Error::File(error.to_string()))?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

/// What a copy of `database` is called that is set aside `now`.
pub(super) fn aside_name(database: &Path, why: &str, now: Timestamp) -> PathBuf {
    let name = database
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("sessions.db");
    database.with_file_name(format!("{name}.{why}-{}", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// The copies that [`Store::set_aside`] (or a restore) left beside `database`, and that may go.
pub(super) fn set_aside_copies(database: &Path) -> Result<Vec<PathBuf>, Error> {
    beside(database, "before-")
}

/// The files that carry the name of `database`, a dot, and then `kind`, in the order of their names.
fn beside(database: &Path, kind: &str) -> Result<Vec<PathBuf>, Error> {
    let name = database
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let folder = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let list = std::fs::read_dir(folder).map_err(|error| Error::File(error.to_string()))?;
    let mut copies = Vec::new();
    for entry in list {
        let path = entry
            .map_err(|error| Error::File(error.to_string()))?
            .path();
        let aside = path
            .file_name()
            .and_then(|found| found.to_str())
            .and_then(|found| found.strip_prefix(name)?.strip_prefix('.'))
            .is_some_and(|rest| rest.starts_with(kind));
        if aside {
            copies.push(path);
        }
    }
    copies.sort();
    Ok(copies)
}

/// A backup of the predecessor's, unpacked beside the database for as long as it is read.
struct Unpacked(PathBuf);

impl Unpacked {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.0.as_os_str().to_owned();
            name.push(ending);
            // Left over, it is cleared by the next import.
            std::fs::remove_file(name).ok();
        }
    }
}

/// Unpacks `from` if it is gzip, as the predecessor's `kotonoha_*.db.gz` are.
fn unpack(from: &Path, into: &Path) -> Result<Option<Unpacked>, Error> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| Error::File(format!("{}: {error}", from.display()));
    let mut packed = std::fs::File::open(from).map_err(failed)?;
    let mut magic = [0; 2];
    if packed.read_exact(&mut magic).is_err() || magic != [0x1f, 0x8b] {
        return Ok(None);
    }
    let packed = std::fs::File::open(from).map_err(failed)?;
    let unpacked = Unpacked(into.with_file_name(".import.db.partial"));
    let mut target = create_anew(&unpacked.0).map_err(failed)?;
    let mut bytes = flate2::read::GzDecoder::new(packed).take(LARGEST_UNPACKED + 1);
    let length = std::io::copy(&mut bytes, &mut target).map_err(failed)?;
    if length > LARGEST_UNPACKED {
        return Err(Error::File(format!(
            "{} unpacks to more than {} GiB",
            from.display(),
            LARGEST_UNPACKED >> 30
        )));
    }
    Ok(Some(unpacked))
}

fn create_anew(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn read_sessions(from: &Path) -> Result<Vec<OldSession>, Error> {
    // The file may have a hot log (the predecessor ignored SIGTERM), so SQLite reads it, with the right to recover.
    let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    if !schema::has_table(&connection, "sessions")? {
        return Err(Error::File(format!(
            "{} has no table of sessions: it is not a predecessor's database",
            from.display()
        )));
    }
    let mut statement = connection.prepare(
        "SELECT session_key, messages, user_id, last_active_at FROM sessions ORDER BY created_at",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(OldSession {
            key: row.get(0)?,
            messages: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            user: row.get(2)?,
            last_active: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn take(
    connection: &Connection,
    session: &OldSession,
    zone: &TimeZone,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), Error> {
    let Ok(messages) = serde_json::from_str::<Vec<OldMessage>>(&session.messages) else {
        report.unreadable.push(session.key.clone());
        return Ok(());
    };
    let own = session.key.starts_with("thread:");
    let sealed = !own && !session.key.starts_with("eavesdrop:") && !session.key.starts_with("dm:");
    let conversation = conversation(connection, &session.key, own, sealed, now)?;
    if own {
        connection.execute(
            "UPDATE conversations SET own = 1 WHERE id = ?1",
            [conversation],
        )?;
    }
    let mut here = already_here(connection, conversation)?;
    let fallback = local_instant(&session.last_active, zone).unwrap_or(now);
    for message in messages {
        if message.content.trim().is_empty() {
            report.empty += 1;
            continue;
        }
        let role = if message.role == "assistant" {
            Role::Companion
        } else {
            Role::Member
        };
        let at = local_instant(&message.timestamp, zone).unwrap_or(fallback);
        let key = (role.code(), at.as_millisecond(), message.content);
        if let Some(count) = here.get_mut(&key).filter(|count| **count > 0) {
            *count -= 1;
            report.known += 1;
            continue;
        }
        connection
            .prepare_cached("INSERT INTO messages (conversation, turn, role, user, at_ms, text) VALUES (?1, NULL, ?2, ?3, ?4, ?5)")?
            .execute(params![conversation, key.0, session.user, key.1, key.2])?;
        report.taken += 1;
        report.sealed += usize::from(sealed);
    }
    Ok(())
}

/// How often each imported message is in the conversation already.
fn already_here(
    connection: &Connection,
    conversation: i64,
) -> Result<HashMap<(i64, i64, String), usize>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT role, at_ms, text FROM messages WHERE conversation = ?1 AND turn IS NULL",
    )?;
    let mut rows = statement.query([conversation])?;
    let mut here = HashMap::new();
    while let Some(row) = rows.next()? {
        *here
            .entry((row.get(0)?, row.get(1)?, row.get(2)?))
            .or_insert(0) += 1;
    }
    Ok(here)
}

/// The predecessor wrote local times without a zone; a zone that is there all the same is believed.
fn local_instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(instant(at.as_millisecond()));
    }
    let local: DateTime = text.parse().ok()?;
    let at = local.to_zoned_datetime(zone.clone()).ok()?.timestamp();
    Some(instant(at.as_millisecond()))
}
