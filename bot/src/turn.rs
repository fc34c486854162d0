//! One question and its answer. [`answer`] is the straight line: `begin_turn` (in the intake) → place → prompt →
//! complete (streaming into the reply) → `finish_turn`.

mod again;
mod enclosures;
mod gate;
mod listen;
mod outcome;
mod remark;
mod speaker;
mod ways;
mod wish;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use daemon_kit::text::{Language, Text};
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use crate::catch_up::{Eyes, Seen, Standing, Views};
use crate::commands::{self, Channels};
use crate::discord::wire::Message;
use crate::discord::{Inbound, Rest, rest};
use crate::limits::{Busy, Limits, Urgency};
use crate::llm::{self, Models, Prompt};
use crate::manners::Leave;
use crate::notes::Note;
use crate::overhear::Ears;
use crate::owner::Owner;
use crate::prompt;
use crate::purse::Purse;
use crate::router::thread_name;
use crate::settings::Settings;
use crate::store::{Remembered, Role, Scope, State, Store, Way};
pub use again::Again;
pub use gate::Gate;
use listen::Heard;
pub use outcome::Outcome;
pub(crate) use outcome::disk_trouble;
use outcome::{Ended, Trouble};
pub use remark::remark;
use speaker::Speaker;
use ways::Ways;
pub use wish::Wish;

/// Without a first word for this long, the member hears that they are heard.
const HOLD_AFTER: Duration = Duration::from_secs(15);

/// Everything a turn needs, shared by all.
pub struct Rooms {
    /// Discord.
    pub rest: Arc<Rest>,
    /// Memory.
    pub store: Store,
    /// Who answers.
    pub models: Arc<Models>,
    /// Who may ask now.
    pub limits: Limits,
    /// The month's money.
    pub purse: Purse,
    /// Whom to tell.
    pub owner: Owner,
    /// For attachments.
    pub client: reqwest::Client,
    /// How we speak, as the environment has it.
    pub manner: Manner,
    /// What holds in each channel.
    pub channels: Channels,
    /// What is heard unasked.
    pub ears: Ears,
    /// What the YAML says, as it is now.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Our own id, once Discord has told it.
    pub me: AtomicU64,
    /// How many turns run at once.
    pub gate: Gate,
    /// What was read of channels in which questions were left open.
    pub views: Views,
}

/// How we speak, and where.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The members' language.
    pub language: Language,
    /// The owner's time zone.
    pub zone: TimeZone,
    /// Whether a mention gets a thread.
    pub threads: bool,
    /// Whether answers grow before people's eyes.
    pub streaming: bool,
    /// When threads fall asleep.
    pub archive_minutes: u64,
    /// What a prompt may hold.
    pub context_tokens: u32,
    /// How long words are kept; forever by default.
    pub retention_days: Option<u32>,
    /// Where the programs leave word for one another.
    pub log_dir: std::path::PathBuf,
    /// Whom the bot belongs to; empty = Discord is asked.
    pub owner_ids: Vec<u64>,
}

/// One turn that was begun.
#[derive(Debug)]
pub struct Turn {
    /// The question.
    pub inbound: Inbound,
    /// The channel whose settings hold: for a thread, the one it hangs on.
    pub home: u64,
    /// How it reached us.
    pub way: Way,
    /// Whose memory it belongs to.
    pub scope: Scope,
    /// When we began to work on it.
    pub begun: Instant,
    /// Whether a reply of ours may stand already: then Discord is asked first.
    pub may_stand: bool,
    /// Whether it comes from the store, which remembers words alone.
    pub is_from_store: bool,
    /// Whether it is too old to be answered, and only to be closed.
    pub is_expired: bool,
    /// Set when its answer is wanted once more, in the place of the one that stands.
    pub again: Option<Again>,
    /// Nothing of ours about this question has been written to Discord since: what was read later holds.
    pub still_since: Instant,
    /// Whether an answer is still wanted.
    pub wish: watch::Receiver<Wish>,
}

/// Where the answer goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    channel: u64,
    /// The message it answers, where that is in the same channel.
    reply_to: Option<u64>,
    scope: Scope,
}

