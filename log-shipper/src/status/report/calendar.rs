//! This room marks the days of the backup calendar: verified, failed, or missed. Pure.

use serde::Serialize;

use super::super::{Book, Day};

const DAY: u64 = 86_400_000;

/// What the backups made of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// None was due, as far as is known.
    None,
    /// At least one was verified.
    Verified,
    /// One failed, and another one was verified.
    Mended,
    /// One failed, and none was verified.
    Failed,
    /// One was due, and there is nothing.
    Missed,
}

/// The marks of days in their order, the last of which is today. `every` = milliseconds between backups.
#[must_use]
pub fn marks(book: &Book, days: &[(String, Day)], every: i64) -> Vec<(String, Mark)> {
    let period = every.max(1).cast_unsigned().div_ceil(DAY) as usize;
    // What was before the days that are shown tells whether their first ones were missed.
    let before = days
        .first()
        .and_then(|(first, _)| book.days.range(..first.clone()).next_back());
    let mut since = before.and_then(|(_, day)| (day.backups.0 > 0).then_some(0));
    let mut marks = Vec::with_capacity(days.len());
    for (number, (date, day)) in days.iter().enumerate() {
        since = since.map(|days: usize| days + 1);
        let is_today = number + 1 == days.len();
        let mark = match day.backups {
            (0, 0) if !is_today && since.is_some_and(|days| days.is_multiple_of(period)) => {
                Mark::Missed
            }
            (0, 0) => Mark::None,
            (_, 0) => Mark::Verified,
            (0, _) => Mark::Failed,
            (_, _) => Mark::Mended,
        };
        if day.backups.0 > 0 {
            since = Some(0);
        }
        marks.push((date.clone(), mark));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(backups: &[(u32, u32)], every_days: i64) -> Vec<Mark> {
        let days: Vec<(String, Day)> = (1..)
            .zip(backups)
            .map(|(number, backups)| {
                let day = Day {
                    backups: *backups,
                    ..Day::default()
                };
                (format!("2026-03-{number:02}"), day)
            })
            .collect();
        let marks = marks(&Book::default(), &days, every_days * DAY.cast_signed());
        marks.into_iter().map(|(_, mark)| mark).collect()
    }

    #[test]
    fn a_day_without_a_backup_is_missed_once_there_was_one_and_when_it_is_over() {
        use Mark::{Failed, Mended, Missed, None, Verified};
        assert_eq!(
            marked(&[(0, 0), (1, 0), (0, 0), (0, 2), (1, 1), (0, 0)], 1),
            [None, Verified, Missed, Failed, Mended, None]
        );
    }

    #[test]
    fn a_weekly_backup_is_missed_once_a_week() {
        let mut days = vec![(1, 0)];
        days.extend([(0, 0); 15]);
        let missed: Vec<usize> = marked(&days, 7)
            .iter()
            .enumerate()
            .filter(|(_, mark)| **mark == Mark::Missed)
            .map(|(day, _)| day)
            .collect();
        assert_eq!(missed, [7, 14]);
    }
}
