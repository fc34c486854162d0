//! This room decides which archives stay: a plan is a value with a reason per archive. Pure: it takes `now`.
//!
//! `KEEP_*` rules and `RETENTION_DAYS` unite: kept by any of them is kept. Whatever the clock does, the newest good
//! archive and the floor stay, and so does everything while deletion is frozen.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Which archives the owner wants to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Everything of the last so many days; 0 is none.
    pub days: u32,
    /// The floor: so many of the newest good archives stay whatever else is said.
    pub last: u32,
    /// The newest of each of so many days, weeks, months and years that have archives.
    pub daily: u32,
    /// Weeks begin on Monday.
    pub weekly: u32,
    /// Calendar months.
    pub monthly: u32,
    /// Calendar years.
    pub yearly: u32,
}

/// What the plan needs to know about one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its file name.
    pub name: String,
    /// When its snapshot was taken, by its manifest.
    pub taken: Timestamp,
    /// Whether it was verified and holds no damaged database.
    pub good: bool,
    /// Whether nobody could verify it yet, and nothing speaks against it: a sealed one without its key. It stays as long
    /// as a good one would, and takes no good one's place.
    pub unproved: bool,
}

/// Why an archive stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Deletion is frozen until the owner accepts an archive that lost much.
    Frozen,
    /// The newest good archive is never deleted.
    Newest,
    /// One of the last few.
    Floor,
    /// Younger than the days to keep.
    Days,
    /// The newest of its day.
    Daily,
    /// The newest of its week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// There is no newer good archive.
    NoSuccessor,
    /// Dated by a clock that was far ahead: it takes no other's place, and nobody knows its age.
    Ahead,
}

impl Reason {
    /// One word for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Newest => "newest",
            Self::Floor => "floor",
            Self::Days => "days",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::NoSuccessor => "no-successor",
            Self::Ahead => "ahead",
        }
    }
}

/// The verdict on one archive: it goes when nothing keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The archive's file name.
    pub name: String,
    /// Why it stays; empty means that it goes.
    pub kept_by: Vec<Reason>,
}

impl Verdict {
    /// Whether the archive is to be deleted.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.kept_by.is_empty()
    }
}

/// Clocks that are set right move a little; what is dated later than this was dated by one that was wrong.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Whether an archive of `taken` was dated by a clock that was far ahead.
#[must_use]
pub fn is_ahead(taken: Timestamp, now: Timestamp) -> bool {
    taken.duration_since(now) > AHEAD
}

/// Judges every archive, newest first.
#[must_use]
pub fn plan(
    archives: &[Candidate],
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
    frozen: bool,
) -> Vec<Verdict> {
    let mut sorted: Vec<&Candidate> = archives.iter().collect();
    sorted.sort_by(|a, b| b.taken.cmp(&a.taken).then_with(|| b.name.cmp(&a.name)));
    let is_hoped = |archive: &Candidate| archive.good || archive.unproved;
    let mut verdicts = judge(&sorted, |archive| archive.good, policy, zone, now);
    let hoped = judge(&sorted, is_hoped, policy, zone, now);
    for ((archive, verdict), hoped) in sorted.iter().zip(&mut verdicts).zip(hoped) {
        if archive.unproved {
            let more = hoped.kept_by.into_iter();
            let more = more.filter(|reason| *reason != Reason::Newest);
            for reason in more {
                if !verdict.kept_by.contains(&reason) {
                    verdict.kept_by.push(reason);
                }
            }
        }
        if frozen {
            verdict.kept_by.insert(0, Reason::Frozen);
        }
    }
    verdicts
}

/// Judges archives, newest first, where those count that `is_good` says.
fn judge(
    sorted: &[&Candidate],
    is_good: impl Fn(&Candidate) -> bool,
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<Verdict> {
    let good: Vec<&Candidate> = sorted
        .iter()
        .copied()
        .filter(|archive| is_good(archive) && !is_ahead(archive.taken, now))
        .collect();
    let oldest_kept = reference(&good, policy, now).and_then(|reference| {
        reference
            .checked_sub(SignedDuration::from_hours(24 * i64::from(policy.days)))
            .ok()
    });
    let buckets = [
        (
            Reason::Daily,
            newest_of_each(&good, policy.daily, zone, |day| day),
        ),
        (
            Reason::Weekly,
            newest_of_each(&good, policy.weekly, zone, week_of),
        ),
        (
            Reason::Monthly,
            newest_of_each(&good, policy.monthly, zone, Date::first_of_month),
        ),
        (
            Reason::Yearly,
            newest_of_each(&good, policy.yearly, zone, Date::first_of_year),
        ),
    ];
    let newest_good = good.first().copied();
    let verdicts = sorted.iter().map(|archive| {
        let mut kept_by = Vec::new();
        match newest_good {
            _ if is_ahead(archive.taken, now) => kept_by.push(Reason::Ahead),
            Some(newest) if newest.name == archive.name => kept_by.push(Reason::Newest),
            Some(newest) if newest.taken >= archive.taken => {}
            _ => kept_by.push(Reason::NoSuccessor),
        }
        let floor = good.iter().take(policy.last as usize);
        if floor.into_iter().any(|kept| kept.name == archive.name) {
            kept_by.push(Reason::Floor);
        }
        if policy.days > 0 && oldest_kept.is_none_or(|oldest| archive.taken > oldest) {
            kept_by.push(Reason::Days);
        }
        let kept = buckets
            .iter()
            .filter(|(_, names)| names.contains(archive.name.as_str()));
        kept_by.extend(kept.map(|(reason, _)| *reason));
        Verdict {
            name: archive.name.clone(),
            kept_by,
        }
    });
    verdicts.collect()
}

/// The instant that ages are counted from: never later than the newest archive, so that a clock far ahead deletes
/// nothing; and while the newest stands alone after a long pause, the instant before that pause.
fn reference(good: &[&Candidate], policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let newest = good.first()?.taken;
    let pause = SignedDuration::from_hours(24 * i64::from(policy.days.max(1)));
    let before = good.get(1).map(|second| second.taken);
    let trusted = match before {
        Some(second) if newest.duration_since(second) > pause => second,
        _ => newest,
    };
    Some(trusted.min(now))
}

fn newest_of_each(
    good: &[&Candidate],
    count: u32,
    zone: &TimeZone,
    bucket: impl Fn(Date) -> Date,
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for archive in good {
        if seen.len() >= count as usize {
            break;
        }
        let day = archive.taken.to_zoned_datetime(zone.clone()).date();
        if seen.insert(bucket(day)) {
            kept.insert(archive.name.clone());
        }
    }
    kept
}

fn week_of(day: Date) -> Date {
    let since_monday = i64::from(day.weekday().to_monday_zero_offset());
    day.saturating_sub(SignedDuration::from_hours(24 * since_monday))
}

#[cfg(test)]
mod tests;