impl Rooms {
    /// Our own id; 0 before Discord has told it.
    #[must_use]
    pub fn me(&self) -> u64 {
        self.me.load(Ordering::Relaxed)
    }

    /// What looks for our words on Discord: now, or by what was read since `still_since`.
    fn eyes(&self, still_since: Option<Instant>) -> Eyes<'_> {
        Eyes {
            rest: &self.rest,
            me: self.me(),
            views: still_since.map(|since| (&self.views, since)),
        }
    }
}

/// Answers one turn, whatever happens: an answer, a kind note, or open for later.
pub async fn answer(rooms: Arc<Rooms>, mut turn: Turn) -> Outcome {
    let Some(_within) = rooms.gate.enter(turn.may_stand).await else {
        return Outcome::Left;
    };
    if turn.may_stand {
        // The wait at the gate is no slowness of a model's.
        turn.begun = Instant::now();
    }
    let is_gone = turn.is_from_store && is_gone(&rooms, &mut turn).await;
    let mut place = here(&turn);
    let ended = if is_gone {
        Err(Trouble::Deleted)
    } else {
        tokio::select! {
            ended = straight_line(&rooms, &turn, &mut place) => ended,
            () = wish::until(turn.wish.clone(), Wish::Gone) => Err(Trouble::Deleted),
        }
    };
    let note = ended
        .as_ref()
        .map_or(Some(Note::Failed), |ended| ended.note);
    let outcome = outcome::conclude(&rooms, &turn, place, ended).await;
    if let Some(again) = &turn.again {
        again.tell(&rooms, note).await;
    }
    outcome
}

/// The question as it stands on Discord now; true when it was deleted while we were away.
async fn is_gone(rooms: &Rooms, turn: &mut Turn) -> bool {
    const UNKNOWN_MESSAGE: u64 = 10_008;
    match as_it_stands(rooms, turn).await {
        Ok(message) => {
            let now = message.into_inbound(rooms.me());
            turn.inbound.attachments = now.attachments;
            turn.inbound.quoted = now.quoted;
            // Words of distress are not kept: they are read again where they stand.
            if turn.inbound.text.is_empty() {
                turn.inbound.text = now.text;
            }
            false
        }
        Err(error) => {
            tracing::debug!(error = %error, "answering an open turn by what the store remembers");
            error == rest::Error::NotFound(UNKNOWN_MESSAGE)
        }
    }
}

/// By the view of its channel, which many share. What is not in it, and one old question to be answered again, is asked
/// for by itself: a view leaves out what could not be read, and words of a question never read are not gone.
async fn as_it_stands(rooms: &Rooms, turn: &Turn) -> Result<Message, rest::Error> {
    let at = (turn.inbound.channel, turn.inbound.id);
    if turn.again.is_none() {
        let views = &rooms.views;
        let view = views
            .of(&rooms.rest, rooms.me(), at, turn.still_since)
            .await?;
        // Of others a view keeps no words; those of distress are asked for.
        if let Seen::There(message) = view.find(at.1)
            && !turn.inbound.text.is_empty()
        {
            return Ok(message.clone());
        }
    }
    rooms.rest.message(at.0, at.1).await
}

async fn straight_line(rooms: &Rooms, turn: &Turn, place: &mut Place) -> Result<Ended, Trouble> {
    if let Some(again) = &turn.again {
        *place = again.place(turn);
        return again.answer(rooms, turn, *place).await;
    }
    let standing = look_up(rooms, turn).await?;
    if let Standing::Complete { channel, ids, text } = standing {
        if turn.way == Way::Mention && channel == turn.inbound.channel {
            place.scope = pair(&turn.inbound);
        }
        place.channel = channel;
        return Ok(Ended::adopted(text, ids));
    }
    if turn.way == Way::Unasked {
        return Ok(remark::left_behind(standing));
    }
    if turn.is_expired && matches!(standing, Standing::None) {
        return Ok(Ended::silent(State::Expired));
    }
    *place = find_place(rooms, turn, &standing).await?;
    let mut speaker = Speaker::new(rooms, turn, *place, standing);
    let ended = speak(rooms, turn, &mut speaker).await;
    *place = speaker.place;
    ended
}

