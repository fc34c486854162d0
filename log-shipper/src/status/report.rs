//! This room turns the books into what the page shows; the same as `status.json`, for scripts. Pure.

pub mod calendar;
mod cards;

use daemon_kit::Text;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Archive, Book, Day, Hour, Month, Seen, Trouble, local, percentile};

/// What the books cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Now, in milliseconds since 1970.
    pub now: i64,
    /// Free bytes on the disk of `logs/`.
    pub free_bytes: Option<u64>,
    /// Free bytes the owner wants.
    pub wanted_bytes: u64,
    /// Bytes that the logs take, and may take.
    pub logs: (u64, u64),
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Nothing is known yet.
    Unknown,
    /// Worth a look.
    Warning,
    /// Needs a hand.
    Bad,
}

/// One of the cards above the fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// How it stands.
    pub verdict: Verdict,
    /// The sentence, in Japanese and English.
    #[serde(serialize_with = "both")]
    pub says: Text,
    /// What to do; nothing when all is well.
    #[serde(serialize_with = "maybe_both")]
    pub todo: Option<Text>,
}

fn both<S: serde::Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    [("ja", &text.ja), ("en", &text.en)]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>()
        .serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn maybe_both<S: serde::Serializer>(text: &Option<Text>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => both(text, serializer),
        None => serializer.serialize_none(),
    }
}

/// Everything the page shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this shape.
    pub v: u32,
    /// When it was made, in milliseconds since 1970.
    pub written: i64,
    /// Does the bot answer?
    pub bot: Card,
    /// Is there a backup?
    pub backup: Card,
    /// Is there room?
    pub disk: Card,
    /// Does the month's money last?
    pub money: Card,
    /// Since when the bot has been connected to Discord, while it is.
    pub connected_since: Option<i64>,
    /// The last answer.
    pub last_answer: Option<i64>,
    /// The last 24 hours, oldest first: hour since 1970, and what happened.
    pub hours: Vec<(i64, Hour)>,
    /// The last 35 days, oldest first.
    pub days: Vec<(String, Day)>,
    /// The same days as the backups see them.
    pub calendar: Vec<(String, calendar::Mark)>,
    /// Answer time over the last seven days, in milliseconds: median, and what 95 of 100 stay below.
    pub answer_ms: (Option<u64>, Option<u64>),
    /// This month.
    pub month: Month,
    /// US dollars a month; 0 = no limit.
    pub budget: Option<f64>,
    /// The newest verified archive.
    pub archive: Option<Archive>,
    /// Sizes of archives, oldest first.
    pub sizes: Vec<(i64, u64)>,
    /// The last drill, and whether it passed.
    pub drill: Option<(i64, bool)>,
    /// The programs.
    pub services: Vec<(String, Seen)>,
    /// Errors by kind, the latest first.
    pub troubles: Vec<Trouble>,
    /// Free bytes, and bytes of the logs and their limit.
    pub space: (Option<u64>, u64, u64),
}

const HOUR: i64 = 3_600_000;
const SHOWN_DAYS: usize = 35;
const SHOWN_TROUBLES: usize = 12;

/// Makes the report. `backup_every` = milliseconds between backups, as the schedule has it.
#[must_use]
pub fn report(book: &Book, around: &Surroundings, backup_every: i64, zone: &TimeZone) -> Report {
    let now = around.now;
    let hour = now.div_euclid(HOUR);
    let hours =
        (hour - 23..=hour).map(|hour| (hour, book.hours.get(&hour).cloned().unwrap_or_default()));
    let days: Vec<(String, Day)> = dates(now, zone)
        .into_iter()
        .map(|date| {
            (
                date.clone(),
                book.days.get(&date).cloned().unwrap_or_default(),
            )
        })
        .collect();
    let mut times = Vec::new();
    for (_, day) in days.iter().rev().take(7) {
        times.resize(times.len().max(day.times.len()), 0);
        for (sum, count) in times.iter_mut().zip(&day.times) {
            *sum += count;
        }
    }
    let mut troubles: Vec<Trouble> = book.troubles.values().cloned().collect();
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.last));
    troubles.truncate(SHOWN_TROUBLES);
    let month = local(now, zone)
        .get(..7)
        .and_then(|month| book.months.get(month))
        .cloned()
        .unwrap_or_default();
    Report {
        v: 1,
        written: now,
        bot: cards::bot(book, now),
        backup: cards::backup(book, now, backup_every),
        disk: cards::disk(around),
        money: cards::money(&month, book.budget),
        connected_since: book.connected.and_then(|(up, since)| up.then_some(since)),
        last_answer: book.last_answer,
        hours: hours.collect(),
        calendar: calendar::marks(book, &days, backup_every),
        days,
        answer_ms: (percentile(&times, 50), percentile(&times, 95)),
        month,
        budget: book.budget,
        archive: book.archive.clone(),
        sizes: book.sizes.iter().copied().collect(),
        drill: book.drill,
        services: book
            .services
            .iter()
            .map(|(name, seen)| (name.clone(), seen.clone()))
            .collect(),
        troubles,
        space: (around.free_bytes, around.logs.0, around.logs.1),
    }
}

/// The days that are shown, oldest first: dates, not steps of 24 hours, for where clocks change.
fn dates(now: i64, zone: &TimeZone) -> Vec<String> {
    let today = Timestamp::from_millisecond(now)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned_datetime(zone.clone())
        .date();
    let mut dates: Vec<String> = std::iter::successors(Some(today), |date| date.yesterday().ok())
        .take(SHOWN_DAYS)
        .map(|date| date.to_string())
        .collect();
    dates.reverse();
    dates
}
