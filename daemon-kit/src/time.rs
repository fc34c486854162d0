//! This room reads the wall clock (rooms that decide take `now` as an argument) and the times that people write.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The present instant. Pure rooms take it as an argument.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Reads an instant as the commands take it: RFC 3339 (`2026-11-28T09:00:00+09:00`), a day (`2026-11-28`, its first
/// instant in `zone`), an age (`30s`, `15m`, `2h`, `7d`), `today` or `yesterday`.
#[must_use]
pub fn parse_moment(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(instant) = text.parse() {
        return Some(instant);
    }
    let today = now.to_zoned_datetime(zone.clone()).date();
    let day = match text {
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        _ => text.parse::<Date>().ok(),
    };
    if let Some(day) = day {
        return Some(day.to_zoned_datetime(zone.clone()).ok()?.timestamp());
    }
    now.checked_sub(parse_age(text)?).ok()
}

/// Reads an age such as `90s`, `15m`, `2h` or `7d`.
#[must_use]
pub fn parse_age(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().last()?;
    let count: i64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    (count >= 0).then_some(())?;
    Some(SignedDuration::from_secs(count.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_times_in_many_ways() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let now: Timestamp = "2026-11-28T03:04:05Z".parse().unwrap();
        let read = |text| parse_moment(text, now, &zone).map(|instant| instant.to_string());
        assert_eq!(
            read("2026-11-28T09:00:00+09:00").unwrap(),
            "2026-11-28T00:00:00Z"
        );
        assert_eq!(read("today").unwrap(), "2026-11-27T15:00:00Z");
        assert_eq!(read("yesterday").unwrap(), "2026-11-26T15:00:00Z");
        assert_eq!(read("2026-11-01").unwrap(), "2026-10-31T15:00:00Z");
        assert_eq!(read("2h").unwrap(), "2026-11-28T01:04:05Z");
        for wrong in ["", "h", "-2h", "2w", "soon", "あ", "99999999999999999999h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
