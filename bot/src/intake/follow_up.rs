//! What earlier lives left behind: open turns, and what was said while nobody listened.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Caught, Intake, Look, Running};
use crate::catch_up;
use crate::discord::Inbound;
use crate::discord::wire::{Id, Message};
use crate::store::OpenTurn;
use crate::turn::{self, Again, Rooms, Turn, Wish};

impl Intake {
    /// Takes up every turn that is open and not on its way.
    pub(super) async fn take_up_open(&mut self) {
        self.left = 0;
        match self.rooms.store.open_turns().await {
            Ok(open) => {
                let ids: HashSet<u64> = open.iter().map(|open| open.turn.id).collect();
                let is_open = |id: u64| ids.contains(&id) || self.running.contains_key(&id);
                self.rooms.unsaid.keep_open(is_open);
                let open: Vec<OpenTurn> = open
                    .into_iter()
                    .filter(|open| !self.running.contains_key(&open.turn.id))
                    .collect();
                if !open.is_empty() {
                    tracing::info!(
                        event = "turns.taken_up",
                        turns = open.len(),
                        "taking up what was left open"
                    );
                }
                let still_since = Instant::now();
                for open in open {
                    self.take_up(open, still_since, None);
                }
            }
            Err(error) => {
                self.left = 1;
                tracing::error!(event = "store.unreadable", error = %error, "open turns cannot be read");
            }
        }
    }

    /// The same, when some are known to have been left.
    pub(super) async fn take_up_left(&mut self) {
        if self.left > 0 && self.rooms.me() != 0 {
            self.take_up_open().await;
        }
    }

    /// Takes a turn of the store into its mailbox: one that was left, or one to be answered `again`.
    pub(super) fn take_up(&mut self, open: OpenTurn, still_since: Instant, again: Option<Again>) {
        let (tell, wish) = watch::channel(Wish::default());
        let new = open.turn;
        let now = self.rooms.rest.now();
        let minutes = self.rules.catch_up_minutes;
        let is_expired = again.is_none() && catch_up::is_expired(new.said_at, now, minutes);
        let (id, scope, asker) = (new.id, new.scope, new.user);
        let turn = Turn {
            home: self.places.home(new.channel),
            inbound: Inbound {
                id,
                channel: new.channel,
                guild: new.guild,
                author: new.user,
                name: String::new(),
                by_bot: false,
                is_ordinary: true,
                mentions_us: true,
                text: new.text,
                attachments: Vec::new(),
                quoted: None,
                said_at: new.said_at,
            },
            way: new.way,
            scope,
            begun: Instant::now(),
            may_stand: again.is_none(),
            is_from_store: true,
            is_expired,
            again,
            wish,
            still_since,
        };
        let rooms = Arc::clone(&self.rooms);
        let work = async move { Some(turn::answer(rooms, turn).await) };
        self.post(scope, id, Running { asker, wish: tell }, Box::pin(work));
    }

    /// Looks back, beside everything else.
    pub(super) fn look(&mut self, look: Look) {
        if look.channels.is_empty() {
            return;
        }
        self.looking += 1;
        let (rooms, caught) = (Arc::clone(&self.rooms), self.caught.0.clone());
        self.conversations.aside(async move {
            let left = look_back(&rooms, look, &caught).await;
            drop(caught.send(Caught::Looked(left)).await);
        });
    }

    /// Takes what looking back found.
    pub(super) fn catch(&mut self, caught: Caught) {
        match caught {
            Caught::Message(message) => self.hear(*message, false),
            Caught::Learned(channel, message, is_live) => {
                self.learn(&channel, message.guild_id.map(|id| id.0));
                self.hear(*message, is_live);
            }
            Caught::Looked(left) => {
                self.looking = self.looking.saturating_sub(1);
                if !left.channels.is_empty() {
                    self.look_again.push(left);
                }
            }
        }
    }

    /// A mention in a channel that nobody told us of: Discord is asked what it is.
    pub(super) fn ask_about(&mut self, message: Message, is_live: bool) {
        let (rooms, caught) = (Arc::clone(&self.rooms), self.caught.0.clone());
        self.conversations.aside(async move {
            let id = message.channel_id;
            // Unknown even so: answered in place, as in a channel without threads.
            let channel =
                rooms
                    .rest
                    .channel(id.0)
                    .await
                    .unwrap_or_else(|_| crate::discord::wire::Channel {
                        id,
                        kind: 2,
                        guild_id: message.guild_id,
                        ..Default::default()
                    });
            let learned = Caught::Learned(Box::new(channel), Box::new(message), is_live);
            drop(caught.send(learned).await);
        });
    }
}

/// Looks into every channel, and tells what is left: channels that Discord did not show now, and those where more was
/// said than one reading takes.
async fn look_back(rooms: &Rooms, look: Look, caught: &tokio::sync::mpsc::Sender<Caught>) -> Look {
    let (guild, channels) = (look.guild, look.channels.len());
    let mut left = Vec::new();
    let mut found = 0_usize;
    for (channel, since) in look.channels {
        match catch_up::read(&rooms.rest, channel, since).await {
            Ok(reading) => {
                left.extend(reading.goes_on.map(|after| (channel, after)));
                for mut message in reading.messages {
                    found += 1;
                    // Asked for one by one, messages do not say which server they are from.
                    message.guild_id = message.guild_id.or(guild.map(Id));
                    let message = Caught::Message(Box::new(message));
                    if caught.send(message).await.is_err() {
                        // The intake has ended, and its cursor stays behind this.
                        return Look {
                            guild,
                            channels: left,
                        };
                    }
                }
            }
            Err(error) if error.is_final() => {}
            Err(error) => {
                tracing::info!(event = "catch_up.failed", channel, error = %error, "looking again later");
                left.push((channel, since));
            }
        }
    }
    tracing::info!(
        event = "catch_up.done",
        channels,
        messages = found,
        is_whole = left.is_empty(),
        "looked at what was said meanwhile"
    );
    Look {
        guild,
        channels: left,
    }
}
