//! One channel's ear: what was said there lately, and whether it is time to think of speaking. Pure.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::words;
use crate::distress::Distress;

/// A silence this long ends a conversation.
const GAP: SignedDuration = SignedDuration::from_mins(30);
/// How long 「静かにして」 holds.
pub(super) const HUSH: SignedDuration = SignedDuration::from_hours(24);
/// Our idea of Discord's clock may be wrong by this much.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);
/// After a restart it is not known whether a conversation that we entered has ended: it counts as going on this long.
const AFTERGLOW: SignedDuration = SignedDuration::from_hours(6);
/// Between two answers to our name.
const NAMED_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// A conversation of people needs two who may be heard.
const FEWEST_PEOPLE: usize = 2;
/// What was thought of saying is stale when so many lines were said meanwhile.
const STALE_AFTER: usize = 5;
/// Of one message, in characters; the rest is not needed to understand a conversation.
const LONGEST_LINE: usize = 500;

/// What the owner set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many lines are kept in mind.
    pub buffer_size: usize,
    /// With fewer lines nothing is judged; between two judgements as many are waited for.
    pub min_messages: usize,
    /// How long to be quiet after speaking.
    pub min_interval: SignedDuration,
}

/// One line of a conversation, as it may leave the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The message's id.
    pub id: u64,
    /// By whom; 0 = by us.
    pub by: u64,
    /// What was said; none when its author has not opted in.
    pub words: Option<String>,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its id.
    pub id: u64,
    /// By whom.
    pub by: u64,
    /// What. Of people who have not opted in only the fixed words are looked for in it, and nothing is kept.
    pub text: &'a str,
    /// When, by Discord's clock.
    pub at: Timestamp,
}

/// What holds at the moment of a message.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Whether its author has opted in.
    pub is_consenting: bool,
    /// Whether the notice stands.
    pub has_notice: bool,
    /// Whether these are quiet hours.
    pub is_quiet_hour: bool,
    /// What is being thought about already, if anything.
    pub thinking: Option<Call>,
    /// Our names, as `phrases::normal` has them.
    pub names: &'a [String],
    /// Words that mean distress: never an occasion to join in.
    pub distress: &'a Distress,
}

/// Why there is something to think about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Ask the judge whether to speak.
    Judge,
    /// We were called by name: no judge is needed.
    Named,
}

/// Why we are quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// The notice does not stand (yet).
    NoNotice,
    /// The last one who spoke has not opted in.
    NotYours,
    /// Quiet hours.
    QuietHours,
    /// Somebody asked for quiet.
    Hushed,
    /// Something is being thought about already.
    Thinking,
    /// We have spoken in this conversation.
    Spoken,
    /// The conversation is ending.
    Ending,
    /// It is serious or private.
    Private,
    /// We spoke a short while ago.
    CoolingDown,
    /// Too few words yet, since the beginning or since the last judgement.
    FewWords,
    /// Too few of those who speak have opted in.
    FewPeople,
    /// The judge did not want us to speak.
    Judged,
    /// A model could not be asked, or said nothing that may be said.
    Failed,
    /// The month's money is kept for those who ask.
    Budget,
    /// Others are being answered.
    Busy,
    /// It was no longer wanted when it was ready.
    Withdrawn,
}

/// What one message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whether to think about speaking.
    pub decision: Result<Call, Quiet>,
    /// Whether it asked for quiet: that is to be kept.
    pub is_hush: bool,
    /// Whether what is being thought about is not wanted any more.
    pub withdraws: bool,
}

/// The ear of one channel.
#[derive(Clone, Debug, Default)]
pub struct Ear {
    lines: VecDeque<Line>,
    /// Lines with words in this conversation, however many are kept.
    legible: usize,
    total: usize,
    judged_at: usize,
    since_cue: usize,
    has_spoken: bool,
    is_ending: bool,
    is_private: bool,
    heard_at: Option<Timestamp>,
    spoke_at: Option<Timestamp>,
    hushed_until: Option<Timestamp>,
}

impl Ear {
    /// With what outlives a restart: when we spoke last, and until when quiet was asked for.
    #[must_use]
    pub fn new(spoke_at: Option<Timestamp>, hushed_until: Option<Timestamp>) -> Self {
        Self {
            spoke_at,
            hushed_until,
            ..Self::default()
        }
    }

    /// Hears one message.
    pub fn hear(&mut self, said: Said<'_>, rules: &Rules, moment: &Moment<'_>) -> Heard {
        self.pass_time(said.at);
        self.keep(said, rules, moment.is_consenting && moment.has_notice);
        let is_hush = words::is_hush(said.text, moment.names);
        if is_hush {
            self.hushed_until = Some(said.at + HUSH);
        }
        let is_named = words::is_call(said.text, moment.names);
        self.is_ending |= words::is_ending(said.text);
        self.is_private |= words::is_private(said.text) || moment.distress.is_in(said.text);
        let decision = self.decide(said.at, is_named, rules, moment);
        if decision.is_ok() {
            self.judged_at = self.legible;
            self.since_cue = 0;
        }
        // Whoever called us by name still waits, whatever the others went on to say.
        let withdraws = match moment.thinking {
            Some(Call::Judge) => {
                is_hush || self.is_ending || self.is_private || self.since_cue > STALE_AFTER
            }
            Some(Call::Named) => is_hush,
            None => false,
        };
        Heard {
            decision,
            is_hush,
            withdraws,
        }
    }

