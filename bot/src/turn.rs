//! One question and its answer. [`answer`] is the straight line: `begin_turn` (in the intake) → place → prompt →
//! complete (streaming into the reply) → `finish_turn`.

mod again;
mod enclosures;
mod gate;
mod history;
mod listen;
mod outcome;
mod place;
mod question;
mod remark;
mod speaker;
mod unsaid;
mod ways;
mod wish;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use daemon_kit::text::Language;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use crate::catch_up::{Eyes, Standing, Views};
use crate::commands::Channels;
use crate::discord::{Inbound, Rest, rest};
use crate::limits::{Busy, Limits, Urgency};
use crate::llm::{Models, Prompt};
use crate::manners::Leave;
use crate::notes::Note;
use crate::overhear::Ears;
use crate::owner::Owner;
use crate::prompt;
use crate::purse::Purse;
use crate::settings::Settings;
use crate::store::{Scope, State, Store, Way};
pub use again::Again;
pub use gate::Gate;
use listen::Heard;
pub use outcome::Outcome;
pub(crate) use outcome::disk_trouble;
use outcome::{Ended, Trouble};
use place::Place;
pub use remark::remark;
use speaker::Speaker;
pub use unsaid::Unsaid;
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
    /// Answers that Discord would not take yet.
    pub unsaid: Unsaid,
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
    let is_gone = turn.is_from_store && question::is_gone(&rooms, &mut turn).await;
    let mut place = Place::here(&turn);
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
    if outcome != Outcome::Left {
        rooms.unsaid.take(turn.inbound.id);
    }
    if let Some(again) = &turn.again {
        again.tell(&rooms, note).await;
    }
    outcome
}

async fn straight_line(rooms: &Rooms, turn: &Turn, place: &mut Place) -> Result<Ended, Trouble> {
    if let Some(again) = &turn.again {
        *place = again.place(turn);
        return again.answer(rooms, turn, *place).await;
    }
    let standing = look_up(rooms, turn).await?;
    if let Standing::Complete { channel, ids, text } = standing {
        if turn.way == Way::Mention && channel == turn.inbound.channel {
            place.scope = place::pair(&turn.inbound);
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
    *place = Place::find(rooms, turn, &standing).await?;
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
    if let Some(answer) = rooms.unsaid.take(turn.inbound.id) {
        return unsaid::say(rooms, speaker, answer, None).await;
    }
    if let Err(busy) = wait_admitted(rooms, turn, speaker).await? {
        tracing::info!(event = "turn.busy", turn = turn.inbound.id, why = %busy, "asked to come back later");
        return speaker.note(Note::Busy, State::Failed).await;
    }
    let _typing = speaker.typing();
    let history = history::history(rooms, turn, speaker.place.scope).await?;
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
        _pictures: enclosed.pictures,
    };
    (prompt, heard)
}
