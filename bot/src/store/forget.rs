//! Forgetting.
//!
//! A forgetting leaves a tombstone in the database and in `forgotten.jsonl` beside it: when an older backup is
//! restored, the next start reads that file and forgets again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::consent::CONSENT_SCOPE;
use super::turns::instant;
use super::{Error, Scope, State, Store, let_go, schema};
use crate::discord::id_at;

/// The file of tombstones, beside the database.
const FORGOTTEN_FILE: &str = "forgotten.jsonl";

/// Who asked to be forgotten, where, up to when. Nothing that was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tombstone {
    /// The member's id.
    pub user: u64,
    /// One scope (`thread:1`), or empty for everything.
    #[serde(default)]
    pub scope: String,
    /// Words up to this instant are gone.
    pub until_ms: i64,
}

impl Tombstone {
    /// Messages with a smaller id were written by then, by Discord's clock. Ours may have run ahead when a question came,
    /// and have been set back since: what it wrote down would be later than a forgetting that came after it.
    fn id_bound(&self) -> i64 {
        let bound = id_at(instant(self.until_ms.saturating_add(1)));
        i64::try_from(bound).unwrap_or(i64::MAX)
    }

    /// The channel of which what was said there is forgotten; none for everywhere, a thread or a direct message.
    fn channel(&self) -> Option<i64> {
        match self.scope.parse() {
            Ok(Scope::Pair { channel, .. } | Scope::Overheard(channel)) => Some(channel as i64),
            Ok(Scope::Thread(_) | Scope::Direct(_)) | Err(()) => None,
        }
    }
}

/// What a forgetting took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Messages deleted: the member's, and the answers to them.
    pub messages: usize,
    /// Turns that no longer name the member.
    pub turns: usize,
    /// Whether threads stay that the predecessor kept under another's name alone: they may hold words of this member.
    pub has_nameless: bool,
}

impl Store {
    /// Forgets a member's words and the answers to them, everywhere or in one scope (`thread:1`). Of a channel
    /// (`pair:1:2`), also the questions that were asked there and answered in a thread.
    ///
    /// # Errors
    /// The disk refuses; what was not forgotten is forgotten at the next start.
    pub async fn forget(
        &self,
        user: u64,
        scope: Option<String>,
        now: Timestamp,
    ) -> Result<Forgotten, Error> {
        let path = self.path().to_owned();
        let tombstone = Tombstone {
            user,
            scope: scope.unwrap_or_default(),
            until_ms: now.as_millisecond(),
        };
        let gone = self
            .call(move |connection| {
                write_tombstone(&path, &tombstone)?;
                let gone = carry_out(connection, &tombstone)?;
                purge_set_aside(&path)?;
                Ok(gone)
            })
            .await?;
        self.fold().await?;
        Ok(gone)
    }

    /// Forgets for the command line; the caller holds the bot's lock.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn forget_offline(path: &Path, user: u64, now: Timestamp) -> Result<Forgotten, Error> {
        let connection = schema::open(path)?;
        let tombstone = Tombstone {
            user,
            scope: String::new(),
            until_ms: now.as_millisecond(),
        };
        write_tombstone(path, &tombstone)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let gone = carry_out(&connection, &tombstone)?;
        connection.execute_batch("COMMIT")?;
        purge_set_aside(path)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(gone)
    }
}