/// With a place and a voice: an answer, or the kind note that stands for one.
async fn speak(rooms: &Rooms, turn: &Turn, speaker: &mut Speaker<'_>) -> Result<Ended, Trouble> {
    if turn.is_expired {
        return speaker.note(Note::Failed, State::Expired).await;
    }
    let ways = Ways::of(rooms, turn.home);
    if ways.settings.distress.is_in(&turn.inbound.text) {
        let card = ways
            .settings
            .distress
            .card(rooms.manner.language)
            .to_owned();
        let ended = speaker.whole(&card).await?;
        // Only that it was answered is kept.
        return Ok(Ended {
            answer: None,
            ..ended
        });
    }
    if let Err(busy) = wait_admitted(rooms, turn, speaker).await? {
        tracing::info!(event = "turn.busy", turn = turn.inbound.id, why = %busy, "asked to come back later");
        return speaker.note(Note::Busy, State::Failed).await;
    }
    let _typing = speaker.typing();
    let history = history(rooms, turn, speaker.place.scope).await?;
    let (prompt, heard) = build_prompt(rooms, turn, ways, &history).await;
    let Ok(reserved) = rooms.purse.reserve(prompt) else {
        return speaker.note(Note::Resting, State::Failed).await;
    };
    let channel = turn.inbound.guild.map_or(0, |_| turn.home);
    listen::listen(rooms, turn, speaker, reserved.at(channel), &heard).await
}

/// After a restart or an outage, Discord knows whether an answer stands already.
async fn look_up(rooms: &Rooms, turn: &Turn) -> Result<Standing, Trouble> {
    if !turn.may_stand {
        return Ok(Standing::None);
    }
    let eyes = rooms.eyes(Some(turn.still_since));
    match eyes.standing(&turn.inbound, turn.way).await {
        Ok(standing) => Ok(standing),
        // Without the right to read what was said there, the nonce alone has to keep the answer single.
        Err(rest::Error::Forbidden(_)) => Ok(Standing::None),
        Err(error) => Err(Trouble::Discord(error)),
    }
}

fn here(turn: &Turn) -> Place {
    Place {
        channel: turn.inbound.channel,
        reply_to: Some(turn.inbound.id),
        scope: turn.scope,
    }
}

/// In the channel of the question, though a thread was meant.
fn beside(turn: &Turn) -> Place {
    Place {
        scope: pair(&turn.inbound),
        ..here(turn)
    }
}

fn pair(inbound: &Inbound) -> Scope {
    Scope::Pair {
        channel: inbound.channel,
        user: inbound.author,
    }
}

/// A thread for a mention where there can be one, else the place where it was asked.
async fn find_place(rooms: &Rooms, turn: &Turn, standing: &Standing) -> Result<Place, Trouble> {
    let inbound = &turn.inbound;
    let thread = Place {
        channel: inbound.id,
        reply_to: None,
        scope: turn.scope,
    };
    let pair = beside(turn);
    if turn.way != Way::Mention {
        return Ok(here(turn));
    }
    if let Standing::Partial { channel, .. } = standing {
        return Ok(if *channel == inbound.id { thread } else { pair });
    }
    let name = thread_name(&inbound.text);
    match rooms
        .rest
        .open_thread(
            inbound.channel,
            inbound.id,
            &name,
            rooms.manner.archive_minutes,
        )
        .await
    {
        Ok(channel) => Ok(Place { channel, ..thread }),
        Err(
            error @ (rest::Error::Forbidden(_)
            | rest::Error::Rejected { .. }
            | rest::Error::RateLimited(_)),
        ) => {
            tracing::info!(event = "turn.no_thread", turn = inbound.id, why = %error, "answering in the channel instead");
            if matches!(error, rest::Error::Forbidden(_)) {
                rooms.owner.tell("permission:threads", no_threads());
            }
            Ok(pair)
        }
        Err(error) => Err(Trouble::Discord(error)),
    }
}

fn no_threads() -> Text {
    Text::new(
        "スレッドを作る権限 (公開スレッドの作成・スレッドでメッセージを送信) がないチャンネルで呼ばれたので、そのチャンネルの中で返事をしました。",
        "I was called in a channel where I may not open threads (Create Public Threads, Send Messages in Threads), so I answered in the channel itself.",
    )
}

