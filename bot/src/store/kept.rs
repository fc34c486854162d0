//! Everything that is kept of one person, for them to see.

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::consent::CONSENT_SCOPE;
use super::turns::{State, Way, instant};
use super::{Error, Role, Store, schema};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Where it was said.
    pub scope: String,
    /// `member`, `companion`, or `consent` (to being heard unasked; `scope` names the channel).
    pub role: &'static str,
    /// When, RFC 3339.
    pub at: String,
    /// What was said.
    pub text: String,
}

/// What is noted beside a question: where, when, how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptTurn {
    /// The id of the member's message.
    pub id: String,
    /// Whose memory it belongs to.
    pub scope: String,
    /// The channel's id.
    pub channel: String,
    /// The server's id; none in a direct message.
    pub guild: Option<String>,
    /// How it reached us.
    pub way: String,
    /// How it ended.
    pub state: String,
    /// When it was accepted, RFC 3339.
    pub accepted_at: String,
    /// When it ended, RFC 3339.
    pub finished_at: Option<String>,
    /// The ids of our messages.
    pub replies: Vec<String>,
}

/// That somebody asked to be forgotten: kept so that a restored backup is forgotten again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptForgetting {
    /// One scope; empty = everywhere.
    pub scope: String,
    /// Words up to this instant are gone, RFC 3339.
    pub until: String,
}

/// Everything kept of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Their words, and the answers to them, in the order of talking.
    pub messages: Vec<Exported>,
    /// What is noted beside their questions.
    pub turns: Vec<KeptTurn>,
    /// What they had forgotten.
    pub forgotten: Vec<KeptForgetting>,
}

impl Store {
    /// Everything kept of one member.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn kept(&self, user: u64) -> Result<Kept, Error> {
        self.call(move |connection| kept(connection, user)).await
    }

    /// The same for the command line, while the bot may be running.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn kept_of(path: &Path, user: u64) -> Result<Kept, Error> {
        kept(&schema::open_reading(path)?, user)
    }
}

fn kept(connection: &Connection, user: u64) -> Result<Kept, Error> {
    Ok(Kept {
        messages: messages(connection, user)?,
        turns: turns(connection, user)?,
        forgotten: forgotten(connection, user)?,
    })
}

fn messages(connection: &Connection, user: u64) -> Result<Vec<Exported>, Error> {
    // A command may look at a database that the running bot has not brought up to date yet.
    let knows_hearing = schema::has_table(connection, "heard")?;
    let heard = if knows_hearing {
        "OR m.turn IN (SELECT turn FROM heard WHERE user = ?1)"
    } else {
        ""
    };
    let mut statement = connection.prepare(&format!(
        "SELECT c.scope, m.role, m.at_ms, m.text FROM messages m JOIN conversations c ON c.id = m.conversation
         WHERE m.user = ?1 OR m.turn IN (SELECT id FROM turns WHERE user = ?1) {heard}
         ORDER BY c.id, coalesce(m.turn, 0), m.id",
    ))?;
    let rows = statement.query_map([user as i64], |row| {
        Ok(Exported {
            scope: row.get(0)?,
            role: match Role::from_code(row.get(1)?) {
                Role::Member => "member",
                Role::Companion => "companion",
            },
            at: instant(row.get(2)?).to_string(),
            text: row.get(3)?,
        })
    })?;
    let mut kept: Vec<Exported> = rows.collect::<Result<_, _>>()?;
    if knows_hearing {
        kept.extend(consents(connection, user)?);
    }
    Ok(kept)
}

/// Where a member has opted in to being heard.
fn consents(connection: &Connection, user: u64) -> Result<Vec<Exported>, Error> {
    let mut statement = connection
        .prepare("SELECT channel, at_ms FROM consents WHERE user = ?1 ORDER BY channel")?;
    let rows = statement.query_map([user as i64], |row| {
        Ok(Exported {
            scope: format!("{CONSENT_SCOPE}{}", row.get::<_, i64>(0)? as u64),
            role: "consent",
            at: instant(row.get(1)?).to_string(),
            text: "may be heard unasked".to_owned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn turns(connection: &Connection, user: u64) -> Result<Vec<KeptTurn>, Error> {
    let mut statement = connection.prepare(
        "SELECT t.id, c.scope, t.channel, t.guild, t.way, t.state, t.accepted_ms, t.finished_ms, t.replies
         FROM turns t JOIN conversations c ON c.id = t.conversation WHERE t.user = ?1 ORDER BY t.id",
    )?;
    let id = |id: i64| (id as u64).to_string();
    let rows = statement.query_map([user as i64], |row| {
        let replies: Option<String> = row.get(8)?;
        let replies = replies.unwrap_or_default();
        Ok(KeptTurn {
            id: id(row.get(0)?),
            scope: row.get(1)?,
            channel: id(row.get(2)?),
            guild: row.get::<_, Option<i64>>(3)?.map(id),
            way: format!("{:?}", Way::from_code(row.get(4)?)),
            state: format!("{:?}", State::from_code(row.get(5)?)),
            accepted_at: instant(row.get(6)?).to_string(),
            finished_at: row
                .get::<_, Option<i64>>(7)?
                .map(|ms| instant(ms).to_string()),
            replies: replies.split_whitespace().map(str::to_owned).collect(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn forgotten(connection: &Connection, user: u64) -> Result<Vec<KeptForgetting>, Error> {
    let mut statement = connection
        .prepare("SELECT scope, until_ms FROM tombstones WHERE user = ?1 ORDER BY until_ms")?;
    let rows = statement.query_map([user as i64], |row| {
        Ok(KeptForgetting {
            scope: row.get(0)?,
            until: instant(row.get(1)?).to_string(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
