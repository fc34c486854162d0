//! What answering cost, per day, model and purpose.

use std::path::Path;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Error, Store, schema};

/// What the model was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Somebody asked.
    Answer,
    /// Nobody asked, but the bot spoke.
    Unasked,
    /// To judge whether to speak.
    Judge,
}

impl Purpose {
    fn code(self) -> i64 {
        match self {
            Self::Answer => 0,
            Self::Unasked => 1,
            Self::Judge => 2,
        }
    }

    fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Unasked,
            2 => Self::Judge,
            _ => Self::Answer,
        }
    }
}

/// One call of a model, paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The day in the owner's time zone, `YYYY-MM-DD`.
    pub day: String,
    /// `provider/model`.
    pub model: String,
    /// What for.
    pub purpose: Purpose,
    /// In which channel (of a thread, the one it hangs on); 0 = direct messages, and what belongs to none.
    pub channel: u64,
    /// Messages of ours that came of it: 1, or 0 for a judge's call, a rewrite and what broke off.
    pub messages: u64,
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

/// The sum of one day, model and purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// `provider/model`.
    pub model: String,
    /// What for.
    pub purpose: Purpose,
    /// How many calls.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

/// The sum of one day, model and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceRow {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// `provider/model`.
    pub model: String,
    /// The channel's id; 0 = direct messages, and what belongs to no channel.
    pub channel: u64,
    /// Answers given.
    pub messages: u64,
    /// How many calls.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

pub(super) fn add(connection: &Connection, spent: &Spent) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO usage (day, model, purpose, calls, input_tokens, output_tokens, cost_micros)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET calls = calls + 1, input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                cost_micros = cost_micros + excluded.cost_micros",
        )?
        .execute(params![
            spent.day,
            spent.model,
            spent.purpose.code(),
            spent.input_tokens as i64,
            spent.output_tokens as i64,
            spent.cost_micros as i64,
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO usage_places (day, model, channel, messages, calls, input_tokens, output_tokens, cost_micros)
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET calls = calls + 1, messages = messages + excluded.messages,
                input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                cost_micros = cost_micros + excluded.cost_micros",
        )?
        .execute(params![
            spent.day,
            spent.model,
            spent.channel as i64,
            spent.messages as i64,
            spent.input_tokens as i64,
            spent.output_tokens as i64,
            spent.cost_micros as i64,
        ])?;
    Ok(())
}

fn places_since(connection: &Connection, day: &str) -> Result<Vec<PlaceRow>, Error> {
    // A command may read what a program before this one wrote.
    if !schema::has_table(connection, "usage_places")? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(
        "SELECT day, model, channel, messages, calls, input_tokens, output_tokens, cost_micros FROM usage_places
         WHERE day >= ?1 ORDER BY day, model, channel",
    )?;
    let rows = statement.query_map([day], |row| {
        Ok(PlaceRow {
            day: row.get(0)?,
            model: row.get(1)?,
            channel: row.get::<_, i64>(2)? as u64,
            messages: row.get::<_, i64>(3)? as u64,
            calls: row.get::<_, i64>(4)? as u64,
            input_tokens: row.get::<_, i64>(5)? as u64,
            output_tokens: row.get::<_, i64>(6)? as u64,
            cost_micros: row.get::<_, i64>(7)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn rows_since(connection: &Connection, day: &str) -> Result<Vec<UsageRow>, Error> {
    let mut statement = connection.prepare(
        "SELECT day, model, purpose, calls, input_tokens, output_tokens, cost_micros FROM usage
         WHERE day >= ?1 ORDER BY day, model, purpose",
    )?;
    let rows = statement.query_map([day], |row| {
        Ok(UsageRow {
            day: row.get(0)?,
            model: row.get(1)?,
            purpose: Purpose::from_code(row.get(2)?),
            calls: row.get::<_, i64>(3)? as u64,
            input_tokens: row.get::<_, i64>(4)? as u64,
            output_tokens: row.get::<_, i64>(5)? as u64,
            cost_micros: row.get::<_, i64>(6)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Store {
    /// Adds what a call cost that belongs to no turn (a judge's).
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn spend(&self, spent: Spent) -> Result<(), Error> {
        self.call(move |connection| add(connection, &spent)).await
    }

    /// Usage from `day` (`YYYY-MM-DD`) on; the budget starts from it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage_since(&self, day: String) -> Result<Vec<UsageRow>, Error> {
        self.call(move |connection| rows_since(connection, &day))
            .await
    }

    /// The same by channel.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage_places_since(&self, day: String) -> Result<Vec<PlaceRow>, Error> {
        self.call(move |connection| places_since(connection, &day))
            .await
    }

    /// Usage for the command line, by purpose and by channel, while the bot may be running.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn usage_of(path: &Path, day: &str) -> Result<(Vec<UsageRow>, Vec<PlaceRow>), Error> {
        let connection = schema::open_reading(path)?;
        Ok((
            rows_since(&connection, day)?,
            places_since(&connection, day)?,
        ))
    }
}
