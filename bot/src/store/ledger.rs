//! Small durable facts: settings, the cursor, IDENTIFYs, and what the owner was told when.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Store};

/// Why an IDENTIFY was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The program started.
    Start,
    /// The gateway let us down.
    Fault,
}

/// One IDENTIFY of the last day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identify {
    /// When it was sent.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

impl Store {
    /// A setting, if it was ever set.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn setting(&self, name: impl Into<String>) -> Result<Option<String>, Error> {
        let name = name.into();
        self.call(move |connection| setting(connection, &name))
            .await
    }

    /// Every setting whose name starts with `prefix`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn settings(
        &self,
        prefix: impl Into<String>,
    ) -> Result<Vec<(String, String)>, Error> {
        let prefix = prefix.into();
        self.call(move |connection| {
            let mut statement = connection
                .prepare("SELECT name, value FROM settings WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name")?;
            let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Sets a setting, or takes it away with `None`.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn set_setting(
        &self,
        name: impl Into<String>,
        value: Option<String>,
    ) -> Result<(), Error> {
        let name = name.into();
        self.call(move |connection| set(connection, &name, value.as_deref()))
            .await
    }

    /// Writes down an IDENTIFY before it is sent.
    ///
    /// # Errors
    /// The disk refuses; then it must not be sent.
    pub async fn record_identify(&self, cause: Cause, now: Timestamp) -> Result<(), Error> {
        self.call(move |connection| {
            // A clock that jumped back leaves rows in the future: those go too, or they would count for ever.
            connection.execute(
                "DELETE FROM identifies WHERE at_ms < ?1 OR at_ms > ?2",
                params![(now - DAY).as_millisecond(), (now + DAY).as_millisecond()],
            )?;
            connection.execute(
                "INSERT INTO identifies (at_ms, cause) VALUES (?1, ?2)",
                params![now.as_millisecond(), i64::from(cause == Cause::Fault)],
            )?;
            Ok(())
        })
        .await
    }

    /// The IDENTIFYs of the last 24 hours, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn identifies(&self, now: Timestamp) -> Result<Vec<Identify>, Error> {
        self.call(move |connection| {
            let mut statement = connection
                .prepare("SELECT at_ms, cause FROM identifies WHERE at_ms > ?1 ORDER BY at_ms")?;
            let rows = statement.query_map([(now - DAY).as_millisecond()], |row| {
                let cause = if row.get::<_, i64>(1)? == 1 {
                    Cause::Fault
                } else {
                    Cause::Start
                };
                Ok(Identify {
                    at: super::turns::instant(row.get(0)?),
                    cause,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Whether the owner was told about `cause` within the last day.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn was_told(&self, cause: impl Into<String>, now: Timestamp) -> Result<bool, Error> {
        let name = format!("told:{}", cause.into());
        self.call(move |connection| {
            let last: Option<i64> = setting(connection, &name)?.and_then(|ms| ms.parse().ok());
            let (now_ms, since_ms) = (now.as_millisecond(), (now - DAY).as_millisecond());
            // A clock that jumped back must not silence a cause for years.
            Ok(last.is_some_and(|ms| ms <= now_ms && ms > since_ms))
        })
        .await
    }

    /// Writes down that the owner was told about `cause`.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn note_told(&self, cause: impl Into<String>, now: Timestamp) -> Result<(), Error> {
        let name = format!("told:{}", cause.into());
        let told = now.as_millisecond().to_string();
        self.call(move |connection| set(connection, &name, Some(&told)))
            .await
    }
}

pub(super) fn setting(connection: &Connection, name: &str) -> Result<Option<String>, Error> {
    Ok(connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn set(connection: &Connection, name: &str, value: Option<&str>) -> Result<(), Error> {
    match value {
        Some(value) => connection
            .prepare_cached(
                "INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            )?
            .execute(params![name, value])?,
        None => connection.prepare_cached("DELETE FROM settings WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}
