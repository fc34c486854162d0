//! What is told, when, and what never is.

use super::*;
use crate::line;

const NOW: i64 = 1_772_323_200_000;

fn line(level: &str, event: &str, at: i64, seq: u64) -> Line {
    let ts = Timestamp::from_millisecond(at).unwrap().to_string();
    let text = serde_json::json!({
        "ts": ts, "level": level, "event": event, "target": "bot::turn", "start": "s1", "seq": seq, "msg": "@everyone canary",
    });
    line::parse(text.to_string().as_bytes()).unwrap()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[test]
fn the_first_at_once_then_a_digest() {
    let mut watch = Watch::default();
    let first = watch.observe(
        "bot",
        Some(&line("ERROR", "llm.failed", NOW, 1)),
        NOW,
        minutes(1),
    );
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].kind.as_str(), first[0].event.as_str()),
        ("error", "llm.failed")
    );
    for seq in 2..12 {
        assert!(
            watch
                .observe(
                    "bot",
                    Some(&line("ERROR", "llm.failed", NOW + MINUTE, seq)),
                    NOW + MINUTE,
                    minutes(2)
                )
                .is_empty()
        );
    }
    assert!(watch.tick(NOW + 30 * MINUTE, minutes(30)).is_empty());
    let digest = watch.tick(NOW + 2 * HOUR, minutes(62));
    assert_eq!(digest.len(), 1);
    assert_eq!((digest[0].kind.as_str(), digest[0].count), ("digest", 10));
    assert!(watch.tick(NOW + 5 * HOUR, minutes(63)).is_empty());
    // Gone for a day, it is new again.
    let later = NOW + 30 * HOUR;
    assert_eq!(
        watch
            .observe(
                "bot",
                Some(&line("ERROR", "llm.failed", later, 99)),
                later,
                minutes(64)
            )
            .len(),
        1
    );
}

#[test]
fn a_burst_of_different_errors_is_limited_and_nothing_is_forgotten() {
    let mut watch = Watch::default();
    let mut at_once = 0;
    for number in 0..20 {
        at_once += watch
            .observe(
                "bot",
                Some(&line("ERROR", &format!("e{number}"), NOW, number)),
                NOW,
                minutes(1),
            )
            .len();
    }
    assert_eq!(at_once, BURST);
    let digest = watch.tick(NOW + 2 * HOUR, minutes(100));
    assert_eq!(digest[0].count, 15);
}

#[test]
fn deciding_again_after_a_crash_gives_the_same_ids() {
    let ids = |watch: &mut Watch| {
        let mut alerts = watch.observe("bot", Some(&line("ERROR", "a", NOW, 1)), NOW, minutes(1));
        alerts.extend(watch.observe(
            "bot",
            Some(&line("ERROR", "a", NOW + 5, 2)),
            NOW,
            minutes(1),
        ));
        alerts.extend(watch.tick(NOW + 3 * HOUR, minutes(150)));
        alerts.into_iter().map(|alert| alert.id).collect::<Vec<_>>()
    };
    let first = ids(&mut Watch::default());
    assert_eq!(first, ids(&mut Watch::default()));
    assert_eq!(first.len(), 3, "{first:?}");
}

#[test]
fn no_text_of_a_message_and_nothing_about_our_own_telling() {
    let mut watch = Watch::default();
    let alerts = watch.observe(
        "bot",
        Some(&line("ERROR", "llm.failed", NOW, 1)),
        NOW,
        minutes(1),
    );
    let shown = serde_json::to_string(&alerts).unwrap();
    assert!(!shown.contains("canary") && !shown.contains("@everyone"));
    assert!(
        watch
            .observe(
                "bot",
                Some(&line("ERROR", "alert.undelivered", NOW, 2)),
                NOW,
                minutes(1)
            )
            .is_empty()
    );
    assert!(
        watch
            .observe(
                "bot",
                Some(&line("INFO", "turn.done", NOW, 3)),
                NOW,
                minutes(1)
            )
            .is_empty()
    );
    let evil = watch.observe(
        "bot",
        Some(&line("ERROR", "@everyone `x`", NOW, 4)),
        NOW,
        minutes(1),
    );
    assert!(!evil[0].en.contains('@'));
}

