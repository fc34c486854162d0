//! The inbox and the outbox: one row per inbound message, begun before work and finished when Discord has the reply.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::history::Role;
use super::usage::{self, Spent};
use super::{Error, Scope, Store, again, let_go};

/// How the member reached us; decides priority and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Mentioned where a thread is opened for the answer.
    Mention,
    /// Mentioned where the answer goes to the same place.
    InPlace,
    /// Written in a thread of ours.
    FollowUp,
    /// Written in a direct message.
    Direct,
    /// Nobody asked: eavesdropping.
    Unasked,
}

/// Where a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Accepted, not yet finished.
    Open,
    /// Answered; Discord has it.
    Answered,
    /// The member has a kind note instead of an answer.
    Failed,
    /// Too old to be answered.
    Expired,
    /// Discord does not let us answer there.
    Undeliverable,
    /// The question was deleted or forgotten.
    Removed,
}

impl Way {
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Mention => 0,
            Self::InPlace => 1,
            Self::FollowUp => 2,
            Self::Direct => 3,
            Self::Unasked => 4,
        }
    }

    pub(super) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Mention,
            2 => Self::FollowUp,
            3 => Self::Direct,
            4 => Self::Unasked,
            _ => Self::InPlace,
        }
    }
}

impl State {
    pub(super) fn code(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Answered => 1,
            Self::Failed => 2,
            Self::Expired => 3,
            Self::Undeliverable => 4,
            Self::Removed => 5,
        }
    }

    pub(super) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Open,
            1 => Self::Answered,
            2 => Self::Failed,
            3 => Self::Expired,
            4 => Self::Undeliverable,
            _ => Self::Removed,
        }
    }
}

/// A question that is about to be worked on.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The inbound message's id.
    pub id: u64,
    /// Whose memory it belongs to.
    pub scope: Scope,
    /// Whether the scope is a thread that we open.
    pub own: bool,
    /// Where it was said.
    pub channel: u64,
    /// In which server.
    pub guild: Option<u64>,
    /// By whom.
    pub user: u64,
    /// How it reached us.
    pub way: Way,
    /// When it was said.
    pub said_at: Timestamp,
    /// What was said.
    pub text: String,
}

/// What became of [`Store::begin_turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginTurn {
    /// It is durable now, and ours to answer.
    Started,
    /// It came before: a replay, a duplicate, or an event seen before a restart.
    Known(State),
}

/// How a turn ended.
#[derive(Clone, Debug)]
pub struct FinishTurn {
    /// The inbound message's id.
    pub id: u64,
    /// Where the words belong: differs from the beginning when no thread could be opened.
    pub scope: Scope,
    /// How it ended.
    pub state: State,
    /// The answer, if there is one to remember.
    pub answer: Option<String>,
    /// The channel that holds the reply.
    pub reply_channel: u64,
    /// The reply's messages, in order.
    pub replies: Vec<u64>,
    /// What it cost.
    pub spent: Option<Spent>,
    /// When it ended.
    pub at: Timestamp,
}

/// A turn found unfinished at the start.
#[derive(Clone, Debug)]
pub struct OpenTurn {
    /// The turn as it was begun.
    pub turn: NewTurn,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// What a deleted question leaves behind on Discord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The channel of our reply.
    pub reply_channel: u64,
    /// Our messages there.
    pub replies: Vec<u64>,
}

impl Store {
    /// Makes a question durable. Only [`BeginTurn::Started`] entitles to answer it.
    ///
    /// # Errors
    /// The disk refuses; nothing was begun then.
    pub async fn begin_turn(&self, turn: NewTurn, now: Timestamp) -> Result<BeginTurn, Error> {
        self.call(move |connection| begin(connection, &turn, now))
            .await
    }

    /// Makes an answer durable, with what it cost.
    ///
    /// # Errors
    /// The disk refuses; the turn stays open and the next start asks Discord.
    pub async fn finish_turn(&self, finish: FinishTurn) -> Result<(), Error> {
        self.call(move |connection| self::finish(connection, &finish))
            .await
    }

