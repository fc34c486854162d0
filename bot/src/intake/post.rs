//! From a routed message to a turn in its mailbox, and back when its question is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Intake, Running};
use crate::commands::{Button, Request, Stopping};
use crate::conversation::Work;
use crate::discord::{Inbound, Interaction, Outbound, nonce};
use crate::notes::Note;
use crate::store::{BeginTurn, NewTurn, Scope, Store, Way};
use crate::turn::{self, Outcome, Rooms, Turn, Wish, disk_trouble};

/// How often a question is offered to the disk, in two minutes, before whoever asked is told that no answer comes.
const STORE_ATTEMPTS: u32 = 8;

/// How a message is to be answered.
pub(super) type Routed = (Way, Scope, bool);

impl Intake {
    /// Makes a message durable and puts its turn on its way. The commit begins at once, so that questions that come
    /// together share it; the mailbox keeps the order.
    pub(super) fn accept(&mut self, inbound: Inbound, (way, scope, own): Routed, may_stand: bool) {
        if self.running.contains_key(&inbound.id) {
            return;
        }
        let new = NewTurn {
            id: inbound.id,
            scope,
            own,
            channel: inbound.channel,
            guild: inbound.guild,
            user: inbound.author,
            way,
            said_at: inbound.said_at,
            text: kept_words(&self.rooms, &inbound.text),
        };
        let unstored = Unstored::new(&self.unstored);
        let beginning = tokio::spawn(begin(
            self.rooms.store.clone(),
            Arc::clone(&self.rooms),
            new,
            unstored,
        ));
        let (tell, wish) = watch::channel(Wish::default());
        let (id, asker) = (inbound.id, inbound.author);
        let turn = Turn {
            home: self.places.home(inbound.channel),
            inbound,
            way,
            scope,
            begun: Instant::now(),
            may_stand,
            is_from_store: false,
            is_expired: false,
            again: None,
            wish,
            // Whatever stands is from an earlier life.
            still_since: self.began,
        };
        let rooms = Arc::clone(&self.rooms);
        let work = async move {
            match beginning.await {
                Ok(Some(BeginTurn::Started)) => Some(turn::answer(rooms, turn).await),
                _ => None,
            }
        };
        self.post(scope, id, Running { asker, wish: tell }, Box::pin(work));
    }

    /// Puts a turn into its mailbox. One for which there is no room stays in the store, to be taken up later.
    pub(super) fn post(
        &mut self,
        scope: Scope,
        id: u64,
        running: Running,
        work: Work<Option<Outcome>>,
    ) {
        self.running.insert(id, running);
        if self.conversations.post(scope, id, work).is_err() {
            tracing::warn!(
                event = "turn.crowded",
                turn = id,
                "too many questions wait in one conversation"
            );
            self.running.remove(&id);
            self.left += 1;
        }
    }

    /// A question was deleted: what is running stops, and its answer goes.
    pub(super) fn deleted(&mut self, id: u64) {
        if let Some(running) = self.running.get(&id) {
            running.wish.send_replace(Wish::Gone);
        }
        self.unhear(id);
        let rooms = Arc::clone(&self.rooms);
        self.conversations
            .aside(async move { erase(&rooms, id).await });
    }

    /// A press of the button that stops reaches its turn before anything else is done about it; `None` for all others.
    pub(super) fn stop(&self, interaction: &Interaction) -> Option<Stopping> {
        let Request::Press(Button::Stop(turn)) = Request::of(interaction) else {
            return None;
        };
        Some(match self.running.get(&turn) {
            Some(running) if running.asker == interaction.user() => {
                running.wish.send_if_modified(|wish| {
                    let is_wanted = *wish == Wish::Wanted;
                    if is_wanted {
                        *wish = Wish::Enough;
                    }
                    is_wanted
                });
                Stopping::Told
            }
            Some(_) => Stopping::NotTheirs,
            None => Stopping::Over,
        })
    }
}

/// What is kept of a question: nothing of words of distress, which bring the card and go no further.
fn kept_words(rooms: &Rooms, text: &str) -> String {
    if rooms.settings.borrow().distress.is_in(text) {
        String::new()
    } else {
        text.to_owned()
    }
}

/// Counts what the store has not taken yet: the cursor must not pass it.
struct Unstored(Arc<AtomicUsize>);

impl Unstored {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn begin(
    store: Store,
    rooms: Arc<Rooms>,
    new: NewTurn,
    _unstored: Unstored,
) -> Option<BeginTurn> {
    for attempt in 0..STORE_ATTEMPTS {
        match store.begin_turn(new.clone(), daemon_kit::time::now()).await {
            Ok(begun) => {
                if begun == BeginTurn::Started {
                    let (id, way) = (new.id, format!("{:?}", new.way));
                    tracing::info!(event = "message.accepted", turn = id, way, "accepted");
                }
                return Some(begun);
            }
            Err(crate::store::Error::Closed) => return None,
            Err(error) => {
                tracing::error!(event = "message.not_stored", turn = new.id, error = %error, attempt, "a question could not be stored");
                rooms.owner.tell("disk", disk_trouble());
                sleep(Duration::from_secs(1 << attempt.min(5))).await;
            }
        }
    }
    // Never silent: without the store there is no answer, but a word.
    let note = Outbound {
        text: Note::Failed.text(rooms.manner.language).to_owned(),
        reply_to: Some(new.id),
        nonce: nonce(new.id, 0),
        ..Outbound::default()
    };
    drop(rooms.rest.send(new.channel, &note).await);
    None
}

/// Takes a deleted question out of memory, and our answer out of Discord.
pub(super) async fn erase(rooms: &Rooms, id: u64) {
    match rooms.store.erase_turn(id).await {
        Ok(Some(erased)) => {
            for reply in &erased.replies {
                if let Err(error) = rooms.rest.delete(erased.reply_channel, *reply).await {
                    tracing::info!(event = "reply.not_deleted", error = %error, "a reply to a deleted question stays");
                }
            }
            tracing::info!(
                event = "turn.erased",
                turn = id,
                replies = erased.replies.len(),
                "a question was deleted; its answer went too"
            );
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(event = "turn.not_erased", turn = id, error = %error, "a deleted question could not be taken out of memory");
        }
    }
}
