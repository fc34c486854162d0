//! Listens to the model and lets the reply grow: first word, holding note, edits, end.

use std::sync::Arc;
use std::time::Duration;

use daemon_kit::text::Text;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::gate::PictureRoom;
use super::outcome::{Ended, Trouble};
use super::speaker::Speaker;
use super::unsaid::{self, Answer, Ending};
use super::ways::Ways;
use super::wish::{self, Wish};
use super::{HOLD_AFTER, Rooms, Turn};
use crate::discord::rest;
use crate::llm::{self, Completion, Delta, Prompt, Stop, Usage};
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
/// After Discord would not show what has come so far, it is left alone for this long.
const CALM: Duration = Duration::from_secs(3);
/// Pieces that may wait while Discord takes an edit.
const WAITING_DELTAS: usize = 1024;

/// What is known of a question besides the prompt that came of it.
pub(super) struct Heard {
    pub(super) ways: Ways,
    pub(super) leave: Leave,
    /// What could not be read of it, for the member.
    pub(super) remark: Option<String>,
    /// What its pictures take of the room of all, as long as they may be sent.
    pub(super) _pictures: Vec<PictureRoom>,
}

impl Heard {
    fn judge(&self) -> Judge {
        Judge::new(&self.ways.persona().law, self.leave)
    }
}

/// Asks the model and speaks.
pub(super) async fn listen(
    rooms: &Rooms,
    turn: &Turn,
    speaker: &mut Speaker<'_>,
    mut reserved: Reserved,
    heard: &Heard,
) -> Result<Ended, Trouble> {
    let prompt = reserved.ask(Purpose::Answer);
    let completed = match follow(rooms, speaker, &prompt, heard).await {
        Ok(completion) => completion,
        Err(broken) => {
            let wasted = &broken.wasted;
            reserved.settle_broken(wasted, Purpose::Answer).await;
            return failed(rooms, turn, speaker, &broken.error).await;
        }
    };
    if completed.stop == Stop::Asked {
        return stopped(rooms, speaker, reserved, completed, heard).await;
    }
    let (wording, rewritten, broken) =
        settle_wording(rooms, speaker, &prompt, &completed, heard).await;
    let mut paid = vec![completed];
    paid[0].wasted.extend(broken);
    paid.extend(rewritten);
    let spent = reserved.settle(&paid, Purpose::Answer).await;
    let mut shown = wording.text.clone();
    let model = heard
        .ways
        .settings
        .footer
        .then(|| format!("-# {}", paid[0].model));
    let more = wording.has_more.then(|| Note::more(rooms.manner.language));
    let remarks = [more, heard.remark.as_deref(), model.as_deref()];
    for remark in remarks.into_iter().flatten() {
        shown = format!("{shown}\n{remark}");
    }
    let answer = Answer {
        text: Some(wording.text),
        shown,
        ending: Ending::Whole {
            has_more: wording.has_more,
        },
    };
    unsaid::say(rooms, speaker, answer, Some(spent)).await
}

/// No more was wanted: what had come whole stays, and what came is paid for.
async fn stopped(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    reserved: Reserved,
    completed: Completion,
    heard: &Heard,
) -> Result<Ended, Trouble> {
    let mut judge = heard.judge();
    let mut text = judge.feed(&completed.text);
    text.push_str(&judge.pause());
    let text = text.trim().to_owned();
    tracing::info!(
        event = "turn.stopped",
        turn = speaker.turn.inbound.id,
        "no more was wanted; what was shown stays"
    );
    let spent = if completed.usage == Usage::default() {
        reserved.release();
        None
    } else {
        Some(reserved.settle(&[completed], Purpose::Answer).await)
    };
    let answer = Answer {
        shown: format!("{text}\n{}", Note::stopped(rooms.manner.language)),
        text: (!text.is_empty()).then_some(text),
        ending: Ending::Stopped,
    };
    unsaid::say(rooms, speaker, answer, spent).await
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

/// What is told to the owner when a model fails in a way that only the owner can mend.
fn model_trouble(error: &llm::Error) -> Option<(&'static str, Text)> {
    match error {
        llm::Error::Unauthorized => Some((
            "model:key",
            Text::new(
                "言語モデルの API キーが受け付けられませんでした。.env か secrets/bot の API キーを確かめてください。",
                "The language model refused the API key. Please check the API key in .env or secrets/bot.",
            ),
        )),
        llm::Error::SpendCap => Some((
            "model:spend-cap",
            Text::new(
                "言語モデルの利用額の上限に達したため、返事を休んでいます。提供元の管理画面で上限か残高を確かめてください。",
                "The model account's spending limit is reached, so I am resting. Please check the limit or balance at the provider.",
            ),
        )),
        llm::Error::UnknownModel => Some((
            "model:unknown",
            Text::new(
                "LLM_MODEL のモデルが見つかりません (提供終了かもしれません)。別のモデル名に変えてください。",
                "The model of LLM_MODEL is unknown or retired. Please choose another one.",
            ),
        )),
        _ => None,
    }
}

/// Follows the stream to its end. Discord's trouble on the way is only trouble if it lasts to the end: the answer is
/// being paid for, and whether it can be shown is known when it is posted whole.
async fn follow(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    prompt: &Arc<Prompt>,
    heard: &Heard,
) -> Result<Completion, llm::Broken> {
    let (deltas, mut pieces) = mpsc::channel(WAITING_DELTAS);
    // In a set, so that leaving this function ends the request and with it the cost.
    let mut asking = JoinSet::new();
    let (models, asked) = (Arc::clone(&rooms.models), Arc::clone(prompt));
    let enough = wish::until(speaker.turn.wish.clone(), Wish::Enough);
    asking.spawn(async move { models.complete_until(&asked, deltas, enough).await });
    let mut judge = heard.judge();
    let mut growth = Growth::default();
    let turn = speaker.turn;
    let hold_at = turn.begun + HOLD_AFTER;
    let end = Instant::now() + LONGEST_ANSWER;
    let mut calm = turn.begun;
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
            ended = timeout_at(end, asking.join_next()) => return match ended {
                Ok(Some(Ok(completed))) => completed,
                Ok(_) => Err(llm::Error::Cancelled.into()),
                Err(_) => Err(llm::Error::TimedOut.into()),
            },
            () = sleep_until(growth.paused_at()), if growth.heard.is_some() => {
                growth.heard = None;
                growth.add(&judge.pause());
            }
            () = sleep_until(hold_at.max(calm)), if !speaker.has_spoken() && growth.is_empty() => {
                calm = hold(speaker).await;
            }
            () = sleep_until(grow_at.max(calm)), if heard.ways.is_streaming() && growth.is_due() => {
                let shown = speaker.grow(&growth.text).await;
                growth.is_new = shown.is_err();
                calm = calm_until(&shown, turn.inbound.id);
            }
        }
    }
}