/// Whoever waits for a place hears that they are heard.
async fn wait_admitted(
    rooms: &Rooms,
    turn: &Turn,
    speaker: &mut Speaker<'_>,
) -> Result<Result<(), Busy>, Trouble> {
    let waiting = admitted(rooms, turn);
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        // Not wanted any more: whoever listens to the model learns of it at once.
        () = wish::until(turn.wish.clone(), Wish::Enough) => return Ok(Ok(())),
        admitted = &mut waiting => return Ok(admitted),
        () = sleep_until(turn.begun + HOLD_AFTER) => {}
    }
    if !speaker.has_spoken() {
        speaker.hold().await?;
    }
    tokio::select! {
        biased;
        () = wish::until(turn.wish.clone(), Wish::Enough) => Ok(Ok(())),
        admitted = &mut waiting => Ok(admitted),
    }
}

async fn admitted(rooms: &Rooms, turn: &Turn) -> Result<(), Busy> {
    // Whoever was kept waiting by our absence has not asked too much.
    if !turn.may_stand {
        rooms.limits.admit_person(turn.inbound.author)?;
    }
    let urgency = match turn.way {
        Way::Unasked => Urgency::Unasked,
        Way::FollowUp => Urgency::Thread,
        Way::Mention | Way::InPlace | Way::Direct => Urgency::Mention,
    };
    rooms.limits.admit(urgency).await
}

async fn history(rooms: &Rooms, turn: &Turn, scope: Scope) -> Result<Vec<prompt::Turn>, Trouble> {
    // Three bytes a character and about a token a character: more would not fit the prompt anyway.
    let bytes = rooms.manner.context_tokens as usize * 6;
    let remembered = rooms
        .store
        .history(scope, turn.inbound.id, bytes)
        .await
        .map_err(Trouble::Store)?;
    let remembered = commands::since_reset(&rooms.store, scope, remembered)
        .await
        .map_err(Trouble::Store)?;
    Ok(pair_up(remembered))
}

/// Questions with their answers; a question that never got one stands alone.
fn pair_up(remembered: Vec<Remembered>) -> Vec<prompt::Turn> {
    let mut turns: Vec<prompt::Turn> = Vec::new();
    for said in remembered {
        match said.role {
            Role::Member => turns.push(prompt::Turn {
                question: said.text,
                answer: String::new(),
            }),
            Role::Companion => match turns.last_mut().filter(|turn| turn.answer.is_empty()) {
                Some(turn) => turn.answer = said.text,
                None => turns.push(prompt::Turn {
                    question: String::new(),
                    answer: said.text,
                }),
            },
        }
    }
    turns
}

async fn build_prompt(
    rooms: &Rooms,
    turn: &Turn,
    ways: Ways,
    history: &[prompt::Turn],
) -> (Prompt, Heard) {
    let manner = &rooms.manner;
    let enclosed = enclosures::question(rooms, turn).await;
    let today = prompt::today(manner.language, daemon_kit::time::now(), &manner.zone);
    let mut prompt = prompt::build(
        &ways.persona().prompt,
        manner.language,
        &today,
        history,
        &enclosed.question,
        manner.context_tokens,
    );
    prompt.choice = ways.choice();
    let said: Vec<&str> = history.iter().map(|turn| turn.question.as_str()).collect();
    let heard = Heard {
        leave: Leave::of(&turn.inbound.text, &said),
        ways,
        remark: enclosed.remark,
    };
    (prompt, heard)
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn said(role: Role, text: &str) -> Remembered {
        Remembered {
            role,
            text: text.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn questions_and_answers_find_each_other() {
        let turns = pair_up(vec![
            said(Role::Companion, "hello first"),
            said(Role::Member, "one"),
            said(Role::Member, "two"),
            said(Role::Companion, "answer"),
        ]);
        let pairs: Vec<(&str, &str)> = turns
            .iter()
            .map(|turn| (turn.question.as_str(), turn.answer.as_str()))
            .collect();
        assert_eq!(pairs, [("", "hello first"), ("one", ""), ("two", "answer")]);
    }
}