/// Applies what the file says and the database does not know: the case after a restore.
pub(super) fn apply_tombstones(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let written = read_tombstones(path)?;
    let known: BTreeSet<Tombstone> = {
        let mut statement = connection.prepare("SELECT user, scope, until_ms FROM tombstones")?;
        let rows = statement.query_map([], |row| {
            Ok(Tombstone {
                user: row.get::<_, i64>(0)? as u64,
                scope: row.get(1)?,
                until_ms: row.get(2)?,
            })
        })?;
        rows.collect::<Result<_, _>>()?
    };
    let covered = |stone: &Tombstone, by: &BTreeSet<Tombstone>| {
        by.iter().any(|other| {
            other.user == stone.user
                && other.scope == stone.scope
                && other.until_ms >= stone.until_ms
        })
    };
    let transaction = connection.transaction()?;
    let mut gone = Forgotten::default();
    for stone in written.iter().filter(|stone| !covered(stone, &known)) {
        let some = carry_out(&transaction, stone)?;
        gone.messages += some.messages;
        gone.turns += some.turns;
    }
    transaction.commit()?;
    for stone in known.iter().filter(|stone| !covered(stone, &written)) {
        write_tombstone(path, stone)?;
    }
    if gone != Forgotten::default() {
        tracing::warn!(
            event = "forget.reapplied",
            messages = gone.messages,
            turns = gone.turns,
            "forgot again what a restored database had brought back"
        );
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Forgets again what an import brought back.
pub(super) fn apply_again(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction()?;
    let stones: Vec<Tombstone> = {
        let mut statement = transaction.prepare("SELECT user, scope, until_ms FROM tombstones")?;
        let rows = statement.query_map([], |row| {
            Ok(Tombstone {
                user: row.get::<_, i64>(0)? as u64,
                scope: row.get(1)?,
                until_ms: row.get(2)?,
            })
        })?;
        rows.collect::<Result<_, _>>()?
    };
    for stone in &stones {
        carry_out(&transaction, stone)?;
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn carry_out(connection: &Connection, stone: &Tombstone) -> Result<Forgotten, Error> {
    let gone = match stone.scope.strip_prefix(CONSENT_SCOPE) {
        // Taken back, not forgotten: words stay.
        Some(channel) => {
            take_consent(connection, stone, channel.parse().ok())?;
            Forgotten::default()
        }
        None => forget_words(connection, stone)?,
    };
    connection.execute(
        "INSERT INTO tombstones (user, scope, until_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
        params![stone.user as i64, stone.scope, stone.until_ms],
    )?;
    Ok(gone)
}

/// Takes consent back in one channel, or everywhere.
fn take_consent(
    connection: &Connection,
    stone: &Tombstone,
    channel: Option<u64>,
) -> Result<(), Error> {
    let gone = connection.execute(
        "DELETE FROM consents WHERE user = ?1 AND at_ms <= ?2 AND (?3 IS NULL OR channel = ?3)",
        params![
            stone.user as i64,
            stone.until_ms,
            channel.map(|id| id as i64)
        ],
    )?;
    let_go::note(connection, let_go::Cause::Forgotten, gone)
}

fn forget_words(connection: &Connection, stone: &Tombstone) -> Result<Forgotten, Error> {
    let (user, id_bound, channel) = (stone.user as i64, stone.id_bound(), stone.channel());
    let within = "(?3 = '' OR conversation IN (SELECT id FROM conversations WHERE scope = ?3))";
    // What was asked in a channel may be remembered in the thread that answers it.
    let theirs =
        format!("user = ?1 AND (accepted_ms <= ?2 OR id < ?4) AND ({within} OR channel = ?5)");
    let meant = params![user, stone.until_ms, stone.scope, id_bound, channel];
    let mut messages = connection.execute(
        &format!(
            "DELETE FROM messages WHERE ({within} AND user = ?1 AND at_ms <= ?2)
                OR turn IN (SELECT id FROM turns WHERE {theirs})"
        ),
        meant,
    )?;
    messages += forget_heard(connection, stone)?;
    let has_nameless = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM messages m JOIN conversations c ON c.id = m.conversation
         WHERE m.turn IS NULL AND m.user IS NOT ?1 AND m.at_ms <= ?2
           AND c.scope LIKE 'thread:%' AND (?3 = '' OR c.scope = ?3))",
        params![user, stone.until_ms, stone.scope],
        |row| row.get(0),
    )?;
    let_go::note(connection, let_go::Cause::Forgotten, messages)?;
    let turns = connection.execute(
        &format!(
            "UPDATE turns SET user = 0, replies = NULL, state = CASE state WHEN 0 THEN {} ELSE state END
             WHERE {theirs}",
            State::Removed.code()
        ),
        meant,
    )?;
    forget_names(connection, stone)?;
    Ok(Forgotten {
        messages,
        turns,
        has_nameless,
    })
}

/// Conversations and their new beginnings may be named after a member: emptied, they go, or lose that name where a turn
/// that names nobody still hangs on them.
fn forget_names(connection: &Connection, stone: &Tombstone) -> Result<(), Error> {
    let user = stone.user.to_string();
    let emptied = "(scope LIKE 'pair:%:' || ?1 OR scope = 'mention:' || ?1) AND (?2 = '' OR scope = ?2)
        AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.conversation = conversations.id)
        AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.conversation = conversations.id AND t.user != 0)";
    let mut gone = connection.execute(
        &format!(
            "DELETE FROM conversations WHERE {emptied}
             AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.conversation = conversations.id)"
        ),
        params![user, stone.scope],
    )?;
    connection.execute(
        &format!("UPDATE conversations SET scope = 'forgotten:' || id WHERE {emptied}"),
        params![user, stone.scope],
    )?;
    gone += connection.execute(
        "DELETE FROM settings WHERE (name LIKE 'reset:pair:%:' || ?1 OR name LIKE 'undo:pair:%:' || ?1)
         AND (?2 = '' OR name IN ('reset:' || ?2, 'undo:' || ?2)) AND CAST(value AS INTEGER) <= ?3",
        params![user, stone.scope, stone.until_ms],
    )?;
    let_go::note(connection, let_go::Cause::Forgotten, gone)
}