    /// The free checks, the plainest reasons first.
    fn decide(
        &self,
        now: Timestamp,
        is_named: bool,
        rules: &Rules,
        moment: &Moment<'_>,
    ) -> Result<Call, Quiet> {
        let since = self
            .spoke_at
            .filter(|at| *at <= now)
            .map(|at| now.duration_since(at));
        let spoke_within = |pause| since.is_some_and(|since| since < pause);
        let refusals = [
            (!moment.has_notice, Quiet::NoNotice),
            (moment.is_quiet_hour, Quiet::QuietHours),
            (self.is_hushed(now), Quiet::Hushed),
            (!moment.is_consenting, Quiet::NotYours),
            (moment.thinking.is_some(), Quiet::Thinking),
        ];
        refuse(&refusals)?;
        if is_named {
            refuse(&[(spoke_within(NAMED_PAUSE), Quiet::CoolingDown)])?;
            return Ok(Call::Named);
        }
        let new = self.legible - self.judged_at;
        let refusals = [
            (self.has_spoken, Quiet::Spoken),
            (self.is_private, Quiet::Private),
            (self.is_ending, Quiet::Ending),
            (spoke_within(rules.min_interval), Quiet::CoolingDown),
            (!self.has_company(), Quiet::FewPeople),
            (new < rules.min_messages.max(1), Quiet::FewWords),
        ];
        refuse(&refusals)?;
        Ok(Call::Judge)
    }

    /// Two who may be heard, and at least as many words as dots: less is no conversation that one could understand.
    fn has_company(&self) -> bool {
        let people: HashSet<u64> = self
            .lines
            .iter()
            .filter(|line| line.by != 0 && line.words.is_some())
            .map(|line| line.by)
            .collect();
        let dots = self
            .lines
            .iter()
            .filter(|line| line.words.is_none())
            .count();
        people.len() >= FEWEST_PEOPLE && dots * 2 <= self.lines.len()
    }

    /// A long silence ends a conversation.
    fn pass_time(&mut self, now: Timestamp) {
        match self.heard_at {
            None => {
                let glows = |at: Timestamp| now.duration_since(at) < AFTERGLOW;
                self.has_spoken = self.spoke_at.is_some_and(glows);
            }
            Some(at) if now.duration_since(at) > GAP => self.begin_anew(),
            Some(_) => {}
        }
        self.heard_at = Some(self.heard_at.map_or(now, |at| at.max(now)));
    }

    /// Lets go of everything heard; what outlives a restart stays.
    pub fn begin_anew(&mut self) {
        *self = Self::new(self.spoke_at, self.hushed_until);
    }

    fn keep(&mut self, said: Said<'_>, rules: &Rules, is_consenting: bool) {
        let words: String = said.text.trim().chars().take(LONGEST_LINE).collect();
        let words = (is_consenting && !words.is_empty()).then_some(words);
        self.total += 1;
        self.legible += usize::from(words.is_some());
        self.since_cue += 1;
        self.lines.push_back(Line {
            id: said.id,
            by: said.by,
            words,
        });
        self.bound(rules);
    }

    fn bound(&mut self, rules: &Rules) {
        while self.lines.len() > rules.buffer_size.max(1) {
            self.lines.pop_front();
        }
    }

    /// What is kept in mind, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.iter().cloned().collect()
    }

    /// How many messages this conversation has had.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// We spoke: once in this conversation.
    pub fn spoke(&mut self, id: u64, text: &str, at: Timestamp, rules: &Rules) {
        self.has_spoken = true;
        self.spoke_at = Some(self.spoke_at.map_or(at, |before| before.max(at)));
        self.lines.push_back(Line {
            id,
            by: 0,
            words: Some(text.chars().take(LONGEST_LINE).collect()),
        });
        self.bound(rules);
    }

    /// When we spoke last.
    #[must_use]
    pub fn spoke_at(&self) -> Option<Timestamp> {
        self.spoke_at
    }

    /// Be quiet until then.
    pub fn hush(&mut self, until: Timestamp) {
        self.hushed_until = Some(until);
    }

    /// Until when quiet was asked for, if that is not over.
    #[must_use]
    pub fn hushed_until(&self, now: Timestamp) -> Option<Timestamp> {
        // A clock that was far ahead must not keep us quiet for years; one that is a little ahead of Discord's, by which
        // messages are dated, is no reason to speak.
        self.hushed_until
            .filter(|until| *until > now && until.duration_since(now) <= HUSH + CLOCKS_APART)
    }

    fn is_hushed(&self, now: Timestamp) -> bool {
        self.hushed_until(now).is_some()
    }

    /// Lets go of one person's words.
    pub fn forget(&mut self, person: u64) {
        for line in self.lines.iter_mut().filter(|line| line.by == person) {
            line.words = None;
        }
    }

    /// A message is gone.
    pub fn remove(&mut self, id: u64) {
        self.lines.retain(|line| line.id != id);
    }

    /// Lets go of everything heard when the conversation has ended by silence.
    pub fn fade(&mut self, now: Timestamp) {
        if self.heard_at.is_some_and(|at| now.duration_since(at) > GAP) {
            self.lines.clear();
        }
    }
}

fn refuse(refusals: &[(bool, Quiet)]) -> Result<(), Quiet> {
    match refusals.iter().find(|(holds, _)| *holds) {
        Some((_, why)) => Err(*why),
        None => Ok(()),
    }
}

/// The lines as a model may read them: people are letters, and those who have not opted in are dots.
#[must_use]
pub(super) fn transcript(lines: &[Line], us: &str) -> String {
    let mut letters: HashMap<u64, char> = HashMap::new();
    let mut text = String::new();
    for line in lines {
        let Some(words) = &line.words else {
            text.push_str("…\n");
            continue;
        };
        let next = char::from(b'A' + (letters.len() % 26) as u8);
        let who = match line.by {
            0 => us.to_owned(),
            by => letters.entry(by).or_insert(next).to_string(),
        };
        // One line each: a line break must not let one person's words pass for another's.
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        text.extend([&who, ": ", &words, "\n"]);
    }
    text
}