/// The member hears that they are heard. Says when something may be shown again.
async fn hold(speaker: &mut Speaker<'_>) -> Instant {
    let turn = speaker.turn.inbound.id;
    tracing::info!(
        event = "turn.holding",
        turn,
        "no first word yet; the member hears that they are heard"
    );
    let shown = speaker.hold().await;
    calm_until(&shown, turn)
}

/// When something may be shown again: now, or a little later where Discord would not have it.
fn calm_until(shown: &Result<(), rest::Error>, turn: u64) -> Instant {
    let now = Instant::now();
    let Err(error) = shown else {
        return now;
    };
    tracing::info!(event = "reply.not_shown", turn, error = %error, "what has come so far is not shown; the answer goes on");
    now + CALM
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

/// What may be shown of an answer.
struct Wording {
    text: String,
    has_more: bool,
}

/// The wording that may be shown; one silent rewrite when nothing may.
async fn settle_wording(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    prompt: &Prompt,
    completed: &Completion,
    heard: &Heard,
) -> (Wording, Option<Completion>, Vec<(String, Usage)>) {
    let language = rooms.manner.language;
    let instead = || Wording {
        text: manners::instead(language).to_owned(),
        has_more: false,
    };
    let lawful = |completion: &Completion| {
        let mut judge = heard.judge();
        let mut text = judge.feed(&completion.text);
        let verdict = judge.finish();
        text.push_str(&verdict.rest);
        (!verdict.is_empty).then(|| Wording {
            text: text.trim().to_owned(),
            has_more: verdict.more || completion.stop == Stop::Length,
        })
    };
    if let Some(wording) = lawful(completed) {
        return (wording, None, Vec::new());
    }
    tracing::info!(
        event = "manners.rewrite",
        "nothing of the answer may be shown; asking for another wording"
    );
    let again = manners::rewrite(prompt, &completed.text, language);
    match another_wording(rooms, speaker, again).await {
        // Not in time, or no more was wanted: only what came of it is paid for.
        Ok(second) if second.stop == Stop::Asked => {
            let was_begun = second.usage != Usage::default();
            (instead(), was_begun.then_some(second), Vec::new())
        }
        Ok(second) => {
            let wording = lawful(&second).unwrap_or_else(instead);
            (wording, Some(second), Vec::new())
        }
        Err(broken) => (instead(), None, broken.wasted),
    }
}

/// Asks for another wording, but not for long; whoever has seen nothing yet hears meanwhile that they are heard.
async fn another_wording(
    rooms: &Rooms,
    speaker: &mut Speaker<'_>,
    again: Prompt,
) -> Result<Completion, llm::Broken> {
    let (deltas, _) = mpsc::channel(1);
    let models = Arc::clone(&rooms.models);
    let wish = speaker.turn.wish.clone();
    let enough = async move {
        tokio::select! {
            () = wish::until(wish, Wish::Enough) => {}
            () = sleep(manners::REWRITE_WITHIN) => {}
        }
    };
    // In a set, so that leaving this function ends the request, and Discord's slowness does not hold it up.
    let mut asking = JoinSet::new();
    asking.spawn(async move { models.complete_until(&again, deltas, enough).await });
    let hold_at = speaker.turn.begun + HOLD_AFTER;
    let mut is_quiet = !speaker.has_spoken();
    loop {
        tokio::select! {
            ended = asking.join_next() => return match ended {
                Some(Ok(completed)) => completed,
                _ => Err(llm::Error::Cancelled.into()),
            },
            () = sleep_until(hold_at), if is_quiet => {
                is_quiet = false;
                hold(speaker).await;
            }
        }
    }
}
