//! Up to where everything said was seen, by Discord's own numbering of time.

use crate::catch_up;
use crate::discord;
use crate::store::{self, Store};
use crate::turn::Rooms;

const CURSOR: &str = "cursor";
const FLOOR: &str = "floor";

/// The newest message seen, and where this store began.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    newest: u64,
    stored: u64,
    /// What was said before the first start is nobody's to answer. 0 until then.
    floor: u64,
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

    /// From where on messages count as missed.
    pub(super) fn since(&self) -> u64 {
        catch_up::missed_since(self.newest, self.floor)
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
