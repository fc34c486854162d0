//! What a conversation remembers, read newest first and handed out oldest first.

use jiff::Timestamp;
use rusqlite::params;

use super::turns::instant;
use super::{Error, Scope, Store, let_go};

/// More than this never fits a prompt.
const MOST_MESSAGES: i64 = 400;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A member.
    Member,
    /// The bot.
    Companion,
}

impl Role {
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Member => 0,
            Self::Companion => 1,
        }
    }

    pub(super) fn from_code(code: i64) -> Self {
        if code == 1 {
            Self::Companion
        } else {
            Self::Member
        }
    }
}

/// One remembered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// What was said in `scope` before the turn `before`, oldest first, at most about `bytes` of text.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn history(
        &self,
        scope: Scope,
        before: u64,
        bytes: usize,
    ) -> Result<Vec<Remembered>, Error> {
        self.call(move |connection| {
            // Questions of later turns are already stored while this one is answered, and an answer is stored after
            // the next question: the order of talking is by turn, then by role.
            let mut statement = connection.prepare_cached(
                "SELECT m.role, m.text, m.at_ms, m.turn, m.id FROM messages m
                 LEFT JOIN turns t ON t.id = m.turn
                 WHERE m.conversation = (SELECT id FROM conversations WHERE scope = ?1 AND sealed = 0)
                   AND (m.turn IS NULL OR (m.turn < ?2 AND t.state IN (1, 2)))
                 ORDER BY m.id DESC LIMIT ?3",
            )?;
            let mut rows = statement.query(params![scope.to_string(), before as i64, MOST_MESSAGES])?;
            let mut kept = Vec::new();
            let mut total = 0;
            while let Some(row) = rows.next()? {
                let text: String = row.get(1)?;
                total += text.len();
                if total > bytes && !kept.is_empty() {
                    break;
                }
                let role = Role::from_code(row.get(0)?);
                let order = (row.get::<_, Option<i64>>(3)?.unwrap_or(0), row.get::<_, i64>(4)?);
                let at = instant(row.get(2)?);
                kept.push((order, Remembered { role, text, at }));
            }
            kept.sort_by_key(|(order, _)| *order);
            Ok(kept.into_iter().map(|(_, remembered)| remembered).collect())
        })
        .await
    }

    /// Lets go of what is older than `before`; says how many messages went.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn retire_history(&self, before: Timestamp) -> Result<usize, Error> {
        self.call(move |connection| {
            let gone = connection.execute(
                "DELETE FROM messages WHERE at_ms < ?1",
                [before.as_millisecond()],
            )?;
            let heard = connection.execute(
                "DELETE FROM heard WHERE turn IN (SELECT id FROM turns WHERE accepted_ms < ?1)",
                [before.as_millisecond()],
            )?;
            let_go::note(connection, let_go::Cause::Retired, gone + heard)?;
            Ok(gone)
        })
        .await
    }
}
