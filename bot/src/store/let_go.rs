//! How much was deleted on purpose, by count alone, in the same commit as the deletion itself: the backup sidecar reads
//! it, so that exactly so much is not taken for a loss.

use rusqlite::{Connection, params};

use super::Error;

/// Made where it is missing; the sidecar knows it by its name and its column `rows`.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS let_go (
    cause TEXT PRIMARY KEY,
    rows INTEGER NOT NULL
) WITHOUT ROWID;";

/// Why rows went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A member asked to be forgotten.
    Forgotten,
    /// They were older than `HISTORY_RETENTION_DAYS`.
    Retired,
    /// A member deleted the question.
    Erased,
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Retired => "retired",
            Self::Erased => "erased",
        }
    }
}

/// Adds to the count, inside the caller's transaction.
pub(super) fn note(connection: &Connection, cause: Cause, rows: usize) -> Result<(), Error> {
    if rows == 0 {
        return Ok(());
    }
    connection.execute(
        "INSERT INTO let_go (cause, rows) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
        params![cause.word(), rows as i64],
    )?;
    Ok(())
}
