//! What was said where we may listen: heard, and now and then thought about.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Intake, Running};
use crate::discord::{Inbound, PlaceKind};
use crate::overhear;
use crate::store::{Scope, Way};
use crate::turn::{self, Turn, Wish};

impl Intake {
    /// Hears a message. What was said while we were away is none of our business any more.
    pub(super) fn overhear(&mut self, inbound: Inbound, is_old: bool) {
        if is_old {
            return;
        }
        let (id, channel) = (inbound.id, inbound.channel);
        let overheard = self.rooms.ears.hear(&self.rooms, &inbound);
        if overheard.is_few {
            self.rooms
                .owner
                .tell(format!("overhear:few:{channel}"), overhear::few(channel));
        }
        if overheard.keeps {
            let rooms = Arc::clone(&self.rooms);
            self.conversations
                .aside(async move { rooms.ears.keep_or_tell(channel).await });
        }
        let Some(cue) = overheard.cue else { return };
        let (tell, wish) = watch::channel(Wish::default());
        let (asker, scope) = (inbound.author, Scope::Overheard(channel));
        let turn = Turn {
            home: channel,
            inbound,
            way: Way::Unasked,
            scope,
            begun: Instant::now(),
            may_stand: false,
            is_from_store: false,
            is_expired: false,
            again: None,
            still_since: self.began,
            wish,
        };
        let rooms = Arc::clone(&self.rooms);
        let work = async move { turn::remark(&rooms, &turn, cue).await };
        // While it is on its way, nobody takes it for a turn that an earlier life left open.
        self.post(scope, id, Running { asker, wish: tell }, Box::pin(work));
    }

    /// A message was deleted: it was never heard, or it was the notice.
    pub(super) fn unhear(&mut self, id: u64) {
        if let Some(channel) = self.rooms.ears.gone(id) {
            let rooms = Arc::clone(&self.rooms);
            self.conversations
                .aside(async move { rooms.ears.keep_or_tell(channel).await });
        }
    }

    /// Posts notices that are missing, and takes back those that hold no more.
    pub(super) fn look_after_notices(&mut self) {
        if self.rooms.me() == 0 {
            return;
        }
        let places = &self.places;
        let can_listen = |channel: u64| {
            places
                .get(channel)
                .is_some_and(|place| matches!(place.kind, PlaceKind::Text | PlaceKind::Other))
        };
        let now = self.rooms.rest.now();
        let due = self
            .rooms
            .ears
            .to_look_after(&self.rooms.channels, can_listen, now);
        for channel in due {
            let rooms = Arc::clone(&self.rooms);
            self.conversations
                .aside(async move { overhear::look_after(&rooms, channel).await });
        }
    }
}
