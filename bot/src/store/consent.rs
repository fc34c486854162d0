//! Who may be heard unasked, and whose words lay before us when we spoke. Ids and instants alone; heard words are
//! never stored.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::forget::{Tombstone, write_tombstone};
use super::turns::begin;
use super::{BeginTurn, Error, NewTurn, Store, Way};

/// A tombstone of a consent that was taken back: a restored backup must not bring it to life again.
pub(super) const CONSENT_SCOPE: &str = "consent:";

impl Store {
    /// Everybody who has opted in: channel and member.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn consents(&self) -> Result<Vec<(u64, u64)>, Error> {
        self.call(|connection| pairs(connection, "SELECT channel, user FROM consents"))
            .await
    }

    /// Opts a member in, in one channel.
    ///
    /// # Errors
    /// The disk refuses; nothing was agreed to then.
    pub async fn consent(&self, channel: u64, user: u64, now: Timestamp) -> Result<(), Error> {
        self.call(move |connection| {
            // Later than whatever was taken back before, also when the clock was set back meanwhile.
            connection.execute(
                "INSERT INTO consents (channel, user, at_ms) VALUES (?1, ?2, max(?3, 1 + coalesce(
                    (SELECT max(until_ms) FROM tombstones WHERE user = ?2), 0)))
                 ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms",
                params![channel as i64, user as i64, now.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// Takes a member's consent back, in one channel: no row stays, and a tombstone holds against older backups.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn withdraw_consent(
        &self,
        channel: u64,
        user: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let path = self.path().to_owned();
        self.call(move |connection| {
            let given = connection
                .prepare_cached("SELECT max(at_ms) FROM consents WHERE channel = ?1 AND user = ?2")?
                .query_row(params![channel as i64, user as i64], |row| {
                    row.get::<_, Option<i64>>(0)
                })?;
            // Whoever never agreed leaves no trace of having said no.
            let Some(given) = given else { return Ok(()) };
            let stone = Tombstone {
                user,
                scope: format!("{CONSENT_SCOPE}{channel}"),
                until_ms: now.as_millisecond().max(given),
            };
            write_tombstone(&path, &stone)?;
            super::forget::carry_out(connection, &stone)?;
            Ok(())
        })
        .await
    }

    /// The newest remark of ours that nobody asked for, by channel: its turn's id carries its time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_remarks(&self) -> Result<Vec<(u64, u64)>, Error> {
        let query = format!(
            "SELECT channel, max(id) FROM turns WHERE way = {} GROUP BY channel",
            Way::Unasked.code()
        );
        self.call(move |connection| pairs(connection, &query)).await
    }

    /// Makes a remark durable before it is posted, with the people whose words it was made from.
    ///
    /// # Errors
    /// The disk refuses; nothing may be posted then.
    pub async fn begin_remark(
        &self,
        turn: NewTurn,
        people: Vec<u64>,
        now: Timestamp,
    ) -> Result<BeginTurn, Error> {
        self.call(move |connection| {
            let begun = begin(connection, &turn, now)?;
            if begun == BeginTurn::Started {
                let mut add = connection
                    .prepare_cached("INSERT OR IGNORE INTO heard (turn, user) VALUES (?1, ?2)")?;
                for user in people {
                    add.execute(params![turn.id as i64, user as i64])?;
                }
            }
            Ok(begun)
        })
        .await
    }
}

fn pairs(connection: &Connection, query: &str) -> Result<Vec<(u64, u64)>, Error> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
