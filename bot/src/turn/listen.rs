//! Listens to the model and lets the reply grow: first word, holding note, edits, end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outcome::{Ended, Trouble};
use super::speaker::Speaker;
use super::ways::Ways;
use super::{HOLD_AFTER, Rooms, Turn, model_trouble};
use crate::llm::{self, Completion, Delta, Prompt, Stop};
use crate::manners::{self, Judge, Leave};
use crate::notes::Note;
use crate::purse::Reserved;
use crate::store::{Purpose, State};

/// An answer that comes this fast after its first word is posted whole.
const GROW_AFTER: Duration = Duration::from_millis(1000);
/// A model that says nothing for this long pauses: what it has said whole is shown.
const PAUSE: Duration = Duration::from_millis(400);
/// However many models are tried: after this the member gets a kind note.
const LONGEST_ANSWER: Duration = Duration::from_mins(10);
/// Pieces that may wait while Discord takes an edit.
const WAITING_DELTAS: usize = 1024;

/// Asks the model and speaks.
pub(super) async fn listen(
    rooms: &Rooms,
    turn: &Turn,
    speaker: &mut Speaker<'_>,
    reserved: Reserved,
    (ways, leave): (Ways, Leave),
) -> Result<Ended, Trouble> {
    let prompt = reserved.prompt.clone();
    let completed = match follow(rooms, speaker, &prompt, (&ways, leave)).await? {
        Ok(completion) => completion,
        Err(error) => {
            reserved.release();
            return failed(rooms, turn, speaker, &error).await;
        }
    };
    let ((text, has_more), rewritten) =
        settle_wording(rooms, &prompt, &completed, (&ways, leave)).await;
    let mut paid = vec![completed];
    paid.extend(rewritten);
    let spent = reserved.settle(&paid, Purpose::Answer).await;
    let mut shown = text.clone();
    if ways.settings.footer {
        shown = format!("{text}\n-# {}", paid[0].model);
    }
    let ended = match speaker.answer(&shown, has_more).await {
        Ok(ended) => ended,
        Err(trouble) => {
            // Paid for, though nobody got it.
            rooms.store.spend(spent).await.ok();
            return Err(trouble);
        }
    };
    Ok(Ended {
        answer: Some(text),
        spent: Some(spent),
        ..ended
    })
}

async fn failed(
    rooms: &Rooms,
    turn: &Turn,
    speaker: &mut Speaker<'_>,
    error: &llm::Error,
) -> Result<Ended, Trouble> {
    if let Some((cause, text)) = model_trouble(error) {
        rooms.owner.tell(cause, text);
    }
    tracing::warn!(event = "model.unanswered", turn = turn.inbound.id, why = %error, "no model answered");
    let ended = speaker.note(Note::from(error), State::Failed).await?;
    Ok(Ended {
        why: Some(error.to_string()),
        ..ended
    })
}

/// Follows the stream to its end. Discord's trouble on the way is only trouble if it lasts to the end.
async fn follow(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    prompt: &Prompt,
    (ways, leave): (&Ways, Leave),
) -> Result<Result<Completion, llm::Error>, Trouble> {
    let (deltas, mut pieces) = mpsc::channel(WAITING_DELTAS);
    // In a set, so that leaving this function ends the request and with it the cost.
    let mut asking = JoinSet::new();
    let (models, asked) = (Arc::clone(&rooms.models), prompt.clone());
    asking.spawn(async move { models.complete(&asked, deltas).await });
    let mut judge = Judge::new(&ways.persona().law, leave);
    let mut growth = Growth::default();
    let turn = speaker.turn;
    let hold_at = turn.begun + HOLD_AFTER;
    let end = Instant::now() + LONGEST_ANSWER;
    let mut is_open = true;
    loop {
        let grow_at = growth.due(speaker);
        tokio::select! {
            piece = pieces.recv(), if is_open => match piece {
                Some(Delta::Text(text)) => {
                    growth.add(&judge.feed(&text));
                    growth.heard = Some(Instant::now());
                }
                Some(Delta::Restart) => {
                    judge.restart();
                    growth = Growth::default();
                }
                None => is_open = false,
            },
            ended = timeout_at(end, asking.join_next()) => return Ok(match ended {
                Ok(Some(Ok(completed))) => completed,
                Ok(_) => Err(llm::Error::Cancelled),
                Err(_) => Err(llm::Error::TimedOut),
            }),
            () = sleep_until(growth.paused_at()), if growth.heard.is_some() => {
                growth.heard = None;
                growth.add(&judge.pause());
            }
            () = sleep_until(hold_at), if !speaker.has_spoken() && growth.is_empty() => {
                tracing::info!(event = "turn.holding", turn = turn.inbound.id, "no first word yet; the member hears that they are heard");
                speaker.hold().await?;
            }
            () = sleep_until(grow_at), if ways.is_streaming() && growth.is_due() => {
                growth.is_new = false;
                speaker.grow(&growth.text).await?;
            }
        }
    }
}

/// What may be shown so far.
#[derive(Default)]
struct Growth {
    text: String,
    first: Option<Instant>,
    /// When the model was last heard, until the pause after it was seen.
    heard: Option<Instant>,
    is_new: bool,
}

impl Growth {
    fn add(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.is_new = true;
            self.first.get_or_insert_with(Instant::now);
        }
    }

    fn paused_at(&self) -> Instant {
        self.heard.unwrap_or_else(Instant::now) + PAUSE
    }

    fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    fn is_due(&self) -> bool {
        self.is_new && !self.is_empty()
    }

    fn due(&self, speaker: &Speaker<'_>) -> Instant {
        let first = self
            .first
            .map_or_else(Instant::now, |first| first + GROW_AFTER);
        first.max(speaker.next_edit())
    }
}

/// The wording that may be shown; one silent rewrite when nothing may.
async fn settle_wording(
    rooms: &Rooms,
    prompt: &Prompt,
    completed: &Completion,
    (ways, leave): (&Ways, Leave),
) -> ((String, bool), Option<Completion>) {
    let language = rooms.manner.language;
    let lawful = |completion: &Completion| {
        let mut judge = Judge::new(&ways.persona().law, leave);
        let mut text = judge.feed(&completion.text);
        let verdict = judge.finish();
        text.push_str(&verdict.rest);
        (!verdict.is_empty)
            .then(|| text.trim().to_owned())
            .map(|text| {
                if verdict.more || completion.stop == Stop::Length {
                    (format!("{text}\n{}", Note::more(language)), true)
                } else {
                    (text, false)
                }
            })
    };
    if let Some(text) = lawful(completed) {
        return (text, None);
    }
    tracing::info!(
        event = "manners.rewrite",
        "nothing of the answer may be shown; asking for another wording"
    );
    let again = manners::rewrite(prompt, &completed.text, language);
    match rooms.models.complete_quietly(&again).await {
        Ok(second) => {
            let text =
                lawful(&second).unwrap_or_else(|| (manners::instead(language).to_owned(), false));
            (text, Some(second))
        }
        Err(_) => ((manners::instead(language).to_owned(), false), None),
    }
}
