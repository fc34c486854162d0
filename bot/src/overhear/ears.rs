//! All ears of the house, with what outlives a restart: consents, notices, 「静かにして」, and when we spoke.
//!
//! Asked and told from many tasks, always for a moment and never across a wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ear::{Call, Ear, HUSH, Line, Moment, Quiet, Rules, Said};
use super::why::Report;
use crate::commands::Channels;
use crate::discord::{Inbound, made_at};
use crate::llm::ModelName;
use crate::store::{self, Store};
use crate::turn::Rooms;

/// What is kept of a channel stands under this name and its id.
const PREFIX: &str = "ear:";
/// Between two attempts at a notice, and after somebody deleted one.
const NOTICE_AGAIN: Duration = Duration::from_mins(10);

/// What outlives a restart, of one channel. No words and no people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// The notice's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notice: Option<u64>,
    /// When one was about to be posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) noticing_ms: Option<i64>,
    /// Until when quiet was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hushed_until_ms: Option<i64>,
    /// Whether the owner was told that too few have opted in.
    told_few: bool,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    Stands(u64),
    /// Posted perhaps: looked for at the next attempt.
    Unknown,
    Refused,
    Gone,
    Unchanged,
}

/// One occasion to speak.
#[derive(Debug)]
pub struct Cue {
    /// Why.
    pub call: Call,
    /// What was said, as it may leave the house.
    pub lines: Vec<Line>,
    /// True when it is not wanted any more.
    pub withdrawn: watch::Receiver<bool>,
}

impl Cue {
    /// Whose words are among the lines.
    #[must_use]
    pub fn people(&self) -> Vec<u64> {
        let heard = self.lines.iter().filter(|line| line.words.is_some());
        let mut people: Vec<u64> = heard.map(|line| line.by).filter(|by| *by != 0).collect();
        people.sort_unstable();
        people.dedup();
        people
    }
}

/// What one message led to.
#[derive(Debug, Default)]
pub struct Overheard {
    /// Something to think about.
    pub cue: Option<Cue>,
    /// Whether there is something to [`Ears::keep`].
    pub keeps: bool,
    /// Whether the owner is to be told, once, that too few have opted in.
    pub is_few: bool,
}

#[derive(Default)]
struct Room {
    ear: Ear,
    kept: Kept,
    /// What is being thought about; over when nobody holds the other end.
    thinking: Option<(Call, watch::Sender<bool>)>,
    quiet: Option<Quiet>,
    call: Option<Call>,
    is_noticing: bool,
    /// Whether the notice was seen to stand, with today's words, in this life.
    is_checked: bool,
    notice_at: Option<Instant>,
}

impl Room {
    fn thinking(&self) -> Option<Call> {
        let (call, told) = self.thinking.as_ref()?;
        (told.receiver_count() > 0).then_some(*call)
    }

    fn withdraw(&self) {
        if let Some((_, tell)) = &self.thinking {
            tell.send_replace(true);
        }
    }
}

#[derive(Default)]
struct Known {
    consents: HashSet<(u64, u64)>,
    rooms: HashMap<u64, Room>,
}

/// The ears.
pub struct Ears {
    known: Mutex<Known>,
    rules: Rules,
    judge: ModelName,
    store: Store,
}

