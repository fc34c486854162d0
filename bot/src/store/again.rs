//! A turn that is answered once more: opened again by its asker, its old answer kept until the new one takes its place.

use rusqlite::{Connection, OptionalExtension, params};

use super::turns::{OPEN_TURN, OpenTurn, State, open_turn};
use super::{Error, Role, Scope, Store};

/// The answer that stands while another one is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen {
    /// How its turn had ended.
    pub state: State,
    /// The channel of our reply.
    pub reply_channel: u64,
    /// Our messages there, in order.
    pub replies: Vec<u64>,
}

/// What became of [`Store::reopen_turn`].
#[derive(Clone, Debug)]
pub enum Reopened {
    /// It is open, and ours to answer again.
    Started(Box<OpenTurn>, Reopen),
    /// Somebody else asked that question.
    NotTheirs,
    /// It is being answered now.
    Open,
    /// It is not remembered any more, or never was.
    Gone,
}

impl Store {
    /// Opens a turn again for the one who asked. Until its new end is stored the old answer stays; when there is no
    /// new one, it goes on being the answer.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn reopen_turn(&self, id: u64, user: u64) -> Result<Reopened, Error> {
        self.call(move |connection| reopen(connection, id, user))
            .await
    }

    /// Whether the thread that was opened on the mention `thread` holds no answer yet to what was said before `turn`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn is_first_answer(&self, thread: u64, turn: u64) -> Result<bool, Error> {
        self.call(move |connection| {
            let is_first = connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM turns WHERE id = ?1 AND way = 0)
                        AND NOT EXISTS (SELECT 1 FROM messages
                            WHERE conversation = (SELECT id FROM conversations WHERE scope = ?3)
                              AND role = ?4 AND turn < ?2)",
                )?
                .query_row(
                    params![
                        thread as i64,
                        turn as i64,
                        Scope::Thread(thread).to_string(),
                        Role::Companion.code(),
                    ],
                    |row| row.get(0),
                )?;
            Ok(is_first)
        })
        .await
    }
}

fn reopen(connection: &Connection, id: u64, user: u64) -> Result<Reopened, Error> {
    let found = connection
        .prepare_cached(
            "SELECT user, state, channel, reply_channel, replies FROM turns WHERE id = ?1",
        )?
        .query_row([id as i64], |row| {
            let channel: i64 = row.get(2)?;
            let replies: Option<String> = row.get(4)?;
            let stood = Reopen {
                state: State::from_code(row.get(1)?),
                reply_channel: row.get::<_, Option<i64>>(3)?.unwrap_or(channel) as u64,
                replies: replies
                    .unwrap_or_default()
                    .split(' ')
                    .filter_map(|id| id.parse().ok())
                    .collect(),
            };
            Ok((row.get::<_, i64>(0)? as u64, stood))
        })
        .optional()?;
    let Some((asker, stood)) = found else {
        return Ok(Reopened::Gone);
    };
    match stood.state {
        // Who asked what was forgotten is not known any more either.
        State::Removed | State::Expired | State::Undeliverable => return Ok(Reopened::Gone),
        _ if asker == 0 => return Ok(Reopened::Gone),
        _ if asker != user => return Ok(Reopened::NotTheirs),
        State::Open => return Ok(Reopened::Open),
        State::Answered | State::Failed => {}
    }
    let open = connection
        .prepare_cached(&format!("{OPEN_TURN} WHERE t.id = ?1 AND m.id IS NOT NULL"))?
        .query_row([id as i64], open_turn)
        .optional()?
        .flatten();
    let Some(open) = open else {
        return Ok(Reopened::Gone);
    };
    connection
        .prepare_cached("UPDATE turns SET state = 0 WHERE id = ?1")?
        .execute([id as i64])?;
    Ok(Reopened::Started(Box::new(open), stood))
}

/// Puts `answer` in the place of the one that is remembered; false when there is none.
pub(super) fn replace_answer(
    connection: &Connection,
    conversation: i64,
    turn: u64,
    answer: &str,
) -> Result<bool, Error> {
    let replaced = connection
        .prepare_cached(
            "UPDATE messages SET text = ?1 WHERE conversation = ?2 AND turn = ?3 AND role = ?4",
        )?
        .execute(params![
            answer,
            conversation,
            turn as i64,
            Role::Companion.code()
        ])?;
    Ok(replaced > 0)
}
