//! Where an answer goes: into a thread of its own where there can be one, else where it was asked.

use daemon_kit::text::Text;

use super::outcome::Trouble;
use super::{Rooms, Turn};
use crate::catch_up::Standing;
use crate::discord::{Inbound, rest};
use crate::router::thread_name;
use crate::store::{Scope, Way};

/// Where the answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) channel: u64,
    /// The message it answers, where that is in the same channel.
    pub(super) reply_to: Option<u64>,
    pub(super) scope: Scope,
}

impl Place {
    /// Where the question was asked.
    pub(super) fn here(turn: &Turn) -> Self {
        Self {
            channel: turn.inbound.channel,
            reply_to: Some(turn.inbound.id),
            scope: turn.scope,
        }
    }

    /// In the channel of the question, though a thread was meant.
    pub(super) fn beside(turn: &Turn) -> Self {
        Self {
            scope: pair(&turn.inbound),
            ..Self::here(turn)
        }
    }

    /// A thread for a mention where there can be one, else the place where it was asked.
    pub(super) async fn find(
        rooms: &Rooms,
        turn: &Turn,
        standing: &Standing,
    ) -> Result<Self, Trouble> {
        let inbound = &turn.inbound;
        if turn.way != Way::Mention {
            return Ok(Self::here(turn));
        }
        let thread = Self {
            channel: inbound.id,
            reply_to: None,
            scope: turn.scope,
        };
        if let Standing::Partial { channel, .. } = standing {
            let in_thread = *channel == inbound.id;
            return Ok(if in_thread {
                thread
            } else {
                Self::beside(turn)
            });
        }
        // Words of distress are no title for everybody to read.
        let is_distress = rooms.settings.borrow().distress.is_in(&inbound.text);
        let title = if is_distress {
            ""
        } else {
            inbound.text.as_str()
        };
        let name = thread_name(title, rooms.manner.language);
        let minutes = rooms.manner.archive_minutes;
        let opened = rooms
            .rest
            .open_thread(inbound.channel, inbound.id, &name, minutes);
        match opened.await {
            Ok(channel) => Ok(Self { channel, ..thread }),
            Err(
                error @ (rest::Error::Forbidden(_)
                | rest::Error::Rejected { .. }
                | rest::Error::RateLimited(_)),
            ) => {
                tracing::info!(event = "turn.no_thread", turn = inbound.id, why = %error, "answering in the channel instead");
                if matches!(error, rest::Error::Forbidden(_)) {
                    tell_of_threads(rooms);
                }
                Ok(Self::beside(turn))
            }
            Err(error) => Err(Trouble::Discord(error)),
        }
    }
}

/// The conversation that one member has with us in a channel.
pub(super) fn pair(inbound: &Inbound) -> Scope {
    Scope::Pair {
        channel: inbound.channel,
        user: inbound.author,
    }
}

/// The owner hears that a permission for threads is missing.
pub(super) fn tell_of_threads(rooms: &Rooms) {
    let text = Text::new(
        "スレッドを作る権限 (公開スレッドの作成・スレッドでメッセージを送信) がないチャンネルで呼ばれたので、そのチャンネルの中で返事をしました。",
        "I was called in a channel where I may not open threads (Create Public Threads, Send Messages in Threads), so I answered in the channel itself.",
    );
    rooms.owner.tell("permission:threads", text);
}
