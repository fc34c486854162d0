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
    Ok(())
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

    /// Usage for the command line, while the bot may be running.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn usage_of(path: &Path, day: &str) -> Result<Vec<UsageRow>, Error> {
        rows_since(&schema::open_reading(path)?, day)
    }
}