/// What we said unasked may hold the words of anyone who was heard: it goes, and with it the consent there.
fn forget_heard(connection: &Connection, stone: &Tombstone) -> Result<usize, Error> {
    let channel = stone.channel();
    // Forgotten in a thread: nothing of that is heard.
    if channel.is_none() && !stone.scope.is_empty() {
        return Ok(0);
    }
    take_consent(connection, stone, channel.map(|id| id as u64))?;
    let theirs = "(SELECT h.turn FROM heard h JOIN turns t ON t.id = h.turn
         WHERE h.user = ?1 AND (t.accepted_ms <= ?2 OR t.id < ?4) AND (?3 IS NULL OR t.channel = ?3))";
    let (user, id_bound) = (stone.user as i64, stone.id_bound());
    let meant = params![user, stone.until_ms, channel, id_bound];
    let mut gone = connection.execute(
        &format!("DELETE FROM messages WHERE turn IN {theirs}"),
        meant,
    )?;
    // Of the predecessor's remarks nobody knows whom it had heard.
    gone += connection.execute(
        "DELETE FROM messages WHERE turn IS NULL AND user IS NULL AND at_ms <= ?1 AND conversation IN
            (SELECT id FROM conversations WHERE scope LIKE 'eavesdrop:%' AND (?2 IS NULL OR scope = 'eavesdrop:' || ?2))",
        params![stone.until_ms, channel],
    )?;
    // The turn may be by another's message: it does not name this member any more.
    connection.execute(
        &format!(
            "UPDATE turns SET replies = NULL, user = CASE user WHEN ?1 THEN 0 ELSE user END,
                state = CASE state WHEN 0 THEN {} ELSE state END WHERE id IN {theirs}",
            State::Removed.code()
        ),
        meant,
    )?;
    let heard = connection.execute(
        &format!("DELETE FROM heard WHERE user = ?1 AND turn IN {theirs}"),
        meant,
    )?;
    let_go::note(connection, let_go::Cause::Forgotten, heard)?;
    Ok(gone)
}

fn forgotten_file(database: &Path) -> PathBuf {
    database.with_file_name(FORGOTTEN_FILE)
}

fn file_error(path: &Path, error: &std::io::Error) -> Error {
    Error::File(format!("{}: {error}", path.display()))
}

/// The tombstones of the file; a torn last line is a forgetting that was never confirmed.
pub(super) fn read_tombstones(database: &Path) -> Result<BTreeSet<Tombstone>, Error> {
    let path = forgotten_file(database);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(file_error(&path, &error)),
    }
}

/// Appends durably: the tombstone must outlive the database it was carried out in.
pub(super) fn write_tombstone(database: &Path, stone: &Tombstone) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = forgotten_file(database);
    let text = serde_json::to_string(stone).map_err(|error| Error::File(error.to_string()))?;
    let append = || -> std::io::Result<()> {
        let torn =
            std::fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let newline = if torn { "\n" } else { "" };
        file.write_all(format!("{newline}{text}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    append().map_err(|error| file_error(&path, &error))
}

/// Copies set aside before an import or a migration still hold the words: they go.
fn purge_set_aside(database: &Path) -> Result<(), Error> {
    for path in super::import::set_aside_copies(database)? {
        std::fs::remove_file(&path).map_err(|error| file_error(&path, &error))?;
        tracing::info!(
            event = "forget.purged_copy",
            "a set-aside copy of the database was removed"
        );
    }
    Ok(())
}
