//! What each day took, told once to the log when it is over: the status page and whoever reads the log need no database.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tokio::time::Duration;

use crate::store::{self, PlaceRow};
use crate::turn::Rooms;

/// The last day that was told, in the store: a restart tells nothing twice.
const TOLD: &str = "usage:told";
/// After a long absence no more days than this are told.
const MOST_DAYS: i64 = 31;
/// A day is told this long after its end: what began before midnight may end after it.
const AFTER_MIDNIGHT: SignedDuration = SignedDuration::from_mins(15);
/// A clock that jumps, or a store that fails, is looked at again after this long at most.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Tells until dropped.
pub async fn tell(rooms: Arc<Rooms>) {
    loop {
        if let Err(error) = tell_days(&rooms, daemon_kit::time::now()).await {
            tracing::warn!(event = "usage.not_told", error = %error, "what a day took could not be told; tried again in an hour");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn tell_days(rooms: &Rooms, now: Timestamp) -> Result<(), store::Error> {
    let today = (now - AFTER_MIDNIGHT)
        .to_zoned_datetime(rooms.manner.zone.clone())
        .date();
    let told = rooms.store.setting(TOLD).await?;
    let from = first_untold(told.as_deref(), today);
    if from >= today {
        return Ok(());
    }
    let rows = rooms.store.usage_places_since(from.to_string()).await?;
    let days = days(&rows, today);
    for (day, rows) in &days {
        log(day, rows);
    }
    let yesterday = today.yesterday().unwrap_or(today);
    // Told again after a kill in between: whoever counts takes the last word on a day, not the sum.
    rooms
        .store
        .set_setting(TOLD, Some(yesterday.to_string()))
        .await
}

/// The first day that was not told yet.
fn first_untold(told: Option<&str>, today: Date) -> Date {
    let earliest = today.saturating_sub(MOST_DAYS.days());
    let told = told.and_then(|day| day.parse::<Date>().ok());
    told.and_then(|day| day.tomorrow().ok())
        .map_or(earliest, |next| next.max(earliest))
}

/// The rows of the days before `today`.
fn days(rows: &[PlaceRow], today: Date) -> BTreeMap<&str, Vec<&PlaceRow>> {
    let today = today.to_string();
    let mut days: BTreeMap<&str, Vec<&PlaceRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.day < today) {
        days.entry(&row.day).or_default().push(row);
    }
    days
}

fn log(day: &str, rows: &[&PlaceRow]) {
    let sum = |of| sum(rows, of);
    tracing::info!(
        event = "usage.day",
        day,
        messages = sum(|row| row.messages),
        calls = sum(|row| row.calls),
        tokens_in = sum(|row| row.input_tokens),
        tokens_out = sum(|row| row.output_tokens),
        usd = usd(sum(|row| row.cost_micros)),
        "what a day took"
    );
    for row in rows {
        tracing::info!(
            event = "usage.place",
            day,
            model = row.model,
            channel = row.channel,
            messages = row.messages,
            calls = row.calls,
            tokens_in = row.input_tokens,
            tokens_out = row.output_tokens,
            usd = usd(row.cost_micros),
            "what a day took, by model and channel"
        );
    }
}

fn sum(rows: &[&PlaceRow], of: fn(&PlaceRow) -> u64) -> u64 {
    rows.iter().map(|row| of(row)).sum()
}

fn usd(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn row(day: &str, channel: u64) -> PlaceRow {
        PlaceRow {
            day: day.to_owned(),
            model: "a/b".to_owned(),
            channel,
            messages: 1,
            calls: 2,
            input_tokens: 10,
            output_tokens: 5,
            cost_micros: 500_000,
        }
    }

    #[test]
    fn only_days_that_are_over_are_told_and_each_once() {
        let today = date("2026-11-28");
        assert_eq!(first_untold(Some("2026-11-27"), today), today);
        assert_eq!(first_untold(Some("2026-11-25"), today), date("2026-11-26"));
        // A clock that went back, a first start, a long absence.
        assert!(first_untold(Some("2027-01-01"), today) > today);
        assert_eq!(first_untold(None, today), date("2026-10-28"));
        assert_eq!(first_untold(Some("2020-01-01"), today), date("2026-10-28"));
        let rows = [
            row("2026-11-27", 1),
            row("2026-11-27", 2),
            row("2026-11-28", 1),
        ];
        let days = days(&rows, today);
        assert_eq!(days.keys().collect::<Vec<_>>(), [&"2026-11-27"]);
        let yesterday = &days["2026-11-27"];
        assert_eq!(sum(yesterday, |row| row.messages), 2);
        assert_eq!(sum(yesterday, |row| row.input_tokens), 20);
        assert!((usd(sum(yesterday, |row| row.cost_micros)) - 1.0).abs() < 1e-9);
    }
}
