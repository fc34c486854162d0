//! This room decides when a job is due: five cron fields or `@every 10s`, in the owner's time zone. Pure: it takes
//! every instant as an argument.
//!
//! Daylight saving: a time that the clock skips happens once, at the first valid instant after the gap; a time that
//! the clock shows twice happens once, the first time.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// No calendar rule waits longer for its next day: 29 February skips at most eight years.
const HORIZON_DAYS: u32 = 366 * 9;

/// When a job happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Five cron fields.
    Cron(Box<Cron>),
    /// A fixed distance from the last run.
    Every(SignedDuration),
}

/// Which minutes match, one bit a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: then either of them is enough, as in every cron.
    either_day: bool,
}

impl Schedule {
    /// Reads `0 2 * * *`, `@daily` and its kin, or `@every 10s`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix("@every") {
            return parse_span(span.trim()).map(Self::Every);
        }
        let fields = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let cron = Cron::parse(fields)?;
        // A day that no month has (31 February) would never come: refused here, before it silences every backup.
        cron.some_day_exists().then(|| Self::Cron(Box::new(cron)))
    }

    /// The first due instant after `after`.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(span) => after.checked_add(*span).ok(),
            Self::Cron(cron) => cron.next_after(after, zone),
        }
    }

    /// Whether a run that should have happened after `last` is due by `now`.
    #[must_use]
    pub fn is_due(&self, last: Timestamp, now: Timestamp, zone: &TimeZone) -> bool {
        self.next_after(last, zone).is_some_and(|due| due <= now)
    }

    /// Until when an archive of `last` is fresh: a second run may be due, and may take `grace`.
    #[must_use]
    pub fn fresh_until(
        &self,
        last: Timestamp,
        grace: SignedDuration,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let first = self.next_after(last, zone)?;
        self.next_after(first, zone)?.checked_add(grace).ok()
    }
}

impl Cron {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return None;
        };
        let (days_set, weekdays_set) = (!days.starts_with('*'), !weekdays.starts_with('*'));
        let mut weekday_bits = parse_field(weekdays, 0, 7, &WEEKDAYS)?;
        if weekday_bits & (1 << 7) != 0 {
            weekday_bits |= 1; // 7 is Sunday as well
        }
        Some(Self {
            minutes: parse_field(minutes, 0, 59, &[])?,
            hours: parse_field(hours, 0, 23, &[])?,
            days: parse_field(days, 1, 31, &[])?,
            months: parse_field(months, 1, 12, &MONTHS)?,
            weekdays: weekday_bits,
            either_day: days_set && weekdays_set,
        })
    }

    fn some_day_exists(&self) -> bool {
        // 2024 has every day that any year has; with a weekday, some year brings it onto that day.
        let mut day = Date::constant(2024, 1, 1);
        for _ in 0..366 {
            let month_fits = has(self.months, day.month());
            let day_fits = has(self.days, day.day());
            if month_fits && (day_fits || self.either_day) {
                return true;
            }
            day = day.tomorrow().unwrap_or(day);
        }
        false
    }

    fn matches_day(&self, day: Date) -> bool {
        let by_day = has(self.days, day.day());
        let by_weekday = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        let day_fits = if self.either_day {
            by_day || by_weekday
        } else {
            by_day && by_weekday
        };
        has(self.months, day.month()) && day_fits
    }

    fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Wall clocks go back by at most a few hours: what they show may lie before `after`'s own reading.
        let from = after
            .checked_sub(SignedDuration::from_hours(4))
            .ok()?
            .to_zoned_datetime(zone.clone())
            .datetime();
        let mut day = from.date();
        for _ in 0..HORIZON_DAYS {
            if self.matches_day(day) {
                let due = self.minutes_of(day).filter(|reading| *reading >= from);
                let due = due.filter_map(|reading| instant_of(reading, zone));
                if let Some(due) = due.into_iter().find(|due| *due > after) {
                    return Some(due);
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn minutes_of(&self, day: Date) -> impl Iterator<Item = DateTime> {
        (0..24_i8)
            .filter(|hour| has(self.hours, *hour))
            .flat_map(move |hour| {
                (0..60_i8)
                    .filter(|minute| has(self.minutes, *minute))
                    .map(move |minute| day.at(hour, minute, 0, 0))
            })
    }
}

/// The instant at which the clock shows `reading`: the first of two, or the end of the gap that swallowed it.
fn instant_of(reading: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(reading);
    let AmbiguousOffset::Gap { .. } = ambiguous.offset() else {
        return ambiguous.earlier().ok();
    };
    let before_the_gap = ambiguous.earlier().ok()?;
    zone.following(before_the_gap)
        .next()
        .map(|transition| transition.timestamp())
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One field: lists of values, ranges and steps.
fn parse_field(text: &str, low: u64, high: u64, names: &[&str]) -> Option<u64> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                Some(step.parse::<u64>().ok().filter(|step| *step > 0)?),
            ),
            None => (part, None),
        };
        let (from, to) = if range == "*" {
            (low, high)
        } else if let Some((from, to)) = range.split_once('-') {
            (parse_value(from, low, names)?, parse_value(to, low, names)?)
        } else {
            let value = parse_value(range, low, names)?;
            (value, if step.is_some() { high } else { value })
        };
        if from < low || to > high || from > to {
            return None;
        }
        let mut value = from;
        while value <= to {
            bits |= 1 << value;
            value += step.unwrap_or(1);
        }
    }
    Some(bits)
}

fn parse_value(text: &str, low: u64, names: &[&str]) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Some(at as u64 + low);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    text.parse().ok()
}

fn parse_span(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let count: i64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let seconds = count.checked_mul(seconds)?;
    (1..=366 * 86_400)
        .contains(&seconds)
        .then(|| SignedDuration::from_secs(seconds))
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

#[cfg(test)]
mod tests;