    /// The turns that a previous life left open, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open_turns(&self) -> Result<Vec<OpenTurn>, Error> {
        self.call(open_turns).await
    }

    /// Takes a question and its answer out of memory, and says which of our messages to delete.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn erase_turn(&self, id: u64) -> Result<Option<Erased>, Error> {
        self.call(move |connection| erase(connection, id)).await
    }

    /// Ids of the threads that we opened.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn own_threads(&self) -> Result<Vec<u64>, Error> {
        self.call(|connection| {
            let mut statement = connection.prepare(
                "SELECT scope FROM conversations WHERE own = 1 AND scope LIKE 'thread:%'",
            )?;
            let scopes = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut threads = Vec::new();
            for scope in scopes {
                if let Ok(Scope::Thread(id)) = scope?.parse() {
                    threads.push(id);
                }
            }
            Ok(threads)
        })
        .await
    }

    /// Ids of the direct message channels in which somebody wrote to us.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn direct_channels(&self) -> Result<Vec<u64>, Error> {
        self.call(|connection| {
            let mut statement =
                connection.prepare("SELECT scope FROM conversations WHERE scope LIKE 'dm:%'")?;
            let scopes = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut channels = Vec::new();
            for scope in scopes {
                if let Ok(Scope::Direct(id)) = scope?.parse() {
                    channels.push(id);
                }
            }
            Ok(channels)
        })
        .await
    }
}

/// The row of `scope`, made when missing.
pub(super) fn conversation(
    connection: &Connection,
    scope: &str,
    own: bool,
    sealed: bool,
    now: Timestamp,
) -> Result<i64, Error> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT id FROM conversations WHERE scope = ?1")?
        .query_row([scope], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    connection
        .prepare_cached(
            "INSERT INTO conversations (scope, own, sealed, begun_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![scope, own, sealed, now.as_millisecond()])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn state_of(connection: &Connection, id: u64) -> Result<Option<State>, Error> {
    let state: Option<i64> = connection
        .prepare_cached("SELECT state FROM turns WHERE id = ?1")?
        .query_row([id as i64], |row| row.get(0))
        .optional()?;
    Ok(state.map(State::from_code))
}

pub(super) fn begin(
    connection: &Connection,
    turn: &NewTurn,
    now: Timestamp,
) -> Result<BeginTurn, Error> {
    if let Some(state) = state_of(connection, turn.id)? {
        return Ok(BeginTurn::Known(state));
    }
    let conversation = conversation(connection, &turn.scope.to_string(), turn.own, false, now)?;
    connection
        .prepare_cached(
            "INSERT INTO turns (id, conversation, channel, guild, user, way, state, accepted_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
        )?
        .execute(params![
            turn.id as i64,
            conversation,
            turn.channel as i64,
            turn.guild.map(|id| id as i64),
            turn.user as i64,
            turn.way.code(),
            now.as_millisecond(),
        ])?;
    // Nobody asked: what was heard is not stored.
    if turn.way == Way::Unasked {
        return Ok(BeginTurn::Started);
    }
    let question = Said {
        role: Role::Member,
        user: Some(turn.user),
        at: turn.said_at,
        text: &turn.text,
    };
    insert_message(connection, conversation, turn.id, &question)?;
    Ok(BeginTurn::Started)
}

/// One row of `messages`.
struct Said<'a> {
    role: Role,
    user: Option<u64>,
    at: Timestamp,
    text: &'a str,
}

fn insert_message(
    connection: &Connection,
    conversation: i64,
    turn: u64,
    said: &Said<'_>,
) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO messages (conversation, turn, role, user, at_ms, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            conversation,
            turn as i64,
            said.role.code(),
            said.user.map(|id| id as i64),
            said.at.as_millisecond(),
            said.text,
        ])?;
    Ok(())
}