impl Ears {
    /// Reads what outlives a restart.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open(store: Store, rules: Rules, judge: ModelName) -> Result<Self, store::Error> {
        let mut known = Known {
            consents: store.consents().await?.into_iter().collect(),
            rooms: HashMap::new(),
        };
        let mut spoke: HashMap<u64, Timestamp> = HashMap::new();
        for (channel, turn) in store.last_remarks().await? {
            spoke.insert(channel, made_at(turn));
            known.rooms.entry(channel).or_default();
        }
        for (name, value) in store.settings(PREFIX).await? {
            let id = name.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
            if let (Some(id), Ok(kept)) = (id, serde_json::from_str(&value)) {
                let room: &mut Room = known.rooms.entry(id).or_default();
                room.kept = kept;
            }
        }
        for (id, room) in &mut known.rooms {
            let until = room.kept.hushed_until_ms;
            let until = until.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            room.ear = Ear::new(spoke.get(id).copied(), until);
        }
        Ok(Self {
            known: Mutex::new(known),
            rules,
            judge,
            store,
        })
    }

    /// Who judges whether to speak.
    #[must_use]
    pub fn judge(&self) -> &ModelName {
        &self.judge
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, channel: u64, work: impl FnOnce(&mut Room) -> T) -> T {
        work(self.known().rooms.entry(channel).or_default())
    }

    /// Hears a message in a channel where that is on.
    pub fn hear(&self, rooms: &Rooms, inbound: &Inbound) -> Overheard {
        let settings = rooms.settings.borrow().clone();
        let channel = inbound.channel;
        let hours = settings.quiet_hours_of(channel);
        let minute = minute_of_day(rooms.rest.now(), &rooms.manner.zone);
        let mut known = self.known();
        let consents = known
            .consents
            .iter()
            .filter(|(at, _)| *at == channel)
            .count();
        let is_consenting = known.consents.contains(&(channel, inbound.author));
        let room = known.rooms.entry(channel).or_default();
        let moment = Moment {
            is_consenting,
            has_notice: room.kept.notice.is_some(),
            is_quiet_hour: hours.is_some_and(|hours| hours.contain(minute)),
            thinking: room.thinking(),
            names: &settings.names,
            distress: &settings.distress,
        };
        let said = Said {
            id: inbound.id,
            by: inbound.author,
            text: &inbound.text,
            at: inbound.said_at,
        };
        let heard = room.ear.hear(said, &self.rules, &moment);
        if heard.withdraws {
            room.withdraw();
        }
        let is_few = consents < 2
            && room.ear.total() >= self.rules.min_messages
            && room.kept.notice.is_some()
            && !std::mem::replace(&mut room.kept.told_few, true);
        if heard.is_hush {
            let until = inbound.said_at + HUSH;
            room.kept.hushed_until_ms = Some(until.as_millisecond());
        }
        let cue = match heard.decision {
            Ok(call) => {
                let (tell, withdrawn) = watch::channel(false);
                room.thinking = Some((call, tell));
                room.quiet = Some(Quiet::Thinking);
                let lines = room.ear.lines();
                Some(Cue {
                    call,
                    lines,
                    withdrawn,
                })
            }
            Err(quiet) => {
                room.quiet = Some(quiet);
                None
            }
        };
        Overheard {
            cue,
            keeps: heard.is_hush || is_few,
            is_few,
        }
    }

    /// Thinking ended without a word.
    pub fn stayed_quiet(&self, channel: u64, quiet: Quiet) {
        self.with(channel, |room| room.quiet = Some(quiet));
    }

    /// We are about to speak: from here on it counts, whatever happens on the way.
    pub fn spoke(&self, channel: u64, id: u64, text: &str, call: Call) {
        let rules = self.rules;
        self.with(channel, |room| {
            room.ear.spoke(id, text, made_at(id), &rules);
            room.call = Some(call);
            // What is said while it is posted finds it said.
            room.thinking = None;
            room.quiet = Some(Quiet::Spoken);
        });
    }

    /// Quiet in `channel` from now on; until when.
    ///
    /// # Errors
    /// The disk refuses: it holds as long as this process lives.
    pub async fn hush(&self, channel: u64, now: Timestamp) -> Result<Timestamp, store::Error> {
        let until = now + HUSH;
        self.with(channel, |room| {
            room.ear.hush(until);
            room.kept.hushed_until_ms = Some(until.as_millisecond());
            room.quiet = Some(Quiet::Hushed);
            room.withdraw();
        });
        self.keep(channel).await?;
        Ok(until)
    }

    /// Makes durable what has to outlive a restart.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn keep(&self, channel: u64) -> Result<(), store::Error> {
        let kept = self.kept(channel);
        let value = serde_json::to_string(&kept).ok();
        self.store
            .set_setting(format!("{PREFIX}{channel}"), value)
            .await
    }

    /// One person's yes or no in one channel, durable before it counts as a yes; a no counts at once.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn consent(
        &self,
        (channel, user): (u64, u64),
        yes: bool,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        if yes {
            self.store.consent(channel, user, now).await?;
            self.known().consents.insert((channel, user));
            return Ok(());
        }
        self.let_go(user, Some(channel));
        self.store.withdraw_consent(channel, user, now).await
    }

    /// Lets go of a person's words and consent, in one channel or everywhere.
    pub fn let_go(&self, user: u64, channel: Option<u64>) {
        let mut known = self.known();
        let is_meant = |at: u64| channel.is_none_or(|channel| channel == at);
        known
            .consents
            .retain(|(at, who)| *who != user || !is_meant(*at));
        for (_, room) in known.rooms.iter_mut().filter(|(at, _)| is_meant(**at)) {
            room.ear.forget(user);
            // It may hold their words.
            room.withdraw();
        }
    }

    /// A message was deleted; gives the channel whose notice it was.
    pub fn gone(&self, id: u64) -> Option<u64> {
        let mut known = self.known();
        let mut whose = None;
        for (channel, room) in &mut known.rooms {
            room.ear.remove(id);
            if room.kept.notice == Some(id) {
                room.kept.notice = None;
                room.kept.noticing_ms = None;
                room.notice_at = Some(Instant::now() + NOTICE_AGAIN);
                room.withdraw();
                whose = Some(*channel);
            }
        }
        whose
    }

    /// The channels whose notice is to be looked after now; each is given out once until `noticed`.
    pub fn to_look_after(
        &self,
        channels: &Channels,
        is_known: impl Fn(u64) -> bool,
        now: Timestamp,
    ) -> Vec<u64> {
        let listening = channels.listening();
        let mut known = self.known();
        for channel in listening.iter().filter(|channel| is_known(**channel)) {
            known.rooms.entry(*channel).or_default();
        }
        let mut due = Vec::new();
        for (channel, room) in &mut known.rooms {
            room.ear.fade(now);
            let is_on = listening.contains(channel);
            let is_wrong = is_on != room.kept.notice.is_some() || (is_on && !room.is_checked);
            let is_due = room.notice_at.is_none_or(|at| Instant::now() >= at);
            if is_wrong && is_due && !room.is_noticing && is_known(*channel) {
                room.is_noticing = true;
                due.push(*channel);
            }
        }
        due
    }

    pub(super) fn kept(&self, channel: u64) -> Kept {
        self.with(channel, |room| room.kept.clone())
    }

    pub(super) async fn noticing(&self, channel: u64, ms: i64) {
        self.with(channel, |room| room.kept.noticing_ms = Some(ms));
        self.keep_or_tell(channel).await;
    }

    pub(super) async fn noticed(&self, channel: u64, outcome: Noticed) {
        self.with(channel, |room| {
            room.is_noticing = false;
            match outcome {
                Noticed::Stands(id) => {
                    room.kept.notice = Some(id);
                    room.kept.noticing_ms = None;
                    room.is_checked = true;
                }
                Noticed::Gone => {
                    room.kept.notice = None;
                    room.kept.noticing_ms = None;
                    room.ear.begin_anew();
                    room.withdraw();
                }
                Noticed::Refused => room.notice_at = Some(Instant::now() + NOTICE_AGAIN),
                Noticed::Unknown | Noticed::Unchanged => room.is_checked = true,
            }
        });
        if matches!(outcome, Noticed::Stands(_) | Noticed::Gone) {
            self.keep_or_tell(channel).await;
        }
    }

    /// The same as [`Self::keep`], where nobody waits for the outcome.
    pub async fn keep_or_tell(&self, channel: u64) {
        if let Err(error) = self.keep(channel).await {
            tracing::warn!(event = "store.not_written", error = %error, "what is kept of an ear could not be stored");
        }
    }

    /// Nothing more is said unasked: the program is about to stop.
    pub fn fall_silent(&self) {
        for room in self.known().rooms.values() {
            room.withdraw();
        }
    }

    /// How it stands in `channel` for `user`.
    #[must_use]
    pub fn report(&self, (channel, user): (u64, u64), is_on: bool, now: Timestamp) -> Report {
        let known = self.known();
        let consents = known
            .consents
            .iter()
            .filter(|(at, _)| *at == channel)
            .count();
        let room = known.rooms.get(&channel);
        Report {
            is_on,
            is_consenting: known.consents.contains(&(channel, user)),
            consents,
            quiet: room.and_then(|room| room.quiet),
            spoke_at: room.and_then(|room| room.ear.spoke_at()),
            call: room.and_then(|room| room.call),
            hushed_until: room.and_then(|room| room.ear.hushed_until(now)),
        }
    }
}

fn minute_of_day(at: Timestamp, zone: &jiff::tz::TimeZone) -> u16 {
    let at = at.to_zoned_datetime(zone.clone());
    u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs())
}
