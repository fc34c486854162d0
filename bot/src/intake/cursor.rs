//! Up to where everything said was seen, by Discord's own numbering of time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::catch_up;
use crate::discord;
use crate::store::{self, Store};
use crate::turn::Rooms;

const CURSOR: &str = "cursor";
const FLOOR: &str = "floor";
/// A server that Discord cannot show us keeps the cursor from moving on for no longer than this.
const LONGEST_HOLD: Duration = Duration::from_mins(10);

/// The newest message seen, and where this store began.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    newest: u64,
    stored: u64,
    /// What was said before the first start is nobody's to answer. 0 until then.
    floor: u64,
    /// Servers that READY named and that have not come yet, and from where on messages count as missed in each: what is
    /// heard elsewhere meanwhile must not move that.
    awaited: HashMap<u64, u64>,
    /// When the session began to wait for them.
    waits_since: Option<Instant>,
}

impl Cursor {
    pub(super) async fn open(store: &Store) -> Result<Self, store::Error> {
        let read = async |name: &str| -> Result<u64, store::Error> {
            Ok(store
                .setting(name)
                .await?
                .and_then(|id| id.parse().ok())
                .unwrap_or(0))
        };
        let newest = read(CURSOR).await?;
        Ok(Self {
            newest,
            stored: newest,
            floor: read(FLOOR).await?,
            ..Self::default()
        })
    }

    /// The first READY of a new store is where it begins.
    pub(super) async fn begin(&mut self, rooms: &Rooms) {
        if self.floor != 0 {
            return;
        }
        self.floor = discord::id_at(rooms.rest.now());
        self.newest = self.newest.max(self.floor);
        if let Err(error) = rooms
            .store
            .set_setting(FLOOR, Some(self.floor.to_string()))
            .await
        {
            tracing::error!(event = "store.not_written", error = %error, "where this store begins could not be stored");
        }
        self.save(&rooms.store).await;
    }

    pub(super) fn saw(&mut self, id: u64) {
        self.newest = self.newest.max(id);
    }

    /// From where on messages count as missed: never before `oldest`, since nothing older is answered.
    pub(super) fn since(&self, oldest: u64) -> u64 {
        catch_up::missed_since(self.newest, self.floor.max(oldest))
    }

    /// A session begins, and Discord will show its servers one after the other.
    pub(super) fn wait_for(&mut self, guilds: &[u64], oldest: u64, now: Instant) {
        let since = self.since(oldest);
        // One that did not come in the session before has missed more.
        let before = std::mem::take(&mut self.awaited);
        let from = |guild: &u64| before.get(guild).map_or(since, |early| since.min(*early));
        self.awaited = guilds.iter().map(|guild| (*guild, from(guild))).collect();
        self.waits_since = Some(now);
    }

    /// A server has come: from where on messages count as missed there.
    pub(super) fn since_in(&mut self, guild: u64, oldest: u64) -> u64 {
        match self.awaited.remove(&guild) {
            Some(since) => since.max(oldest),
            None => self.since(oldest),
        }
    }

    /// A server that will not come.
    pub(super) fn forget(&mut self, guild: u64) {
        self.awaited.remove(&guild);
    }

    /// Whether a server may still come that was not looked at: a cursor that was stored now would pass what it missed.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        let waits = |since: Instant| now.duration_since(since) < LONGEST_HOLD;
        !self.awaited.is_empty() && self.waits_since.is_some_and(waits)
    }

    pub(super) async fn save(&mut self, store: &Store) {
        if self.newest == self.stored {
            return;
        }
        match store
            .set_setting(CURSOR, Some(self.newest.to_string()))
            .await
        {
            Ok(()) => self.stored = self.newest,
            Err(error) => {
                tracing::warn!(event = "store.not_written", error = %error, "the cursor could not be stored; more is looked at after a restart");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(time: &str) -> u64 {
        discord::id_at(format!("2026-11-28T{time}Z").parse().unwrap())
    }

    #[test]
    fn what_is_heard_before_a_server_comes_does_not_move_where_it_is_looked_at_from() {
        let begin = Instant::now();
        let mut cursor = Cursor::default();
        cursor.saw(id("12:00:00"));
        cursor.wait_for(&[1, 2], 0, begin);
        cursor.saw(id("13:00:00"));
        assert!(cursor.is_held(begin));
        assert_eq!(cursor.since_in(1, 0), id("11:58:00"));
        assert!(cursor.is_held(begin));
        assert_eq!(cursor.since_in(2, 0), id("11:58:00"));
        assert!(!cursor.is_held(begin));
        // One that we joined later.
        assert_eq!(cursor.since_in(3, 0), id("12:58:00"));
    }

    #[test]
    fn a_server_that_does_not_come_holds_the_cursor_for_a_while_and_is_looked_at_whole() {
        let begin = Instant::now();
        let mut cursor = Cursor::default();
        cursor.saw(id("12:00:00"));
        cursor.wait_for(&[1, 2], 0, begin);
        cursor.forget(2);
        assert!(cursor.is_held(begin + LONGEST_HOLD / 2));
        assert!(!cursor.is_held(begin + LONGEST_HOLD));
        cursor.saw(id("13:00:00"));
        cursor.wait_for(&[1], 0, begin + LONGEST_HOLD);
        assert_eq!(cursor.since_in(1, 0), id("11:58:00"));
    }

    #[test]
    fn nothing_is_looked_for_that_is_too_old_to_be_answered() {
        let mut cursor = Cursor::default();
        cursor.saw(id("12:00:00"));
        assert_eq!(cursor.since(id("12:30:00")), id("12:30:00"));
        cursor.wait_for(&[1], id("12:30:00"), Instant::now());
        assert_eq!(cursor.since_in(1, id("12:45:00")), id("12:45:00"));
    }
}