fn finish(connection: &Connection, finish: &FinishTurn) -> Result<(), Error> {
    let begun: Option<(i64, bool)> = connection
        .prepare_cached(
            "SELECT conversation, finished_ms IS NOT NULL FROM turns WHERE id = ?1 AND state = 0",
        )?
        .query_row([finish.id as i64], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(spent) = &finish.spent {
        usage::add(connection, spent)?;
    }
    // Erased or forgotten while it was being answered: its words must not come back.
    let Some((begun, is_again)) = begun else {
        return Ok(());
    };
    let belongs = conversation(
        connection,
        &finish.scope.to_string(),
        false,
        false,
        finish.at,
    )?;
    if belongs != begun {
        connection.execute(
            "UPDATE messages SET conversation = ?1 WHERE conversation = ?2 AND turn = ?3",
            params![belongs, begun, finish.id as i64],
        )?;
    }
    let replies: Vec<String> = finish.replies.iter().map(u64::to_string).collect();
    connection
        .prepare_cached(
            "UPDATE turns SET conversation = ?2, state = ?3, finished_ms = ?4, reply_channel = ?5, replies = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            finish.id as i64,
            belongs,
            finish.state.code(),
            finish.at.as_millisecond(),
            finish.reply_channel as i64,
            replies.join(" "),
        ])?;
    if belongs != begun {
        connection.execute(
            "DELETE FROM conversations WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation = ?1)
             AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation = ?1)",
            [begun],
        )?;
    }
    if let Some(answer) = &finish.answer {
        if is_again && again::replace_answer(connection, belongs, finish.id, answer)? {
            return Ok(());
        }
        let answer = Said {
            role: Role::Companion,
            user: None,
            at: finish.at,
            text: answer,
        };
        insert_message(connection, belongs, finish.id, &answer)?;
    }
    Ok(())
}

fn open_turns(connection: &Connection) -> Result<Vec<OpenTurn>, Error> {
    let mut statement =
        connection.prepare(&format!("{OPEN_TURN} WHERE t.state = 0 ORDER BY t.id"))?;
    let mut rows = statement.query([])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.extend(open_turn(row)?);
    }
    Ok(turns)
}

/// Reads turns with their questions; see [`open_turn`].
pub(super) const OPEN_TURN: &str =
    "SELECT t.id, c.scope, c.own, t.channel, t.guild, t.user, t.way, t.accepted_ms, m.at_ms, m.text
     FROM turns t JOIN conversations c ON c.id = t.conversation
     LEFT JOIN messages m ON m.conversation = t.conversation AND m.turn = t.id AND m.role = 0";

/// One row of [`OPEN_TURN`]; none when its scope is not one of ours.
pub(super) fn open_turn(row: &Row<'_>) -> Result<Option<OpenTurn>, rusqlite::Error> {
    let scope: String = row.get(1)?;
    let accepted_ms: i64 = row.get(7)?;
    let Ok(scope) = scope.parse() else {
        return Ok(None);
    };
    Ok(Some(OpenTurn {
        turn: NewTurn {
            id: row.get::<_, i64>(0)? as u64,
            scope,
            own: row.get(2)?,
            channel: row.get::<_, i64>(3)? as u64,
            guild: row.get::<_, Option<i64>>(4)?.map(|id| id as u64),
            user: row.get::<_, i64>(5)? as u64,
            way: Way::from_code(row.get(6)?),
            said_at: instant(row.get::<_, Option<i64>>(8)?.unwrap_or(accepted_ms)),
            text: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
        },
        accepted_at: instant(accepted_ms),
    }))
}

/// A stored instant; one that cannot be is the beginning of time.
pub(super) fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn erase(connection: &Connection, id: u64) -> Result<Option<Erased>, Error> {
    let found = connection
        .prepare_cached(
            "SELECT conversation, channel, reply_channel, replies FROM turns WHERE id = ?1",
        )?
        .query_row([id as i64], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        })
        .optional()?;
    let Some((conversation, channel, reply_channel, replies)) = found else {
        return Ok(None);
    };
    let gone = connection.execute(
        "DELETE FROM messages WHERE conversation = ?1 AND turn = ?2",
        params![conversation, id as i64],
    )?;
    let heard = connection.execute("DELETE FROM heard WHERE turn = ?1", [id as i64])?;
    let_go::note(connection, let_go::Cause::Erased, gone + heard)?;
    // The row itself stays: a replay of the deleted message must not start a new turn.
    connection.execute(
        "UPDATE turns SET state = ?2, replies = NULL WHERE id = ?1",
        params![id as i64, State::Removed.code()],
    )?;
    let replies = replies.unwrap_or_default();
    Ok(Some(Erased {
        reply_channel: reply_channel.unwrap_or(channel) as u64,
        replies: replies
            .split(' ')
            .filter_map(|id| id.parse().ok())
            .collect(),
    }))
}