#[test]
fn silence_is_told_once_and_its_end_too() {
    let mut watch = Watch::default();
    watch.observe("bot", Some(&line("INFO", "alive", NOW, 1)), NOW, minutes(0));
    assert!(watch.tick(NOW + HOUR, minutes(119)).is_empty());
    let told = watch.tick(NOW + 2 * HOUR, minutes(120));
    assert_eq!(
        (told.len(), told[0].kind.as_str(), told[0].service.as_str()),
        (1, "silence", "bot")
    );
    assert!(watch.tick(NOW + 3 * HOUR, minutes(180)).is_empty());
    // A restart of the log shipper does not tell it again.
    let mut reloaded: Watch =
        serde_json::from_str(&serde_json::to_string(&watch).unwrap()).unwrap();
    assert!(reloaded.tick(NOW + 9 * HOUR, minutes(300)).is_empty());
    let back = reloaded.observe(
        "bot",
        Some(&line("INFO", "start", NOW + 9 * HOUR, 1)),
        NOW + 9 * HOUR,
        minutes(301),
    );
    assert_eq!((back.len(), back[0].kind.as_str()), (1, "return"));
}

#[test]
fn a_clock_that_jumps_is_no_silence() {
    let mut watch = Watch::default();
    watch.observe("bot", Some(&line("INFO", "alive", NOW, 1)), NOW, minutes(0));
    assert!(watch.tick(NOW + 400 * DAY, minutes(1)).is_empty());
}

#[test]
fn failed_and_missing_backups() {
    let mut watch = Watch::default();
    let say = |watch: &mut Watch, level: &str, event: &str, at: i64| {
        watch.observe(
            "backup-sidecar",
            Some(&line(level, event, at, 1)),
            at,
            minutes(0),
        )
    };
    assert!(say(&mut watch, "INFO", "backup.done", NOW).is_empty());
    let failed = say(&mut watch, "ERROR", "backup.failed", NOW + 5);
    assert_eq!(
        (failed[0].kind.as_str(), failed[0].event.as_str()),
        ("backup", "backup.failed")
    );
    assert!(watch.tick(NOW + 28 * HOUR, minutes(90)).is_empty());
    // Right after a start it may still be caught up.
    assert!(watch.tick(NOW + 29 * HOUR, minutes(5)).is_empty());
    let missing = watch.tick(NOW + 29 * HOUR, minutes(90));
    assert_eq!(
        (missing.len(), missing[0].event.as_str()),
        (1, "backup.missing")
    );
    assert!(watch.tick(NOW + 40 * HOUR, minutes(91)).is_empty());
    say(&mut watch, "INFO", "backup.done", NOW + 41 * HOUR);
    assert!(watch.tick(NOW + 42 * HOUR, minutes(92)).is_empty());
}

#[test]
fn schedules_are_understood_roughly() {
    let every = |schedule: &str| {
        schedule_interval(&format!(
            "TZ=Asia/Tokyo BACKUP_SCHEDULE={schedule} BACKUP_DIR=./backups"
        ))
    };
    assert_eq!(every("0 2 * * *"), Some(DAY));
    assert_eq!(every("0 2 * * 0"), Some(7 * DAY));
    assert_eq!(every("0 2 1 * *"), Some(31 * DAY));
    assert_eq!(every("@every 10s"), Some(10_000));
    assert_eq!(schedule_interval("TZ=UTC"), None);
}

#[test]
fn old_lines_are_no_news() {
    let mut watch = Watch::default();
    assert!(
        watch
            .observe(
                "bot",
                Some(&line("ERROR", "llm.failed", NOW - 3 * DAY, 1)),
                NOW,
                minutes(1)
            )
            .is_empty()
    );
    assert!(watch.tick(NOW + 2 * HOUR, minutes(2)).is_empty());
}
