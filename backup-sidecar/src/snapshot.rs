//! This room copies a database through SQLite's backup API while others write it, as it stood at one instant.
//!
//! The copy is made inside one pinned read transaction, since a copy in steps without one starts anew at every commit
//! and never ends on a busy database. The source is opened `query_only`, is never checkpointed, and is never created.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::verify;
use crate::watch::Watch;

/// Pages between two looks at the clock: 16 MiB of common pages.
const PAGES_PER_STEP: i32 = 4096;

/// While a copy is made the writer's WAL cannot shrink: after this long the copy is given up.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The same bound in bytes of WAL growth.
const MAX_WAL_GROWTH: u64 = 2 << 30;

/// How long another process may hold a database that is not in WAL mode.
const PATIENCE: Duration = Duration::from_secs(30);

/// A finished copy; its file goes when this is dropped.
#[derive(Debug)]
pub struct Copy {
    file: PathBuf,
    /// What was wrong with the source, when SQLite could not read it and its bytes were taken as they are.
    pub damage: Option<String>,
    /// The source is not in WAL mode: its writer had to wait for the copy.
    pub made_writer_wait: bool,
}

impl Copy {
    /// Where the copy lies.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What cannot be removed now is cleared at the next start.
        fs::remove_file(&self.file).ok();
    }
}

/// Another process has a database open.
#[derive(Debug, thiserror::Error)]
#[error("another process has {} open", .0.display())]
pub struct InUse(PathBuf);

/// Copies the database at `source` into the new file `target`.
///
/// # Errors
/// When the source cannot be read for a reason that another try may mend (locked, no permission, no space).
pub fn take(source: &Path, target: &Path, watch: &Watch) -> anyhow::Result<Copy> {
    check_owner(source)?;
    let mut copy = Copy {
        file: target.to_owned(),
        damage: None,
        made_writer_wait: false,
    };
    fs::remove_file(target).ok();
    match copy_pages(source, target, watch) {
        Ok(made_writer_wait) => copy.made_writer_wait = made_writer_wait,
        Err(error) => match damage_in(&error) {
            Some(damage) => {
                // SQLite has let go of the file, so its bytes may be read directly.
                fs::copy(source, target)
                    .with_context(|| format!("cannot copy the damaged {}", source.display()))?;
                copy.damage = Some(damage);
            }
            None => return Err(error.context(format!("cannot copy {}", source.display()))),
        },
    }
    Ok(copy)
}

/// Another user that opens a database first leaves `-wal` and `-shm` files that its owner cannot write.
fn check_owner(source: &Path) -> anyhow::Result<()> {
    let owner = fs::metadata(source)
        .with_context(|| format!("cannot look at {}", source.display()))?
        .uid();
    let own = rustix::process::geteuid();
    ensure!(
        own.is_root() || owner == own.as_raw(),
        "{} belongs to UID {owner}, this program runs as UID {}: give both containers the same PUID",
        source.display(),
        own.as_raw()
    );
    Ok(())
}

fn damage_in(error: &anyhow::Error) -> Option<String> {
    let error = error.downcast_ref::<rusqlite::Error>()?;
    verify::is_damage(error).then(|| error.to_string())
}

/// Opens a database that others use: never created, never written, never checkpointed.
fn open_shared(source: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

fn copy_pages(source: &Path, target: &Path, watch: &Watch) -> anyhow::Result<bool> {
    let from = open_shared(source)?;
    from.execute_batch("BEGIN")?;
    // The first read pins the transaction; this one reads the header alone, so that a broken schema does not matter.
    let _version: i64 = from.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    let mode: String = from.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;

    let mut to = Connection::open(target)?;
    to.pragma_update(None, "synchronous", "OFF")?;
    to.query_row("PRAGMA journal_mode=OFF", [], |_| Ok(()))?;
    copy_all(&Backup::new(&from, &mut to)?, source, watch)?;
    // Free the writer's WAL before anything else is done.
    drop(from);
    // The copy says `wal` like its source; then nobody could read it from a read-only place. Exclusive locking does
    // that change without `-shm` and `-wal` files of other processes' concern.
    to.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
    let copied_mode: rusqlite::Result<String> =
        to.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0));
    match copied_mode {
        Ok(mode) if mode != "delete" => bail!("the copy stays in journal mode {mode}"),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(mode != "wal")
}

fn copy_all(backup: &Backup<'_, '_>, source: &Path, watch: &Watch) -> anyhow::Result<()> {
    let began = Instant::now();
    let wal = side_file(source, "-wal");
    let wal_at_start = fs::metadata(&wal).map_or(0, |wal| wal.len());
    let mut done = 0;
    loop {
        let step = backup.step(PAGES_PER_STEP)?;
        let progress = backup.progress();
        let total = u64::try_from(progress.pagecount).unwrap_or(0);
        let now_done = total.saturating_sub(u64::try_from(progress.remaining).unwrap_or(0));
        if done == 0 {
            watch.stage("snapshot", total * 4096);
        }
        watch.advance(now_done.saturating_sub(done) * 4096)?;
        done = now_done;
        match step {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        ensure!(
            began.elapsed() < DEADLINE,
            "the copy was not finished after {} s",
            DEADLINE.as_secs()
        );
        let growth = fs::metadata(&wal)
            .map_or(0, |wal| wal.len())
            .saturating_sub(wal_at_start);
        ensure!(
            growth < MAX_WAL_GROWTH,
            "the WAL grew by {growth} bytes during the copy"
        );
    }
}

/// Proves that no process has the database at `path` open, and folds its WAL into it, so that the one file is whole.
/// `BEGIN EXCLUSIVE` alone proves nothing in WAL mode: exclusive locking does.
///
/// # Errors
/// When somebody has it open. A database that SQLite cannot read is nobody's: that is `Ok(false)`.
pub fn prove_unused(path: &Path) -> anyhow::Result<bool> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let attempt = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        // With the proof in hand this checkpoint meets no other connection.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    match attempt() {
        Ok(()) => Ok(true),
        Err(error) if verify::is_damage(&error) => Ok(false),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(InUse(path.to_owned()).into())
            }
            _ => Err(error)
                .with_context(|| format!("cannot prove that nobody uses {}", path.display())),
        },
    }
}

/// The name of a database's side file.
#[must_use]
pub fn side_file(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
