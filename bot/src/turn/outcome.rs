//! How a turn ends: what is stored, logged and told, once.

use daemon_kit::text::Text;
use tokio::time::{Duration, sleep};

use super::place::Place;
use super::{Rooms, Turn};
use crate::discord::rest;
use crate::notes::Note;
use crate::store::{self, FinishTurn, Spent, State};

/// How often a finished turn is written, when the disk refuses, before it is left to the next look.
const WRITES: u32 = 6;

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is over.
    Finished(State),
    /// It stays open: Discord or the disk cannot be reached now.
    Left,
}

/// A turn that came to an end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) state: State,
    pub(super) answer: Option<String>,
    pub(super) replies: Vec<u64>,
    pub(super) spent: Option<Spent>,
    /// Why it failed, for the log.
    pub(super) why: Option<String>,
    /// What the member reads instead of an answer.
    pub(super) note: Option<Note>,
}

impl Ended {
    /// A reply that stood already.
    pub(super) fn adopted(text: String, replies: Vec<u64>) -> Self {
        Self {
            answer: (!text.is_empty()).then_some(text),
            replies,
            why: Some("stood already".to_owned()),
            ..Self::silent(State::Answered)
        }
    }

    /// Without a word.
    pub(super) fn silent(state: State) -> Self {
        Self {
            state,
            answer: None,
            replies: Vec::new(),
            spent: None,
            why: None,
            note: None,
        }
    }
}

/// A turn that could not come to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Discord would not have it.
    Discord(rest::Error),
    /// The store would not.
    Store(store::Error),
    /// The question is gone.
    Deleted,
}

impl From<rest::Error> for Trouble {
    fn from(error: rest::Error) -> Self {
        Self::Discord(error)
    }
}

/// Stores, logs and tells.
pub(super) async fn conclude(
    rooms: &Rooms,
    turn: &Turn,
    place: Place,
    ended: Result<Ended, Trouble>,
) -> Outcome {
    let id = turn.inbound.id;
    let ms = turn.begun.elapsed().as_millis() as u64;
    match ended {
        Ok(ended) => {
            log(turn, &ended, ms);
            let state = ended.state;
            if store(rooms, turn, place, ended).await {
                Outcome::Finished(state)
            } else {
                Outcome::Left
            }
        }
        Err(Trouble::Deleted) => {
            tracing::info!(
                event = "turn.removed",
                turn = id,
                "the question was deleted"
            );
            clean_up(rooms, turn).await;
            // Its begin may have been committed after the deletion was seen.
            if let Err(error) = rooms.store.erase_turn(id).await {
                tracing::error!(event = "turn.not_erased", turn = id, error = %error, "a deleted question could not be taken out of memory");
            }
            Outcome::Finished(State::Removed)
        }
        Err(Trouble::Discord(rest::Error::NotFound(code))) => {
            // The message, its channel or its thread is gone: there is nobody to answer.
            tracing::info!(
                event = "turn.undeliverable",
                turn = id,
                code,
                "the place or the question is gone"
            );
            close(rooms, turn, place, State::Undeliverable).await
        }
        Err(Trouble::Discord(error)) if error.is_final() => {
            tracing::warn!(event = "turn.undeliverable", turn = id, channel = place.channel, why = %error, "Discord does not let us answer there");
            rooms.owner.tell(
                format!("undeliverable:{}", place.channel),
                undeliverable(place.channel, &error),
            );
            close(rooms, turn, place, State::Undeliverable).await
        }
        Err(Trouble::Discord(error)) => {
            tracing::warn!(event = "turn.left", turn = id, why = %error, "left open until Discord can be reached");
            Outcome::Left
        }
        Err(Trouble::Store(error)) => {
            tracing::error!(event = "turn.left", turn = id, why = %error, "left open until the disk can be written");
            Outcome::Left
        }
    }
}

fn undeliverable(channel: u64, error: &rest::Error) -> Text {
    Text::new(
        format!(
            "<#{channel}> で呼ばれましたが、返事を送る権限がありませんでした ({error})。「チャンネルを見る」「メッセージを送信」「メッセージ履歴を読む」の権限を確かめてください。"
        ),
        format!(
            "I was called in <#{channel}> but may not answer there ({error}). Please check the permissions View Channel, Send Messages and Read Message History."
        ),
    )
}

async fn close(rooms: &Rooms, turn: &Turn, place: Place, state: State) -> Outcome {
    if store(rooms, turn, place, Ended::silent(state)).await {
        Outcome::Finished(state)
    } else {
        Outcome::Left
    }
}

async fn store(rooms: &Rooms, turn: &Turn, place: Place, ended: Ended) -> bool {
    let finish = FinishTurn {
        id: turn.inbound.id,
        scope: place.scope,
        state: ended.state,
        answer: ended.answer,
        reply_channel: place.channel,
        replies: ended.replies,
        spent: ended.spent,
        at: daemon_kit::time::now(),
    };
    for attempt in 0..WRITES {
        match rooms.store.finish_turn(finish.clone()).await {
            Ok(()) => return true,
            Err(store::Error::Closed) => return false,
            Err(error) => {
                tracing::error!(event = "turn.not_stored", turn = finish.id, error = %error, attempt, "the end of a turn could not be stored");
                rooms.owner.tell("disk", disk_trouble());
                sleep(Duration::from_secs(2 << attempt)).await;
            }
        }
    }
    false
}

/// What the owner is told when the disk refuses.
pub(crate) fn disk_trouble() -> Text {
    Text::new(
        "データベースに書き込めません。NAS の空き容量と data フォルダの権限を確かめてください。空きができると、自動で続きから再開します。",
        "The database cannot be written. Please check the free space of the NAS and the permissions of the data folder. I go on by myself once there is room.",
    )
}

/// The question was deleted while it was being answered: what stands of the answer goes too.
async fn clean_up(rooms: &Rooms, turn: &Turn) {
    if let Ok(ids) = rooms.eyes(None).own_posts(&turn.inbound, turn.way).await {
        for (channel, id) in ids {
            if let Err(error) = rooms.rest.delete(channel, id).await {
                tracing::info!(event = "reply.not_deleted", error = %error, "a reply to a deleted question stays");
            }
        }
    }
}

fn log(turn: &Turn, ended: &Ended, ms: u64) {
    let (id, way) = (turn.inbound.id, format!("{:?}", turn.way));
    let why = ended.why.as_deref().unwrap_or_default();
    match (&ended.spent, ended.state) {
        (Some(spent), State::Answered) => {
            let cost_usd = spent.cost_micros as f64 / 1e6;
            tracing::info!(event = "turn.answered", turn = id, way, ms, model = %spent.model, input_tokens = spent.input_tokens, output_tokens = spent.output_tokens, cost_usd, parts = ended.replies.len(), "answered");
        }
        (None, State::Answered) => {
            tracing::info!(
                event = "turn.answered",
                turn = id,
                way,
                ms,
                parts = ended.replies.len(),
                why,
                "answered"
            );
        }
        (_, State::Failed) => tracing::warn!(
            event = "turn.failed",
            turn = id,
            way,
            ms,
            why,
            "a kind note instead of an answer"
        ),
        (_, state) => {
            tracing::info!(event = "turn.closed", turn = id, way, ms, state = ?state, "closed without an answer");
        }
    }
}
