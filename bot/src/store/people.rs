//! Who said what: the little that commands and buttons have to know about a turn.

use rusqlite::OptionalExtension;

use super::{Error, Store};

impl Store {
    /// Who asked the question with this id, if it was one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn asker(&self, turn: u64) -> Result<Option<u64>, Error> {
        self.call(move |connection| {
            let user: Option<i64> = connection
                .prepare_cached("SELECT user FROM turns WHERE id = ?1")?
                .query_row([turn as i64], |row| row.get(0))
                .optional()?;
            Ok(user.map(|user| user as u64))
        })
        .await
    }
}
