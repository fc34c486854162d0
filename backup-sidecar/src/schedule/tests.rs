use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn next(schedule: &str, after: &str, zone_name: &str) -> String {
    let schedule = Schedule::parse(schedule).unwrap();
    let zone = zone(zone_name);
    schedule
        .next_after(at(after), &zone)
        .unwrap()
        .to_zoned_datetime(zone)
        .to_string()
}

#[test]
fn every_night_at_two() {
    let due = next("0 2 * * *", "2026-11-28T03:00:00+09:00", "Asia/Tokyo");
    assert_eq!(due, "2026-11-29T02:00:00+09:00[Asia/Tokyo]");
    let due = next("0 2 * * *", "2026-11-28T02:00:00+09:00", "Asia/Tokyo");
    assert_eq!(
        due, "2026-11-29T02:00:00+09:00[Asia/Tokyo]",
        "never the same minute twice"
    );
    let due = next("0 2 * * *", "2026-11-28T01:59:59.999+09:00", "Asia/Tokyo");
    assert_eq!(due, "2026-11-28T02:00:00+09:00[Asia/Tokyo]");
}

#[test]
fn fields_mean_what_cron_means() {
    let cases = [
        ("*/15 * * * *", "2026-11-28T00:15:00Z"),
        ("5-7 0 * * *", "2026-11-28T00:05:00Z"),
        ("0 0 1 * *", "2026-12-01T00:00:00Z"),
        ("0 4 1 jan *", "2027-01-01T04:00:00Z"),
        ("30 3 * * 7", "2026-11-29T03:30:00Z"),
        ("30 3 * * SUN", "2026-11-29T03:30:00Z"),
        ("0 0 13 * fri", "2026-12-04T00:00:00Z"),
        ("0 12 29 2 *", "2028-02-29T12:00:00Z"),
        ("0 1,13 * * *", "2026-11-28T01:00:00Z"),
        ("10/20 * * * *", "2026-11-28T00:10:00Z"),
        ("@hourly", "2026-11-28T01:00:00Z"),
        ("@weekly", "2026-11-29T00:00:00Z"),
    ];
    for (text, due) in cases {
        let schedule = Schedule::parse(text).unwrap();
        let found = schedule.next_after(at("2026-11-28T00:00:00Z"), &TimeZone::UTC);
        assert_eq!(found, Some(at(due)), "{text}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "1-0 * * * *",
        "*/0 * * * *",
        "0 0 31 2 *",
        "@every",
        "@every 0s",
        "@every -5s",
        "@every 10x",
        "@every 99999999d",
        "+1 * * * *",
        "0 2 * * * *",
        "毎日",
    ] {
        assert_eq!(Schedule::parse(text), None, "{text}");
    }
}

#[test]
fn a_time_in_the_gap_happens_once_right_after_it() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00.
    let due = next("30 2 * * *", "2026-03-28T12:00:00+01:00", "Europe/Berlin");
    assert_eq!(due, "2026-03-29T03:00:00+02:00[Europe/Berlin]");
    let due = next("30 2 * * *", "2026-03-29T03:00:00+02:00", "Europe/Berlin");
    assert_eq!(due, "2026-03-30T02:30:00+02:00[Europe/Berlin]");
    // Every minute of the gap is one and the same instant.
    let due = next("*/10 2 * * *", "2026-03-29T03:00:00+02:00", "Europe/Berlin");
    assert_eq!(due, "2026-03-30T02:00:00+02:00[Europe/Berlin]");
}

#[test]
fn a_time_in_the_overlap_happens_once() {
    // Berlin, 25 October 2026: 03:00 becomes 02:00.
    let due = next("30 2 * * *", "2026-10-24T12:00:00+02:00", "Europe/Berlin");
    assert_eq!(due, "2026-10-25T02:30:00+02:00[Europe/Berlin]");
    let due = next("30 2 * * *", "2026-10-25T02:30:00+02:00", "Europe/Berlin");
    assert_eq!(due, "2026-10-26T02:30:00+01:00[Europe/Berlin]");
}

#[test]
fn a_whole_skipped_day_still_runs() {
    // Samoa had no 30 December 2011.
    let due = next("0 2 * * *", "2011-12-29T12:00:00-10:00", "Pacific/Apia");
    assert_eq!(due, "2011-12-31T00:00:00+14:00[Pacific/Apia]");
}

#[test]
fn a_daily_run_happens_once_a_day_through_every_change_until_2040() {
    for name in [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Africa/Casablanca",
        "Asia/Tokyo",
        "Antarctica/Troll",
        "America/Santiago",
        "Atlantic/Azores",
    ] {
        let zone = zone(name);
        let schedule = Schedule::parse("30 2 * * *").unwrap();
        let mut day = Date::constant(2024, 1, 1);
        let mut instant = day
            .at(0, 0, 0, 0)
            .to_zoned_datetime(zone.clone())
            .unwrap()
            .timestamp();
        while day.year() < 2040 {
            instant = schedule.next_after(instant, &zone).unwrap();
            assert_eq!(
                instant.to_zoned_datetime(zone.clone()).date(),
                day,
                "{name}"
            );
            day = day.tomorrow().unwrap();
        }
    }
}

#[test]
fn a_missed_run_is_due_and_a_fresh_archive_is_fresh() {
    let schedule = Schedule::parse("0 2 * * *").unwrap();
    let zone = zone("Asia/Tokyo");
    let last = at("2026-11-20T02:00:07+09:00");
    assert!(!schedule.is_due(last, at("2026-11-21T01:59:59+09:00"), &zone));
    assert!(schedule.is_due(last, at("2026-11-21T02:00:00+09:00"), &zone));
    assert!(schedule.is_due(last, at("2027-11-21T02:00:00+09:00"), &zone));
    let fresh = schedule.fresh_until(last, SignedDuration::from_hours(1), &zone);
    assert_eq!(fresh, Some(at("2026-11-22T03:00:00+09:00")));
}

proptest! {
    #[test]
    fn the_next_run_is_later_and_nothing_lies_between(
        start in 1_700_000_000_i64..2_200_000_000, ahead in 1_i64..90_000,
        text in prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 0 * * 1", "15 1-3 * * *", "0 2 1,15 * *"]),
        name in prop::sample::select(vec!["Europe/Berlin", "Australia/Lord_Howe", "Asia/Tokyo", "America/New_York"]),
    ) {
        let schedule = Schedule::parse(text).unwrap();
        let zone = zone(name);
        let start = Timestamp::from_second(start).unwrap();
        let due = schedule.next_after(start, &zone).unwrap();
        prop_assert!(due > start);
        let between = start.checked_add(SignedDuration::from_secs(ahead)).unwrap();
        if between < due {
            prop_assert_eq!(schedule.next_after(between, &zone).unwrap(), due);
        }
    }
}
